"""From a Twisted connection to a carrier: the only protocol that our links and sockets use."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

from porttunnel.net.carriers.interface import Carrier, Lender, Receiver
from porttunnel.net.carriers.stock import StockCarrier
from porttunnel.net.carriers.tcp import TCPCarrier, can_take_over
from porttunnel.net.carriers.tls import TLSCarrier, can_take_over_tls

__all__ = ["CarrierProtocol"]


@implementer(IHalfCloseableProtocol)
class CarrierProtocol(Protocol):
    """Gives its receiver the best carrier that the transport allows.

    :param reactor: the reactor that the transport belongs to.
    :param receiver: the code above.
    :param lender: the same object again, when it lends room for what is read.
    """

    def __init__(self, reactor: Any, receiver: Receiver, lender: Lender | None = None) -> None:
        self._reactor = reactor
        self._receiver = receiver
        self._lender = lender
        self._tls: TLSCarrier | None = None

    def connectionMade(self) -> None:
        """Take the socket over, or use the transport as it is."""
        carrier: Carrier
        if can_take_over(self.transport, self._reactor):
            carrier = TCPCarrier(self._reactor, self.transport, self._receiver, self._lender)
        elif can_take_over_tls(self.transport, self._reactor):
            carrier = self._tls = TLSCarrier(self._reactor, self.transport, self._receiver)
            # Only now: of several interfaces what endpoints put around us passes on the last
            # alone, and without TLS that is to be the half-close. (It has the methods of all.)
            alsoProvides(self, IHandshakeListener)
            transport: Any = self.transport
            alsoProvides(transport.wrappedProtocol, IHandshakeListener)
        else:
            carrier = StockCarrier(self.transport, self._receiver)
        self._receiver.carrier_made(carrier)

    def handshakeCompleted(self) -> None:
        """TLS is there, after :meth:`connectionMade`."""
        if self._tls is not None:
            self._tls.begin()

    def dataReceived(self, data: bytes) -> None:
        """Bytes of a transport that was not taken over, or that were read before it was."""
        self._receiver.carrier_received(memoryview(data))
        self._receiver.reading_done()

    def readConnectionLost(self) -> None:
        """The peer half-closed."""
        self._receiver.carrier_ended()

    def writeConnectionLost(self) -> None:
        """Our own half-close went out: nothing is left to do."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport is gone."""
        if self._tls is not None:
            self._tls.carrier_lost(reason)
        self._receiver.carrier_lost(reason)
