"""The body of a response: it flows to one receiver, which may pause it.

What comes while it is paused, or before there is a receiver, is kept: no more than the credit that
was given, because credit is given for what was taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.logger import Logger

from porttunnel.errors import LocalProtocolError, PorttunnelError
from porttunnel.gateway.http_head import Fields
from porttunnel.net.gateway_client.body import BodyReceiver

__all__ = ["ResponseBody"]

# Content, the end with its trailers, an end that is none, the border of a part.
_Piece = bytes | tuple[Fields] | PorttunnelError | None


class ResponseBody:
    """Implements :class:`~porttunnel.net.gateway_client.body.ReceivedBody`.

    :param on_taken: called for each part of which all was taken.
    :param on_cancelled: called when nobody wants the rest.
    """

    _log = Logger()

    def __init__(self, on_taken: Callable[[], None], on_cancelled: Callable[[], None]) -> None:
        self._on_taken = on_taken
        self._on_cancelled = on_cancelled
        self._receiver: BodyReceiver | None = None
        self._waiting: deque[_Piece] = deque()
        self._paused = False
        self._delivering = False
        self._closed = False  # nothing is to be told any more

    @property
    def is_held(self) -> bool:
        """Whether something came that its receiver does not take now."""
        return bool(self._waiting)

    # For the program

    def deliver(self, receiver: BodyReceiver) -> None:
        """See ``ReceivedBody``.

        :raises LocalProtocolError: there is a receiver.
        """
        if self._receiver is not None:
            raise LocalProtocolError("a body is delivered once")
        self._receiver = receiver
        self._deliver()

    def pause(self) -> None:
        """See ``ReceivedBody``."""
        self._paused = True

    def resume(self) -> None:
        """See ``ReceivedBody``."""
        self._paused = False
        self._deliver()

    def cancel(self) -> None:
        """See ``ReceivedBody``."""
        if not self._closed:
            self.close()
            self._on_cancelled()

    # For the request

    def add(self, data: bytes) -> None:
        """A piece came."""
        self._add(data)

    def mark_part(self) -> None:
        """A part has ended here; what was added can go out."""
        self._add(None)
        self._deliver()

    def end(self, trailers: Fields) -> None:
        """It is whole."""
        self._add((trailers,))
        self._deliver()

    def fail(self, error: PorttunnelError) -> None:
        """It will not be whole. What came before is told first."""
        self._add(error)
        self._deliver()

    def close(self) -> None:
        """Nobody is told anything any more."""
        self._closed = True
        self._waiting.clear()

    def _add(self, piece: _Piece) -> None:
        if not self._closed:
            self._waiting.append(piece)

    def _deliver(self) -> None:
        # The receiver may pause, resume or cancel from inside.
        if self._delivering:
            return
        self._delivering = True
        try:
            while self._waiting and not self._paused and self._receiver is not None:
                self._tell(self._receiver, self._waiting.popleft())
        finally:
            self._delivering = False

    def _tell(self, receiver: BodyReceiver, piece: _Piece) -> None:
        try:
            match piece:
                case None:
                    self._on_taken()
                case bytes():
                    receiver.body_received(piece)
                case PorttunnelError():
                    self.close()
                    receiver.body_broken(piece)
                case (trailers,):
                    self.close()
                    receiver.body_ended(trailers)
        except Exception:
            # A receiver that breaks gets no more; the request of another goes on.
            self._log.failure("a response could not be taken")
            self.cancel()
