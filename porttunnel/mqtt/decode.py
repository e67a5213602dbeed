"""From bytes to packets, strictly. Source: MQTT 5.0 and MQTT 3.1.1, sections 2 and 3."""

from __future__ import annotations

from collections.abc import Callable

from porttunnel.errors import MqttError
from porttunnel.mqtt.field import (
    ENDED_EARLY,
    ended_early,
    malformed,
    protocol_error,
    read_binary,
    read_packet_id,
    read_string,
    read_topic,
    read_u16,
    read_varint,
)
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
from porttunnel.mqtt.property_codec import WILL, decode_properties
from porttunnel.mqtt.publish import FLAG_DUP, FLAG_RETAIN, split_publish, topic_name
from porttunnel.mqtt.reason import (
    AUTH_REASONS,
    CONNACK_REASONS,
    DISCONNECT_REASONS,
    PUBACK_REASONS,
    PUBREL_REASONS,
    SUBACK_REASONS,
    UNSUBACK_REASONS,
    ConnectReturnCode,
    ReasonCode,
    reason_of_return_code,
)

__all__ = ["connect_version", "decode"]

_V5 = Version.V5
_SHARED = "$share/"
_NAME = b"\0\4MQTT"
_OLD_NAME = b"\0\6MQIsdp"  # of MQTT 3.1, which reads the CONNACK of 3.1.1
_LEVEL_BITS = 0x7F  # of the byte that says which MQTT it is
_SUBACK_CODES_OF_3_1_1 = frozenset({0, 1, 2, 0x80})  # [MQTT-3.9.3-2 of 3.1.1]

_Decoder = Callable[[bytes, Version], Packet]


def decode(first_byte: int, body: memoryview, version: Version | None) -> Packet:
    """The packet that these bytes are.

    Nothing is said about whether this packet may come from this side, or now: that is known to
    the connection (``direction`` tells the first).

    :param first_byte: type and flags.
    :param body: all that stands behind the remaining length; only the payload of a PUBLISH stays
        a view of it.
    :param version: that of the connection; None before it is known: then only a CONNECT is right.
    :raises MqttError: 0x81 it is no packet of this version; 0x82 it has a value that it can't
        have; 0x84 it is a CONNECT of another protocol or version; 0x85 it is a CONNECT of 3.1.1
        that wants a session kept without naming its client id; 0x94 its topic alias is 0.
        :func:`connect_version` and ``encode.encode_refusal`` make the answer to a wrong CONNECT.
    """
    if version is None:
        if first_byte >> 4 != PacketType.CONNECT:  # [MQTT-3.1.0-1]
            raise protocol_error("the first packet is no CONNECT")
        version = _V5  # which of them it is, a CONNECT says itself
    if first_byte >> 4 == PacketType.PUBLISH:
        return _publish(first_byte, body, version)
    decoder = _DECODERS.get(first_byte)
    if decoder is None:
        # Type 0, or flags that the type can't have: [MQTT-2.1.3-1] [MQTT-2.2.2-2 of 3.1.1].
        raise malformed("a packet has a type or flags that it can't have")
    try:
        return decoder(bytes(body), version)
    except ENDED_EARLY:
        raise ended_early() from None


def connect_version(body: bytes | bytearray | memoryview) -> Version | None:
    """In which version whoever sent this CONNECT understands an answer.

    :param body: of a CONNECT, also of one that can't be decoded.
    :returns: 5 for level 5 and all that will come after it; 3.1.1 for all before it; None if it is
        not MQTT. The highest bit of a level does not count: with it a bridge of mosquitto asks
        for more than 3.1.1 has, and once that is refused in 3.1.1 it comes again without it.
    """
    data = bytes(body[: len(_OLD_NAME) + 1])
    for name in (_NAME, _OLD_NAME):
        if data.startswith(name) and len(data) > len(name):
            return _V5 if data[len(name)] & _LEVEL_BITS >= _V5 else Version.V3_1_1
    return None


def _properties(data: bytes, offset: int, place: int) -> tuple[Properties, int]:
    length, start = read_varint(data, offset)
    end = start + length
    if end > len(data):
        raise ended_early()
    return (decode_properties(data[start:end], place) if length else EMPTY), end


def _finish(data: bytes, offset: int) -> None:
    if offset != len(data):
        raise malformed("a packet has bytes after its end")


def _by_number(reasons: frozenset[ReasonCode]) -> dict[int, ReasonCode]:
    return {int(reason): reason for reason in reasons}


def _reason(number: int, allowed: dict[int, ReasonCode]) -> ReasonCode:
    reason = allowed.get(number)
    if reason is None:
        raise protocol_error("a packet has a reason code that it can't have")
    return reason


def _connect(data: bytes, _version: Version) -> Connect:
    name, offset = read_binary(data, 0)
    level = data[offset]
    if name != b"MQTT" or level not in (Version.V3_1_1, _V5):  # [MQTT-3.1.2-1] [MQTT-3.1.2-2]
        raise MqttError(
            "a CONNECT is of another protocol or version: use MQTT 3.1.1 or 5",
            ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
        )
    version = Version(level)
    flags = data[offset + 1]
    if flags & 0x01:  # [MQTT-3.1.2-3]
        raise malformed("a CONNECT has the reserved flag")
    keep_alive, offset = read_u16(data, offset + 2)
    properties = EMPTY
    if version is _V5:
        properties, offset = _properties(data, offset, PacketType.CONNECT)
    client_id, offset = read_string(data, offset)  # [MQTT-3.1.3-3] [MQTT-3.1.3-4]
    will, offset = _will(data, offset, flags, version)
    user_name = password = None
    if flags & 0x80:  # [MQTT-3.1.2-19]
        user_name, offset = read_string(data, offset)
    if flags & 0x40:  # [MQTT-3.1.2-21]
        if user_name is None and version is not _V5:  # [MQTT-3.1.2-22 of 3.1.1]
            raise malformed("a CONNECT has a password without a user name")
        password, offset = read_binary(data, offset)
    _finish(data, offset)
    clean_start = bool(flags & 0x02)
    if not (client_id or clean_start or version is _V5):  # [MQTT-3.1.3-8 of 3.1.1]
        raise MqttError(
            "a session can't be kept without a client id",
            ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
        )
    return Connect(
        version, client_id, clean_start, keep_alive, user_name, password, will, properties
    )


def _will(data: bytes, offset: int, flags: int, version: Version) -> tuple[Will | None, int]:
    qos = flags >> 3 & 3
    retain = bool(flags & 0x20)
    if not flags & 0x04:
        if qos or retain:  # [MQTT-3.1.2-11] [MQTT-3.1.2-13] [MQTT-3.1.2-15]
            raise malformed("a CONNECT has flags of a will, but no will")
        return None, offset
    if qos == 3:  # [MQTT-3.1.2-14]
        raise malformed("a will has QoS 3")
    properties = EMPTY
    if version is _V5:
        properties, offset = _properties(data, offset, WILL)
    raw_topic, offset = read_binary(data, offset)
    if not raw_topic:  # [MQTT-4.7.3-1]
        raise protocol_error("a will has no topic")
    topic = read_topic(raw_topic)
    payload, offset = read_binary(data, offset)
    return Will(topic, payload, qos, retain, properties), offset


def _connack(data: bytes, version: Version) -> Connack:
    flags, code = data[0], data[1]
    if flags > 1:  # [MQTT-3.2.2-1]
        raise malformed("a CONNACK has reserved flags")
    properties, offset = EMPTY, 2
    if version is _V5:
        reason = _reason(code, _OF_CONNACK)
        properties, offset = _properties(data, offset, PacketType.CONNACK)
    elif code > max(ConnectReturnCode):
        raise protocol_error("a CONNACK has a reserved return code")
    else:
        reason = reason_of_return_code(ConnectReturnCode(code))
    _finish(data, offset)
    if flags and reason:  # [MQTT-3.2.2-6] [MQTT-3.2.2-4 of 3.1.1]
        raise protocol_error("a CONNACK refuses, and has a session")
    return Connack(flags == 1, reason, properties)


def _publish(first_byte: int, body: memoryview, version: Version) -> Publish:
    raw_topic, packet_id, block, payload = split_publish(first_byte, body, version)
    properties = decode_properties(block, PacketType.PUBLISH)
    # Only an alias makes up for a name: 3.1.1 has none.
    topic = "" if not raw_topic and properties.topic_alias else topic_name(raw_topic)
    return Publish(
        topic,
        payload,
        first_byte >> 1 & 3,
        bool(first_byte & FLAG_RETAIN),
        bool(first_byte & FLAG_DUP),
        packet_id or None,
        properties,
    )


def _acknowledgement(
    kind: type[Puback | Pubrec | Pubrel | Pubcomp], allowed: dict[int, ReasonCode]
) -> _Decoder:
    place = kind.kind

    def decode_it(data: bytes, version: Version) -> Packet:
        packet_id, offset = read_packet_id(data, 0)
        if len(data) == 2:
            return kind(packet_id)
        if version is not _V5:
            raise malformed("a packet has bytes after its end")
        reason = _reason(data[2], allowed)
        if len(data) == 3:
            return kind(packet_id, reason)
        properties, offset = _properties(data, 3, place)
        _finish(data, offset)
        return kind(packet_id, reason, properties)

    return decode_it


def _subscribe(data: bytes, version: Version) -> Subscribe:
    packet_id, offset = read_packet_id(data, 0)
    properties = EMPTY
    if version is _V5:
        properties, offset = _properties(data, offset, PacketType.SUBSCRIBE)
    subscriptions = []
    while offset < len(data):
        name, offset = read_string(data, offset)  # [MQTT-3.8.3-1]
        subscriptions.append(_subscription(name, data[offset], version))
        offset += 1
    if not subscriptions:  # [MQTT-3.8.3-2]
        raise protocol_error("a SUBSCRIBE has no filter")
    return Subscribe(packet_id, tuple(subscriptions), properties)


def _subscription(name: str, options: int, version: Version) -> Subscription:
    qos = options & 3
    if version is not _V5:
        if options > 2:  # [MQTT-3-8.3-4 of 3.1.1]
            raise malformed("a SUBSCRIBE has reserved bits, or QoS 3")
        return Subscription(name, qos)
    if options & 0xC0:  # [MQTT-3.8.3-5]
        raise malformed("a SUBSCRIBE has reserved bits")
    retain_handling = options >> 4
    no_local = bool(options & 0x04)
    if qos == 3 or retain_handling == 3:
        raise protocol_error("a SUBSCRIBE has QoS 3 or retain handling 3")
    if no_local and name.startswith(_SHARED):  # [MQTT-3.8.3-4]
        raise protocol_error("a shared subscription is no-local")
    return Subscription(name, qos, no_local, bool(options & 0x08), RetainHandling(retain_handling))


def _suback(data: bytes, version: Version) -> Suback:
    packet_id, offset = read_packet_id(data, 0)
    properties = EMPTY
    allowed = _OF_SUBACK_3_1_1
    if version is _V5:
        properties, offset = _properties(data, offset, PacketType.SUBACK)
        allowed = _OF_SUBACK
    reasons = tuple(_reason(number, allowed) for number in data[offset:])
    if not reasons:
        raise protocol_error("a SUBACK has no reason")
    return Suback(packet_id, reasons, properties)


def _unsubscribe(data: bytes, version: Version) -> Unsubscribe:
    packet_id, offset = read_packet_id(data, 0)
    properties = EMPTY
    if version is _V5:
        properties, offset = _properties(data, offset, PacketType.UNSUBSCRIBE)
    filters = []
    while offset < len(data):
        name, offset = read_string(data, offset)  # [MQTT-3.10.3-1]
        filters.append(name)
    if not filters:  # [MQTT-3.10.3-2]
        raise protocol_error("an UNSUBSCRIBE has no filter")
    return Unsubscribe(packet_id, tuple(filters), properties)


def _unsuback(data: bytes, version: Version) -> Unsuback:
    packet_id, offset = read_packet_id(data, 0)
    if version is not _V5:
        _finish(data, offset)
        return Unsuback(packet_id)
    properties, offset = _properties(data, offset, PacketType.UNSUBACK)
    reasons = tuple(_reason(number, _OF_UNSUBACK) for number in data[offset:])
    if not reasons:
        raise protocol_error("an UNSUBACK has no reason")
    return Unsuback(packet_id, reasons, properties)


def _pingreq(data: bytes, _version: Version) -> Pingreq:
    _finish(data, 0)
    return Pingreq()


def _pingresp(data: bytes, _version: Version) -> Pingresp:
    _finish(data, 0)
    return Pingresp()


def _disconnect(data: bytes, version: Version) -> Disconnect:
    if version is not _V5:
        _finish(data, 0)
    if not data:
        return Disconnect()
    reason = _reason(data[0], _OF_DISCONNECT)
    if len(data) == 1:
        return Disconnect(reason)
    properties, offset = _properties(data, 1, PacketType.DISCONNECT)
    _finish(data, offset)
    return Disconnect(reason, properties)


def _auth(data: bytes, version: Version) -> Auth:
    if version is not _V5:
        raise malformed("MQTT 3.1.1 has no AUTH")
    if not data:
        return Auth()
    reason = _reason(data[0], _OF_AUTH)
    properties, offset = _properties(data, 1, PacketType.AUTH)
    _finish(data, offset)
    if properties.authentication_method is None:
        raise protocol_error("an AUTH does not name its authentication method")
    return Auth(reason, properties)


_OF_CONNACK = _by_number(CONNACK_REASONS)
_OF_PUBACK = _by_number(PUBACK_REASONS)
_OF_PUBREL = _by_number(PUBREL_REASONS)
_OF_SUBACK = _by_number(SUBACK_REASONS)
_OF_SUBACK_3_1_1 = {number: ReasonCode(number) for number in _SUBACK_CODES_OF_3_1_1}
_OF_UNSUBACK = _by_number(UNSUBACK_REASONS)
_OF_DISCONNECT = _by_number(DISCONNECT_REASONS)
_OF_AUTH = _by_number(AUTH_REASONS)

# By the first byte: a type has one set of flags that is right, apart from PUBLISH.
_DECODERS: dict[int, _Decoder] = {
    0x10: _connect,
    0x20: _connack,
    0x40: _acknowledgement(Puback, _OF_PUBACK),
    0x50: _acknowledgement(Pubrec, _OF_PUBACK),
    0x62: _acknowledgement(Pubrel, _OF_PUBREL),  # [MQTT-3.6.1-1]
    0x70: _acknowledgement(Pubcomp, _OF_PUBREL),
    0x82: _subscribe,  # [MQTT-3.8.1-1]
    0x90: _suback,
    0xA2: _unsubscribe,  # [MQTT-3.10.1-1]
    0xB0: _unsuback,
    0xC0: _pingreq,
    0xD0: _pingresp,
    0xE0: _disconnect,  # [MQTT-3.14.1-1]
    0xF0: _auth,  # [MQTT-3.15.1-1]
}
