"""A request as the browser sent it, and what becomes of it: passed on, or answered here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

import h11

from porttunnel.gateway.http_head import Fields, RequestHead, find_request_fault
from porttunnel.net.device.proxy_field import (
    WEBSOCKET,
    make_request_head,
    make_websocket_head,
)
from porttunnel.net.device.proxy_page import ProxyPage, page_of_fault, page_of_objection
from porttunnel.net.device.proxy_rule import find_field, find_objection
from porttunnel.websocket.handshake import Refused, Request, Terms, negotiate

__all__ = ["ProxyRequest", "read_request"]

_ABSOLUTE = re.compile(rb"http://([^/?#]*)(/.*)?", re.IGNORECASE | re.DOTALL)
_EVERYBODY = Terms()  # whose page it is was asked before


@dataclass(frozen=True, slots=True)
class ProxyRequest:
    """What a request asks for.

    :ivar head: what the instance gets.
    :ivar accept: what kind of page the client would like.
    :ivar websocket_key: of the WebSocket that it asks for, or empty.
    :ivar page: the answer, if it isn't passed on.
    """

    head: RequestHead
    accept: bytes = b""
    websocket_key: str = ""
    page: ProxyPage | None = None


def read_request(event: h11.Request, own: frozenset[bytes]) -> ProxyRequest:
    """What becomes of a request.

    :param event: as it was read.
    :param own: what Host may say.
    """
    fields: Fields = tuple(event.headers)
    authority, path = find_field(fields, b"host") or b"", event.target
    # A client that takes this for its proxy (RFC 9112, section 3.2.2).
    absolute = _ABSOLUTE.fullmatch(path)
    if absolute is not None:
        authority, path = absolute[1], absolute[2] or b"/"
    head = make_request_head(event.method, authority, path, fields)
    accept = find_field(fields, b"accept") or b""
    objection = find_objection(event.method, authority, fields, own)
    if objection is not None:
        return ProxyRequest(head, accept, page=page_of_objection(objection))
    fault = find_request_fault(head)
    if fault is not None:
        said = f"The request can't be passed on: {fault}."
        return ProxyRequest(head, accept, page=page_of_fault(HTTPStatus.BAD_REQUEST, said))
    if event.method == b"CONNECT":
        return ProxyRequest(
            head, accept, page=page_of_fault(HTTPStatus.NOT_IMPLEMENTED, _NO_PROXY)
        )
    upgrade = (find_field(fields, b"upgrade") or b"").lower()
    if upgrade == WEBSOCKET and event.method == b"GET":
        return _read_websocket(event, authority, path, fields)
    return ProxyRequest(head, accept)


_NO_PROXY = "This address is one web system, no proxy to others. Open it as a page."


def _read_websocket(
    event: h11.Request, authority: bytes, path: bytes, fields: Fields
) -> ProxyRequest:
    head = make_websocket_head(authority, path, fields)
    named: dict[str, tuple[str, ...]] = {}
    for name, value in fields:
        said = name.decode("latin-1")
        named[said] = (*named.get(said, ()), value.decode("latin-1"))
    minor = 1 if event.http_version == b"1.1" else 0
    asked = Request("GET", path.decode("latin-1"), minor, named)
    negotiated = negotiate(asked, _EVERYBODY)
    if isinstance(negotiated, Refused):
        more = tuple((n.lower().encode(), v.encode()) for n, v in negotiated.fields)
        page = ProxyPage(HTTPStatus(negotiated.status), (negotiated.text,), more)
        return ProxyRequest(head, page=page)
    return ProxyRequest(head, websocket_key=named["sec-websocket-key"][0])
