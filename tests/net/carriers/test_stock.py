"""porttunnel.net.carriers.stock"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import INegotiated, ITCPTransport
from twisted.internet.testing import StringTransport
from zope.interface import directlyProvides, implementer

from porttunnel.net.carriers.stock import WRITE_BYTES, StockCarrier


class Receiver:
    def __init__(self) -> None:
        self.writable = 0

    def carrier_writable(self) -> None:
        self.writable += 1


@implementer(ITCPTransport)
class TCPTransport(StringTransport):
    no_delay = False
    half_closed = False
    aborted = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def loseWriteConnection(self) -> None:
        assert self.producer is None
        self.half_closed = True

    def abortConnection(self) -> None:
        self.aborted = True


class BareTransport:
    """Nothing but what every transport and consumer has."""

    def __init__(self) -> None:
        self.closed = False
        self.producer: Any = None

    def write(self, data: bytes) -> None:
        raise AssertionError("not asked for")

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        self.closed = True


def carrier_on(transport: Any) -> tuple[StockCarrier, Receiver]:
    receiver: Any = Receiver()
    return StockCarrier(transport, receiver), receiver


def views(*pieces: bytes) -> list[memoryview]:
    return [memoryview(piece) for piece in pieces]


def test_sends_everything_while_there_is_room() -> None:
    transport = TCPTransport(peerAddress=IPv4Address("TCP", "192.0.2.1", 5))
    carrier, receiver = carrier_on(transport)
    assert carrier.send(views(b"one", b"", b"two")) == 6
    assert carrier.send([]) == 0
    assert transport.value() == b"onetwo"
    assert receiver.writable == 0
    assert transport.no_delay
    assert carrier.peer == IPv4Address("TCP", "192.0.2.1", 5)


def test_stops_between_two_pieces_when_the_transport_is_full() -> None:
    class Full(TCPTransport):
        def write(self, data: bytes) -> None:
            super().write(data)
            if len(self.value()) >= 2 * WRITE_BYTES:
                self.producer.pauseProducing()  # type: ignore[union-attr]  # it is registered

    transport = Full()
    carrier, receiver = carrier_on(transport)
    assert carrier.send(views(bytes(WRITE_BYTES * 2 + 1), b"rest")) == 2 * WRITE_BYTES
    assert carrier.send(views(b"more")) == 0
    assert len(transport.value()) == 2 * WRITE_BYTES
    carrier.resumeProducing()
    assert receiver.writable == 1


def test_tells_of_room_only_who_was_refused_some() -> None:
    carrier, receiver = carrier_on(TCPTransport())
    carrier.pauseProducing()
    carrier.resumeProducing()
    assert receiver.writable == 0
    carrier.pauseProducing()
    assert carrier.send(views(b"x")) == 0
    carrier.resumeProducing()
    carrier.pauseProducing()
    carrier.resumeProducing()
    assert receiver.writable == 1


def test_takes_nothing_once_the_transport_is_gone() -> None:
    carrier, receiver = carrier_on(TCPTransport())
    carrier.stopProducing()
    assert carrier.send(views(b"x")) == 0
    assert receiver.writable == 0


def test_keeps_no_more_than_it_was_given() -> None:
    transport = TCPTransport()
    carrier, _ = carrier_on(transport)
    room = bytearray(b"sealed in place")
    carrier.send([memoryview(room)])
    room[:] = bytes(len(room))
    assert transport.value() == b"sealed in place"


def test_pauses_and_resumes_reading() -> None:
    transport = TCPTransport()
    carrier, _ = carrier_on(transport)
    carrier.pause_receiving()
    assert transport.producerState == "paused"
    carrier.resume_receiving()
    assert transport.producerState == "producing"


def test_half_closes_where_that_is_possible() -> None:
    transport = TCPTransport()
    carrier, _ = carrier_on(transport)
    carrier.limit_unsent(1)
    carrier.end()
    assert transport.half_closed
    assert not transport.disconnecting


def test_closes_where_there_is_no_half_close() -> None:
    bare = BareTransport()
    carrier_on(bare)[0].end()
    assert bare.closed
    # Twisted's TLS passes the name on to the socket below: that would cut the TLS off.
    tls = TCPTransport()
    directlyProvides(tls, INegotiated)
    carrier_on(tls)[0].end()
    assert tls.disconnecting
    assert not tls.half_closed


def test_closes_after_what_was_written() -> None:
    transport = TCPTransport()
    carrier, _ = carrier_on(transport)
    carrier.close()
    assert transport.disconnecting
    assert transport.producer is None


def test_aborts_as_well_as_the_transport_can() -> None:
    transport = TCPTransport()
    carrier_on(transport)[0].abort()
    assert transport.aborted
    bare = BareTransport()
    carrier_on(bare)[0].abort()
    assert bare.closed
