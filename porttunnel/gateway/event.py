"""What a gateway tells unasked: events for instances, and the end of all requests for devices.

Source: docs/gateway-protocol, section 1. All of it are hints: a gateway that lies can slow or stop
requests, and nothing else.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from porttunnel.errors import RemoteProtocolError
from porttunnel.gateway.part import FailureCode
from porttunnel.gateway.policy import GatewayAnswer, make_answer
from porttunnel.gateway.topic import format_event_topic

__all__ = ["ALL_REQUESTS", "EventName", "decode_event", "make_end_of_requests", "make_event"]

ALL_REQUESTS = "00000000"
"""A request id that no request has: what stands here is about all that a device has under way."""

MAX_EVENT_BYTES = 1_024  # an id, and room for more fields one day


class EventName(StrEnum):
    """The last level of an event's topic; others may come with later versions."""

    DEVICE_ONLINE = "device-online"
    """A device is connected. Of each that is the instance is told once more when it subscribes."""
    DEVICE_OFFLINE = "device-offline"
    """Its last connection has ended: its requests are over."""
    DEVICE_REMOVED = "device-removed"
    """It was revoked, or nobody claimed or confirmed it: its requests are over, and it is too."""
    SETUP_RACE = "setup-race"
    """Two devices have shown one setup key."""


class _EventBody(msgspec.Struct):
    """Fields that aren't known are passed over: a later version may say more."""

    device_id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}\\Z")]


_DECODER = msgspec.json.Decoder(_EventBody)


def make_event(instance_id: str, name: EventName, device_id: str) -> GatewayAnswer:
    """What an instance is told."""
    return GatewayAnswer(
        format_event_topic(instance_id, name), msgspec.json.encode(_EventBody(device_id))
    )


def decode_event(payload: bytes | bytearray | memoryview) -> str:
    """The id of the device that an event is about.

    :raises RemoteProtocolError: it is none.
    """
    if len(payload) > MAX_EVENT_BYTES:
        raise RemoteProtocolError("an event is too long")
    try:
        return _DECODER.decode(payload).device_id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise RemoteProtocolError("an event is not one") from None


def make_end_of_requests(device_id: str, code: FailureCode) -> GatewayAnswer:
    """What a device is told when none of its requests will be answered."""
    return make_answer(device_id, ALL_REQUESTS, code)
