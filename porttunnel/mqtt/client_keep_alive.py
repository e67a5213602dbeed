"""Whether the broker is still there: pings a silent connection, and gives up on a dead one.

Source: MQTT 5.0, sections 3.1.2.10, 3.2.2.3.14 and 3.12.
"""

from __future__ import annotations

from porttunnel.errors import LinkBroken

__all__ = ["KeepAlive"]

PING_SHARE = 0.75  # of the keep-alive time: a timer may be late, and a packet slow
PINGRESP_SECONDS = 15.0  # for an answer, or any other sign of life

_DEAD = "The broker does not answer. Connect again."


class KeepAlive:
    """Of one connection.

    :param seconds: the keep-alive time that holds; 0: off.
    :param now: seconds, monotonic.
    """

    __slots__ = ("_interval_seconds", "_pinged_at", "_received_at", "_sent_at")

    def __init__(self, seconds: int, now: float) -> None:
        self._interval_seconds = seconds * PING_SHARE
        self._sent_at = self._received_at = now
        self._pinged_at: float | None = None

    def sent(self, now: float) -> None:
        """Something went out."""
        self._sent_at = now

    def received(self, now: float) -> None:
        """Something came, or nothing was read on purpose."""
        self._received_at = now

    def answered(self) -> None:
        """PINGRESP came."""
        self._pinged_at = None

    def next_deadline(self) -> float | None:
        """When :meth:`check` is due."""
        if self._pinged_at is not None:
            return max(self._pinged_at, self._received_at) + PINGRESP_SECONDS
        if not self._interval_seconds:
            return None
        # Who only sends would not notice that nobody listens any more.
        return min(self._sent_at, self._received_at) + self._interval_seconds

    def check(self, now: float) -> bool:
        """Whether to send a PINGREQ now.

        :raises LinkBroken: the last one has no answer, and nothing else came either.
        """
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return False
        if self._pinged_at is not None:
            raise LinkBroken(_DEAD)
        self._pinged_at = now
        return True
