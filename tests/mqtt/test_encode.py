"""From packets to bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import LocalProtocolError
from porttunnel.mqtt.decode import decode
from porttunnel.mqtt.encode import encode, encode_refusal
from porttunnel.mqtt.framing import MAX_PACKET_BYTES, FrameReader
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
from tests.mqtt.strategies import packets, packets_of, versions

V5, V3 = Version.V5, Version.V3_1_1
NAMED = Properties(authentication_method="m")
SOME = Properties(user_properties=(("a", "b"),))
SOME_BYTES = "07 26 0001 61 0001 62"
ALIAS = Properties(topic_alias=1)

# By hand: the packet in its shortest form in MQTT 5 and in 3.1.1; None: it has none.
FORMS: list[tuple[Packet, str | None, str | None]] = [
    (Connack(True), "20 03 01 00 00", "20 02 01 00"),
    (Connack(False, ReasonCode.BANNED, SOME), f"20 0a 00 8a {SOME_BYTES}", "20 02 00 05"),
    (Connack(False, ReasonCode.QUOTA_EXCEEDED), "20 03 00 97 00", "20 02 00 03"),
    (Connack(False, ReasonCode.MALFORMED_PACKET), "20 03 00 81 00", None),
    (Publish("a", b"hi"), "30 06 000161 00 6869", "30 05 000161 6869"),
    (
        Publish("a", memoryview(b"hi"), 1, True, True, 7, SOME),
        f"3b 0f 000161 0007 {SOME_BYTES} 6869",
        "3b 07 000161 0007 6869",
    ),
    (Publish("", b"", properties=ALIAS), "30 06 0000 03 230001", None),
    (Puback(7), "40 02 0007", "40 02 0007"),
    (Puback(7, ReasonCode.NOT_AUTHORIZED), "40 03 0007 87", "40 02 0007"),
    (Pubrec(7, ReasonCode.SUCCESS, SOME), f"50 0b 0007 00 {SOME_BYTES}", "50 02 0007"),
    (Pubrel(7), "62 02 0007", "62 02 0007"),
    (Pubcomp(7, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND), "70 03 0007 92", "70 02 0007"),
    (
        Subscribe(
            10, (Subscription("a", 2, True, True, RetainHandling.SEND_IF_NEW), Subscription("b"))
        ),
        "82 0b 000a 00 000161 1e 000162 00",
        "82 0a 000a 000161 02 000162 00",
    ),
    (
        Suback(10, (ReasonCode(2), ReasonCode.QUOTA_EXCEEDED)),
        "90 05 000a 00 02 97",
        "90 04 000a 02 80",
    ),
    (Unsubscribe(10, ("a",), SOME), f"a2 0d 000a {SOME_BYTES} 000161", "a2 05 000a 000161"),
    (Unsuback(10, (ReasonCode(0x11),)), "b0 04 000a 00 11", "b0 02 000a"),
    (Unsuback(10), None, "b0 02 000a"),
    (Pingreq(), "c0 00", "c0 00"),
    (Pingresp(), "d0 00", "d0 00"),
    (Disconnect(), "e0 00", "e0 00"),
    (Disconnect(ReasonCode.SERVER_BUSY), "e0 01 89", "e0 00"),
    (Disconnect(properties=SOME), f"e0 09 00 {SOME_BYTES}", "e0 00"),
    (Auth(), "f0 00", None),
    (Auth(ReasonCode.SUCCESS, NAMED), "f0 06 00 04 15 0001 6d", None),
    (Auth(ReasonCode.RE_AUTHENTICATE, NAMED), "f0 06 19 04 15 0001 6d", None),
    (Auth(ReasonCode.RE_AUTHENTICATE), None, None),
]
# The same of CONNECT, which has its version in it.
CONNECTS = [
    (Connect(V5, ""), "10 0d 00044d515454 05 02 0000 00 0000"),
    (Connect(V3, ""), "10 0c 00044d515454 04 02 0000 0000"),
    (Connect(V5, "", clean_start=False), "10 0d 00044d515454 05 00 0000 00 0000"),
    (Connect(V5, "", password=b"p"), "10 10 00044d515454 05 42 0000 00 0000 000170"),
    (
        Connect(V5, "me", True, 60, "u", b"p", Will("a", b"\xff", 2, True, SOME), SOME),
        f"10 2a 00044d515454 05 f6 003c {SOME_BYTES} 00026d65"
        f" {SOME_BYTES} 000161 0001ff 000175 000170",
    ),
    (
        Connect(V3, "me", False, 60, "u", b"p", Will("a", b"", 1, False, SOME), SOME),
        "10 19 00044d515454 04 cc 003c 00026d65 000161 0000 000175 000170",
    ),
]

FAULTS: list[tuple[Packet, Version, str]] = [
    (Connect(V5, ""), V3, "its own version"),
    (Connect(V3, "", password=b"p"), V3, "user name"),
    (Connect(V3, "", clean_start=False), V3, "client id"),
    (Connect(V5, "", will=Will("", b"")), V5, "one character"),
    (Connect(V5, "", will=Will("a/#", b"")), V5, "wildcards"),
    (Connect(V5, "", will=Will("a", b"", 3)), V5, "QoS"),
    (Connect(V5, "", keep_alive_seconds=0x10000), V5, "65535"),
    (Connect(V5, "", properties=ALIAS), V5, "topic_alias"),
    (Connect(V5, "\ud800"), V5, "surrogates"),
    (Connect(V5, "", password=bytes(0x10000)), V5, "shorten"),
    (Connack(True, ReasonCode.BANNED), V5, "session_present"),
    (Connack(True, ReasonCode.BANNED), V3, "session_present"),
    (Connack(False, ReasonCode.SESSION_TAKEN_OVER), V5, "SESSION_TAKEN_OVER"),
    (Connack(False, ReasonCode.SESSION_TAKEN_OVER), V3, "SESSION_TAKEN_OVER"),
    (Publish("a", b"", packet_id=1), V5, "identifier"),
    (Publish("a", b"", 1), V5, "identifier"),
    (Publish("a", b"", 1, packet_id=0), V5, "65535"),
    (Publish("a", b"", 3, packet_id=1), V5, "QoS"),
    (Publish("a", b"", dup=True), V5, "sent again"),
    (Publish("a/+", b""), V5, "wildcards"),
    (Publish("", b""), V5, "alias"),
    (Publish("", b"", properties=ALIAS), V3, "alias"),
    (Publish("x" * 0x10000, b""), V5, "shorten"),
    (Puback(0), V5, "65535"),
    (Puback(0x10000), V3, "65535"),
    (Puback(1, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND), V5, "PACKET_IDENTIFIER_NOT_FOUND"),
    (Pubrel(1, ReasonCode.NOT_AUTHORIZED), V5, "NOT_AUTHORIZED"),
    (Subscribe(1, ()), V5, "one filter"),
    (Subscribe(1, (Subscription("a", 3),)), V5, "QoS"),
    (Subscribe(1, (Subscription("a", -1),)), V3, "QoS"),
    (Subscribe(1, (Subscription("$share/g/a", no_local=True),)), V5, "no_local"),
    (Suback(1, ()), V5, "reason"),
    (Suback(1, (ReasonCode.BANNED,)), V5, "BANNED"),
    (Unsubscribe(1, ()), V3, "one filter"),
    (Unsuback(1, ()), V5, "reason"),
    (Unsuback(1, (ReasonCode.QUOTA_EXCEEDED,)), V5, "QUOTA_EXCEEDED"),
    (Disconnect(ReasonCode.BANNED), V5, "BANNED"),
    (Auth(), V3, "no AUTH"),
    (Auth(ReasonCode.CONTINUE_AUTHENTICATION), V5, "method"),
    (Auth(ReasonCode.BANNED, NAMED), V5, "BANNED"),
]


def read(data: bytes, version: Version) -> Packet:
    ((first_byte, body),) = FrameReader(MAX_PACKET_BYTES, version).feed(memoryview(data))
    return decode(first_byte, body, version)


@pytest.mark.mqtt5("2.2.2-1", "3.1.3-1")
@pytest.mark.mqtt3("3.1.3-1")
@pytest.mark.parametrize(
    ("packet", "version", "expected"),
    [
        *((packet, V5, form) for packet, form, _ in FORMS),
        *((packet, V3, form) for packet, _, form in FORMS),
        *((packet, packet.version, form) for packet, form in CONNECTS),
    ],
)
def test_a_packet_is_written_in_its_shortest_form(
    packet: Packet, version: Version, expected: str | None
) -> None:
    if expected is None:
        with pytest.raises(LocalProtocolError):
            encode(packet, version)
    else:
        assert encode(packet, version).hex(" ") == bytes.fromhex(expected).hex(" ")


@pytest.mark.parametrize(("packet", "version", "text"), FAULTS)
def test_what_may_not_be_sent_is_our_own_mistake(
    packet: Packet, version: Version, text: str
) -> None:
    with pytest.raises(LocalProtocolError, match=text):
        encode(packet, version)


@pytest.mark.parametrize("version", Version)
@pytest.mark.parametrize("kind", PacketType)
def test_what_was_encoded_is_decoded(kind: PacketType, version: Version) -> None:
    if (kind, version) == (PacketType.AUTH, V3):
        with pytest.raises(LocalProtocolError):
            encode(Auth(), V3)
        return

    @given(packets_of(kind, version))
    def check(packet: Packet) -> None:
        data = encode(packet, version)
        assert read(data, version) == packet
        assert encode(read(data, version), version) == data

    check()


def stripped(packet: Any) -> dict[str, Any]:
    """What 3.1.1 can say of it."""
    fields = {name: getattr(packet, name) for name in packet.__struct_fields__}
    if "subscriptions" in fields:
        fields["subscriptions"] = [(each.filter, each.qos) for each in packet.subscriptions]
    if "reasons" in fields:
        fields["reasons"] = [reason.is_failure or reason for reason in packet.reasons]
    if isinstance(packet, Unsuback):
        del fields["reasons"]
    if not isinstance(packet, Connack):
        fields.pop("reason", None)
    fields.pop("properties", None)
    return fields


@given(st.data())
def test_3_1_1_leaves_out_what_it_has_no_field_for(data: st.DataObject) -> None:
    packet = data.draw(
        packets(V5).filter(lambda each: not isinstance(each, Auth | Connect | Connack))
    )
    if isinstance(packet, Publish) and not packet.topic:
        with pytest.raises(LocalProtocolError):
            encode(packet, V3)
        return
    found = read(encode(packet, V3), V3)
    assert stripped(found) == stripped(packet)
    assert getattr(found, "properties", EMPTY) == EMPTY


@pytest.mark.mqtt3("3.2.2-6", "3.1.2-2", "3.1.4-1")
@pytest.mark.parametrize(
    ("reason", "version", "answer"),
    [
        (ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, V3, "20 02 00 01"),
        (ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, V3, "20 02 00 02"),
        (ReasonCode.MALFORMED_PACKET, V3, ""),
        (ReasonCode.PACKET_TOO_LARGE, V3, ""),
        (ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, V5, "20 03 00 84 00"),
        (ReasonCode.MALFORMED_PACKET, V5, "20 03 00 81 00"),
        (ReasonCode.MALFORMED_PACKET, None, ""),
    ],
)
def test_a_refusal_is_what_the_version_can_say(
    reason: ReasonCode, version: Version | None, answer: str
) -> None:
    assert encode_refusal(reason, version).hex(" ") == answer


def test_a_refusal_may_have_properties() -> None:
    found = encode_refusal(ReasonCode.BANNED, V5, SOME)
    assert found == encode(Connack(False, ReasonCode.BANNED, SOME), V5)


@given(versions, st.data())
def test_what_is_too_large_for_the_receiver_has_that_length(
    version: Version, data: st.DataObject
) -> None:
    encoded = encode(data.draw(packets(version)), version)
    frames = FrameReader(len(encoded), version).feed(memoryview(encoded))
    assert len(list(frames)) == 1
