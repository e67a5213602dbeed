"""Who may publish and subscribe to what at the gateway.

Source: docs/gateway-protocol, section 1. Devices and instances see only each other, and only those
that belong together. ``None`` and False refuse; what isn't in the table there is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from porttunnel.gateway.part import Failure, FailureCode
from porttunnel.gateway.topic import (
    RequestTopic,
    format_response_topic,
    format_routed_topic,
    is_id,
    is_name,
    is_request_id,
    parse_push_topic,
    parse_request_topic,
    parse_response_topic,
    parse_routed_topic,
)

__all__ = [
    "DeviceRules",
    "GatewayAnswer",
    "InstanceRules",
    "make_answer",
    "make_unreached_answer",
]

_ANY = "+"


@dataclass(frozen=True, slots=True)
class DeviceRules:
    """What one device may do.

    :ivar device_id: 32 hex digits, and its user name.
    :ivar instance_id: to which it belongs.
    """

    device_id: str
    instance_id: str

    def route_publish(self, topic: str) -> str | None:
        """Where a message, or a will, with this topic goes: to the device's instance."""
        parsed = parse_request_topic(topic)
        if parsed is None or parsed.device_id != self.device_id:
            return None
        return format_routed_topic(RequestTopic(self.instance_id, self.device_id, parsed.last))

    def allow_response_topic(self, topic: str) -> bool:
        """Whether its request may name this as the place for the answer."""
        parsed = parse_response_topic(topic)
        return parsed is not None and parsed.device_id == self.device_id

    def allow_subscribe(self, text: str) -> bool:
        """Whether it may have this filter."""
        match text.split("/"):
            case ["device", self.device_id, "response", last]:
                return last == _ANY or is_request_id(last)
            case ["device", self.device_id, "push", last]:
                return last == _ANY or is_name(last)
        return False


@dataclass(frozen=True, slots=True)
class InstanceRules:
    """What one instance may do.

    :ivar instance_id: 32 hex digits, and its user name.
    :ivar owns: whether a device belongs to it.
    """

    instance_id: str
    owns: Callable[[str], bool]

    def route_publish(self, topic: str) -> str | None:
        """Where a message, or a will, with this topic goes: there, if it is a device's of its."""
        parsed = parse_response_topic(topic) or parse_push_topic(topic)
        return topic if parsed is not None and self.owns(parsed.device_id) else None

    def allow_response_topic(self, _topic: str) -> bool:
        """An instance asks nothing."""
        return False

    def allow_subscribe(self, text: str) -> bool:
        """Whether it may have this filter."""
        match text.split("/"):
            case ["instance", self.instance_id, "request", device, request]:
                return (device == _ANY or is_id(device)) and (
                    request == _ANY or is_request_id(request)
                )
            case ["instance", self.instance_id, "event", last]:
                return last == _ANY or is_name(last)
        return False


@dataclass(frozen=True, slots=True)
class GatewayAnswer:
    """What the gateway says itself.

    :ivar topic: where.
    :ivar payload: a part.
    """

    topic: str
    payload: bytes


def make_unreached_answer(
    topic: str, code: FailureCode = FailureCode.INSTANCE_OFFLINE
) -> GatewayAnswer | None:
    """What a device is told when its request reached nobody; None if it was no request.

    :param topic: inside the broker, as :meth:`DeviceRules.route_publish` made it.
    """
    parsed = parse_routed_topic(topic)
    return None if parsed is None else make_answer(parsed.device_id, parsed.request_id, code)


def make_answer(device_id: str, request_id: str, code: FailureCode) -> GatewayAnswer:
    """What a device is told of a request by the gateway itself."""
    return GatewayAnswer(
        format_response_topic(device_id, request_id),
        Failure(code, from_gateway=True).encode(),
    )
