"""porttunnel.net.forward: one stream of a real session, one carrier in our hands."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from porttunnel.errors import CutOff, PorttunnelError, StreamCode, StreamRefused, StreamReset
from porttunnel.net.client import JoinedSession
from porttunnel.net.forward import Forwarder
from porttunnel.net.master import SharedSession
from porttunnel.session.credit import MIN_WINDOW_BYTES
from tests.conformance import End, HalfClosingEnd, factory_of
from tests.net.in_memory import InMemoryTestCase


class Socket:
    """A carrier that takes ``room`` bytes."""

    def __init__(self) -> None:
        self.room = 1 << 40
        self.sent = bytearray()
        self.calls: list[str] = []
        self.peer = IPv4Address("TCP", "192.0.2.1", 1)

    def send(self, views: Sequence[memoryview]) -> int:
        data = b"".join(views)[: self.room]
        self.room -= len(data)
        self.sent += data
        return len(data)

    def limit_unsent(self, count: int) -> None:
        raise AssertionError("only links are limited")

    def end(self) -> None:
        self.calls.append("end")

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def pause_receiving(self) -> None:
        self.calls.append("pause")

    def resume_receiving(self) -> None:
        self.calls.append("resume")


class ForwarderTests(InMemoryTestCase):
    shared: SharedSession
    joined: JoinedSession

    def setUp(self) -> None:
        super().setUp()
        self.shared, self.joined = self.pair()
        self.refused: list[PorttunnelError] = []
        self.socket = Socket()

    def forwarder(self) -> Forwarder:
        """At the client's end of a new stream; its socket is connected, the stream not yet."""
        member, services = 1, "web"

        def make(stream: int) -> Forwarder:
            return Forwarder(
                self.joined, member, stream, accept=False, on_refused=self.refused.append
            )

        forwarder: Any = self.joined.open_stream(member, services, make)
        forwarder.carrier_made(self.socket)
        return forwarder

    def connected(self, server: End) -> Forwarder:
        """At the client's end of a stream; the server's end is an ordinary protocol."""
        self.successResultOf(self.shared.listen("web").listen(factory_of(server)))
        forwarder = self.forwarder()
        self.run_lines()
        return forwarder

    def feed(self, forwarder: Forwarder, data: bytes) -> int:
        """The local program sends; how much there was room for."""
        done = 0
        while done < len(data):
            rooms = forwarder.lend(1)
            if not rooms:
                break
            count = min(len(rooms[0]), len(data) - done)
            rooms[0][:count] = data[done : done + count]
            forwarder.filled(count)
            done += count
        forwarder.reading_done()
        self.run_lines()
        return done

    def assert_no_streams(self) -> None:
        self.run_lines()
        self.assertEqual((self.shared._handles, self.joined._handles), ({}, {}))

    # Bytes

    def test_carries_bytes_both_ways(self) -> None:
        server = End()
        forwarder = self.connected(server)
        self.assertEqual(self.feed(forwarder, b"there"), 5)
        server.transport.write(b"back")
        self.run_lines()
        self.assertEqual((server.data, self.socket.sent), (b"there", b"back"))

    def test_lends_no_room_before_the_stream_is_there(self) -> None:
        server = End()
        self.successResultOf(self.shared.listen("web").listen(factory_of(server)))
        forwarder = self.forwarder()
        self.assertEqual(forwarder.lend(1), ())
        self.assertEqual(forwarder.lend(1), ())
        self.assertEqual(self.socket.calls, ["pause"])
        self.run_lines()
        self.assertEqual(self.socket.calls, ["pause", "resume"])
        self.assertEqual(self.feed(forwarder, b"at last"), 7)
        self.assertEqual(server.data, b"at last")

    def test_a_transport_that_cannot_lend_waits_for_the_stream_too(self) -> None:
        # Then bytes come whether there is room or not, unless it is paused.
        server = End()
        self.successResultOf(self.shared.listen("web").listen(factory_of(server)))
        forwarder = self.forwarder()
        self.assertEqual(self.socket.calls, ["pause"])
        self.run_lines()
        self.assertEqual(self.socket.calls, ["pause", "resume"])
        forwarder.carrier_received(memoryview(b"copied"))
        forwarder.reading_done()
        self.run_lines()
        self.assertEqual(server.data, b"copied")

    def test_stops_reading_when_nobody_takes_it(self) -> None:
        server = End()
        forwarder = self.connected(server)
        server.transport.pauseProducing()
        self.socket.calls.clear()
        taken = self.feed(forwarder, bytes(20 << 20))
        self.assertLess(taken, 20 << 20)
        self.assertEqual(self.socket.calls, ["pause"])
        server.transport.resumeProducing()
        self.run_lines()
        self.assertEqual(self.socket.calls, ["pause", "resume"])
        self.assertEqual(len(server.data), taken)

    def test_stops_a_transport_that_cannot_lend(self) -> None:
        server = End()
        forwarder = self.connected(server)
        server.transport.pauseProducing()
        self.socket.calls.clear()
        count = 0
        while "pause" not in self.socket.calls:
            forwarder.carrier_received(memoryview(bytes(65_536)))
            forwarder.reading_done()
            count += 65_536
        self.run_lines()
        server.transport.resumeProducing()
        self.run_lines()
        self.assertEqual(self.socket.calls, ["pause", "resume"])
        self.assertEqual(len(server.data), count)

    def test_keeps_what_the_socket_does_not_take(self) -> None:
        server = End()
        forwarder = self.connected(server)
        self.socket.room = 3
        server.transport.writeSequence([b"abc", b"def"])
        self.run_lines()
        server.transport.write(b"ghi")
        self.run_lines()
        self.assertEqual(self.socket.sent, b"abc")
        for room, expected in ((1, b"abcd"), (0, b"abcd"), (4, b"abcdefgh"), (9, b"abcdefghi")):
            self.socket.room = room
            forwarder.carrier_writable()
            self.assertEqual(self.socket.sent, expected)

    def test_a_socket_that_takes_nothing_stops_the_other_side(self) -> None:
        server = End()
        forwarder = self.connected(server)
        self.socket.room = 0
        server.transport.write(bytes(range(256)) * (20 << 12))
        self.run_lines()
        self.assertLess(forwarder._queue.count, 8 << 20)
        self.assertEqual(self.socket.sent, b"")
        self.socket.room = 1 << 40
        while len(self.socket.sent) < 20 << 20:
            forwarder.carrier_writable()
            self.run_lines()
        self.assertEqual(bytes(self.socket.sent), bytes(range(256)) * (20 << 12))

    def test_bytes_that_come_one_by_one_take_no_multiple_of_their_size(self) -> None:
        forwarder = self.connected(End())
        self.socket.room = 0
        count = MIN_WINDOW_BYTES
        byte = memoryview(b"x")
        tracemalloc.start()
        try:
            for _ in range(count):
                forwarder.stream_received(byte)
                self.joined._events_done()
            held, _peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertEqual(forwarder._queue.count, count)
        self.assertLess(held, 3 * count)

    # Ends

    def test_the_local_end_is_passed_on_and_the_rest_still_comes(self) -> None:
        server = HalfClosingEnd()
        forwarder = self.connected(server)
        self.feed(forwarder, b"request")
        forwarder.carrier_ended()
        self.run_lines()
        self.assertEqual(server.calls, ["made", "data", "read ended"])
        server.transport.write(b"answer")
        server.transport.loseConnection()
        self.assert_no_streams()
        self.assertEqual(self.socket.sent, b"answer")
        self.assertEqual(self.socket.calls[-2:], ["end", "close"])
        forwarder.carrier_lost(Failure(ConnectionDone()))

    def test_the_remote_end_comes_after_what_waits(self) -> None:
        server = HalfClosingEnd()
        forwarder = self.connected(server)
        self.socket.room = 2
        self.socket.calls.clear()
        server.transport.write(b"answer")
        server.transport.loseWriteConnection()
        self.run_lines()
        self.assertEqual((bytes(self.socket.sent), self.socket.calls), (b"an", []))
        self.socket.room = 100
        forwarder.carrier_writable()
        self.assertEqual((bytes(self.socket.sent), self.socket.calls), (b"answer", ["end"]))
        forwarder.carrier_writable()
        self.assertEqual(self.socket.calls, ["end"])
        self.assertEqual(self.feed(forwarder, b"more"), 4)
        self.assertEqual(server.data, b"more")

    def test_both_ends_close_the_socket_after_what_waits(self) -> None:
        server = HalfClosingEnd()
        forwarder = self.connected(server)
        self.socket.room = 2
        self.socket.calls.clear()
        server.transport.write(b"answer")
        server.transport.loseConnection()
        forwarder.carrier_ended()
        self.assert_no_streams()
        self.assertEqual((bytes(self.socket.sent), self.socket.calls), (b"an", []))
        self.socket.room = 100
        forwarder.carrier_writable()
        self.assertEqual((bytes(self.socket.sent), self.socket.calls), (b"answer", ["close"]))

    def test_a_broken_socket_breaks_the_stream(self) -> None:
        server = End()
        forwarder = self.connected(server)
        server.transport.write(b"x")
        forwarder.carrier_lost(Failure(ConnectionLost()))
        forwarder.stream_received(memoryview(b"too late"))
        forwarder.carrier_writable()
        self.run_lines()
        assert server.reason is not None
        reset = server.reason.value
        assert isinstance(reset, StreamReset)
        self.assertIs(reset.code, StreamCode.ABORTED)
        self.assert_no_streams()

    def test_a_broken_stream_resets_the_socket(self) -> None:
        server = End()
        forwarder = self.connected(server)
        self.socket.room = 2
        server.transport.write(b"answer")
        self.run_lines()
        server.transport.abortConnection()
        self.assert_no_streams()
        self.assertEqual(self.socket.calls[-1], "abort")
        # The kernel's last words find nothing to do.
        self.socket.room = 100
        self.assertEqual(forwarder.lend(1), ())
        forwarder.carrier_received(memoryview(b"too late"))
        forwarder.reading_done()
        forwarder.carrier_writable()
        forwarder.carrier_ended()
        forwarder.carrier_lost(Failure(ConnectionLost()))
        self.assertEqual(self.socket.sent, b"an")
        self.assert_no_streams()

    def test_a_stream_that_breaks_off_behind_its_last_bytes(self) -> None:
        server = End()
        forwarder = self.connected(server)
        server.transport.write(b"half an ans")
        server.transport.abortConnection()
        self.assert_no_streams()
        # Whatever of it the socket got, it doesn't look finished.
        self.assertIn("abort", self.socket.calls)
        self.assertNotIn("end", self.socket.calls)
        forwarder.carrier_lost(Failure(ConnectionLost()))

    def test_a_session_that_ends_resets_the_socket(self) -> None:
        self.connected(End())
        self.joined.close()
        self.run_lines()
        self.assertEqual(self.socket.calls[-1], "abort")
        self.assertEqual(self.refused, [])

    def test_a_refusal_resets_the_socket_and_tells_the_user(self) -> None:
        self.forwarder()
        self.run_lines()
        self.assertEqual(self.socket.calls[-1], "abort")
        (refused,) = self.refused
        assert isinstance(refused, StreamRefused)
        self.assertIs(refused.code, StreamCode.UNKNOWN_SERVICE)
        self.assert_no_streams()

    def test_a_refusal_without_words_has_its_code(self) -> None:
        def accept(member: int, stream: int) -> None:
            self.shared.streams_with(member).refuse(stream, StreamCode.INTERNAL, "")

        self.shared.add_acceptor("web", accept)
        self.forwarder()
        self.run_lines()
        self.assertEqual([str(error) for error in self.refused], ["internal"])

    def test_a_refusal_of_who_asked_for_no_news(self) -> None:
        def make(stream: int) -> Forwarder:
            return Forwarder(self.joined, 1, stream, accept=False)

        forwarder: Any = self.joined.open_stream(1, "web", make)
        self.run_lines()
        forwarder.carrier_made(self.socket)
        self.assertEqual(self.socket.calls, ["abort"])

    def test_the_socket_of_a_cut_off_session(self) -> None:
        forwarder = self.forwarder()
        forwarder.stream_lost(CutOff("gone"))
        self.assertEqual(self.socket.calls[-1], "abort")

    # The offering side

    def test_accepts_once_the_socket_is_there(self) -> None:
        made: list[Forwarder] = []

        def accept(member: int, stream: int) -> None:
            forwarder = Forwarder(self.shared, member, stream, accept=True)
            self.shared.adopt(member, stream, forwarder)
            made.append(forwarder)

        self.shared.add_acceptor("web", accept)
        client = End()
        opening = self.joined.endpoint("web").connect(factory_of(client))
        self.run_lines()
        self.assertNoResult(opening)
        made[0].carrier_made(self.socket)
        self.run_lines()
        self.successResultOf(opening)
        self.assertNotIn("pause", self.socket.calls)
        client.transport.write(b"there")
        self.run_lines()
        self.assertEqual(self.socket.sent, b"there")

    def test_a_socket_that_comes_too_late(self) -> None:
        made: list[Forwarder] = []

        def accept(member: int, stream: int) -> None:
            forwarder = Forwarder(self.shared, member, stream, accept=True)
            self.shared.adopt(member, stream, forwarder)
            made.append(forwarder)

        self.shared.add_acceptor("web", accept)
        opening = self.joined.endpoint("web").connect(factory_of(End()))
        self.run_lines()
        opening.addErrback(lambda _: None)
        opening.cancel()
        self.run_lines()
        self.assertFalse(made[0].give_up())
        made[0].carrier_made(self.socket)
        self.assertEqual(self.socket.calls, ["abort"])
        self.assert_no_streams()
