"""The bytes of properties: which packet may carry which, and what values they may have.

Source: MQTT 5.0, section 2.2.2, and for the values the packets' sections.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from porttunnel.errors import LocalProtocolError, MqttError
from porttunnel.mqtt.field import (
    ENDED_EARLY,
    ended_early,
    malformed,
    protocol_error,
    read_binary,
    read_string,
    read_topic,
    read_u16,
    read_u32,
    read_varint,
    write_binary,
    write_string,
    write_topic,
    write_u16,
    write_u32,
    write_varint,
)
from porttunnel.mqtt.packet import PacketType
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.reason import ReasonCode

__all__ = ["WILL", "decode_properties", "encode_properties"]

WILL = 0  # the properties of a will have a place of their own; no packet has this type


class _Kind(NamedTuple):
    """How values of one kind are read and written."""

    read: Callable[[bytes, int], tuple[Any, int]]
    write: Callable[[Any], bytes]


def _read_flag(data: bytes, offset: int) -> tuple[bool, int]:
    if data[offset] > 1:
        raise protocol_error("a property that is 0 or 1 has another value")
    return data[offset] == 1, offset + 1


def _write_flag(value: bool) -> bytes:
    return b"\1" if value else b"\0"


def _read_maximum_qos(data: bytes, offset: int) -> tuple[int, int]:
    flag, end = _read_flag(data, offset)
    return int(flag), end


def _write_maximum_qos(value: int) -> bytes:
    if value not in (0, 1):
        raise LocalProtocolError("the maximum QoS is 0 or 1: leave it out for 2")
    return bytes((value,))


def _not_zero(kind: _Kind, reason: ReasonCode = ReasonCode.PROTOCOL_ERROR) -> _Kind:
    def read(data: bytes, offset: int) -> tuple[int, int]:
        value, end = kind.read(data, offset)
        if not value:
            raise MqttError("a property that can't be 0 is 0", reason)
        return value, end

    def write(value: int) -> bytes:
        if not value:
            raise LocalProtocolError("a property that can't be 0 is 0: leave it out")
        return kind.write(value)

    return _Kind(read, write)


def _read_response_topic(data: bytes, offset: int) -> tuple[str, int]:
    raw, end = read_binary(data, offset)
    return read_topic(raw), end  # no wildcards [MQTT-3.3.2-14]


def _read_pair(data: bytes, offset: int) -> tuple[tuple[str, str], int]:
    name, offset = read_string(data, offset)
    value, offset = read_string(data, offset)
    return (name, value), offset


def _write_pair(pair: tuple[str, str]) -> bytes:
    return write_string(pair[0]) + write_string(pair[1])


_FLAG = _Kind(_read_flag, _write_flag)
_MAXIMUM_QOS = _Kind(_read_maximum_qos, _write_maximum_qos)
_U16 = _Kind(read_u16, write_u16)
_U32 = _Kind(read_u32, write_u32)
_BINARY = _Kind(read_binary, write_binary)
_STRING = _Kind(read_string, write_string)
_RESPONSE_TOPIC = _Kind(_read_response_topic, write_topic)
_PAIR = _Kind(_read_pair, _write_pair)
# 0 names no alias [MQTT-3.3.2-8], and there is a reason code for wrong aliases.
_TOPIC_ALIAS = _not_zero(_U16, ReasonCode.TOPIC_ALIAS_INVALID)
_IDENTIFIER = _not_zero(_Kind(read_varint, write_varint))

_MESSAGE = (PacketType.PUBLISH, WILL)
_HELLO = (PacketType.CONNECT, PacketType.CONNACK)
_ACKNOWLEDGEMENTS = (
    PacketType.PUBACK,
    PacketType.PUBREC,
    PacketType.PUBREL,
    PacketType.PUBCOMP,
    PacketType.SUBACK,
    PacketType.UNSUBACK,
)
_EVERYWHERE = (WILL, *PacketType)  # PINGREQ and PINGRESP have no room for any

# identifier: field of Properties, kind of its value, where it may stand
_TABLE: dict[int, tuple[str, _Kind, tuple[int, ...]]] = {
    1: ("payload_format_indicator", _FLAG, _MESSAGE),
    2: ("message_expiry_interval", _U32, _MESSAGE),
    3: ("content_type", _STRING, _MESSAGE),
    8: ("response_topic", _RESPONSE_TOPIC, _MESSAGE),
    9: ("correlation_data", _BINARY, _MESSAGE),
    11: ("subscription_identifiers", _IDENTIFIER, (PacketType.PUBLISH, PacketType.SUBSCRIBE)),
    17: ("session_expiry_interval", _U32, (*_HELLO, PacketType.DISCONNECT)),
    18: ("assigned_client_identifier", _STRING, (PacketType.CONNACK,)),
    19: ("server_keep_alive", _U16, (PacketType.CONNACK,)),
    21: ("authentication_method", _STRING, (*_HELLO, PacketType.AUTH)),
    22: ("authentication_data", _BINARY, (*_HELLO, PacketType.AUTH)),
    23: ("request_problem_information", _FLAG, (PacketType.CONNECT,)),
    24: ("will_delay_interval", _U32, (WILL,)),
    25: ("request_response_information", _FLAG, (PacketType.CONNECT,)),
    26: ("response_information", _STRING, (PacketType.CONNACK,)),
    28: ("server_reference", _STRING, (PacketType.CONNACK, PacketType.DISCONNECT)),
    31: (
        "reason_string",
        _STRING,
        (*_ACKNOWLEDGEMENTS, PacketType.CONNACK, PacketType.DISCONNECT, PacketType.AUTH),
    ),
    33: ("receive_maximum", _not_zero(_U16), _HELLO),
    34: ("topic_alias_maximum", _U16, _HELLO),
    35: ("topic_alias", _TOPIC_ALIAS, (PacketType.PUBLISH,)),
    36: ("maximum_qos", _MAXIMUM_QOS, (PacketType.CONNACK,)),
    37: ("retain_available", _FLAG, (PacketType.CONNACK,)),
    38: ("user_properties", _PAIR, _EVERYWHERE),
    39: ("maximum_packet_size", _not_zero(_U32), _HELLO),
    40: ("wildcard_subscription_available", _FLAG, (PacketType.CONNACK,)),
    41: ("subscription_identifiers_available", _FLAG, (PacketType.CONNACK,)),
    42: ("shared_subscription_available", _FLAG, (PacketType.CONNACK,)),
}
_SEVERAL = frozenset({"user_properties", "subscription_identifiers"})  # what may repeat

_PLACES = range(max(PacketType) + 1)
_READERS = [
    {
        identifier: (name, kind.read)
        for identifier, (name, kind, places) in _TABLE.items()
        if place in places
    }
    for place in _PLACES
]
_WRITERS = [
    {
        name: (bytes((identifier,)), kind.write)
        for identifier, (name, kind, places) in _TABLE.items()
        if place in places
    }
    for place in _PLACES
]


def decode_properties(data: bytes | memoryview, place: int) -> Properties:
    """The properties that these bytes are.

    :param data: all of them, without their length.
    :param place: the type of the packet, or :data:`WILL`.
    :raises MqttError: 0x81 one is none that may stand in this place, or its value is none of its
        type; 0x82 one is there twice, or its value is not allowed, or there is authentication
        data without a method; 0x94 the topic alias is 0.
    """
    if not data:
        return EMPTY
    readers = _READERS[place]
    data = bytes(data)
    end = len(data)
    offset = 0
    found: dict[str, Any] = {}
    try:
        while offset < end:
            # An identifier is a variable byte integer, but all that there are have one byte.
            reader = readers.get(data[offset])
            if reader is None:
                raise malformed("a packet has a property that it can't have")
            name, read = reader
            value, offset = read(data, offset + 1)
            if name in _SEVERAL:
                found.setdefault(name, []).append(value)
            elif name in found:
                raise protocol_error("a property is there twice")
            else:
                found[name] = value
    except ENDED_EARLY:
        raise ended_early() from None
    for name in _SEVERAL & found.keys():
        found[name] = tuple(found[name])
    if len(found.get("subscription_identifiers", ())) > 1 and place != PacketType.PUBLISH:
        raise protocol_error("a property is there twice")
    if "authentication_data" in found and "authentication_method" not in found:
        raise protocol_error("there is authentication data without a method")
    return Properties(**found)


def encode_properties(properties: Properties, place: int) -> bytes:
    """The bytes of these properties, without their length.

    :param place: the type of the packet, or :data:`WILL`.
    :raises LocalProtocolError: one may not stand there, or has a value that it can't have.
    """
    if properties is EMPTY:
        return b""
    writers = _WRITERS[place]
    encoded = bytearray()
    for name in properties.__struct_fields__:
        value = getattr(properties, name)
        if value is None or value == ():
            continue
        if name not in writers:
            raise LocalProtocolError(f"this packet can't have the property {name}: leave it out")
        identifier, write = writers[name]
        for each in value if name in _SEVERAL else (value,):
            encoded += identifier
            encoded += write(each)
    if len(properties.subscription_identifiers) > 1 and place != PacketType.PUBLISH:
        raise LocalProtocolError("only PUBLISH has several subscription identifiers: give one")
    if properties.authentication_data is not None and properties.authentication_method is None:
        raise LocalProtocolError("authentication data needs an authentication method: give it")
    return bytes(encoded)
