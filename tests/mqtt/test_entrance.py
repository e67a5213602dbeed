"""From CONNECT to CONNACK."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from porttunnel.errors import MqttError
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.entrance import (
    accepted_will,
    encode_connack,
    encode_fitting,
    encode_no,
    negotiate,
    open_session,
    packet_limit,
    shortened,
)
from porttunnel.mqtt.exchange import Exchange
from porttunnel.mqtt.paced_outbox import PacedOutbox
from porttunnel.mqtt.packet import Connack, Connect, Disconnect, Version, Will
from porttunnel.mqtt.policy import Admission, AllowAll, Bounds, Client, Profile
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.reason import ReasonCode

V3, V5 = Version.V3_1_1, Version.V5


def admission(**profile: Any) -> Admission:
    return Admission(profile=Profile(**profile))


class TestNegotiating:
    def test_what_3_1_1_gets(self) -> None:
        clean = negotiate(Connect(V3, "c", keep_alive_seconds=30), admission(), None)
        assert (clean.keep_alive_seconds, clean.session_expiry_seconds) == (30, 0)
        assert (clean.receive_maximum, clean.topic_aliases) == (0xFFFF, 0)
        assert clean.properties is EMPTY
        kept = negotiate(
            Connect(V3, "c", clean_start=False), admission(max_session_seconds=7), "c"
        )
        assert kept.session_expiry_seconds == 7

    @pytest.mark.mqtt5("3.1.2-27")
    def test_what_5_gets_that_asks_for_nothing(self) -> None:
        terms = negotiate(Connect(V5, "c"), admission(), None)
        assert (terms.session_expiry_seconds, terms.receive_maximum) == (0, 0xFFFF)
        assert (terms.packet_limit, terms.topic_aliases) == (0xFFFFFFFF, 0)
        assert terms.properties == Properties(
            receive_maximum=1_000, maximum_packet_size=1 << 20, topic_alias_maximum=16
        )

    def test_what_5_gets_that_asks_for_much(self) -> None:
        asked = Properties(
            session_expiry_interval=100,
            receive_maximum=5,
            maximum_packet_size=500,
            topic_alias_maximum=10,
            request_response_information=True,
        )
        given = Admission(
            profile=Profile(outgoing_aliases=4, max_session_seconds=60),
            response_information="answers/",
            reason_string="welcome",
        )
        terms = negotiate(Connect(V5, "c", properties=asked), given, "assigned")
        assert terms.session_expiry_seconds == terms.properties.session_expiry_interval == 60
        assert (terms.receive_maximum, terms.packet_limit, terms.topic_aliases) == (5, 500, 4)
        told = terms.properties
        assert (told.response_information, told.reason_string) == ("answers/", "welcome")
        assert told.assigned_client_identifier == "assigned"

    @pytest.mark.mqtt5("3.1.2-28")
    def test_nobody_is_told_what_it_did_not_ask_for(self) -> None:
        given = Admission(profile=Profile(), response_information="x", authentication_data=b"x")
        for properties in (EMPTY, Properties(request_response_information=False)):
            told = negotiate(Connect(V5, "c", properties=properties), given, None).properties
            assert told.response_information is None
            assert told.authentication_data is None

    @pytest.mark.mqtt5("4.12.0-5")
    def test_the_method_is_repeated(self) -> None:
        asked = Properties(authentication_method="m", session_expiry_interval=9)
        given = Admission(profile=Profile(), authentication_data=b"x")
        told = negotiate(Connect(V5, "c", properties=asked), given, None).properties
        assert (told.authentication_method, told.authentication_data) == ("m", b"x")
        assert told.session_expiry_interval is None

    @pytest.mark.mqtt5("3.2.2-9")
    def test_what_is_not_available_is_told(self) -> None:
        given = admission(
            max_qos=1,
            retain_available=False,
            wildcards_available=False,
            shared_available=False,
            identifiers_available=False,
        )
        told = negotiate(Connect(V5, "c"), given, None).properties
        assert told.maximum_qos == 1
        assert told.retain_available is False
        assert told.wildcard_subscription_available is False
        assert told.shared_subscription_available is False
        assert told.subscription_identifiers_available is False

    @pytest.mark.mqtt5("3.2.2-22")
    @pytest.mark.parametrize(
        ("wanted", "longest", "holds", "told"),
        [(0, None, 0, None), (30, 60, 30, None), (90, 60, 60, 60), (0, 60, 60, 60)],
    )
    def test_keep_alive(
        self, wanted: int, longest: int | None, holds: int, told: int | None
    ) -> None:
        given = admission(max_keep_alive_seconds=longest)
        for version in Version:
            terms = negotiate(Connect(version, "c", keep_alive_seconds=wanted), given, None)
            assert terms.keep_alive_seconds == holds
        assert terms.properties.server_keep_alive == told


class Picky(AllowAll):
    def authorise_response_topic(self, client: Client, topic: str) -> str | ReasonCode:
        return ReasonCode.TOPIC_NAME_INVALID if topic == "secret" else f"inner/{topic}"

    def authorise_will(self, client: Client, will: Will) -> str | ReasonCode:
        answer = super().authorise_will(client, will)
        return "a" * 65_536 if answer == "lengthened" else answer


CLIENT = Client("c", "c", None, V5, "")


class TestWills:
    def accept(self, will: Will | None, **profile: Any) -> Any:
        exchange = Exchange(Picky(), 0.0)
        return accepted_will(exchange, CLIENT, Connect(V5, "c", will=will), Profile(**profile))

    def test_that_may_be(self) -> None:
        assert self.accept(None) is None
        will = Will("a", b"x", 2, retain=True)
        found = self.accept(will)
        assert (found.topic, found.will) == ("a", will)
        found = self.accept(Will("a", b"x", properties=Properties(response_topic="r")))
        assert found.will.properties.response_topic == "inner/r"

    @pytest.mark.mqtt5("3.2.2-12", "3.2.2-13")
    @pytest.mark.parametrize(
        ("will", "reason"),
        [
            (Will("a", b"x", 2), ReasonCode.QOS_NOT_SUPPORTED),
            (Will("a", b"x", retain=True), ReasonCode.RETAIN_NOT_SUPPORTED),
            (Will("$SYS/a", b"x"), ReasonCode.NOT_AUTHORIZED),
            (Will("/" * 128, b"x"), ReasonCode.TOPIC_NAME_INVALID),
            (Will("lengthened", b"x"), ReasonCode.TOPIC_NAME_INVALID),
            (
                Will("a", b"x", properties=Properties(response_topic="a" * 65_535)),
                ReasonCode.TOPIC_NAME_INVALID,
            ),
            (
                Will("a", b"x", properties=Properties(response_topic="secret")),
                ReasonCode.TOPIC_NAME_INVALID,
            ),
        ],
    )
    def test_that_may_not(self, will: Will, reason: ReasonCode) -> None:
        with pytest.raises(MqttError) as caught:
            self.accept(will, max_qos=1, retain_available=False)
        assert caught.value.reason == reason

    def test_as_many_as_there_is_room_for(self) -> None:
        will = Will("a", bytes(1_000))
        connect = Connect(V5, "c", will=will)
        found = self.accept(will)
        policy = AllowAll(bounds=Bounds(max_queued_bytes=2 * found.cost - 1))
        exchange = Exchange(policy, 0.0)
        session, _ = open_session(exchange, CLIENT, connect, Profile(), 0.0)
        session.will = accepted_will(exchange, CLIENT, connect, Profile())
        with pytest.raises(MqttError) as caught:
            accepted_will(exchange, CLIENT, connect, Profile())
        assert caught.value.reason == ReasonCode.QUOTA_EXCEEDED
        session.will = None
        assert accepted_will(exchange, CLIENT, connect, Profile()) is not None


def test_what_is_kept_of_a_connect() -> None:
    needed = Properties(
        authentication_method="m", session_expiry_interval=9, maximum_packet_size=99
    )
    asked = replace(needed, user_properties=(("a", "b"),), authentication_data=b"x")
    whole = Connect(V5, "c", user_name="u", password=b"p", will=Will("a", b""), properties=asked)
    kept = Connect(V5, "c", user_name="u", properties=needed)
    assert shortened(whole) == kept
    assert shortened(Connect(V3, "c")).properties is EMPTY


class Connection(PacedOutbox):
    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange.ready)
        self.exchange = exchange

    def cut(self, reason: ReasonCode, now: float, *, with_will: bool = True) -> None:
        assert reason is ReasonCode.SESSION_TAKEN_OVER
        for session in list(self.exchange.sessions.values()):
            if session.outbox is self:
                self.exchange.part(session, now, with_will=True)


class TestSessions:
    @pytest.mark.mqtt5("3.1.2-4", "3.1.2-5", "3.1.2-6", "3.1.4-4")
    @pytest.mark.mqtt3("3.1.2-4", "3.1.2-6", "3.1.4-3")
    def test_are_kept_or_new(self) -> None:
        exchange = Exchange(AllowAll(), 0.0)
        keeping = Connect(V5, "c", clean_start=False)
        first, present = open_session(exchange, CLIENT, keeping, Profile(), 0.0)
        assert not present
        again, present = open_session(exchange, CLIENT, keeping, Profile(max_qos=1), 0.0)
        assert (again, present) == (first, True)
        assert again.profile.max_qos == 1
        assert exchange.tree.arrivals == 1
        new, present = open_session(exchange, CLIENT, Connect(V5, "c"), Profile(), 0.0)
        assert (new is first, present) == (False, False)
        assert exchange.sessions == {"c": new}

    @pytest.mark.mqtt5("3.1.4-3", "3.1.3-9")
    @pytest.mark.mqtt3("3.1.4-2")
    @pytest.mark.parametrize("expiry", [0.0, 10.0])
    def test_are_taken_over(self, expiry: float) -> None:
        exchange = Exchange(AllowAll(), 0.0)
        keeping = Connect(V5, "c", clean_start=False)
        first, _ = open_session(exchange, CLIENT, keeping, Profile(), 0.0)
        first.expiry_seconds = expiry
        first.attach(Connection(exchange), 10, 0.0)
        again, present = open_session(exchange, CLIENT, keeping, Profile(), 1.0)
        assert (again is first, present) == (expiry > 0, expiry > 0)
        assert (again.outbox, again.expires_at, again.will_due) == (None, None, None)

    def test_only_so_many(self) -> None:
        exchange = Exchange(AllowAll(None, Bounds(max_sessions=0)), 0.0)
        with pytest.raises(MqttError):
            open_session(exchange, CLIENT, Connect(V5, "c"), Profile(), 0.0)


class TestConnack:
    @pytest.mark.mqtt5("3.2.2-19", "3.1.2-24")
    def test_a_text_is_left_out_if_it_is_too_long(self) -> None:
        packet = Connack(False, properties=Properties(reason_string="x" * 100, receive_maximum=9))
        long = encode(packet, V5)
        short = encode(Connack(False, properties=Properties(receive_maximum=9)), V5)
        assert encode_connack(packet, V5, len(long)) == long
        assert encode_connack(packet, V5, len(long) - 1) == short
        with pytest.raises(MqttError) as caught:
            encode_connack(packet, V5, len(short) - 1)
        assert caught.value.reason == ReasonCode.PACKET_TOO_LARGE

    def test_without_a_text_that_mqtt_has_no_room_for(self) -> None:
        packet = Connack(False, ReasonCode.SUCCESS, Properties(reason_string="x" * 65_536))
        assert encode_connack(packet, V5, 100) == encode(Connack(False, ReasonCode.SUCCESS), V5)

    def test_a_refusal(self) -> None:
        reason = ReasonCode.BANNED
        short = encode(Connack(False, reason), V5)
        texts = Properties(server_reference="x")
        whole = encode(Connack(False, reason, texts), V5)
        assert encode_no(reason, texts, V5, packet_limit(EMPTY)) == whole
        asked = Properties(maximum_packet_size=len(short))
        assert encode_no(reason, texts, V5, packet_limit(asked)) == short
        assert encode_no(reason, texts, V5, len(short) - 1) == b""
        assert encode_no(reason, Properties(server_reference="x" * 65_536), V5, 99) == short
        assert encode_no(reason, texts, None, 99) == b""

    def test_the_best_that_can_be_said(self) -> None:
        impossible = Disconnect(ReasonCode.GRANTED_QOS_2)
        plain = Disconnect(ReasonCode.SERVER_BUSY)
        assert encode_fitting(V5, 9, impossible, plain) == encode(plain, V5)
        assert encode_fitting(V5, 2, impossible, plain) == b""
