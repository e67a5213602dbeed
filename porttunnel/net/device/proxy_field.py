"""What of a head goes through the loopback proxy.

Fields that are about a connection stay on it (RFC 9110, section 7.6.1). Cookies stay too: a
browser keeps those of 127.0.0.1 for all its ports, so one system would get what another one, or
any other program of this machine, has set. The instance keeps them, for each device.
"""

from __future__ import annotations

from porttunnel.gateway.http_head import PROTOCOL, Fields, RequestHead, ResponseHead

__all__ = [
    "WEBSOCKET",
    "make_request_head",
    "make_websocket_head",
    "passed_response_fields",
    "passed_trailers",
]

SCHEME = b"http"
WEBSOCKET = b"websocket"

_OF_CONNECTION = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
# Host travels as the authority. Expect is answered here, once the way is open.
_OF_REQUEST = _OF_CONNECTION | {b"cookie", b"expect", b"host"}
# Alt-Svc would lead the browser to another port of this machine.
_OF_RESPONSE = _OF_CONNECTION | {b"alt-svc", b"clear-site-data", b"set-cookie"}
_OF_FRAMING = frozenset((b"content-encoding", b"content-length", b"content-type"))
# What the two ends of a WebSocket's connection agree on with each other; here are two of each.
_OF_HANDSHAKE = frozenset(
    (b"sec-websocket-accept", b"sec-websocket-key", b"sec-websocket-version")
)


def make_request_head(method: bytes, authority: bytes, path: bytes, fields: Fields) -> RequestHead:
    """The head that goes to the instance.

    :param fields: as the browser sent them, names in lower case.
    """
    return RequestHead(method, SCHEME, authority, path, _without(fields, _OF_REQUEST))


def make_websocket_head(authority: bytes, path: bytes, fields: Fields) -> RequestHead:
    """The head that asks the instance for a WebSocket (RFC 8441, section 4)."""
    passed = _without(fields, _OF_REQUEST | _OF_HANDSHAKE)
    return RequestHead(b"CONNECT", SCHEME, authority, path, ((PROTOCOL, WEBSOCKET), *passed))


def passed_response_fields(head: ResponseHead) -> Fields:
    """What the browser gets of a response's fields."""
    return _without(head.fields, _OF_RESPONSE | _OF_HANDSHAKE)


def passed_trailers(fields: Fields) -> Fields:
    """What goes on of the fields after a body, either way (RFC 9110, section 6.5.1)."""
    return _without(fields, _OF_REQUEST | _OF_RESPONSE | _OF_FRAMING)


def _without(fields: Fields, names: frozenset[bytes]) -> Fields:
    named = frozenset(
        token.strip().lower()
        for name, value in fields
        if name == b"connection"
        for token in value.split(b",")
    )
    return tuple((name, value) for name, value in fields if name not in names | named)
