"""What becomes of a device's request on its way to the web system, and of the response.

See docs/agent, "What the agent passes on".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from porttunnel.gateway.binary_http_reader import MAX_FIELDS, MAX_SECTION_BYTES
from porttunnel.gateway.forward_field import compare_name, find_values, keep_answered, keep_asked
from porttunnel.gateway.forward_identity import IdentityRules
from porttunnel.gateway.forward_origin import (
    Origin,
    point_inside,
    point_refresh_inside,
    replace_origin,
)
from porttunnel.gateway.forward_path import AllowList, Denial
from porttunnel.gateway.http_head import (
    PROTOCOL,
    Fields,
    RequestHead,
    ResponseHead,
    find_field_fault,
    find_response_fault,
)

__all__ = ["ForwardRules", "ForwardedRequest", "ForwardedResponse"]

WEBSOCKET = b"websocket"

_LENGTH = re.compile(rb"[0-9]{1,18}")  # no file has more
_LENGTHS_BYTES = 8  # what the lengths of a name and a value take at most
_CONTROL = re.compile(rb"[\0-\x08\x0a-\x1f\x7f]")
_CLEARS_COOKIES = {b'"cookies"', b'"*"'}
_KEEPS_CLEARING = (b'"cache"', b'"storage"')


@dataclass(frozen=True, slots=True)
class ForwardedRequest:
    """What is sent.

    :ivar fields: without those that tell where the body ends.
    :ivar length: how long the body is, in bytes, if the device said so.
    :ivar websocket: whether the connection shall become a WebSocket.
    """

    method: bytes
    target: bytes
    fields: Fields
    length: int | None
    websocket: bool


@dataclass(frozen=True, slots=True)
class ForwardedResponse:
    """What is answered.

    :ivar cookies: values of Set-Cookie, for the device's jar.
    :ivar clears_cookies: whether the jar is to be emptied before.
    """

    head: ResponseHead
    cookies: tuple[bytes, ...]
    clears_cookies: bool


@dataclass(frozen=True, slots=True)
class ForwardRules:
    """One web system's.

    :ivar origin: under which the web system is asked; the field Host.
    :ivar inside: further origins that lead to it, in its redirects.
    """

    allow_list: AllowList
    origin: Origin
    inside: frozenset[Origin]
    identity: IdentityRules

    def forward_request(
        self, head: RequestHead, user: str, find_cookie: Callable[[bytes], bytes | None]
    ) -> ForwardedRequest | Denial:
        """What to send for a device, or why nothing is sent.

        :param user: whose device it is.
        :param find_cookie: what the field Cookie says for this target, if anything.
        """
        websocket = _is_websocket(head)
        method = b"GET" if websocket else head.method
        target = self.allow_list.find_target(method, head.path)
        if isinstance(target, Denial):
            return target
        identity = self.identity.fields_of(user)
        if isinstance(identity, Denial):
            return identity
        lengths = _find_lengths(head.fields)
        if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
            return Denial.MALFORMED
        if any(_CONTROL.search(value) for _, value in head.fields):
            return Denial.MALFORMED  # what a web system makes of them, nobody knows
        fields: list[tuple[bytes, bytes]] = [(b"host", self.origin.authority)]
        outer = Origin.parse(head.scheme, head.authority)
        for name, value in self.keep_asked(head.fields):
            if name in (b"origin", b"referer"):
                value = replace_origin(value, outer, self.origin)
            fields.append((name, value))
        fields.extend(identity)
        if (cookie := find_cookie(target)) is not None:
            fields.append((b"cookie", cookie))
        return ForwardedRequest(
            method=method,
            target=target,
            fields=tuple(fields),
            length=int(lengths.pop()) if lengths and not websocket else None,
            websocket=websocket,
        )

    def keep_asked(self, fields: Fields) -> Fields:
        """The fields of a request, or its trailers, that a device may set."""
        names = (self.identity.header,) if self.identity.header else ()
        return keep_asked(fields, names)

    def forward_response(self, status: int, fields: Fields) -> ForwardedResponse | None:
        """What to answer a device; None if it can't be passed on.

        :param status: 100 to 599; of what became a WebSocket 200.
        :param fields: names in lower case.
        """
        cookies = tuple(find_values(fields, b"set-cookie"))
        clearing = b",".join(find_values(fields, b"clear-site-data"))
        cleared = {item.strip() for item in clearing.split(b",")}
        framed = bool(find_values(fields, b"transfer-encoding"))
        kept = []
        for name, value in keep_answered(fields):
            if name == b"content-length" and framed:
                continue  # it counts for nothing, and the device would believe it
            if name in (b"location", b"content-location"):
                value = point_inside(value, self.origin, self.inside | {self.origin})
            elif name == b"refresh":
                value = point_refresh_inside(value, self.origin, self.inside | {self.origin})
            elif name == b"clear-site-data":
                continue
            kept.append((name, value))
        # Cookies of the device's are no business of the web system's: all ports share them.
        still = [item for item in _KEEPS_CLEARING if cleared & {item, b'"*"'}]
        if still:
            kept.append((b"clear-site-data", b", ".join(still)))
        head = ResponseHead(status, tuple(kept))
        if find_response_fault(head) is not None or not _fits(head.fields):
            return None
        return ForwardedResponse(head, cookies, bool(cleared & _CLEARS_COOKIES))

    def forward_trailers(self, fields: Fields) -> Fields:
        """The trailers of a response for a device: none of them if they can't be passed on."""
        kept = keep_answered(fields)
        return kept if find_field_fault(kept) is None and _fits(kept) else ()


def _fits(fields: Fields) -> bool:
    """Whether a device takes so many, and so much."""
    size = sum(len(name) + len(value) + _LENGTHS_BYTES for name, value in fields)
    return len(fields) <= MAX_FIELDS and size <= MAX_SECTION_BYTES


def _is_websocket(head: RequestHead) -> bool:
    return (
        head.method == b"CONNECT"
        and head.fields[:1] == ((PROTOCOL, WEBSOCKET),)
        and head.path.startswith(b"/")
    )


def _find_lengths(fields: Fields) -> set[bytes]:
    """What is said about the body's length, under any name that a server might read so."""
    values = [value for name, value in fields if compare_name(name) == b"content-length"]
    return set(values)
