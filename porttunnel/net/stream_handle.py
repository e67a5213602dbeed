"""What a session's streams report to, and what they need of their session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from porttunnel.errors import PorttunnelError, StreamCode
from porttunnel.session.multiplex import Multiplex

__all__ = ["StreamHandle", "StreamOwner"]


class StreamHandle(Protocol):
    """The local end of one stream."""

    def stream_accepted(self) -> None:
        """A stream that we asked for is there."""

    def stream_refused(self, code: StreamCode, text: str) -> None:
        """It was refused. The last call."""

    def stream_received(self, data: memoryview) -> None:
        """Bytes came; the view is valid during the call only."""

    def stream_writable(self) -> None:
        """After a wait: more may be written."""

    def stream_ended(self) -> None:
        """The other side has sent its last byte."""

    def stream_closed(self) -> None:
        """Both halves have ended. The last call."""

    def stream_reset(self, code: StreamCode) -> None:
        """The other side broke it off. The last call."""

    def stream_lost(self, error: PorttunnelError) -> None:
        """The session ended under it. The last call."""


class StreamOwner(Protocol):
    """A session, as the ends of its streams see it."""

    def streams_with(self, member: int) -> Multiplex:
        """The streams with a member; :raises LocalProtocolError: it is not in the session."""

    def flush(self) -> None:
        """Send what was written, now."""

    def flush_soon(self) -> None:
        """Send what was written, in the reactor's next turn."""

    def at_events_end(self, call: Callable[[], None]) -> None:
        """Call once when the events of this moment have been given out."""

    def release(self, member: int, stream: int) -> None:
        """The handle wants no more calls."""
