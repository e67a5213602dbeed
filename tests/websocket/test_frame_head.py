"""What stands before a payload: as short as can be, and right up to the longest length."""

from __future__ import annotations

import pytest

from porttunnel.websocket.frame_head import Opcode, encode_head
from tests.websocket.client import Frame, read_frames


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 65_537])
def test_heads_are_as_short_as_can_be(size: int) -> None:
    head = encode_head(Opcode.BINARY, size)
    assert len(head) == (2 if size < 126 else 4 if size < 65_536 else 10)
    assert read_frames(head + bytes(size)) == [Frame(0x82, bytes(size))]


def test_a_head_can_say_any_length() -> None:
    assert encode_head(Opcode.TEXT, 2**63 - 1) == b"\x81\x7f\x7f" + b"\xff" * 7
