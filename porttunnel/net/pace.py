"""How far a link may be ahead of its peer: enough for speed, little enough for a keystroke.

What is sealed and queued stands before everything that is written later. On a slow link that is
waiting time for who types beside a download; on a fast one too short a queue costs a wake of the
process for each packet. So the queue is a fixed time long, not a fixed size.
"""

from __future__ import annotations

__all__ = ["MAX_AHEAD_BYTES", "MIN_AHEAD_BYTES", "LinkPace"]

AHEAD_SECONDS = 0.02  # what a keystroke may wait behind bulk data, for each of the two queues
MIN_AHEAD_BYTES = 128 * 1024  # two packets: less would leave the link idle between wakes
MAX_AHEAD_BYTES = 4 * 1024 * 1024  # as much as a stream may have under way
MEASURE_SECONDS = 0.1


class LinkPace:
    """Measures a link and says how much may be queued for it.

    :param now: seconds, monotonic.

    :ivar ahead_bytes: what may be sealed and wait; half of it may be unsent in the kernel.
    """

    __slots__ = ("_began", "_blocked", "_sent_bytes", "ahead_bytes")

    def __init__(self, now: float) -> None:
        self.ahead_bytes = MIN_AHEAD_BYTES
        self._began = now
        self._sent_bytes = 0
        self._blocked = False

    def sent(self, count: int, blocked: bool, now: float) -> bool:
        """Bytes went out; whether :attr:`ahead_bytes` changed.

        :param blocked: whether the link took less than was offered.
        """
        self._sent_bytes += count
        self._blocked |= blocked
        seconds = now - self._began
        if seconds < MEASURE_SECONDS:
            return False
        wanted = int(self._sent_bytes / seconds * AHEAD_SECONDS)
        # An idle link's rate says nothing about how fast it could be.
        if not self._blocked:
            wanted = max(wanted, self.ahead_bytes)
        # In powers of two, so that the kernel is seldom told.
        ahead = MIN_AHEAD_BYTES
        while ahead < min(wanted, MAX_AHEAD_BYTES):
            ahead *= 2
        changed = ahead != self.ahead_bytes
        self.ahead_bytes = ahead
        self._began = now
        self._sent_bytes = 0
        self._blocked = False
        return changed
