"""porttunnel/gateway/http_head.py: what can't be a head is found, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from porttunnel.gateway.http_head import (
    Fields,
    RequestHead,
    ResponseHead,
    find_field_fault,
    find_request_fault,
    find_response_fault,
)

REQUEST = RequestHead(b"GET", b"https", b"wiki.example", b"/start?do=edit", ((b"accept", b"*/*"),))


@pytest.mark.parametrize(
    "head",
    [
        REQUEST,
        replace(REQUEST, method=b"M" * 32, scheme=b"a" * 16, authority=b"a" * 261),
        replace(REQUEST, path=b"/" + b"x" * 16_383),
        replace(REQUEST, method=b"OPTIONS", path=b"*"),
        replace(REQUEST, authority=b"", fields=()),
        replace(REQUEST, authority=b"[fe80::1]:443"),
        replace(REQUEST, fields=((b":protocol", b"websocket"), (b"a", b""))),
    ],
)
def test_requests_that_can_be(head: RequestHead) -> None:
    assert find_request_fault(head) is None


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"method": b"M" * 33}, "no method"),
        ({"method": b"GET\n"}, "no method"),
        ({"scheme": b"a" * 17}, "no scheme"),
        ({"scheme": b"1http"}, "no scheme"),
        ({"authority": b"a" * 262}, "authority"),
        ({"authority": b"me:secret@wiki"}, "authority"),
        ({"path": b"/" + b"x" * 16_384}, "no path"),
        ({"path": b""}, "no path"),
        ({"path": b"*"}, "only OPTIONS"),
        ({"fields": ((b"Accept", b""),)}, "a name"),
        ({"fields": ((b"a", b""), (b":protocol", b"websocket"))}, "a name"),
        ({"fields": ((b":protocol", b"websocket\n"),)}, "a value"),
    ],
)
def test_requests_that_cannot(change: dict[str, bytes | Fields], fault: str) -> None:
    found = find_request_fault(replace(REQUEST, **change))  # type: ignore[arg-type]  # each fits
    assert found is not None
    assert fault in found
    assert "secret" not in found


def test_responses() -> None:
    assert [find_response_fault(ResponseHead(status)) for status in (100, 200, 599)] == [None] * 3
    for status in (0, 99, 600, 2**62 - 1):
        assert "no status" in (find_response_fault(ResponseHead(status)) or "")
    assert "a name" in (find_response_fault(ResponseHead(200, ((b":status", b"200"),))) or "")
    assert [ResponseHead(status).final for status in (100, 199, 200)] == [False, False, True]


@pytest.mark.parametrize("octet", range(256))
def test_each_byte_in_names_and_values(octet: int) -> None:
    allowed_name = octet in b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
    single = bytes([octet])
    assert (find_field_fault(((single, b""),)) is None) == allowed_name
    assert (find_field_fault(((b"a", b"x" + single + b"x"),)) is None) == (octet not in b"\0\r\n")
    assert (find_field_fault(((b"a", single),)) is None) == (octet not in b"\0\r\n\t ")


def test_a_field_needs_a_name_and_no_value() -> None:
    assert find_field_fault(()) is None
    assert find_field_fault(((b"a", b""), (b"a", b""))) is None
    assert find_field_fault(((b"", b"x"),)) is not None
