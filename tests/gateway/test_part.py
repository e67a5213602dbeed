"""porttunnel/gateway/part.py: a part is one of four things, or nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import RemoteProtocolError
from porttunnel.gateway.part import (
    FROM_GATEWAY,
    MAX_ERROR_BYTES,
    MAX_PART_BYTES,
    PART_HEAD_BYTES,
    Cancel,
    Credit,
    Failure,
    FailureCode,
    Part,
    SegmentPart,
    decode_part,
    encode_segment_head,
)
from tests.gateway.messages import each, parts_of


def described(case: Any) -> Credit | Cancel | Failure:
    match case["kind"]:
        case "credit":
            return Credit(case["value"])
        case "cancel":
            return Cancel()
    return Failure(case["value"], from_gateway=case["kind"] == "gateway")


@each("hints")
def test_hints(case: Any) -> None:
    hint = described(case)
    assert hint.encode().hex() == case["part"]
    for form in (bytes, bytearray, memoryview):
        assert decode_part(form(bytes.fromhex(case["part"]))) == hint


@each("hints")
def test_hints_end_where_they_end(case: Any) -> None:
    data = bytes.fromhex(case["part"])
    for length in range(len(data)):
        with pytest.raises(RemoteProtocolError):
            decode_part(data[:length])
    with pytest.raises(RemoteProtocolError):
        decode_part(data + b"\0")


@each("malformed_parts")
def test_malformed(case: Any) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_part(parts_of(case)[0])


@given(st.integers(0, 2**32 - 1), st.booleans(), st.binary(min_size=16, max_size=40))
def test_segments(number: int, last: bool, body: bytes) -> None:
    data = encode_segment_head(number, last) + body
    assert decode_part(data) == SegmentPart(number, memoryview(body), last)


def test_a_segment_is_a_view() -> None:
    data = encode_segment_head(7, last=False) + bytes(16)
    part = decode_part(data)
    assert isinstance(part, SegmentPart)
    assert part.body.obj is data


def test_the_longest() -> None:
    longest = encode_segment_head(0, last=True) + bytes(MAX_PART_BYTES - PART_HEAD_BYTES)
    assert isinstance(decode_part(longest), SegmentPart)
    with pytest.raises(RemoteProtocolError, match="too long"):
        decode_part(longest + b"\0")


def test_errors_of_later_versions_are_let_through() -> None:
    head = Failure("a").encode()[:PART_HEAD_BYTES]
    assert decode_part(head + b'{"error":"else","after":3}') == Failure("else")
    padded = b'{"error":"else"}'.ljust(MAX_ERROR_BYTES)
    assert decode_part(head + padded) == Failure("else")
    with pytest.raises(RemoteProtocolError, match="too long"):
        decode_part(head + padded + b" ")


def test_every_code_goes_through() -> None:
    for code in FailureCode:
        assert decode_part(Failure(code).encode()) == Failure(code)
    assert FROM_GATEWAY == 2**32 - 1


@given(st.binary(max_size=60))
def test_anything_is_a_part_or_refused(data: bytes) -> None:
    try:
        part: Part | None = decode_part(data)
    except RemoteProtocolError:
        part = None
    assert part is None or isinstance(part, SegmentPart | Credit | Cancel | Failure)
