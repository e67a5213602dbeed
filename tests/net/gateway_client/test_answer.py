"""porttunnel.net.gateway_client.answer: what a gateway says, or something else does."""

from __future__ import annotations

import pytest

from porttunnel.errors import GatewayRefused, GatewayUnreachable
from porttunnel.net.gateway_client.answer import (
    Answer,
    ClaimedDevice,
    DeviceList,
    ListedDevice,
    OfferedDevice,
    RegisteredInstance,
    decode_answer,
    make_refusal,
)

ONE, OTHER = "1a" * 16, "2b" * 16


def test_what_it_says() -> None:
    claimed = f'{{"device_id": "{ONE}", "instance_id": "{OTHER}", "later": 1}}'
    assert decode_answer(Answer(200, claimed.encode()), ClaimedDevice) == ClaimedDevice(ONE, OTHER)
    listed = f'{{"devices": [{{"device_id": "{ONE}", "state": "invited"}}]}}'
    assert decode_answer(Answer(200, listed.encode()), DeviceList) == DeviceList(
        (ListedDevice(ONE, "invited"),)
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"\xff",
        b'{"more": ' + b"[" * 10_000,
        b'{"device_id": "../x", "instance_id": "' + b"a" * 32 + b'"}',
    ],
)
def test_something_else(body: bytes) -> None:
    with pytest.raises(GatewayUnreachable, match="Check the address"):
        decode_answer(Answer(200, body), ClaimedDevice)


@pytest.mark.parametrize("expires", [-(2**70), -1, 2**32])
def test_an_end_that_no_code_can_say(expires: int) -> None:
    body = f'{{"device_id": "{ONE}", "device_setup_key": "{OTHER}", "expires": {expires}}}'
    with pytest.raises(GatewayUnreachable):
        decode_answer(Answer(201, body.encode()), OfferedDevice)


def test_secrets_are_not_shown() -> None:
    assert OTHER not in repr(RegisteredInstance(ONE, OTHER))
    assert OTHER not in repr(OfferedDevice(ONE, OTHER, 0))
    assert OTHER not in repr(Answer(201, f'{{"instance_password": "{OTHER}"}}'.encode()))


@pytest.mark.parametrize("status", [199, 300, 404])
def test_what_is_no_success(status: int) -> None:
    assert not Answer(status, b"").is_success


def test_a_problem() -> None:
    body = b'{"title": "t", "detail": "Not so\\u001b[2J fast.", "code": "busy"}'
    refusal = make_refusal(Answer(503, body, "7"))
    assert isinstance(refusal, GatewayRefused)
    assert (refusal.status, refusal.code, refusal.retry_after_seconds) == (503, "busy", 7.0)
    assert "Not so [2J fast." in str(refusal)


def test_a_problem_that_names_no_time() -> None:
    refusal = make_refusal(Answer(429, b'{"code": "busy"}', "Sat, 28 Nov 2026 06:00:00 GMT"))
    assert isinstance(refusal, GatewayRefused)
    assert refusal.retry_after_seconds is None


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"\xff", b"{}", b'{"code": 1}', b'{"x":' + b"[" * 10_000]
)
def test_what_a_proxy_says_is_no_refusal(body: bytes) -> None:
    error = make_refusal(Answer(404, body))
    assert isinstance(error, GatewayUnreachable)
    assert "status 404" in str(error)
