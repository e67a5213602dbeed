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

from tests.benchmarks.program import HOST

__all__ = ["COUNT", "SOCKET_SECONDS", "announce_transfer", "fetch", "receive_exactly", "serve"]

COUNT = struct.Struct(">Q")
CHUNK_BYTES = 262_144
RECEIVE_BYTES = 1 << 20
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
    listening = socket.create_server((HOST, 0))
    print(listening.getsockname()[1], flush=True)
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


def serve(connection: socket.socket) -> None:
    """Answer one ``fetch``."""
    connection.settimeout(SOCKET_SECONDS)
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


def _main(role: str, *arguments: str) -> None:
    roles = {"source": _source, "fetch": _fetch}
    roles[role](*map(int, arguments))


if __name__ == "__main__":
    _main(*sys.argv[1:])
