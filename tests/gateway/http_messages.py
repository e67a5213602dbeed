"""Binary HTTP messages for tests: what vectors describe, strategies, and readers of pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from porttunnel.errors import RemoteProtocolError
from porttunnel.gateway.binary_http_reader import (
    ContentReceived,
    MessageEnded,
    MessageEvent,
    MessageReader,
)
from porttunnel.gateway.http_head import Fields, RequestHead, ResponseHead
from tests.independent.binary_http import number, text

__all__ = [
    "Outcome",
    "fields",
    "fields_of",
    "head_of",
    "known_length",
    "read",
    "request_heads",
    "response_heads",
]

Head = RequestHead | ResponseHead


@dataclass
class Outcome:
    """What a reader told.

    :ivar trailers: of a message that ended, else None.
    :ivar error: the type of the error that it raised instead.
    """

    heads: list[Head]
    content: bytes = b""
    trailers: Fields | None = None
    error: type[RemoteProtocolError] | None = None


def read(pieces: list[bytes], *, request: bool) -> Outcome:
    """Read a message that comes in pieces."""
    outcome = Outcome([])
    reader = MessageReader(request=request)
    try:
        for piece in pieces:
            for event in reader.read(piece):
                note(outcome, event)
        for event in reader.finish():
            note(outcome, event)
    except RemoteProtocolError as error:
        outcome.error = type(error)
    return outcome


def known_length(heads: Sequence[Head], content: bytes = b"", trailers: Fields = ()) -> bytes:
    """A message of known length, which is read, and never written."""
    parts = [number(0 if isinstance(heads[0], RequestHead) else 1)]
    for head in heads:
        if isinstance(head, RequestHead):
            parts += map(text, (head.method, head.scheme, head.authority, head.path))
        else:
            parts.append(number(head.status))
        parts.append(_known_section(head.fields))
    return b"".join((*parts, text(content), _known_section(trailers)))


def _known_section(lines: Fields) -> bytes:
    return text(b"".join(text(name) + text(value) for name, value in lines))


def note(outcome: Outcome, event: MessageEvent) -> None:
    assert outcome.trailers is None, "nothing comes after the end"
    match event:
        case ContentReceived(data):
            assert data, "a piece of content is never empty"
            outcome.content += data
        case MessageEnded(trailers):
            outcome.trailers = trailers
        case _:
            outcome.heads.append(event)


def fields_of(lines: list[list[str]]) -> Fields:
    """Fields as they stand in a file of vectors."""
    return tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in lines)


def head_of(described: Any) -> Head:
    """A head as it stands in a file of vectors."""
    control, lines = described["control"], fields_of(described["fields"])
    if isinstance(control, int):
        return ResponseHead(control, lines)
    return RequestHead(*(part.encode("latin-1") for part in control), lines)


names = st.text("abcxyz-09_!", min_size=1, max_size=20).map(str.encode)
values = st.binary(max_size=100).filter(
    lambda value: not set(value) & set(b"\0\r\n") and value == value.strip(b" \t")
)
fields = st.lists(st.tuples(names, values), max_size=5).map(tuple)
request_heads = st.builds(
    RequestHead,
    method=st.sampled_from([b"GET", b"POST", b"M-SEARCH"]),
    scheme=st.sampled_from([b"http", b"https"]),
    authority=st.sampled_from([b"", b"wiki.example", b"[::1]:8080"]),
    path=st.text("abc/%20?=&", max_size=100).map(lambda text: b"/" + text.encode()),
    fields=fields,
)
response_heads = st.builds(ResponseHead, status=st.integers(200, 599), fields=fields)
informational_heads = st.builds(ResponseHead, status=st.integers(100, 199), fields=fields)
