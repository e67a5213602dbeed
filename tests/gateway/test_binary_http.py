"""porttunnel/gateway/binary_http.py: messages are written as RFC 9292 says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from porttunnel.errors import LocalProtocolError
from porttunnel.gateway.binary_http import (
    MAX_VARINT,
    Framing,
    MessageWriter,
    encode_varint,
)
from porttunnel.gateway.http_head import RequestHead, ResponseHead
from tests.gateway.http_messages import fields_of, head_of
from tests.independent.binary_http import PLACE, build

VECTORS: Any = json.loads(PLACE.read_text(encoding="utf-8"))
GET = RequestHead(b"GET", b"https", b"", b"/")
OK = ResponseHead(200)
WRITTEN = ("02", "03")  # messages of indeterminate length


def write(case: Any) -> bytes:
    """The message of a vector, as it is written here."""
    content, trailers = bytes.fromhex(case["content"]), fields_of(case["trailers"])
    framing = Framing(bytes.fromhex(case["message"])[0])
    writer = MessageWriter(framing)
    heads = b"".join(map(writer.write_head, map(head_of, case["heads"])))
    return heads + writer.write_content(content) + writer.end(trailers)


class TestVectors:
    """tests/vectors/binary_http.json, made by tests/independent/binary_http.py."""

    def test_are_what_the_independent_implementation_makes(self) -> None:
        assert build() == VECTORS

    @pytest.mark.parametrize(
        "case",
        [c for c in VECTORS["messages"] if c["canonical"] and c["message"][:2] in WRITTEN],
        ids=lambda case: case["name"],
    )
    def test_each_message(self, case: Any) -> None:
        assert write(case).hex() == case["message"]


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (37, "25"),
        (63, "3f"),
        (64, "4040"),
        (15_293, "7bbd"),
        (16_383, "7fff"),
        (16_384, "80004000"),
        (494_878_333, "9d7f3e7d"),
        (2**30 - 1, "bfffffff"),
        (2**30, "c000000040000000"),
        (151_288_809_941_952_652, "c2197c5eff14e88c"),
        (MAX_VARINT, "f" * 16),
    ],
)
def test_numbers_as_in_rfc_9000(value: int, encoded: str) -> None:
    assert encode_varint(value).hex() == encoded


def test_numbers_that_are_too_large() -> None:
    with pytest.raises(ValueError, match="at most"):
        encode_varint(MAX_VARINT + 1)


class TestWriting:
    @pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
    def test_in_pieces(self, form: Any) -> None:
        writer = MessageWriter(Framing.REQUEST)
        assert writer.write_head(GET) == b"\x02\x03GET\x05https\x00\x01/\x00"
        assert writer.write_content(form(b"")) == b""
        assert writer.write_content(form(b"hello")) == b"\x05hello"
        assert writer.write_content(form(bytes(64))) == b"\x40\x40" + bytes(64)
        assert writer.end(((b"a", b"b"),), padding=3) == b"\0\1a\1b\0" + bytes(3)

    def test_heads_below_200_come_first(self) -> None:
        writer = MessageWriter(Framing.RESPONSE)
        assert writer.write_head(ResponseHead(103)) == b"\x03\x40\x67\x00"
        with pytest.raises(LocalProtocolError, match="not the turn"):
            writer.write_content(b"x")
        assert writer.write_head(OK) == b"\x40\xc8\x00"
        with pytest.raises(LocalProtocolError, match="not the turn"):
            writer.write_head(OK)

    def test_nothing_comes_after_the_end(self) -> None:
        writer = MessageWriter(Framing.RESPONSE)
        with pytest.raises(LocalProtocolError, match="not the turn"):
            writer.end()
        writer.write_head(OK)
        assert writer.end() == b"\0\0"
        for more in (writer.end, lambda: writer.write_content(b"x")):
            with pytest.raises(LocalProtocolError, match="not the turn"):
                more()

    def test_a_bad_head_or_trailer_leaves_everything_as_it_was(self) -> None:
        writer = MessageWriter(Framing.RESPONSE)
        for head in (ResponseHead(600), ResponseHead(103, ((b"A", b""),))):
            with pytest.raises(LocalProtocolError, match="be one"):
                writer.write_head(head)
        assert writer.write_head(OK).startswith(b"\x03")
        with pytest.raises(LocalProtocolError, match="a value"):
            writer.end(((b"a", b"\n"),))
        assert writer.end() == b"\0\0"

    def test_a_head_stands_in_its_own_kind_of_message(self) -> None:
        with pytest.raises(LocalProtocolError, match="the reverse"):
            MessageWriter(Framing.REQUEST).write_head(OK)
        with pytest.raises(LocalProtocolError, match="the reverse"):
            MessageWriter(Framing.RESPONSE).write_head(GET)

    @pytest.mark.parametrize("framing", [Framing.KNOWN_REQUEST, Framing.KNOWN_RESPONSE])
    def test_known_length_is_not_written_in_pieces(self, framing: Framing) -> None:
        with pytest.raises(ValueError, match="piece by piece"):
            MessageWriter(framing)
