"""A connection of which no byte moves by itself: two pipes."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Pipe"]


class Pipe:
    """One direction of a connection.

    :ivar data: what is under way.
    :ivar ended: whether an end follows it.
    :ivar finished: whether nothing comes out any more.
    """

    def __init__(
        self, name: str, receiver: Callable[[bytes | None], None], *, straight: bool = False
    ) -> None:
        self.name = name
        self.straight = straight
        self.data = bytearray()
        self.ended = False
        self.finished = False
        self.stalled = False
        self.broken = False
        self._receiver = receiver

    def __repr__(self) -> str:
        return f"<{self.name}: {len(self.data)} bytes{', end' * self.ended}>"

    @property
    def holds_something(self) -> bool:
        """Whether something can come out."""
        return not self.finished and bool(self.data or self.ended)

    @property
    def flows(self) -> bool:
        """Whether something comes out unless it is asked not to."""
        return self.holds_something and not self.stalled

    def put(self, data: bytes) -> None:
        """Bytes go in; those for a broken connection are lost, and nobody tells."""
        if not self.broken and not self.ended:
            self.data += data

    def end(self) -> None:
        """The sender has closed the connection."""
        self.ended = True

    def break_off(self, *, told: bool) -> None:
        """What is under way is lost; ``told``: the receiver hears of the end, when it is let."""
        self.data.clear()
        self.broken = True
        self.ended = self.ended or told
        self.finished = self.finished or not self.ended

    def deliver(self, count: int) -> None:
        """Let bytes out, or the end behind them."""
        if self.finished:
            return
        data = bytes(self.data[:count])
        del self.data[:count]
        if data:
            self._receiver(data)
        elif self.ended:
            self.finished = True
            self._receiver(None)
