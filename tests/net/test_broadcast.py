"""porttunnel.net.broadcast: one writer, many who listen."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IConsumer
from zope.interface.verify import verifyObject

from porttunnel.errors import CutOff, LocalProtocolError, PorttunnelError
from porttunnel.net.broadcast import MAX_WRITE_BYTES
from porttunnel.net.client import JoinedSession
from porttunnel.net.master import SharedSession
from porttunnel.session.event import Welcomed
from tests.net.in_memory import InMemoryTestCase

MEBIBYTE = 1024 * 1024
WINDOW_BYTES = 8 * MEBIBYTE


class Listener:
    """What one member got of all broadcasts."""

    def __init__(self, session: JoinedSession) -> None:
        self.received: dict[int, bytearray] = {}
        self.ended: list[int] = []
        self.lost: list[PorttunnelError] = []
        session.on_broadcast(self)

    def broadcast_received(self, channel: int, data: memoryview) -> None:
        self.received.setdefault(channel, bytearray()).extend(data)

    def broadcast_ended(self, channel: int) -> None:
        self.ended.append(channel)

    def broadcast_lost(self, error: PorttunnelError) -> None:
        self.lost.append(error)


class Producer:
    """Remembers what it was told; a pull producer writes a piece each time."""

    def __init__(self, writer: Any = None, pieces: int = 0) -> None:
        self.told: list[str] = []
        self._writer = writer
        self._pieces = pieces

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")
        if self._writer is None:
            return
        if self._pieces:
            self._pieces -= 1
            self._writer.write(b"piece ")
        else:
            self._writer.unregisterProducer()

    def stopProducing(self) -> None:
        self.told.append("stop")


class WriterTests(InMemoryTestCase):
    def join_listening(self, shared: SharedSession) -> Listener:
        """Join, and hear what comes right behind the welcome."""
        listeners: list[Listener] = []

        def receive(session: JoinedSession, happened: Any) -> None:
            if isinstance(happened, Welcomed):
                listeners.append(Listener(session))

        self.join(shared, on_event=receive)
        return listeners[0]

    def test_reaches_all_members_and_is_done_when_they_have_it(self) -> None:
        shared, first = self.pair()
        listeners = [Listener(first), Listener(self.join(shared))]
        writer = shared.broadcast()
        verifyObject(IConsumer, writer)
        content = bytes(range(256)) * 8_192
        writer.write(content)
        writer.writeSequence([b"and", b"", b" more"])
        self.assertEqual(writer.written_bytes, len(content) + 8)
        writer.loseConnection()
        done = writer.when_done()
        self.assertNoResult(done)
        writer.write(b"too late")
        self.run_lines()
        for listener in listeners:
            self.assertEqual(listener.received, {1: content + b"and more"})
            self.assertEqual((listener.ended, listener.lost), ([1], []))
        self.pass_time(1.0)
        self.successResultOf(done)
        self.successResultOf(writer.when_done())

    def test_channels_are_apart_and_used_again_after_their_end(self) -> None:
        shared, joined = self.pair()
        listener = Listener(joined)
        first, second = shared.broadcast(1), shared.broadcast(2)
        with self.assertRaises(LocalProtocolError):
            shared.broadcast(2)
        with self.assertRaises(LocalProtocolError):
            shared.broadcast(0)
        first.write(b"one")
        second.write(b"two")
        first.loseConnection()
        self.pass_time(1.0)
        self.assertEqual(listener.received, {1: b"one", 2: b"two"})
        shared.broadcast(1).write(b" more")
        self.run_lines()
        self.assertEqual(listener.received, {1: b"one more", 2: b"two"})
        self.assertEqual(listener.ended, [1])

    def test_without_a_listener_nothing_happens(self) -> None:
        shared, joined = self.pair()
        shared.broadcast().write(b"to nobody")
        self.run_lines()
        self.assertNoResult(joined.when_done())

    def test_a_push_producer_waits_for_the_first_member(self) -> None:
        shared = self.share()
        writer = shared.broadcast()
        self.assertTrue(writer.is_full)
        producer = Producer()
        writer.registerProducer(producer, True)
        with self.assertRaises(RuntimeError):
            writer.registerProducer(Producer(), True)
        self.assertEqual(producer.told, ["pause"])
        self.join(shared)
        self.assertEqual(producer.told, ["pause", "resume"])
        self.assertFalse(writer.is_full)

    def test_a_push_producer_waits_for_who_is_slow(self) -> None:
        shared, joined = self.pair()
        joined.on_broadcast(Listener(joined), counts_consumed=True)
        writer = shared.broadcast()
        producer = Producer()
        writer.registerProducer(producer, True)
        written = 0
        # Our own link makes it wait too, but not for long.
        while producer.told[-1:] != ["pause"] and written < 4 * WINDOW_BYTES:
            writer.write(bytes(MAX_WRITE_BYTES))
            written += MAX_WRITE_BYTES
            self.run_lines()
        self.assertEqual(producer.told[-1], "pause")
        self.assertLess(written, 2 * WINDOW_BYTES)
        joined.broadcast_consumed(WINDOW_BYTES // 2)
        self.run_lines()
        self.assertEqual(producer.told[-1], "resume")

    def test_who_takes_a_little_all_the_time_is_left_behind(self) -> None:
        shared, quick = self.pair()
        Listener(quick)
        slow = self.join(shared)
        listener = Listener(slow)
        slow.on_broadcast(listener, counts_consumed=True)
        writer = shared.broadcast()
        written = []
        for _ in range(150):
            before = writer.written_bytes
            if not writer.is_full:
                writer.write(bytes(MEBIBYTE))
                self.run_lines()
            written.append(writer.written_bytes - before)
            if not listener.lost:
                slow.broadcast_consumed(MEBIBYTE // 16)
            for _ in range(20):
                self.pass_time(0.01)
        # For some ten seconds it sets the pace, then it's dropped, and the other one goes on.
        self.assertEqual(len(listener.lost), 1)
        self.assertIn("too slow", str(listener.lost[0]))
        self.assertLess(sum(written[10:50]), 5 * MEBIBYTE)
        self.assertEqual(sum(written[-40:]), 40 * MEBIBYTE)
        self.assertNoResult(slow.when_done())

    def test_a_pull_producer_is_asked_piece_by_piece(self) -> None:
        shared = self.share()
        writer = shared.broadcast()
        producer = Producer(writer, pieces=3)
        writer.registerProducer(producer, False)
        # Closed once the producer is through, as with any transport.
        writer.loseConnection()
        self.assertEqual(producer.told, [])
        listener = self.join_listening(shared)
        self.pass_time(1.0)
        self.assertEqual(listener.received, {1: b"piece piece piece "})
        self.assertEqual(listener.ended, [1])
        self.successResultOf(writer.when_done())

    def test_a_pull_producer_begins_at_once_when_there_is_a_member(self) -> None:
        shared, joined = self.pair()
        listener = Listener(joined)
        writer = shared.broadcast()
        producer = Producer(writer, pieces=1)
        writer.registerProducer(producer, False)
        # It writes once more than it was asked: it is asked once nevertheless.
        writer.write(b"and ")
        self.run_lines()
        self.assertEqual(listener.received, {1: b"piece and "})
        self.assertEqual(producer.told, ["resume", "resume"])

    def test_a_producer_that_fails_ends_the_broadcast_only(self) -> None:
        class Failing(Producer):
            def resumeProducing(self) -> None:
                raise ZeroDivisionError

        shared = self.share()
        writer = shared.broadcast()
        writer.registerProducer(Failing(), True)
        listener = self.join_listening(shared)
        self.run_lines()
        self.assertEqual(listener.ended, [1])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertNoResult(shared.when_done())

    def test_the_end_of_the_session_stops_the_producer(self) -> None:
        shared, _joined = self.pair()
        writer = shared.broadcast()
        producer = Producer(writer, pieces=9)
        writer.registerProducer(producer, False)
        done = writer.when_done()
        shared.close()
        self.run_lines()
        self.assertEqual(producer.told[-1], "stop")
        self.failureResultOf(done, CutOff)
        self.failureResultOf(writer.when_done(), CutOff)
        writer.session_ended()
        writer.write(b"to nobody")
        late = Producer()
        writer.registerProducer(late, True)
        self.assertEqual(late.told, ["stop"])
        with self.assertRaises(LocalProtocolError):
            shared.broadcast(3)

    def test_who_was_too_slow_is_told(self) -> None:
        shared, joined = self.pair()
        listener = Listener(joined)
        shared._master.broadcast._window._drop(joined.local_member)
        shared.flush()
        self.run_lines()
        self.assertEqual(len(listener.lost), 1)
        self.assertIn("too slow", str(listener.lost[0]))
        self.assertNoResult(joined.when_done())
