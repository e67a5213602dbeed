"""A whole broker with several clients whose connections break anywhere.

Packets are sent and read one after the other, connections are lost with all that was under way
on them, sessions are taken over. What must hold: QoS 1 arrives at least once and QoS 2 exactly
once, in order; no bound is exceeded; nothing is counted that is not there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from porttunnel.mqtt.broker import Broker
from porttunnel.mqtt.connection import ServerConnection
from porttunnel.mqtt.decode import decode
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.framing import MAX_PACKET_BYTES, FrameReader
from porttunnel.mqtt.keeping import ID_BYTES
from porttunnel.mqtt.packet import (
    Connack,
    Connect,
    Packet,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Subscribe,
    Subscription,
    Version,
)
from porttunnel.mqtt.policy import AllowAll, Bounds, Profile, SlowConsumer
from porttunnel.mqtt.property import Properties

RECEIVE_MAXIMUM = 3  # which clients of MQTT 5 say
MAX_INFLIGHT = 8
TOPICS = ("t/a", "t/b")
NAMES = ("p0", "p1", "s1", "s2")
LIMIT_BYTES = 2_000  # of an outbox
WINDOW_BYTES = 600  # what one packet of a client can bring on top of that


@dataclass
class ModelClient:
    """A client with a session of its own that keeps to the norm.

    :ivar under_way: its messages by packet id: the packet to be sent again.
    :ivar awaiting: ids of QoS 2 messages that came and are not released.
    :ivar unanswered: ids for which an answer has not left yet.
    """

    name: str
    version: Version
    core: ServerConnection | None = None
    is_open: bool = False
    out: list[Packet] = field(default_factory=list)
    under_way: dict[int, Packet] = field(default_factory=dict)
    awaiting: set[int] = field(default_factory=set)
    unanswered: set[int] = field(default_factory=set)
    received: list[tuple[str, bytes]] = field(default_factory=list)
    refused: set[bytes] = field(default_factory=set)
    last_id: int = 0
    reader: FrameReader = field(default_factory=lambda: FrameReader(MAX_PACKET_BYTES))

    def connect(self, broker: Broker, now: float) -> None:
        self.core = broker.accept(now, spare_client_id="spare")
        self.is_open = False
        self.out.clear()
        self.unanswered.clear()
        self.reader = FrameReader(MAX_PACKET_BYTES, self.version)
        wanted = Properties(session_expiry_interval=0xFFFFFFFF, receive_maximum=RECEIVE_MAXIMUM)
        is_5 = self.version == Version.V5
        self.out.append(
            Connect(
                self.version,
                self.name,
                clean_start=False,
                **({"properties": wanted} if is_5 else {}),
            )
        )

    def publish(self, topic: str, payload: bytes, qos: int) -> None:
        packet_id = None
        if qos:
            self.last_id += 1
            packet_id = self.last_id
        packet = Publish(topic, payload, qos, packet_id=packet_id)
        if packet_id is not None:
            self.under_way[packet_id] = packet
        if self.is_open:
            self.out.append(packet)

    def send_one(self, now: float) -> None:
        """The oldest packet reaches the broker."""
        if self.out and self.core is not None:
            packet = self.out.pop(0)
            if isinstance(packet, Puback | Pubcomp):
                self.unanswered.discard(packet.packet_id)
            self.core.receive_data(memoryview(encode(packet, self.version)), now)

    def read(self, count: int, now: float) -> bool:
        """So many bytes of the broker arrive; whether there were any."""
        if self.core is None:
            return False
        data = b"".join(self.core.data_to_send())[:count]
        self.core.data_sent(len(data))
        for first_byte, body in self.reader.feed(memoryview(data)):
            self.take(decode(first_byte, memoryview(bytes(body)), self.version))
        if self.core.is_closed and not self.core.waiting_bytes:
            self.core = None
            self.is_open = False
        return bool(data)

    def take(self, packet: Packet) -> None:
        match packet:
            case Connack():
                assert not packet.reason
                self.is_open = True
                if not packet.session_present:
                    assert not self.received
                    self.out.append(Subscribe(60_000, (Subscription("t/#", int(self.name[1])),)))
                for waiting in self.under_way.values():
                    again = isinstance(waiting, Publish)
                    self.out.append(replace(waiting, dup=True) if again else waiting)
            case Publish():
                self.take_message(packet)
            case Puback():
                acknowledged = self.under_way.pop(packet.packet_id, None)
                if packet.reason.is_failure and isinstance(acknowledged, Publish):
                    self.refused.add(bytes(acknowledged.payload))
            case Pubrec() if packet.reason.is_failure:
                acknowledged = self.under_way.pop(packet.packet_id, None)
                if isinstance(acknowledged, Publish):
                    self.refused.add(bytes(acknowledged.payload))
            case Pubrec():
                if packet.packet_id in self.under_way:
                    self.under_way[packet.packet_id] = Pubrel(packet.packet_id)
                self.out.append(Pubrel(packet.packet_id))
            case Pubcomp():
                self.under_way.pop(packet.packet_id, None)
            case Pubrel():
                self.awaiting.discard(packet.packet_id)
                self.out.append(Pubcomp(packet.packet_id))

    def take_message(self, packet: Publish) -> None:
        number = packet.packet_id
        if number is not None:
            self.unanswered.add(number)
            is_5 = self.version == Version.V5
            assert len(self.unanswered) <= (RECEIVE_MAXIMUM if is_5 else MAX_INFLIGHT)
            self.out.append((Puback if packet.qos == 1 else Pubrec)(number))
        if packet.qos == 2:
            if number in self.awaiting:
                assert packet.dup
                return
            assert number is not None
            self.awaiting.add(number)
        self.received.append((packet.topic, bytes(packet.payload)))


class BrokerMachine(RuleBasedStateMachine):
    """Nothing is lost: there is room for all."""

    profile = Profile(
        max_outbox_bytes=LIMIT_BYTES, max_inflight=MAX_INFLIGHT, slow_consumer=SlowConsumer.DROP
    )
    bounds = Bounds()

    def __init__(self) -> None:
        super().__init__()
        self.broker = Broker(AllowAll(self.profile, self.bounds), 0.0)
        self.now = 0.0
        self.count = 0
        self.sent: dict[bytes, tuple[str, str, int]] = {}
        self.clients: dict[str, ModelClient] = {}

    @initialize(versions=st.tuples(*[st.sampled_from(Version)] * len(NAMES)))
    def begin(self, versions: tuple[Version, ...]) -> None:
        for name, version in zip(NAMES, versions, strict=True):
            client = self.clients[name] = ModelClient(name, version)
            client.connect(self.broker, self.now)
            # All are subscribed before the first message.
            for _ in range(3):
                client.send_one(self.now)
                client.read(10_000, self.now)

    @rule(
        name=st.sampled_from(NAMES[:2]),
        topic=st.sampled_from(TOPICS),
        qos=st.integers(0, 2),
        size=st.sampled_from([8, 8, 8, 500]),
        repeat=st.integers(1, 4),
    )
    def publish(self, name: str, topic: str, qos: int, size: int, repeat: int) -> None:
        for _ in range(repeat):
            self.count += 1
            payload = self.count.to_bytes(8, "big").ljust(size, b".")
            self.sent[payload] = (name, topic, qos)
            self.clients[name].publish(topic, payload, qos)

    @rule(name=st.sampled_from(NAMES), count=st.integers(1, 8))
    def send(self, name: str, count: int) -> None:
        for _ in range(count):
            self.clients[name].send_one(self.now)

    @rule(name=st.sampled_from(NAMES), count=st.sampled_from([1, 5, 30, 200, 5_000]))
    def read(self, name: str, count: int) -> None:
        self.clients[name].read(count, self.now)

    @rule(name=st.sampled_from(NAMES))
    def lose(self, name: str) -> None:
        client = self.clients[name]
        if client.core is not None:
            client.core.receive_eof(self.now)
            client.core = None
            client.is_open = False
            client.out.clear()

    @rule(name=st.sampled_from(NAMES))
    def connect_again(self, name: str) -> None:
        """Also while the broker thinks that it is connected."""
        self.clients[name].connect(self.broker, self.now)
        self.clients[name].send_one(self.now)

    @rule(seconds=st.floats(0.0, 100.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.broker.handle_timeout(self.now)

    @rule()
    def look_after(self) -> None:
        ready = self.broker.take_ready()
        assert len(ready) == len(set(ready))

    @invariant()
    def bounds_hold(self) -> None:
        exchange = self.broker._exchange
        total = 0
        for session in exchange.sessions.values():
            total += session.held_bytes + ID_BYTES * len(session.incoming)
            assert 0 <= session.held_bytes <= session.profile.max_queued_bytes
            assert len(session.incoming) <= session.profile.receive_maximum
            if session.outbox is not None:
                assert session.outbox.waiting_bytes <= LIMIT_BYTES + WINDOW_BYTES
        # There is room for an identifier when its message comes, which may take the last of it.
        assert total == exchange.held.held <= exchange.bounds.max_queued_bytes + ID_BYTES

    def settle(self) -> None:
        """All come back, and everything goes where it should."""
        for client in self.clients.values():
            client.connect(self.broker, self.now)
        moved = True
        while moved:
            moved = False
            for client in self.clients.values():
                while client.out:
                    client.send_one(self.now)
                    moved = True
                moved |= client.read(100_000, self.now)
            if self.broker._exchange.packets.is_waited_for:  # as a shell sees by the deadline
                self.broker.handle_timeout(self.now)
                moved = True

    def teardown(self) -> None:
        if not self.clients:
            return
        self.settle()
        for client in self.clients.values():
            assert client.is_open
            assert not client.under_way
            assert not client.awaiting
            self.check_received(client)
        exchange = self.broker._exchange
        assert exchange.held.held == 0
        for client in self.clients.values():  # who comes back now is told nothing more
            client.connect(self.broker, self.now)
            client.send_one(self.now)
            client.read(100_000, self.now)
            assert client.is_open
            assert client.out == []

    def check_received(self, client: ModelClient) -> None:
        granted = int(client.name[1])
        counts = Counter(payload for _, payload in client.received)
        last: dict[tuple[str, str, int], bytes] = {}
        seen: set[bytes] = set()
        for topic, payload in client.received:
            name, expected_topic, qos = self.sent[payload]
            assert topic == expected_topic
            if payload not in seen:
                seen.add(payload)
                way = (name, topic, qos)
                assert last.get(way, b"") < payload
                last[way] = payload
        for payload, (_, _, qos) in self.sent.items():
            self.check_count(counts[payload], qos, min(qos, granted))

    def check_count(self, count: int, published: int, delivered: int) -> None:
        if delivered == 2:
            assert count == 1
        elif delivered == 1:
            assert count >= 1
        elif published != 1:
            assert count <= 1


class TightMachine(BrokerMachine):
    """There is hardly room for anything: messages are lost, bounds are not."""

    profile = Profile(
        max_outbox_bytes=LIMIT_BYTES,
        max_inflight=MAX_INFLIGHT,
        max_queued_bytes=3_000,
        receive_maximum=4,
        slow_consumer=SlowConsumer.PAUSE,
        stall_seconds=50.0,
    )
    bounds = Bounds(max_queued_bytes=5_000)

    def publish_within(self, name: str) -> bool:
        under_way = self.clients[name].under_way
        return len(under_way) < 4

    @rule(
        name=st.sampled_from(NAMES[:2]),
        topic=st.sampled_from(TOPICS),
        qos=st.integers(0, 2),
        size=st.sampled_from([8, 8, 8, 500]),
        repeat=st.integers(1, 4),
    )
    def publish(self, name: str, topic: str, qos: int, size: int, repeat: int) -> None:
        for _ in range(repeat):
            if self.publish_within(name):
                super().publish(name, topic, qos, size, 1)

    @rule(seconds=st.floats(0.0, 100.0))
    def wait(self, seconds: float) -> None:
        super().wait(seconds)
        for client in self.clients.values():
            core = client.core
            if core is not None and (due := core.next_deadline()) is not None and due <= self.now:
                core.handle_timeout(self.now)

    @invariant()
    def nobody_waits_for_nobody(self) -> None:
        connections = {id(each): each for each in self.broker._exchange.connections}
        waited_for = Counter(
            id(publisher) for each in connections.values() for publisher in each._held_up or ()
        )
        for key, each in connections.items():
            assert each.pauses == waited_for[key]

    def check_count(self, count: int, published: int, delivered: int) -> None:
        if delivered == 2:
            assert count <= 1


TestBroker = BrokerMachine.TestCase
TestBroker.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestTightBroker = TightMachine.TestCase
TestTightBroker.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
