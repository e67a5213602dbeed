"""How much an instance may have on its way to the gateway: enough for speed, little enough for a
click.

What was given to the MQTT client stands before everything that comes later. So only so much is
given as the gateway takes without delay: the limit grows while acknowledgements come back about as
fast as the fastest did, and shrinks when they take longer, which means that a queue grows
somewhere.
"""

from __future__ import annotations

from math import inf

__all__ = ["MAX_BACKLOG_BYTES", "MIN_BACKLOG_BYTES", "Backlog"]

# Two parts: less would leave the line idle between turns. On a slow line it is what a click waits:
# a tenth of a second at 10 Mbit/s.
MIN_BACKLOG_BYTES = 128 * 1_024
MAX_BACKLOG_BYTES = 4 * 1_024 * 1_024  # 40 MiB/s at 100 ms of round trip
# An acknowledgement may be later than the fastest without that there is a queue: by these seconds
# on a short line, by this share of the fastest on a long one, which isn't as regular either.
GROW_SECONDS = 0.0005
GROW_SHARE = 0.25
# So much later says that there is one. With twice as much a click beside a download took 3.6 times
# as long as alone, instead of 2.8, and the download was no faster.
SHRINK_SECONDS = 0.002
SHRINK_SHARE = 1.0
FASTEST_SECONDS = 60.0  # how long the fastest counts: another way may be longer


class Backlog:
    """See the module. All times are in seconds, monotonic.

    :ivar limit_bytes: how much may be on its way.
    :ivar waiting_bytes: how much is.
    """

    __slots__ = ("_fastest", "_fastest_until", "_hold_until", "limit_bytes", "waiting_bytes")

    def __init__(self) -> None:
        self.limit_bytes = MIN_BACKLOG_BYTES
        self.waiting_bytes = 0
        self._fastest = inf
        self._fastest_until = -inf
        self._hold_until = -inf  # acknowledgements of what was sent before say nothing new

    @property
    def has_room(self) -> bool:
        """Whether another message may go."""
        return self.waiting_bytes < self.limit_bytes

    def send(self, count: int) -> None:
        """A message goes out."""
        self.waiting_bytes += count

    def finish(self, count: int, sent_at: float, now: float) -> None:
        """The gateway has it, or never will."""
        was_full = not self.has_room
        self.waiting_bytes -= count
        delay = now - sent_at
        if delay < self._fastest or now >= self._fastest_until:
            self._fastest = delay
            self._fastest_until = now + FASTEST_SECONDS
        late = delay - self._fastest
        if late > max(SHRINK_SECONDS, SHRINK_SHARE * self._fastest):
            if sent_at >= self._hold_until:
                self.limit_bytes = max(MIN_BACKLOG_BYTES, self.limit_bytes // 2)
                self._hold_until = now
        elif was_full and late <= max(GROW_SECONDS, GROW_SHARE * self._fastest):
            self.limit_bytes = min(MAX_BACKLOG_BYTES, self.limit_bytes + count)
