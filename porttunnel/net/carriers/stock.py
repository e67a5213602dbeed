"""A carrier over any Twisted transport, for those whose socket can't be taken over: in tests, and
on reactors without descriptors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IAddress, INegotiated, IPushProducer, ITCPTransport
from zope.interface import implementer

from porttunnel.net.carriers.interface import Receiver

__all__ = ["StockCarrier"]

WRITE_BYTES = 65_536  # the transport says "full" only between two writes; it keeps what it got


@implementer(IPushProducer)
class StockCarrier:
    """See :class:`porttunnel.net.carriers.interface.Carrier`.

    It is the transport's streaming producer: paused means that nothing is taken, so that what
    waits stays where it is counted.

    :param transport: any ``ITransport`` that is an ``IConsumer``.
    :param receiver: told when bytes are taken again.
    """

    def __init__(self, transport: Any, receiver: Receiver) -> None:
        self._transport = transport
        self._receiver = receiver
        self._paused = False
        self._refused_some = False
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        transport.registerProducer(self, True)

    @property
    def peer(self) -> IAddress:
        """The other end's address."""
        peer: IAddress = self._transport.getPeer()
        return peer

    def send(self, views: Sequence[memoryview]) -> int:
        """Write everything, or nothing while the transport is full."""
        taken = 0
        for view in views:
            for start in range(0, len(view), WRITE_BYTES):
                if self._paused:
                    self._refused_some = True
                    return taken
                piece = bytes(view[start : start + WRITE_BYTES])
                self._transport.write(piece)
                taken += len(piece)
        return taken

    def limit_unsent(self, count: int) -> None:
        """The transport has a fixed bound of its own."""

    def end(self) -> None:
        """Half-close, where the transport can; a TLS transport then closes."""
        # Twisted's TLS has no half-close, yet passes the name on to the socket below it.
        tls = INegotiated.providedBy(self._transport)
        if hasattr(self._transport, "loseWriteConnection") and not tls:
            self._transport.unregisterProducer()
            self._transport.loseWriteConnection()
        else:
            self.close()

    def pause_receiving(self) -> None:
        """Stop reading."""
        self._transport.pauseProducing()

    def resume_receiving(self) -> None:
        """Read again."""
        self._transport.resumeProducing()

    def close(self) -> None:
        """Close after what was written has gone out."""
        self._transport.unregisterProducer()
        self._transport.loseConnection()

    def abort(self) -> None:
        """Close at once."""
        if hasattr(self._transport, "abortConnection"):
            self._transport.abortConnection()
        else:
            self._transport.loseConnection()

    def pauseProducing(self) -> None:
        """The transport is full."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The transport has room again."""
        self._paused = False
        if self._refused_some:
            self._refused_some = False
            self._receiver.carrier_writable()

    def stopProducing(self) -> None:
        """The transport is gone; connectionLost tells the receiver."""
        self._paused = True
