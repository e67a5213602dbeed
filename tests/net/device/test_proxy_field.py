"""porttunnel.net.device.proxy_field: what goes through."""

from __future__ import annotations

import pytest

from porttunnel.gateway.http_head import RequestHead, ResponseHead, find_request_fault
from porttunnel.net.device.proxy_field import (
    make_request_head,
    make_websocket_head,
    passed_response_fields,
    passed_trailers,
)

AUTHORITY = b"127.0.0.1:8080"
KEPT = (
    (b"accept", b"text/html"),
    (b"content-length", b"3"),
    (b"origin", b"http://127.0.0.1:8080"),
    (b"x-a", b"1"),
    (b"x-a", b"2"),
)


def test_fields_keep_their_order_and_number() -> None:
    head = make_request_head(b"POST", AUTHORITY, b"/", KEPT)
    assert head == RequestHead(b"POST", b"http", AUTHORITY, b"/", KEPT)
    assert passed_response_fields(ResponseHead(200, KEPT)) == KEPT


@pytest.mark.parametrize(
    "name",
    [
        b"connection",
        b"cookie",
        b"expect",
        b"host",
        b"keep-alive",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ],
)
def test_what_is_of_this_connection_stays(name: bytes) -> None:
    fields = ((name, b"x"), *KEPT)
    assert make_request_head(b"GET", AUTHORITY, b"/", fields).fields == KEPT
    assert make_websocket_head(AUTHORITY, b"/", fields).fields == (
        (b":protocol", b"websocket"),
        *KEPT,
    )


@pytest.mark.parametrize("name", [b"set-cookie", b"alt-svc", b"clear-site-data", b"upgrade"])
def test_what_is_for_all_ports_of_this_machine_stays(name: bytes) -> None:
    assert passed_response_fields(ResponseHead(200, ((name, b"x"), *KEPT))) == KEPT


def test_what_connection_names_stays() -> None:
    fields = ((b"connection", b"close, X-A"), (b"connection", b"accept"), *KEPT)
    left = tuple(field for field in KEPT if field[0] not in (b"x-a", b"accept"))
    assert make_request_head(b"GET", AUTHORITY, b"/", fields).fields == left
    assert passed_response_fields(ResponseHead(200, fields)) == left


def test_a_websocket_keeps_what_its_ends_agree_on() -> None:
    fields = (
        (b"sec-websocket-key", b"x"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-extensions", b"permessage-deflate"),
    )
    head = make_websocket_head(AUTHORITY, b"/live", fields)
    assert head.method == b"CONNECT"
    assert head.fields == ((b":protocol", b"websocket"), fields[2])
    assert find_request_fault(head) is None


def test_trailers_say_nothing_of_the_message_itself() -> None:
    trailers = (
        (b"checksum", b"1"),
        (b"content-length", b"2"),
        (b"host", b"x"),
        (b"set-cookie", b"x"),
        (b"transfer-encoding", b"chunked"),
    )
    assert passed_trailers(trailers) == ((b"checksum", b"1"),)
