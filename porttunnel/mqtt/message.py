"""An application message on its way, and its PUBLISH packets, each made once for all who get it.

Source: MQTT 5.0, section 3.3; MQTT 3.1.1, section 3.3.
"""

from __future__ import annotations

import math

import msgspec
from msgspec.structs import replace

from porttunnel.mqtt.packet import PacketType, Version
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.property_codec import encode_properties
from porttunnel.mqtt.publish import (
    join_publish,
    publish_beginning,
    publish_first_byte,
    publish_parts,
)

__all__ = [
    "MESSAGE_BYTES",
    "SHARED_BYTES",
    "Delivery",
    "Message",
    "deliver_as",
    "make_message",
]

MESSAGE_BYTES = 500  # a message in memory besides its topic, payload and properties, about
SHARED_BYTES = 4_096  # topic and payload; from this size on the payload is not copied
MAX_KEPT_TOPIC = 1_024  # characters; what stands before a payload is made anew with a longer one
PROPERTY_BYTES = 150  # each user property in memory besides its text, about

_PUBLISH = PacketType.PUBLISH << 4
_WITHOUT_PAYLOAD = 1 << 12  # among the keys of what is made once


_NO_PARTS: dict[int, tuple[bytes, bytes]] = {}


class Message:
    """A message that the broker has taken on. Nothing of it changes, so who holds it shares it.

    :param topic: where it is published, as the policy rewrote it.
    :param payload: kept, so no view of a buffer that is used again.
    :param qos: as it was published.
    :param retain: as it was published.
    :param properties: those that go to the subscribers unaltered: no topic alias, no subscription
        identifier, no message expiry interval (:func:`make_message` sees to it).
    :param encoded: their bytes, if they are known.
    :param expires_at: seconds, monotonic, or None.
    :ivar cost: bytes in memory, about.
    :ivar is_large: its payload is not copied into packets.
    """

    __slots__ = (
        "_encoded",
        "_parts",
        "cost",
        "expires_at",
        "is_large",
        "payload",
        "properties",
        "qos",
        "retain",
        "topic",
    )

    def __init__(
        self,
        topic: str,
        payload: bytes,
        qos: int = 0,
        *,
        retain: bool = False,
        properties: Properties = EMPTY,
        encoded: bytes | None = None,
        expires_at: float | None = None,
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.properties = properties
        self.expires_at = expires_at
        size = len(topic) + len(payload)
        self.is_large = is_large = size >= SHARED_BYTES
        # A small one stands in its packet a second time.
        self.cost = MESSAGE_BYTES + (size if is_large else 2 * size)
        self._parts = _NO_PARTS  # most messages go out once, in the packet that they came in
        self._encoded = encoded
        if properties is not EMPTY:
            if encoded is None:
                encoded = self._encoded = encode_properties(properties, PacketType.PUBLISH)
            self.cost += len(encoded) * 2 + len(properties.user_properties) * PROPERTY_BYTES

    def has_expired(self, now: float) -> bool:
        """Whether nobody is to get it any more."""
        return self.expires_at is not None and self.expires_at <= now

    def remember(self, version: Version, qos: int, parts: tuple[bytes, bytes]) -> None:
        """Take over what :meth:`parts` would make, from the packet that the message came in."""
        if not self.is_large:
            self._keep(version << 8 | qos << 1, parts)

    def _keep(self, key: int, parts: tuple[bytes, bytes]) -> None:
        if self._parts is _NO_PARTS:
            self._parts = {}
        self._parts[key] = parts

    def packet(self, version: Version, *, retain: bool) -> bytes:
        """The PUBLISH with QoS 0, shared by all who get it as it is.

        It is made once, but each time with RETAIN, as most of those go to one subscriber only, and
        for a large message that somebody may keep.
        """
        key = version << 8 | retain
        made = self._parts.get(key)
        if made is None:
            whole = join_publish(
                _PUBLISH | retain, self.topic.encode(), 0, self._block(version), self.payload
            )
            made = (whole, b"")
            if not retain and not (self.is_large and self.qos):
                self._keep(key, made)
        return made[0]

    def parts(self, version: Version, qos: int, *, retain: bool) -> tuple[bytes, bytes]:
        """The PUBLISH with QoS 1 or 2 of a small message, before and behind its packet identifier.

        It is made as often as :meth:`packet`.
        """
        flags = qos << 1 | retain
        made = self._parts.get(version << 8 | flags)
        if made is None:
            made = publish_parts(
                _PUBLISH | flags, self.topic.encode(), self._block(version), self.payload
            )
            if not retain and not self.is_large:
                self._keep(version << 8 | flags, made)
        return made

    def beginning(self, version: Version, qos: int, *, retain: bool) -> tuple[bytes, bytes]:
        """The PUBLISH of a large message, without the payload behind it: before and behind the
        packet identifier; with QoS 0 all is before it.

        It is made as often as :meth:`packet`.
        """
        flags = qos << 1 | retain
        key = _WITHOUT_PAYLOAD | version << 8 | flags
        made = self._parts.get(key)
        if made is None:
            before, behind = made = publish_beginning(
                _PUBLISH | flags, self.topic.encode(), self._block(version), len(self.payload)
            )
            if not qos:
                made = (before + behind, b"")
            if not retain and len(self.topic) <= MAX_KEPT_TOPIC:
                self._keep(key, made)
        return made

    def without_packets(self) -> Message:
        """The same message, as long as it was not sent to anybody: to be kept."""
        return Message(
            self.topic,
            self.payload,
            self.qos,
            retain=self.retain,
            properties=self.properties,
            encoded=self._encoded,
            expires_at=self.expires_at,
        )

    @property
    def bare_cost(self) -> int:
        """Likewise, as long as no packet is made of it."""
        return self.cost - (0 if self.is_large else len(self.topic) + len(self.payload))

    def _block(self, version: Version) -> bytes | None:
        return None if version == Version.V3_1_1 else self._encoded or b""

    def remaining_seconds(self, now: float) -> int | None:
        """What is left of the message expiry interval, or None if there is none."""
        return None if self.expires_at is None else max(0, math.ceil(self.expires_at - now))


# No cycle goes through it; the garbage collector's look at each is a twentieth of what one costs.
class Delivery(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A message for one subscriber, or for several that get it in the same way.

    :ivar qos: the lower of the message's and the subscription's.
    :ivar retain: as the subscriber sees it.
    :ivar topic: that the subscriber sees.
    :ivar identifiers: of the subscriptions that match.
    :ivar is_special: its packet is for one subscriber only (:func:`deliver_as` knows).
    """

    message: Message
    qos: int
    retain: bool
    topic: str
    identifiers: tuple[int, ...] = ()
    is_special: bool = False

    def packet(
        self,
        version: Version,
        packet_id: int,
        now: float,
        *,
        dup: bool = False,
        topic: bytes | None = None,
        alias: int | None = None,
    ) -> bytes:
        """The PUBLISH for one subscriber.

        :param packet_id: 0 with QoS 0.
        :param topic: in place of the subscriber's, as bytes; empty if the alias is known.
        :param alias: MQTT 5 only, or None.
        """
        message = self.message
        block: bytes | None = None
        if version == Version.V5:
            own = replace(
                message.properties,
                topic_alias=alias,
                subscription_identifiers=self.identifiers,
                message_expiry_interval=message.remaining_seconds(now),
            )
            block = encode_properties(own, PacketType.PUBLISH)
        return join_publish(
            publish_first_byte(self.qos, retain=self.retain, dup=dup),
            self.topic.encode() if topic is None else topic,
            packet_id,
            block,
            message.payload,
        )


def deliver_as(
    message: Message, qos: int, retain: bool, topic: str, identifiers: tuple[int, ...]
) -> Delivery:
    """A delivery that knows whether it is special."""
    special = bool(identifiers or message.expires_at is not None or topic != message.topic)
    return Delivery(message, qos, retain, topic, identifiers, special)


def make_message(
    topic: str,
    payload: bytes,
    qos: int,
    retain: bool,
    properties: Properties,
    *,
    now: float,
    encoded: bytes | None = None,
) -> Message:
    """A message from what a PUBLISH, or a will, says.

    :param properties: of the packet; what is not the message's is left out.
    :param encoded: the bytes of these properties, if they are known.
    """
    interval = properties.message_expiry_interval
    if not _is_passed_on(properties):
        encoded = None
        properties = Properties(
            payload_format_indicator=properties.payload_format_indicator,
            content_type=properties.content_type,
            response_topic=properties.response_topic,
            correlation_data=properties.correlation_data,
            user_properties=properties.user_properties,
        )
        if properties == EMPTY:
            properties = EMPTY
    return Message(
        topic,
        payload,
        qos,
        retain=retain,
        properties=properties,
        encoded=encoded,
        expires_at=None if interval is None else now + interval,
    )


def _is_passed_on(properties: Properties) -> bool:
    """Whether there is nothing in them but what subscribers get unaltered."""
    return properties is EMPTY or (
        properties.message_expiry_interval is None
        and properties.topic_alias is None
        and properties.will_delay_interval is None
        and not properties.subscription_identifiers
    )
