"""Heads of HTTP requests and responses, and which bytes may stand in them.

Sources: RFC 9292, sections 3.3 to 3.6; RFC 9113, sections 8.2.1 and 8.3.1. Names of fields are
lower case. Of the pseudo-fields that extensions define only ``:protocol`` is known (RFC 8441: with
it CONNECT asks for a WebSocket), in the head of a request and before all other fields.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = [
    "FIRST_FINAL_STATUS",
    "FIRST_STATUS",
    "LAST_STATUS",
    "MAX_AUTHORITY_BYTES",
    "MAX_METHOD_BYTES",
    "MAX_PATH_BYTES",
    "MAX_SCHEME_BYTES",
    "PROTOCOL",
    "Fields",
    "RequestHead",
    "ResponseHead",
    "find_field_fault",
    "find_request_fault",
    "find_response_fault",
]

MAX_METHOD_BYTES = 32  # twice the longest that is registered (BASELINE-CONTROL)
MAX_SCHEME_BYTES = 16  # http, https
MAX_AUTHORITY_BYTES = 261  # a name of DNS, a colon and a port
MAX_PATH_BYTES = 16_384  # twice what most web servers take

FIRST_STATUS = 100
FIRST_FINAL_STATUS = 200
LAST_STATUS = 599

PROTOCOL = b":protocol"

Fields = tuple[tuple[bytes, bytes], ...]

_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SCHEME = re.compile(rb"[a-z][a-z0-9+.-]*")
_AUTHORITY = re.compile(rb"[!$%&'()*+,;=:._~\[\]0-9A-Za-z-]*")  # no @: no names, no passwords
_PATH = re.compile(rb"/[!-\"$-~]*|\*")  # what is visible in ASCII, but no fragment
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(rb"(?![ \t])[^\0\r\n]*(?<![ \t])")


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What is asked for.

    :ivar authority: may be empty: then a ``host`` field tells it, if anything does.
    :ivar path: with the query; ``*`` for OPTIONS only.
    :ivar fields: names in lower case, and values, in their order.
    """

    method: bytes
    scheme: bytes
    authority: bytes
    path: bytes
    fields: Fields = ()


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """What is answered; below 200 another one follows.

    :ivar status: 100 to 599.
    :ivar fields: names in lower case, and values, in their order.
    """

    status: int
    fields: Fields = ()

    @property
    def final(self) -> bool:
        """Whether content follows, and not another head."""
        return self.status >= FIRST_FINAL_STATUS


def find_request_fault(head: RequestHead) -> str | None:
    """Why this can't be the head of a request, in a sentence without its content; or None."""
    if len(head.method) > MAX_METHOD_BYTES or not _METHOD.fullmatch(head.method):
        return "a request has no method that can be one"
    if len(head.scheme) > MAX_SCHEME_BYTES or not _SCHEME.fullmatch(head.scheme):
        return "a request has no scheme that can be one"
    if len(head.authority) > MAX_AUTHORITY_BYTES or not _AUTHORITY.fullmatch(head.authority):
        return "a request has an authority that can't be one"
    if len(head.path) > MAX_PATH_BYTES or not _PATH.fullmatch(head.path):
        return "a request has no path that can be one"
    if head.path == b"*" and head.method != b"OPTIONS":
        return "only OPTIONS asks about everything"
    fields = head.fields
    if fields and fields[0][0] == PROTOCOL:
        fields = ((PROTOCOL[1:], fields[0][1]), *fields[1:])
    return find_field_fault(fields)


def find_response_fault(head: ResponseHead) -> str | None:
    """Why this can't be the head of a response, in a sentence without its content; or None."""
    if not FIRST_STATUS <= head.status <= LAST_STATUS:
        return "a response has no status that can be one"
    return find_field_fault(head.fields)


def find_field_fault(fields: Fields) -> str | None:
    """Why these can't be the fields of a head or a trailer, apart from ``:protocol``; or None."""
    for name, value in fields:
        if not _NAME.fullmatch(name):
            return "a field has a name that can't be one"
        if not _VALUE.fullmatch(value):
            return "a field has a value that can't be one"
    return None
