"""What a client may send."""

from __future__ import annotations

import pytest

from porttunnel.mqtt.direction import check_from_client
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
from tests.mqtt.outcome import attempt

CLIENTS: list[Packet] = [
    Connect(Version.V5, "me"),
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


def test_each_type_is_sent_by_a_client_or_not() -> None:
    assert {packet.kind for packet in CLIENTS + SERVERS + BOTH} == set(PacketType)
    assert [from_client(packet) for packet in CLIENTS + BOTH] == [None] * 11
    assert [from_client(packet) for packet in SERVERS] == [0x82] * 4


@pytest.mark.mqtt5("3.3.4-6")
def test_a_client_publishes_without_a_subscription_identifier() -> None:
    packet = Publish("a", b"", properties=Properties(subscription_identifiers=(1,)))
    assert from_client(packet) == 0x82


@pytest.mark.mqtt5("3.14.2-1")
def test_a_disconnect_has_a_reason_of_a_client() -> None:
    by_client = {code for code in DISCONNECT_REASONS if from_client(Disconnect(code)) is None}
    assert bytes(sorted(by_client)).hex() == "0004808182839093949596979899"


def test_a_client_names_no_other_server() -> None:
    properties = Properties(server_reference="elsewhere")
    assert from_client(Disconnect(properties=properties)) == 0x82
    assert from_client(Disconnect()) is None


@pytest.mark.mqtt5("3.15.2-1")
def test_a_client_begins_a_new_authentication_and_ends_none() -> None:
    assert from_client(Auth(ReasonCode.SUCCESS)) == 0x82
    assert from_client(Auth(ReasonCode.RE_AUTHENTICATE)) is None
