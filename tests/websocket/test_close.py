"""What a Close frame can say."""

from __future__ import annotations

import pytest

from porttunnel.errors import WebSocketError
from porttunnel.websocket.close import MAX_REASON_BYTES, CloseCode, decode_close, encode_close

MAY_BE_SENT = {*range(1_000, 1_004), *range(1_007, 1_015), *range(3_000, 5_000)}


def test_every_code_is_allowed_or_not() -> None:
    assert set(CloseCode) <= MAY_BE_SENT
    for code in range(0x10000):
        payload = code.to_bytes(2, "big")
        if code in MAY_BE_SENT:
            assert encode_close(code, "") == payload
            assert decode_close(memoryview(payload)) == (code, "")
        else:
            with pytest.raises(ValueError, match="may not stand"):
                encode_close(code, "")
            with pytest.raises(WebSocketError, match="may not be sent") as raised:
                decode_close(memoryview(payload))
            assert raised.value.close_code == 1002


def test_may_say_nothing() -> None:
    assert decode_close(memoryview(b"")) == (None, "")


def test_half_a_code_is_none() -> None:
    with pytest.raises(WebSocketError, match="half a code") as raised:
        decode_close(memoryview(b"\x03"))
    assert raised.value.close_code == 1002


def test_a_reason_is_text() -> None:
    payload = encode_close(1_000, "Grüße")
    assert payload == b"\x03\xe8Gr\xc3\xbc\xc3\x9fe"
    assert decode_close(memoryview(payload)) == (1_000, "Grüße")
    with pytest.raises(WebSocketError, match="not UTF-8") as raised:
        decode_close(memoryview(b"\x03\xe8\xff"))
    assert raised.value.close_code == 1007


def test_a_long_reason_is_cut_between_characters() -> None:
    payload = encode_close(1_000, "ü" * 100)
    assert len(payload) == 2 + MAX_REASON_BYTES - 1
    assert decode_close(memoryview(payload)) == (1_000, "ü" * 61)
