"""porttunnel/gateway/binary_http_reader.py: a message reads alike however it is cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel import errors
from porttunnel.errors import LimitExceeded, LocalProtocolError, RemoteProtocolError
from porttunnel.gateway.binary_http import Framing, MessageWriter
from porttunnel.gateway.binary_http_reader import (
    MAX_SECTION_BYTES,
    ContentReceived,
    MessageEnded,
    MessageReader,
)
from porttunnel.gateway.http_head import RequestHead, ResponseHead
from tests.gateway.http_messages import (
    Outcome,
    fields,
    fields_of,
    head_of,
    informational_heads,
    known_length,
    read,
    request_heads,
    response_heads,
)
from tests.independent.binary_http import PLACE

VECTORS: Any = json.loads(PLACE.read_text(encoding="utf-8"))
GET = RequestHead(b"GET", b"https", b"", b"/")


def each(group: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", VECTORS[group], ids=lambda case: case["name"])


def singles(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


class TestVectors:
    """tests/vectors/binary_http.json, made by tests/independent/binary_http.py."""

    @each("messages")
    def test_each_message_whole_and_byte_by_byte(self, case: Any) -> None:
        data = bytes.fromhex(case["message"])
        expected = Outcome(
            [head_of(head) for head in case["heads"]],
            bytes.fromhex(case["content"]),
            fields_of(case["trailers"]),
        )
        for pieces in ([data], singles(data), [b"", data[:7], b"", data[7:]]):
            assert read(pieces, request=case["request"]) == expected

    @each("failures")
    def test_each_failure_whole_and_byte_by_byte(self, case: Any) -> None:
        data = bytes.fromhex(case["message"])
        whole = read([data], request=case["request"])
        assert whole.error is getattr(errors, case["error"])
        assert read(singles(data), request=case["request"]) == whole

    @each("cuts")
    def test_each_place_to_cut(self, case: Any) -> None:
        data = bytes.fromhex(case["message"])
        whole = {
            length
            for length in range(len(data) + 1)
            if read([data[:length]], request=case["request"]).error is None
        }
        assert whole == set(case["whole_at"])

    @each("messages")
    def test_zeros_may_trail_a_whole_message_and_nothing_else(self, case: Any) -> None:
        if not case["canonical"]:
            return
        data = bytes.fromhex(case["message"])
        plain = read([data], request=case["request"])
        assert read([data + bytes(20)], request=case["request"]) == plain
        trailing = read([data + bytes(3) + b"\1"], request=case["request"])
        assert trailing.error is RemoteProtocolError
        assert trailing.trailers is None
        assert trailing.content == plain.content


class TestRoundTrips:
    @given(st.data())
    def test_what_is_written_reads_the_same(self, data: st.DataObject) -> None:
        request = data.draw(st.booleans())
        heads: list[RequestHead | ResponseHead] = data.draw(
            st.lists(informational_heads, max_size=0 if request else 3)
        )
        heads += [data.draw(request_heads if request else response_heads)]
        chunks = data.draw(st.lists(st.binary(max_size=200), max_size=4))
        trailers = data.draw(fields)
        expected = Outcome(heads, b"".join(chunks), trailers)
        writer = MessageWriter(Framing.REQUEST if request else Framing.RESPONSE)
        streamed = [
            *map(writer.write_head, heads),
            *map(writer.write_content, chunks),
            writer.end(trailers, padding=data.draw(st.integers(0, 5))),
        ]
        known = known_length(heads, expected.content, trailers)
        for message in (b"".join(streamed), known):
            cut = data.draw(st.integers(0, len(message)))
            assert read([message[:cut], message[cut:]], request=request) == expected
        assert read(streamed, request=request) == expected


class TestReading:
    def test_everything_is_told_at_once(self) -> None:
        reader = MessageReader(request=False)
        assert list(reader.read(b"\x03\x40\x67\x00")) == [ResponseHead(103)]
        assert list(reader.read(b"\x40\xc8\x00\x05he")) == [
            ResponseHead(200),
            ContentReceived(memoryview(b"he")),
        ]
        assert list(reader.read(b"l")) == [ContentReceived(memoryview(b"l"))]
        assert list(reader.read(b"lo\0\0")) == [ContentReceived(memoryview(b"lo"))]
        assert list(reader.finish()) == [MessageEnded(())]

    @pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
    def test_content_is_a_view_of_what_was_given(self, form: Any) -> None:
        reader = MessageReader(request=True)
        given_bytes = form(MessageWriter(Framing.REQUEST).write_head(GET) + b"\x05hello")
        *_, content = reader.read(given_bytes)
        assert isinstance(content, ContentReceived)
        assert content.data.obj is getattr(given_bytes, "obj", given_bytes)

    def test_a_long_content_needs_no_memory(self) -> None:
        reader = MessageReader(request=False)
        list(reader.read(b"\x01\x40\xc8\x00" + (2**62 - 1 | 3 << 62).to_bytes(8)))
        for _ in range(3):
            (piece,) = reader.read(bytes(70_000))
            assert isinstance(piece, ContentReceived)
            assert len(piece.data) == 70_000
        with pytest.raises(RemoteProtocolError, match="cut off in its content"):
            list(reader.finish())

    def test_a_reader_that_failed_is_done(self) -> None:
        reader = MessageReader(request=True)
        with pytest.raises(RemoteProtocolError, match="not of the kind"):
            list(reader.read(b"\x05"))
        for more in (reader.read(b"\x02"), reader.finish()):
            with pytest.raises(LocalProtocolError, match="broke the protocol"):
                list(more)

    def test_nothing_is_read_after_the_end(self) -> None:
        reader = MessageReader(request=False)
        list(reader.read(b"\x03\x40\xc8"))
        assert list(reader.finish()) == [ResponseHead(200), MessageEnded(())]
        with pytest.raises(LocalProtocolError, match="after its end"):
            list(reader.read(b""))
        with pytest.raises(LocalProtocolError, match="or its end"):
            list(reader.finish())


class TestLimits:
    @pytest.mark.parametrize("known", [True, False])
    def test_fields_fill_a_section_and_no_more(self, known: bool) -> None:
        # A field of one letter takes 2 bytes for its name and 4 for its length; the end takes 1.
        most = MAX_SECTION_BYTES - 6
        for length, error in ((most, None), (most + 1, LimitExceeded)):
            head = ResponseHead(200, ((b"a", b"x" * length),))
            writer = MessageWriter(Framing.RESPONSE)
            data = known_length([head]) if known else writer.write_head(head)
            assert read([data], request=False).error is error

    def test_a_path_that_is_too_long_is_not_even_collected(self) -> None:
        reader = MessageReader(request=True)
        with pytest.raises(LimitExceeded, match="too long"):
            list(reader.read(b"\x02\x03GET\x05https\x00" + b"\x80\x00\x40\x01"))

    def test_a_path_may_be_long(self) -> None:
        head = RequestHead(b"GET", b"https", b"", b"/" + b"x" * 16_383)
        outcome = read(singles(known_length([head])), request=True)
        assert (outcome.heads, outcome.error) == ([head], None)
