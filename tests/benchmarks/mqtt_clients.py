"""What the roles of :mod:`tests.benchmarks.mqtt_traffic` have in common."""

from __future__ import annotations

import json
import re
import select
import time
from collections.abc import Callable, Iterator, Sequence

from tests.benchmarks.mqtt_wire import MQTTSocket, connect_all, frame
from tests.benchmarks.processes import cpu_seconds

__all__ = ["Clients", "Finder", "measured"]

WARM_UP_SECONDS = 0.4
SILENT_SECONDS = 10.0


class Clients:
    """Connections that one loop reads from.

    :param port: of the broker.
    :param transport: as in :mod:`tests.benchmarks.mqtt_wire`.
    """

    def __init__(self, port: int, transport: str) -> None:
        self._port = port
        self._transport = transport
        self._poller = select.epoll()
        self._calls: dict[int, tuple[MQTTSocket, Callable[[bytes], None]]] = {}

    def connect(self, client_ids: Sequence[str]) -> list[MQTTSocket]:
        return connect_all(self._port, self._transport, client_ids)

    def frame(self, packet: bytes) -> bytes:
        return frame(self._transport, packet)

    def read(self, connection: MQTTSocket, call: Callable[[bytes], None]) -> None:
        """From now on, call this with what comes."""
        self._calls[connection.socket.fileno()] = connection, call
        self._poller.register(connection.socket, select.EPOLLIN)

    def turn(self) -> None:
        """Wait for bytes, and give them out.

        :raises TimeoutError: nothing comes, so something must have been lost.
        :raises ConnectionError: the broker has closed a connection.
        """
        ready = self._poller.poll(SILENT_SECONDS)
        if not ready:
            raise TimeoutError("nothing comes any more")
        for descriptor, _ in ready:
            connection, call = self._calls[descriptor]
            call(connection.receive())


class Finder:
    """Finds what a stream of bytes says, wherever the reads cut it.

    :param pattern: what it matches has always the same size, and nothing in common with the next.
    :param size: of what it matches.
    """

    def __init__(self, pattern: bytes, size: int) -> None:
        self._find = re.compile(pattern, re.DOTALL).findall
        self._kept = size - 1  # too little to be found a second time
        self._tail = b""

    def find(self, data: bytes) -> list[bytes]:
        """The group of each match."""
        data = self._tail + data
        self._tail = data[-self._kept :]
        return self._find(data)


def measured(pid: int, seconds: float, count: Callable[[], int]) -> Iterator[None]:
    """Go on as long as this does: through a warm-up, then as long as is measured, and at least
    until there is something to count.

    At the end it prints how much there was.

    :param pid: the broker's.
    :param count: how much there was so far.
    """
    end = time.monotonic() + min(WARM_UP_SECONDS, seconds)
    while time.monotonic() < end:
        yield
    begun, used, before = time.monotonic(), cpu_seconds(pid), count()
    while time.monotonic() < begun + seconds or count() == before:
        yield
    result = {
        "cpu": cpu_seconds(pid) - used,
        "seconds": time.monotonic() - begun,
        "count": count() - before,
    }
    print(json.dumps(result), flush=True)
