"""Who comes is asked about, let in or sent away, and goes again."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from porttunnel.errors import MqttError
from porttunnel.mqtt.broker import Broker
from porttunnel.mqtt.message import Message
from porttunnel.mqtt.packet import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Publish,
    Version,
    Will,
)
from porttunnel.mqtt.policy import (
    Admission,
    Attempt,
    Bounds,
    Challenge,
    Client,
    Decision,
    Profile,
    Refusal,
)
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.reception import ClientAdmitted, ConnectionEnded, ConnectionState
from tests.mqtt.broker_client import BrokerClient, NotingPolicy

V3, V5 = Version.V3_1_1, Version.V5
ADMITTED = Admission(profile=Profile())
METHOD = Properties(authentication_method="m", authentication_data=b"first")


class Desk(NotingPolicy):
    """Answers with what it was told to, or later."""

    def __init__(self, *answers: Decision | None, **bounds: Any) -> None:
        super().__init__(None, Bounds(**bounds))
        self.answers = list(answers)
        self.attempts: list[Attempt] = []
        self.data: list[bytes | None] = []

    def authenticate(self, attempt: Attempt, now: float) -> Decision | None:
        self.attempts.append(attempt)
        self.data.append(attempt.authentication_data)
        return self.answers.pop(0) if self.answers else None


def meet(policy: Desk, version: Version = V5) -> BrokerClient:
    return BrokerClient(Broker(policy, 0.0), version)


def ended(client: BrokerClient) -> ConnectionEnded:
    *_, last = client.core.events()
    assert isinstance(last, ConnectionEnded)
    assert client.core.is_closed
    return last


class TestLettingIn:
    @pytest.mark.mqtt5("3.1.4-5", "3.2.0-1", "3.2.2-2", "3.2.2-3")
    @pytest.mark.mqtt3("3.1.4-4", "3.2.0-1", "3.2.2-1", "3.2.2-2", "3.2.2-3")
    @pytest.mark.parametrize("version", Version)
    def test_at_once(self, version: Version) -> None:
        policy = Desk(ADMITTED, ADMITTED)
        client = meet(policy, version)
        assert client.core.state is ConnectionState.NEW
        kept = {} if version == V3 else {"properties": Properties(session_expiry_interval=9)}
        connack = client.connect("c", clean_start=False, **kept)
        assert (connack.session_present, connack.reason) == (False, 0)
        (event,) = client.core.events()
        assert isinstance(event, ClientAdmitted)
        assert (event.client.client_id, event.client.peer) == ("c", "test")
        assert policy.attempts[0].peer == "test"
        again = BrokerClient(client.broker, version)
        assert again.connect("c", clean_start=False, **kept).session_present
        notes = policy.told()
        assert notes == [
            ("connected", "c", False),
            ("disconnected", "c", ReasonCode.SESSION_TAKEN_OVER),
            ("connected", "c", True),
        ]

    def test_later(self) -> None:
        policy = Desk(None)
        client = meet(policy)
        client.send(Connect(V5, "c"), Pingreq())
        assert client.read() == []
        assert client.core.state is ConnectionState.DECIDING
        assert not client.core.may_receive
        client.send(Pingreq())
        policy.attempts[0].answer(ADMITTED, 1.0)
        assert [type(each) for each in client.read()] == [Connack, Pingresp, Pingresp]
        assert client.core.may_receive
        policy.attempts[0].answer(Refusal(), 2.0)
        assert not client.core.is_closed
        assert client.broker.counters.bytes_received == 16 + 4

    @pytest.mark.mqtt5("3.1.3-6", "3.1.3-7", "3.2.2-16")
    @pytest.mark.mqtt3("3.1.3-6")
    @pytest.mark.parametrize("version", Version)
    def test_without_a_name(self, version: Version) -> None:
        policy = Desk(ADMITTED)
        client = meet(policy, version)
        connack = client.connect("")
        spare = f"spare{id(client)}"
        told = connack.properties.assigned_client_identifier
        assert told == (spare if version == V5 else None)
        assert next(client.broker.clients()).client_id == spare

    def test_under_names_of_the_policy(self) -> None:
        given = Admission(
            profile=Profile(), session_name="one", user_name="owner", context={"any": "thing"}
        )
        policy = Desk(given, given, ADMITTED)
        first = meet(policy)
        first.connect("c", user_name="name")
        second = BrokerClient(first.broker)
        second.connect("d")
        assert ended(first).reason is ReasonCode.SESSION_TAKEN_OVER
        third = BrokerClient(first.broker)
        third.connect("one-more", user_name="name")
        found = {client.session_name: client for client in first.broker.clients()}
        assert set(found) == {"one", "one-more"}
        assert (found["one"].user_name, found["one"].context) == ("owner", {"any": "thing"})
        assert (found["one-more"].user_name, found["one-more"].context) == ("name", None)

    def test_and_out_by_the_policy_before_it_has_begun(self) -> None:
        class Strict(Desk):
            broker: Broker

            def connected(self, client: Client, session_present: bool, now: float) -> None:
                self.broker.disconnect_session("c", ReasonCode.ADMINISTRATIVE_ACTION, now)

        policy = Strict(ADMITTED)
        client = meet(policy)
        policy.broker = client.broker
        client.send(Connect(V5, "c"))
        assert [type(each) for each in client.read()] == [Connack, Disconnect]


class TestRefusing:
    @pytest.mark.mqtt5("3.1.4-2", "3.2.2-6", "3.2.2-7", "3.1.4-6")
    @pytest.mark.mqtt3("3.2.2-4", "3.2.2-5", "3.1.4-5")
    @pytest.mark.parametrize("version", Version)
    @pytest.mark.parametrize("later", [False, True])
    def test_by_the_policy(self, version: Version, later: bool) -> None:
        refusal = Refusal(reason=ReasonCode.BAD_USER_NAME_OR_PASSWORD, reason_string="no")
        policy = Desk(None if later else refusal)
        client = meet(policy, version)
        client.send(Connect(version, "c"), Pingreq())
        if later:
            policy.attempts[0].answer(refusal, 0.0)
        (connack,) = client.read()
        assert isinstance(connack, Connack)
        assert connack.reason is ReasonCode.BAD_USER_NAME_OR_PASSWORD
        assert connack.properties.reason_string == ("no" if version == V5 else None)
        assert ended(client).reason is ReasonCode.BAD_USER_NAME_OR_PASSWORD
        assert client.broker.counters.refusals == 1
        assert policy.told() == []

    def test_a_reason_that_connack_does_not_have(self) -> None:
        client = meet(Desk(Refusal(reason=ReasonCode.KEEP_ALIVE_TIMEOUT)))
        assert client.connect().reason is ReasonCode.UNSPECIFIED_ERROR

    def test_a_text_that_is_too_long(self) -> None:
        refusal = Refusal(reason_string="x" * 100)
        for size, expected in ((150, [Connack]), (20, [Connack]), (4, [])):
            client = meet(Desk(refusal))
            client.send(Connect(V5, "c", properties=Properties(maximum_packet_size=size)))
            assert [type(each) for each in client.read()] == expected

    @pytest.mark.parametrize("text", ["reason_string", "server_reference"])
    def test_a_text_that_mqtt_has_no_room_for(self, text: str) -> None:
        policy = Desk(replace(Refusal(), **{text: "x" * 65_536}))
        client = meet(policy)
        connack = client.connect()
        assert (connack.reason, connack.properties) == (ReasonCode.NOT_AUTHORIZED, EMPTY)
        assert ended(client).reason is ReasonCode.NOT_AUTHORIZED

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("reason_string", ReasonCode.SUCCESS),
            ("response_information", ReasonCode.PACKET_TOO_LARGE),
        ],
    )
    def test_a_text_with_which_nobody_can_be_let_in(self, text: str, reason: ReasonCode) -> None:
        admission = replace(ADMITTED, **{text: "x" * 65_536})
        client = meet(Desk(admission))
        asked = Properties(request_response_information=True)
        assert client.connect(properties=asked).reason is reason

    def test_what_can_not_be_told(self) -> None:
        client = meet(Desk(ADMITTED))
        client.send(Connect(V5, "c", properties=Properties(maximum_packet_size=6)))
        (connack,) = client.read()
        assert isinstance(connack, Connack)
        assert connack.reason is ReasonCode.PACKET_TOO_LARGE

    @pytest.mark.mqtt5("3.1.4-2")
    def test_a_will_that_may_not_be(self) -> None:
        client = meet(Desk(ADMITTED))
        connack = client.connect("c", will=Will("$SYS/x", b""))
        assert connack.reason is ReasonCode.NOT_AUTHORIZED

    def test_too_many_at_a_time(self) -> None:
        policy = Desk(ADMITTED, connects_per_second=1.0, connect_burst=1)
        client = meet(policy)
        client.connect()
        again = BrokerClient(client.broker)
        assert again.connect().reason is ReasonCode.CONNECTION_RATE_EXCEEDED
        assert len(policy.attempts) == 1

    @pytest.mark.parametrize(
        ("elsewhere", "reason"),
        [(None, ReasonCode.SERVER_UNAVAILABLE), ("other", ReasonCode.USE_ANOTHER_SERVER)],
    )
    def test_while_draining(self, elsewhere: str | None, reason: ReasonCode) -> None:
        client = meet(Desk())
        client.broker.drain(0.0, server_reference=elsewhere)
        late = BrokerClient(client.broker)
        connack = late.connect()
        assert connack.reason is reason
        assert connack.properties.server_reference == elsewhere
        older = BrokerClient(client.broker, V3)
        assert older.connect().reason is ReasonCode.SERVER_UNAVAILABLE

    @pytest.mark.mqtt5("3.1.0-1", "3.14.0-1")
    @pytest.mark.mqtt3("3.1.0-1")
    def test_what_is_no_connect(self) -> None:
        for data in (b"\xc0\0", b"GET / HTTP/1.1\r\n", b"\x10\5\0\3abc"):
            client = meet(Desk())
            client.send_bytes(data)
            assert client.read() == []
            assert ended(client).error is not None
        assert client.broker.counters.failures == 1

    @pytest.mark.mqtt5("3.1.2-2", "3.1.4-1")
    @pytest.mark.mqtt3("3.1.2-2", "3.1.4-1", "3.2.2-6")
    def test_a_wrong_connect(self) -> None:
        client = meet(Desk(), V5)
        client.send_bytes(b"\x10\x0d\0\4MQTT\6\2\0\0\0\0\0")
        assert client.take(Connack).reason is ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
        client = meet(Desk(), V3)
        client.send_bytes(b"\x10\x0c\0\4MQTT\3\2\0\0\0\0")
        assert client.take(Connack).reason is ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
        client = meet(Desk(), V3)
        client.send_bytes(b"\x10\x0c\0\4MQTT\4\3\0\0\0\0")
        assert client.read() == []
        assert ended(client).reason is ReasonCode.MALFORMED_PACKET


class TestTime:
    def test_to_connect(self) -> None:
        client = meet(Desk(connect_seconds=5.0))
        assert client.core.next_deadline() == 5.0
        client.core.handle_timeout(4.9)
        assert not client.core.is_closed
        client.core.handle_timeout(5.0)
        assert ended(client).reason is ReasonCode.MAXIMUM_CONNECT_TIME
        assert client.core.next_deadline() is None

    def test_to_decide(self) -> None:
        policy = Desk(None, authentication_seconds=7.0)
        client = meet(policy)
        client.now = 1.0
        client.send(Connect(V5, "c"))
        assert client.core.next_deadline() == 8.0
        client.core.handle_timeout(8.0)
        assert client.take(Connack).reason is ReasonCode.SERVER_BUSY
        policy.attempts[0].answer(ADMITTED, 9.0)
        assert client.read() == []

    def test_to_prove_it_again(self) -> None:
        client = meet(Desk(ADMITTED, None, authentication_seconds=7.0))
        client.connect(properties=METHOD)
        client.send(Auth(ReasonCode.RE_AUTHENTICATE, METHOD))
        client.core.handle_timeout(7.0)
        assert client.take(Disconnect).reason is ReasonCode.NOT_AUTHORIZED


class TestEnhancedAuthentication:
    @pytest.mark.mqtt5("4.12.0-2", "4.12.0-3", "4.12.0-5")
    def test_several_steps(self) -> None:
        final = Admission(profile=Profile(), authentication_data=b"last")
        policy = Desk(Challenge(authentication_data=b"question"), None)
        client = meet(policy)
        client.send(Connect(V5, "c", properties=METHOD))
        question = client.take(Auth)
        assert question.reason is ReasonCode.CONTINUE_AUTHENTICATION
        assert question.properties.authentication_method == "m"
        assert question.properties.authentication_data == b"question"
        assert client.core.state is ConnectionState.CHALLENGED
        policy.attempts[0].answer(final, 0.0)  # before the client has: not meant
        assert client.read() == []
        data = Properties(authentication_method="m", authentication_data=b"answer")
        client.send(Auth(ReasonCode.CONTINUE_AUTHENTICATION, data))
        assert policy.data == [b"first", b"answer"]
        policy.attempts[0].answer(final, 0.0)
        connack = client.take(Connack)
        assert connack.properties.authentication_method == "m"
        assert connack.properties.authentication_data == b"last"

    @pytest.mark.mqtt5("4.12.0-4")
    def test_that_fails(self) -> None:
        client = meet(Desk(Challenge(), Refusal()))
        client.send(Connect(V5, "c", properties=METHOD))
        client.send(Auth(ReasonCode.CONTINUE_AUTHENTICATION, METHOD))
        assert client.take(Connack).reason is ReasonCode.NOT_AUTHORIZED
        assert client.core.is_closed

    @pytest.mark.mqtt5("3.1.2-30")
    def test_nothing_else_comes_before_it_is_over(self) -> None:
        client = meet(Desk(Challenge()))
        client.send(Connect(V5, "c", properties=METHOD))
        client.send(Pingreq())
        assert client.take(Connack).reason is ReasonCode.PROTOCOL_ERROR

    @pytest.mark.mqtt5("4.12.0-6")
    @pytest.mark.parametrize("version", Version)
    def test_nobody_is_asked_who_could_not_answer(self, version: Version) -> None:
        client = meet(Desk(Challenge(authentication_data=b"question")), version)
        client.send(Connect(version, "c"), Pingreq())
        (connack,) = client.read()
        assert isinstance(connack, Connack)
        assert connack.reason is ReasonCode.NOT_AUTHORIZED
        assert connack.properties.authentication_method is None
        assert client.core.is_closed

    @pytest.mark.mqtt5("3.1.2-24")
    def test_a_question_that_is_too_large(self) -> None:
        small = replace(METHOD, maximum_packet_size=40)
        client = meet(Desk(Challenge(authentication_data=bytes(50))))
        client.send(Connect(V5, "c", properties=small))
        assert client.take(Connack).reason is ReasonCode.PACKET_TOO_LARGE
        client = meet(Desk(ADMITTED, Challenge(authentication_data=bytes(50))))
        client.connect(properties=small)
        client.send(Auth(ReasonCode.RE_AUTHENTICATE, METHOD))
        assert client.take(Disconnect).reason is ReasonCode.PACKET_TOO_LARGE

    def test_but_a_goodbye(self) -> None:
        client = meet(Desk(Challenge()))
        client.send(Connect(V5, "c", properties=METHOD))
        client.read()
        client.send(Disconnect())
        assert client.read() == []
        assert ended(client).reason is ReasonCode.SUCCESS

    @pytest.mark.mqtt5("4.12.1-1", "4.12.1-2")
    def test_again(self) -> None:
        final = Admission(profile=Profile(), authentication_data=b"last")
        policy = Desk(ADMITTED, Challenge(), final, Refusal(server_reference="other"))
        client = meet(policy)
        client.connect(properties=METHOD, user_name="u", password=b"p", will=Will("a", b"gone"))
        client.send(Auth(ReasonCode.RE_AUTHENTICATE, METHOD), Pingreq())
        assert [type(each) for each in client.read()] == [Auth, Pingresp]
        assert policy.attempts[1].is_again
        first, second = (attempt.connect for attempt in policy.attempts)
        assert (first.password, second.user_name) == (b"p", "u")
        assert (second.password, second.will) == (None, None)
        client.send(Auth(ReasonCode.CONTINUE_AUTHENTICATION, METHOD))
        done = client.take(Auth)
        assert done.reason is ReasonCode.SUCCESS
        assert done.properties.authentication_data == b"last"
        assert client.core.next_deadline() is None
        client.send(Auth(ReasonCode.RE_AUTHENTICATE, METHOD))
        goodbye = client.take(Disconnect)
        assert goodbye.reason is ReasonCode.NOT_AUTHORIZED
        assert goodbye.properties.server_reference == "other"
        assert client.core.is_closed

    @pytest.mark.parametrize(
        "refusal",
        [
            Refusal(reason=ReasonCode.BAD_USER_NAME_OR_PASSWORD),
            Refusal(reason=ReasonCode.BANNED),
            Refusal(server_reference="x" * 65_536),
        ],
    )
    @pytest.mark.parametrize("later", [False, True])
    def test_again_with_a_refusal_that_disconnect_can_not_say(
        self, refusal: Refusal, later: bool
    ) -> None:
        policy = Desk(ADMITTED, None if later else refusal)
        client = meet(policy)
        client.connect(properties=METHOD)
        client.send(Auth(ReasonCode.RE_AUTHENTICATE, METHOD))
        if later:
            policy.attempts[1].answer(refusal, 1.0)
        assert client.read() == [Disconnect(ReasonCode.NOT_AUTHORIZED)]
        assert ended(client).reason is ReasonCode.NOT_AUTHORIZED
        assert client.broker.session_count == 0

    @pytest.mark.mqtt5("4.12.0-7", "4.12.1-1")
    @pytest.mark.parametrize(
        ("first", "wrong"),
        [
            (Properties(), [ReasonCode.RE_AUTHENTICATE]),
            (METHOD, [ReasonCode.CONTINUE_AUTHENTICATION]),
            (METHOD, [ReasonCode.RE_AUTHENTICATE, ReasonCode.RE_AUTHENTICATE]),
            (METHOD, [ReasonCode.RE_AUTHENTICATE, ReasonCode.CONTINUE_AUTHENTICATION]),
            (Properties(authentication_method="n"), [ReasonCode.RE_AUTHENTICATE]),
        ],
    )
    def test_out_of_place(self, first: Properties, wrong: list[ReasonCode]) -> None:
        client = meet(Desk(ADMITTED))
        client.connect(properties=first)
        client.send(*(Auth(reason, METHOD) for reason in wrong))
        assert client.take(Disconnect).reason is ReasonCode.PROTOCOL_ERROR


class TestGoing:
    def watched(
        self, version: Version = V5, **fields: Any
    ) -> tuple[BrokerClient, BrokerClient, Desk]:
        """Somebody with a will, and somebody who waits for it."""
        policy = Desk(ADMITTED, ADMITTED)
        client = meet(policy, version)
        client.connect("c", will=Will("gone", b"c"), **fields)
        watcher = BrokerClient(client.broker)
        watcher.connect("w")
        watcher.subscribe("gone")
        policy.told()
        return client, watcher, policy

    @pytest.mark.mqtt5("3.14.4-3", "3.1.2-8", "3.1.2-10")
    @pytest.mark.mqtt3("3.14.4-3", "3.1.2-10")
    @pytest.mark.parametrize("version", Version)
    def test_with_a_goodbye(self, version: Version) -> None:
        client, watcher, policy = self.watched(version)
        client.send(Disconnect())
        assert client.read() == []
        assert ended(client) == ConnectionEnded(ReasonCode.NORMAL_DISCONNECTION)
        assert watcher.payloads() == []
        assert policy.told() == [("disconnected", "c", 0)]
        client.drop()
        assert policy.told() == []

    @pytest.mark.mqtt5("3.1.2-7", "3.1.2-8")
    @pytest.mark.mqtt3("3.1.2-8")
    @pytest.mark.parametrize("version", Version)
    def test_without(self, version: Version) -> None:
        client, watcher, policy = self.watched(version)
        client.drop()
        assert watcher.payloads() == [b"c"]
        assert policy.told() == [("disconnected", "c", ReasonCode.UNSPECIFIED_ERROR)]
        assert client.broker.connection_count == 1

    def test_with_one_that_wants_the_will(self) -> None:
        client, watcher, _ = self.watched()
        client.send(Disconnect(ReasonCode.DISCONNECT_WITH_WILL_MESSAGE))
        assert watcher.payloads() == [b"c"]

    @pytest.mark.mqtt3("3.1.2-12")
    def test_without_a_will(self) -> None:
        policy = Desk(ADMITTED)
        client = meet(policy)
        client.connect()
        client.drop()
        assert [note[0] for note in policy.told()] == ["connected", "disconnected"]

    def test_a_will_may_wait(self) -> None:
        policy = Desk(ADMITTED)
        client = meet(policy)
        kept = Properties(session_expiry_interval=100)
        will = Will("gone", b"", properties=Properties(will_delay_interval=10))
        client.connect(will=will, properties=kept)
        client.drop()
        assert client.broker.next_deadline() == 10.0

    @pytest.mark.mqtt5("3.14.4-1", "3.14.4-2", "3.14.2-1", "4.13.2-1")
    @pytest.mark.parametrize("version", Version)
    def test_at_the_servers_wish(self, version: Version) -> None:
        client, watcher, _ = self.watched(version)
        client.core.cut(ReasonCode.ADMINISTRATIVE_ACTION, 0.0)
        client.core.cut(ReasonCode.SERVER_BUSY, 0.0)
        expected = [Disconnect(ReasonCode.ADMINISTRATIVE_ACTION)] if version == V5 else []
        assert client.read() == expected
        assert ended(client).reason is ReasonCode.ADMINISTRATIVE_ACTION
        assert watcher.payloads() == [b"c"]

    @pytest.mark.mqtt5("3.14.2-3", "3.14.2-4")
    def test_a_goodbye_that_is_too_long(self) -> None:
        client = meet(Desk(ADMITTED))
        client.connect(properties=Properties(maximum_packet_size=30))
        client.core.cut(ReasonCode.USE_ANOTHER_SERVER, 0.0, server_reference="x" * 30)
        assert client.read() == [Disconnect(ReasonCode.USE_ANOTHER_SERVER)]

    def test_one_that_can_not_be_said_at_all(self) -> None:
        client = meet(Desk(ADMITTED))
        client.connect()
        client.core.packet_limit = 2
        client.core.cut(ReasonCode.SERVER_BUSY, 0.0)
        assert client.read() == []

    @pytest.mark.parametrize("state", [ConnectionState.NEW, ConnectionState.DECIDING])
    def test_before_it_was_let_in(self, state: ConnectionState) -> None:
        client = meet(Desk(None))
        if state is ConnectionState.DECIDING:
            client.send(Connect(V5, "c"))
        assert client.core.state is state
        client.core.cut(ReasonCode.SERVER_BUSY, 0.0)
        assert client.read() == []
        assert client.core.is_closed

    def test_with_another_expiry(self) -> None:
        client = meet(Desk(ADMITTED))
        client.connect(properties=Properties(session_expiry_interval=100))
        client.send(Disconnect(properties=Properties(session_expiry_interval=5)))
        assert client.broker.next_deadline() == 5.0
        client = meet(Desk(ADMITTED))
        client.connect(properties=Properties(session_expiry_interval=100))
        client.send(Disconnect(properties=Properties(session_expiry_interval=0)))
        assert client.broker.session_count == 0

    def test_but_none_where_there_was_none(self) -> None:
        client = meet(Desk(ADMITTED))
        client.connect()
        client.send(Disconnect(properties=Properties(session_expiry_interval=5)))
        assert client.take(Disconnect).reason is ReasonCode.PROTOCOL_ERROR
        client = meet(Desk(ADMITTED))
        client.connect()
        client.send(Disconnect(properties=Properties(session_expiry_interval=0)))
        assert client.read() == []

    @pytest.mark.mqtt5("4.13.1-1")
    def test_for_a_reason_that_disconnect_does_not_have(self) -> None:
        client = meet(Desk(ADMITTED))
        client.connect()
        client.send_bytes(b"\x30\5\0\1a\0x\x10\x0d\0\4MQTT\6\2\0\0\0\0\0")
        assert client.take(Disconnect).reason is ReasonCode.PROTOCOL_ERROR
        assert ended(client).error is not None

    def test_what_is_wrong_after_the_end_does_not_matter(self) -> None:
        class Strict(Desk):
            broker: Broker

            def reached_nobody(self, client: Client | None, message: Message, now: float) -> None:
                self.broker.disconnect_session("c", ReasonCode.ADMINISTRATIVE_ACTION, now)

        policy = Strict(ADMITTED)
        client = meet(policy)
        policy.broker = client.broker
        client.connect()
        client.send_bytes(b"\x30\5\0\1a\0x\x30\5\0\1\xff\0x")
        assert client.take(Disconnect).reason is ReasonCode.ADMINISTRATIVE_ACTION
        assert ended(client).error is None

    def test_nor_what_the_policy_says_of_it(self) -> None:
        class Strict(Desk):
            broker: Broker

            def authorise_publish(self, client: Client, topic: str) -> str | ReasonCode:
                self.broker.disconnect_session("c", ReasonCode.ADMINISTRATIVE_ACTION, 0.0)
                raise MqttError("no", ReasonCode.NOT_AUTHORIZED)

        policy = Strict(ADMITTED)
        client = meet(policy, V3)
        policy.broker = client.broker
        client.connect()
        client.send(Publish("a", b"x"))
        assert ended(client) == ConnectionEnded(ReasonCode.ADMINISTRATIVE_ACTION)
        assert client.broker.counters.failures == 1

    def test_what_comes_after_the_end_is_not_looked_at(self) -> None:
        client, watcher, _ = self.watched()
        client.send(Disconnect(), Publish("gone", b"late"))
        client.send(Publish("gone", b"later"))
        assert watcher.payloads() == []
        assert client.core.state is ConnectionState.CLOSED
