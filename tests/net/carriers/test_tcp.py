"""porttunnel.net.carriers.tcp, on real loopback sockets: the kernel's answers are the point."""

from __future__ import annotations

import hashlib
import socket
import struct
import tempfile
from collections.abc import Callable
from errno import EAGAIN, ENOSPC
from pathlib import Path
from typing import Any
from unittest.mock import Mock

from twisted.internet import defer
from twisted.internet import reactor as real_reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from porttunnel.net.carriers.protocol import CarrierProtocol
from porttunnel.net.carriers.tcp import (
    LOOPBACK_CONGESTION_CONTROL,
    MAX_LOANS,
    MAX_VIEWS,
    READS_PER_TURN,
    RECEIVE_BUFFER_BYTES,
    WORTH_ANOTHER_READ_BYTES,
    TCPCarrier,
    can_take_over,
)
from porttunnel.net.counters import ServerCounters
from porttunnel.net.port_sharing import Branch, SharedPortFactory
from porttunnel.session.limit import ConnectionLimiter

reactor: Any = real_reactor

MORE_THAN_FITS_BYTES = 64 << 20
STILL_TURNS = 100  # of the reactor: what was sent on loopback has arrived


class Receiver:
    """Remembers what the carrier reports."""

    def __init__(self) -> None:
        self.carrier: Any = None
        self.data = bytearray()
        self.calls: list[str] = []
        self.reason: Failure | None = None
        self.on_writable: Callable[[], None] = lambda: None
        self.on_received: Callable[[], None] = lambda: None
        self._waiting: list[tuple[Callable[[], bool], defer.Deferred[None]]] = []

    async def until(self, condition: Callable[[], bool]) -> None:
        if not condition():
            waiting: defer.Deferred[None] = defer.Deferred()
            self._waiting.append((condition, waiting))
            await waiting

    async def until_called(self, call: str) -> None:
        await self.until(lambda: call in self.calls)

    def note(self, call: str) -> None:
        self.calls.append(call)
        ready = [entry for entry in self._waiting if entry[0]()]
        for entry in ready:
            self._waiting.remove(entry)
            entry[1].callback(None)

    def carrier_made(self, carrier: Any) -> None:
        self.carrier = carrier
        self.note("made")

    def carrier_received(self, data: memoryview) -> None:
        self.data += data
        self.on_received()
        self.note("received")

    def reading_done(self) -> None:
        self.note("done")

    def carrier_writable(self) -> None:
        self.note("writable")
        self.on_writable()

    def carrier_ended(self) -> None:
        self.note("ended")

    def carrier_lost(self, reason: Failure) -> None:
        self.reason = reason
        self.note("lost")


class Lender(Receiver):
    """Lends rooms of one size; as many as it has."""

    def __init__(self, rooms: int, room_bytes: int = 1_000) -> None:
        super().__init__()
        self.rooms = rooms
        self.lent: list[memoryview] = []
        self.lent_at_once: list[int] = []
        self._room_bytes = room_bytes

    def lend(self, most: int) -> list[memoryview]:
        if self.rooms == 0:
            self.carrier.pause_receiving()
            self.note("out of room")
            return []
        count = min(most, self.rooms)
        self.lent = [memoryview(bytearray(self._room_bytes)) for _ in range(count)]
        self.lent_at_once.append(count)
        self.rooms -= count
        return self.lent

    def filled(self, count: int) -> None:
        self.rooms += len(self.lent) - -(-count // self._room_bytes)
        self.data += b"".join(self.lent)[:count]
        self.note("filled" if count else "not filled")


def take(peer: socket.socket, count: int) -> bytes:
    """What is there, at most ``count``; nothing if there is nothing."""
    try:
        return peer.recv(count)
    except BlockingIOError:
        return b""


def reset(peer: socket.socket) -> None:
    """Close so that the other end is reset."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


async def turn() -> None:
    await deferLater(reactor, 0)


class TCPCarrierTests(TestCase):
    timeout = 60.0  # a deadline, not a measure
    listen = "tcp:0:interface=127.0.0.1"

    async def connect(self, receiver: Receiver, *, lends: bool = False) -> socket.socket:
        """A peer's socket; the carrier is at the other end of it."""
        lender: Any = receiver if lends else None
        subject: Any = receiver
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = (  # type: ignore[method-assign]  # shorter than a class
            lambda addr: CarrierProtocol(reactor, subject, lender)
        )
        peer = await self.connect_to(factory)
        await receiver.until_called("made")
        self.assertIsInstance(receiver.carrier, TCPCarrier)
        return peer

    async def connect_to(self, factory: Factory) -> socket.socket:
        port = await serverFromString(reactor, self.listen).listen(factory)
        self.addCleanup(port.stopListening)
        peer = socket.create_connection(("127.0.0.1", port.getHost().port))
        return self.prepare(peer)

    def prepare(self, peer: socket.socket) -> socket.socket:
        peer.setblocking(False)
        self.addCleanup(peer.close)
        return peer

    async def close(self, receiver: Receiver) -> None:
        receiver.carrier.close()
        await receiver.until_called("lost")
        await turn()

    async def read_all(self, peer: socket.socket, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            data += take(peer, 1 << 20)
            await turn()
        return bytes(data)

    async def read_end(self, peer: socket.socket) -> bytes:
        """What comes until the peer sees the end of it."""
        data = bytearray()
        while True:
            try:
                piece = peer.recv(1 << 20)
            except BlockingIOError:
                await turn()
                continue
            if not piece:
                return bytes(data)
            data += piece

    # Reading

    async def test_gives_what_came_and_who_sent_it(self) -> None:
        receiver = Receiver()
        peer = await self.connect(receiver)
        peer.sendall(b"there")
        await receiver.until(lambda: bytes(receiver.data) == b"there")
        self.assertEqual(
            (receiver.carrier.peer.host, receiver.carrier.peer.port), peer.getsockname()
        )
        self.assertTrue(verifyObject(IReadWriteDescriptor, receiver.carrier))
        self.assertEqual(receiver.carrier.logPrefix(), "porttunnel")
        await self.close(receiver)
        self.assertEqual(receiver.carrier.fileno(), -1)

    async def test_reads_more_than_its_buffer_holds(self) -> None:
        receiver = Receiver()
        peer = await self.connect(receiver)
        sent = hashlib.sha256()
        left = 3 * RECEIVE_BUFFER_BYTES + 1
        place = 0
        while left:
            piece = bytes([place % 251]) * min(left, 60_000)
            try:
                count = peer.send(piece)
            except BlockingIOError:
                count = 0
            sent.update(piece[:count])
            left -= count
            place += bool(count)
            await turn()
        await receiver.until(lambda: len(receiver.data) > 3 * RECEIVE_BUFFER_BYTES)
        self.assertEqual(hashlib.sha256(receiver.data).digest(), sent.digest())
        await self.close(receiver)

    async def test_reads_nothing_while_paused(self) -> None:
        receiver = Receiver()
        peer = await self.connect(receiver)
        receiver.carrier.pause_receiving()
        peer.sendall(b"later")
        for _ in range(STILL_TURNS):
            await turn()
        self.assertEqual(receiver.calls, ["made"])
        receiver.carrier.resume_receiving()
        await receiver.until_called("received")
        self.assertEqual(bytes(receiver.data), b"later")
        await self.close(receiver)

    async def test_the_end_of_bytes_is_told_once_and_ours_still_go(self) -> None:
        receiver = Receiver()
        peer = await self.connect(receiver)
        peer.sendall(b"last")
        peer.shutdown(socket.SHUT_WR)
        await receiver.until_called("ended")
        receiver.carrier.pause_receiving()
        receiver.carrier.resume_receiving()
        self.assertEqual(receiver.carrier.send([memoryview(b"answer")]), 6)
        self.assertEqual(await self.read_all(peer, 6), b"answer")
        self.assertEqual(receiver.calls, ["made", "received", "done", "ended"])
        await self.close(receiver)
        assert receiver.reason is not None
        self.assertIs(receiver.reason.type, ConnectionDone)

    async def test_a_reset_is_a_loss_and_no_end(self) -> None:
        receiver = Receiver()
        reset(await self.connect(receiver))
        await receiver.until_called("lost")
        assert receiver.reason is not None
        self.assertIs(receiver.reason.type, ConnectionLost)
        self.assertNotIn("ended", receiver.calls)

    async def test_reads_again_while_much_comes(self) -> None:
        receiver = Receiver()
        peer = await self.connect(receiver)
        receiver.carrier.pause_receiving()
        peer.setblocking(False)
        sent = 0
        try:
            while sent < MORE_THAN_FITS_BYTES:
                sent += peer.send(bytes(RECEIVE_BUFFER_BYTES))
        except BlockingIOError:
            self.assertLess(sent, MORE_THAN_FITS_BYTES)
        receiver.carrier.resume_receiving()
        await receiver.until(lambda: len(receiver.data) == sent)
        self.assertGreater(sent, RECEIVE_BUFFER_BYTES)
        await self.close(receiver)

    async def test_reads_no_more_once_it_is_paused(self) -> None:
        receiver = Receiver()
        peer = await self.connect(receiver)
        receiver.carrier.pause_receiving()
        peer.setblocking(False)
        self.assertGreater(peer.send(bytes(4 * WORTH_ANOTHER_READ_BYTES)), 0)
        receiver.on_received = receiver.carrier.pause_receiving
        receiver.carrier.resume_receiving()
        await receiver.until_called("received")
        for _ in range(STILL_TURNS):
            await turn()
        self.assertEqual(receiver.calls.count("received"), 1)
        await self.close(receiver)

    async def test_a_loopback_socket_is_not_paced(self) -> None:
        receiver = Receiver()
        await self.connect(receiver)
        used = receiver.carrier._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        self.assertEqual(used.rstrip(b"\0"), LOOPBACK_CONGESTION_CONTROL)
        await self.close(receiver)

    # Lending

    async def test_receives_into_what_it_is_lent(self) -> None:
        lender = Lender(rooms=100)
        peer = await self.connect(lender, lends=True)
        lender.carrier.pause_receiving()
        sent = bytes(index * 7 % 251 for index in range(1_000 * READS_PER_TURN * MAX_LOANS))
        peer.sendall(sent)
        lender.carrier.resume_receiving()
        await lender.until(lambda: len(lender.data) == len(sent))
        self.assertEqual(bytes(lender.data), sent)
        # Read in one turn, reported together, and then others have theirs.
        first_turn = lender.calls[1 : lender.calls.index("done")]
        self.assertEqual(first_turn, ["filled"] * READS_PER_TURN)
        # Where much comes, several rooms are filled by one read.
        self.assertEqual(lender.lent_at_once[:READS_PER_TURN], [1, *[MAX_LOANS] * 3])
        await self.close(lender)

    async def test_waits_when_there_is_no_room(self) -> None:
        lender = Lender(rooms=2)
        peer = await self.connect(lender, lends=True)
        peer.sendall(bytes(5_000))
        await lender.until_called("done")
        for _ in range(STILL_TURNS):
            await turn()
        self.assertEqual(lender.calls, ["made", "filled", "filled", "out of room", "done"])
        lender.rooms = 10
        lender.carrier.resume_receiving()
        await lender.until(lambda: len(lender.data) == 5_000)
        await self.close(lender)

    async def test_sees_an_end_behind_full_rooms(self) -> None:
        lender = Lender(rooms=10)
        peer = await self.connect(lender, lends=True)
        lender.carrier.pause_receiving()
        peer.sendall(bytes(2_000))
        peer.shutdown(socket.SHUT_WR)
        lender.carrier.resume_receiving()
        await lender.until_called("ended")
        # What came before the end is sent before it, too.
        self.assertEqual(lender.calls[:4], ["made", "filled", "filled", "done"])
        self.assertEqual(lender.calls[4:], ["not filled", "done", "ended"])
        await self.close(lender)

    async def test_takes_full_rooms_and_nothing_behind_them(self) -> None:
        lender = Lender(rooms=100)
        peer = await self.connect(lender, lends=True)
        lender.carrier.pause_receiving()
        peer.sendall(bytes(1_000 * (1 + MAX_LOANS)))
        lender.carrier.resume_receiving()
        await lender.until_called("done")
        # Nor does it ask for room that nothing is there for: others would wait for it in vain.
        self.assertEqual(lender.calls, ["made", "filled", "filled", "done"])
        self.assertEqual(lender.lent_at_once, [1, MAX_LOANS])
        await self.close(lender)

    async def test_a_reset_behind_lent_rooms(self) -> None:
        lender = Lender(rooms=10)
        reset(await self.connect(lender, lends=True))
        await lender.until_called("lost")
        assert lender.reason is not None
        self.assertIs(lender.reason.type, ConnectionLost)
        self.assertNotIn("ended", lender.calls)

    # Sending

    async def test_an_error_of_who_gets_the_bytes_is_none_of_the_socket(self) -> None:
        """A full disk, say, or a pipe that takes nothing just now."""

        for number in (ENOSPC, EAGAIN):
            for receiver, call in (
                (Receiver(), "carrier_received"),
                (Lender(1), "lend"),
                (Lender(1), "filled"),
            ):
                error = OSError(number, "not the socket's")
                self.patch(receiver, call, Mock(side_effect=error))
                peer = await self.connect(receiver, lends=isinstance(receiver, Lender))
                peer.sendall(b"there")
                await receiver.until_called("lost")
                assert receiver.reason is not None
                self.assertIs(receiver.reason.value, error)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 6)

    async def test_sends_views_in_order(self) -> None:
        receiver = Receiver()
        peer = await self.connect(receiver)
        pieces = [bytes([place % 256]) * (place + 1) for place in range(3 * MAX_VIEWS + 5)]
        sent = b"".join(pieces)
        self.assertEqual(receiver.carrier.send([memoryview(piece) for piece in pieces]), len(sent))
        self.assertEqual(receiver.carrier.send([]), 0)
        self.assertEqual(await self.read_all(peer, len(sent)), sent)
        self.assertNotIn("writable", receiver.calls)
        await self.close(receiver)

    async def test_says_what_was_taken_and_when_there_is_room(self) -> None:
        receiver = Receiver()
        peer = await self.connect(receiver)
        block = memoryview(bytes(1 << 20))
        views = [block] * (MORE_THAN_FITS_BYTES >> 20)
        taken = receiver.carrier.send(views)
        self.assertGreater(taken, 0)
        self.assertLess(taken, MORE_THAN_FITS_BYTES)
        # Full: with one view and with many.
        while more := receiver.carrier.send([block]):
            taken += more
        self.assertEqual(receiver.carrier.send(views), 0)
        left = MORE_THAN_FITS_BYTES - taken

        def send_more() -> None:
            nonlocal left
            while left and (count := receiver.carrier.send([block[: min(left, len(block))]])):
                left -= count

        receiver.on_writable = send_more
        received = await self.read_all(peer, MORE_THAN_FITS_BYTES)
        self.assertEqual(len(received), MORE_THAN_FITS_BYTES)
        self.assertEqual(left, 0)
        # All was taken at last, so nobody waits to hear of more room.
        told = receiver.calls.count("writable")
        for _ in range(STILL_TURNS):
            await turn()
        self.assertEqual(receiver.calls.count("writable"), told)
        await self.close(receiver)

    async def test_a_reset_while_sending_is_told_later_and_is_no_end(self) -> None:
        receiver = Receiver()
        peer = await self.connect(receiver)
        receiver.carrier.pause_receiving()
        reset(peer)
        self.assertEqual(receiver.carrier.send([memoryview(b"to nobody")]), 0)
        self.assertEqual(receiver.calls, ["made"])
        # The kernel has told of the reset; whoever reads now sees an orderly end.
        receiver.carrier.resume_receiving()
        self.assertIsNone(receiver.carrier.doRead())
        self.assertEqual(receiver.carrier.send([memoryview(b"to nobody")]), 0)
        receiver.carrier.limit_unsent(1 << 20)
        receiver.carrier.end()
        await receiver.until_called("lost")
        self.assertEqual(receiver.calls, ["made", "lost"])
        assert receiver.reason is not None
        self.assertIs(receiver.reason.type, ConnectionLost)
        self.assertEqual(receiver.carrier.send([memoryview(b"to nobody")]), 0)

    async def test_a_limit_for_what_is_unsent(self) -> None:
        receiver = Receiver()
        await self.connect(receiver)
        receiver.carrier.limit_unsent(131_072)
        option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
        if option is not None:
            taken_over = receiver.carrier._socket
            self.assertEqual(taken_over.getsockopt(socket.IPPROTO_TCP, option), 131_072)
        self.assertTrue(
            receiver.carrier._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        )
        await self.close(receiver)
        receiver.carrier.limit_unsent(262_144)

    # Closing

    async def test_half_a_close(self) -> None:
        receiver = Receiver()
        peer = await self.connect(receiver)
        receiver.carrier.send([memoryview(b"last words")])
        receiver.carrier.end()
        self.assertEqual(await self.read_end(peer), b"last words")
        peer.sendall(b"still listening?")
        await receiver.until_called("received")
        self.assertEqual(bytes(receiver.data), b"still listening?")
        await self.close(receiver)

    async def test_half_a_close_after_a_reset(self) -> None:
        receiver = Receiver()
        peer = await self.connect(receiver)
        receiver.carrier.pause_receiving()
        reset(peer)
        receiver.carrier.end()
        await receiver.until_called("lost")
        self.assertEqual(receiver.calls, ["made", "lost"])

    async def test_a_close_delivers_what_was_taken(self) -> None:
        receiver = Receiver()
        peer = await self.connect(receiver)
        taken = receiver.carrier.send([memoryview(bytes(1 << 20))])
        receiver.carrier.close()
        receiver.carrier.close()
        self.assertEqual(len(await self.read_end(peer)), taken)
        await receiver.until_called("lost")
        assert receiver.reason is not None
        self.assertIs(receiver.reason.type, ConnectionDone)
        receiver.carrier.close()
        receiver.carrier.abort()
        receiver.carrier.end()
        receiver.carrier.resume_receiving()
        await turn()
        self.assertEqual(receiver.calls.count("lost"), 1)

    async def test_an_abort_resets_the_peer(self) -> None:
        receiver = Receiver()
        peer = await self.connect(receiver)
        receiver.carrier.abort()
        receiver.carrier.resume_receiving()
        self.assertEqual(receiver.calls, ["made"])
        await receiver.until_called("lost")
        assert receiver.reason is not None
        self.assertIs(receiver.reason.type, ConnectionAborted)
        await turn()
        with self.assertRaises(ConnectionResetError):
            peer.recv(1)

    # Taking over

    async def test_takes_over_after_others_have_looked(self) -> None:
        receiver = Receiver()
        subject: Any = receiver
        packets = Factory()
        packets.noisy = False
        packets.buildProtocol = (  # type: ignore[method-assign]  # shorter than a class
            lambda addr: CarrierProtocol(reactor, subject)
        )
        limiter = ConnectionLimiter(per_prefix=10, overall=10)
        shared = SharedPortFactory(
            reactor,
            {Branch.PACKETS: packets},
            tls=None,
            limiter=limiter,
            counters=ServerCounters(),
        )
        peer = await self.connect_to(shared)
        for piece in (b"P", b"T", b"\x01more"):
            peer.sendall(piece)
            await turn()
        await receiver.until(lambda: len(receiver.data) == 7)
        self.assertIsInstance(receiver.carrier, TCPCarrier)
        self.assertEqual(bytes(receiver.data), b"PT\x01more")
        peer.sendall(b" and more")
        await receiver.until(lambda: len(receiver.data) == 16)
        receiver.carrier.send([memoryview(b"answer")])
        self.assertEqual(await self.read_all(peer, 6), b"answer")
        await self.close(receiver)

    async def test_needs_a_stream_socket_and_a_reactor_that_watches_it(self) -> None:
        taken: list[tuple[bool, bool]] = []

        class Looking(Receiver):
            def carrier_made(self, carrier: Any) -> None:
                transport = carrier._transport
                taken.append(
                    (can_take_over(transport, reactor), can_take_over(transport, Clock()))
                )
                transport.TLS = True
                self.tls = can_take_over(transport, reactor)
                transport.TLS = False
                super().carrier_made(carrier)

        receiver = Looking()
        await self.connect(receiver)
        self.assertEqual(taken, [(True, False)])
        self.assertFalse(receiver.tls)
        self.assertFalse(can_take_over(StringTransport(), reactor))
        await self.close(receiver)


class UNIXTests(TestCase):
    """A local socket has no TCP options; all else is the same."""

    timeout = 60.0

    async def test_carries_bytes(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name) / "socket"
        receiver = Receiver()
        subject: Any = receiver
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = (  # type: ignore[method-assign]  # shorter than a class
            lambda addr: CarrierProtocol(reactor, subject)
        )
        port = await serverFromString(reactor, f"unix:{path}").listen(factory)
        self.addCleanup(port.stopListening)
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(path))
            await receiver.until_called("made")
            self.assertIsInstance(receiver.carrier, TCPCarrier)
            receiver.carrier.limit_unsent(65_536)
            peer.sendall(b"there")
            await receiver.until_called("received")
            receiver.carrier.send([memoryview(b"back")])
            self.assertEqual(peer.recv(10), b"back")
            receiver.carrier.close()
            await receiver.until_called("lost")
            self.assertEqual(peer.recv(10), b"")
