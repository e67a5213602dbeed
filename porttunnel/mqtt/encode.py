"""From packets to bytes. Source: MQTT 5.0 and MQTT 3.1.1, sections 2 and 3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from porttunnel.errors import LocalProtocolError
from porttunnel.mqtt.field import (
    write_binary,
    write_packet_id,
    write_string,
    write_topic,
    write_u16,
    write_varint,
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
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Version,
    Will,
)
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.property_codec import WILL, encode_properties
from porttunnel.mqtt.publish import join_publish, publish_first_byte
from porttunnel.mqtt.reason import (
    AUTH_REASONS,
    CONNACK_REASONS,
    DISCONNECT_REASONS,
    PUBACK_REASONS,
    PUBREL_REASONS,
    SUBACK_REASONS,
    UNSUBACK_REASONS,
    ReasonCode,
    connect_return_code,
    suback_return_code,
)

__all__ = ["encode", "encode_refusal"]

_V5 = Version.V5
_SHARED = "$share/"


def encode(packet: Packet, version: Version) -> bytes:
    """The bytes of a whole packet.

    What 3.1.1 has no field for is left out: properties, options of subscriptions other than QoS,
    reasons other than those of CONNACK and SUBACK, which are translated.

    :param version: that of the connection; that of a CONNECT must be the same.
    :raises LocalProtocolError: the packet has a value that it can't have, or this version lacks
        the packet or a way to say its reason (:func:`encode_refusal` doesn't raise then).
    """
    return _ENCODERS[type(packet)](packet, version)


def encode_refusal(
    reason: ReasonCode, version: Version | None, properties: Properties = EMPTY
) -> bytes:
    """The CONNACK that refuses a CONNECT, or no bytes where none may be sent.

    :param reason: as of :class:`~porttunnel.errors.MqttError`, or the policy's.
    :param version: of the CONNECT, or ``decode.connect_version`` of one that could not be decoded.
    :returns: ``b""`` if the version is not known, or has no code that says this: then the
        connection is closed without an answer [MQTT-3.2.2-6 of 3.1.1].
    """
    if version is None or (version is not _V5 and connect_return_code(reason) is None):
        return b""
    return encode(Connack(False, reason, properties), version)


def _frame(first_byte: int, body: bytes) -> bytes:
    return b"".join((bytes((first_byte,)), write_varint(len(body)), body))


def _properties(properties: Properties, place: int) -> bytes:
    encoded = encode_properties(properties, place)
    return write_varint(len(encoded)) + encoded  # a length of 0 for none [MQTT-2.2.2-1]


def _reason(reason: ReasonCode, allowed: frozenset[ReasonCode]) -> bytes:
    if reason not in allowed:
        raise LocalProtocolError(f"this packet can't say {reason.name}: give another reason")
    return bytes((reason,))


def _qos(qos: int) -> int:
    if not 0 <= qos <= 2:
        raise LocalProtocolError("QoS is 0, 1 or 2")
    return qos


def _connect(packet: Connect, version: Version) -> bytes:
    if packet.version is not version:
        raise LocalProtocolError("a CONNECT is encoded in its own version: give that")
    is_v5 = version is _V5
    will = packet.will
    flags = packet.clean_start << 1
    if packet.user_name is not None:
        flags |= 0x80
    if packet.password is not None:
        if packet.user_name is None and not is_v5:
            # [MQTT-3.1.2-22 of 3.1.1]
            raise LocalProtocolError("MQTT 3.1.1 has no password without a user name: give one")
        flags |= 0x40
    if not (packet.client_id or packet.clean_start or is_v5):
        # [MQTT-3.1.3-7 of 3.1.1]
        raise LocalProtocolError("MQTT 3.1.1 keeps no session without a client id: give one")
    if will is not None:
        flags |= 0x04 | _qos(will.qos) << 3 | will.retain << 5
    parts = [
        write_string("MQTT"),
        bytes((version, flags)),
        write_u16(packet.keep_alive_seconds),
        _properties(packet.properties, PacketType.CONNECT) if is_v5 else b"",
        write_string(packet.client_id),  # then the others in this order [MQTT-3.1.3-1]
    ]
    if will is not None:
        parts += _will(will, is_v5)
    if packet.user_name is not None:
        parts.append(write_string(packet.user_name))
    if packet.password is not None:
        parts.append(write_binary(packet.password))
    return _frame(0x10, b"".join(parts))


def _will(will: Will, is_v5: bool) -> list[bytes]:
    if not will.topic:
        raise LocalProtocolError("a topic has one character at least: give the will one")
    properties = [_properties(will.properties, WILL)] if is_v5 else []
    return [*properties, write_topic(will.topic), write_binary(will.payload)]


def _connack(packet: Connack, version: Version) -> bytes:
    if packet.session_present and packet.reason:
        # [MQTT-3.2.2-6] [MQTT-3.2.2-4 of 3.1.1]
        raise LocalProtocolError("a refusal has no session: leave session_present out")
    if version is not _V5:
        code = connect_return_code(packet.reason)
        if code is None:
            raise LocalProtocolError(
                f"MQTT 3.1.1 can't say {packet.reason.name}: close without an answer"
            )
        return bytes((0x20, 2, packet.session_present, code))
    reason = _reason(packet.reason, CONNACK_REASONS)
    properties = _properties(packet.properties, PacketType.CONNACK)
    return _frame(0x20, bytes((packet.session_present,)) + reason + properties)


def _publish(packet: Publish, version: Version) -> bytes:
    first_byte = publish_first_byte(packet.qos, retain=packet.retain, dup=packet.dup)
    packet_id = packet.packet_id
    if (packet_id is None) != (packet.qos == 0):  # [MQTT-2.2.1-2]
        raise LocalProtocolError("a packet identifier is for QoS 1 and 2, and only for these")
    if packet_id is not None:
        write_packet_id(packet_id)
    topic = write_topic(packet.topic)[2:]
    if not topic and (version is not _V5 or packet.properties.topic_alias is None):
        # [MQTT-4.7.3-1]
        raise LocalProtocolError("a message has a topic name or a topic alias: give one")
    properties = (
        encode_properties(packet.properties, PacketType.PUBLISH) if version is _V5 else None
    )
    return join_publish(first_byte, topic, packet_id or 0, properties, packet.payload)


def _acknowledgement(
    first_byte: int, allowed: frozenset[ReasonCode]
) -> Callable[[Any, Version], bytes]:
    def encode_it(packet: Puback | Pubrec | Pubrel | Pubcomp, version: Version) -> bytes:
        packet_id = write_packet_id(packet.packet_id)
        if version is not _V5:
            return bytes((first_byte, 2)) + packet_id
        reason = _reason(packet.reason, allowed)
        properties = encode_properties(packet.properties, packet.kind)
        if properties:
            return _frame(
                first_byte, packet_id + reason + write_varint(len(properties)) + properties
            )
        # The shortest form of several: without a reason it is success.
        return _frame(first_byte, packet_id + reason if packet.reason else packet_id)

    return encode_it


def _subscribe(packet: Subscribe, version: Version) -> bytes:
    if not packet.subscriptions:  # [MQTT-3.8.3-2]
        raise LocalProtocolError("a SUBSCRIBE has one filter at least: give one")
    parts = [write_packet_id(packet.packet_id)]
    if version is _V5:
        parts.append(_properties(packet.properties, PacketType.SUBSCRIBE))
    for subscription in packet.subscriptions:
        parts.append(write_string(subscription.filter))
        parts.append(bytes((_options(subscription, version),)))
    return _frame(0x82, b"".join(parts))


def _options(subscription: Subscription, version: Version) -> int:
    qos = _qos(subscription.qos)
    if version is not _V5:
        return qos
    if subscription.no_local and subscription.filter.startswith(_SHARED):  # [MQTT-3.8.3-4]
        raise LocalProtocolError("a shared subscription can't be no_local: leave it out")
    return (
        qos
        | subscription.no_local << 2
        | subscription.retain_as_published << 3
        | subscription.retain_handling << 4
    )


def _suback(packet: Suback, version: Version) -> bytes:
    if not packet.reasons:
        raise LocalProtocolError("a SUBACK has a reason for each filter: give them")
    reasons = b"".join(_reason(reason, SUBACK_REASONS) for reason in packet.reasons)
    packet_id = write_packet_id(packet.packet_id)
    if version is not _V5:
        return _frame(0x90, packet_id + bytes(map(suback_return_code, packet.reasons)))
    return _frame(0x90, packet_id + _properties(packet.properties, PacketType.SUBACK) + reasons)


def _unsubscribe(packet: Unsubscribe, version: Version) -> bytes:
    if not packet.filters:  # [MQTT-3.10.3-2]
        raise LocalProtocolError("an UNSUBSCRIBE has one filter at least: give one")
    parts = [write_packet_id(packet.packet_id)]
    if version is _V5:
        parts.append(_properties(packet.properties, PacketType.UNSUBSCRIBE))
    parts += map(write_string, packet.filters)
    return _frame(0xA2, b"".join(parts))


def _unsuback(packet: Unsuback, version: Version) -> bytes:
    packet_id = write_packet_id(packet.packet_id)
    if version is not _V5:
        return _frame(0xB0, packet_id)
    if not packet.reasons:
        raise LocalProtocolError("an UNSUBACK has a reason for each filter: give them")
    reasons = b"".join(_reason(reason, UNSUBACK_REASONS) for reason in packet.reasons)
    return _frame(0xB0, packet_id + _properties(packet.properties, PacketType.UNSUBACK) + reasons)


def _disconnect(packet: Disconnect, version: Version) -> bytes:
    if version is not _V5:
        return b"\xe0\0"
    reason = _reason(packet.reason, DISCONNECT_REASONS)
    properties = encode_properties(packet.properties, PacketType.DISCONNECT)
    if properties:
        return _frame(0xE0, reason + write_varint(len(properties)) + properties)
    return _frame(0xE0, reason if packet.reason else b"")


def _auth(packet: Auth, version: Version) -> bytes:
    if version is not _V5:
        raise LocalProtocolError("MQTT 3.1.1 has no AUTH: use a user name and a password")
    reason = _reason(packet.reason, AUTH_REASONS)
    if packet.properties == EMPTY and not packet.reason:
        return b"\xf0\0"
    if packet.properties.authentication_method is None:
        raise LocalProtocolError("an AUTH names its authentication method: give it")
    return _frame(0xF0, reason + _properties(packet.properties, PacketType.AUTH))


_ENCODERS: dict[type, Callable[[Any, Version], bytes]] = {
    Connect: _connect,
    Connack: _connack,
    Publish: _publish,
    Puback: _acknowledgement(0x40, PUBACK_REASONS),
    Pubrec: _acknowledgement(0x50, PUBACK_REASONS),
    Pubrel: _acknowledgement(0x62, PUBREL_REASONS),
    Pubcomp: _acknowledgement(0x70, PUBREL_REASONS),
    Subscribe: _subscribe,
    Suback: _suback,
    Unsubscribe: _unsubscribe,
    Unsuback: _unsuback,
    Pingreq: lambda packet, version: b"\xc0\0",
    Pingresp: lambda packet, version: b"\xd0\0",
    Disconnect: _disconnect,
    Auth: _auth,
}
