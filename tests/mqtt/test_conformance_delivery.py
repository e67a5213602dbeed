"""The broker, statement by statement: subscriptions, and messages on their way.

Only what no test of a module shows; docs/mqtt-conformance.md has all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from porttunnel.mqtt.broker import Broker
from porttunnel.mqtt.packet import (
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    RetainHandling,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Version,
)
from porttunnel.mqtt.policy import AllowAll, Profile
from porttunnel.mqtt.property import Properties
from porttunnel.mqtt.reason import ReasonCode
from tests.mqtt.broker_client import BrokerClient

V3, V5 = Version.V3_1_1, Version.V5
BOTH = pytest.mark.parametrize("version", Version)
KEPT = Properties(session_expiry_interval=1_000)


def broker_of(**profile: Any) -> Broker:
    return Broker(AllowAll(Profile(**profile)), 0.0)


def come(broker: Broker, name: str, version: Version = V5, **fields: Any) -> BrokerClient:
    """A client that acknowledges nothing by itself."""
    client = BrokerClient(broker, version, fields.pop("now", 0.0))
    client.acknowledges = False
    client.connect(name, **fields)
    return client


def come_back(broker: Broker, name: str, version: Version = V5, **said: Any) -> BrokerClient:
    """One whose session is kept."""
    properties = Properties(session_expiry_interval=1_000, **said)
    more = {} if version is V3 else {"properties": properties}
    return come(broker, name, version, clean_start=False, **more)


def messages(client: BrokerClient) -> list[Publish]:
    client._packets = client.read()
    found, client.messages = client.messages, []
    return found


def shape(found: list[Publish]) -> list[tuple[bytes, int, int | None, bool]]:
    """Payload, QoS, packet identifier and DUP."""
    return [(bytes(each.payload), each.qos, each.packet_id, each.dup) for each in found]


class TestSubscriptions:
    @pytest.mark.mqtt5("3.8.4-1", "3.8.4-2", "3.9.3-1", "3.9.3-2", "2.2.1-6")
    @pytest.mark.mqtt3("3.8.4-1", "3.8.4-2", "3.9.3-1", "3.9.3-2", "2.3.1-7")
    @BOTH
    def test_are_answered_filter_by_filter(self, version: Version) -> None:
        client = come(broker_of(max_subscriptions=3), "c", version)
        wanted = tuple(
            Subscription(text, qos) for text, qos in zip("abcd", (2, 0, 1, 1), strict=True)
        )
        client.send(Subscribe(0xFFFF, wanted))
        full = 0x80 if version is V3 else ReasonCode.QUOTA_EXCEEDED
        assert client.read() == [Suback(0xFFFF, (2, 0, 1, full))]

    @pytest.mark.mqtt5("3.8.4-3", "3.8.4-4", "3.8.4-8")
    @pytest.mark.mqtt3("3.8.4-3", "3.8.4-6")
    @BOTH
    def test_are_replaced_and_lose_nothing(self, version: Version) -> None:
        broker = broker_of()
        broker.publish("a", b"kept", 0.0, retain=True)
        client = come_back(broker, "c", version, receive_maximum=1)
        client.subscribe("a", 2)
        broker.publish("a", b"1", 0.0, qos=2)
        broker.publish("a", b"2", 0.0, qos=2)
        client.subscribe("a", 1)
        broker.publish("a", b"3", 0.0, qos=2)
        assert broker.subscription_count == 1
        found = messages(client)
        client.acknowledges = True
        client.send(*[Pubrec(each.packet_id) for each in found if each.packet_id])
        found += messages(client)
        qos_of = {bytes(each.payload): each.qos for each in found}
        assert qos_of == {b"kept": 0, b"1": 2, b"2": 2, b"3": 1}
        assert sum(each.retain for each in found) == 2
        assert len(found) == 5

    @pytest.mark.mqtt5("3.8.3-3")
    def test_without_the_clients_own_messages(self) -> None:
        broker = broker_of()
        client, other = come(broker, "c"), come(broker, "d")
        client.subscribe("a", no_local=True)
        client.publish("a", b"own")
        other.publish("a", b"other")
        assert client.payloads() == [b"other"]

    @pytest.mark.mqtt5("3.10.4-1", "3.10.4-5", "3.11.3-1", "3.11.3-2", "4.7.3-4")
    @pytest.mark.mqtt3("3.10.4-1", "3.10.4-5", "4.7.3-4")
    @BOTH
    def test_end_by_the_same_characters_only(self, version: Version) -> None:
        broker = broker_of()
        client = come(broker, "c", version)
        client.subscribe("a/+")
        client.subscribe("\u00e5")  # as one character
        others = ("a/b", "a/#", "A/+", "a//+", "a\u030a", "/a/+")
        client.send(Unsubscribe(5, (*others, "a/+")))
        none, success = ReasonCode.NO_SUBSCRIPTION_EXISTED, ReasonCode.SUCCESS
        reasons = () if version is V3 else (*[none] * 6, success)
        assert client.read() == [Unsuback(5, reasons)]
        for topic in ("a/b", "a\u030a", "\u00e5"):
            broker.publish(topic, topic.encode(), 0.0)
        assert client.payloads() == ["\u00e5".encode()]

    @pytest.mark.mqtt5("3.10.4-2", "3.10.4-3")
    @pytest.mark.mqtt3("3.10.4-2", "3.10.4-3")
    @BOTH
    def test_that_end_leave_what_was_begun(self, version: Version) -> None:
        broker = broker_of()
        client = come_back(broker, "c", version)
        client.subscribe("a", 2)
        for qos in (1, 2):
            broker.publish("a", b"%d" % qos, 0.0, qos=qos)
        assert len(messages(client)) == 2
        client.send(Unsubscribe(5, ("a",)))
        broker.publish("a", b"late", 0.0, qos=1)
        client.read()
        client.drop()
        again = come_back(broker, "c", version)
        assert shape(messages(again)) == [(b"1", 1, 1, True), (b"2", 2, 2, True)]
        again.send(Puback(1), Pubrec(2))
        assert again.read() == [Pubrel(2)]
        again.send(Pubcomp(2))
        again.drop()
        last = come_back(broker, "c", version)
        assert (last.read(), last.messages) == ([], [])

    @pytest.mark.mqtt5("3.3.4-2", "3.3.4-3", "3.3.4-4", "3.3.4-5")
    def test_that_overlap_name_themselves_in_each_copy(self) -> None:
        broker = broker_of()
        client = come(broker, "c")
        for number, (text, qos) in enumerate((("a/#", 1), ("a/b", 2), ("$share/g/a/b", 0)), 1):
            client.subscribe(text, qos, properties=Properties(subscription_identifiers=(number,)))
        broker.publish("a/b", b"x", 0.0, qos=2)
        found = {each.properties.subscription_identifiers: each.qos for each in messages(client)}
        assert found == {(1, 2): 2, (3,): 0}


class TestRetained:
    @pytest.mark.mqtt5("3.3.1-5", "3.3.1-6", "3.3.1-7", "3.3.1-8", "3.3.1-9")
    @pytest.mark.mqtt3("3.3.1-5", "3.3.1-6", "3.3.1-7", "3.3.1-10", "3.3.1-11", "3.3.1-12")
    @BOTH
    def test_messages_are_replaced_and_removed(self, version: Version) -> None:
        broker = broker_of()
        client = come(broker, "c", version)
        watcher = come(broker, "w", version)
        watcher.subscribe("a", 2)

        def kept() -> list[tuple[bytes, int, bool]]:
            late = come(broker, "late", version)
            late.subscribe("a", 2)
            return [(bytes(each.payload), each.qos, each.retain) for each in messages(late)]

        assert kept() == []
        client.publish("a", b"1", 2, retain=True)
        assert kept() == [(b"1", 2, True)]
        client.publish("a", b"2", 0, retain=True)
        assert kept() == [(b"2", 0, True)]
        client.publish("a", b"3", 1)
        client.publish("a", b"", 1)
        assert kept() == [(b"2", 0, True)]
        client.publish("a", b"", 1, retain=True)
        assert kept() == []
        assert broker.retained_count == 0
        assert watcher.payloads() == [b"1", b"2", b"3", b"", b""]

    @pytest.mark.mqtt5("3.3.1-10", "3.3.1-11")
    @pytest.mark.parametrize(
        ("handling", "first", "second"),
        [
            (RetainHandling.SEND, 1, 1),
            (RetainHandling.SEND_IF_NEW, 1, 0),
            (RetainHandling.DO_NOT_SEND, 0, 0),
        ],
    )
    def test_messages_come_as_was_asked(
        self, handling: RetainHandling, first: int, second: int
    ) -> None:
        broker = broker_of()
        broker.publish("a", b"x", 0.0, retain=True)
        client = come(broker, "c")
        for expected in (first, second):
            client.subscribe("#", retain_handling=handling)
            assert len(client.payloads()) == expected

    @pytest.mark.mqtt5("3.3.1-12", "3.3.1-13")
    @pytest.mark.mqtt3("3.3.1-8", "3.3.1-9")
    @BOTH
    def test_is_told_of_old_messages_only(self, version: Version) -> None:
        broker = broker_of()
        client = come(broker, "c", version)
        client.publish("a", b"old", retain=True)
        client.subscribe("a")
        client.publish("a", b"new", retain=True)
        assert [each.retain for each in messages(client)] == [True, False]


class TestWhatIsPassedOn:
    @pytest.mark.mqtt5("3.3.1-2", "3.3.1-3")
    @pytest.mark.mqtt3("3.3.1-2", "3.3.1-3")
    @pytest.mark.parametrize("qos", [1, 2])
    @BOTH
    def test_has_a_dup_of_its_own(self, version: Version, qos: int) -> None:
        broker = broker_of()
        publisher, subscriber = come(broker, "p", version), come(broker, "s", version)
        subscriber.subscribe("a", qos)
        publisher.publish("a", b"x", qos, packet_id=7, dup=True)
        assert shape(messages(subscriber)) == [(b"x", qos, 1, False)]

    @pytest.mark.mqtt5("3.3.2-3")
    @pytest.mark.mqtt3("3.3.2-3")
    @BOTH
    def test_has_a_topic_that_matches(self, version: Version) -> None:
        broker = broker_of()
        client = come(broker, "c", version)
        client.subscribe("a/+/c")
        for topic in ("a/b/c", "a/b", "a/b/c/d", "a//c", "a/b/C"):
            broker.publish(topic, b"", 0.0)
        assert [each.topic for each in messages(client)] == ["a/b/c", "a//c"]

    @pytest.mark.mqtt5(
        "3.3.2-4", "3.3.2-6", "3.3.2-15", "3.3.2-16", "3.3.2-17", "3.3.2-18", "3.3.2-20"
    )
    @pytest.mark.parametrize("qos", [0, 1, 2])
    def test_has_the_publishers_properties(self, qos: int) -> None:
        said = Properties(
            payload_format_indicator=True,
            message_expiry_interval=60,
            content_type="text/plain",
            response_topic="answers/\u00fc",
            correlation_data=b"\0\xff",
            user_properties=(("b", "1"), ("a", "2"), ("b", "3")),
        )
        broker = broker_of()
        publisher, subscriber = come(broker, "p"), come(broker, "s")
        subscriber.subscribe("a", qos)
        publisher.publish("a", b"x", qos, properties=said)
        (message,) = messages(subscriber)
        assert message.properties == said

    @pytest.mark.mqtt5("3.3.2-5", "3.3.2-6")
    def test_is_younger_by_the_time_that_it_waited(self) -> None:
        broker = broker_of()
        come_back(broker, "s").subscribe("a", 1)
        broker.disconnect_session("s", ReasonCode.ADMINISTRATIVE_ACTION, 0.0)
        for seconds in (10, 60):
            expiry = Properties(message_expiry_interval=seconds)
            broker.publish("a", b"%d" % seconds, 0.0, qos=1, properties=expiry)
        again = come(broker, "s", now=20.0, clean_start=False, properties=KEPT)
        (message,) = messages(again)
        assert bytes(message.payload) == b"60"
        assert message.properties.message_expiry_interval == 40

    @pytest.mark.mqtt5("3.3.2-7", "3.3.2-11", "3.3.2-12", "3.1.2-26", "3.1.2-27")
    def test_may_have_an_alias_for_as_long_as_the_connection(self) -> None:
        broker = broker_of(topic_alias_maximum=2)
        subscriber = come(broker, "s", properties=Properties(topic_alias_maximum=1))
        plain = come(broker, "plain")
        for client in (subscriber, plain):
            client.subscribe("#")
        publisher = come(broker, "p")
        for alias in (1, 2):
            publisher.publish(str(alias), properties=Properties(topic_alias=alias))
            publisher.publish("", properties=Properties(topic_alias=alias))
        found = [(each.topic, each.properties.topic_alias) for each in messages(subscriber)]
        assert found == [("1", 1), ("", 1), ("2", None), ("2", None)]
        assert [each.topic for each in messages(plain)] == ["1", "1", "2", "2"]
        again = come(broker, "p")
        again.publish("", properties=Properties(topic_alias=1))
        assert again.take(Disconnect).reason is ReasonCode.PROTOCOL_ERROR

    @pytest.mark.mqtt5("4.6.0-5", "4.6.0-6")
    @pytest.mark.mqtt3("4.6.0-1", "4.6.0-5", "4.6.0-6")
    @pytest.mark.parametrize("qos", [0, 1, 2])
    @BOTH
    def test_keeps_its_order(self, version: Version, qos: int) -> None:
        broker = broker_of(max_inflight=3)
        publisher, subscriber = come(broker, "p", version), come_back(broker, "s", version)
        subscriber.subscribe("a", qos)
        for number in range(1, 9):
            publisher.publish("a", b"%d" % number, qos, packet_id=number)
        found = [bytes(each.payload) for each in messages(subscriber)]
        if qos:
            assert found == [b"1", b"2", b"3"]
            subscriber.drop()
            subscriber = come_back(broker, "s", version)
            assert [each.packet_id for each in messages(subscriber)] == [1, 2, 3]
            subscriber.acknowledges = True
            for number in range(1, 4):
                subscriber.send(Puback(number) if qos == 1 else Pubrec(number))
            found += subscriber.payloads()
        assert found == [b"%d" % number for number in range(1, 9)]


class TestReceiving:
    @pytest.mark.mqtt5("4.3.2-4", "4.3.2-5", "2.2.1-5")
    @pytest.mark.mqtt3("4.3.2-2", "2.3.1-6")
    @BOTH
    def test_qos_1(self, version: Version) -> None:
        broker = broker_of()
        publisher, subscriber = come(broker, "p", version), come(broker, "s", version)
        subscriber.subscribe("a")
        for dup in (False, True):
            publisher.publish("a", b"x", 1, packet_id=7, dup=dup)
            assert publisher.read() == [Puback(7)]
        assert subscriber.payloads() == [b"x", b"x"]

    @pytest.mark.mqtt5("4.3.3-8", "4.3.3-10", "4.3.3-11", "4.3.3-12", "4.3.3-13")
    @pytest.mark.mqtt3("4.3.3-2", "2.3.1-6")
    @BOTH
    def test_qos_2_also_when_the_message_has_expired(self, version: Version) -> None:
        broker = broker_of()
        publisher, subscriber = come_back(broker, "p", version), come(broker, "s", version)
        subscriber.subscribe("a")
        message = {"packet_id": 7, "properties": Properties(message_expiry_interval=1)}
        publisher.publish("a", b"x", 2, **message)
        assert publisher.read() == [Pubrec(7)]
        publisher.drop()
        publisher = come_back(broker, "p", version)
        publisher.now = 100.0
        publisher.publish("a", b"x", 2, dup=True, **message)
        publisher.send(Pubrel(7))
        assert publisher.read() == [Pubrec(7), Pubcomp(7)]
        assert subscriber.payloads() == [b"x"]
        publisher.publish("a", b"y", 2, packet_id=7)
        assert subscriber.payloads() == [b"y"]

    @pytest.mark.mqtt5("4.3.3-9", "3.5.2-1")
    def test_qos_2_that_is_refused(self) -> None:
        broker = broker_of()
        publisher, subscriber = come(broker, "p"), come(broker, "s")
        subscriber.subscribe("a")
        publisher.publish("$SYS/a", b"x", 2, packet_id=7)
        assert publisher.read() == [Pubrec(7, ReasonCode.NOT_AUTHORIZED)]
        publisher.publish("a", b"y", 2, packet_id=7)
        assert publisher.read() == [Pubrec(7)]
        assert subscriber.payloads() == [b"y"]

    @pytest.mark.mqtt3("3.3.5-2")
    @pytest.mark.parametrize("qos", [1, 2])
    def test_what_is_not_allowed_in_3_1_1(self, qos: int) -> None:
        publisher = come(broker_of(), "p", V3)
        publisher.publish("$SYS/a", b"x", qos, packet_id=7)
        assert publisher.read() == [Puback(7) if qos == 1 else Pubrec(7)]

    @pytest.mark.mqtt5("4.5.0-1")
    @pytest.mark.mqtt3("4.5.0-1", "3.1.2-5")
    @BOTH
    def test_means_keeping_it_for_all(self, version: Version) -> None:
        broker = broker_of()
        publisher = come(broker, "p", version)
        for name in ("one", "two"):
            client = come_back(broker, name, version)
            client.subscribe("a", 1)
            client.drop()
        publisher.publish("a", b"x", 1)
        assert publisher.read() == [Puback(1)]
        publisher.drop()
        for name in ("one", "two"):
            assert come_back(broker, name, version).payloads() == [b"x"]


class TestSending:
    @pytest.mark.mqtt5("4.3.3-2", "4.3.3-3", "4.3.3-4", "4.3.3-5", "4.3.3-6", "3.3.1-1")
    @pytest.mark.mqtt3("4.3.3-1", "4.4.0-1", "3.3.1-1", "2.3.1-4")
    @BOTH
    def test_qos_2_over_several_connections(self, version: Version) -> None:
        broker = broker_of()
        client = come_back(broker, "c", version)
        client.subscribe("a", 2)
        broker.publish("a", b"x", 0.0, qos=2)
        assert shape(messages(client)) == [(b"x", 2, 1, False)]
        client.drop()
        client = come_back(broker, "c", version)
        assert shape(messages(client)) == [(b"x", 2, 1, True)]
        client.send(Pubrec(1))
        assert client.read() == [Pubrel(1)]
        client.drop()
        client = come_back(broker, "c", version)
        assert client.read() == [Pubrel(1)]
        assert client.messages == []
        client.send(Pubcomp(1))
        client.drop()
        client = come_back(broker, "c", version)
        assert client.read() == []
        assert client.messages == []

    @pytest.mark.mqtt5("4.4.0-1")
    @pytest.mark.mqtt3("4.4.0-1", "4.3.2-1")
    @BOTH
    def test_again_on_a_new_connection_only(self, version: Version) -> None:
        broker = broker_of()
        client = come_back(broker, "c", version)
        client.subscribe("a", 1)
        broker.publish("a", b"x", 0.0, qos=1)
        assert len(messages(client)) == 1
        for now in (10.0, 1e4, 1e6):
            broker.handle_timeout(now)
            client.core.handle_timeout(now)
            client.send(Pingreq())
        assert messages(client) == []

    @pytest.mark.mqtt5("4.4.0-2", "4.8.2-6")
    @pytest.mark.parametrize("shared", [False, True])
    @pytest.mark.parametrize("qos", [1, 2])
    def test_nothing_again_that_was_refused(self, qos: int, shared: bool) -> None:
        broker = broker_of()
        clients = [come_back(broker, name) for name in "ab"]
        for client in clients:
            client.subscribe("$share/g/a" if shared else "a", qos)
        broker.publish("a", b"x", 0.0, qos=qos)
        found = [len(messages(client)) for client in clients]
        assert sorted(found) == ([0, 1] if shared else [1, 1])
        for client, count in zip(clients, found, strict=True):
            if count:
                answer = Puback if qos == 1 else Pubrec
                client.send(answer(1, ReasonCode.QUOTA_EXCEEDED))
            client.drop()
        for name in "ab":
            assert come_back(broker, name).payloads() == []

    @pytest.mark.mqtt5("3.3.4-9", "3.3.4-10", "4.9.0-1", "4.9.0-2", "4.9.0-3")
    def test_no_more_than_the_client_takes_but_all_else(self) -> None:
        broker = broker_of()
        client = come(broker, "c", properties=Properties(receive_maximum=2))
        client.subscribe("a", 2)
        for number in range(1, 5):
            broker.publish("a", b"%d" % number, 0.0, qos=2)
        assert len(messages(client)) == 2
        client.send(Pingreq())
        client.publish("b", b"", 1, packet_id=5)
        client.publish("b", b"", 2, packet_id=6)
        client.send(Pubrel(6), Subscribe(7, (Subscription("c"),)), Unsubscribe(8, ("c",)))
        kinds = [type(packet) for packet in client.read()]
        assert sorted(kind.__name__ for kind in kinds) == sorted(
            kind.__name__ for kind in (Pingresp, Puback, Pubrec, Pubcomp, Suback, Unsuback)
        )
        assert client.messages == []
        client.send(Pubrec(1))
        assert client.read() == [Pubrel(1)]
        assert client.messages == []
        client.send(Pubcomp(1))
        assert shape(messages(client)) == [(b"3", 2, 3, False)]

    @pytest.mark.mqtt5("2.2.1-4", "4.3.2-1", "4.3.3-1")
    @pytest.mark.mqtt3("2.3.1-1", "2.3.1-4")
    @BOTH
    def test_identifiers_that_are_free(self, version: Version) -> None:
        broker = broker_of()
        client = come(broker, "c", version)
        client.subscribe("a", 2)
        for number in range(6):
            broker.publish("a", b"", 0.0, qos=1 + number % 2)
        numbers = [each.packet_id for each in messages(client)]
        assert len(set(numbers)) == 6
        assert 0 not in numbers

    @pytest.mark.mqtt5("3.1.2-24", "3.1.2-25")
    @pytest.mark.parametrize("qos", [0, 1, 2])
    def test_nothing_that_is_too_large(self, qos: int) -> None:
        broker = broker_of()
        asked = Properties(maximum_packet_size=100, receive_maximum=1)
        client = come(broker, "c", properties=asked)
        client.subscribe("a", qos)
        publisher = come(broker, "p")
        publisher.publish("a", bytes(100), qos)
        publisher.publish("a", b"small", qos, packet_id=2)
        assert client.payloads() == [b"small"]


class TestSizes:
    """A client's Maximum Packet Size, to the byte."""

    def sizes(self, limit: int, act: Callable[[Broker, BrokerClient], None]) -> list[int]:
        """The sizes of the packets that ``act`` brings to a client with that limit."""
        broker = broker_of()
        client = come(broker, "c", properties=Properties(maximum_packet_size=limit))
        act(broker, client)
        found = []
        data = b"".join(client.core.data_to_send())
        while data:
            size = 2 + data[1]
            found.append(size)
            data = data[size:]
        return found

    @pytest.mark.mqtt5("3.1.2-24", "3.1.2-25")
    @pytest.mark.parametrize("special", [False, True])
    @pytest.mark.parametrize("raw", [False, True])
    @pytest.mark.parametrize("qos", [0, 1, 2])
    def test_messages(self, qos: int, raw: bool, special: bool) -> None:
        head = 2 + 3 + 2 * bool(qos) + 1 + 2 * special

        def act(broker: Broker, client: BrokerClient) -> None:
            identifier = Properties(subscription_identifiers=(1,) if special else ())
            client.send(Subscribe(1, (Subscription("a", qos),), identifier))
            publisher = come(broker, "p") if raw else None
            for number, size in enumerate((100, 101, 99), 1):
                if publisher is None:
                    broker.publish("a", bytes(size - head), 0.0, qos=qos)
                else:
                    publisher.publish("a", bytes(size - head), qos, packet_id=number)

        assert self.sizes(100, act) == [6, 100, 99]

    @pytest.mark.mqtt5("3.1.2-24")
    @pytest.mark.parametrize(("count", "size"), [(15, 20), (16, 3)])
    def test_answers(self, count: int, size: int) -> None:
        def act(broker: Broker, client: BrokerClient) -> None:
            client.send(Subscribe(1, (Subscription("a"),) * count))

        assert self.sizes(20, act) == [size]  # the SUBACK, or a DISCONNECT

    @pytest.mark.mqtt5("3.1.2-24", "3.14.2-3")
    @pytest.mark.parametrize(("length", "size"), [(13, 20), (14, 3)])
    def test_goodbyes(self, length: int, size: int) -> None:
        def act(broker: Broker, client: BrokerClient) -> None:
            reason = ReasonCode.USE_ANOTHER_SERVER
            client.core.cut(reason, 0.0, server_reference="x" * length)

        assert self.sizes(20, act) == [size]


@pytest.mark.mqtt5("4.3.2-3", "4.3.3-3", "4.4.0-2")
@pytest.mark.mqtt3("2.3.1-4")
@pytest.mark.parametrize("qos", [1, 2])
@BOTH
def test_what_is_acknowledged_is_forgotten(version: Version, qos: int) -> None:
    broker = broker_of()
    client = come_back(broker, "c", version)
    client.subscribe("a", qos)
    before = broker.held_bytes
    for number in range(3):
        broker.publish("a", b"%d" % number, 0.0, qos=qos)
    assert broker.held_bytes > before
    assert len(messages(client)) == 3
    if qos == 1:
        client.send(Puback(1), Puback(2), Puback(3, ReasonCode.QUOTA_EXCEEDED))
    else:
        failure = ReasonCode.QUOTA_EXCEEDED if version is V5 else ReasonCode.SUCCESS
        client.send(Pubrec(1), Pubrec(2), Pubrec(3, failure))
        assert before < broker.held_bytes < before + 3 * 100  # only that they came is known
        client.send(Pubcomp(1), Pubcomp(2), Pubcomp(3))
    assert broker.held_bytes == before
    client.drop()
    broker.publish("a", b"x", 0.0, qos=qos)
    assert broker.held_bytes > before
    broker.handle_timeout(1e9)
    assert (broker.held_bytes, broker.session_count) == (0, 0)


class TestSharedSubscriptions:
    def pair(self, qos: int) -> tuple[Broker, BrokerClient, BrokerClient]:
        """Whoever got a message, and the other one."""
        broker = broker_of()
        clients = [come_back(broker, name) for name in "ab"]
        for client in clients:
            client.subscribe("$share/g/a", qos)
        broker.publish("a", b"x", 0.0, qos=2)
        clients.sort(key=lambda client: len(messages(client)))
        other, receiver = clients
        return broker, receiver, other

    @pytest.mark.mqtt5("4.8.2-4")
    def test_a_message_is_completed_by_who_has_it(self) -> None:
        broker, receiver, other = self.pair(2)
        name = receiver.core.session.name if receiver.core.session else ""
        receiver.drop()
        assert other.payloads() == []
        again = come_back(broker, name)
        assert shape(messages(again)) == [(b"x", 2, 1, True)]
        again.send(Pubrec(1))
        assert again.read() == [Pubrel(1)]

    @pytest.mark.mqtt5("4.8.2-5")
    def test_it_goes_to_nobody_else(self) -> None:
        broker, receiver, other = self.pair(2)
        name = receiver.core.session.name if receiver.core.session else ""
        broker.disconnect_session(name, ReasonCode.ADMINISTRATIVE_ACTION, 0.0, forget=True)
        broker.handle_timeout(1e9)
        assert other.payloads() == []
        assert come_back(broker, name).payloads() == []

    @pytest.mark.mqtt5("4.8.2-3")
    def test_each_has_its_own_qos(self) -> None:
        broker = broker_of()
        clients = [come(broker, str(qos)) for qos in range(3)]
        for qos, client in enumerate(clients):
            client.subscribe("$share/g/a", qos)
        for _ in range(9):
            broker.publish("a", b"x", 0.0, qos=2)
        for qos, client in enumerate(clients):
            assert {each.qos for each in messages(client)} == {qos}

    @pytest.mark.mqtt5("4.8.2-1", "4.8.2-2")
    @pytest.mark.parametrize("text", ["$share//a", "$share/g", "$share/+/a", "$share/g#/a"])
    def test_names_that_are_none(self, text: str) -> None:
        client = come(broker_of(), "c")
        client.send(Subscribe(1, (Subscription(text),)))
        assert client.take(Disconnect).reason is ReasonCode.TOPIC_FILTER_INVALID


@pytest.mark.mqtt5("4.7.2-1")
@pytest.mark.mqtt3("4.7.2-1")
@BOTH
def test_wildcards_do_not_mean_the_servers_own_topics(version: Version) -> None:
    broker = broker_of()
    broker.publish("$SYS/a", b"kept", 0.0, retain=True)
    client = come(broker, "c", version)
    for text in ("#", "+/a", "+/#"):
        client.subscribe(text)
    broker.publish("$SYS/a", b"new", 0.0)
    assert client.payloads() == []
    client.subscribe("$SYS/+")
    assert client.payloads() == [b"kept"]


@pytest.mark.mqtt3("3.8.3-2")
def test_without_wildcards_filters_that_have_some_fail() -> None:
    client = come(broker_of(wildcards_available=False), "c", V3)
    client.send(Subscribe(1, (Subscription("a/+"), Subscription("#"), Subscription("a"))))
    assert client.read() == [Suback(1, (0x80, 0x80, 0))]


@pytest.mark.mqtt5("3.1.0-2")
@pytest.mark.mqtt3("3.1.0-2", "4.8.0-1")
@BOTH
def test_a_second_connect_ends_the_connection(version: Version) -> None:
    client = come(broker_of(), "c", version)
    client.send(Connect(version, "c"), Publish("a", b"x", retain=True))
    expected = [] if version is V3 else [Disconnect(ReasonCode.PROTOCOL_ERROR)]
    assert client.read() == expected
    assert client.core.is_closed
    assert client.broker.retained_count == 0
