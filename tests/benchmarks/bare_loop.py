"""The least that Python processes need for what ours do: loops that receive, encrypt and send.

No protocol, no check, no framework: three of them one behind the other, of which the first and
the last encrypt all that passes, in both directions. What a goal asks for below their figures
can't be had with three processes of Python, whatever they do between.
"""

from __future__ import annotations

import select
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.benchmarks.program import HOST, Program
from tests.benchmarks.traffic_programs import start_member

__all__ = ["BARE", "BareLoops", "bare_loops"]

BARE = "bare Python loops"
ENCRYPTS, PASSES_ON = 1, 0
READ_BYTES = 1 << 18  # the least CPU of what was tried from 64 KiB to 1 MiB
READS_A_TURN = 4
PIECE_BYTES = 1 << 16  # encrypted in one call, as a packet of ours
HEADER_BYTES = 36
TAG_BYTES = 16
CONGESTION_CONTROL = b"cubic"  # as ours on loopback


@dataclass(frozen=True)
class BareLoops:
    """A running chain.

    :ivar port: of the first one.
    """

    port: int
    processes: tuple[Program, ...]

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.processes]


@contextmanager
def bare_loops(target: int, folder: Path) -> Iterator[BareLoops]:
    """Three of them before a loopback port."""
    with ExitStack() as stack:
        processes = []
        for role in (ENCRYPTS, PASSES_ON, ENCRYPTS):
            loop = stack.enter_context(
                start_member("bare_loop", "loop", target, role, folder=folder)
            )
            target = int(loop.read_line())
            processes.append(loop)
        yield BareLoops(target, tuple(processes))


class _Loop:
    """Forwards between each connection that comes and one of its own to the target."""

    def __init__(self, target: int, encrypts: bool) -> None:
        self._target = target
        self._encrypts = encrypts
        self._encrypt = AESGCM(bytes(32)).encrypt_into
        self._nonce = bytes(12)
        self._header = bytes(HEADER_BYTES)
        self._sealed = memoryview(bytearray(PIECE_BYTES + TAG_BYTES))
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._others: dict[int, tuple[socket.socket, socket.socket]] = {}
        self._unsent: dict[int, memoryview] = {}
        self._poll = select.epoll()
        self._listening = socket.create_server((HOST, 0))
        self._poll.register(self._listening.fileno(), select.EPOLLIN)

    def run(self) -> None:
        print(self._listening.getsockname()[1], flush=True)
        while True:
            for descriptor, event in self._poll.poll():
                if descriptor == self._listening.fileno():
                    self._accept()
                elif descriptor not in self._others:
                    continue  # closed in this turn
                elif event & select.EPOLLOUT:
                    self._send_rest(*self._others[descriptor])
                else:
                    self._forward(*self._others[descriptor])

    def _accept(self) -> None:
        pair = (self._listening.accept()[0], socket.create_connection((HOST, self._target)))
        for one, other in (pair, pair[::-1]):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONGESTION_CONTROL)
            one.setblocking(False)
            self._others[one.fileno()] = (one, other)
            self._poll.register(one.fileno(), select.EPOLLIN)

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        if sink.fileno() in self._unsent:
            return
        for _ in range(READS_A_TURN):
            try:
                count = source.recv_into(self._buffer)
            except BlockingIOError:
                return
            if not count:
                self._close(source, sink)
                return
            if self._encrypts:
                self._encrypt_all(count)
            try:
                sent = sink.send(self._buffer[:count])
            except BlockingIOError:
                sent = 0
            if sent < count:
                self._unsent[sink.fileno()] = memoryview(bytes(self._buffer[sent:count]))
                self._poll.modify(sink.fileno(), select.EPOLLOUT)
                self._poll.modify(source.fileno(), 0)
                return
            if count < PIECE_BYTES:
                return

    def _encrypt_all(self, count: int) -> None:
        # Beside the bytes, which go on as they are: it is the time that counts.
        for start in range(0, count, PIECE_BYTES):
            piece = self._buffer[start : min(start + PIECE_BYTES, count)]
            sealed = self._sealed[: len(piece) + TAG_BYTES]
            self._encrypt(self._nonce, piece, self._header, sealed)

    def _send_rest(self, sink: socket.socket, source: socket.socket) -> None:
        rest = self._unsent.pop(sink.fileno())
        sent = sink.send(rest)
        if sent < len(rest):
            self._unsent[sink.fileno()] = rest[sent:]
        else:
            self._poll.modify(sink.fileno(), select.EPOLLIN)
            self._poll.modify(source.fileno(), select.EPOLLIN)

    def _close(self, *pair: socket.socket) -> None:
        for connection in pair:
            del self._others[connection.fileno()]
            self._unsent.pop(connection.fileno(), None)
            connection.close()


if __name__ == "__main__":
    _Loop(int(sys.argv[2]), int(sys.argv[3]) == ENCRYPTS).run()
