"""UTF-8 in pieces: right however it is cut, and refused as soon as it is wrong."""

from __future__ import annotations

import pytest

from porttunnel.errors import WebSocketError
from porttunnel.websocket.text import TextDecoder
from tests.websocket.client import cuts

TEXT = "κόσμε 水 \U0010ffff\u0000"


def decode(pieces: list[bytes]) -> str:
    decoder = TextDecoder()
    *before, last = pieces
    texts = [decoder.decode(memoryview(piece), ended=False) for piece in before]
    return "".join([*texts, decoder.decode(memoryview(last), ended=True)])


def test_is_the_same_however_it_is_cut() -> None:
    for pieces in cuts(TEXT.encode()):
        assert decode(pieces) == TEXT


@pytest.mark.parametrize(
    ("wrong", "seen_after"),
    [
        (b"\x80", 1),  # goes on without a beginning
        (b"\xc0\xaf", 1),  # longer than it need be
        (b"\xe0\x80\x80", 2),
        (b"\xed\xa0\x80", 2),  # half a surrogate pair
        (b"\xf4\x90\x80\x80", 2),  # beyond the last character
        (b"\xf8\x88\x80\x80\x80", 1),
        (b"\xce\xba\xce ", 4),
        (b"\xff", 1),
    ],
)
def test_is_refused_at_the_first_byte_that_cannot_be_right(wrong: bytes, seen_after: int) -> None:
    decoder = TextDecoder()
    for number, byte in enumerate(wrong, 1):
        piece = memoryview(bytes([byte]))
        if number == seen_after:
            with pytest.raises(WebSocketError, match="not UTF-8") as raised:
                decoder.decode(piece, ended=False)
            assert raised.value.close_code == 1007
            return
        decoder.decode(piece, ended=False)


@pytest.mark.parametrize("end", [b"\xce", b"\xe6\xb0", b"\xf4\x8f\xbf"])
def test_may_not_end_within_a_character(end: bytes) -> None:
    with pytest.raises(WebSocketError, match="not UTF-8"):
        decode([b"a" + end])
    with pytest.raises(WebSocketError, match="not UTF-8"):
        decode([b"a" + end, b""])


def test_begins_anew_after_an_end() -> None:
    decoder = TextDecoder()
    assert decoder.decode(memoryview(b"a"), ended=True) == "a"
    assert decoder.decode(memoryview(b"b\xce"), ended=False) == "b"
    assert decoder.decode(memoryview(b"\xba"), ended=True) == "κ"
