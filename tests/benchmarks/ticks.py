"""A process that tells everybody who connects what time it is, every millisecond.

:func:`time.monotonic_ns` counts for the whole machine, so that who reads knows when it was sent.
"""

from __future__ import annotations

import socket
import struct
import threading
import time

from tests.benchmarks.program import HOST

__all__ = ["TICK"]

TICK = struct.Struct(">Q")  # nanoseconds
TICK_SECONDS = 0.001


def _tell(connection: socket.socket) -> None:
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while True:
                connection.sendall(TICK.pack(time.monotonic_ns()))
                time.sleep(TICK_SECONDS)
        except ConnectionError:
            return  # it has heard enough


def _main() -> None:
    listening = socket.create_server((HOST, 0))
    print(listening.getsockname()[1], flush=True)
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=_tell, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    _main()
