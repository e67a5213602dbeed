"""What was sealed and is not acknowledged: kept bit-identical, and sent again where needed.

Source: docs/session-protocol, section 7.
"""

from __future__ import annotations

from collections import deque

from porttunnel.session.outbox import Slot, SlotPool
from porttunnel.session.packet import MAX_PACKET_BYTES
from porttunnel.session.path import Path

__all__ = ["WINDOW_BYTES", "SendWindow"]

WINDOW_BYTES = 8 * 1024 * 1024  # sealed and unacknowledged: fills 100 ms at 640 Mbit/s
RESERVED_BYTES = 64 * 1024  # of the window, for what must go out although writers wait
REWIND_SECONDS = 0.1  # about a round trip: within it the same answer is still on its way
MIN_PACKET_COST_BYTES = 256  # tiny packets cost more memory than their bytes


class SendWindow:
    """The packets of one direction of a pair, oldest first.

    :param pool: gets the slots back.
    :ivar size_bytes: what is kept.
    :ivar acknowledged: how many packets the other side has.
    :ivar sealed: how many packets there were in all.
    """

    __slots__ = (
        "_kept",
        "_pool",
        "_rewound_at",
        "_under_way",
        "acknowledged",
        "sealed",
        "size_bytes",
    )

    def __init__(self, pool: SlotPool) -> None:
        self._pool = pool
        self._kept: deque[tuple[int, Slot | None, memoryview]] = deque()
        self._rewound_at = -REWIND_SECONDS
        self._under_way = 0  # how many of them went out on the path, the first ones
        self.size_bytes = 0
        self.acknowledged = 0
        self.sealed = 0

    @property
    def room_bytes(self) -> int:
        """What may be kept beyond another full packet, without what is reserved."""
        return WINDOW_BYTES - RESERVED_BYTES - MAX_PACKET_BYTES - self.size_bytes

    @property
    def is_full(self) -> bool:
        """Whether another full packet would take what is reserved."""
        return self.room_bytes < 0

    @property
    def is_behind(self) -> bool:
        """Whether packets are to be sent, for the first time or again."""
        return self._under_way < len(self._kept)

    def keep(self, packet: memoryview, slot: Slot | None) -> None:
        """A packet was sealed; ``slot`` is where it lies, if it lies in one."""
        cost = max(len(packet), MIN_PACKET_COST_BYTES)
        self._kept.append((cost, slot, packet))
        self.size_bytes += cost
        self.sealed += 1

    def send_next(self, path: Path) -> None:
        """Queue the first packet that is behind."""
        _cost, slot, packet = self._kept[self._under_way]
        path.outbox.append(packet, slot)
        self._under_way += 1

    def send(self, path: Path) -> None:
        """Queue what is behind, as far as the path has room."""
        outbox = path.outbox
        while self.is_behind and outbox.waiting_bytes < outbox.limit_bytes:
            self.send_next(path)

    def rewind(self, now: float, *, new_path: bool) -> None:
        """Nothing is under way any more: all that is kept is to be sent again.

        On the same path not more often than each :data:`REWIND_SECONDS`: who asks all the time
        would have us send a window for each question. It asks again.
        """
        if new_path or now - self._rewound_at >= REWIND_SECONDS:
            self._under_way = 0
            self._rewound_at = now

    def accept(self, acknowledged: int) -> None:
        """The other side has so many packets; a smaller number is old news."""
        count = acknowledged - self.acknowledged
        if count <= 0:
            return
        for _ in range(count):
            cost, slot, _packet = self._kept.popleft()
            self.size_bytes -= cost
            if slot is not None:
                self._pool.release(slot)
        self._under_way = max(0, self._under_way - count)
        self.acknowledged = acknowledged

    def close(self) -> None:
        """Give back all slots; what was queued on a path still goes out."""
        while self._kept:
            _cost, slot, _packet = self._kept.popleft()
            if slot is not None:
                self._pool.release(slot)
        self.size_bytes = self._under_way = 0
