"""A network that fails on command: stands between a program and a TCP port, in a thread.

Every command is in force when it returns. What is drawn at random comes from one seed.
"""

from __future__ import annotations

import random
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from enum import Enum, auto
from typing import Any, Self

__all__ = ["Cut", "FaultProxy"]

WAIT_SECONDS = 60.0  # a deadline, not a measure
READ_BYTES = 65_536  # more is a fresh mmap each time
PASSING_BYTES = 262_144  # held for a receiver that is slower
# Held while nothing is passed on: a session's whole window of 8 MiB disappears in it.
HOLDING_BYTES = 16 << 20
NO_LINGER = struct.pack("ii", 1, 0)  # close() then sends RST
PLACES_OF_RANDOM_CUTS = 0.9  # of the bytes of a transfer; the last one lies well within it

Address = tuple[str, int]


class Cut(Enum):
    """How a connection ends for both who are at its ends."""

    RESET = auto()  # RST: an error at once
    FINISH = auto()  # FIN: as if the other one had closed


class _State(Enum):
    PASSING = auto()
    HOLDING = auto()  # takes bytes and ends, and passes on neither
    FINISHING = auto()  # both have got FIN; what still comes is thrown away


class _Way:
    """One direction of a connection."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source = source
        self.target = target
        self.waiting: deque[tuple[float, memoryview]] = deque()  # not before this time
        self.waiting_bytes = 0
        self.source_ended = False
        self.end_passed = False


class _Connection:
    def __init__(self, member: socket.socket, server: socket.socket) -> None:
        self.ways = (_Way(member, server), _Way(server, member))
        self.state = _State.PASSING
        self.open = {member, server}


class FaultProxy:
    """Passes on what comes, until told otherwise.

    :param port: where on this machine the connections lead.
    :param seed: of sizes of pieces, and of places and kinds of cuts.

    :ivar port: where to connect instead.
    :ivar accepted: connections so far.
    :ivar cuts: connections that were cut so far.
    :ivar passed: bytes that were passed on so far, both ways together.
    """

    def __init__(self, port: int, *, seed: int = 0) -> None:
        self.accepted = 0
        self.cuts = 0
        self.passed = 0
        self._target: Address = ("127.0.0.1", port)
        self._random = random.Random(seed)
        self._delay_seconds = 0.0
        self._piece_bytes: int | None = None
        self._cut_places: deque[int] = deque()
        self._connections: list[_Connection] = []
        self._changed = threading.Condition()
        self._commands: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._now = 0.0
        self._running = True
        self._selector = selectors.DefaultSelector()
        self._waker, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._listener = _bound(0)
        self.port: int = self._listener.getsockname()[1]
        self._listen()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """What to give as ``--server``."""
        return f"ptun://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._command(self._stop)
        self._thread.join(WAIT_SECONDS)

    # Commands

    def cut(self, how: Cut = Cut.RESET) -> float:
        """End every connection there is; what waits here is lost.

        :returns: when, by :func:`time.monotonic`.
        """
        cut_at: float = self._command(lambda: self._cut_all(how))
        return cut_at

    def cut_at_random(self, count: int, within_bytes: int) -> None:
        """Cut so often, in either way, at random places of the next ``within_bytes``.

        Whoever transfers as many bytes meets all of them: what is sent again counts too.
        """

        def plan() -> None:
            places = self._random.sample(
                range(1, int(within_bytes * PLACES_OF_RANDOM_CUTS)), count
            )
            self._cut_places = deque(self.passed + place for place in sorted(places))

        self._command(plan)

    def hold(self) -> None:
        """The connections that there are go silent: bytes are taken, nothing comes out of them,
        and neither end learns that the other one has ended. New ones work."""

        def hold() -> None:
            for connection in self._connections:
                if connection.state is _State.PASSING:
                    connection.state = _State.HOLDING

        self._command(hold)

    def release(self) -> None:
        """What was held comes late."""

        def release() -> None:
            for connection in list(self._connections):
                if connection.state is _State.HOLDING:
                    connection.state = _State.PASSING
                    if len(connection.open) < 2:
                        self._reset(connection)

        self._command(release)

    def delay(self, seconds: float) -> None:
        """From now on everything takes so long in each way."""

        def delay() -> None:
            self._delay_seconds = seconds

        self._command(delay)

    def split(self, at_most_bytes: int | None) -> None:
        """From now on bytes go on in pieces of 1 to so many; None: as they come."""

        def split() -> None:
            self._piece_bytes = at_most_bytes

        self._command(split)

    def refuse(self) -> None:
        """From now on nobody can connect; what is connected stays."""

        def refuse() -> None:
            self._selector.unregister(self._listener)
            self._listener.close()
            # Still ours, so that nobody else gets it; a port without listen() refuses.
            self._listener = _bound(self.port)

        self._command(refuse)

    def accept(self) -> None:
        """The opposite of :meth:`refuse`."""
        self._command(self._listen)

    def wait_for_passed(self, count: int) -> None:
        """Until so many bytes have been passed on."""
        with self._changed:
            came = self._changed.wait_for(lambda: self.passed >= count, WAIT_SECONDS)
        assert came, f"{self.passed} of {count} bytes so far"

    def _command(self, function: Callable[[], Any]) -> Any:
        done: Future[Any] = Future()
        self._commands.append((function, done))
        self._waker.send(b"x")
        return done.result(WAIT_SECONDS)

    # In the thread

    def _run(self) -> None:
        while self._running:
            before = self.passed
            ready = self._selector.select(self._next_due())
            for key, mask in ready:
                end = key.fileobj
                if end is self._listener:
                    self._accept()
                elif key.data is not None and end in key.data.open and mask & selectors.EVENT_READ:
                    self._read(key.data, end)
            # Last: a command may close what is ready.
            if any(key.fileobj is self._woken for key, _ in ready):
                self._obey()
            # One time for all: what is not due yet when it is looked at must be waited for.
            self._now = time.monotonic()
            for connection in list(self._connections):
                self._pass_on(connection)
                self._watch(connection)
            if before != self.passed:
                with self._changed:
                    self._changed.notify_all()

    def _obey(self) -> None:
        self._woken.recv(READ_BYTES)
        while self._commands:
            function, done = self._commands.popleft()
            try:
                done.set_result(function())
            except BaseException as error:  # is raised where the command was given
                done.set_exception(error)

    def _stop(self) -> None:
        self._running = False
        for connection in list(self._connections):
            self._reset(connection)
        for ended in (self._listener, self._waker, self._woken, self._selector):
            ended.close()

    def _listen(self) -> None:
        self._listener.listen()
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, None)

    def _accept(self) -> None:
        try:
            member, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return  # it has gone again
        self.accepted += 1
        try:
            # The kernel answers at once, whatever the program at the port does.
            server = socket.create_connection(self._target, WAIT_SECONDS)
        except ConnectionRefusedError:
            _abort(member)
            return
        for end in (member, server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections.append(_Connection(member, server))

    def _read(self, connection: _Connection, end: Any) -> None:
        (way,) = (way for way in connection.ways if way.source is end)
        try:
            data = end.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            if connection.state is _State.PASSING:
                self._reset(connection)
            else:
                self._close(connection, end)
            return
        if not data:
            way.source_ended = True
            if connection.state is _State.FINISHING:
                self._close(connection, end)
        elif connection.state is not _State.FINISHING:
            way.waiting.append((time.monotonic() + self._delay_seconds, memoryview(data)))
            way.waiting_bytes += len(data)

    def _pass_on(self, connection: _Connection) -> None:
        for way in connection.ways:
            while connection.state is _State.PASSING and self._pass_piece(connection, way):
                if self._piece_bytes is not None:
                    break  # everybody gets a turn between two pieces
            if connection.state is not _State.PASSING:
                return
            if way.source_ended and not way.waiting and not way.end_passed:
                way.end_passed = True
                with suppress(OSError):  # its other end has just gone too
                    way.target.shutdown(socket.SHUT_WR)
        if all(way.end_passed for way in connection.ways):
            for end in list(connection.open):
                self._close(connection, end)

    def _pass_piece(self, connection: _Connection, way: _Way) -> bool:
        """Whether there may be more to pass on."""
        if not way.waiting or way.waiting[0][0] > self._now:
            return False
        due, data = way.waiting[0]
        most = len(data)
        if self._piece_bytes is not None:
            most = self._random.randint(1, self._piece_bytes)
        if self._cut_places:
            most = min(most, self._cut_places[0] - self.passed)
        try:
            count = way.target.send(data[:most])
        except BlockingIOError:
            return False
        except OSError:
            self._reset(connection)
            return False
        way.waiting_bytes -= count
        way.waiting.popleft()
        if count < len(data):
            way.waiting.appendleft((due, data[count:]))
        self.passed += count
        if self._cut_places and self.passed >= self._cut_places[0]:
            self._cut_places.popleft()
            self._cut_all(self._random.choice(list(Cut)))
        return True

    def _cut_all(self, how: Cut) -> float:
        for connection in list(self._connections):
            if connection.state is _State.FINISHING:
                continue
            self.cuts += 1
            if how is Cut.RESET:
                self._reset(connection)
            else:
                self._finish(connection)
        return time.monotonic()

    def _finish(self, connection: _Connection) -> None:
        connection.state = _State.FINISHING
        for way in connection.ways:
            way.waiting.clear()
            way.waiting_bytes = 0
            with suppress(OSError):  # its other end has just gone
                way.source.shutdown(socket.SHUT_WR)
        for way in connection.ways:
            if way.source_ended and way.source in connection.open:
                self._close(connection, way.source)

    def _reset(self, connection: _Connection) -> None:
        connection.state = _State.FINISHING
        for end in list(connection.open):
            self._close(connection, end, abort=True)

    def _close(self, connection: _Connection, end: socket.socket, *, abort: bool = False) -> None:
        if end in self._selector.get_map():
            self._selector.unregister(end)
        if abort:
            _abort(end)
        else:
            end.close()
        connection.open.discard(end)
        if not connection.open:
            self._connections.remove(connection)

    def _watch(self, connection: _Connection) -> None:
        """Ask the kernel for what can be used."""
        for reading, writing in (connection.ways, connection.ways[::-1]):
            end = reading.source
            if end not in connection.open:
                continue
            mask = 0
            if not reading.source_ended and reading.waiting_bytes < self._room(connection):
                mask |= selectors.EVENT_READ
            due = writing.waiting and writing.waiting[0][0] <= self._now
            if due and connection.state is _State.PASSING:
                mask |= selectors.EVENT_WRITE
            watched = self._selector.get_map().get(end)
            if watched is None:
                if mask:
                    self._selector.register(end, mask, connection)
            elif not mask:
                self._selector.unregister(end)
            elif watched.events != mask:
                self._selector.modify(end, mask, connection)

    def _room(self, connection: _Connection) -> int:
        passing = connection.state is _State.PASSING and not self._delay_seconds
        return PASSING_BYTES if passing else HOLDING_BYTES

    def _next_due(self) -> float | None:
        due = [
            way.waiting[0][0]
            for connection in self._connections
            if connection.state is _State.PASSING
            for way in connection.ways
            if way.waiting and way.waiting[0][0] > self._now
        ]
        return max(0.0, min(due) - time.monotonic()) if due else None


def _abort(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    end.close()


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound
