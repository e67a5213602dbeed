"""What one client publishes."""

from __future__ import annotations

from typing import Any

import pytest

from porttunnel.errors import MqttError
from porttunnel.mqtt import intake as module
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.exchange import Exchange
from porttunnel.mqtt.field import write_varint
from porttunnel.mqtt.framing import MAX_PACKET_BYTES, FrameReader
from porttunnel.mqtt.intake import Intake
from porttunnel.mqtt.message import Message
from porttunnel.mqtt.paced_outbox import PacedOutbox
from porttunnel.mqtt.packet import (
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Version,
)
from porttunnel.mqtt.policy import Bounds, Client, Profile
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.publication import SHARED_BYTES
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.route import Reach
from porttunnel.mqtt.session import Session
from porttunnel.mqtt.subscription import Interest
from tests.mqtt.broker_client import NotingPolicy

V3, V5 = Version.V3_1_1, Version.V5
SUCCESS = ReasonCode.SUCCESS
NOBODY = ReasonCode.NO_MATCHING_SUBSCRIBERS


class Connection(PacedOutbox):
    def cut(self, reason: ReasonCode, now: float, *, with_will: bool = True) -> None:
        raise AssertionError(reason)


class Picky(NotingPolicy):
    """Rewrites, and refuses.

    :ivar strict: whom it sends away for the topic "forbidden", or for reaching nobody.
    """

    strict: Session | None = None

    def reached_nobody(self, client: Client | None, message: Message, now: float) -> None:
        super().reached_nobody(client, message, now)
        if self.strict is not None:
            self.strict.detach()

    def authorise_publish(self, client: Client, topic: str) -> str | ReasonCode:
        if topic == "forbidden" and self.strict is not None:
            self.strict.detach()
        if topic == "rewritten":
            return "inner"
        if topic == "lengthened":
            return topic * 10_000
        return ReasonCode.NOT_AUTHORIZED if topic == "secret" else topic

    def authorise_response_topic(self, client: Client, topic: str) -> str | ReasonCode:
        if topic == "as-it-is":
            return topic
        if topic == "lengthened":
            return topic * 10_000
        return ReasonCode.TOPIC_NAME_INVALID if topic == "secret" else f"inner/{topic}"


class Fixture:
    """An intake, and a session that is subscribed to all."""

    def __init__(
        self, version: Version = V5, *, subscriber: Version | None = V5, **profile: Any
    ) -> None:
        self.version = version
        self.policy = Picky(None, Bounds(max_retained_bytes=2_000))
        self.exchange = Exchange(self.policy, 0.0)
        self.session = self.session_of("p", version, **profile)
        self.intake = Intake(self.exchange, self.session, version)
        self.receiver = self.session_of("s", subscriber or V5)
        if subscriber is not None:
            self.exchange.tree.add(None, "#", Interest(self.receiver, 2))

    def session_of(self, name: str, version: Version, **profile: Any) -> Session:
        client = Client(name, name, None, version, "")
        session = Session(name, client, Profile(**profile), self.exchange.held)
        connection = Connection([])
        connection.version = version
        connection.limit_bytes = connection.high_bytes = 1 << 20
        session.attach(connection, 100, 0.0)
        self.exchange.add_session(session)
        return session

    def walk(self, *packets: Any, extra: bytes = b"") -> int:
        """How many of the bytes were passed on as plain packets."""
        data = b"".join(
            each if isinstance(each, bytes) else encode(each, self.version) for each in packets
        )
        return self.intake.walk(data + extra, 0, 0.0)

    def sent(self) -> list[bytes]:
        """What went to the subscriber, in pieces."""
        assert self.receiver.outbox is not None
        pieces = list(self.receiver.outbox.pieces)
        self.receiver.outbox.pieces.clear()
        return pieces

    def receive(self, packet: Publish) -> bytes:
        data = encode(packet, self.version)
        found = FrameReader(MAX_PACKET_BYTES).find(data, 0)
        assert found is not None
        return self.intake.receive_publish(data[0], memoryview(data)[found[0] :], 0.0)

    def answer(self, packet: Any) -> bytes:
        return encode(packet, self.version)


@pytest.fixture(params=[V3, V5], ids=["3.1.1", "5"])
def fixture(request: pytest.FixtureRequest) -> Fixture:
    return Fixture(request.param, subscriber=request.param)


class TestWalking:
    def test_rows_go_out_as_one_piece(self, fixture: Fixture) -> None:
        rows = [Publish("a", b"1"), Publish("a", b"2"), Publish("b", b"3"), Publish("b", b"long")]
        data = b"".join(encode(each, fixture.version) for each in rows)
        assert fixture.walk(data) == len(data)
        pieces = fixture.sent()
        assert b"".join(pieces) == data
        assert len(pieces) == 3
        assert fixture.intake.received == 4
        assert fixture.exchange.counters.reach.taken == 4

    def test_a_row_ends_where_the_bytes_do(self, fixture: Fixture) -> None:
        packet = encode(Publish("a", bytes(50)), fixture.version)
        for cut in range(1, len(packet)):
            assert fixture.walk(packet * 2, packet[:cut]) == 2 * len(packet)
            assert fixture.walk(packet[:cut]) == 0

    def test_longer_packets(self, fixture: Fixture) -> None:
        packet = encode(Publish("a", bytes(300)), fixture.version)
        assert fixture.walk(packet, packet) == 2 * len(packet)
        assert fixture.sent() == [packet * 2]
        very_long = encode(Publish("a", bytes(20_000)), fixture.version)
        assert fixture.walk(very_long) == 0  # that is not worth a shorter way

    @pytest.mark.mqtt5("3.3.4-1", "4.3.2-4", "4.3.2-5", "4.6.0-5")
    @pytest.mark.mqtt3("3.3.4-1", "4.3.2-2", "4.6.0-6")
    def test_qos_1_is_acknowledged_in_order(self, fixture: Fixture) -> None:
        packets = [Publish("a", b"%d" % n, 1, packet_id=n) for n in (7, 9, 9, 300)]
        assert fixture.walk(*packets) > 0
        expected = [
            Publish("a", b"%d" % n, 1, packet_id=i) for i, n in enumerate((7, 9, 9, 300), 1)
        ]
        assert fixture.sent() == [encode(each, fixture.version) for each in expected]
        answers = b"".join(fixture.answer(Puback(n)) for n in (7, 9, 9, 300))
        assert fixture.intake.acknowledgements == answers
        assert fixture.intake.received == 4

    def test_acknowledgements_are_taken(self, fixture: Fixture) -> None:
        fixture.session.deliver(module_delivery(Message("x", b"", 1)), 0.0)
        assert fixture.session.held_bytes > 0
        assert fixture.walk(Puback(1)) == 4
        assert fixture.session.held_bytes == 0

    @pytest.mark.parametrize(
        "packet",
        [
            b"\xc0\0\xc0\0",
            b"\x40\x02\0\0",  # no id
            b"\x40\x03\0\1\0",  # a longer form
            b"\x30\x80\1\0\0",
            b"\x30\x81\0\0\0",
            b"\x30\1\0\0\0\0",  # shorter than its topic
            b"\x30\4\0\5aaaaaa",
            b"\x32\x06\0\1a\0\0\0",  # id 0
            b"\x31\5\0\1a\0x",  # retained
            b"\x34\7\0\1a\0\1\0x",
            b"\x30\3\0\0\0\0",  # no topic
        ],
    )
    def test_what_is_not_plain_is_left(self, fixture: Fixture, packet: bytes) -> None:
        assert fixture.walk(packet) == 0
        good = encode(Publish("a", b""), fixture.version)
        assert fixture.walk(good, packet) == len(good)

    def test_properties_are_left(self) -> None:
        fixture = Fixture()
        for qos in range(2):
            packet_id = 1 if qos else None
            properties = Properties(content_type="t")
            packet = Publish("a", b"x", qos, packet_id=packet_id, properties=properties)
            assert fixture.walk(packet) == 0

    def test_so_is_what_the_profile_forbids(self) -> None:
        fixture = Fixture(max_qos=0, max_packet_bytes=20)
        assert fixture.walk(Publish("a", b"x", 1, packet_id=1)) == 0
        assert fixture.walk(Publish("a", bytes(20))) == 0
        assert fixture.walk(Publish("a", b"x")) > 0

    def test_and_topics_that_the_policy_forbids(self, fixture: Fixture) -> None:
        assert fixture.walk(Publish("secret", b"x")) == 0
        assert fixture.intake.routes == {}

    def test_topics_that_the_policy_changes(self, fixture: Fixture) -> None:
        packets = (
            Publish("rewritten", b"1"),
            Publish("rewritten", b"2"),
            Publish("rewritten", b"3", 1, packet_id=7),
        )
        assert fixture.walk(*packets) > 0
        expected = (
            Publish("inner", b"1"),
            Publish("inner", b"2"),
            Publish("inner", b"3", 1, packet_id=1),
        )
        assert fixture.sent() == [encode(each, fixture.version) for each in expected]
        assert fixture.intake.acknowledgements == fixture.answer(Puback(7))

    def test_wrong_topics_are_refused(self, fixture: Fixture) -> None:
        for topic in (b"\xff", b"+", b"\0", b"/" * 128):
            packet = bytes((0, len(topic))) + topic + b"\0"
            with pytest.raises(MqttError):
                fixture.walk(b"\x30" + write_varint(len(packet)) + packet)
            with pytest.raises(MqttError):
                fixture.intake.receive_publish(0x30, memoryview(packet), 0.0)

    def test_subscribers_of_the_other_version(self, fixture: Fixture) -> None:
        other = V5 if fixture.version == V3 else V3
        mixed = Fixture(fixture.version, subscriber=other)
        assert mixed.walk(Publish("a", b"1"), Publish("a", b"2")) > 0
        assert mixed.sent() == [encode(Publish("a", b), other) for b in (b"1", b"2")]
        assert mixed.walk(Publish("a", b"3", 1, packet_id=5)) > 0
        assert mixed.sent() == [encode(Publish("a", b"3", 1, packet_id=1), other)]

    def test_a_route_that_is_not_plain(self, fixture: Fixture) -> None:
        interest = Interest(fixture.receiver, 0, identifier=3)
        fixture.exchange.tree.add(None, "#", interest)
        assert fixture.walk(Publish("a", b"1"), Publish("a", b"2")) > 0
        assert len(fixture.sent()) == 2

    @pytest.mark.mqtt3("3.3.5-2")
    def test_nobody_is_there(self) -> None:
        for version in Version:
            fixture = Fixture(version, subscriber=None)
            packets = (Publish("a", b"1"), Publish("a", b"2"), Publish("a", b"3", 1, packet_id=4))
            assert fixture.walk(*packets) > 0
            assert fixture.policy.told() == [
                ("nobody", "p", "a", each) for each in (b"1", b"2", b"3")
            ]
            reason = NOBODY if version == V5 else SUCCESS
            assert fixture.intake.acknowledgements == fixture.answer(Puback(4, reason))

    @pytest.mark.parametrize("qos", [0, 1])
    @pytest.mark.parametrize("payloads", [(b"1", b"2"), (b"1", b"twice")])
    def test_whom_the_policy_sends_away_says_no_more(
        self, qos: int, payloads: tuple[bytes, bytes]
    ) -> None:
        fixture = Fixture(subscriber=None)
        fixture.policy.strict = fixture.session
        packets = [Publish("a", each, qos, packet_id=qos or None) for each in payloads]
        fixture.walk(*packets)
        assert fixture.policy.told() == [("nobody", "p", "a", b"1")]

    @pytest.mark.parametrize("qos", [0, 1])
    def test_nor_what_it_is_sent_away_for(self, fixture: Fixture, qos: int) -> None:
        fixture.policy.strict = fixture.session
        packet = Publish("forbidden", b"1", qos, packet_id=qos or None)
        assert fixture.walk(packet) == 0
        assert fixture.receive(packet) == b""
        assert fixture.sent() == []

    def test_each_of_a_row_of_qos_1_is_acknowledged(self, fixture: Fixture) -> None:
        rows = [Publish("a", b"%d" % n, 1, packet_id=n) for n in (5, 4, 6)]
        other = encode(Publish("b", b"7", 1, packet_id=7), fixture.version)
        data = b"".join(encode(each, fixture.version) for each in rows)
        wrong = data[:-1].replace(b"\0\6", b"\0\0") + data[-1:]
        assert fixture.walk(data + other) == len(data + other)
        expected = b"".join(fixture.answer(Puback(n)) for n in (5, 4, 6, 7))
        assert fixture.intake.acknowledgements == expected
        assert fixture.intake.received == 4
        assert fixture.walk(wrong) == len(data) // 3 * 2

    def test_a_large_one_of_qos_1(self, fixture: Fixture) -> None:
        packet = Publish("a", bytes(SHARED_BYTES), 1, packet_id=1)
        data = encode(packet, fixture.version)
        assert fixture.walk(data) == len(data)
        assert b"".join(fixture.sent()) == data
        assert fixture.intake.acknowledgements == fixture.answer(Puback(1))

    def test_nobody_has_room(self) -> None:
        fixture = Fixture()
        fixture.exchange.held.limit = 0
        assert fixture.walk(Publish("a", b"3", 1, packet_id=4)) > 0
        expected = fixture.answer(Puback(4, ReasonCode.QUOTA_EXCEEDED))
        assert fixture.intake.acknowledgements == expected
        assert fixture.policy.told() == []
        assert fixture.exchange.counters.reach == Reach(taken=0, dropped=1)

    def test_routes_are_learnt_and_learnt_anew(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fixture = Fixture()
        monkeypatch.setattr(module, "MAX_ROUTES", 2)
        monkeypatch.setattr(module, "MAX_ROUTE_TOPIC_BYTES", 3)
        fixture.walk(Publish("a", b"x"), Publish("b", b"x"))
        assert set(fixture.intake.routes) == {b"a", b"b"}
        fixture.exchange.tree.remove(None, "#", fixture.receiver)
        fixture.sent()
        fixture.walk(Publish("a", b"x"))
        assert fixture.sent() == []
        fixture.walk(Publish("long", b"x"))
        assert b"long" not in fixture.intake.routes

    def test_who_falls_silent_holds_nobody_whom_it_reached(self) -> None:
        fixture = Fixture()
        fixture.walk(Publish("a", b"x"), Publish("b", b"x"))
        assert all(route() for route in fixture.intake.routes.values())
        fixture.exchange.tree.remove(None, "#", fixture.receiver)
        fixture.exchange.routes.find("somebody/elses")
        assert not any(route() for route in fixture.intake.routes.values())


def module_delivery(message: Message) -> Any:
    from porttunnel.mqtt.message import deliver_as

    return deliver_as(message, message.qos, False, message.topic, ())


class TestReceiving:
    def test_each_qos_has_its_answer(self, fixture: Fixture) -> None:
        assert fixture.receive(Publish("a", b"x", properties=Properties(content_type="t"))) == b""
        assert fixture.receive(Publish("a", b"x", 1, packet_id=3)) == fixture.answer(Puback(3))
        assert fixture.receive(Publish("a", b"x", 2, packet_id=4)) == fixture.answer(Pubrec(4))
        assert len(fixture.sent()) == 3
        assert list(fixture.session.incoming) == [4]

    def test_a_qos_2_message_that_nobody_could_remember_is_refused(self) -> None:
        for version in Version:
            fixture = Fixture(version)
            fixture.exchange.held.limit = fixture.exchange.held.held
            message = Publish("a", b"x", 2, packet_id=4)
            if version is V5:
                expected = fixture.answer(Pubrec(4, ReasonCode.QUOTA_EXCEEDED))
                assert fixture.receive(message) == expected
            else:
                with pytest.raises(MqttError) as caught:
                    fixture.receive(message)
                assert caught.value.reason == ReasonCode.QUOTA_EXCEEDED
            assert fixture.session.incoming == {}
            assert fixture.sent() == []

    def test_of_a_session_that_has_ended_meanwhile_nothing_is_remembered(self) -> None:
        fixture = Fixture(subscriber=None)

        class Forgetful(Picky):
            def reached_nobody(self, client: Client | None, message: Message, now: float) -> None:
                fixture.exchange.end_session(fixture.session, now)

        fixture.exchange.policy = Forgetful()
        fixture.receive(Publish("a", b"x", 2, packet_id=4))
        assert fixture.session.incoming == {}
        assert fixture.exchange.held.held == 0

    @pytest.mark.mqtt5("4.3.3-8", "4.3.3-10", "4.3.3-11", "4.3.3-12")
    @pytest.mark.mqtt3("4.3.3-2")
    def test_qos_2_is_passed_on_once(self, fixture: Fixture) -> None:
        message = Publish("a", b"x", 2, packet_id=4)
        again = Publish("a", b"x", 2, packet_id=4, dup=True)
        assert fixture.receive(message) == fixture.receive(again) == fixture.answer(Pubrec(4))
        assert len(fixture.sent()) == 1
        assert fixture.intake.receive_pubrel(Pubrel(4)) == fixture.answer(Pubcomp(4))
        assert fixture.receive(message) == fixture.answer(Pubrec(4))
        assert len(fixture.sent()) == 1

    def test_a_pubrel_for_nothing(self, fixture: Fixture) -> None:
        reason = ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
        assert fixture.intake.receive_pubrel(Pubrel(4)) == fixture.answer(Pubcomp(4, reason))

    @pytest.mark.mqtt5("3.3.4-7", "4.3.3-9")
    def test_only_so_many_at_a_time(self) -> None:
        fixture = Fixture(receive_maximum=1)
        refused = Publish("secret", b"x", 2, packet_id=1)
        expected = fixture.answer(Pubrec(1, ReasonCode.NOT_AUTHORIZED))
        assert fixture.receive(refused) == fixture.receive(refused) == expected
        fixture.receive(Publish("a", b"x", 2, packet_id=2))
        with pytest.raises(MqttError) as caught:
            fixture.receive(Publish("a", b"x", 2, packet_id=3))
        assert caught.value.reason == ReasonCode.RECEIVE_MAXIMUM_EXCEEDED

    @pytest.mark.mqtt3("3.3.5-2")
    def test_in_3_1_1_nobody_is_told_of_a_refusal(self) -> None:
        fixture = Fixture(V3)
        assert fixture.receive(Publish("secret", b"x", 1, packet_id=1)) == b"\x40\2\0\1"
        assert fixture.receive(Publish("secret", b"x", 2, packet_id=2)) == b"\x50\2\0\2"
        assert fixture.intake.receive_pubrel(Pubrel(2)) == b"\x70\2\0\2"
        assert fixture.sent() == []

    def test_what_the_profile_forbids(self) -> None:
        fixture = Fixture(max_qos=1, retain_available=False)
        for packet, reason in (
            (Publish("a", b"x", 2, packet_id=1), ReasonCode.QOS_NOT_SUPPORTED),
            (Publish("a", b"x", retain=True), ReasonCode.RETAIN_NOT_SUPPORTED),
        ):
            with pytest.raises(MqttError) as caught:
                fixture.receive(packet)
            assert caught.value.reason == reason

    @pytest.mark.mqtt5("3.3.2-12", "3.3.2-9")
    def test_aliases(self) -> None:
        fixture = Fixture(topic_alias_maximum=2)
        alias = Properties(topic_alias=2)
        fixture.receive(Publish("a", b"1", properties=alias))
        fixture.receive(Publish("", b"2", properties=alias))
        assert fixture.sent() == [encode(Publish("a", each), V5) for each in (b"1", b"2")]
        with pytest.raises(MqttError) as caught:
            fixture.receive(Publish("a", b"3", properties=Properties(topic_alias=3)))
        assert caught.value.reason == ReasonCode.TOPIC_ALIAS_INVALID

    @pytest.mark.mqtt5("3.3.4-6")
    def test_what_a_client_may_not_say(self) -> None:
        fixture = Fixture()
        identified = Publish("a", b"x", properties=Properties(subscription_identifiers=(1,)))
        with pytest.raises(MqttError) as caught:
            fixture.receive(identified)
        assert caught.value.reason == ReasonCode.PROTOCOL_ERROR
        with pytest.raises(MqttError) as caught:
            fixture.intake.receive_publish(0x30, memoryview(b"\0\0\0x"), 0.0)
        assert caught.value.reason == ReasonCode.PROTOCOL_ERROR

    def test_the_policy_rewrites_and_refuses_topics(self, fixture: Fixture) -> None:
        fixture.receive(Publish("rewritten", b"x"))
        assert fixture.sent() == [encode(Publish("inner", b"x"), fixture.version)]
        assert fixture.receive(Publish("secret", b"x")) == b""
        assert fixture.sent() == []

    def test_and_response_topics(self) -> None:
        fixture = Fixture()
        fixture.receive(Publish("a", b"x", properties=Properties(response_topic="r")))
        expected = Publish("a", b"x", properties=Properties(response_topic="inner/r"))
        assert fixture.sent() == [encode(expected, V5)]
        kept = Publish("a", b"x", properties=Properties(response_topic="as-it-is"))
        fixture.receive(kept)
        assert fixture.sent() == [encode(kept, V5)]
        wrong = Publish("a", b"x", 1, packet_id=1, properties=Properties(response_topic="secret"))
        answer = fixture.receive(wrong)
        assert answer == fixture.answer(Puback(1, ReasonCode.TOPIC_NAME_INVALID))

    def test_none_becomes_longer_than_a_packet_may_say(self, fixture: Fixture) -> None:
        for packet in (
            Publish("lengthened", b"x", 1, packet_id=1),
            Publish("a", b"x", 1, packet_id=1, properties=Properties(response_topic="lengthened")),
        ):
            if fixture.version is V3 and packet.properties is not EMPTY:
                continue
            answer = fixture.receive(packet)
            assert answer == fixture.answer(Puback(1, ReasonCode.TOPIC_NAME_INVALID))
            plain = encode(packet, fixture.version)
            assert fixture.intake.walk(plain, 0, 0.0) == 0
        assert fixture.sent() == []

    @pytest.mark.mqtt5("3.3.1-5")
    def test_retained_messages_that_there_is_no_room_for(self) -> None:
        fixture = Fixture()
        kept = Publish("a", bytes(1_000), 1, retain=True, packet_id=1)
        too_much = Publish("b", bytes(1_000), 1, retain=True, packet_id=2)
        assert fixture.receive(kept) == fixture.answer(Puback(1))
        answer = fixture.receive(too_much)
        assert answer == fixture.answer(Puback(2, ReasonCode.QUOTA_EXCEEDED))
        assert fixture.exchange.retained.count == 1

    @pytest.mark.mqtt3("4.8.0-2")
    def test_for_which_3_1_1_has_no_word(self) -> None:
        fixture = Fixture(V3)
        with pytest.raises(MqttError) as caught:
            fixture.receive(Publish("b", bytes(2_000), 1, retain=True, packet_id=2))
        assert caught.value.reason == ReasonCode.QUOTA_EXCEEDED
        assert fixture.sent() == []
