"""Targets: the whole cores of MQTT, with a stranger at the other end."""

from __future__ import annotations

from typing import Any

from porttunnel.errors import ClientStopped, QueueFull
from porttunnel.mqtt.broker import Broker
from porttunnel.mqtt.client import Client, ClientState
from porttunnel.mqtt.client_event import (
    ConnectionFailed,
    MessageReceived,
    PublishFinished,
    RequestFailed,
    SubscribeFinished,
    UnsubscribeFinished,
)
from porttunnel.mqtt.client_setting import ClientSettings
from porttunnel.mqtt.connection import ServerConnection
from porttunnel.mqtt.decode import decode
from porttunnel.mqtt.direction import check_from_client
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.framing import MAX_PACKET_BYTES, FrameReader
from porttunnel.mqtt.packet import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Version,
)
from porttunnel.mqtt.policy import AllowAll, Bounds, Profile
from porttunnel.mqtt.reason import ReasonCode
from tests.fuzz.consume import FuzzedDataProvider, cut
from tests.fuzz.mqtt import consume_mqtt

__all__ = ["mqtt_broker", "mqtt_client"]

MAX_STEPS = 40
TOPICS = ["a", "a/b", "$SYS/x", "c"]
FILTERS = ["a", "a/+", "#", "$share/g/a/#", "+/b"]
FINISHED = [ReasonCode.SUCCESS, ReasonCode.SUCCESS, ReasonCode.QUOTA_EXCEEDED]
DONE = PublishFinished | SubscribeFinished | UnsubscribeFinished | RequestFailed


def mqtt_client(data: bytes) -> None:
    """Whatever a broker says and whenever its connection ends, each thing that was asked for comes
    to one end, each message has a delivery of its own, and what the client says is MQTT.
    """
    source = FuzzedDataProvider(data)
    version = source.PickValueInList(list(Version))
    client = Client(
        ClientSettings(
            version=version,
            client_id="c",
            clean_start=source.ConsumeBool(),
            session_expiry_seconds=source.PickValueInList([0, 60]),
            receive_maximum=3,
            max_inflight=3,
            max_queued_bytes=5_000,
            max_packet_bytes=300,
        )
    )
    run = _ClientRun(client, version)
    for _ in range(source.ConsumeIntInRange(0, MAX_STEPS)):
        run.step(source)
    client.abandon(ClientStopped("over"))
    run.look()
    assert not run.asked, "something never came to an end"
    assert client.is_idle


class _ClientRun:
    """A client core, and what has become of what it was asked for."""

    def __init__(self, client: Client, version: Version) -> None:
        self.client = client
        self.version = version
        self.now = 0.0
        self.asked: set[int] = set()
        self.deliveries: list[int] = []
        self.reader = FrameReader(MAX_PACKET_BYTES, version)

    def step(self, source: FuzzedDataProvider) -> None:
        client = self.client
        match source.ConsumeIntInRange(0, 11):
            case 0:
                self.ask(source)
            case 1 if self.deliveries:
                client.finish(self.deliveries.pop(0), source.PickValueInList(FINISHED))
            case 2:
                client.receive_eof(self.now)
            case 3:
                self.now += source.PickValueInList([0.0, 1.0, 20.0, 100.0])
                client.handle_timeout(self.now)
            case 4:
                client.disconnect()
            case 5 | 6 | 7 if client.state is ClientState.OFFLINE:
                self.reader = FrameReader(MAX_PACKET_BYTES, self.version)
                client.connect(self.now)
                self.receive(encode(Connack(source.ConsumeIntInRange(0, 3) == 0), self.version))
            case 8 | 9:
                self.receive(encode(_broker_packet(source), self.version))
            case _:
                for piece in cut(source, consume_mqtt(source, self.version)):
                    self.receive(piece)
        self.look()

    def ask(self, source: FuzzedDataProvider) -> None:
        try:
            match source.ConsumeIntInRange(0, 4):
                case 0:
                    token = self.client.subscribe([Subscription(source.PickValueInList(FILTERS))])
                case 1:
                    token = self.client.unsubscribe([source.PickValueInList(FILTERS)])
                case kind:
                    token = self.client.publish(
                        source.PickValueInList(TOPICS), source.ConsumeBytes(20), qos=kind - 2
                    )
        except QueueFull:
            return
        self.asked.add(token)

    def receive(self, data: bytes) -> None:
        closing = self.client.state in (ClientState.OFFLINE, ClientState.CLOSING)
        before = len(self.deliveries)
        self.client.receive_data(memoryview(data), self.now)
        self.look()
        assert not closing or len(self.deliveries) == before

    def look(self) -> None:
        for happened in self.client.events():
            if isinstance(happened, DONE):
                self.asked.remove(happened.token)
            elif isinstance(happened, MessageReceived):
                assert happened.delivery not in self.deliveries
                self.deliveries.append(happened.delivery)
            elif isinstance(happened, ConnectionFailed):
                assert self.client.state is ClientState.CLOSING
        data = b"".join(self.client.data_to_send())
        self.client.data_sent(len(data))
        for packet in _packets(self.reader, data, self.version):
            check_from_client(packet)
        self.client.next_deadline()


def mqtt_broker(data: bytes) -> None:
    """Whatever strangers say to a broker, two others can talk, what it says is MQTT, and when all
    are gone nothing is left of them.
    """
    source = FuzzedDataProvider(data)
    profile = Profile(
        max_session_seconds=0,
        receive_maximum=3,
        max_inflight=3,
        max_packet_bytes=300,
        max_outbox_bytes=2_000,
        max_queued_bytes=5_000,
        max_subscriptions=5,
    )
    broker = Broker(AllowAll(profile, Bounds(max_retained_bytes=5_000)), 0.0)
    strangers = [_Stranger(broker, source.PickValueInList(list(Version))) for _ in range(2)]
    for _ in range(source.ConsumeIntInRange(0, MAX_STEPS)):
        source.PickValueInList(strangers).step(source)
        broker.take_ready()
    listener, speaker = _Stranger(broker, Version.V5), _Stranger(broker, Version.V5)
    listener.say(Connect(Version.V5, "listener"), Subscribe(1, (Subscription("honest/+"),)))
    listener.heard()
    speaker.say(Connect(Version.V5, "speaker"), Publish("honest/word", b"x"))
    assert [p.topic for p in listener.heard() if isinstance(p, Publish)] == ["honest/word"]
    for each in (*strangers, listener, speaker):
        each.core.receive_eof(each.now)
    broker.handle_timeout(1e9)
    assert broker.connection_count == broker.session_count == broker.subscription_count == 0
    retained = broker.retained_count
    assert broker.held_bytes == 0 or retained


class _Stranger:
    """One connection to a broker, and what came on it."""

    def __init__(self, broker: Broker, version: Version) -> None:
        self.broker = broker
        self.version = version
        self.now = 0.0
        self.core: ServerConnection = broker.accept(0.0, spare_client_id="spare")
        self.reader = FrameReader(MAX_PACKET_BYTES, version)

    def step(self, source: FuzzedDataProvider) -> None:
        match source.ConsumeIntInRange(0, 9):
            case 0:
                self.core.receive_eof(self.now)
                self.core = self.broker.accept(self.now, spare_client_id="spare")
                self.reader = FrameReader(MAX_PACKET_BYTES, self.version)
            case 1 | 2:
                self.say(Connect(self.version, source.PickValueInList(["s", "t"])))
            case 3:
                self.now += source.PickValueInList([0.0, 1.0, 20.0, 100.0])
                self.core.handle_timeout(self.now)
            case 4 | 5 | 6:
                self.say(_client_packet(source))
            case _:
                for piece in cut(source, consume_mqtt(source, self.version)):
                    self.core.receive_data(memoryview(piece), self.now)
        if source.ConsumeBool():
            self.heard()
        self.core.next_deadline()

    def say(self, *packets: Packet) -> None:
        data = b"".join(encode(packet, self.version) for packet in packets)
        self.core.receive_data(memoryview(data), self.now)

    def heard(self) -> list[Packet]:
        """What the broker sent; a stranger that spoke another version first hears nothing more."""
        found: list[Packet] = []
        while views := self.core.data_to_send():
            data = b"".join(views)
            self.core.data_sent(len(data))
            if self.core.version is self.version:
                found += _packets(self.reader, data, self.version)
        for packet in found:
            assert _may_come_from_server(packet, self.version)
        return found


def _packets(reader: FrameReader, data: bytes, version: Version) -> list[Packet]:
    return [decode(first, body, version) for first, body in reader.feed(memoryview(data))]


def _may_come_from_server(packet: Packet, version: Version) -> bool:
    match packet:
        case Connect() | Subscribe() | Unsubscribe() | Pingreq():
            return False
        case Disconnect():
            return (
                version is Version.V5
                and packet.reason is not ReasonCode.DISCONNECT_WITH_WILL_MESSAGE
                and packet.properties.session_expiry_interval is None
            )
        case Auth():
            return packet.reason is not ReasonCode.RE_AUTHENTICATE
    return True


def _number(source: FuzzedDataProvider) -> int:
    number: int = source.ConsumeIntInRange(1, 5)
    return number


def _message(source: FuzzedDataProvider) -> Publish:
    qos = source.ConsumeIntInRange(0, 2)
    return Publish(
        source.PickValueInList(TOPICS),
        source.ConsumeBytes(10),
        qos,
        retain=source.ConsumeBool(),
        dup=bool(qos) and source.ConsumeBool(),
        packet_id=_number(source) if qos else None,
    )


def _answer(source: FuzzedDataProvider) -> Packet:
    kind: Any = source.PickValueInList([Puback, Pubrec, Pubrel, Pubcomp])
    answer: Packet = kind(_number(source))
    return answer


def _broker_packet(source: FuzzedDataProvider) -> Packet:
    """What a broker may say, often at the right moment."""
    match source.ConsumeIntInRange(0, 4):
        case 0:
            return Suback(_number(source), (ReasonCode.GRANTED_QOS_1,))
        case 1:
            return Unsuback(_number(source), (ReasonCode.SUCCESS,))
        case 2:
            return _message(source)
    return _answer(source)


def _client_packet(source: FuzzedDataProvider) -> Packet:
    match source.ConsumeIntInRange(0, 3):
        case 0:
            wanted = Subscription(source.PickValueInList(FILTERS), source.ConsumeIntInRange(0, 2))
            return Subscribe(_number(source), (wanted,))
        case 1 | 2:
            return _message(source)
    return _answer(source)
