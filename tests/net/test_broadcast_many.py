"""A broadcast to fifty members on real sockets, one of which reads nothing: none else notices."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet import defer

from porttunnel.errors import StreamCode, StreamReset
from porttunnel.net.client import JoinedSession
from porttunnel.net.master import SharedSession
from porttunnel.net.tunnel_link import MAX_FLOW_BYTES, MAX_OWN_BYTES
from porttunnel.net.waiting import WaitingTotal
from porttunnel.session import event
from tests.net.on_loopback import LoopbackTestCase

MIB = 1 << 20
MEMBERS = 50
PIECE_BYTES = 65_536
MEMBER_WINDOW_BYTES = 8 * MIB
CHANNEL = 1


class HighWater(WaitingTotal):
    """Remembers the most that ever waited."""

    highest = 0

    def __setattr__(self, name: str, value: int) -> None:
        super().__setattr__(name, value)
        if name == "count" and value > self.highest:
            self.highest = value


class Viewer:
    """A member, and what came of the broadcast."""

    def __init__(self, content: bytes) -> None:
        self.received = 0
        self.is_wrong = False
        self.lost: Any = None
        self.over: defer.Deferred[None] = defer.Deferred()
        self.session: JoinedSession | None = None
        self._content = content

    def receive_event(self, _session: JoinedSession, happened: Any) -> None:
        if isinstance(happened, event.BroadcastReceived):
            end = self.received + len(happened.data)
            self.is_wrong |= bytes(happened.data) != self._content[self.received : end]
            self.received = end
        elif isinstance(happened, event.BroadcastEnded):
            self.over.callback(None)
        elif isinstance(happened, event.BroadcastLost):
            self.lost = happened.error
            self.over.callback(None)

    def stall(self) -> None:
        assert self.session is not None
        assert self.session.carrier is not None
        self.session.carrier.pause_receiving()

    def go_on(self) -> None:
        assert self.session is not None
        # Without one its link was taken for dead, and a new one is on its way.
        if self.session.carrier is not None:
            self.session.carrier.resume_receiving()


class BroadcastToManyTests(LoopbackTestCase):
    """Server, master and all members in this process."""

    timeout = 120.0

    async def setUp(self) -> None:
        await super().setUp()
        self.tunnel.server.waiting = self.waiting = HighWater()
        self.dropped: list[event.BroadcastDropped] = []
        self._writable: defer.Deferred[None] | None = None

    def master_event(self, happened: Any) -> None:
        if isinstance(happened, event.BroadcastDropped):
            self.dropped.append(happened)
        elif isinstance(happened, event.BroadcastWritable):
            writable, self._writable = self._writable, None
            assert writable is not None
            writable.callback(None)

    async def gather(self, count: int, content: bytes) -> tuple[SharedSession, list[Viewer]]:
        shared = await self.tunnel.share(
            on_event=self.master_event, max_clients=count, direct=False
        )
        viewers = [Viewer(content) for _ in range(count)]
        for viewer in viewers:
            viewer.session = await self.tunnel.join(
                shared, on_event=viewer.receive_event, direct=False
            )
        return shared, viewers

    async def broadcast(self, shared: SharedSession, content: bytes) -> None:
        sender = shared._master.broadcast
        view = memoryview(content)
        for start in range(0, len(content), PIECE_BYTES):
            piece = view[start : start + PIECE_BYTES]
            if not sender.write(CHANNEL, piece, shared.reactor.seconds()):
                self._writable = writable = defer.Deferred()
                shared.flush()
                await writable
        sender.end(CHANNEL, shared.reactor.seconds())
        shared.flush()

    async def test_one_that_stalls_disturbs_none_of_the_others(self) -> None:
        content = random.Random(1).randbytes(16 * MIB)
        shared, (stalled, *others) = await self.gather(MEMBERS, content)
        stalled.stall()
        await self.broadcast(shared, content)
        await defer.gatherResults([viewer.over for viewer in others])
        for viewer in others:
            self.assertEqual((viewer.received, viewer.lost), (len(content), None))
            self.assertFalse(viewer.is_wrong)
        self.assertLessEqual(self.waiting.highest, MEMBERS * MEMBER_WINDOW_BYTES)
        # What still waits can only be the stalled one's.
        self.assertLessEqual(self.waiting.count, MAX_FLOW_BYTES + MAX_OWN_BYTES)
        self.assertEqual(stalled.received, 0)
        stalled.go_on()
        await stalled.over
        self.assertEqual((stalled.received, stalled.lost), (len(content), None))
        self.assertFalse(stalled.is_wrong)
        self.assertEqual(self.dropped, [])

    async def test_one_that_stalls_for_too_long_is_told_that_it_was_dropped(self) -> None:
        # More than is kept for members that are behind.
        content = random.Random(2).randbytes(48 * MIB)
        shared, (stalled, *others) = await self.gather(4, content)
        stalled.stall()
        await self.broadcast(shared, content)
        await defer.gatherResults([viewer.over for viewer in others])
        for viewer in others:
            self.assertEqual((viewer.received, viewer.lost), (len(content), None))
            self.assertFalse(viewer.is_wrong)
        assert stalled.session is not None
        (dropped,) = self.dropped
        self.assertEqual(dropped.member, stalled.session.local_member)
        stalled.go_on()
        await stalled.over
        self.assertIsInstance(stalled.lost, StreamReset)
        self.assertIs(stalled.lost.code, StreamCode.TIMED_OUT)
        self.assertLess(stalled.received, len(content))
        self.assertFalse(stalled.is_wrong)
        # Only from the broadcast: the session itself goes on.
        self.assertEqual(len(stalled.session.members), 5)
