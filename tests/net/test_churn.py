"""Streams that come and go by the thousand leave nothing behind in their session."""

from __future__ import annotations

import gc
import random
from collections.abc import Awaitable, Callable

from twisted.internet import defer, reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from porttunnel.net.client import JoinedSession
from porttunnel.net.master import SharedSession
from porttunnel.session.outbox import MAX_FREE_SLOTS, Slot
from tests.conformance import End, factory_of
from tests.net.on_loopback import LoopbackTestCase

STREAMS = 2_000
FORWARDED = 500
AT_A_TIME = 50
MAX_REPLY_BYTES = 200_000  # some replies take several packets, more than a small window


class Service(Protocol):
    """Answers as many zeros as it is asked for, then does as it is told."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        count, _, end = data.partition(b" ")
        self.transport.write(bytes(int(count)))
        if end:
            getattr(self.transport, end.decode())()


class ChurnTests(LoopbackTestCase):
    shared: SharedSession
    joined: JoinedSession
    random: random.Random

    async def setUp(self) -> None:
        await super().setUp()
        self.random = random.Random(4663)
        self.factory = Factory.forProtocol(Service)
        self.factory.noisy = False

    async def use(self, connect: Callable[[End], defer.Deferred[End]]) -> None:
        """One stream, ended in one of many ways."""
        end = End()
        connecting = connect(end)
        if self.random.random() < 0.1:
            connecting.cancel()
            try:
                await connecting
            except (defer.CancelledError, ConnectingCancelledError):
                return
        await connecting
        count = self.random.choice([0, 1, 1_000, MAX_REPLY_BYTES])
        theirs = self.random.choice(["", "loseConnection", "abortConnection"])
        ours = self.random.choice(["at once", "later", "never" if theirs else "later"])
        end.transport.write(f"{count} {theirs}".encode())
        if ours == "at once":
            self.random.choice([end.transport.loseConnection, end.transport.abortConnection])()
        elif ours == "later":
            await end.until(lambda: end.lost or len(end.data) >= count)
            end.transport.loseConnection()
        await end.until_lost()

    async def churn(self, times: int, one: Callable[[], Awaitable[None]]) -> None:
        """Many times, some at a time."""
        left = times

        async def worker() -> None:
            nonlocal left
            while left:
                left -= 1
                await one()

        workers = [defer.Deferred.fromCoroutine(worker()) for _ in range(AT_A_TIME)]
        await defer.gatherResults(workers, consumeErrors=True)

    async def assert_nothing_is_left(self) -> None:
        pairs = [self.shared.streams_with(2), self.joined.streams_with(1)]
        for session in (self.shared, self.joined):
            await session.when_streams_done()
            self.assertEqual(session._handles, {})
        # What is still unacknowledged will be: the last ACK may wait for its time.
        while any(streams._pair.unacked_bytes for streams in pairs):
            await deferLater(reactor, 0)
        for streams in pairs:
            self.assertEqual(streams._streams, {})
            self.assertFalse(streams.has_work)
            credit = streams._credit
            self.assertEqual((credit.streams, credit._window_bytes, credit._unread), (0, 0, {}))
        gc.collect()
        slots = sum(type(thing) is Slot for thing in gc.get_objects())
        # Those at rest of both ends, and the one that each is filling.
        self.assertLessEqual(slots, 2 * (MAX_FREE_SLOTS + 1))
        # Pings and pauses of the two links, and nothing for each stream that there was.
        self.assertLess(len(reactor.getDelayedCalls()), 20)  # type: ignore[attr-defined]  # a module
        for session in (self.shared, self.joined):
            self.assertIsNotNone(session.carrier)

    async def test_streams(self) -> None:
        self.shared, self.joined = await self.pair()
        await self.shared.listen("zeros").listen(self.factory)
        endpoint = self.joined.endpoint("zeros")
        await self.churn(STREAMS, lambda: self.use(lambda end: endpoint.connect(factory_of(end))))
        await self.assert_nothing_is_left()

    async def test_forwarded_connections(self) -> None:
        target = await self.tunnel.listen(self.factory)
        self.shared, self.joined = await self.pair(f"zeros={target}")
        endpoint = TCP4ClientEndpoint(
            reactor, "127.0.0.1", await self.tunnel.forward(self.joined, "zeros")
        )
        await self.churn(
            FORWARDED, lambda: self.use(lambda end: endpoint.connect(factory_of(end)))
        )
        await self.assert_nothing_is_left()
