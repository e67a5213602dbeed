"""A message's PUBLISH on one connection: shared with others as far as it can be.

Source: MQTT 5.0, sections 3.1.2.11.4, 3.3.1 and 3.3.2.3.4.
"""

from __future__ import annotations

from porttunnel.mqtt.message import SHARED_BYTES, Delivery
from porttunnel.mqtt.outbox import Outbox
from porttunnel.mqtt.publish import FLAG_DUP

__all__ = ["SHARED_BYTES", "send_parts", "send_publication"]


def send_publication(
    outbox: Outbox, delivery: Delivery, packet_id: int, now: float, *, dup: bool = False
) -> bool:
    """Put a PUBLISH into the outbox.

    :param packet_id: 0 with QoS 0.
    :param dup: whether it is sent again.
    :returns: whether the client takes packets that large; if not, nothing was sent.
    """
    message = delivery.message
    if outbox.aliases is not None or delivery.is_special:
        packet = _encode(outbox, delivery, packet_id, now, dup=dup)
    elif packet_id:
        return send_parts(outbox, delivery, packet_id, dup=dup)
    elif message.is_large and (message.qos or delivery.retain):
        # Others nobody keeps, so their packets may be made whole.
        return _send_large(outbox, delivery, packet_id, dup=dup)
    else:
        packet = message.packet(outbox.version, retain=delivery.retain)
    if len(packet) > outbox.packet_limit:
        return False
    outbox.send(packet)
    return True


def send_parts(outbox: Outbox, delivery: Delivery, packet_id: int, *, dup: bool = False) -> bool:
    """As :func:`send_publication`, for one that is shared apart from the packet identifier.

    :param outbox: of a connection without aliases.
    :param delivery: one that is not special.
    :param packet_id: not 0.
    """
    message = delivery.message
    if message.is_large:
        return _send_large(outbox, delivery, packet_id, dup=dup)
    head, tail = message.parts(outbox.version, delivery.qos, retain=delivery.retain)
    size = len(head) + 2 + len(tail)
    if size > outbox.packet_limit:
        return False
    if dup:
        head = bytes((head[0] | FLAG_DUP,)) + head[1:]
    outbox.pieces.append(b"".join((head, packet_id.to_bytes(2, "big"), tail)))
    outbox.waiting_bytes += size
    if not outbox.is_ready:
        outbox.touch()
    return True


def _send_large(outbox: Outbox, delivery: Delivery, packet_id: int, *, dup: bool) -> bool:
    """One whose payload is not copied."""
    message = delivery.message
    head, block = message.beginning(outbox.version, delivery.qos, retain=delivery.retain)
    if dup:
        head = bytes((head[0] | FLAG_DUP,)) + head[1:]
    beginning = head + packet_id.to_bytes(2, "big") + block if packet_id else head
    size = len(beginning) + len(message.payload)
    if size > outbox.packet_limit:
        return False
    outbox.pieces += (beginning, message.payload)
    outbox.waiting_bytes += size
    if not outbox.is_ready:
        outbox.touch()
    return True


def _encode(outbox: Outbox, delivery: Delivery, packet_id: int, now: float, *, dup: bool) -> bytes:
    """A packet for this connection only."""
    aliases = outbox.aliases
    if aliases is None:
        return delivery.packet(outbox.version, packet_id, now, dup=dup)
    topic = delivery.topic.encode()
    shortened, alias = aliases.shorten(topic)
    packet = delivery.packet(outbox.version, packet_id, now, dup=dup, topic=shortened, alias=alias)
    if alias is not None and shortened and len(packet) <= outbox.packet_limit:
        aliases.remember(topic, alias)
    return packet
