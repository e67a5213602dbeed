"""A session survives its link: what was under way comes late, once, and in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import reactor
from twisted.internet.error import ConnectError, ConnectionAborted
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.test.iosim import IOPump

from porttunnel.errors import CutOff, NotReachable
from porttunnel.net import reconnect, tunnel_server
from porttunnel.net.certificate import load_or_create_identity
from porttunnel.net.client import JoinedSession
from porttunnel.net.driver import GOODBYE_SECONDS
from porttunnel.net.master import SharedSession
from porttunnel.net.session import Session
from porttunnel.session import event
from tests.conformance import End, PullProducer, digest, factory_of, pattern
from tests.net.in_memory import InMemoryTestCase
from tests.net.on_loopback import LoopbackTestCase

MEBIBYTE = 1 << 20
CHUNK = bytes(range(256)) * 256
MOST_THAT_WAITS_BYTES = 32 * MEBIBYTE  # windows and drafts of both directions, generously
LINK_EVENTS = (event.LinkLost, event.LinkRestored, event.MemberAway, event.MemberBack)


class Producer:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


class DeadLine(IOPump):
    """What goes on it is heard by nobody; nothing tells of its end but who ends it."""

    def __init__(self, line: IOPump) -> None:
        super().__init__(line.client, line.server, line.clientIO, line.serverIO, False)

    def pump(self, advanceClock: bool = True) -> bool:
        end = self.clientIO
        if end.disconnecting and not end.disconnected:
            end.disconnected = True
            end.protocol.connectionLost(Failure(ConnectionAborted()))
        return False


class LostLinkTests(InMemoryTestCase):
    """Where time matters, on a clock of our own."""

    shared: SharedSession
    joined: JoinedSession

    def setUp(self) -> None:
        super().setUp()
        self.told: dict[int, list[Any]] = {1: [], 2: []}

    def pair_up(self, **options: Any) -> tuple[End, End]:
        """A session with a stream; its ends, the master's first."""
        self.shared = self.share(on_event=self.told[1].append, **options)
        self.joined = self.join(
            self.shared,
            on_event=lambda session, happened: self.told[2].append(happened),
            **options,
        )
        server, client = End(), End()
        self.successResultOf(self.shared.listen("web").listen(factory_of(server)))
        opening = self.joined.endpoint("web").connect(factory_of(client))
        self.run_lines()
        self.successResultOf(opening)
        return server, client

    def told_of_links(self, member: int) -> list[tuple[type[Any], int | None]]:
        """What a member was told of links, and whose."""
        told = [each for each in self.told[member] if isinstance(each, LINK_EVENTS)]
        self.told[member].clear()
        return [(type(each), getattr(each, "member", None)) for each in told]

    def lose_link(self, line: int) -> None:
        """A link breaks, and the server can't be reached."""
        self.endpoint.failure = ConnectError()
        self.cut(line)

    def come_back(self) -> None:
        self.endpoint.failure = None
        self.pass_time(reconnect.MAX_DELAY_SECONDS + 1.0)

    def test_both_are_told(self) -> None:
        server, client = self.pair_up()
        for member, other in ((2, 1), (1, 2)):
            self.lose_link(member - 1)
            self.assertEqual(self.told_of_links(member), [(event.LinkLost, None)])
            self.assertEqual(self.told_of_links(other), [(event.MemberAway, member)])
            self.endpoint.failure = None
            self.pass_time(2.0)
            self.assertEqual(self.told_of_links(member), [(event.LinkRestored, None)])
            self.assertEqual(self.told_of_links(other), [(event.MemberBack, member)])
            # The lines of later turns: those of the new links.
            self.endpoint.pumps[member - 1] = self.endpoint.pumps[-1]
        self.assertFalse(server.lost or client.lost)

    def test_what_was_written_meanwhile_comes(self) -> None:
        server, client = self.pair_up()
        for line in (1, 0):
            client.transport.write(b"under way. ")
            server.transport.write(b"under way. ")
            self.lose_link(line)
            for end in (server, client):
                end.transport.write(b"written meanwhile. ")
            self.pass_time(3.0)
            self.come_back()
            self.assertEqual(client.data, b"under way. written meanwhile. ")
            self.assertEqual(server.data, client.data)
            for end in (server, client):
                end.data.clear()

    def test_a_stream_opened_meanwhile_is_there_then(self) -> None:
        self.pair_up()
        self.successResultOf(self.shared.listen("wiki").listen(factory_of(End())))
        self.lose_link(1)
        opening = self.joined.endpoint("wiki").connect(factory_of(End()))
        self.run_lines()
        self.assertNoResult(opening)
        self.come_back()
        self.successResultOf(opening)

    def test_a_producer_is_paused_once_the_window_is_full(self) -> None:
        server, client = self.pair_up()
        self.lose_link(1)
        producer = Producer()
        client.transport.registerProducer(producer, True)
        written = 0
        while not producer.calls and written < MOST_THAT_WAITS_BYTES:
            client.transport.write(CHUNK)
            written += len(CHUNK)
            self.run_lines()
        self.assertEqual(producer.calls, ["pause"])
        self.pass_time(60.0)
        self.assertEqual(producer.calls, ["pause"])
        self.come_back()
        self.assertEqual(producer.calls, ["pause", "resume"])
        self.assertEqual(digest(server.data), digest(CHUNK * (written // len(CHUNK))))

    def test_a_client_that_can_not_come_back_is_cut_off(self) -> None:
        server, client = self.pair_up(give_up_seconds=20.0)
        done = self.joined.when_done()
        self.lose_link(1)
        self.pass_time(19.0)
        self.assertNoResult(done)
        self.pass_time(2.0)
        error = self.failureResultOf(done, CutOff).value
        assert client.reason is not None
        self.assertIs(client.reason.value, error)
        self.assertIn("could not be reached again in time", str(error))
        lines = len(self.endpoint.pumps)
        self.come_back()
        self.assertEqual(len(self.endpoint.pumps), lines)
        # The server keeps its place a while longer.
        self.assertFalse(server.lost)
        self.pass_time(700.0)
        assert server.reason is not None
        self.assertIs(server.reason.type, CutOff)
        (left,) = [each for each in self.told[1] if isinstance(each, event.MemberLeft)]
        self.assertEqual((left.member, left.cut_off), (2, True))
        self.assertNoResult(self.shared.when_done())

    def test_a_master_that_can_not_come_back_is_cut_off(self) -> None:
        server, client = self.pair_up(give_up_seconds=20.0)
        done = self.shared.when_done()
        self.lose_link(0)
        self.pass_time(21.0)
        error = self.failureResultOf(done, CutOff).value
        assert server.reason is not None
        self.assertIs(server.reason.value, error)
        self.assertFalse(client.lost)

    def test_patience_begins_anew_with_each_link(self) -> None:
        self.pair_up(give_up_seconds=40.0)
        for _ in range(3):
            self.lose_link(-1)
            self.pass_time(20.0)
            self.come_back()
        self.pass_time(40.0)
        self.assertNoResult(self.joined.when_done())
        self.assertNoResult(self.shared.when_done())

    def test_closing_before_the_server_has_taken_the_new_link(self) -> None:
        for member in (1, 2):
            self.pair_up()
            session: Session = (self.shared, self.joined)[member - 1]
            self.cut(member - 3)
            lines = len(self.endpoint.pumps)
            while len(self.endpoint.pumps) == lines:
                self.clock.advance(0.01)
            closing = session.close()
            self.run_lines()
            self.pass_time(GOODBYE_SECONDS)
            self.successResultOf(closing)
            self.assertIsNone(session.carrier)

    def test_who_hears_that_the_link_is_back_may_close(self) -> None:
        self.pair_up()
        told = self.told[2].append

        def close(happened: Any) -> None:
            told(happened)
            if isinstance(happened, event.LinkRestored):
                self.joined.close()

        self.patch(self.joined, "_on_event", close)
        self.cut(1)
        self.pass_time(2.0 + GOODBYE_SECONDS)
        self.successResultOf(self.joined.when_done())
        self.assertEqual([each for each in self.logged if "log_failure" in each], [])
        self.assertEqual(
            [each.member for each in self.told[1] if isinstance(each, event.MemberLeft)], [2]
        )

    def test_who_hears_that_the_link_is_lost_may_close(self) -> None:
        self.pair_up()

        def close(happened: Any) -> None:
            if isinstance(happened, event.LinkLost):
                self.joined.close()

        self.patch(self.joined, "_on_event", close)
        lines = len(self.endpoint.pumps)
        self.cut(1)
        self.assertNoResult(self.joined.when_done())
        self.pass_time(20.0)
        self.successResultOf(self.joined.when_done())
        # It came back once, to say goodbye.
        self.assertEqual(len(self.endpoint.pumps), lines + 1)
        (left,) = [each for each in self.told[1] if isinstance(each, event.MemberLeft)]
        self.assertEqual((left.member, left.reason), (2, "it left"))

    def test_a_server_that_is_silent_counts_as_lost(self) -> None:
        server, client = self.pair_up()
        self.endpoint.pumps[1] = DeadLine(self.endpoint.pumps[1])
        client.transport.write(b"are you there?")
        self.pass_time(60.0)
        self.assertEqual(
            self.told_of_links(2), [(event.LinkLost, None), (event.LinkRestored, None)]
        )
        self.assertEqual(server.data, b"are you there?")


class OnSocketsTests(LoopbackTestCase):
    """The same with sockets, and as many bytes as are under way in a busy session."""

    timeout = 120.0

    async def setUp(self) -> None:
        await super().setUp()
        self.patch(reconnect, "MAX_DELAY_SECONDS", 0.2)
        self.told: list[Any] = []

    async def pair_up(self, **options: Any) -> tuple[SharedSession, JoinedSession, End, End]:
        shared = await self.tunnel.share()
        joined = await self.tunnel.join(
            shared, on_event=lambda session, happened: self.told.append(happened), **options
        )
        server, client = End(), End()
        await shared.listen("web").listen(factory_of(server))
        await joined.endpoint("web").connect(factory_of(client))
        return shared, joined, server, client

    async def transfer(
        self, disturb: Callable[[SharedSession, JoinedSession], Awaitable[None]], times: int
    ) -> None:
        """Bytes both ways, disturbed again and again while they flow."""
        total = (times + 1) * 3 * MEBIBYTE
        shared, joined, server, client = await self.pair_up()
        for end in (server, client):
            producer = PullProducer(end.transport, total, closes=False)
            end.transport.registerProducer(producer, False)
        for number in range(1, times + 1):
            await server.until_received(number * 3 * MEBIBYTE)
            await disturb(shared, joined)
        for end in (server, client):
            await end.until_received(total)
            self.assertEqual(digest(end.data), digest(pattern(total)))

    async def test_the_clients_link_breaks(self) -> None:
        async def disturb(_shared: SharedSession, joined: JoinedSession) -> None:
            if joined.carrier is not None:
                joined.carrier.abort()

        await self.transfer(disturb, 5)
        self.assertIn(event.LinkRestored, map(type, self.told))

    async def test_the_masters_link_breaks(self) -> None:
        async def disturb(shared: SharedSession, _joined: JoinedSession) -> None:
            if shared.carrier is not None:
                shared.carrier.abort()

        await self.transfer(disturb, 5)
        self.assertIn(event.MemberBack, map(type, self.told))

    async def test_all_links_break_at_the_server(self) -> None:
        async def disturb(_shared: SharedSession, _joined: JoinedSession) -> None:
            for link in list(self.tunnel.server.links):
                link.abort()

        await self.transfer(disturb, 5)
        self.assertIn(event.LinkRestored, map(type, self.told))

    async def test_the_server_is_killed_and_starts_again(self) -> None:
        async def disturb(_shared: SharedSession, _joined: JoinedSession) -> None:
            await self.tunnel.start_server(await self.tunnel.kill_server())

        await self.transfer(disturb, 3)
        self.assertIn(event.LinkRestored, map(type, self.told))

    async def test_the_server_says_when_to_come_back(self) -> None:
        self.patch(tunnel_server, "MIN_RETRY_SECONDS", 0.25)
        self.patch(tunnel_server, "MAX_RETRY_SECONDS", 0.5)

        async def disturb(_shared: SharedSession, _joined: JoinedSession) -> None:
            await self.tunnel.server.drain()
            await self.tunnel.start_server(await self.tunnel.kill_server())

        await self.transfer(disturb, 1)
        lost = [each for each in self.told if isinstance(each, event.LinkLost)]
        self.assertGreaterEqual(lost[0].retry_after_seconds, 0.25)

    async def test_links_break_while_both_come_back(self) -> None:
        async def disturb(shared: SharedSession, joined: JoinedSession) -> None:
            for turns in (1, 5, 20, 80):
                for session in (joined, shared):
                    if session.carrier is not None:
                        session.carrier.abort()
                for _ in range(turns):
                    await deferLater(reactor, 0)

        await self.transfer(disturb, 4)
        self.assertIn(event.LinkRestored, map(type, self.told))


class CertificateTests(OnSocketsTests):
    """Whoever answers at the server's address with another certificate is not the server."""

    # The transfers once more, on links whose transport can't be taken over.

    async def pair_up(self, **options: Any) -> tuple[SharedSession, JoinedSession, End, End]:
        self.tunnel.address = self.tunnel.tls_address
        return await super().pair_up(**options)

    async def start_impostor(self) -> str:
        """Another server in the place of ours."""
        listen = await self.tunnel.kill_server()
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        await self.tunnel.start_server(listen, load_or_create_identity(Path(folder.name)))
        return listen

    async def until_lost_again(self, times: int) -> None:
        while sum(isinstance(each, event.LinkLost) for each in self.told) < times:
            await deferLater(reactor, 0)

    async def test_the_right_server_is_found_again(self) -> None:
        _shared, _joined, server, client = await self.pair_up()
        await self.start_impostor()
        client.transport.write(b"for the right one")
        await self.until_lost_again(4)
        self.assertNotIn(event.LinkRestored, map(type, self.told))
        self.assertEqual(self.tunnel.server.sessions, {})
        await self.tunnel.start_server(await self.tunnel.kill_server())
        await server.until_received(17)
        self.assertEqual(server.data, b"for the right one")
        self.assertIn(event.LinkRestored, map(type, self.told))

    async def test_what_is_wrong_is_told_in_the_end(self) -> None:
        # Long enough for the impostor to be there in time also on a busy machine.
        _shared, joined, _server, client = await self.pair_up(give_up_seconds=6.0)
        await self.start_impostor()
        error: Any = None
        try:
            await joined.when_done()
        except NotReachable as told:
            error = told
        self.assertIn("its key is another", str(error))
        assert client.reason is not None
        self.assertIs(client.reason.value, error)
        self.assertGreater(sum(isinstance(each, event.LinkLost) for each in self.told), 1)
