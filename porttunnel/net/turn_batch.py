"""When to send on what came: at once, or with what others bring in the same turn of the reactor.

Sent together, messages from many connections cost one write for each receiver, not one for each
message. Who watches the sockets may say when a turn begins and ends. Otherwise waiting for its end
costs some microseconds, and with one connection busy at a time nothing comes of it: so it is found
out from time to time what waiting brings.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["TurnBatch"]

TOGETHER_BYTES = 65_536  # as much as is worth a write; more would only take memory
QUIET_TURNS = 4  # with one connection each: then waiting is left for a while
READS_AT_ONCE = 64  # before it is looked again


class TurnBatch:
    """See the module.

    :param reactor: time.
    :param settle: sends on what is ready.
    """

    __slots__ = (
        "_at_once",
        "_in_turn",
        "_quiet",
        "_reactor",
        "_reads",
        "_settle",
        "_taken_bytes",
        "_waiting",
    )

    def __init__(self, reactor: IReactorTime, settle: Callable[[], None]) -> None:
        self._reactor = reactor
        self._settle = settle
        self._waiting: IDelayedCall | None = None
        self._taken_bytes = 0  # since something was last sent on
        self._reads = 0  # that wait together
        self._quiet = 0
        self._at_once = 0
        self._in_turn = False  # and will be told of its end

    def begin_turn(self) -> None:
        """See :class:`porttunnel.net.carriers.watch.Turn`."""
        self._in_turn = True

    def end_turn(self) -> None:
        """See :class:`porttunnel.net.carriers.watch.Turn`."""
        self._in_turn = False
        self.settle()

    def took(self, count: int) -> None:
        """Bytes were taken in; their connection may have more in this turn."""
        self._taken_bytes += count
        if self._taken_bytes >= TOGETHER_BYTES:
            self.settle()

    def reading_done(self) -> None:
        """A connection has no more bytes in this turn."""
        if self._in_turn:
            return
        if self._waiting is not None:
            self._reads += 1
        elif self._at_once:
            self._at_once -= 1
            self.settle()
        else:
            self._reads = 1
            self._waiting = self._reactor.callLater(0, self._turn_ended)

    def soon(self) -> None:
        """Something else may have moved."""
        if self._waiting is None and not self._in_turn:
            self._reads = 0
            self._waiting = self._reactor.callLater(0, self._turn_ended)

    def settle(self) -> None:
        """Send on what is ready, now."""
        self._taken_bytes = 0
        self._settle()

    def stop(self) -> None:
        """Nothing moves any more."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _turn_ended(self) -> None:
        self._waiting = None
        if self._reads > 1:
            self._quiet = 0
        elif self._reads:
            self._quiet += 1
            if self._quiet >= QUIET_TURNS:
                self._at_once = READS_AT_ONCE
        self.settle()
