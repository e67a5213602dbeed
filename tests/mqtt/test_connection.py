"""One connection: bytes in, bytes out, and when it is to be called again."""

from __future__ import annotations

from typing import Any

import pytest

from porttunnel.mqtt.broker import Broker
from porttunnel.mqtt.connection import WINDOW_BYTES
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.message import Message
from porttunnel.mqtt.packet import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
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
    Will,
)
from porttunnel.mqtt.policy import (
    Admission,
    AllowAll,
    Attempt,
    Bounds,
    Challenge,
    Client,
    Decision,
    Profile,
    SlowConsumer,
)
from porttunnel.mqtt.property import Properties
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.search import Search
from tests.mqtt.broker_client import BrokerClient

V3, V5 = Version.V3_1_1, Version.V5


def broker_of(**profile: Any) -> Broker:
    return Broker(AllowAll(Profile(**profile)), 0.0)


def pair(
    version: Version = V5, *, qos: int = 2, **profile: Any
) -> tuple[BrokerClient, BrokerClient]:
    """A publisher, and a subscriber to all."""
    broker = broker_of(**profile)
    publisher, subscriber = (BrokerClient(broker, version) for _ in range(2))
    publisher.connect("p")
    subscriber.connect("s")
    subscriber.subscribe("#", qos)
    broker.take_ready()
    return publisher, subscriber


STORY = (
    Connect(V5, "c"),
    Subscribe(1, (Subscription("#", 2),)),
    Publish("a", b"0"),
    Publish("a", bytes(200), 1, packet_id=5),
    Pingreq(),
    Publish("a", b"2", 2, packet_id=6),
    Pubrel(6),
    Unsubscribe(2, ("#",)),
    Publish("a", b"nobody", 1, packet_id=7, properties=Properties(content_type="t")),
)


class TestBytes:
    def answers(self, version: Version, size: int) -> list[bytes]:
        client = BrokerClient(broker_of(), version)
        story = (Connect(version, "c"), *STORY[1:])
        data = b"".join(encode(packet, version) for packet in story)
        for start in range(0, len(data), size):
            client.send_bytes(data[start : start + size])
        client.acknowledges = False
        packets = client.read()
        assert [type(packet) for packet in packets] == [
            Connack,
            Suback,
            Puback,
            Pingresp,
            Pubrec,
            Pubcomp,
            Unsuback,
            Puback,
        ] or size > 1
        assert client.payloads() == [b"0", bytes(200), b"2"]
        return sorted(repr(packet).encode() for packet in packets)

    @pytest.mark.parametrize("version", Version)
    def test_may_be_cut_anywhere(self, version: Version) -> None:
        whole = self.answers(version, 10_000)
        for size in (1, 2, 3, 7, 50):
            assert self.answers(version, size) == whole

    def test_more_than_a_window_at_once(self) -> None:
        publisher, subscriber = pair(max_outbox_bytes=1 << 22)
        large = Publish("a", bytes(100_000), 1, packet_id=9)
        publisher.send(*[Publish("a", bytes(1_000))] * 100, large, *[Publish("a", b"x")] * 10)
        found = [len(payload) for payload in subscriber.payloads()]
        assert found == [*[1_000] * 100, 100_000, *[1] * 10]
        assert publisher.take(Puback).packet_id == 9

    def test_bytes_are_counted(self) -> None:
        publisher, subscriber = pair()
        counters = publisher.broker.counters
        received, sent = counters.bytes_received, counters.bytes_sent
        publisher.send(Publish("a", b"x"), Publish("a", b"x", 1, packet_id=1))
        subscriber.acknowledges = False
        subscriber.read()
        publisher.read()
        assert counters.bytes_received - received == 7 + 9
        assert counters.bytes_sent - sent == 7 + 9 + 4
        assert (counters.messages_received, counters.reach.taken) == (2, 2)

    def test_what_follows_the_end_is_not_looked_at(self) -> None:
        publisher, subscriber = pair()
        subscriber.payloads()
        goodbye = encode(Disconnect(), V5)
        publisher.send_bytes(goodbye + encode(Publish("a", b"late"), V5))
        publisher.send_bytes(encode(Publish("a", b"later"), V5))
        assert subscriber.payloads() == []
        assert publisher.read() == []

    @pytest.mark.parametrize(
        "packet",
        [Publish("a", b"x"), Subscribe(1, (Subscription("a"),))],
        ids=["publish", "subscribe"],
    )
    def test_nor_what_the_policy_sends_somebody_away_for(self, packet: Any) -> None:
        class Strict(AllowAll):
            def authorise_publish(self, client: Client, topic: str) -> str | ReasonCode:
                broker.disconnect_session("c", ReasonCode.ADMINISTRATIVE_ACTION, 0.0)
                return topic

            def authorise_subscribe(
                self, client: Client, subscription: Subscription
            ) -> Subscription | ReasonCode:
                broker.disconnect_session("c", ReasonCode.ADMINISTRATIVE_ACTION, 0.0)
                return subscription

        broker = Broker(Strict(), 0.0)
        client = BrokerClient(broker)
        client.connect()
        client.send(Pingreq(), packet, Pingreq())
        assert client.read() == [Pingresp(), Disconnect(ReasonCode.ADMINISTRATIVE_ACTION)]
        assert broker.counters.messages_received == 0

    def test_who_was_sent_away_meanwhile_is_not_answered(self) -> None:
        policy = Prover()
        policy.broker = Broker(policy, 0.0)
        client = BrokerClient(policy.broker)
        client.send(Connect(V5, "c", properties=METHOD))
        answer = Properties(authentication_method="m", authentication_data=b"x")
        client.send(Auth(ReasonCode.CONTINUE_AUTHENTICATION, answer))
        client.read()
        client.send(Publish("a", b"x", 1, packet_id=1))
        assert client.read() == [Disconnect(ReasonCode.ADMINISTRATIVE_ACTION)]

    @pytest.mark.mqtt5("3.2.2-15")
    def test_too_large_a_packet(self) -> None:
        publisher, _ = pair(max_packet_bytes=50)
        publisher.send_bytes(b"\x30\x7f")
        assert publisher.take(Disconnect).reason is ReasonCode.PACKET_TOO_LARGE

    def test_too_large_a_connect(self) -> None:
        client = BrokerClient(Broker(AllowAll(None, Bounds(max_connect_bytes=20)), 0.0))
        client.send_bytes(b"\x10\x7f")
        assert client.core.is_closed
        assert client.read() == []

    def test_what_is_not_mqtt_is_not_waited_for(self) -> None:
        client = BrokerClient(broker_of())
        client.send_bytes(b"G")
        assert client.core.is_closed


class TestAnswers:
    @pytest.mark.mqtt5("3.12.4-1")
    @pytest.mark.mqtt3("3.12.4-1")
    @pytest.mark.parametrize("version", Version)
    def test_to_a_ping(self, version: Version) -> None:
        client, _ = pair(version)
        client.send(Pingreq())
        assert client.read() == [Pingresp()]

    @pytest.mark.mqtt5("3.1.0-2", "3.2.0-2")
    @pytest.mark.mqtt3("3.1.0-2")
    def test_to_a_second_connect(self) -> None:
        for version in Version:
            client, _ = pair(version)
            client.send(Connect(version, "c"))
            expected = [Disconnect(ReasonCode.PROTOCOL_ERROR)] if version == V5 else []
            assert client.read() == expected
            assert client.core.is_closed

    @pytest.mark.mqtt5("3.3.4-6")
    def test_to_what_a_client_may_not_send(self) -> None:
        client, _ = pair()
        client.send(Publish("a", b"", properties=Properties(subscription_identifiers=(1,))))
        assert client.take(Disconnect).reason is ReasonCode.PROTOCOL_ERROR

    @pytest.mark.mqtt5("3.1.2-24")
    def test_that_are_too_large_for_the_client(self) -> None:
        client = BrokerClient(broker_of())
        client.connect(properties=Properties(maximum_packet_size=30))
        client.send(Subscribe(1, (Subscription("a"),) * 40))
        assert client.take(Disconnect).reason is ReasonCode.PACKET_TOO_LARGE

    def test_come_before_the_goodbye(self) -> None:
        client, _ = pair()
        packets = (Publish("a", b"x", 1, packet_id=3), Publish("a", b"x", 1, packet_id=4))
        data = b"".join(encode(packet, V5) for packet in packets)
        client.send_bytes(data + b"\xf0\xff\xff\xff\xff\xff")
        first, second, last = client.read()
        assert (first, second) == (Puback(3), Puback(4))
        assert isinstance(last, Disconnect)
        assert last.reason is ReasonCode.MALFORMED_PACKET

    @pytest.mark.parametrize("version", Version)
    @pytest.mark.parametrize("qos", [0, 1, 2])
    def test_to_messages(self, version: Version, qos: int) -> None:
        publisher, subscriber = pair(version)
        publisher.publish("a", b"x", qos)
        if qos == 2:
            publisher.send(Pubrel(1))
        assert [type(each) for each in publisher.read()] == [[], [Puback], [Pubrec, Pubcomp]][qos]
        assert subscriber.payloads() == [b"x"]
        assert subscriber.read() == []
        assert subscriber.core.session is not None
        assert subscriber.core.session.held_bytes == 0

    @pytest.mark.mqtt5("3.8.4-1", "3.8.4-2")
    @pytest.mark.mqtt3("3.8.4-1", "3.8.4-2")
    def test_to_subscribe_come_before_what_it_brings(self) -> None:
        client, _ = pair()
        client.broker.publish("a", b"kept", 0.0, retain=True)
        client.send(Subscribe(5, (Subscription("a"),)))
        data = b"".join(client.core.data_to_send())
        assert data.startswith(encode(Suback(5, (ReasonCode.GRANTED_QOS_0,)), V5))
        assert data.endswith(b"kept")

    def test_that_say_more_than_success(self) -> None:
        publisher, subscriber = pair()
        subscriber.acknowledges = False
        publisher.publish("a", b"x", 1)
        subscriber.read()
        subscriber.send(Puback(1, ReasonCode.QUOTA_EXCEEDED))
        assert subscriber.core.session is not None
        assert subscriber.core.session.held_bytes == 0

    def test_to_pubrec_with_a_failure(self) -> None:
        publisher, subscriber = pair()
        subscriber.acknowledges = False
        publisher.publish("a", b"x", 2)
        subscriber.read()
        subscriber.send(Pubrec(1, ReasonCode.QUOTA_EXCEEDED))
        assert subscriber.read() == []
        subscriber.send(Puback(77), Pubcomp(77))
        assert not subscriber.core.is_closed


METHOD = Properties(authentication_method="m")


class Prover(AllowAll):
    """Asks once, and asks again."""

    def __init__(self) -> None:
        super().__init__()
        self.broker: Broker | None = None

    def authenticate(self, attempt: Attempt, now: float) -> Decision | None:
        return Challenge() if attempt.authentication_data is None else Admission(profile=Profile())

    def reached_nobody(self, client: Client | None, message: Message, now: float) -> None:
        if self.broker is not None:
            self.broker.disconnect_session("c", ReasonCode.ADMINISTRATIVE_ACTION, now)


class TestAuthentication:
    def begin(self) -> BrokerClient:
        client = BrokerClient(Broker(Prover(), 0.0))
        client.send(Connect(V5, "c", properties=METHOD))
        assert client.take(Auth).reason is ReasonCode.CONTINUE_AUTHENTICATION
        return client

    def test_goes_on_until_it_is_done(self) -> None:
        client = self.begin()
        answer = Properties(authentication_method="m", authentication_data=b"x")
        client.send(Auth(ReasonCode.CONTINUE_AUTHENTICATION, answer), Pingreq())
        assert [type(each) for each in client.read()] == [Connack, Pingresp]
        client.send(Auth(ReasonCode.RE_AUTHENTICATE, answer))
        assert client.take(Auth).reason is ReasonCode.SUCCESS

    def test_or_is_given_up(self) -> None:
        client = self.begin()
        client.send(Disconnect(), Pingreq())
        assert client.core.is_closed
        assert client.read() == []

    def test_or_disturbed(self) -> None:
        client = self.begin()
        client.send(Pingreq())
        assert client.take(Connack).reason is ReasonCode.PROTOCOL_ERROR

    def test_or_takes_too_long(self) -> None:
        client = self.begin()
        client.core.handle_timeout(30.0)
        assert client.take(Connack).reason is ReasonCode.SERVER_BUSY


class TestTime:
    @pytest.mark.mqtt5("3.1.2-22", "3.2.2-22")
    @pytest.mark.mqtt3("3.1.2-24")
    def test_a_silent_client_is_cut(self) -> None:
        client = BrokerClient(broker_of())
        client.connect(keep_alive_seconds=10)
        assert client.core.next_deadline() == 15.0
        client.now = 7.0
        client.send(Pingreq())
        assert client.core.next_deadline() == 22.0
        client.core.handle_timeout(21.0)
        assert not client.core.is_closed
        client.now = 20.0
        client.send(Publish("a", b"x"))  # a plain packet counts as well
        client.core.handle_timeout(22.0)
        client.now = 30.0
        client.send_bytes(b"\x30")  # a part of one does not
        client.core.handle_timeout(35.0)
        assert client.take(Disconnect).reason is ReasonCode.KEEP_ALIVE_TIMEOUT
        assert client.core.next_deadline() is None
        client.core.handle_timeout(99.0)

    def test_not_one_that_nobody_listens_to(self) -> None:
        client = BrokerClient(broker_of(messages_per_second=0.01, message_burst=1))
        client.connect(keep_alive_seconds=10)
        client.send(Publish("a", b"x"), Publish("a", b"x"))
        assert not client.core.may_receive
        client.core.handle_timeout(15.0)
        assert not client.core.is_closed
        assert client.core.next_deadline() == 30.0

    def test_but_one_that_takes_nothing_either(self) -> None:
        broker = broker_of(max_outbox_bytes=1_000)
        client, publisher = BrokerClient(broker), BrokerClient(broker)
        client.connect(keep_alive_seconds=10)
        client.subscribe("a")
        publisher.connect("p")
        for _ in range(3):
            publisher.publish("a", bytes(450))
        client.core.data_to_send()
        assert not client.core.may_receive
        client.core.handle_timeout(15.0)  # it had taken the SUBACK
        client.core.data_sent(1)
        client.core.handle_timeout(30.0)
        client.core.data_sent(0)
        assert not client.core.is_closed
        assert client.core.next_deadline() == 45.0
        client.core.handle_timeout(45.0)
        assert client.core.is_closed

    def test_who_publishes_too_often_is_read_from_later(self) -> None:
        client = BrokerClient(broker_of(messages_per_second=10.0, message_burst=5))
        client.connect()
        client.send(*[Publish("a", b"x")] * 5)
        assert client.core.may_receive
        client.send(*[Publish("a", b"x")] * 10)
        assert not client.core.may_receive
        assert client.core.next_deadline() == 1.0
        client.broker.take_ready()
        client.core.handle_timeout(0.9)
        assert client.broker.take_ready() == []
        client.core.handle_timeout(1.0)
        assert client.broker.take_ready() == [client.core]
        assert client.core.may_receive

    @pytest.mark.parametrize("is_limited", [False, True])
    def test_so_is_who_subscribes_too_often(self, is_limited: bool) -> None:
        limit = {"messages_per_second": 10.0, "message_burst": 5} if is_limited else {}
        client = BrokerClient(broker_of(**limit))
        client.connect()
        filters = tuple("abcde")
        client.send(Subscribe(1, tuple(Subscription(text) for text in filters)))
        assert client.core.may_receive
        client.send(Unsubscribe(2, filters), Publish("a", b"x"))
        assert client.core.may_receive is not is_limited
        assert client.core.next_deadline() == (0.6 if is_limited else None)


class TestWaiting:
    def test_the_policy_answers_later(self) -> None:
        attempts: list[Attempt] = []

        class Slow(AllowAll):
            def authenticate(self, attempt: Attempt, now: float) -> Decision | None:
                attempts.append(attempt)
                return None

        client = BrokerClient(Broker(Slow(None, Bounds(max_early_bytes=10)), 0.0))
        client.send_bytes(encode(Connect(V5, "c"), V5) + bytes(10))
        assert not client.core.is_closed
        client.send_bytes(b"x")
        assert client.take(Connack).reason is ReasonCode.QUOTA_EXCEEDED

    def test_answers_that_nobody_takes(self) -> None:
        client, _ = pair(max_outbox_bytes=100)
        client.send(*[Pingreq()] * 51)
        assert not client.core.may_receive
        assert client.core.next_deadline() is None
        assert len(client.read()) == 51
        assert client.core.may_receive

    def test_what_waits_goes_out_when_there_is_room(self) -> None:
        publisher, subscriber = pair(max_outbox_bytes=100)
        for number in range(10):
            publisher.publish("a", bytes([number]) * 50, 1)
        assert subscriber.core.waiting_bytes < 200
        assert [payload[0] for payload in subscriber.payloads()] == list(range(10))

    def test_who_is_gone_is_sent_nothing(self) -> None:
        publisher, subscriber = pair()
        publisher.publish("a")
        subscriber.drop()
        assert list(subscriber.core.data_to_send()) == []
        subscriber.drop()
        publisher.publish("a")
        assert subscriber.core.waiting_bytes == 0


SLOW = {
    "slow_consumer": SlowConsumer.PAUSE,
    "stall_seconds": 5.0,
    "max_outbox_bytes": 1_000,
    "max_queued_bytes": 4_000,
}


class TestSlowConsumers:
    def test_their_publishers_wait(self) -> None:
        publisher, subscriber = pair(**SLOW)
        publisher.publish("a", bytes(600))
        assert not publisher.core.may_receive
        assert subscriber.core.next_deadline() == 5.0
        publisher.broker.take_ready()
        assert subscriber.payloads() == [bytes(600)]
        assert publisher.core.may_receive
        assert publisher.core in publisher.broker.take_ready()
        assert subscriber.core.next_deadline() is None

    def test_until_acknowledgements_come(self) -> None:
        publisher, subscriber = pair(**SLOW)
        subscriber.acknowledges = False
        for number in range(1, 5):
            publisher.publish("a", bytes(200), 1, packet_id=number)
            subscriber.read()
        assert not publisher.core.may_receive
        subscriber.send(Puback(1))
        assert not publisher.core.may_receive
        subscriber.send(Puback(2), Puback(3), Puback(4))
        assert publisher.core.may_receive

    def test_or_they_are_cut(self) -> None:
        publisher, subscriber = pair(**SLOW)
        publisher.publish("a", bytes(600))
        subscriber.core.handle_timeout(5.0)
        assert subscriber.core.is_closed
        assert publisher.core.may_receive

    def test_or_they_leave(self) -> None:
        publisher, subscriber = pair(**SLOW)
        publisher.publish("a", bytes(600))
        subscriber.drop()
        assert publisher.core.may_receive

    def test_or_the_publisher_leaves(self) -> None:
        publisher, subscriber = pair(**SLOW)
        publisher.publish("a", bytes(600))
        publisher.drop()
        assert subscriber.payloads() == [bytes(600)]

    def test_others_are_cut_at_once(self) -> None:
        publisher, subscriber = pair(slow_consumer=SlowConsumer.CUT, max_outbox_bytes=1_000)
        publisher.publish("a", bytes(1_000))
        assert not subscriber.core.is_closed
        publisher.publish("a", bytes(1_000))
        assert subscriber.core.is_closed

    def test_or_only_lose_messages(self) -> None:
        publisher, subscriber = pair(max_outbox_bytes=1_000)
        for _ in range(5):
            publisher.publish("a", bytes(600))
        assert subscriber.payloads() == [bytes(600)] * 2
        assert publisher.broker.counters.reach.dropped == 3


BUDGET = 100


def hasty_broker() -> Broker:
    """It looks at few packets at a time."""
    broker = broker_of()
    broker._exchange.packets = Search(BUDGET)
    return broker


class TestFloods:
    """What one read brings may take a second: others have their turn before."""

    def flooded(self, **fields: Any) -> tuple[Broker, BrokerClient]:
        broker = hasty_broker()
        client = BrokerClient(broker)
        client.connect("c", **fields)
        broker.take_ready()
        client.send(*[Pingreq()] * (3 * BUDGET))
        return broker, client

    def test_all_is_answered_a_part_at_a_time(self) -> None:
        broker, client = self.flooded()
        assert not client.core.may_receive
        answered = len(client.read())
        assert 0 < answered <= BUDGET
        client.send(Publish("a", b"", 1, packet_id=7))  # a shell may have read more already
        assert client.read() == []
        while not client.core.may_receive:
            deadline = broker.next_deadline()
            assert deadline is not None
            assert deadline <= client.now
            broker.handle_timeout(client.now)
            assert client.core in broker.take_ready()
            packets = client.read()
            assert len(packets) <= BUDGET + 1  # with the plain one
            answered += len(packets)
        assert answered == 3 * BUDGET + 1
        assert isinstance(packets[-1], Puback)
        assert broker.next_deadline() is None
        sent = encode(Connect(V5, "c"), V5), encode(Publish("a", b"", 1, packet_id=7), V5)
        assert broker.counters.bytes_received == 2 * 3 * BUDGET + sum(map(len, sent))

    def test_however_large_it_is(self) -> None:
        broker = hasty_broker()
        client = BrokerClient(broker)
        client.connect("c")
        large = encode(Publish("a", bytes(WINDOW_BYTES // 4)), V5)
        client.send_bytes(large * 3 + encode(Pingreq(), V5) * 2 * BUDGET + large * 3)
        assert 0 < len(client.read()) <= BUDGET
        for _ in range(2):
            broker.handle_timeout(0.0)
        assert client.core.may_receive
        assert len(client.read()) >= BUDGET
        assert broker.counters.messages_received == 6

    def test_others_have_their_turn(self) -> None:
        broker, _ = self.flooded()
        other = BrokerClient(broker)
        other.connect("other")  # who comes does not wait
        other.send(Publish("a", b"", 1, packet_id=7))  # nor does a plain message
        assert isinstance(other.read()[0], Puback)
        other.send(Pingreq())
        assert other.read() == []
        for _ in range(2):
            broker.handle_timeout(0.0)
        assert other.read() == [Pingresp()]

    @pytest.mark.parametrize("says_goodbye", [True, False])
    def test_who_has_gone_may_have_said_so(self, says_goodbye: bool) -> None:
        broker, client = self.flooded(will=Will("gone", b"x", retain=True))
        if says_goodbye:
            client.send(Disconnect())
        client.drop()
        assert broker.connection_count == 1
        for _ in range(3):
            broker.handle_timeout(0.0)
        assert (broker.connection_count, client.core.is_closed) == (0, True)
        assert client.core.data_to_send() == []
        assert broker.retained_count == (0 if says_goodbye else 1)

    def test_who_is_sent_away_meanwhile_is_not_looked_at_any_more(self) -> None:
        broker, client = self.flooded()
        client.core.cut(ReasonCode.NOT_AUTHORIZED, 0.0)
        received = broker.counters.bytes_received
        broker.handle_timeout(0.0)
        assert (client.core.is_closed, broker.counters.bytes_received) == (True, received)
        assert broker.next_deadline() is None

    def test_the_rest_of_a_packet_waits_too(self) -> None:
        broker, _ = self.flooded()
        other = BrokerClient(broker)
        other.connect("other")
        sent = encode(Pingreq(), V5)
        other.send_bytes(sent[:1])
        other.send_bytes(sent[1:] + sent)
        assert other.read() == []
        for _ in range(2):
            broker.handle_timeout(0.0)
        assert other.read() == [Pingresp(), Pingresp()]

    def test_the_rest_of_a_message_does_not(self) -> None:
        broker, _ = self.flooded()
        other = BrokerClient(broker)
        other.connect("other")
        sent = encode(Publish("a", b"", 1, packet_id=7), V5)
        other.send_bytes(sent[:5])
        other.send_bytes(sent[5:])
        assert isinstance(other.read()[0], Puback)

    def test_who_sends_less_in_each_turn_never_waits(self) -> None:
        broker = hasty_broker()
        client = BrokerClient(broker)
        client.connect("c")
        for _ in range(3):
            broker.take_ready()
            client.send(*[Pingreq()] * (BUDGET - 1))
            assert client.core.may_receive
        assert len(client.read()) == 3 * (BUDGET - 1)

    def test_what_holds_much_takes_much_of_the_budget(self) -> None:
        broker = hasty_broker()
        first, second = BrokerClient(broker), BrokerClient(broker)
        first.connect("first")
        second.connect("second")
        properties = Properties(user_properties=(("", ""),) * BUDGET * 4)
        first.send(Publish("a", b"", 1, packet_id=1, properties=properties))
        assert isinstance(first.read()[0], Puback)
        second.send(Unsubscribe(2, ("a",) * BUDGET * 6))
        assert second.read() == []
        broker.handle_timeout(0.0)
        assert isinstance(second.read()[0], Unsuback)
        second.send(Pingreq())
        assert second.read() == []
