"""How the web system is told where a request's body ends, or that a WebSocket is wanted."""

from __future__ import annotations

import hmac

from porttunnel.gateway.forward import ForwardedRequest
from porttunnel.gateway.forward_field import find_values
from porttunnel.gateway.http_head import Fields
from porttunnel.websocket.handshake import accept_value

__all__ = ["CHUNKED", "frame_body", "frame_websocket", "is_websocket"]

CHUNKED = ((b"transfer-encoding", b"chunked"),)

_WITH_BODY = {b"POST", b"PUT", b"PATCH"}  # without a body they say that it has no bytes


def frame_body(asked: ForwardedRequest, length: int | None) -> Fields:
    """The fields that say where the body ends.

    :param length: what has come, if that is all.
    """
    known = length if asked.length is None else asked.length
    if known is None:
        return CHUNKED
    if asked.length is None and known == 0 and asked.method not in _WITH_BODY:
        return ()
    return ((b"content-length", b"%d" % known),)


def frame_websocket(key: str) -> Fields:
    """The fields that ask for a WebSocket (RFC 6455, section 4.1).

    :param key: base64 of 16 random bytes.
    """
    return (
        (b"connection", b"Upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", key.encode()),
    )


def is_websocket(key: str, fields: Fields) -> bool:
    """Whether the web system agrees, and has read the key."""
    said = b"".join(find_values(fields, b"sec-websocket-accept"))
    return hmac.compare_digest(said, accept_value(key).encode())
