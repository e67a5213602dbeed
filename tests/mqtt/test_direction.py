"""Who may send which packet."""

from __future__ import annotations

import pytest

from porttunnel.mqtt.direction import check_from_client, check_from_server
from porttunnel.mqtt.packet import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    PacketType,
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
)
from porttunnel.mqtt.property import Properties
from porttunnel.mqtt.reason import DISCONNECT_REASONS, ReasonCode
from tests.mqtt.outcome import attempt, refusal

V5, V3 = Version.V5, Version.V3_1_1

CLIENTS: list[Packet] = [
    Connect(V5, "me"),
    Subscribe(1, (Subscription("a"),)),
    Unsubscribe(1, ("a",)),
    Pingreq(),
]
SERVERS: list[Packet] = [
    Connack(False),
    Suback(1, (ReasonCode.GRANTED_QOS_0,)),
    Unsuback(1),
    Pingresp(),
]
BOTH: list[Packet] = [
    Publish("a", b""),
    Puback(1),
    Pubrec(1),
    Pubrel(1),
    Pubcomp(1),
    Disconnect(),
    Auth(ReasonCode.CONTINUE_AUTHENTICATION),
]


def from_client(packet: Packet) -> int | None:
    return attempt(lambda: check_from_client(packet))[1]


def from_server(packet: Packet, version: Version = V5) -> int | None:
    return attempt(lambda: check_from_server(packet, version))[1]


def test_each_type_has_those_who_send_it() -> None:
    assert {packet.kind for packet in CLIENTS + SERVERS + BOTH} == set(PacketType)
    assert [from_client(packet) for packet in CLIENTS + BOTH] == [None] * 11
    assert [from_server(packet) for packet in SERVERS + BOTH] == [None] * 11
    assert [from_client(packet) for packet in SERVERS] == [0x82] * 4
    assert [from_server(packet) for packet in CLIENTS] == [0x82] * 4


@pytest.mark.mqtt5("3.3.4-6")
def test_a_client_publishes_without_a_subscription_identifier() -> None:
    packet = Publish("a", b"", properties=Properties(subscription_identifiers=(1,)))
    assert from_client(packet) == 0x82
    assert from_server(packet) is None


@pytest.mark.mqtt5("3.14.2-1")
def test_a_disconnect_has_a_reason_of_its_sender() -> None:
    by_client = {code for code in DISCONNECT_REASONS if from_client(Disconnect(code)) is None}
    by_server = {code for code in DISCONNECT_REASONS if from_server(Disconnect(code)) is None}
    assert bytes(sorted(by_client)).hex() == "0004808182839093949596979899"
    assert by_server == DISCONNECT_REASONS - {ReasonCode.DISCONNECT_WITH_WILL_MESSAGE}


@pytest.mark.mqtt5("3.14.2-2")
def test_a_server_s_disconnect_has_no_session_expiry_interval() -> None:
    packet = Disconnect(properties=Properties(session_expiry_interval=0))
    assert from_server(packet) == 0x82
    assert from_client(packet) is None


def test_only_a_server_names_another_one() -> None:
    properties = Properties(server_reference="elsewhere")
    assert from_client(Disconnect(properties=properties)) == 0x82
    assert from_server(Disconnect(ReasonCode.SERVER_MOVED, properties)) is None


def test_a_server_of_3_1_1_says_no_goodbye() -> None:
    assert refusal(lambda: check_from_server(Disconnect(), V3)) == 0x82
    assert from_client(Disconnect()) is None


@pytest.mark.mqtt5("3.15.2-1")
def test_a_server_ends_an_authentication_and_a_client_begins_a_new_one() -> None:
    assert from_client(Auth(ReasonCode.SUCCESS)) == 0x82
    assert from_client(Auth(ReasonCode.RE_AUTHENTICATE)) is None
    assert from_server(Auth(ReasonCode.SUCCESS)) is None
    assert from_server(Auth(ReasonCode.RE_AUTHENTICATE)) == 0x82
