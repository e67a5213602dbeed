"""Two connections of which each gets what comes from the other."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

__all__ = ["RelayHalf"]


class RelayHalf(Protocol):
    """What both connections of a relay have in common.

    Each is the other's producer, so a slow reader stops its writer and nothing piles up between.
    """

    other: RelayHalf | None = None
    read_ended = False

    def join(self, other: RelayHalf) -> None:
        """From now on what comes here goes there."""
        self.other = other
        transport: Any = other.transport
        transport.registerProducer(self.transport, True)

    def part(self) -> None:
        """Nothing more goes from here to the other."""
        transport: Any = None if self.other is None else self.other.transport
        if transport is not None:
            transport.unregisterProducer()

    def dataReceived(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def readConnectionLost(self) -> None:
        """The half-close goes through; the second one ends both connections."""
        self.part()
        self.read_ended = True
        other = self.other
        transport: Any = None if other is None else other.transport
        if other is None or transport is None:
            return
        if not other.read_ended:
            transport.loseWriteConnection()
            return
        # Twisted leaves a connection that is closed by halves for its protocol to end.
        transport.loseConnection()
        if self.transport is not None:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our own half-close went out: nothing is left to do."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.part()
        other, self.other = self.other, None
        if other is None:
            return
        other.other = None
        transport: Any = other.transport
        if transport is None:
            return
        if reason.check(ConnectionDone):
            transport.loseConnection()
        else:
            # The other side must not take what it has for everything.
            transport.abortConnection()
