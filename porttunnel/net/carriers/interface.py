"""What a carrier is: bytes to and from one peer, with back-pressure both ways.

Everything above (the driver of the cores, the server's links, the forwarders of local sockets)
knows only this; which kind of transport lies beneath makes no difference to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure

__all__ = ["Carrier", "Lender", "Receiver"]


class Carrier(Protocol):
    """A connection, as the code above uses it."""

    @property
    def peer(self) -> IAddress:
        """The other end's address."""

    def send(self, views: Sequence[memoryview]) -> int:
        """Send as much of ``views`` as can go now.

        :returns: bytes taken; the caller keeps the rest and may reuse what was taken. When
            fewer than offered were taken, ``carrier_writable`` follows once.
        """

    def limit_unsent(self, count: int) -> None:
        """Let the system queue about ``count`` bytes at most that it has not sent yet.

        What is queued there stands before everything that comes later, however urgent.
        """

    def end(self) -> None:
        """Half-close: the peer sees the end of our bytes; it may go on sending."""

    def pause_receiving(self) -> None:
        """Read no more until :meth:`resume_receiving`; what was read already may still come."""

    def resume_receiving(self) -> None:
        """Undo :meth:`pause_receiving`."""

    def close(self) -> None:
        """Send what was taken, then close both ways."""

    def abort(self) -> None:
        """Close at once; what was taken may be lost."""


class Receiver(Protocol):
    """Who a carrier reports to."""

    def carrier_made(self, carrier: Carrier) -> None:
        """The connection is there."""

    def carrier_received(self, data: memoryview) -> None:
        """Bytes came.

        The view is valid during the call only, and may be written to unless it is ``readonly``.
        """

    def reading_done(self) -> None:
        """No more bytes in this turn of the reactor: send what came of them together."""

    def carrier_writable(self) -> None:
        """:meth:`Carrier.send` would take bytes again."""

    def carrier_ended(self) -> None:
        """The peer half-closed: no bytes will come, ours may still go."""

    def carrier_lost(self, reason: Failure) -> None:
        """The connection is gone, for whatever reason. The last call."""


class Lender(Receiver, Protocol):
    """A receiver that lends room: bytes are received straight into where they will be sealed."""

    def lend(self, most: int) -> Sequence[memoryview]:
        """Room for the next bytes, in order, in ``most`` pieces at most; none: then the carrier
        is to be paused, by the lender.
        """

    def filled(self, count: int) -> None:
        """The first ``count`` bytes of the last loan are there; called after each, also with 0."""
