"""The first bytes of a connection tell what it speaks."""

from __future__ import annotations

from socket import inet_aton
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    INegotiated,
    IProtocolNegotiationFactory,
    ISSLTransport,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.internet.testing import AccumulatingProtocol, StringTransport
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides, implementer

from porttunnel.net.counters import ServerCounters
from porttunnel.net.http_notice import HTTPNoticeFactory
from porttunnel.net.port_sharing import Branch, SharedPortFactory, branch_of
from porttunnel.net.proxied_address import TrustedProxies
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
        (b"\x10", Branch.MQTT),
        (b"\x10\x0c\x00\x04MQTT", Branch.MQTT),
    ],
)
def test_branches(first: bytes, branch: Branch | None) -> None:
    assert branch_of(first) is branch


@pytest.mark.parametrize(
    "first", [b"\x00", b"\x80\x2e", b"PT\x02", b"PTD1", b"PTX", b" GET", b"\xff\xfd", b"\x20\x00"]
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

    def test_no_address_stands_in_the_log(self) -> None:
        protocol = self.factory.buildProtocol(PEER)
        transport: Any = StringTransport(peerAddress=PEER)
        transport.logstr = f"SharedPortProtocol,1,{PEER.host}"
        protocol.makeConnection(transport)
        self.assertNotIn(PEER.host, transport.logstr)

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


CONNECT = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x0a\x00\x00"
PROXY = IPv4Address("TCP", "10.0.0.7", 1_024)
LOOPBACK = IPv4Address("TCP", "127.0.0.1", 1_024)


def line(client: str) -> bytes:
    return f"PROXY TCP4 {client} 192.0.2.254 40000 4663\r\n".encode()


def binary(client: str, *fields: bytes) -> bytes:
    body = inet_aton(client) + inet_aton("192.0.2.254") + bytes(4) + b"".join(fields)
    return b"\r\n\r\n\x00\r\nQUIT\n\x21\x11" + len(body).to_bytes(2, "big") + body


class MQTTTests(SynchronousTestCase):
    """MQTT is spoken in TLS or within this machine; who comes otherwise is told so."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.mqtt = BranchFactory(AccumulatingProtocol)
        self.plain = BranchFactory(AccumulatingProtocol)
        self.factory = SharedPortFactory(
            self.clock,
            {Branch.MQTT: self.mqtt, Branch.PLAIN_MQTT: self.plain},
            tls=None,
            limiter=ConnectionLimiter(),
            counters=ServerCounters(),
            proxies=TrustedProxies(["10.0.0.7"]),
        )

    def built(self, address: Any, *pieces: bytes, interface: Any = None) -> tuple[int, int]:
        """How many speak MQTT and how many are sent away, after one that says this."""
        protocol: Any = self.factory.buildProtocol(address)
        transport = StringTransport(peerAddress=address)
        if interface is not None:
            alsoProvides(transport, interface)
        protocol.makeConnection(transport)
        for piece in pieces:
            protocol.dataReceived(piece)
        return len(self.mqtt.built), len(self.plain.built)

    def test_from_outside_it_is_refused(self) -> None:
        self.assertEqual(self.built(PEER, CONNECT), (0, 1))
        self.assertEqual(self.plain.built[0].data, CONNECT)

    def test_from_this_machine_it_is_not(self) -> None:
        self.assertEqual(self.built(LOOPBACK, CONNECT), (1, 0))
        self.assertEqual(self.built(IPv6Address("TCP", "::1", 1), CONNECT), (2, 0))
        self.assertEqual(self.built(IPv6Address("TCP", "::ffff:127.0.0.1", 1), CONNECT), (3, 0))
        self.assertEqual(self.built(UNIXAddress(b"/socket"), CONNECT), (4, 0))

    def test_nor_in_tls(self) -> None:
        self.assertEqual(self.built(PEER, CONNECT, interface=ISSLTransport), (1, 0))
        self.assertEqual(self.built(PEER, CONNECT, interface=INegotiated), (2, 0))

    def test_a_proxy_may_say_that_it_was_in_tls(self) -> None:
        self.assertEqual(self.built(PROXY, line("192.0.2.9"), CONNECT), (0, 1))
        self.assertEqual(self.built(PROXY, line("127.0.0.1"), CONNECT), (0, 2))
        tls = b"\x20\x00\x05\x01" + bytes(4)
        self.assertEqual(self.built(PROXY, binary("192.0.2.9", tls) + CONNECT), (1, 2))


GET = b"GET / HTTP/1.1\r\n"


class PlainHTTPTests(SynchronousTestCase):
    """HTTP is told apart in the same way, but a proxy is trusted to demand TLS."""

    def setUp(self) -> None:
        self.http = BranchFactory(AccumulatingProtocol)
        self.plain = BranchFactory(AccumulatingProtocol)

    def built(
        self, address: Any, *pieces: bytes, interface: Any = None, told_apart: bool = True
    ) -> tuple[int, int]:
        """How many are served all of it and how many are not, after one that says this."""
        branches = {Branch.HTTP: self.http}
        if told_apart:
            branches[Branch.PLAIN_HTTP] = self.plain
        factory = SharedPortFactory(
            Clock(),
            branches,
            tls=None,
            limiter=ConnectionLimiter(),
            counters=ServerCounters(),
            proxies=TrustedProxies(["10.0.0.7"]),
        )
        protocol: Any = factory.buildProtocol(address)
        transport = StringTransport(peerAddress=address)
        if interface is not None:
            alsoProvides(transport, interface)
        protocol.makeConnection(transport)
        for piece in pieces:
            protocol.dataReceived(piece)
        return len(self.http.built), len(self.plain.built)

    def test_from_outside_it_is_plain(self) -> None:
        self.assertEqual(self.built(PEER, GET), (0, 1))

    def test_from_this_machine_and_in_tls_it_is_not(self) -> None:
        self.assertEqual(self.built(LOOPBACK, GET), (1, 0))
        self.assertEqual(self.built(PEER, GET, interface=ISSLTransport), (2, 0))

    def test_from_a_proxy_it_is_not(self) -> None:
        self.assertEqual(self.built(PROXY, line("192.0.2.9"), GET), (1, 0))

    def test_a_port_that_does_not_tell_it_apart_serves_it(self) -> None:
        self.assertEqual(self.built(PEER, GET, told_apart=False), (1, 0))


class ProxyTests(SynchronousTestCase):
    """A proxy says first who its client is, and nobody else may."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.packets = BranchFactory(HalfCloseable)
        self.http = BranchFactory(AccumulatingProtocol)
        self.counters = ServerCounters()
        self.factory = SharedPortFactory(
            self.clock,
            {Branch.PACKETS: self.packets, Branch.HTTP: self.http},
            tls=None,
            limiter=ConnectionLimiter(per_prefix=1, overall=3),
            counters=self.counters,
            proxies=TrustedProxies(["10.0.0.0/8"]),
        )

    def connect(self, address: Any, *pieces: bytes) -> tuple[Any, StringTransport]:
        protocol: Any = self.factory.buildProtocol(address)
        transport = StringTransport(peerAddress=address)
        protocol.makeConnection(transport)
        for piece in pieces:
            protocol.dataReceived(piece)
        return protocol, transport

    def test_the_client_is_who_the_header_says(self) -> None:
        said = line("192.0.2.9") + b"PT\x01"
        for pieces in ([said], [bytes([byte]) for byte in said], [said[:-3], said[-3:]]):
            protocol, _ = self.connect(PROXY, *pieces)
            found = self.packets.built[-1]
            self.assertEqual(found.data, b"PT\x01")
            self.assertEqual(found.transport.getPeer(), IPv4Address("TCP", "192.0.2.9", 40_000))
            protocol.connectionLost(Failure(ConnectionDone()))

    def test_limits_count_the_clients(self) -> None:
        ends = [
            self.connect(PROXY, header + b"PT\x01")[1].disconnected
            for header in (line("192.0.2.1"), binary("192.0.2.2"), line("192.0.2.1"))
        ]
        self.assertEqual(ends, [False, False, True])
        self.assertEqual(self.counters.refused_connections, 1)

    def test_a_header_is_required(self) -> None:
        _, transport = self.connect(PROXY, b"PT\x01")
        self.assertTrue(transport.disconnected)
        _, transport = self.connect(PROXY)
        self.clock.advance(15.0)
        self.assertTrue(transport.disconnected)
        self.assertEqual(self.packets.built, [])

    def test_a_proxy_without_one_is_told_to_the_operator_once(self) -> None:
        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.connect(PEER, b"PROXY nobody asked\r\n")
        self.assertEqual(events, [])
        for _ in range(3):
            self.connect(PROXY, b"GET / HTTP/1.1\r\n")
        (said,) = map(formatEvent, events)
        self.assertIn("begins with no PROXY header", said)
        self.assertIn("proxy_protocol on", said)
        self.assertNotIn(PROXY.host, said)

    def test_one_header_is_all(self) -> None:
        self.connect(PROXY, line("192.0.2.1") + line("192.0.2.2"))
        self.assertEqual(self.http.built[0].data, line("192.0.2.2"))

    def test_nobody_else_may_send_one(self) -> None:
        protocol, transport = self.connect(PEER, binary("192.0.2.2") + b"PT\x01")
        self.assertTrue(transport.disconnected)
        protocol.connectionLost(Failure(ConnectionDone()))
        self.connect(PEER, line("192.0.2.2") + b"PT\x01")
        (found,) = self.http.built  # which knows no such request
        self.assertEqual(found.transport.getPeer(), PEER)

    def test_nor_may_a_client_in_the_tls_that_a_proxy_passes_on(self) -> None:
        """It seems to be the proxy, if that said nothing of it."""
        factory = SharedPortFactory(
            self.clock,
            {Branch.HTTP: self.http},
            tls=CertificateOptions(),
            limiter=ConnectionLimiter(),
            counters=self.counters,
            proxies=TrustedProxies(["10.0.0.0/8"]),
        )
        in_tls: Any = factory._branches[Branch.TLS]
        protocol: Any = in_tls.wrappedFactory.buildProtocol(PROXY)
        protocol.makeConnection(StringTransport(peerAddress=PROXY))
        protocol.dataReceived(line("192.0.2.9") + b"GET / HTTP/1.0")
        (found,) = self.http.built  # which knows no such request
        self.assertEqual(found.data[:6], b"PROXY ")
        self.assertEqual(found.transport.getPeer(), PROXY)

    def test_a_proxy_that_comes_for_itself(self) -> None:
        self.connect(PROXY, b"PROXY UNKNOWN\r\nGET / HTTP/1.0\r\n\r\n")
        self.assertEqual(self.http.built[0].transport.getPeer(), PROXY)


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
