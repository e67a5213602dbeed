"""Server, shared session and joined ones on one clock: nothing moves but when the test says so."""

from __future__ import annotations

import secrets
from collections.abc import Coroutine
from typing import Any

from twisted.internet import defer
from twisted.internet.error import ConnectionDone
from twisted.internet.error import ConnectionRefusedError as TwistedConnectionRefused
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, IOPump
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from porttunnel.net.client import JoinedSession, join
from porttunnel.net.master import SharedSession, share
from porttunnel.net.offer import Offer
from porttunnel.net.store.sqlite import IN_MEMORY, SQLiteStore
from porttunnel.net.tunnel_server import TunnelServerFactory
from porttunnel.session.directory import Directory
from tests.tunnel import shared_key

__all__ = ["InMemoryTestCase", "MemoryEndpoint"]

UNIX_TIME = 1_800_000_000.0


class _Transport(FakeTransport):
    """iosim has no half-close; for a link, and at the end of one, a close does as well."""

    def loseWriteConnection(self) -> None:
        self.loseConnection()


@implementer(IStreamClientEndpoint)
class MemoryEndpoint:
    """Leads to a factory in this process, on a line that the test moves.

    :ivar pumps: the lines, oldest first.
    :ivar failure: what a connection fails with, if not None.
    """

    def __init__(self, clock: Clock, server: IProtocolFactory) -> None:
        self.pumps: list[IOPump] = []
        self.failure: Exception | None = None
        self._clock = clock
        self._server = server

    def connect(self, protocolFactory: IProtocolFactory) -> defer.Deferred[Any]:
        if self.failure is not None:
            return defer.fail(self.failure)
        there: Any = self._server.buildProtocol(None)
        if there is None:
            return defer.fail(TwistedConnectionRefused())
        here: Any = protocolFactory.buildProtocol(None)
        there_transport = _Transport(there, isServer=True)
        here_transport = _Transport(here, isServer=False)
        there.makeConnection(there_transport)
        here.makeConnection(here_transport)
        self.pumps.append(
            IOPump(here, there, here_transport, there_transport, False, clock=self._clock)
        )
        return defer.succeed(here)


class InMemoryTestCase(TestCase):
    """A test with a tunnel server and a clock of its own."""

    def setUp(self) -> None:
        self.clock = Clock()
        store = SQLiteStore(IN_MEMORY)
        self.addCleanup(store.close)
        directory = Directory(store, randbelow=secrets.randbelow, token_bytes=secrets.token_bytes)
        self.server = TunnelServerFactory(
            self.clock,
            directory,
            defer.maybeDeferred,
            unix_time=lambda: UNIX_TIME + self.clock.seconds(),
            refusal_delay_seconds=0,
        )
        self.result(self.server.start())
        self.endpoint = MemoryEndpoint(self.clock, self.server)
        self.events: list[Any] = []
        self.logged = EventLoggingObserver()
        globalLogPublisher.addObserver(self.logged)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged)

    def run_lines(self) -> None:
        """Until nothing moves any more, at the same time on the clock."""
        moved = True
        while moved:
            self.clock.advance(0)
            moved = sum(pump.pump(advanceClock=False) for pump in self.endpoint.pumps) > 0
            moved |= any(call.getTime() <= self.clock.seconds() for call in self.clock.calls)

    def pass_time(self, seconds: float) -> None:
        """Let time go by, while the lines move."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(min(1.0, end - self.clock.seconds()))
            self.run_lines()

    def cut(self, line: int) -> None:
        """A line breaks in both directions; what was under way is lost."""
        pump = self.endpoint.pumps[line]
        for end in (pump.clientIO, pump.serverIO):
            end.stream.clear()
            end.disconnecting = end.disconnected = True
        for end in (pump.clientIO, pump.serverIO):
            end.protocol.connectionLost(Failure(ConnectionDone()))
        self.run_lines()

    def start(self, running: Coroutine[Any, Any, Any]) -> defer.Deferred[Any]:
        """Begin, and let everything move."""
        started = defer.Deferred.fromCoroutine(running)
        self.run_lines()
        return started

    def result(self, running: Coroutine[Any, Any, Any]) -> Any:
        """What it returns, without time passing."""
        started = defer.Deferred.fromCoroutine(running)
        if hasattr(self, "endpoint"):
            self.run_lines()
        return self.successResultOf(started)

    def share(self, *offers: str | Offer, **options: Any) -> SharedSession:
        """Share; everybody with the code is let in unless ``on_consent`` says otherwise."""
        options.setdefault("on_consent", lambda asked: True)
        options.setdefault("on_event", self.events.append)
        # A clock listens nowhere.
        options.setdefault("direct", False)
        shared: SharedSession = self.result(share(self.clock, self.endpoint, offers, **options))
        return shared

    def begin_join(self, shared: SharedSession, **options: Any) -> defer.Deferred[Any]:
        """Join with the code that is shown now."""
        code = options.pop("code", None) or shared.code
        options.setdefault("key", defer.succeed(shared_key()))
        options.setdefault("on_event", lambda session, happened: self.events.append(happened))
        options.setdefault("direct", False)
        return self.start(join(self.clock, self.endpoint, code, **options))

    def join(self, shared: SharedSession, **options: Any) -> JoinedSession:
        """Join; it must succeed."""
        joined: JoinedSession = self.successResultOf(self.begin_join(shared, **options))
        return joined

    def pair(self, *offers: str | Offer) -> tuple[SharedSession, JoinedSession]:
        """A master and a client that was let in."""
        shared = self.share(*offers)
        return shared, self.join(shared)

    def happened(self, kind: type[Any]) -> list[Any]:
        """The events of a type, of everybody."""
        return [event for event in self.events if isinstance(event, kind)]
