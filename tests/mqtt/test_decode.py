"""From bytes to packets. Every refusal by itself is in tests/vectors/mqtt.json."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.mqtt.decode import connect_version, decode
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
    RetainHandling,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Version,
    Will,
)
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.reason import ReasonCode
from tests.mqtt.outcome import attempt, refusal
from tests.mqtt.strategies import versions

V5, V3 = Version.V5, Version.V3_1_1
HEAD_5 = "00044d515454 05"
HEAD_3 = "00044d515454 04"
NAMED = Properties(authentication_method="m")
REASON = Properties(reason_string="x")

# By hand, from the figures of sections 3.1 to 3.15: first byte, body, version, packet.
PACKETS: list[tuple[int, str, Version, Packet]] = [
    (0x10, f"{HEAD_5} 00 0000 00 0000", V5, Connect(V5, "", clean_start=False)),
    (0x10, f"{HEAD_3} 02 0000 0000", V3, Connect(V3, "")),
    (
        0x10,
        f"{HEAD_5} f6 003c 03 21000a 00026d65 05 18 00000005 000161 0001ff 000175 000170",
        V5,
        Connect(
            V5,
            "me",
            keep_alive_seconds=60,
            user_name="u",
            password=b"p",
            will=Will("a", b"\xff", 2, True, Properties(will_delay_interval=5)),
            properties=Properties(receive_maximum=10),
        ),
    ),
    (
        0x10,
        f"{HEAD_3} ce 003c 00026d65 000161 0000 000175 000170",
        V3,
        Connect(
            V3,
            "me",
            keep_alive_seconds=60,
            user_name="u",
            password=b"p",
            will=Will("a", b"", 1),
        ),
    ),
    (0x20, "01 00 00", V5, Connack(True)),
    (0x20, "00 87 04 1f000178", V5, Connack(False, ReasonCode.NOT_AUTHORIZED, REASON)),
    (0x20, "01 00", V3, Connack(True)),
    (0x20, "00 05", V3, Connack(False, ReasonCode.NOT_AUTHORIZED)),
    (0x30, "000161 00 6869", V5, Publish("a", b"hi")),
    (0x31, "000161 6869", V3, Publish("a", b"hi", retain=True)),
    (0x3C, "000161 0007", V3, Publish("a", b"", 2, dup=True, packet_id=7)),
    (
        0x32,
        "0000 0007 03 230005",
        V5,
        Publish("", b"", 1, False, False, 7, Properties(topic_alias=5)),
    ),
    (0x40, "0007", V5, Puback(7)),
    (0x40, "0007", V3, Puback(7)),
    (0x40, "0007 10", V5, Puback(7, ReasonCode.NO_MATCHING_SUBSCRIBERS)),
    (0x50, "0007 97 00", V5, Pubrec(7, ReasonCode.QUOTA_EXCEEDED)),
    (0x62, "0007 92 04 1f000178", V5, Pubrel(7, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND, REASON)),
    (0x70, "0007 00 04 1f000178", V5, Pubcomp(7, ReasonCode.SUCCESS, REASON)),
    (
        0x82,
        "000a 02 0b01 000161 2e 000162 01",
        V5,
        Subscribe(
            10,
            (
                Subscription("a", 2, True, True, RetainHandling.DO_NOT_SEND),
                Subscription("b", 1),
            ),
            Properties(subscription_identifiers=(1,)),
        ),
    ),
    (0x82, "000a 000161 02", V3, Subscribe(10, (Subscription("a", 2),))),
    (
        0x90,
        "000a 00 01 9e",
        V5,
        Suback(10, (ReasonCode(1), ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED)),
    ),
    (0x90, "000a 02 80", V3, Suback(10, (ReasonCode(2), ReasonCode.UNSPECIFIED_ERROR))),
    (0xA2, "000a 00 000161 00022b2f", V5, Unsubscribe(10, ("a", "+/"))),
    (0xA2, "000a 000161", V3, Unsubscribe(10, ("a",))),
    (0xB0, "000a 00 00 11", V5, Unsuback(10, (ReasonCode(0), ReasonCode(0x11)))),
    (0xB0, "000a", V3, Unsuback(10)),
    (0xC0, "", V5, Pingreq()),
    (0xC0, "", V3, Pingreq()),
    (0xD0, "", V5, Pingresp()),
    (0xE0, "", V5, Disconnect()),
    (0xE0, "", V3, Disconnect()),
    (0xE0, "04", V5, Disconnect(ReasonCode.DISCONNECT_WITH_WILL_MESSAGE)),
    (0xE0, "8b 04 1f000178", V5, Disconnect(ReasonCode.SERVER_SHUTTING_DOWN, REASON)),
    (0xF0, "", V5, Auth()),
    (0xF0, "18 04 15 0001 6d", V5, Auth(ReasonCode.CONTINUE_AUTHENTICATION, NAMED)),
]

# Each of a packet's own rules once, and what a truncated or longer one gives.
REFUSED: list[tuple[int, str, Version | None, int]] = [
    (0x00, "", V5, 0x81),
    (0x11, f"{HEAD_5} 00 0000 00 0000", V5, 0x81),
    (0x60, "0007", V5, 0x81),
    (0xC0, "", None, 0x82),
    (0x30, "000161 00", None, 0x82),
    (0x11, f"{HEAD_5} 00 0000 00 0000", None, 0x81),
    (0x10, "00044d515455 05 00 0000 00 0000", None, 0x84),
    (0x10, "00044d515454 06 00 0000 00 0000", None, 0x84),
    (0x10, f"{HEAD_5} 01 0000 00 0000", None, 0x81),
    (0x10, f"{HEAD_5} 08 0000 00 0000", None, 0x81),
    (0x10, f"{HEAD_3} 20 0000 000161", None, 0x81),
    (0x10, f"{HEAD_5} 1c 0000 00 0000 00 000161 0000", None, 0x81),
    (0x10, f"{HEAD_5} 04 0000 00 0000 00 0000 0000", None, 0x82),
    (0x10, f"{HEAD_5} 04 0000 00 0000 00 00012b 0000", None, 0x82),
    (0x10, f"{HEAD_3} 42 0000 0000 000170", None, 0x81),
    (0x10, f"{HEAD_3} 00 0000 0000", None, 0x85),
    (0x10, f"{HEAD_5} 00 0000 00 0000 00", None, 0x81),
    (0x10, f"{HEAD_5} 00 0000 05 2100", None, 0x81),
    (0x20, "02 00 00", V5, 0x81),
    (0x20, "01 87 00", V5, 0x82),
    (0x20, "00 06", V3, 0x82),
    (0x20, "00 01 00", V5, 0x82),
    (0x20, "00 00 00 00", V5, 0x81),
    (0x36, "000161 0007 00", V5, 0x81),
    (0x30, "0000 00", V5, 0x82),
    (0x30, "0000", V3, 0x82),
    (0x40, "0000", V5, 0x82),
    (0x40, "0007 00", V3, 0x81),
    (0x40, "0007 11", V5, 0x82),
    (0x40, "0007 00 00 00", V5, 0x81),
    (0x82, "000a 00", V5, 0x82),
    (0x82, "000a 00 000161", V5, 0x81),
    (0x82, "000a 000161 03", V3, 0x81),
    (0x82, "000a 00 000161 40", V5, 0x81),
    (0x82, "000a 00 000161 03", V5, 0x82),
    (0x82, "000a 00 000161 30", V5, 0x82),
    (0x82, "000a 00 000a 2473686172652f672f61 04", V5, 0x82),
    (0x90, "000a 00", V5, 0x82),
    (0x90, "000a 00 03", V5, 0x82),
    (0x90, "000a 87", V3, 0x82),
    (0xA2, "000a 00", V5, 0x82),
    (0xB0, "000a 00", V5, 0x82),
    (0xB0, "000a 00", V3, 0x81),
    (0xB0, "000a 00 01", V5, 0x82),
    (0xC0, "00", V5, 0x81),
    (0xD0, "00", V3, 0x81),
    (0xE0, "00", V3, 0x81),
    (0xE0, "01", V5, 0x82),
    (0xE0, "00 00 00", V5, 0x81),
    (0xF0, "", V3, 0x81),
    (0xF0, "01 00", V5, 0x82),
    (0xF0, "18 00", V5, 0x82),
    (0xF0, "18 04 15 0001 6d 00", V5, 0x81),
]


def body_of(text: str) -> memoryview:
    return memoryview(bytes.fromhex(text))


@pytest.mark.parametrize(("first_byte", "body", "version", "packet"), PACKETS)
def test_a_packet_is_what_the_norm_says(
    first_byte: int, body: str, version: Version, packet: Packet
) -> None:
    assert decode(first_byte, body_of(body), version) == packet
    if isinstance(packet, Connect):
        assert decode(first_byte, body_of(body), None) == packet


@pytest.mark.parametrize(("first_byte", "body", "version", "packet"), PACKETS)
def test_what_ends_early_is_refused_or_another_form_of_a_packet(
    first_byte: int, body: str, version: Version, packet: Packet
) -> None:
    whole = body_of(body)
    for count in range(len(whole)):
        found, reason = attempt(decode, first_byte, whole[:count], version)
        assert found is None or type(found) is type(packet)
        assert found != packet or count == len(whole) - 1
        assert reason in (None, 0x81, 0x82)


@pytest.mark.parametrize(("first_byte", "body", "version", "reason"), REFUSED)
def test_what_is_wrong_is_refused(
    first_byte: int, body: str, version: Version | None, reason: int
) -> None:
    assert refusal(decode, first_byte, body_of(body), version) == reason


def test_the_payload_is_a_view_and_nothing_else_is() -> None:
    buffer = bytearray(b"\0\1a\0hello")
    packet: Any = decode(0x30, memoryview(buffer), V5)
    assert isinstance(packet.payload, memoryview)
    assert packet.payload.obj is buffer
    buffer[:] = bytes(len(buffer))
    assert (packet.topic, bytes(packet.payload)) == ("a", bytes(5))
    will = bytearray(bytes.fromhex(f"{HEAD_5} 04 0000 00 0000 00 000161 0002 6869"))
    connect: Any = decode(0x10, memoryview(will), None)
    will[:] = bytes(len(will))
    assert connect.will == Will("a", b"hi")


def test_no_properties_are_the_shared_ones() -> None:
    for first_byte, body, version, packet in PACKETS:
        found: Any = decode(first_byte, body_of(body), version)
        if getattr(packet, "properties", None) == EMPTY:
            assert found.properties is EMPTY


@pytest.mark.mqtt5("3.1.2-2")
@pytest.mark.mqtt3("3.1.2-2")
@pytest.mark.parametrize(
    ("body", "version"),
    [
        (HEAD_5, V5),
        (HEAD_3, V3),
        ("00044d515454 03", V3),
        ("00044d515454 00", V3),
        ("00044d515454 84", V3),
        ("00044d515454 06", V5),
        ("00044d515454 ff 00", V5),
        ("00064d5149736470 03", V3),
        ("00064d5149736470 05 00", V5),
        ("00044d515454", None),
        ("00064d5149736470", None),
        ("00044d515455 05", None),
        ("00", None),
        ("", None),
    ],
)
def test_the_version_of_an_answer_is_known_from_the_first_bytes(
    body: str, version: Version | None
) -> None:
    assert connect_version(body_of(body)) is version


@given(st.integers(0, 255), st.binary(max_size=60), versions | st.none())
def test_any_bytes_are_a_packet_or_refused(
    first_byte: int, body: bytes, version: Version | None
) -> None:
    packet, reason = attempt(decode, first_byte, memoryview(body), version)
    assert reason in (None, 0x81, 0x82, 0x84, 0x85, 0x94)
    assert reason or packet.kind == PacketType(first_byte >> 4)
