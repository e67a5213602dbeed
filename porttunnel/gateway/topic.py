"""The gateway's topics: making them, and reading what stands in them.

Source: docs/gateway-protocol, section 1. An id is 32 lower-case hex digits, a request id 8 to 32
of 0 to 9 and a to z, a name 1 to 64 of a to z, 0 to 9 and ``-``. Nothing else stands in a topic,
so none can reach beyond its place.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = [
    "DeviceTopic",
    "RequestTopic",
    "format_event_topic",
    "format_push_topic",
    "format_request_topic",
    "format_response_topic",
    "format_routed_topic",
    "is_id",
    "is_name",
    "is_request_id",
    "list_device_filters",
    "list_instance_filters",
    "parse_push_topic",
    "parse_request_topic",
    "parse_response_topic",
    "parse_routed_topic",
]

_ID = "[0-9a-f]{32}"
_REQUEST_ID = "[0-9a-z]{8,32}"  # 41 bits or more: of one device's, no two that are under way
_NAME = "[0-9a-z-]{1,64}"

_ID_FORM = re.compile(_ID)
_REQUEST_ID_FORM = re.compile(_REQUEST_ID)
_NAME_FORM = re.compile(_NAME)
_REQUEST = re.compile(f"device/({_ID})/request/({_REQUEST_ID})")
_RESPONSE = re.compile(f"device/({_ID})/response/({_REQUEST_ID})")
_PUSH = re.compile(f"device/({_ID})/push/({_NAME})")
_ROUTED = re.compile(f"instance/({_ID})/request/({_ID})/({_REQUEST_ID})")


class DeviceTopic(NamedTuple):
    """What stands in a topic of a device's.

    :ivar last: the request id, or the name.
    """

    device_id: str
    last: str


class RequestTopic(NamedTuple):
    """What stands in the topic under which a request reaches its instance."""

    instance_id: str
    device_id: str
    request_id: str


def is_id(text: str) -> bool:
    """Whether this can be the id of a device or an instance."""
    return _ID_FORM.fullmatch(text) is not None


def is_request_id(text: str) -> bool:
    """Whether this can name a request."""
    return _REQUEST_ID_FORM.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Whether this can name a push or an event."""
    return _NAME_FORM.fullmatch(text) is not None


def format_request_topic(device_id: str, request_id: str) -> str:
    """Where a device asks."""
    return f"device/{device_id}/request/{request_id}"


def format_routed_topic(topic: RequestTopic) -> str:
    """Where that comes out at the instance."""
    return f"instance/{topic.instance_id}/request/{topic.device_id}/{topic.request_id}"


def format_response_topic(device_id: str, request_id: str) -> str:
    """Where the device is answered, by its instance or by the gateway."""
    return f"device/{device_id}/response/{request_id}"


def format_push_topic(device_id: str, name: str) -> str:
    """Where an instance tells a device something unasked."""
    return f"device/{device_id}/push/{name}"


def format_event_topic(instance_id: str, name: str) -> str:
    """Where the gateway tells an instance something."""
    return f"instance/{instance_id}/event/{name}"


def list_device_filters(device_id: str) -> tuple[str, ...]:
    """What a device subscribes to."""
    return format_response_topic(device_id, "+"), format_push_topic(device_id, "+")


def list_instance_filters(instance_id: str) -> tuple[str, ...]:
    """What an instance subscribes to."""
    requests = format_routed_topic(RequestTopic(instance_id, "+", "+"))
    return requests, format_event_topic(instance_id, "+")


def parse_request_topic(text: str) -> DeviceTopic | None:
    """What stands in a topic of :func:`format_request_topic`; None if it is another."""
    return _parse(_REQUEST, text)


def parse_response_topic(text: str) -> DeviceTopic | None:
    """What stands in a topic of :func:`format_response_topic`; None if it is another."""
    return _parse(_RESPONSE, text)


def parse_push_topic(text: str) -> DeviceTopic | None:
    """What stands in a topic of :func:`format_push_topic`; None if it is another."""
    return _parse(_PUSH, text)


def parse_routed_topic(text: str) -> RequestTopic | None:
    """What stands in a topic of :func:`format_routed_topic`; None if it is another."""
    match = _ROUTED.fullmatch(text)
    return None if match is None else RequestTopic(*match.groups())


def _parse(form: re.Pattern[str], text: str) -> DeviceTopic | None:
    match = form.fullmatch(text)
    return None if match is None else DeviceTopic(*match.groups())
