"""porttunnel.net.carriers.protocol"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from porttunnel.net.carriers.protocol import CarrierProtocol
from porttunnel.net.carriers.stock import StockCarrier


class Receiver:
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def carrier_made(self, carrier: Any) -> None:
        self.calls.append(type(carrier))

    def carrier_received(self, data: memoryview) -> None:
        self.calls.append(bytes(data))

    def reading_done(self) -> None:
        self.calls.append("read")

    def carrier_ended(self) -> None:
        self.calls.append("ended")

    def carrier_lost(self, reason: Failure) -> None:
        self.calls.append(reason.type)


def test_passes_on_what_an_ordinary_transport_does() -> None:
    receiver: Any = Receiver()
    protocol = CarrierProtocol(Clock(), receiver)
    assert verifyObject(IHalfCloseableProtocol, protocol)
    protocol.makeConnection(StringTransport())
    protocol.dataReceived(b"bytes")
    protocol.writeConnectionLost()
    protocol.readConnectionLost()
    protocol.connectionLost(Failure(ConnectionDone()))
    assert receiver.calls == [StockCarrier, b"bytes", "read", "ended", ConnectionDone]
