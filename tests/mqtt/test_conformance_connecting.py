"""The broker, statement by statement: who comes in, who is sent away, sessions and wills.

Only what no test of a module shows; docs/mqtt-conformance.md has all.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from porttunnel.mqtt.broker import Broker
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.packet import (
    Auth,
    Connack,
    Connect,
    Disconnect,
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
    Will,
)
from porttunnel.mqtt.policy import (
    AllowAll,
    Attempt,
    Client,
    Decision,
    Profile,
    Refusal,
)
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.reason import DISCONNECT_REASONS, ReasonCode
from tests.mqtt.broker_client import BrokerClient

V3, V5 = Version.V3_1_1, Version.V5
BOTH = pytest.mark.parametrize("version", Version)
LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def broker_of(**profile: Any) -> Broker:
    return Broker(AllowAll(Profile(**profile)), 0.0)


def keeping(version: Version) -> dict[str, Any]:
    """Fields of a CONNECT that keeps its session for long."""
    if version is V3:
        return {"clean_start": False}
    return {"clean_start": False, "properties": Properties(session_expiry_interval=1_000)}


class TestClientIds:
    @pytest.mark.mqtt5("3.1.3-5")
    @pytest.mark.mqtt3("3.1.3-5")
    @BOTH
    def test_letters_and_digits_are_allowed(self, version: Version) -> None:
        broker = broker_of()
        names = [LETTERS[:23], LETTERS[23:46], LETTERS[46:], *LETTERS]
        for name in names:
            BrokerClient(broker, version).connect(name)
        assert {client.client_id for client in broker.clients()} == set(names)

    @pytest.mark.mqtt5("3.1.3-8", "3.2.2-7")
    @pytest.mark.mqtt3("3.1.3-9", "3.2.2-5")
    @BOTH
    def test_one_may_be_refused(self, version: Version) -> None:
        class Strict(AllowAll):
            def authenticate(self, attempt: Attempt, now: float) -> Decision | None:
                return Refusal(reason=ReasonCode.CLIENT_IDENTIFIER_NOT_VALID)

        client = BrokerClient(Broker(Strict(), 0.0), version)
        client.send(Connect(version, "no"))
        expected = b"\x20\x02\0\x02" if version is V3 else b"\x20\x03\0\x85\0"
        assert b"".join(client.core.data_to_send()) == expected
        assert client.core.is_closed

    @pytest.mark.mqtt5("3.2.2-16", "3.1.3-7")
    def test_assigned_ones_belong_to_nobody_else(self) -> None:
        broker = broker_of()
        clients = [BrokerClient(broker) for _ in range(3)]
        given = {client.connect("").properties.assigned_client_identifier for client in clients}
        assert given == {client.client_id for client in broker.clients()}
        assert len(given) == 3

    @pytest.mark.mqtt5("3.1.3-2")
    @pytest.mark.mqtt3("3.1.3-2")
    @BOTH
    def test_each_has_its_session(self, version: Version) -> None:
        broker = broker_of()
        for name in ("one", "two"):
            client = BrokerClient(broker, version)
            client.connect(name, **keeping(version))
            client.subscribe(name)
            client.drop()
        again = BrokerClient(broker, version)
        assert again.connect("two", **keeping(version)).session_present
        broker.publish("one", b"1", 0.0)
        broker.publish("two", b"2", 0.0)
        assert again.payloads() == [b"2"]


class TestSessions:
    @pytest.mark.mqtt5("3.1.2-4", "3.1.2-5", "3.1.2-6", "3.2.2-2", "3.2.2-3")
    @pytest.mark.mqtt3("3.1.2-4", "3.1.2-6", "3.2.2-1", "3.2.2-2", "3.2.2-3")
    @BOTH
    def test_go_on_or_begin_anew(self, version: Version) -> None:
        broker = broker_of()
        kept = version is V5  # a session with Clean Start may be kept; with CleanSession not
        steps = [(False, False, 0), (False, True, 1), (True, False, 0), (False, kept, kept)]
        for clean, present, subscriptions in steps:
            client = BrokerClient(broker, version)
            connack = client.connect("c", **keeping(version) | {"clean_start": clean})
            assert (connack.session_present, connack.reason) == (present, ReasonCode.SUCCESS)
            assert broker.subscription_count == subscriptions
            client.subscribe("a")
            client.drop()

    @pytest.mark.mqtt3("3.1.2-6")
    def test_a_clean_one_of_3_1_1_ends_with_its_connection(self) -> None:
        broker = broker_of()
        client = BrokerClient(broker, V3)
        client.connect("c")
        client.subscribe("a")
        client.drop()
        assert (broker.session_count, broker.subscription_count) == (0, 0)

    @pytest.mark.mqtt5("4.1.0-1")
    @pytest.mark.mqtt3("4.1.0-1", "4.1.0-2")
    @BOTH
    def test_last_as_long_as_their_connection(self, version: Version) -> None:
        broker = broker_of()
        client = BrokerClient(broker, version)
        client.connect("c")
        client.subscribe("a", 1)
        broker.handle_timeout(1e9)
        broker.publish("a", b"x", 1e9, qos=1)
        assert client.payloads() == [b"x"]
        assert broker.session_count == 1

    @pytest.mark.mqtt5("3.1.2-23", "4.1.0-2")
    @pytest.mark.mqtt3("3.1.2-4", "3.1.2-5", "4.1.0-1")
    @BOTH
    def test_outlive_it(self, version: Version) -> None:
        broker = broker_of(max_session_seconds=100)
        client = BrokerClient(broker, version)
        client.connect("c", **keeping(version))
        client.subscribe("a", 2)
        client.drop()
        broker.handle_timeout(99.0)
        for qos in range(3):
            broker.publish("a", b"%d" % qos, 99.0, qos=qos)
        client = BrokerClient(broker, version, 99.0)
        assert client.connect("c", **keeping(version)).session_present
        assert client.payloads() == [b"1", b"2"]
        client.drop()
        broker.handle_timeout(199.0)
        assert broker.session_count == 0

    @pytest.mark.mqtt3("3.1.2-7")
    @BOTH
    def test_do_not_own_retained_messages(self, version: Version) -> None:
        broker = broker_of()
        client = BrokerClient(broker, version)
        client.connect("c")
        client.publish("a", b"kept", retain=True)
        client.send(Disconnect())
        assert broker.session_count == 0
        later = BrokerClient(broker, version)
        later.connect("d")
        later.subscribe("a")
        assert later.payloads() == [b"kept"]

    @pytest.mark.mqtt5("3.1.4-3", "4.13.2-1")
    @pytest.mark.mqtt3("3.1.4-2")
    @BOTH
    def test_are_taken_over(self, version: Version) -> None:
        broker = broker_of()
        first, second = BrokerClient(broker, version), BrokerClient(broker, version)
        first.connect("c")
        second.connect("c")
        goodbye = [] if version is V3 else [Disconnect(ReasonCode.SESSION_TAKEN_OVER)]
        assert first.read() == goodbye
        assert first.core.is_closed
        assert not second.core.is_closed


class TestConnack:
    @pytest.mark.mqtt5("3.2.0-1", "3.2.0-2", "3.1.4-5")
    @pytest.mark.mqtt3("3.2.0-1", "3.1.4-4")
    @BOTH
    def test_comes_first_and_once(self, version: Version) -> None:
        broker = broker_of()
        client = BrokerClient(broker, version)
        client.connect("c", **keeping(version))
        client.subscribe("a", 1)
        client.drop()
        broker.publish("a", b"x", 0.0, qos=1)
        client = BrokerClient(broker, version)
        subscribe = Subscribe(1, (Subscription("b"),))
        client.send(Connect(version, "c", **keeping(version)), subscribe, Pingreq())
        data = b"".join(client.core.data_to_send())
        assert data[0] == 0x20
        packets = client.read()
        assert sum(isinstance(packet, Connack) for packet in packets) == 1

    @pytest.mark.mqtt5("3.1.4-6")
    @pytest.mark.mqtt3("3.1.4-5")
    @BOTH
    def test_that_refuses_is_the_end(self, version: Version) -> None:
        class Strict(AllowAll):
            def authenticate(self, attempt: Attempt, now: float) -> Decision | None:
                return Refusal()

        broker = Broker(Strict(), 0.0)
        client = BrokerClient(broker, version)
        client.send(Connect(version, "c"), Publish("a", b"x", retain=True), Pingreq())
        client.send(Publish("b", b"x", retain=True))
        assert [type(packet) for packet in client.read()] == [Connack]
        assert broker.retained_count == 0

    @pytest.mark.mqtt5("3.2.2-9", "3.2.2-10")
    def test_says_which_qos_there_is(self) -> None:
        for qos in range(3):
            client = BrokerClient(broker_of(max_qos=qos))
            told = client.connect().properties.maximum_qos
            assert told == (qos if qos < 2 else None)
            assert client.subscribe("a", 2) == qos

    @pytest.mark.mqtt5("3.2.2-12", "3.2.2-13")
    @pytest.mark.parametrize(
        ("will", "reason"),
        [
            (Will("a", b"", 1), ReasonCode.QOS_NOT_SUPPORTED),
            (Will("a", b"", retain=True), ReasonCode.RETAIN_NOT_SUPPORTED),
        ],
    )
    def test_refuses_wills_that_can_not_be(self, will: Will, reason: ReasonCode) -> None:
        client = BrokerClient(broker_of(max_qos=0, retain_available=False))
        assert client.connect(will=will).reason is reason
        assert client.core.is_closed

    @pytest.mark.mqtt5("4.12.0-1")
    def test_refuses_methods_that_nobody_knows(self) -> None:
        client = BrokerClient(broker_of())
        connack = client.connect(properties=Properties(authentication_method="x"))
        assert connack.reason is ReasonCode.BAD_AUTHENTICATION_METHOD
        assert client.core.is_closed

    @pytest.mark.mqtt5("4.12.0-6")
    def test_names_no_method_that_was_not_named(self) -> None:
        client = BrokerClient(broker_of())
        assert client.connect().properties.authentication_method is None
        client.send(Auth(ReasonCode.RE_AUTHENTICATE, Properties(authentication_method="x")))
        assert [type(packet) for packet in client.read()] == [Disconnect]

    @pytest.mark.mqtt5("3.1.2-28")
    def test_gives_no_response_information_to_who_wants_none(self) -> None:
        client = BrokerClient(broker_of())
        assert client.connect().properties.response_information is None


class Silent(AllowAll):
    """Refuses what is called secret."""

    def authorise_publish(self, client: Client, topic: str) -> str | ReasonCode:
        return ReasonCode.NOT_AUTHORIZED if topic == "secret" else topic

    def authorise_subscribe(
        self, client: Client, subscription: Subscription
    ) -> Subscription | ReasonCode:
        return ReasonCode.NOT_AUTHORIZED if subscription.filter == "secret" else subscription


@pytest.mark.mqtt5("3.1.2-29", "3.4.2-2", "3.4.2-3", "3.5.2-2", "3.5.2-3", "3.6.2-2", "3.6.2-3")
@pytest.mark.mqtt5("3.7.2-2", "3.7.2-3", "3.9.2-1", "3.9.2-2", "3.11.2-1", "3.11.2-2", "3.2.2-20")
def test_answers_say_nothing_to_people() -> None:
    """What is never sent makes no packet too large, and bothers nobody who wants none of it."""
    asked = Properties(request_problem_information=False, maximum_packet_size=30)
    client = BrokerClient(Broker(Silent(), 0.0))
    assert client.connect(properties=asked).properties.user_properties == ()
    client.acknowledges = False
    answers = [("secret", 1), ("secret", 2), ("nobody", 1), ("nobody", 2)]
    for number, (topic, qos) in enumerate(answers, 1):
        client.publish(topic, b"x", qos, packet_id=number)
    client.send(Pubrel(4), Pubrel(77))
    client.send(Subscribe(1, (Subscription("secret"), Subscription("a", 2))))
    client.send(Unsubscribe(2, ("secret", "b")))
    client.publish("a", b"x", 2, packet_id=9)
    client.send(Pubrec(1), Pubrec(77))
    packets = client.read()
    kinds = {Puback: 2, Pubrec: 3, Pubcomp: 2, Suback: 1, Unsuback: 1, Pubrel: 2}
    assert Counter(map(type, packets)) == kinds
    assert [packet.properties for packet in packets] == [EMPTY] * 11


@pytest.mark.mqtt5("3.14.0-1")
def test_nobody_is_said_goodbye_before_being_let_in() -> None:
    client = BrokerClient(broker_of())
    client.core.cut(ReasonCode.SERVER_SHUTTING_DOWN, 0.0)
    assert client.read() == []
    assert client.core.is_closed


@pytest.mark.mqtt5("3.14.2-2")
def test_a_servers_goodbye_has_no_session_expiry() -> None:
    client = BrokerClient(broker_of())
    client.connect(properties=Properties(session_expiry_interval=100))
    client.core.cut(ReasonCode.SERVER_SHUTTING_DOWN, 0.0)
    assert client.take(Disconnect).properties == EMPTY


class TestWills:
    WILL = Will(
        "gone",
        b"bye",
        1,
        properties=Properties(
            will_delay_interval=10,
            message_expiry_interval=60,
            user_properties=(("b", "1"), ("a", "2"), ("b", "3")),
        ),
    )

    def watched(self, **fields: Any) -> tuple[BrokerClient, BrokerClient]:
        broker = broker_of()
        client, watcher = BrokerClient(broker), BrokerClient(broker)
        client.connect("c", **keeping(V5) | {"will": self.WILL} | fields)
        watcher.connect("w")
        watcher.subscribe("gone", 2)
        return client, watcher

    @pytest.mark.mqtt5("3.1.2-7", "3.1.2-8", "3.1.3-10")
    def test_come_after_their_delay_as_they_were_left(self) -> None:
        client, watcher = self.watched()
        client.drop()
        client.broker.handle_timeout(9.0)
        assert watcher.payloads() == []
        client.broker.handle_timeout(10.0)
        watcher.read()
        (will,) = watcher.messages
        assert (will.topic, bytes(will.payload), will.qos) == ("gone", b"bye", 1)
        assert will.properties.user_properties == self.WILL.properties.user_properties
        assert will.properties.message_expiry_interval == 60
        assert will.properties.will_delay_interval is None

    @pytest.mark.mqtt5("3.1.3-9", "3.1.2-10")
    def test_do_not_come_if_their_client_is_back_before(self) -> None:
        client, watcher = self.watched()
        client.drop()
        again = BrokerClient(client.broker, now=5.0)
        assert again.connect("c", **keeping(V5)).session_present
        client.broker.handle_timeout(100.0)
        again.drop()
        client.broker.handle_timeout(1e9)
        assert watcher.payloads() == []

    @pytest.mark.mqtt5("3.1.2-8")
    def test_come_when_their_session_ends(self) -> None:
        client, watcher = self.watched()
        client.drop()
        BrokerClient(client.broker, now=5.0).connect("c", clean_start=True)
        assert watcher.payloads() == [b"bye"]

    @pytest.mark.mqtt5("3.14.4-3", "3.1.2-10")
    def test_not_after_a_goodbye(self) -> None:
        client, watcher = self.watched()
        client.send(Disconnect())
        client.broker.handle_timeout(1e9)
        assert watcher.payloads() == []

    @pytest.mark.mqtt5("3.1.2-8", "3.1.2-10", "3.1.2-22")
    @pytest.mark.mqtt3("3.1.2-8", "3.1.2-10", "3.1.2-24")
    @pytest.mark.parametrize("way", ["broken", "silent", "wrong", "taken over", "put out"])
    @BOTH
    def test_come_once_however_the_connection_ends(self, version: Version, way: str) -> None:
        broker = broker_of()
        client, watcher = BrokerClient(broker, version), BrokerClient(broker)
        client.connect("c", will=Will("gone", b"bye"), keep_alive_seconds=10)
        watcher.connect("w")
        watcher.subscribe("gone")
        client.core.handle_timeout(14.0)
        assert watcher.payloads() == []
        match way:
            case "broken":
                client.drop()
            case "silent":
                client.core.handle_timeout(15.0)
            case "wrong":
                client.send_bytes(b"\0\0")
            case "taken over":
                BrokerClient(broker, version).connect("c")
            case _:
                broker.disconnect_session("c", ReasonCode.ADMINISTRATIVE_ACTION, 14.0)
        assert client.core.is_closed
        assert watcher.payloads() == [b"bye"]
        client.drop()
        BrokerClient(broker, version).connect("c")
        broker.handle_timeout(1e9)
        assert watcher.payloads() == []

    @pytest.mark.mqtt5("3.1.2-8", "3.14.4-3")
    def test_come_after_a_goodbye_that_is_not_normal(self) -> None:
        for reason in sorted(DISCONNECT_REASONS - {ReasonCode.NORMAL_DISCONNECTION}):
            broker = broker_of()
            client, watcher = BrokerClient(broker), BrokerClient(broker)
            client.connect("c", will=Will("gone", b"bye"))
            watcher.connect("w")
            watcher.subscribe("gone")
            client.send(Disconnect(reason))
            assert client.core.is_closed
            assert watcher.payloads() == [b"bye"]

    @pytest.mark.mqtt5("3.1.2-14", "3.1.2-15")
    @pytest.mark.mqtt3("3.1.2-16", "3.1.2-17")
    @pytest.mark.parametrize("retain", [False, True])
    @BOTH
    def test_are_retained_if_they_say_so(self, version: Version, retain: bool) -> None:
        broker = broker_of()
        client = BrokerClient(broker, version)
        client.connect("c", will=Will("gone", b"bye", retain=retain))
        client.drop()
        later = BrokerClient(broker, version)
        later.connect("d")
        later.subscribe("gone")
        assert later.payloads() == ([b"bye"] if retain else [])


@pytest.mark.mqtt5("4.13.1-1")
@pytest.mark.mqtt3("4.8.0-1", "2.2.2-2")
@BOTH
@pytest.mark.parametrize(
    "wrong", [b"\0\0", b"\xc1\0", b"\x36\x05\0\x01a\0\x01", b"\x30\x04\0\x01\xff\0", b"\xd0\0"]
)
def test_who_breaks_the_protocol_is_sent_away(version: Version, wrong: bytes) -> None:
    broker = broker_of()
    client, other = BrokerClient(broker, version), BrokerClient(broker, version)
    client.connect("c")
    other.connect("d")
    client.send_bytes(wrong + encode(Pingreq(), version))
    packets = client.read()
    assert [type(packet) for packet in packets] == ([Disconnect] if version is V5 else [])
    assert client.core.is_closed
    assert not other.core.is_closed
