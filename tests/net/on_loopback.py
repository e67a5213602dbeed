"""Server, shared session and joined ones in one process, on real loopback sockets."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import defer, reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from porttunnel.net.certificate import Identity, load_or_create_identity
from porttunnel.net.client import JoinedSession, join
from porttunnel.net.counters import ServerCounters
from porttunnel.net.directory_thread import DirectoryThread
from porttunnel.net.forwarding import ForwardingFactory
from porttunnel.net.master import SharedSession, share
from porttunnel.net.offer import Offer
from porttunnel.net.port_sharing import Branch, SharedPortFactory
from porttunnel.net.session import Session
from porttunnel.net.store.sqlite import SQLiteStore
from porttunnel.net.tls import server_context
from porttunnel.net.tunnel_server import TunnelServerFactory
from porttunnel.session.directory import Directory
from porttunnel.session.limit import ConnectionLimiter
from porttunnel.session.packet import MASTER
from tests.tunnel import shared_key

__all__ = ["LISTEN", "LoopbackTestCase", "TunnelOnLoopback"]

LISTEN = "tcp:0:interface=127.0.0.1"


class TunnelOnLoopback:
    """A tunnel server on a free port, and whoever shares and joins there.

    :param folder: for its directory and key.
    """

    def __init__(self, folder: Path) -> None:
        self._identity = load_or_create_identity(folder)
        self._store = SQLiteStore(folder / "directory.sqlite")
        self._thread = DirectoryThread(reactor)
        self.counters = ServerCounters()
        self.server: TunnelServerFactory
        self._server_port: IListeningPort
        self._ports: list[IListeningPort] = []
        self._sessions: list[Session] = []
        self.port = 0
        self.address = ""
        self.tls_address = ""

    async def start(self) -> None:
        self._thread.start()
        await self.start_server()
        self.port = int(self._server_port.getHost().port)
        self.address = f"ptun://127.0.0.1:{self.port}"
        self.tls_address = f"ptuns://127.0.0.1:{self.port}#{self._identity.pin}"

    async def start_server(self, listen: str = LISTEN, identity: Identity | None = None) -> None:
        """A server that knows nothing but what is in the store."""
        directory = Directory(
            self._store, randbelow=secrets.randbelow, token_bytes=secrets.token_bytes
        )
        self.server = TunnelServerFactory(
            reactor,
            directory,
            self._thread.run,
            counters=self.counters,
            refusal_delay_seconds=0,
        )
        await self.server.start()
        shared_port = SharedPortFactory(
            reactor,
            {Branch.PACKETS: self.server},
            tls=server_context(identity or self._identity),
            limiter=ConnectionLimiter(per_prefix=1_000, overall=1_000),
            counters=self.counters,
        )
        self._server_port = await serverFromString(reactor, listen).listen(shared_port)

    async def kill_server(self) -> str:
        """It goes without a word to anybody.

        :returns: where it listened.
        """
        port = self._server_port.getHost().port
        await defer.maybeDeferred(self._server_port.stopListening)
        self.server.draining = True
        for link in list(self.server.links):
            link.abort()
        while self.server.links:
            await deferLater(reactor, 0)
        await self.server.drain()
        return f"tcp:{port}:interface=127.0.0.1"

    async def stop(self) -> None:
        """Everybody leaves, the server drains, all ports close."""
        for port in (*self._ports, self._server_port):
            await defer.maybeDeferred(port.stopListening)
        for session in reversed(self._sessions):
            session.when_done().addErrback(lambda _: None)
            closing = session.close()
            closing.addErrback(lambda _: None)
            await closing
        await self.server.drain()
        self._thread.stop()
        self._store.close()

    async def listen(self, factory: IProtocolFactory) -> int:
        """Listen on a free port until the end; its number."""
        port = await serverFromString(reactor, LISTEN).listen(factory)
        self._ports.append(port)
        return int(port.getHost().port)

    async def share(
        self, *offers: str | Offer, address: str | None = None, **options: Any
    ) -> SharedSession:
        """Share; everybody with the code is let in unless ``on_consent`` says otherwise."""
        options.setdefault("on_consent", lambda asked: True)
        # Unless a test wants it: the rest is about the way over the server, on any machine.
        options.setdefault("direct", False)
        shared = await share(reactor, address or self.address, offers, **options)
        self._sessions.append(shared)
        return shared

    async def join(
        self, shared: SharedSession, address: str | None = None, **options: Any
    ) -> JoinedSession:
        """Join with the code that is shown now."""
        options.setdefault("key", defer.succeed(shared_key()))
        options.setdefault("direct", False)
        joined = await join(reactor, address or self.address, shared.code, **options)
        self._sessions.append(joined)
        return joined

    async def forward(
        self, session: Session, service: str, on_refused: Any = lambda error: None
    ) -> int:
        """A local port whose connections go to a service of the master's; its number."""
        return await self.listen(ForwardingFactory(session, MASTER, service, on_refused))


class LoopbackTestCase(TestCase):
    """A test with a tunnel server of its own."""

    timeout = 60.0  # a deadline, not a measure
    tunnel: TunnelOnLoopback

    async def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tunnel = TunnelOnLoopback(Path(folder.name))
        self.addCleanup(lambda: defer.Deferred.fromCoroutine(self.tunnel.stop()))
        await self.tunnel.start()

    async def pair(
        self, *offers: Iterable[str | Offer], address: str | None = None
    ) -> tuple[SharedSession, JoinedSession]:
        """A master and a client that was let in."""
        shared = await self.tunnel.share(*offers, address=address)
        return shared, await self.tunnel.join(shared, address)
