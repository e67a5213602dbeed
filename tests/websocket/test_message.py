"""Messages out of pieces."""

from __future__ import annotations

import pytest

from porttunnel.errors import WebSocketError
from porttunnel.websocket.event import BytesReceived, TextReceived
from porttunnel.websocket.frame_head import Opcode
from porttunnel.websocket.message import MessageGatherer


def test_what_comes_whole_is_not_copied() -> None:
    data = bytearray(b"abc")
    message = MessageGatherer().take(Opcode.BINARY, memoryview(data), ended=True)
    assert isinstance(message, BytesReceived)
    assert message.payload.obj is data


def test_bytes_in_pieces() -> None:
    gatherer = MessageGatherer()
    for _ in range(2):
        assert gatherer.take(Opcode.BINARY, memoryview(b"ab"), ended=False) is None
        assert gatherer.take(Opcode.BINARY, memoryview(b""), ended=False) is None
        message = gatherer.take(Opcode.BINARY, memoryview(b"c"), ended=True)
        assert message == BytesReceived(memoryview(b"abc"))


def test_text_in_pieces() -> None:
    gatherer = MessageGatherer()
    for _ in range(2):
        assert gatherer.take(Opcode.TEXT, memoryview(b"a\xce"), ended=False) is None
        assert gatherer.take(Opcode.TEXT, memoryview(b"\xbab"), ended=True) == TextReceived("aκb")
    assert gatherer.take(Opcode.TEXT, memoryview(b""), ended=True) == TextReceived("")


def test_text_has_to_be_text() -> None:
    with pytest.raises(WebSocketError, match="UTF-8"):
        MessageGatherer().take(Opcode.TEXT, memoryview(b"\xff"), ended=False)
