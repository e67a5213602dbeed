"""Both ends of every connection that is measured, as processes with plain sockets.

A transfer is: eight bytes that say how many are wanted, and as many bytes back. ``fetch`` says
``ready`` once it is connected and begins at a line of its standard input, so that whoever
measures reads the others' clocks in between; then it prints what it got.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable

from tests.benchmarks.program import HOST

__all__ = [
    "COUNT",
    "SOCKET_SECONDS",
    "WARM_UP_TRIPS",
    "announce_transfer",
    "fetch",
    "receive_exactly",
    "serve",
]

COUNT = struct.Struct(">Q")
CHUNK_BYTES = 262_144
RECEIVE_BYTES = 1 << 20
WARM_UP_TRIPS = 200
SOCKET_SECONDS = 120.0  # nothing here stands still for so long, unless it is broken

_chunk = memoryview(os.urandom(CHUNK_BYTES))


def receive_exactly(connection: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        data = connection.recv(count - len(received))
        if not data:
            raise ConnectionError("closed too early")
        received += data
    return bytes(received)


def _send_bytes(connection: socket.socket, count: int) -> None:
    while count:
        size = min(count, CHUNK_BYTES)
        connection.sendall(_chunk[:size])
        count -= size


def announce_transfer(count: int, seconds: float) -> None:
    print(json.dumps({"bytes": count, "seconds": seconds}), flush=True)


def _source() -> None:
    _listen(serve)


def _echo() -> None:
    _listen(_send_back)


def _listen(answer: Callable[[socket.socket], None]) -> None:
    listening = socket.create_server((HOST, 0))
    print(listening.getsockname()[1], flush=True)
    while True:
        connection, _ = listening.accept()
        connection.settimeout(SOCKET_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def _send_back(connection: socket.socket) -> None:
    with connection:
        while data := connection.recv(CHUNK_BYTES):
            connection.sendall(data)


def serve(connection: socket.socket) -> None:
    """Answer one ``fetch``."""
    with connection:
        try:
            (count,) = COUNT.unpack(receive_exactly(connection, COUNT.size))
            _send_bytes(connection, count)
        except ConnectionError:
            return  # somebody only looked whether we listen, or had enough


def fetch(connection: socket.socket, count: int) -> None:
    """Ask for so many bytes at a line of standard input; print how long they took."""
    buffer = memoryview(bytearray(RECEIVE_BYTES))
    with connection:
        print("ready", flush=True)
        sys.stdin.readline()
        begun = time.perf_counter()
        connection.sendall(COUNT.pack(count))
        received = 0
        while received < count:
            size = connection.recv_into(buffer)
            if not size:
                break
            received += size
        announce_transfer(received, time.perf_counter() - begun)


def _fetch(port: int, count: int) -> None:
    fetch(socket.create_connection((HOST, port), timeout=SOCKET_SECONDS), count)


def _keys(port: int, count: int) -> None:
    """Send one byte and wait for it, again and again; print each trip in seconds."""
    trips = []
    with socket.create_connection((HOST, port), timeout=SOCKET_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(WARM_UP_TRIPS + count):
            begun = time.perf_counter()
            connection.sendall(b"k")
            receive_exactly(connection, 1)
            trips.append(time.perf_counter() - begun)
    print(json.dumps(trips[WARM_UP_TRIPS:]), flush=True)


def _stall(port: int, count: int) -> None:
    """Ask for so many bytes and read none of them until a line of standard input; then one."""
    with socket.create_connection((HOST, port), timeout=SOCKET_SECONDS) as connection:
        connection.sendall(COUNT.pack(count))
        print("stalled", flush=True)
        sys.stdin.readline()
        receive_exactly(connection, 1)
        print("alive", flush=True)


def _main(role: str, *arguments: str) -> None:
    roles: dict[str, Callable[..., None]] = {
        "source": _source,
        "echo": _echo,
        "fetch": _fetch,
        "keys": _keys,
        "stall": _stall,
    }
    roles[role](*map(int, arguments))


if __name__ == "__main__":
    _main(*sys.argv[1:])
