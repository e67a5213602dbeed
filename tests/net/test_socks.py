"""The SOCKS5 proxy: its protocol on a transport in memory, its relay on real sockets."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor as real_reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import (
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    NoRouteError,
    UserError,
)
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IHalfCloseableProtocol, IHostnameResolver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from porttunnel.errors import ConfigurationError
from porttunnel.net.socks import (
    CONNECT_SECONDS,
    REQUEST_SECONDS,
    Reply,
    SocksFactory,
    SocksProtocol,
)

GREETING = b"\x05\x01\x00"
CHOSEN = b"\x05\x00"


def request_by_name(name: str, port: int) -> bytes:
    return b"\x05\x01\x00\x03" + bytes([len(name)]) + name.encode() + port.to_bytes(2, "big")


def request_by_address(address: str, port: int) -> bytes:
    packed = ipaddress.ip_address(address).packed
    kind = 1 if len(packed) == 4 else 4
    return bytes((5, 1, 0, kind)) + packed + port.to_bytes(2, "big")


def replied(reply: Reply) -> bytes:
    return bytes((5, reply, 0, 1)) + bytes(6)


@implementer(IHostnameResolver)
class Names:
    """A resolver that knows a few names, or never answers."""

    def __init__(self, addresses: dict[str, Sequence[str]]) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    def resolveHostName(self, receiver: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        self.asked.append(name)
        receiver.resolutionBegan(self)
        if name in self.addresses:
            for address in self.addresses[name]:
                receiver.addressResolved(IPv4Address("TCP", address, kwargs.get("portNumber", 0)))
            receiver.resolutionComplete()
        return self

    def cancel(self) -> None:
        raise NotImplementedError


class TargetTransport(StringTransport):
    """A transport that also notes half-closes and aborts."""

    def __init__(self) -> None:
        super().__init__()
        self.write_ended = False
        self.aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()

    def loseWriteConnection(self) -> None:
        self.write_ended = True


class ProtocolTests(SynchronousTestCase):
    def set_up(
        self, *rules: str, names: dict[str, Sequence[str]] | None = None
    ) -> tuple[SocksProtocol, TargetTransport]:
        self.reactor = MemoryReactorClock()
        self.names = Names(names or {})
        self.reactor.nameResolver = self.names
        protocol = SocksFactory(self.reactor, rules).buildProtocol(None)
        transport = TargetTransport()
        protocol.makeConnection(transport)
        return protocol, transport

    def targets(self) -> list[tuple[str, int]]:
        return [(host, port) for host, port, *_ in self.reactor.tcpClients]

    def connect_target(self) -> tuple[Any, TargetTransport]:
        host, port, factory, *_ = self.reactor.tcpClients[-1]
        target = factory.buildProtocol(IPv4Address("TCP", host, port))
        transport = TargetTransport()
        target.makeConnection(transport)
        return target, transport

    def fail_target(self, error: Exception) -> None:
        *_, factory, _, _ = self.reactor.tcpClients[-1]
        factory.clientConnectionFailed(None, Failure(error))

    def relay(self) -> tuple[SocksProtocol, TargetTransport, Any, TargetTransport]:
        client, transport = self.set_up("10.0.0.0/8")
        client.dataReceived(GREETING + request_by_address("10.0.0.1", 80))
        target, target_transport = self.connect_target()
        self.assertEqual(transport.value(), CHOSEN + replied(Reply.SUCCEEDED))
        transport.clear()
        return client, transport, target, target_transport

    def test_connects_to_an_allowed_address(self) -> None:
        client, transport = self.set_up("10.0.0.1:80")
        client.dataReceived(GREETING)
        self.assertEqual(transport.value(), CHOSEN)
        client.dataReceived(request_by_address("10.0.0.1", 80))
        self.assertEqual(self.targets(), [("10.0.0.1", 80)])
        self.connect_target()
        self.assertEqual(transport.value(), CHOSEN + replied(Reply.SUCCEEDED))

    def test_takes_everything_byte_by_byte(self) -> None:
        client, transport = self.set_up("10.0.0.1", names={"db.example": ["10.0.0.1"]})
        for byte in GREETING + request_by_name("db.example", 80):
            client.dataReceived(bytes([byte]))
        self.assertEqual(self.targets(), [("10.0.0.1", 80)])
        self.assertEqual(transport.value(), CHOSEN)

    def test_what_follows_the_request_waits_for_the_target(self) -> None:
        client, transport = self.set_up("10.0.0.1")
        client.dataReceived(GREETING + request_by_address("10.0.0.1", 80) + b"early")
        self.assertEqual(transport.producerState, "paused")
        _, target_transport = self.connect_target()
        self.assertEqual(target_transport.value(), b"early")
        self.assertEqual(transport.producerState, "producing")

    def test_connects_by_ipv6(self) -> None:
        client, _ = self.set_up("::1")
        client.dataReceived(GREETING + request_by_address("::1", 80))
        self.assertEqual(self.targets(), [("::1", 80)])

    def test_an_address_written_as_a_name_is_an_address(self) -> None:
        client, _ = self.set_up("10.0.0.1")
        client.dataReceived(GREETING + request_by_name("10.0.0.1", 80))
        self.assertEqual(self.targets(), [("10.0.0.1", 80)])
        self.assertEqual(self.names.asked, [])

    def test_refuses_what_is_not_listed(self) -> None:
        client, transport = self.set_up("10.0.0.1:80")
        client.dataReceived(GREETING + request_by_address("10.0.0.1", 81))
        self.assertEqual(transport.value(), CHOSEN + replied(Reply.NOT_ALLOWED))
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.targets(), [])

    def test_looks_no_name_up_that_could_not_be_allowed(self) -> None:
        client, transport = self.set_up("a.example")
        client.dataReceived(GREETING + request_by_name("b.example", 80))
        self.assertEqual(transport.value(), CHOSEN + replied(Reply.NOT_ALLOWED))
        self.assertEqual(self.names.asked, [])

    def test_a_name_is_no_way_around_a_rule_for_addresses(self) -> None:
        client, transport = self.set_up(
            "10.0.0.0/8", names={"evil.example": ["127.0.0.1", "169.254.169.254"]}
        )
        client.dataReceived(GREETING + request_by_name("evil.example", 80))
        self.assertEqual(transport.value(), CHOSEN + replied(Reply.NOT_ALLOWED))
        self.assertEqual(self.targets(), [])

    def test_connects_to_the_very_address_that_was_checked(self) -> None:
        client, _ = self.set_up("10.0.0.0/8", names={"mixed.example": ["127.0.0.1", "10.0.0.7"]})
        client.dataReceived(GREETING + request_by_name("mixed.example", 80))
        self.assertEqual(self.targets(), [("10.0.0.7", 80)])
        self.assertEqual(self.names.asked, ["mixed.example"])

    def test_tries_the_next_address(self) -> None:
        client, transport = self.set_up(
            "10.0.0.0/8", names={"db.example": ["10.0.0.1", "10.0.0.2"]}
        )
        client.dataReceived(GREETING + request_by_name("db.example", 80))
        self.fail_target(ConnectionRefusedError())
        self.assertEqual(self.targets(), [("10.0.0.1", 80), ("10.0.0.2", 80)])
        self.connect_target()
        self.assertEqual(transport.value(), CHOSEN + replied(Reply.SUCCEEDED))

    def test_a_listed_name_is_connected_by_its_name(self) -> None:
        client, transport = self.set_up("db.example", names={"db.example": ["192.0.2.1"]})
        client.dataReceived(GREETING + request_by_name("db.example", 80))
        self.assertEqual(self.targets(), [("192.0.2.1", 80)])
        self.connect_target()
        self.assertEqual(transport.value(), CHOSEN + replied(Reply.SUCCEEDED))

    def test_tells_why_a_target_can_not_be_reached(self) -> None:
        for error, reply in (
            (ConnectionRefusedError(), Reply.CONNECTION_REFUSED),
            (ConnectTimeout(), Reply.TTL_EXPIRED),
            (NoRouteError(), Reply.NETWORK_UNREACHABLE),
            (OSError(), Reply.HOST_UNREACHABLE),
        ):
            client, transport = self.set_up("10.0.0.1")
            client.dataReceived(GREETING + request_by_address("10.0.0.1", 80))
            self.fail_target(error)
            self.assertEqual(transport.value(), CHOSEN + replied(reply))
            self.assertTrue(transport.disconnecting)

    def test_logs_what_it_did_not_expect(self) -> None:
        client, transport = self.set_up("10.0.0.1")
        client.dataReceived(GREETING + request_by_address("10.0.0.1", 80))
        self.fail_target(UserError())
        self.assertEqual(transport.value(), CHOSEN + replied(Reply.GENERAL_FAILURE))
        self.assertEqual(len(self.flushLoggedErrors(UserError)), 1)

    def test_tells_that_a_name_has_no_address(self) -> None:
        client, transport = self.set_up("10.0.0.0/8", names={"none.example": []})
        client.dataReceived(GREETING + request_by_name("none.example", 80))
        self.assertEqual(transport.value(), CHOSEN + replied(Reply.HOST_UNREACHABLE))

    def test_refuses_names_that_are_none(self) -> None:
        for name in ("", "a b", "a\x00b", "a\nb"):
            client, transport = self.set_up("10.0.0.0/8")
            client.dataReceived(GREETING + request_by_name(name, 80))
            self.assertEqual(transport.value(), CHOSEN + replied(Reply.HOST_UNREACHABLE))
            self.assertEqual(self.names.asked, [])
        client, transport = self.set_up("10.0.0.0/8")
        client.dataReceived(GREETING + b"\x05\x01\x00\x03\x02\xff\xfe\x00\x50")
        self.assertEqual(transport.value(), CHOSEN + replied(Reply.HOST_UNREACHABLE))

    def test_gives_up_when_nothing_answers(self) -> None:
        client, transport = self.set_up("10.0.0.1")
        client.dataReceived(GREETING + request_by_address("10.0.0.1", 80))
        self.reactor.advance(CONNECT_SECONDS)
        self.assertEqual(transport.value(), CHOSEN + replied(Reply.TTL_EXPIRED))
        self.assertTrue(transport.disconnecting)

    def test_gives_up_on_who_says_nothing(self) -> None:
        client, transport = self.set_up("10.0.0.1")
        client.dataReceived(GREETING)
        self.reactor.advance(REQUEST_SECONDS)
        self.assertTrue(transport.disconnecting)
        client.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_wants_no_authentication(self) -> None:
        client, transport = self.set_up("10.0.0.1")
        client.dataReceived(b"\x05\x02\x01\x02")
        self.assertEqual(transport.value(), b"\x05\xff")
        self.assertTrue(transport.disconnecting)

    def test_knows_no_other_version(self) -> None:
        client, transport = self.set_up("10.0.0.1")
        client.dataReceived(b"\x04\x01\x00\x50\x0a\x00\x00\x01\x00")
        self.assertEqual(transport.value(), b"")
        self.assertTrue(transport.disconnecting)
        client.dataReceived(b"more")
        self.assertEqual(transport.value(), b"")

    def test_knows_connect_only(self) -> None:
        for request, reply in (
            (b"\x05\x02\x00\x01", Reply.COMMAND_NOT_SUPPORTED),
            (b"\x05\x03\x00\x01", Reply.COMMAND_NOT_SUPPORTED),
            (b"\x05\x01\x00\x05", Reply.ADDRESS_TYPE_NOT_SUPPORTED),
            (b"\x05\x01\x01\x01", Reply.GENERAL_FAILURE),
            (b"\x04\x01\x00\x01", Reply.GENERAL_FAILURE),
        ):
            client, transport = self.set_up("10.0.0.1")
            client.dataReceived(GREETING + request)
            self.assertEqual(transport.value(), CHOSEN + replied(reply))

    def test_a_client_that_leaves_early_stops_the_connecting(self) -> None:
        client, _ = self.set_up("10.0.0.1")
        client.dataReceived(GREETING + request_by_address("10.0.0.1", 80))
        client.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.reactor.connectors[-1].stoppedConnecting, True)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_client_that_half_closes_early_is_closed(self) -> None:
        client, transport = self.set_up("10.0.0.1")
        client.readConnectionLost()
        self.assertTrue(transport.disconnecting)
        client.readConnectionLost()

    def test_relays_both_ways(self) -> None:
        client, transport, target, target_transport = self.relay()
        client.dataReceived(b"question")
        target.dataReceived(b"answer")
        self.assertEqual(target_transport.value(), b"question")
        self.assertEqual(transport.value(), b"answer")

    def test_each_side_stops_when_the_other_does_not_take_it(self) -> None:
        _, transport, _, target_transport = self.relay()
        target_transport.producer.pauseProducing()
        self.assertEqual(transport.producerState, "paused")
        target_transport.producer.resumeProducing()
        self.assertEqual(transport.producerState, "producing")
        transport.producer.pauseProducing()
        self.assertEqual(target_transport.producerState, "paused")

    def test_half_closes_go_through(self) -> None:
        client, transport, target, target_transport = self.relay()
        self.assertTrue(IHalfCloseableProtocol.providedBy(client))
        self.assertTrue(IHalfCloseableProtocol.providedBy(target))
        client.readConnectionLost()
        self.assertTrue(target_transport.write_ended)
        target.writeConnectionLost()
        target.dataReceived(b"still")
        self.assertEqual(transport.value(), b"still")
        self.assertFalse(transport.disconnecting or target_transport.disconnecting)
        target.readConnectionLost()
        self.assertTrue(transport.disconnecting and target_transport.disconnecting)

    def test_a_clean_end_is_a_clean_end(self) -> None:
        client, transport, target, target_transport = self.relay()
        target.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(transport.disconnecting)
        self.assertFalse(transport.aborted)
        client.connectionLost(Failure(ConnectionDone()))
        self.assertFalse(target_transport.disconnecting)

    def test_a_broken_end_does_not_look_like_a_clean_one(self) -> None:
        client, _, _, target_transport = self.relay()
        client.connectionLost(Failure(ConnectionLost()))
        self.assertTrue(target_transport.aborted)

    def test_needs_rules(self) -> None:
        with self.assertRaises(ConfigurationError):
            SocksFactory(MemoryReactorClock(), [])
        with self.assertRaises(ConfigurationError):
            SocksFactory(MemoryReactorClock(), ["host:port"])


class Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


@implementer(IHalfCloseableProtocol)
class Client(Protocol):
    """Collects what comes until the other side's end."""

    def __init__(self) -> None:
        self.received = b""
        self.wanted = 0
        self.enough: Deferred[bytes] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()

    def read(self, count: int) -> Deferred[bytes]:
        self.wanted, self.enough = count, Deferred()
        self.dataReceived(b"")
        return self.enough

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self.wanted and len(self.received) >= self.wanted:
            found, self.received = self.received[: self.wanted], self.received[self.wanted :]
            self.wanted = 0
            self.enough.callback(found)

    def readConnectionLost(self) -> None:
        self.ended.callback(None)

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure) -> None:
        self.lost.callback(None)


class RealSocketTests(TestCase):
    """On loopback, where back-pressure is the kernel's."""

    timeout = 60

    async def listen(self, factory: Any) -> int:
        connections: list[Deferred[None]] = []
        build = factory.buildProtocol

        def build_watched(address: Any) -> Any:
            protocol = build(address)
            gone: Deferred[None] = Deferred()
            connections.append(gone)
            lose = protocol.connectionLost

            def connection_lost(reason: Failure) -> None:
                lose(reason)
                gone.callback(None)

            protocol.connectionLost = connection_lost
            return protocol

        factory.buildProtocol = build_watched
        self.addCleanup(gatherResults, connections)
        endpoint: Any = TCP4ServerEndpoint(real_reactor, 0, interface="127.0.0.1")
        port = await endpoint.listen(factory)
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def connect(self, *rules: str) -> Client:
        proxy = await self.listen(SocksFactory(real_reactor, rules))
        endpoint: Any = TCP4ClientEndpoint(real_reactor, "127.0.0.1", proxy)
        client = await endpoint.connect(Factory.forProtocol(Client))

        def disconnect() -> Any:
            client.transport.abortConnection()
            return client.lost

        self.addCleanup(disconnect)
        client.transport.write(GREETING)
        self.assertEqual(await client.read(2), CHOSEN)
        return client

    async def test_carries_more_than_any_buffer_and_both_ends(self) -> None:
        @implementer(IHalfCloseableProtocol)
        class EchoUntilEnd(Echo):
            def connectionMade(self) -> None:
                transport: Any = self.transport
                transport.registerProducer(transport, True)

            def readConnectionLost(self) -> None:
                transport: Any = self.transport
                transport.unregisterProducer()
                transport.loseConnection()

            def writeConnectionLost(self) -> None:
                pass

        target = await self.listen(Factory.forProtocol(EchoUntilEnd))
        client = await self.connect("127.0.0.0/8")
        client.transport.write(request_by_address("127.0.0.1", target))
        self.assertEqual(await client.read(10), replied(Reply.SUCCEEDED))
        sent = bytes(range(256)) * 40_000
        client.transport.write(sent)
        client.transport.loseWriteConnection()
        await client.ended
        self.assertEqual(client.received == sent, True)

    async def test_tells_that_nothing_listens(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            client = await self.connect("127.0.0.1")
            client.transport.write(request_by_address("127.0.0.1", unused.getsockname()[1]))
            self.assertEqual(await client.read(10), replied(Reply.CONNECTION_REFUSED))
        await client.ended

    async def test_resolves_names_like_the_system(self) -> None:
        target = await self.listen(Factory.forProtocol(Echo))
        client = await self.connect(f"127.0.0.1:{target}")
        client.transport.write(request_by_name("localhost", target))
        self.assertEqual(await client.read(10), replied(Reply.SUCCEEDED))
        client.transport.write(b"hello")
        self.assertEqual(await client.read(5), b"hello")
