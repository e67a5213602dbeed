"""Somebody who asks a web site for the same page, on connections that stay: ``PORT``.

Commands are lines of its standard input, answers lines of its standard output, in JSON:

``ask PATH CONNECTIONS SECONDS``
    Each connection asks again as soon as it has its answer: how many there were, and their times
    in seconds.
``take PATH``
    One page, whatever its size: bytes and seconds. Before it begins it says ``ready`` and waits
    for a line.
``press PATH CONNECTIONS``
    As ``ask``, until there is another line; then how many there were.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

from tests.benchmarks.program import HOST
from tests.benchmarks.traffic import SOCKET_SECONDS, announce_transfer

__all__ = ["Asker"]

RECEIVE_BYTES = 1 << 20
LAST_CHUNK = b"0\r\n\r\n"
HEAD_END = b"\r\n\r\n"


class Asker:
    """One connection with one request under way.

    :raises ConnectionError: an answer is not what it should be.
    """

    def __init__(self, port: int, path: str) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=SOCKET_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host = f"Host: {HOST}:{port}\r\n".encode()
        self._request = b"GET %b HTTP/1.1\r\n%b\r\n" % (path.encode(), host)
        self._received = bytearray()
        self._length: int | None = None
        self._head_bytes = 0
        self.body_bytes = 0
        self.begun = 0.0

    def ask(self) -> None:
        self._received.clear()
        self._length, self._head_bytes, self.body_bytes = None, 0, 0
        self.begun = time.perf_counter()
        self.socket.sendall(self._request)

    def receive(self) -> bool:
        """Whether all of the answer is there."""
        data = self.socket.recv(RECEIVE_BYTES)
        if not data:
            raise ConnectionError(f"closed in mid-answer: {bytes(self._received[:200])!r}")
        if not self._head_bytes:
            self._received += data
            end = self._received.find(HEAD_END)
            if end < 0:
                return False
            self._read_head(bytes(self._received[:end]))
            data = bytes(self._received[end + len(HEAD_END) :])
            self._received.clear()
        self.body_bytes += len(data)
        if self._length is not None:
            return self.body_bytes >= self._length
        # In chunks: it is over with the empty one.
        self._received += data[-len(LAST_CHUNK) :]
        del self._received[: -len(LAST_CHUNK)]
        return self._received == LAST_CHUNK

    def _read_head(self, head: bytes) -> None:
        first, *lines = head.split(b"\r\n")
        if first.split(b" ")[1] != b"200":
            raise ConnectionError(f"answered {first!r}")
        self._head_bytes = len(head)
        for line in lines:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                self._length = int(value)


def _ask(port: int, path: str, connections: int, goes_on: Callable[[], bool]) -> list[float]:
    times = []
    with ExitStack() as stack:
        askers = {}
        poller = stack.enter_context(select.epoll())
        for _ in range(connections):
            asker = Asker(port, path)
            stack.enter_context(asker.socket)
            askers[asker.socket.fileno()] = asker
            poller.register(asker.socket, select.EPOLLIN)
            asker.ask()
        left = connections
        while left:
            for descriptor, _ in poller.poll(SOCKET_SECONDS):
                asker = askers[descriptor]
                if not asker.receive():
                    continue
                times.append(time.perf_counter() - asker.begun)
                if goes_on():
                    asker.ask()
                else:
                    left -= 1
    return times


def _ask_for_a_time(port: int, path: str, connections: str, seconds: str) -> None:
    begun = time.perf_counter()
    end = begun + float(seconds)
    times = _ask(port, path, int(connections), lambda: time.perf_counter() < end)
    taken = time.perf_counter() - begun
    print(json.dumps({"count": len(times), "seconds": taken, "times": times}), flush=True)


def _press(port: int, path: str, connections: str) -> None:
    def goes_on() -> bool:
        return not select.select([sys.stdin], [], [], 0)[0]

    times = _ask(port, path, int(connections), goes_on)
    sys.stdin.readline()
    print(json.dumps({"count": len(times)}), flush=True)


def _take(port: int, path: str) -> None:
    asker = Asker(port, path)
    with asker.socket:
        print("ready", flush=True)
        sys.stdin.readline()
        begun = time.perf_counter()
        asker.ask()
        while not asker.receive():
            continue
        announce_transfer(asker.body_bytes, time.perf_counter() - begun)


def _main() -> None:
    port = int(sys.argv[1])
    commands: dict[str, Callable[..., None]] = {
        "ask": _ask_for_a_time,
        "take": _take,
        "press": _press,
    }
    while line := sys.stdin.readline():
        name, *arguments = line.split()
        commands[name](port, *arguments)


if __name__ == "__main__":
    _main()
