"""A master and a client on one network: the loopback, which the cores forbid for good reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as real_reactor
from twisted.internet.endpoints import TCP4ClientEndpoint

from porttunnel.net import client, direct, master, reconnect
from porttunnel.net.client import JoinedSession
from porttunnel.net.direct import DirectListener
from porttunnel.net.master import SharedSession
from porttunnel.net.session import Session
from porttunnel.session import direct_address, event
from porttunnel.session.direct import DialledPath
from porttunnel.session.event import PathKind
from porttunnel.session.record import DirectAddress
from tests.conformance import End, digest, factory_of, pattern, turn
from tests.net.on_loopback import LoopbackTestCase

__all__ = ["DirectTestCase", "OnOneNetwork", "until"]

reactor: Any = real_reactor


async def until(condition: Callable[[], bool]) -> None:
    """The test's own deadline ends it."""
    while not condition():
        await turn()


class OnOneNetwork:
    """The loopback is the LAN; mixed into a test case with a tunnel server."""

    patch: Callable[..., Any]
    tunnel: Any

    async def setUp(self) -> None:
        self.patch(direct_address, "may_connect", lambda host, port: True)
        self.patch(direct, "DIRECT_PORT", 0)  # 4663 may be somebody else's
        self.patch(reconnect, "MAX_DELAY_SECONDS", 0.2)
        self.ports: list[int] = []  # where masters listen
        self.hosts = ["127.0.0.1"]
        self.offered_port = 0  # another one than the master's, if not 0
        self.told: dict[int, list[Any]] = {1: [], 2: []}

        def make(session: Any, accept: Any) -> DirectListener:
            return DirectListener(session, accept, self.find_addresses)

        self.patch(master, "DirectListener", make)
        self.tried: list[str] = []  # what clients dialled
        dial = client.JoinedSession._dial

        def note(session: JoinedSession, reason: str) -> DialledPath:
            self.tried.append(reason)
            return dial(session, reason)

        self.patch(client.JoinedSession, "_dial", note)
        await super().setUp()  # type: ignore[misc]  # a mixin of test cases

    def find_addresses(self, port: int) -> list[DirectAddress]:
        self.ports.append(port)
        return [DirectAddress(host=host, port=self.offered_port or port) for host in self.hosts]

    async def meet(self, **options: Any) -> tuple[SharedSession, JoinedSession]:
        """A master and a client, each with what it thinks of direct paths."""
        shared = await self.tunnel.share(
            direct=options.get("master", True), on_event=self.told[1].append
        )
        joined = await self.tunnel.join(
            shared,
            direct=options.get("client", True),
            on_event=lambda session, happened: self.told[2].append(happened),
        )
        return shared, joined

    async def pair(
        self, *offers: Any, address: str | None = None
    ) -> tuple[SharedSession, JoinedSession]:
        """Both on the direct path."""
        shared, joined = await self.meet()
        await self.until_path(PathKind.DIRECT)
        return shared, joined

    def paths(self, member: int) -> list[PathKind]:
        """Which ways a member was told of."""
        return [each.path for each in self.told[member] if isinstance(each, event.PathChanged)]

    async def until_path(self, kind: PathKind) -> None:
        """Until both have been told of it last."""
        await until(lambda: all(self.paths(member)[-1:] == [kind] for member in (1, 2)))


class DirectTestCase(OnOneNetwork, LoopbackTestCase):
    timeout = 120.0

    async def open(self, shared: SharedSession, joined: JoinedSession) -> tuple[End, End]:
        server, client = End(), End()
        await shared.listen("web").listen(factory_of(server))
        await joined.endpoint("web").connect(factory_of(client))
        return server, client

    async def assert_works(self, shared: SharedSession, joined: JoinedSession) -> None:
        """Bytes still go both ways."""
        server, client = await self.open(shared, joined)
        for one, other in ((server, client), (client, server)):
            one.transport.write(pattern(300_000))
            await other.until_received(300_000)
            self.assertEqual(digest(other.data), digest(pattern(300_000)))
        client.transport.loseConnection()
        await server.until_lost()
        self.assertEqual(self.flushLoggedErrors(), [])

    async def dial(self, port: int, end: End | None = None) -> End:
        """A stranger's connection to the master."""
        end = end or End()
        await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(factory_of(end))
        self.addCleanup(end.transport.abortConnection)
        return end

    def carriers(self, session: Session) -> list[Any]:
        return [driver.carrier for driver in session._directs if driver.carrier is not None]
