"""The server that the Autobahn testsuite wants: it sends back every message, as it came."""

from __future__ import annotations

from collections.abc import Iterable

from porttunnel.errors import WebSocketError
from porttunnel.websocket.connection import (
    Limits,
    ServerConnection,
)
from porttunnel.websocket.event import BytesReceived, CloseReceived, ConnectionFailed, TextReceived
from porttunnel.websocket.frame_limit import FrameLimits
from porttunnel.websocket.state import ConnectionState
from tests.websocket.client import Frame, frame, read_frames

__all__ = ["CLOSE_NORMALLY", "EchoServer", "fragments"]

LIMITS = Limits(FrameLimits(1 << 24, 1 << 24, 1 << 17), ping_seconds=None)
CLOSE_NORMALLY = frame(8, b"\x03\xe8")


class EchoServer:
    """It is told what the testsuite's client sends, and tells what that client would get.

    :ivar code: of the Close frame that came, if the connection ended well.
    :ivar failed_with: the close code of the error, if it ended badly.
    """

    def __init__(self) -> None:
        self._connection = ServerConnection(0.0, limits=LIMITS)
        self.code: int | None = None
        self.failed_with: int | None = None

    @property
    def open(self) -> bool:
        """Whether frames may still come."""
        return self._connection.state is ConnectionState.OPEN

    def send(self, *data: bytes) -> list[Frame]:
        """What the server sends upon this, each piece in a read of its own."""
        got = b""
        for piece in data:
            self._connection.receive_data(memoryview(bytearray(piece)), 0.0)
            self._echo()
            waiting = b"".join(self._connection.data_to_send())
            self._connection.data_sent(len(waiting))
            got += waiting
        return read_frames(got)

    def chop(self, data: bytes, size: int = 1) -> list[Frame]:
        """As :meth:`send`, in pieces of so many bytes."""
        return self.send(*(data[at : at + size] for at in range(0, len(data), size)))

    def _echo(self) -> None:
        for event in self._connection.events():
            match event:
                case TextReceived(text):
                    self._connection.send_message(text)
                case BytesReceived(payload):
                    self._connection.send_message(payload)
                case CloseReceived(code):
                    self.code = code
                case ConnectionFailed(error):
                    assert isinstance(error, WebSocketError)
                    self.failed_with = error.close_code


def fragments(opcode: int, parts: Iterable[bytes]) -> bytes:
    """A message of these fragments."""
    *before, last = parts
    data = b""
    for part in before:
        data += frame(opcode, part, final=False)
        opcode = 0
    return data + frame(opcode, last)
