"""Two ends for magic-wormhole's transit relay, as processes with plain sockets.

The relay joins two connections that show the same token. Whoever measures talks to ``fetch`` as to
:mod:`tests.benchmarks.traffic`.
"""

from __future__ import annotations

import socket
import sys

from tests.benchmarks import traffic
from tests.benchmarks.program import HOST

TOKEN = "5" * 64
GO_AHEAD = b"ok\n"


def _enter(port: int, side: str) -> socket.socket:
    connection = socket.create_connection((HOST, port), timeout=traffic.SOCKET_SECONDS)
    connection.sendall(f"please relay {TOKEN} for side {side * 16}\n".encode())
    assert traffic.receive_exactly(connection, len(GO_AHEAD)) == GO_AHEAD
    return connection


def _main(role: str, port: str, count: str = "0") -> None:
    if role == "source":
        traffic.serve(_enter(int(port), "a"))
    else:
        traffic.fetch(_enter(int(port), "b"), int(count))


if __name__ == "__main__":
    _main(*sys.argv[1:])
