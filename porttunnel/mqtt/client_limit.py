"""What a broker takes from its client on one connection, and how it says no.

Source: MQTT 5.0, section 3.2.2.3.
"""

from __future__ import annotations

from dataclasses import dataclass

from porttunnel.errors import BrokerRefused
from porttunnel.mqtt.packet import Connack, Subscribe, Unsubscribe
from porttunnel.mqtt.property import Properties
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.topic import has_wildcard, split_shared

__all__ = ["PROTOCOL_MAX_PACKET_BYTES", "BrokerLimits", "refusal"]

# What holds where nothing else is said.
PROTOCOL_RECEIVE_MAXIMUM = 0xFFFF
PROTOCOL_MAX_PACKET_BYTES = 0x0FFFFFFF + 5  # the largest remaining length, and what precedes it


def refusal(what: str, reason: ReasonCode, properties: Properties) -> BrokerRefused:
    """The error for what the broker said no to.

    :param what: in the middle of a sentence.
    :param properties: may hold the broker's own words; shown quoted, since they may hold anything.
    """
    text = f"The broker refused {what}: {reason.name.lower().replace('_', ' ')}"
    if properties.reason_string is not None:
        text += f" ({properties.reason_string!r})"
    return BrokerRefused(f"{text}. Its operator knows what it takes.", reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerLimits:
    """What a broker takes from its client on one connection.

    :ivar receive_maximum: how many QoS 1 and 2 messages may be under way to it.
    :ivar max_packet_bytes: of a whole packet.
    """

    receive_maximum: int
    max_packet_bytes: int
    maximum_qos: int
    topic_alias_maximum: int
    retain: bool
    wildcards: bool
    identifiers: bool
    shared: bool

    @classmethod
    def of(cls, connack: Connack, max_inflight: int = PROTOCOL_RECEIVE_MAXIMUM) -> BrokerLimits:
        """What a CONNACK says; what it doesn't say has the norm's default.

        :param max_inflight: of ``receive_maximum``: how many we want to have under way.
        """
        said = connack.properties
        return cls(
            receive_maximum=min(said.receive_maximum or PROTOCOL_RECEIVE_MAXIMUM, max_inflight),
            max_packet_bytes=said.maximum_packet_size or PROTOCOL_MAX_PACKET_BYTES,
            maximum_qos=2 if said.maximum_qos is None else said.maximum_qos,
            topic_alias_maximum=said.topic_alias_maximum or 0,
            retain=said.retain_available is not False,
            wildcards=said.wildcard_subscription_available is not False,
            identifiers=said.subscription_identifiers_available is not False,
            shared=said.shared_subscription_available is not False,
        )

    def check_message(self, qos: int, *, retain: bool) -> BrokerRefused | None:
        """What the broker would say to a message, as far as it told before; its size aside."""
        if qos > self.maximum_qos:
            return BrokerRefused(
                f"The broker takes no QoS above {self.maximum_qos}. Publish with a lower one.",
                ReasonCode.QOS_NOT_SUPPORTED,
            )
        if retain and not self.retain:
            return BrokerRefused(
                "The broker keeps no retained messages. Publish without retain.",
                ReasonCode.RETAIN_NOT_SUPPORTED,
            )
        return None

    def check_filters(self, request: Subscribe | Unsubscribe) -> BrokerRefused | None:
        """What the broker would say to a request, as far as it told before; its size aside."""
        if isinstance(request, Unsubscribe):
            return None
        if request.properties.subscription_identifiers and not self.identifiers:
            return BrokerRefused(
                "The broker knows no subscription identifiers. Subscribe without one.",
                ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
            )
        for wanted in request.subscriptions:
            group, inner = split_shared(wanted.filter)
            if group is not None and not self.shared:
                return BrokerRefused(
                    "The broker knows no shared subscriptions. Subscribe without $share.",
                    ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
                )
            if has_wildcard(inner) and not self.wildcards:
                return BrokerRefused(
                    "The broker takes no wildcards. Subscribe to each topic.",
                    ReasonCode.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
                )
        return None

    def too_large(self) -> BrokerRefused:
        """What it would say to a packet of more than ``max_packet_bytes``."""
        return BrokerRefused(
            f"The broker takes at most {self.max_packet_bytes} bytes in a packet. Send less.",
            ReasonCode.PACKET_TOO_LARGE,
        )
