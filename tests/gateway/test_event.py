"""porttunnel/gateway/event.py: what a gateway tells unasked."""

from __future__ import annotations

import pytest

from porttunnel.errors import RemoteProtocolError
from porttunnel.gateway.event import (
    ALL_REQUESTS,
    EventName,
    decode_event,
    make_end_of_requests,
    make_event,
)
from porttunnel.gateway.part import Failure, FailureCode, decode_part
from porttunnel.gateway.topic import is_name, is_request_id, parse_response_topic

INSTANCE, DEVICE = "1f" * 16, "d0" * 16


@pytest.mark.parametrize("name", EventName)
def test_an_event_names_its_device(name: EventName) -> None:
    event = make_event(INSTANCE, name, DEVICE)
    assert is_name(name)
    assert event.topic == f"instance/{INSTANCE}/event/{name}"
    assert event.payload == b'{"device_id":"%s"}' % DEVICE.encode()
    assert decode_event(event.payload) == DEVICE


def test_later_versions_may_say_more() -> None:
    payload = b'{"device_id": "%s", "more": [1]}' % DEVICE.encode()
    assert decode_event(payload) == decode_event(memoryview(payload)) == DEVICE


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"more": ' + b"[" * 1_000,
        b'{"device_id": "D0"}',
        b'{"device_id": 1}',
        b'{"device_id": "%s\\n"}' % DEVICE.encode(),
        b'{"device_id": "%s"}' % DEVICE.encode() + b" " * 1_024,
    ],
)
def test_what_is_none(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="an event is"):
        decode_event(payload)


def test_the_end_of_all_requests() -> None:
    answer = make_end_of_requests(DEVICE, FailureCode.INSTANCE_OFFLINE)
    assert parse_response_topic(answer.topic) == (DEVICE, ALL_REQUESTS)
    assert is_request_id(ALL_REQUESTS)
    assert decode_part(answer.payload) == Failure("instance-offline", from_gateway=True)
