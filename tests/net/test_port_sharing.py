"""The first bytes of a connection tell what it speaks."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolNegotiationFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import AccumulatingProtocol, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from porttunnel.net.counters import ServerCounters
from porttunnel.net.http_notice import HTTPNoticeFactory
from porttunnel.net.port_sharing import Branch, SharedPortFactory, branch_of
from porttunnel.session.limit import ConnectionLimiter

PEER = IPv4Address("TCP", "192.0.2.7", 1_024)


@pytest.mark.parametrize(
    ("first", "branch"),
    [
        (b"PT\x01", Branch.PACKETS),
        (b"PT\x01\x20\x00\x01", Branch.PACKETS),
        (b"P", None),
        (b"PT", None),
        (b"\x16", Branch.TLS),
        (b"\x16\x03\x01", Branch.TLS),
        (b"G", Branch.HTTP),
        (b"get / HTTP/1.1", Branch.HTTP),
        (b"PO", Branch.HTTP),
        (b"PUT / HTTP/1.1", Branch.HTTP),
        (b"M-SEARCH * HTTP/1.1", Branch.HTTP),
    ],
)
def test_branches(first: bytes, branch: Branch | None) -> None:
    assert branch_of(first) is branch


@pytest.mark.parametrize(
    "first", [b"\x00", b"\x80\x2e", b"PT\x02", b"PTD1", b"PTX", b" GET", b"\xff\xfd", b"\x10\x00"]
)
def test_nothing_for_us(first: bytes) -> None:
    with pytest.raises(ValueError, match="nothing that this port speaks"):
        branch_of(first)


@implementer(IHalfCloseableProtocol)
class HalfCloseable(AccumulatingProtocol):
    halves: tuple[str, ...] = ()

    def readConnectionLost(self) -> None:
        self.halves += ("read",)

    def writeConnectionLost(self) -> None:
        self.halves += ("write",)


class BranchFactory(Factory):
    noisy = False
    protocolConnectionMade = None  # AccumulatingProtocol looks for it

    def __init__(self, protocol: type[Protocol]) -> None:
        self.protocol = protocol
        self.built: list[Any] = []
        self.full = False
        self.running = 0

    def startFactory(self) -> None:
        self.running += 1

    def stopFactory(self) -> None:
        self.running -= 1

    def buildProtocol(self, addr: Any) -> Any:
        if self.full:
            return None
        self.built.append(super().buildProtocol(addr))
        return self.built[-1]


class SharedPortTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.packets = BranchFactory(HalfCloseable)
        self.http = BranchFactory(AccumulatingProtocol)
        self.limiter = ConnectionLimiter(per_prefix=2, overall=3)
        self.counters = ServerCounters()
        self.factory = SharedPortFactory(
            self.clock,
            {Branch.PACKETS: self.packets, Branch.HTTP: self.http},
            tls=None,
            limiter=self.limiter,
            counters=self.counters,
        )

    def connect(self, address: Any = PEER) -> tuple[Any, StringTransport]:
        protocol = self.factory.buildProtocol(address)
        transport = StringTransport(peerAddress=address)
        protocol.makeConnection(transport)
        return protocol, transport

    def test_the_first_bytes_reach_the_protocol_that_takes_over(self) -> None:
        protocol, transport = self.connect()
        for byte in (b"P", b"T", b"\x01"):
            self.assertEqual(self.packets.built, [])
            protocol.dataReceived(byte)
        protocol.dataReceived(b"more")
        (found,) = self.packets.built
        self.assertEqual(found.data, b"PT\x01more")
        self.assertIs(found.transport, transport)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_half_close_reaches_who_understands_it(self) -> None:
        protocol, _ = self.connect()
        self.assertFalse(IHalfCloseableProtocol.providedBy(protocol))
        protocol.dataReceived(b"PT\x01")
        self.assertTrue(IHalfCloseableProtocol.providedBy(protocol))
        protocol.readConnectionLost()
        protocol.writeConnectionLost()
        self.assertEqual(self.packets.built[0].halves, ("read", "write"))

    def test_nobody_else_is_asked_to_half_close(self) -> None:
        protocol, _ = self.connect()
        protocol.dataReceived(b"GET / HTTP/1.1\r\n")
        self.assertFalse(IHalfCloseableProtocol.providedBy(protocol))

    def test_a_protocol_may_be_replaced_later(self) -> None:
        protocol, _ = self.connect()
        protocol.dataReceived(b"GET / HTTP/1.1\r\n")
        later = HalfCloseable()
        protocol.hand_over(later, b"first")
        protocol.dataReceived(b" second")
        self.assertEqual(later.data, b"first second")
        self.assertTrue(IHalfCloseableProtocol.providedBy(protocol))
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(later.closed)
        self.assertFalse(self.http.built[0].closed)

    def test_the_end_is_passed_on_and_counted(self) -> None:
        protocol, _ = self.connect()
        protocol.dataReceived(b"GET")
        self.connect()
        refused, transport = self.connect()
        self.assertTrue(transport.disconnected)
        refused.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(self.connect()[1].disconnected)
        reason = Failure(ConnectionDone())
        protocol.connectionLost(reason)
        self.assertIs(self.http.built[0].closedReason, reason)
        self.assertFalse(self.connect()[1].disconnected)

    def test_garbage_is_cut_off(self) -> None:
        protocol, transport = self.connect()
        protocol.dataReceived(b"\x00garbage")
        self.assertTrue(transport.disconnected)
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_tls_where_there_is_none_is_cut_off(self) -> None:
        protocol, transport = self.connect()
        protocol.dataReceived(b"\x16\x03\x01")
        self.assertTrue(transport.disconnected)

    def test_who_takes_nobody_new_is_cut_off(self) -> None:
        self.packets.full = True
        protocol, transport = self.connect()
        protocol.dataReceived(b"PT\x01")
        self.assertTrue(transport.disconnected)

    def test_silence_is_cut_off(self) -> None:
        _, transport = self.connect()
        self.clock.advance(14.9)
        self.assertFalse(transport.disconnected)
        self.clock.advance(0.1)
        self.assertTrue(transport.disconnected)

    def test_a_slow_drip_gains_no_time(self) -> None:
        protocol, transport = self.connect()
        self.clock.advance(7.0)
        protocol.dataReceived(b"P")
        self.clock.advance(7.0)
        protocol.dataReceived(b"T")
        self.clock.advance(1.0)
        self.assertTrue(transport.disconnected)

    def test_limits_by_prefix_and_in_all(self) -> None:
        addresses = (
            IPv6Address("TCP", "2001:db8::1", 1),
            IPv6Address("TCP", "2001:db8::2", 1),
            IPv6Address("TCP", "2001:db8::3", 1),
            PEER,
            UNIXAddress(b"/socket"),
        )
        made = [not self.connect(address)[1].disconnected for address in addresses]
        self.assertEqual(made, [True, True, False, True, False])
        self.assertEqual(self.counters.refused_connections, 2)

    def test_it_names_a_protocol_for_alpn(self) -> None:
        self.assertTrue(IProtocolNegotiationFactory.providedBy(self.factory))
        self.assertEqual(self.factory.acceptableProtocols(), [b"http/1.1"])

    def test_the_branches_begin_and_end_with_the_port(self) -> None:
        self.factory.doStart()
        self.factory.doStart()
        self.assertEqual((self.packets.running, self.http.running), (1, 1))
        self.factory.doStop()
        self.factory.doStop()
        self.assertEqual((self.packets.running, self.http.running), (0, 0))


class HTTPNoticeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.protocol = HTTPNoticeFactory(self.clock, lambda: 784_111_777.0).buildProtocol(None)
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)

    def answer(self) -> tuple[list[bytes], bytes]:
        head, _, body = self.transport.value().partition(b"\r\n\r\n")
        return head.split(b"\r\n"), body

    def test_a_browser_is_told_where_it_is(self) -> None:
        for place in range(0, 40, 7):
            self.protocol.dataReceived(
                b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"[place : place + 7]
            )
        lines, body = self.answer()
        self.assertEqual(lines[0], b"HTTP/1.1 426 Upgrade Required")
        self.assertIn(b"Upgrade: ptun/1", lines)
        self.assertIn(b"Date: Sun, 06 Nov 1994 08:49:37 GMT", lines)
        self.assertIn(b"Content-Length: %d" % len(body), lines)
        self.assertIn(b"porttunnel join", body)
        self.assertTrue(self.transport.disconnecting)

    def test_a_request_without_a_host_and_with_bare_newlines(self) -> None:
        self.protocol.dataReceived(b"GET / HTTP/1.0\n\n")
        self.assertEqual(self.answer()[0][0], b"HTTP/1.1 426 Upgrade Required")

    def test_a_head_request_gets_no_body(self) -> None:
        self.protocol.dataReceived(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        lines, body = self.answer()
        self.assertEqual((lines[0][:12], body), (b"HTTP/1.1 426", b""))

    def test_what_is_no_request(self) -> None:
        self.protocol.dataReceived(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        self.assertEqual(self.answer()[0][0], b"HTTP/1.1 400 Bad Request")

    def test_a_request_without_an_end(self) -> None:
        for _ in range(9):
            self.protocol.dataReceived(b"GET" + bytes(1_000))
        self.assertEqual(self.answer()[0][0], b"HTTP/1.1 400 Bad Request")
        self.assertEqual(self.transport.value().count(b"HTTP/1.1"), 1)

    def test_a_body_is_not_waited_for(self) -> None:
        self.protocol.dataReceived(b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\nab")
        self.assertTrue(self.transport.disconnecting)
        self.protocol.dataReceived(b"more and more")
        self.assertEqual(self.transport.value().count(b"426"), 1)

    def test_who_neither_asks_nor_goes_is_cut_off(self) -> None:
        self.protocol.dataReceived(b"GET / HT")
        self.clock.advance(15.0)
        self.assertTrue(self.transport.disconnected)
        self.protocol.connectionLost(Failure(ConnectionDone()))

    def test_the_end_leaves_no_timer(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])
