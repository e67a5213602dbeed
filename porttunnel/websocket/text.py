"""UTF-8 that comes in pieces, cut anywhere, refused at the first byte that can't be right.

Source: RFC 6455, section 8.1; RFC 3629.
"""

from __future__ import annotations

from porttunnel.errors import WebSocketError
from porttunnel.websocket.close import CloseCode

__all__ = ["TextDecoder"]

# What Python says of a sequence that is right as far as it goes; it says it only at the end.
_INCOMPLETE = "unexpected end of data"


class TextDecoder:
    """Decodes one text after the other."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""  # up to three bytes of a character that has not come whole

    def decode(self, piece: memoryview, *, ended: bool) -> str:
        """The next characters.

        :param piece: the text's next bytes.
        :param ended: whether they are its last ones; then the next piece begins another text.
        :raises WebSocketError: this is not UTF-8 (1007).
        """
        data = self._rest + bytes(piece)
        self._rest = b""
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            if ended or error.reason != _INCOMPLETE:
                raise WebSocketError("a text is not UTF-8", CloseCode.INVALID_PAYLOAD) from None
            self._rest = data[error.start :]
            return data[: error.start].decode("utf-8")
