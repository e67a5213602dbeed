"""A broadcast to fifty members on real sockets, one of which reads nothing: none else notices."""

from __future__ import annotations

import random
from io import BytesIO
from typing import Any

from twisted.internet import defer
from twisted.protocols.basic import FileSender

from porttunnel.errors import PorttunnelError, StreamCode, StreamReset
from porttunnel.net.broadcast import BroadcastWriter
from porttunnel.net.client import JoinedSession
from porttunnel.net.master import SharedSession
from porttunnel.net.tunnel_link import MAX_FLOW_BYTES, MAX_OWN_BYTES
from porttunnel.net.waiting import WaitingTotal
from porttunnel.session import event
from tests.net.on_loopback import LoopbackTestCase

MIB = 1 << 20
MEMBERS = 50
PIECE_BYTES = 65_536  # each is sealed and checked by itself: small ones take long
MEMBER_WINDOW_BYTES = 8 * MIB


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
        self._is_stalled = False

    def broadcast_received(self, _channel: int, data: memoryview) -> None:
        end = self.received + len(data)
        self.is_wrong |= bytes(data) != self._content[self.received : end]
        self.received = end

    def broadcast_ended(self, _channel: int) -> None:
        self.over.callback(None)

    def broadcast_lost(self, error: PorttunnelError) -> None:
        self.lost = error
        self.over.callback(None)

    def stall(self) -> None:
        """Read nothing, also on the links that come after this one was taken for dead."""
        self._is_stalled = True
        self._pause()

    def go_on(self) -> None:
        self._is_stalled = False
        assert self.session is not None
        if self.session.carrier is not None:
            self.session.carrier.resume_receiving()

    def receive_event(self, _session: JoinedSession, happened: Any) -> None:
        if isinstance(happened, event.LinkRestored) and self._is_stalled:
            self._pause()

    def _pause(self) -> None:
        assert self.session is not None
        assert self.session.carrier is not None
        self.session.carrier.pause_receiving()


class BroadcastToManyTests(LoopbackTestCase):
    """Server, master and all members in this process."""

    timeout = 240.0

    async def setUp(self) -> None:
        await super().setUp()
        self.tunnel.server.waiting = self.waiting = HighWater()
        self.dropped: list[event.BroadcastDropped] = []

    def master_event(self, happened: Any) -> None:
        if isinstance(happened, event.BroadcastDropped):
            self.dropped.append(happened)

    async def gather(self, count: int, content: bytes) -> tuple[SharedSession, list[Viewer]]:
        shared = await self.tunnel.share(
            on_event=self.master_event, max_clients=count, direct=False
        )
        viewers = [Viewer(content) for _ in range(count)]
        for viewer in viewers:
            viewer.session = await self.tunnel.join(
                shared, on_event=viewer.receive_event, direct=False
            )
            viewer.session.on_broadcast(viewer)
        return shared, viewers

    def broadcast(self, shared: SharedSession, content: bytes) -> BroadcastWriter:
        writer = shared.broadcast()
        source = FileSender()
        source.CHUNK_SIZE = PIECE_BYTES
        sending = source.beginFileTransfer(BytesIO(content), writer)
        sending.addCallback(lambda _: writer.loseConnection())
        return writer

    async def test_one_that_stalls_disturbs_none_of_the_others(self) -> None:
        content = random.Random(1).randbytes(16 * MIB)
        shared, (stalled, *others) = await self.gather(MEMBERS, content)
        stalled.stall()
        writer = self.broadcast(shared, content)
        await defer.gatherResults([viewer.over for viewer in others])
        for viewer in others:
            self.assertEqual((viewer.received, viewer.lost), (len(content), None))
            self.assertFalse(viewer.is_wrong)
        self.assertLessEqual(self.waiting.highest, MEMBERS * MEMBER_WINDOW_BYTES)
        # What still waits can only be the stalled one's.
        self.assertLessEqual(self.waiting.count, MAX_FLOW_BYTES + MAX_OWN_BYTES)
        stalled.go_on()
        await stalled.over
        await writer.when_done()
        self.assertFalse(stalled.is_wrong)
        if stalled.lost is None:
            self.assertEqual((stalled.received, self.dropped), (len(content), []))
        else:  # on a busy machine it stood still for too long
            self.assertIsInstance(stalled.lost, StreamReset)
            self.assertEqual(len(self.dropped), 1)

    async def test_one_that_stalls_for_too_long_is_told_that_it_was_dropped(self) -> None:
        # More than is kept for members that are behind.
        content = random.Random(2).randbytes(48 * MIB)
        shared, (stalled, *others) = await self.gather(4, content)
        stalled.stall()
        writer = self.broadcast(shared, content)
        await defer.gatherResults([viewer.over for viewer in others])
        for viewer in others:
            self.assertEqual((viewer.received, viewer.lost), (len(content), None))
            self.assertFalse(viewer.is_wrong)
        assert stalled.session is not None
        await writer.when_done()
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
