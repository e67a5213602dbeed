"""The plain fields that MQTT's packets are made of: integers, strings, binary data.

A reader takes the bytes and where the field begins, and gives the value and where it ends. It
raises one of :data:`ENDED_EARLY` when the bytes end too early: whoever reads a whole packet
catches that once and raises :func:`ended_early`, instead of each field asking for its length. A
writer refuses with :class:`~porttunnel.errors.LocalProtocolError` what the field can't hold.
Source: MQTT 5.0, section 1.5; MQTT 3.1.1, section 1.5.
"""

from __future__ import annotations

import struct

from porttunnel.errors import LocalProtocolError, MqttError
from porttunnel.mqtt.reason import ReasonCode

__all__ = [
    "ENDED_EARLY",
    "MAX_STRING_BYTES",
    "MAX_VARINT",
    "ended_early",
    "malformed",
    "protocol_error",
    "read_binary",
    "read_packet_id",
    "read_string",
    "read_topic",
    "read_u16",
    "read_u32",
    "read_varint",
    "write_binary",
    "write_packet_id",
    "write_string",
    "write_topic",
    "write_u16",
    "write_u32",
    "write_varint",
]

MAX_STRING_BYTES = 0xFFFF  # what a 16-bit length can say
MAX_VARINT = 0x0FFFFFFF  # four bytes of seven bits

ENDED_EARLY = (IndexError, struct.error)

_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")


def malformed(text: str) -> MqttError:
    """The bytes are no packet (reason 0x81)."""
    return MqttError(text, ReasonCode.MALFORMED_PACKET)


def protocol_error(text: str) -> MqttError:
    """They are a packet, but one that must not be sent (reason 0x82)."""
    return MqttError(text, ReasonCode.PROTOCOL_ERROR)


def ended_early() -> MqttError:
    """A field is shorter than it says, or missing (reason 0x81)."""
    return malformed("a packet ended too early")


def read_u16(data: bytes, offset: int) -> tuple[int, int]:
    """Two bytes."""
    return _U16.unpack_from(data, offset)[0], offset + 2


def read_u32(data: bytes, offset: int) -> tuple[int, int]:
    """Four bytes."""
    return _U32.unpack_from(data, offset)[0], offset + 4


def read_packet_id(data: bytes, offset: int) -> tuple[int, int]:
    """Two bytes that are not 0 [MQTT-2.2.1-3] [MQTT-2.2.1-4].

    :raises MqttError: 0x82.
    """
    (packet_id,) = _U16.unpack_from(data, offset)
    if not packet_id:
        raise protocol_error("a packet identifier is 0")
    return packet_id, offset + 2


def read_varint(data: bytes | memoryview, offset: int) -> tuple[int, int]:
    """One to four bytes, the fewest that will do [MQTT-1.5.5-1].

    :raises MqttError: 0x81.
    """
    value = shift = 0
    while shift < 28:
        byte = data[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if not byte and shift:
                raise malformed("an integer has more bytes than it needs")
            return value, offset
        shift += 7
    raise malformed("an integer has more than four bytes")


def read_binary(data: bytes, offset: int) -> tuple[bytes, int]:
    """A 16-bit length and that many bytes."""
    (length,) = _U16.unpack_from(data, offset)
    start = offset + 2
    end = start + length
    if end > len(data):
        raise IndexError
    return data[start:end], end


def read_string(data: bytes, offset: int) -> tuple[str, int]:
    """A 16-bit length and that many bytes of UTF-8, without U+0000 [MQTT-1.5.4-1] [MQTT-1.5.4-2].

    A byte order mark is a character like any other [MQTT-1.5.4-3].

    :raises MqttError: 0x81.
    """
    raw, end = read_binary(data, offset)
    return _decode(raw), end


def read_topic(raw: bytes) -> str:
    """The topic name that these bytes, without a length, are.

    :raises MqttError: 0x81 not UTF-8 or with U+0000; 0x82 with wildcards [MQTT-3.3.2-2]
        [MQTT-4.7.0-1].
    """
    topic = _decode(raw)
    if "+" in topic or "#" in topic:
        raise protocol_error("a topic name has wildcards")
    return topic


def _decode(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise malformed("a string is not UTF-8") from None
    if "\0" in text:
        raise malformed("a string contains U+0000")
    return text


def write_u16(value: int) -> bytes:
    """Two bytes."""
    return _U16.pack(_within(value, 0, 0xFFFF))


def write_u32(value: int) -> bytes:
    """Four bytes."""
    return _U32.pack(_within(value, 0, 0xFFFFFFFF))


def write_packet_id(value: int) -> bytes:
    """Two bytes, not 0."""
    return _U16.pack(_within(value, 1, 0xFFFF))


def write_varint(value: int) -> bytes:
    """One to four bytes."""
    if 0 <= value < 0x80:
        return bytes((value,))
    rest = _within(value, 0, MAX_VARINT)
    encoded = bytearray()
    while rest >= 0x80:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


def write_binary(value: bytes) -> bytes:
    """A 16-bit length and the bytes."""
    if len(value) > MAX_STRING_BYTES:
        raise LocalProtocolError(f"a field holds at most {MAX_STRING_BYTES} bytes: shorten it")
    return _U16.pack(len(value)) + value


def write_string(text: str) -> bytes:
    """A 16-bit length and the text as UTF-8."""
    if "\0" in text:
        raise LocalProtocolError("a string of MQTT can't contain U+0000: remove it")
    try:
        return write_binary(text.encode())
    except UnicodeEncodeError:
        raise LocalProtocolError(
            "a string of MQTT can't contain surrogates: remove them"
        ) from None


def write_topic(topic: str) -> bytes:
    """A topic name as a string."""
    if "+" in topic or "#" in topic:
        raise LocalProtocolError("a topic name can't have wildcards: only filters can")
    return write_string(topic)


def _within(value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise LocalProtocolError(f"a field holds {least} to {most}: give another value")
    return value
