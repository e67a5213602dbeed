"""Whole messages out of the pieces that come.

Source: RFC 6455, sections 5.4 and 5.6.
"""

from __future__ import annotations

from porttunnel.websocket.event import BytesReceived, TextReceived
from porttunnel.websocket.frame_head import Opcode
from porttunnel.websocket.text import TextDecoder

__all__ = ["MessageGatherer"]

_TEXT = int(Opcode.TEXT)


class MessageGatherer:
    """Keeps a message's pieces until there are all; the frame reader bounds them."""

    __slots__ = ("_bytes", "_decoder", "_texts")

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._decoder = TextDecoder()
        self._texts: list[str] = []

    def take(
        self, opcode: int, payload: memoryview, *, ended: bool
    ) -> TextReceived | BytesReceived | None:
        """The next piece; the message, if it ends with it. One that came whole is not copied.

        :param opcode: TEXT or BINARY.
        :raises WebSocketError: a text is not UTF-8.
        """
        if opcode == _TEXT:
            self._texts.append(self._decoder.decode(payload, ended=ended))
            if not ended:
                return None
            texts, self._texts = self._texts, []
            return TextReceived("".join(texts))
        if ended and not self._bytes:
            return BytesReceived(payload)
        self._bytes += payload
        if not ended:
            return None
        message, self._bytes = self._bytes, bytearray()
        return BytesReceived(memoryview(message))
