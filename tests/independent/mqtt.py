"""A second encoder of MQTT, written from the norms alone.

A packet is a dictionary with words of its own (see each ``_body_of_...``); bytes in it are
hexadecimal, properties are pairs of identifier and value in the order of the bytes. Nothing is
checked: for tests it also makes what nobody may send. Sources: MQTT 5.0; MQTT 3.1.1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = [
    "FLAGS",
    "TYPES",
    "block",
    "data",
    "encode",
    "frame",
    "length_bytes",
    "prop",
    "text",
    "word",
]

TYPES = {
    "CONNECT": 1,
    "CONNACK": 2,
    "PUBLISH": 3,
    "PUBACK": 4,
    "PUBREC": 5,
    "PUBREL": 6,
    "PUBCOMP": 7,
    "SUBSCRIBE": 8,
    "SUBACK": 9,
    "UNSUBSCRIBE": 10,
    "UNSUBACK": 11,
    "PINGREQ": 12,
    "PINGRESP": 13,
    "DISCONNECT": 14,
    "AUTH": 15,
}
# Table 2-2: the flags that are not 0 (those of PUBLISH tell something).
FLAGS = {"PUBREL": 2, "SUBSCRIBE": 2, "UNSUBSCRIBE": 2}

# Table 2-4, by the form of the value.
ONE_BYTE = (1, 23, 25, 36, 37, 40, 41, 42)
TWO_BYTES = (19, 33, 34, 35)
FOUR_BYTES = (2, 17, 24, 39)
STRINGS = (3, 8, 18, 21, 26, 28, 31)
BINARIES = (9, 22)
PAIRS = (38,)
VARIABLE = (11,)


def word(number: int, size: int = 2) -> bytes:
    """An integer of so many bytes, the highest first."""
    return bytes(number >> 8 * place & 0xFF for place in reversed(range(size)))


def length_bytes(number: int) -> bytes:
    """A variable byte integer, by the algorithm of section 1.5.5."""
    encoded = []
    while True:
        number, digit = divmod(number, 128)
        encoded.append(digit + 128 if number > 0 else digit)
        if number == 0:
            return bytes(encoded)


def data(raw: bytes) -> bytes:
    """Binary data with its length."""
    return word(len(raw)) + raw


def text(string: str) -> bytes:
    """A string with its length."""
    return data(string.encode("utf-8"))


def prop(identifier: int, value: Any) -> bytes:
    """One property."""
    if identifier in ONE_BYTE:
        encoded = word(value, 1)
    elif identifier in TWO_BYTES:
        encoded = word(value, 2)
    elif identifier in FOUR_BYTES:
        encoded = word(value, 4)
    elif identifier in STRINGS:
        encoded = text(value)
    elif identifier in BINARIES:
        encoded = data(bytes.fromhex(value))
    elif identifier in PAIRS:
        encoded = text(value[0]) + text(value[1])
    else:
        encoded = length_bytes(value)
    return bytes([identifier]) + encoded


def block(properties: Iterable[tuple[int, Any]]) -> bytes:
    """All properties of a packet with their length."""
    joined = b"".join(prop(*each) for each in properties)
    return length_bytes(len(joined)) + joined


def frame(type_name: str, body: bytes, flags: int | None = None) -> bytes:
    """A whole packet; without ``flags`` with those that are right."""
    if flags is None:
        flags = FLAGS.get(type_name, 0)
    return bytes([TYPES[type_name] * 16 + flags]) + length_bytes(len(body)) + body


def encode(packet: dict[str, Any], version: int) -> bytes:
    """The shortest bytes of a packet; ``version`` is 4 or 5, the level that CONNECT says."""
    name = packet["type"]
    if name == "CONNECT":
        return frame(name, _body_of_connect(packet, version))
    if name == "PUBLISH":
        flags = packet["dup"] * 8 + packet["qos"] * 2 + packet["retain"]
        return frame(name, _body_of_publish(packet, version), flags)
    if name == "CONNACK":
        head = bytes([packet["session_present"], packet["code"]])
        return frame(name, head + _properties(packet, version))
    if name in ("PINGREQ", "PINGRESP"):
        return frame(name, b"")
    if name in ("DISCONNECT", "AUTH"):
        return frame(name, _body_that_may_be_empty(packet))
    if name in ("PUBACK", "PUBREC", "PUBREL", "PUBCOMP"):
        return frame(name, word(packet["id"]) + _end_of_acknowledgement(packet))
    return frame(name, word(packet["id"]) + _properties(packet, version) + _list(packet))


def _properties(packet: dict[str, Any], version: int) -> bytes:
    return block(packet["properties"]) if version == 5 else b""


def _body_of_connect(packet: dict[str, Any], version: int) -> bytes:
    will, user, password = packet["will"], packet["user"], packet["password"]
    flags = packet["clean"] * 2
    body = b""
    if will is not None:
        flags += 4 + will["qos"] * 8 + will["retain"] * 32
        body += _properties(will, version)
        body += text(will["topic"]) + data(bytes.fromhex(will["payload"]))
    if user is not None:
        flags += 128
        body += text(user)
    if password is not None:
        flags += 64
        body += data(bytes.fromhex(password))
    head = text("MQTT") + bytes([version, flags]) + word(packet["keep_alive"])
    return head + _properties(packet, version) + text(packet["client_id"]) + body


def _body_of_publish(packet: dict[str, Any], version: int) -> bytes:
    number = word(packet["id"]) if packet["qos"] else b""
    head = text(packet["topic"]) + number + _properties(packet, version)
    return head + bytes.fromhex(packet["payload"])


def _end_of_acknowledgement(packet: dict[str, Any]) -> bytes:
    if packet["properties"]:
        return bytes([packet["code"]]) + block(packet["properties"])
    return bytes([packet["code"]]) if packet["code"] else b""


def _body_that_may_be_empty(packet: dict[str, Any]) -> bytes:
    if packet["properties"]:
        return bytes([packet["code"]]) + block(packet["properties"])
    return bytes([packet["code"]]) if packet["code"] else b""


def _list(packet: dict[str, Any]) -> bytes:
    """The payload of SUBSCRIBE (filter and options), UNSUBSCRIBE (filter), SUBACK, UNSUBACK."""
    if packet["type"] == "SUBSCRIBE":
        return b"".join(text(name) + bytes([options]) for name, options in packet["filters"])
    if packet["type"] == "UNSUBSCRIBE":
        return b"".join(text(name) for name in packet["filters"])
    return bytes(packet["codes"])
