"""What a connection reports to its program."""

from __future__ import annotations

from dataclasses import dataclass

from porttunnel.errors import CutOff, WebSocketError

__all__ = ["BytesReceived", "CloseReceived", "ConnectionFailed", "Event", "TextReceived"]


@dataclass(frozen=True, slots=True)
class TextReceived:
    """A whole message."""

    text: str


@dataclass(frozen=True, slots=True)
class BytesReceived:
    """A whole message; the view is valid until the next ``receive_data``."""

    payload: memoryview


@dataclass(frozen=True, slots=True)
class CloseReceived:
    """The peer has closed, or has answered our Close: the connection ends well.

    If it was the first to close, what is sent before the next ``data_to_send`` goes before our
    answer.

    :ivar code: None if it gave none.
    """

    code: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class ConnectionFailed:
    """The connection has ended badly.

    :ivar error: a ``WebSocketError``, of which the peer is told, after what is sent before the
        next ``data_to_send``; or a ``CutOff``: nobody is there to be told.
    """

    error: WebSocketError | CutOff


Event = TextReceived | BytesReceived | CloseReceived | ConnectionFailed
