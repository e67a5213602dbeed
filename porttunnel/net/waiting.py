"""What waits for a link that does not take it fast enough: copies, counted by their flow."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

__all__ = ["WaitingBytes", "WaitingTotal"]

# Well below the 128 KiB from which the allocator asks the kernel each time, which costs more
# than the copying; large enough that a chunk's own overhead does not count.
CHUNK_BYTES = 65_536
MAX_VIEWS = 64  # what one send call can use


class WaitingTotal:
    """What waits on all links together; plain, since it is changed on the way of each packet."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class WaitingBytes:
    """One link's queue.

    :param total: counts the bytes of all queues.
    """

    __slots__ = ("_chunks", "_flows", "_sent_of_first", "_total", "count")

    def __init__(self, total: WaitingTotal) -> None:
        self.count = 0
        """Bytes that wait here."""
        self._total = total
        self._chunks: deque[tuple[int, bytearray]] = deque()
        self._flows: dict[int, int] = {}
        self._sent_of_first = 0

    def of_flow(self, flow: int) -> int:
        """How many of the bytes belong to this flow."""
        return self._flows.get(flow, 0)

    def append(self, flow: int, views: Iterable[memoryview]) -> None:
        """Keep a copy of the views at the end of the queue.

        :param flow: whose bytes they are.
        """
        added = 0
        for view in views:
            added += len(view)
            self._append_one(flow, view)
        self._flows[flow] = self._flows.get(flow, 0) + added
        self.count += added
        self._total.count += added

    def views(self) -> list[memoryview]:
        """The front of the queue, for one send; to be dropped before the next call."""
        views = [memoryview(chunk) for _, chunk in _first(self._chunks, MAX_VIEWS)]
        if self._sent_of_first:
            views[0] = views[0][self._sent_of_first :]
        return views

    def sent(self, count: int) -> None:
        """The first ``count`` bytes of :meth:`views` went out."""
        self.count -= count
        self._total.count -= count
        while count:
            flow, chunk = self._chunks[0]
            part = min(count, len(chunk) - self._sent_of_first)
            self._lower(flow, part)
            count -= part
            self._sent_of_first += part
            if self._sent_of_first == len(chunk):
                self._chunks.popleft()
                self._sent_of_first = 0

    def clear(self) -> None:
        """Nobody will take it any more."""
        self._total.count -= self.count
        self.count = 0
        self._chunks.clear()
        self._flows.clear()
        self._sent_of_first = 0

    def _append_one(self, flow: int, view: memoryview) -> None:
        # Small packets share a chunk: alone each would take a multiple of its size.
        if self._chunks:
            last_flow, last = self._chunks[-1]
            room = CHUNK_BYTES - len(last)
            if last_flow == flow and room > 0:
                last += view[:room]
                view = view[room:]
        for start in range(0, len(view), CHUNK_BYTES):
            self._chunks.append((flow, bytearray(view[start : start + CHUNK_BYTES])))

    def _lower(self, flow: int, count: int) -> None:
        left = self._flows[flow] - count
        if left:
            self._flows[flow] = left
        else:
            del self._flows[flow]


def _first(chunks: deque[tuple[int, bytearray]], count: int) -> Iterable[tuple[int, bytearray]]:
    return (chunks[index] for index in range(min(count, len(chunks))))
