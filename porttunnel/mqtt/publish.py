"""PUBLISH and its acknowledgements without objects: a broker has no time to make one per message.

The way of a message: :func:`split_publish` takes a packet apart. The topic's bytes are the key of
the broker's cache of targets; only on a miss they are checked and decoded (:func:`topic_name`).
``b""`` for the properties means there are none; others are checked and read with
``property_codec.decode_properties(properties, PacketType.PUBLISH)``. Then :func:`join_publish`
builds the frame that all targets of QoS 0 share, and :func:`publish_parts` what targets of QoS 1
and 2 share apart from the packet identifier. Both copy the payload once, so what they make lives
longer than the buffer that it came in.

Acknowledgements mostly are nothing but a packet identifier: :func:`join_ack`.

``decode.decode`` and ``encode.encode`` do the same with objects, and all checks at once.
Source: MQTT 5.0 and MQTT 3.1.1, section 3.3.
"""

from __future__ import annotations

import struct

from porttunnel.errors import LocalProtocolError
from porttunnel.mqtt.field import (
    MAX_STRING_BYTES,
    ended_early,
    malformed,
    protocol_error,
    read_topic,
    read_varint,
    write_varint,
)
from porttunnel.mqtt.packet import PacketType, Version

__all__ = [
    "FLAG_DUP",
    "FLAG_RETAIN",
    "PUBACK",
    "PUBCOMP",
    "PUBREC",
    "PUBREL",
    "join_ack",
    "join_publish",
    "publish_beginning",
    "publish_first_byte",
    "publish_parts",
    "split_publish",
    "topic_name",
]

FLAG_RETAIN = 0x01
FLAG_DUP = 0x08
# First bytes of the acknowledgements.
PUBACK = 0x40
PUBREC = 0x50
PUBREL = 0x62
PUBCOMP = 0x70

_QOS_BITS = 0x06

_V5 = Version.V5
_SHORT_HEAD = struct.Struct(">BBH")  # first byte, remaining length, length of the topic
_PUBLISH = PacketType.PUBLISH << 4
# QoS 3 [MQTT-3.3.1-4], and QoS 0 sent again [MQTT-3.3.1-2].
_FORBIDDEN = frozenset({6, 7, 14, 15, FLAG_DUP, FLAG_DUP | FLAG_RETAIN})


def split_publish(
    first_byte: int, body: memoryview, version: Version
) -> tuple[bytes, int, bytes | memoryview, memoryview]:
    """Topic, packet identifier, properties and payload of a PUBLISH.

    :param first_byte: 0x30 to 0x3F. What is in it: ``first_byte >> 1 & 3`` is the QoS,
        :data:`FLAG_RETAIN` and :data:`FLAG_DUP`.
    :param body: all of it.
    :returns: (topic, packet identifier, properties, payload). The topic is a copy, as bytes that
        may be a key, and **not yet checked** (:func:`topic_name`). It may be empty: with MQTT 5
        that needs a topic alias, with 3.1.1 it is wrong; the identifier is 0 with QoS 0. The
        properties are ``b""`` where there are none, always with 3.1.1; else a view without their
        length, and **not yet checked**. The payload is a view. Views are valid as long as the
        body.
    :raises MqttError: 0x81 flags that can't be, or it ended too early; 0x82 the packet identifier
        is 0.
    """
    if first_byte & 0x0F in _FORBIDDEN:
        raise malformed("a PUBLISH has flags that it can't have")
    properties: bytes | memoryview = b""
    packet_id = 0
    try:
        end = (body[0] << 8 | body[1]) + 2
        topic = body[2:end].tobytes()
        if first_byte & _QOS_BITS:
            packet_id = body[end] << 8 | body[end + 1]
            if not packet_id:
                raise protocol_error("a packet identifier is 0")  # [MQTT-2.2.1-3]
            end += 2
        if version is _V5:
            length, end = (0, end + 1) if not body[end] else read_varint(body, end)
            if length:
                start = end
                end += length
                properties = body[start:end]
    except IndexError:
        raise ended_early() from None
    if end > len(body):
        raise ended_early()
    return topic, packet_id, properties, body[end:]


def topic_name(topic: bytes) -> str:
    """The topic that :func:`split_publish` found, checked.

    :raises MqttError: 0x81 not UTF-8 or with U+0000; 0x82 with wildcards, or empty.
    """
    if not topic:
        raise protocol_error("a PUBLISH has neither topic name nor alias")  # [MQTT-4.7.3-1]
    return read_topic(topic)


def publish_first_byte(qos: int, *, retain: bool = False, dup: bool = False) -> int:
    """The first byte of a PUBLISH.

    :raises LocalProtocolError: no such QoS, or ``dup`` with QoS 0.
    """
    if not 0 <= qos <= 2 or (dup and not qos):  # [MQTT-3.3.1-2] [MQTT-3.3.1-4]
        raise LocalProtocolError("QoS is 0, 1 or 2, and only 1 and 2 are sent again")
    return _PUBLISH | qos << 1 | (FLAG_RETAIN if retain else 0) | (FLAG_DUP if dup else 0)


def join_publish(
    first_byte: int,
    topic: bytes,
    packet_id: int,
    properties: bytes | memoryview | None,
    payload: bytes | memoryview,
) -> bytes:
    """A whole PUBLISH, the reverse of :func:`split_publish`; only lengths are checked.

    :param first_byte: from :func:`publish_first_byte`.
    :param packet_id: 1 to 0xFFFF; 0 with QoS 0, which has none.
    :param properties: their bytes without their length: ``b""`` for none with MQTT 5, and **None
        with MQTT 3.1.1**, which has no room for any.
    :raises LocalProtocolError: longer than MQTT's lengths can say.
    """
    if packet_id:
        head, block = _head(first_byte, topic, properties, 2 + len(payload))
        return b"".join((head, topic, packet_id.to_bytes(2, "big"), block, payload))
    head, block = _head(first_byte, topic, properties, len(payload))
    return b"".join((head, topic, block, payload))


def publish_beginning(
    first_byte: int,
    topic: bytes,
    properties: bytes | memoryview | None,
    payload_bytes: int,
) -> tuple[bytes, bytes]:
    """What stands before the payload of a PUBLISH, for one that is too large to be copied.

    The arguments are those of :func:`join_publish`, of the payload only its size.

    :returns: what comes before the packet identifier, and what behind it; with QoS 0, which has
        none, both follow each other.
    :raises LocalProtocolError: longer than MQTT's lengths can say.
    """
    rest_bytes = payload_bytes + 2 if first_byte & _QOS_BITS else payload_bytes
    head, block = _head(first_byte, topic, properties, rest_bytes)
    return head + topic, block


def publish_parts(
    first_byte: int,
    topic: bytes,
    properties: bytes | memoryview | None,
    payload: bytes | memoryview,
) -> tuple[bytes, bytes]:
    """What stands before and behind the packet identifier of a PUBLISH with QoS 1 or 2.

    ``head + packet_id.to_bytes(2, "big") + tail`` is the packet. All targets of the same first
    byte and properties can share both parts. To send it again, the first byte alone is another:
    ``head[0] | FLAG_DUP``. The arguments are those of :func:`join_publish`.

    :raises LocalProtocolError: longer than MQTT's lengths can say.
    """
    head, block = _head(first_byte, topic, properties, 2 + len(payload))
    return head + topic, b"".join((block, payload))


def join_ack(first_byte: int, packet_id: int) -> bytes:
    """A whole acknowledgement that says success.

    :param first_byte: :data:`PUBACK`, :data:`PUBREC`, :data:`PUBREL` or :data:`PUBCOMP`.
    :param packet_id: 1 to 0xFFFF.
    """
    return _SHORT_HEAD.pack(first_byte, 2, packet_id)


def _head(
    first_byte: int, topic: bytes, properties: bytes | memoryview | None, rest_bytes: int
) -> tuple[bytes, bytes]:
    """What stands before the topic, and the properties with their length.

    :param rest_bytes: of the packet identifier and the payload.
    """
    topic_bytes = len(topic)
    if properties:
        block = b"".join((write_varint(len(properties)), properties))
    else:
        block = b"" if properties is None else b"\0"  # [MQTT-2.2.2-1]
    remaining = 2 + topic_bytes + len(block) + rest_bytes
    if remaining < 0x80:
        return _SHORT_HEAD.pack(first_byte, remaining, topic_bytes), block
    if topic_bytes > MAX_STRING_BYTES:
        raise LocalProtocolError(f"a topic has at most {MAX_STRING_BYTES} bytes: shorten it")
    head = b"".join(
        (bytes((first_byte,)), write_varint(remaining), topic_bytes.to_bytes(2, "big"))
    )
    return head, block
