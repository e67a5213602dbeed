"""Slots, in which packets are filled, sealed and kept; and the queue of what a link shall send.

A packet is written into a slot once, sealed there in place, sent from there and, should it be
needed, sent from there again, so that a resend is bit-identical without a copy
(docs/session-protocol, section 7).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from porttunnel.session.packet import MAX_PACKET_BYTES

__all__ = ["SEND_AHEAD_BYTES", "Outbox", "Slot", "SlotPool"]

MAX_FREE_SLOTS = 128  # a pair's window: with fewer a busy pair would get fresh memory all the time
MAX_IDLE_SLOTS = 32  # 2 MiB: what a session keeps that has nothing under way
MAX_VIEWS_PER_SEND = 64  # 4 MiB of full packets, more than a kernel takes at once
SEND_AHEAD_BYTES = 512 * 1024  # sealed and unsent per link: what a keystroke may have before it


class Slot:
    """Room for one packet. It is free when nobody keeps it and no link is about to send it."""

    __slots__ = ("buffer", "kept", "sending", "view")

    def __init__(self) -> None:
        self.buffer = bytearray(MAX_PACKET_BYTES)
        self.view = memoryview(self.buffer)
        self.kept = False
        self.sending = 0


class SlotPool:
    """Slots that are used again and again: fresh memory costs page faults."""

    __slots__ = ("_free", "_is_closed")

    def __init__(self) -> None:
        self._free: list[Slot] = []
        self._is_closed = False

    def allocate(self) -> Slot:
        """A free slot; its content is what was last in it."""
        slot = self._free.pop() if self._free else Slot()
        slot.kept = True
        return slot

    def release(self, slot: Slot) -> None:
        """Nobody keeps this slot any more; it is free once no link sends it either."""
        slot.kept = False
        self.recycle(slot)

    def recycle(self, slot: Slot) -> None:
        """Take the slot back if it is free."""
        if slot.kept or slot.sending or self._is_closed:
            return
        if len(self._free) < MAX_FREE_SLOTS:
            self._free.append(slot)

    def trim(self) -> None:
        """Nothing is under way just now: give back what only a busy session needs."""
        del self._free[MAX_IDLE_SLOTS:]

    def close(self) -> None:
        """The session is over: keep no slot, now or later. What is left of a session may lie about
        for minutes before Python finds it.
        """
        self._is_closed = True
        self._free.clear()


class Outbox:
    """What one link shall send, in order.

    :param pool: gets slots back that were released while they were being sent.
    :ivar limit_bytes: nothing that can wait elsewhere is queued beyond this.
    :ivar is_blocked: whether the link took less than it was offered last.
    """

    __slots__ = ("_entries", "_offset", "_pool", "is_blocked", "limit_bytes", "waiting_bytes")

    def __init__(self, pool: SlotPool) -> None:
        self._entries: deque[tuple[memoryview, Slot | None]] = deque()
        self._offset = 0  # how much of the first entry went out
        self._pool = pool
        self.limit_bytes = SEND_AHEAD_BYTES
        self.waiting_bytes = 0
        self.is_blocked = False

    @property
    def room_bytes(self) -> int:
        """How much may be queued beyond what waits."""
        return self.limit_bytes - self.waiting_bytes

    def append(self, packet: bytes | memoryview, slot: Slot | None = None) -> None:
        """Queue a whole packet; ``slot`` is where it lies, if it lies in one."""
        if slot is not None:
            slot.sending += 1
        self._entries.append((memoryview(packet), slot))
        self.waiting_bytes += len(packet)

    def views(self) -> Sequence[memoryview]:
        """The first of what waits, without consuming it."""
        entries = self._entries
        if not entries:
            return ()
        if len(entries) == 1:
            return (entries[0][0][self._offset :],)
        views = [entries[i][0] for i in range(min(len(entries), MAX_VIEWS_PER_SEND))]
        views[0] = views[0][self._offset :]
        return views

    def sent(self, count: int) -> None:
        """The first ``count`` bytes went out."""
        self.waiting_bytes -= count
        self.is_blocked = self.waiting_bytes > 0
        count += self._offset
        entries = self._entries
        while entries and count >= len(entries[0][0]):
            packet, slot = entries.popleft()
            count -= len(packet)
            if slot is not None:
                slot.sending -= 1
                self._pool.recycle(slot)
        self._offset = count

    def clear(self) -> None:
        """The connection is gone: nothing of this goes out. Who keeps a packet sends it again."""
        for _packet, slot in self._entries:
            if slot is not None:
                slot.sending -= 1
                self._pool.recycle(slot)
        self._entries.clear()
        self._offset = 0
        self.waiting_bytes = 0
        self.is_blocked = False
