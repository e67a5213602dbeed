"""porttunnel.net.carriers.watch, on real sockets: which events come is the kernel's to say."""

from __future__ import annotations

import select
import socket
import struct
from typing import Any

import pytest
from twisted.internet import main
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from porttunnel.net.carriers.watch import MAX_EVENTS, SocketWatch, watch_for

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="Linux has epoll")


class Reactor(MemoryReactor, Clock):
    """Keeps who is watched, and a clock."""

    def __init__(self) -> None:
        MemoryReactor.__init__(self)
        Clock.__init__(self)


class End:
    """A descriptor that remembers its calls."""

    def __init__(self, log: list[Any], connection: socket.socket) -> None:
        self.log = log
        self.connection = connection
        self.on_read: Any = lambda: None
        self.lost: Failure | None = None

    def fileno(self) -> int:
        return self.connection.fileno()

    def doRead(self) -> Any:
        self.log.append((self, "read"))
        return self.on_read()

    def doWrite(self) -> None:
        self.log.append((self, "write"))

    def connectionLost(self, reason: Failure) -> None:
        self.lost = reason


class WatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.log: list[Any] = []
        self.watch: Any = watch_for(self.reactor, self)

    def begin_turn(self) -> None:
        self.log.append("begin")

    def end_turn(self) -> None:
        self.log.append("end")

    def pair(self) -> tuple[End, socket.socket]:
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        return End(self.log, ours), theirs

    def connected(self) -> tuple[End, socket.socket]:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            theirs = socket.create_connection(listening.getsockname())
            ours, _ = listening.accept()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        return End(self.log, ours), theirs

    def turn(self) -> list[Any]:
        """What happens in one."""
        self.log.clear()
        self.watch.doRead()
        self.assertEqual((self.log[0], self.log[-1]), ("begin", "end"))
        return self.log[1:-1]

    def test_is_what_it_says(self) -> None:
        verifyObject(IReactorFDSet, self.watch)
        verifyObject(IReadDescriptor, self.watch)
        self.assertIsInstance(self.watch, SocketWatch)
        self.assertEqual(self.watch.logPrefix(), "porttunnel")

    def test_leaves_other_reactors_alone(self) -> None:
        clock = Clock()
        self.assertIs(watch_for(clock, self), clock)

    def test_has_the_reactors_time(self) -> None:
        calls: list[str] = []
        self.watch.callLater(2.0, calls.append, "late")
        self.reactor.advance(2.0)
        self.assertEqual((calls, self.watch.seconds()), (["late"], 2.0))

    def test_all_that_are_ready_are_called_in_one_turn(self) -> None:
        ends = [self.pair() for _ in range(3)]
        for ours, theirs in ends:
            self.watch.addReader(ours)
            theirs.send(b"x")
        self.assertCountEqual(self.turn(), [(ours, "read") for ours, _ in ends])
        self.assertEqual(self.reactor.getReaders(), [self.watch])
        # One descriptor is ready when one of many is.
        self.assertTrue(select.select([self.watch], [], [], 0)[0])

    def test_those_beyond_a_turns_number_come_in_the_next(self) -> None:
        ends = [self.pair() for _ in range(MAX_EVENTS + 1)]
        for ours, theirs in ends:
            ours.on_read = lambda ours=ours: self.watch.removeReader(ours)
            self.watch.addReader(ours)
            theirs.send(b"x")
        self.assertEqual(len(self.turn()), MAX_EVENTS)
        self.assertEqual(len(self.turn()), 1)
        self.assertEqual(self.turn(), [])

    def test_watches_for_what_is_wanted(self) -> None:
        ours, theirs = self.pair()
        theirs.send(b"x")
        self.watch.addWriter(ours)
        self.assertEqual(self.turn(), [(ours, "write")])
        self.assertEqual((self.watch.getReaders(), self.watch.getWriters()), ([], [ours]))
        self.watch.addReader(ours)
        self.watch.addReader(ours)
        self.assertEqual(self.turn(), [(ours, "read"), (ours, "write")])
        self.watch.removeWriter(ours)
        self.watch.removeWriter(ours)
        self.assertEqual(self.turn(), [(ours, "read")])
        self.assertEqual((self.watch.getReaders(), self.watch.getWriters()), ([ours], []))

    def test_is_watched_itself_only_while_it_watches(self) -> None:
        one, two = self.pair()[0], self.pair()[0]
        self.assertEqual(self.reactor.getReaders(), [])
        self.watch.addReader(one)
        self.watch.addReader(two)
        self.watch.removeReader(one)
        self.watch.removeReader(one)
        self.assertEqual(self.reactor.getReaders(), [self.watch])
        self.watch.removeReader(two)
        self.assertEqual(self.reactor.getReaders(), [])

    def test_who_ended_another_one_spares_it_the_call(self) -> None:
        one, from_one = self.pair()
        two, from_two = self.pair()
        one.on_read = lambda: self.watch.removeReader(two)
        two.on_read = lambda: self.watch.removeReader(one)
        for ours, theirs in ((one, from_one), (two, from_two)):
            self.watch.addReader(ours)
            theirs.send(b"x")
        self.assertEqual(len(self.turn()), 1)

    def test_who_ends_itself_is_not_written_to(self) -> None:
        ours, theirs = self.pair()
        theirs.send(b"x")
        ours.on_read = ours.connection.close
        self.watch.addReader(ours)
        self.watch.addWriter(ours)
        self.assertEqual(self.turn(), [(ours, "read")])

    def test_what_a_read_says_ends_the_connection(self) -> None:
        ours, theirs = self.pair()
        theirs.send(b"x")
        ours.on_read = lambda: main.CONNECTION_DONE
        self.watch.addReader(ours)
        self.watch.addWriter(ours)
        self.assertEqual(self.turn(), [(ours, "read")])
        assert ours.lost is not None
        self.assertIs(ours.lost.value, main.CONNECTION_DONE)
        self.assertEqual(self.reactor.getReaders(), [])

    def test_a_mistake_ends_only_its_own_connection(self) -> None:
        one, from_one = self.pair()
        two, from_two = self.pair()
        one.on_read = lambda: 1 // 0
        for ours, theirs in ((one, from_one), (two, from_two)):
            self.watch.addReader(ours)
            theirs.send(b"x")
        self.assertCountEqual(self.turn(), [(one, "read"), (two, "read")])
        assert one.lost is not None
        self.assertIsInstance(one.lost.value, ZeroDivisionError)
        self.assertIsNone(two.lost)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_reset_is_told_to_who_does_not_read(self) -> None:
        ours, theirs = self.connected()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.watch.addWriter(ours)
        theirs.close()
        self.assertEqual(self.turn(), [])
        assert ours.lost is not None
        self.assertIs(ours.lost.value, main.CONNECTION_LOST)

    def test_an_end_is_told_to_who_reads(self) -> None:
        ours, theirs = self.pair()
        self.watch.addReader(ours)
        theirs.close()
        self.assertEqual(self.turn(), [(ours, "read")])
        self.assertIsNone(ours.lost)

    def test_all_end_with_the_reactor(self) -> None:
        ends = [self.pair()[0] for _ in range(2)]
        for end in ends:
            self.watch.addReader(end)
        self.watch.connectionLost(Failure(main.CONNECTION_LOST))
        self.assertTrue(all(end.lost is not None for end in ends))
        self.assertEqual((self.watch.getReaders(), self.reactor.getReaders()), ([], []))
