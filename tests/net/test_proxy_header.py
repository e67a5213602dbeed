"""Behind a proxy that says in its first line who the peer is: `haproxy:` endpoints."""

from __future__ import annotations

import secrets
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import defer
from twisted.internet import reactor as real_reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, serverFromString
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from porttunnel.errors import RemoteProtocolError
from porttunnel.net.certificate import load_or_create_identity
from porttunnel.net.client import join
from porttunnel.net.counters import ServerCounters
from porttunnel.net.master import SharedSession, share
from porttunnel.net.port_sharing import Branch, SharedPortFactory
from porttunnel.net.store.sqlite import IN_MEMORY, SQLiteStore
from porttunnel.net.tls import server_context, tls_endpoint
from porttunnel.net.tunnel_server import TunnelServerFactory
from porttunnel.session.directory import Directory
from porttunnel.session.limit import ConnectionLimiter, RateLimiter
from tests.tunnel import shared_key

reactor: Any = real_reactor
PER_PREFIX = 2


class Collector(Protocol):
    """Collects until the end.

    :param first: what is sent at once.
    """

    def __init__(self, first: bytes = b"") -> None:
        self._first = first
        self.received = b""
        self.arrived: defer.Deferred[bytes] = defer.Deferred()
        self.lost: defer.Deferred[None] = defer.Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._first)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if not self.arrived.called:
            self.arrived.callback(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(None)


class Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


@implementer(IStreamClientEndpoint)
class ProxiedEndpoint:
    """Leads to a port as if by way of a proxy.

    :param client: the address that the proxy says is the peer's.
    """

    def __init__(self, port: int, client: str) -> None:
        self._endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        self._header = f"PROXY TCP4 {client} 192.0.2.254 40000 4663\r\n".encode()

    def connect(self, protocolFactory: IProtocolFactory) -> defer.Deferred[Any]:
        header = self._header

        class SayingWhoItIs(ProtocolWrapper):
            def makeConnection(self, transport: Any) -> None:
                transport.write(header)
                super().makeConnection(transport)

        wrapping: Any = WrappingFactory(protocolFactory)
        wrapping.protocol = SayingWhoItIs
        wrapping.noisy = False
        return self._endpoint.connect(wrapping)


class ProxyHeaderTests(TestCase):
    timeout = 60.0

    async def setUp(self) -> None:
        store = SQLiteStore(IN_MEMORY)
        directory = Directory(store, randbelow=secrets.randbelow, token_bytes=secrets.token_bytes)
        self.counters = ServerCounters()
        self.server = TunnelServerFactory(
            reactor,
            directory,
            defer.maybeDeferred,
            create_limiter=RateLimiter.for_creates(per_minute=1, per_hour=1),
            counters=self.counters,
            refusal_delay_seconds=0,
        )
        self.ports: list[Any] = []
        self.sessions: list[Any] = []
        await self.server.start()

        async def stop() -> None:
            for session in reversed(self.sessions):
                await session.close()
            for port in self.ports:
                await defer.maybeDeferred(port.stopListening)
            await self.server.drain()
            store.close()

        self.addCleanup(lambda: defer.Deferred.fromCoroutine(stop()))

    async def listen(self, factory: IProtocolFactory) -> int:
        endpoint = serverFromString(reactor, "haproxy:tcp:0:interface=127.0.0.1")
        port: Any = await endpoint.listen(factory)
        self.ports.append(port)
        return int(port.getHost().port)

    async def listen_shared(self, **limits: int) -> int:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        identity = load_or_create_identity(Path(folder.name))
        self.pin = identity.pin
        return await self.listen(
            SharedPortFactory(
                reactor,
                {Branch.PACKETS: self.server},
                tls=server_context(identity),
                limiter=ConnectionLimiter(**limits),
                counters=self.counters,
            )
        )

    async def share(self, endpoint: Any) -> SharedSession:
        shared = await share(reactor, endpoint, [], on_consent=lambda asked: True)
        self.sessions.append(shared)
        return shared

    async def carry_bytes(self, masters: Any, clients: Any) -> None:
        """Share by one way and join by another."""
        shared = await self.share(masters)
        echo: Any = Factory.forProtocol(Echo)
        await shared.listen("echo").listen(echo)
        joined = await join(reactor, clients, shared.code, key=defer.succeed(shared_key()))
        self.sessions.append(joined)
        factory: Any = Factory.forProtocol(lambda: Collector(b"there and back"))
        stream: Any = await joined.endpoint("echo").connect(factory)
        self.assertEqual(await stream.arrived, b"there and back")
        # Whose limits count is what the proxy says.
        prefixes = {link.prefix for link in self.server.links}
        self.assertEqual(prefixes, {"198.51.100.1", "198.51.100.2"})

    async def stranger(self, port: int, client: str, first: bytes) -> Collector:
        factory: Any = Factory.forProtocol(lambda: Collector(first))
        wrapped: Any = await ProxiedEndpoint(port, client).connect(factory)
        collector: Collector = wrapped.wrappedProtocol
        self.addCleanup(lambda: collector.lost)
        self.addCleanup(wrapped.abortConnection)
        return collector

    async def test_a_shared_port_carries_bytes(self) -> None:
        port = await self.listen_shared()
        await self.carry_bytes(
            ProxiedEndpoint(port, "198.51.100.1"),
            tls_endpoint(
                reactor, ProxiedEndpoint(port, "198.51.100.2"), "tunnel.example.com", self.pin
            ),
        )

    async def test_a_bare_server_carries_bytes(self) -> None:
        port = await self.listen(self.server)
        await self.carry_bytes(
            ProxiedEndpoint(port, "198.51.100.1"), ProxiedEndpoint(port, "198.51.100.2")
        )

    async def test_requests_count_as_the_peers(self) -> None:
        port = await self.listen(self.server)
        await self.share(ProxiedEndpoint(port, "198.51.100.1"))
        await self.share(ProxiedEndpoint(port, "198.51.100.2"))
        with self.assertRaisesRegex(RemoteProtocolError, "no more sessions are opened just now"):
            await self.share(ProxiedEndpoint(port, "198.51.100.1"))

    async def test_connections_count_as_the_peers(self) -> None:
        port = await self.listen_shared(per_prefix=PER_PREFIX)
        for client in ("198.51.100.1", "198.51.100.2"):
            for _ in range(PER_PREFIX):
                await self.stranger(port, client, b"PT\x01")
            refused = await self.stranger(port, client, b"PT\x01")
            await refused.lost
        self.assertEqual(self.counters.refused_connections, 2)
        self.assertEqual(len(self.server.links), 2 * PER_PREFIX)

    async def test_those_that_say_nothing_count_among_all(self) -> None:
        """Not as the proxy's: a few would keep out everybody."""
        port = await self.listen_shared(per_prefix=PER_PREFIX, overall=PER_PREFIX + 2)
        for _ in range(PER_PREFIX + 1):
            await self.stranger(port, "198.51.100.1", b"")
        await self.share(ProxiedEndpoint(port, "198.51.100.2"))
        refused = await self.stranger(port, "198.51.100.3", b"")
        await refused.lost
        self.assertEqual(self.counters.refused_connections, 1)

    async def test_what_is_ended_is_closed(self) -> None:
        """The server's socket too: those that stay would fill its table of files."""
        port = await self.listen_shared()
        garbage = await self.stranger(port, "198.51.100.1", b"\xff")
        await garbage.lost
        begun = await self.stranger(port, "198.51.100.1", b"PT\x01")
        while not self.server.links:
            turned: defer.Deferred[None] = defer.Deferred()
            reactor.callLater(0, turned.callback, None)
            await turned
        (link,) = self.server.links
        link.abort()
        await begun.lost
        self.assertEqual(begun.received, b"")
