"""Our codec and the PyPI package mqtt5: all packets of MQTT 5, both ways, refusals too.

Its freedoms: it reads a property with its default value and one that is not there as the same, so
it leaves defaults out when it writes; it writes properties in an order of its own. What we refuse
and it takes stands in ``LAXER``. What it refuses and the norm allows: an AUTH of no bytes (section
3.15.2.1), and 0x8C in DISCONNECT (section 2.4). It can't be asked about what is not UTF-8: it
panics.
"""

from __future__ import annotations

from typing import Any

import mqtt5
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porttunnel.errors import MqttError
from porttunnel.mqtt.decode import decode
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.framing import MAX_PACKET_BYTES, FrameReader
from porttunnel.mqtt.packet import Auth, Disconnect, Packet, PacketType, Version
from porttunnel.mqtt.reason import ReasonCode
from tests.mqtt.description import describe
from tests.mqtt.strategies import packets, packets_of

V5 = Version.V5

# Its attribute, the property's identifier, and the value that means that it is not there.
PROPERTIES: list[tuple[str, int, Any]] = [
    ("payload_format_indicator", 1, 0),
    ("message_expiry_interval", 2, None),
    ("content_type", 3, None),
    ("response_topic", 8, None),
    ("correlation_data", 9, None),
    ("subscription_ids", 11, None),
    ("subscription_id", 11, None),
    ("session_expiry_interval", 17, None),
    ("assigned_client_id", 18, None),
    ("server_keep_alive", 19, None),
    ("authentication_method", 21, None),
    ("authentication_data", 22, None),
    ("request_problem_info", 23, 1),
    ("will_delay_interval", 24, 0),
    ("request_response_info", 25, 0),
    ("response_info", 26, None),
    ("server_reference", 28, None),
    ("reason_str", 31, None),
    ("receive_max", 33, 65_535),
    ("topic_alias_max", 34, 0),
    ("topic_alias", 35, None),
    ("max_qos", 36, 2),
    ("retain_available", 37, 1),
    ("user_properties", 38, None),
    ("max_packet_size", 39, None),
    ("wildcard_subscription_available", 40, 1),
    ("subscription_id_available", 41, 1),
    ("shared_subscription_available", 42, 1),
]
DEFAULTS = {(identifier, value) for _, identifier, value in PROPERTIES if value is not None}

# What we refuse and it takes, by our words, and what of the norm is on our side.
LAXER = {
    "a PUBLISH has flags that it can't have",  # [MQTT-3.3.1-2]: sent again with QoS 0
    "a SUBSCRIBE has reserved bits",  # [MQTT-3.8.3-5]
    "a packet ended too early",  # section 2.2.2.1: a property goes beyond the properties' length
    "a property that is 0 or 1 has another value",  # section 3.3.2.3.2
    "a string contains U+0000",  # [MQTT-1.5.4-2]
    "a packet identifier is 0",  # [MQTT-2.2.1-3]
    "a topic name has wildcards",  # [MQTT-3.3.2-2] [MQTT-3.3.2-14] [MQTT-4.7.0-1]
    "a will has no topic",  # [MQTT-4.7.3-1]
    "a CONNACK refuses, and has a session",  # [MQTT-3.2.2-6]
    "a shared subscription is no-local",  # [MQTT-3.8.3-4]
    "there is authentication data without a method",  # section 3.1.2.11.10
    "an AUTH does not name its authentication method",  # section 3.15.2.2.2
}


def describe_theirs(packet: Any) -> dict[str, Any]:
    """Their packet in the words of the vectors."""
    name = type(packet).__name__.removesuffix("Packet").upper()
    found: dict[str, Any] = {"type": name}
    if name in ("PINGREQ", "PINGRESP"):
        return found
    found["properties"] = properties_of(packet)
    match name:
        case "CONNECT":
            will = packet.will
            # It has no word for a session that ends with its connection but 0.
            found["properties"] = [each for each in found["properties"] if each != [17, 0]]
            return found | {
                "client_id": packet.client_id,
                "clean": packet.clean_start,
                "keep_alive": packet.keep_alive,
                "user": packet.username,
                "password": None if packet.password is None else packet.password.hex(),
                "will": None if will is None else describe_message(will),
            }
        case "CONNACK":
            found["session_present"] = packet.session_present
        case "PUBLISH":
            found |= describe_message(packet)
            return found | {"dup": packet.duplicate, "id": packet.packet_id}
        case "SUBSCRIBE":
            found["filters"] = [
                [
                    each.pattern,
                    int(each.max_qos)
                    + 4 * each.no_local
                    + 8 * each.retain_as_published
                    + 16 * int(each.retain_handling),
                ]
                for each in packet.topic_filters
            ]
        case "UNSUBSCRIBE":
            found["filters"] = packet.patterns
        case "SUBACK" | "UNSUBACK":
            found["codes"] = list(map(int, packet.reason_codes))
    if hasattr(packet, "packet_id"):
        found["id"] = packet.packet_id
    if hasattr(packet, "reason_code"):
        found["code"] = int(packet.reason_code)
    return found


def describe_message(message: Any) -> dict[str, Any]:
    """Of a PUBLISH or a will."""
    return {
        "topic": message.topic,
        "payload": (message.payload or b"").hex(),
        "qos": int(message.qos),
        "retain": message.retain,
        "properties": properties_of(message),
    }


def properties_of(packet: Any) -> list[list[Any]]:
    found: list[list[Any]] = []
    for attribute, identifier, default in PROPERTIES:
        value = getattr(packet, attribute, default)
        if value is None or value == default:
            continue
        for each in value if isinstance(value, list) else [value]:
            plain = each.hex() if isinstance(each, bytes) else each
            if isinstance(each, tuple):
                plain = list(each)
            found.append([identifier, int(plain) if isinstance(plain, int) else plain])
    return found


def without_defaults(packet: dict[str, Any]) -> dict[str, Any]:
    """What it makes of our description."""
    found = dict(packet)
    if "properties" in found:
        found["properties"] = [
            [identifier, value]
            for identifier, value in packet["properties"]
            if isinstance(value, str | list) or (identifier, value) not in DEFAULTS
        ]
    if packet["type"] == "CONNECT":
        found["properties"] = [each for each in found["properties"] if each != [17, 0]]
        if packet["will"] is not None:
            found["will"] = without_defaults({"type": "WILL"} | packet["will"])
            del found["will"]["type"]
    return found


def read_ours(data: bytes) -> Packet:
    """The one packet that the bytes are."""
    frames = list(FrameReader(MAX_PACKET_BYTES, V5).feed(memoryview(data)))
    ((first_byte, body),) = frames
    return decode(first_byte, body, V5)


def refused_by_it(packet: Packet | None) -> bool:
    """Whether this is one of the packets that it does not take."""
    if isinstance(packet, Disconnect):
        return packet.reason is ReasonCode.BAD_AUTHENTICATION_METHOD
    return packet == Auth()


@pytest.mark.parametrize("kind", PacketType)
def test_it_reads_what_we_write_and_we_read_what_it_writes(kind: PacketType) -> None:
    @given(packets_of(kind, V5).filter(lambda packet: not refused_by_it(packet)))
    def check(packet: Packet) -> None:
        data = encode(packet, V5)
        theirs, count = mqtt5.read(memoryview(data))
        assert count == len(data)
        expected = without_defaults(describe(packet, V5))
        assert describe_theirs(theirs) == expected
        again = theirs.write()
        read = read_ours(again)
        assert describe(read, V5) == expected
        # But for the order of properties the bytes are the same.
        assert sorted(encode(read, V5)) == sorted(again)

    check()


# The same changes each time: a list that was completed by chance would fail by chance.
@settings(derandomize=True, max_examples=300)
@given(st.data())
def test_both_take_or_refuse_a_changed_packet(data: st.DataObject) -> None:
    changed = bytearray(encode(data.draw(packets(V5)), V5))
    start = next(index for index in range(1, 5) if changed[index] < 0x80) + 1
    for index in range(start, len(changed)):
        changed[index] &= 0x7F  # so that every string is UTF-8
    if data.draw(st.booleans()):
        changed[0] ^= 1 << data.draw(st.integers(0, 3))
    for _ in range(data.draw(st.integers(0, 2)) if start < len(changed) else 0):
        # Not the remaining length: both are asked about one whole packet.
        index = data.draw(st.integers(start, len(changed) - 1))
        changed[index] ^= data.draw(st.integers(1, 0x7F))
    ours, why = read_or_refuse(bytes(changed))
    try:
        theirs, count = mqtt5.read(memoryview(changed))
    except ValueError:
        assert ours is None or refused_by_it(ours)
        return
    assert count == len(changed)
    if ours is None:
        assert why in LAXER
    else:
        assert describe_theirs(theirs) == without_defaults(describe(ours, V5))


def read_or_refuse(data: bytes) -> tuple[Packet | None, str]:
    """Our packet, or why there is none."""
    try:
        return read_ours(data), ""
    except MqttError as error:
        return None, str(error)
