"""How often something may happen: an average rate, and a burst before it is held to that."""

from __future__ import annotations

__all__ = ["TokenBucket"]


class TokenBucket:
    """A bucket that fills at a rate and is emptied by what happens.

    :param per_second: tokens that come in a second.
    :param burst: how many it holds; it is full at first.
    :param now: seconds, monotonic.
    """

    __slots__ = ("_burst", "_filled_at", "_per_second", "_tokens")

    def __init__(self, per_second: float, burst: float, now: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._tokens = burst
        self._filled_at = now

    def take(self, now: float) -> bool:
        """Take one token if there is one; whether there was."""
        self._fill(now)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def charge(self, count: int, now: float) -> float | None:
        """Take what has happened already, into debt if need be.

        :returns: when the debt is paid off, or None if there is none.
        """
        self._fill(now)
        self._tokens -= count
        if self._tokens >= 0.0:
            return None
        return now - self._tokens / self._per_second

    def _fill(self, now: float) -> None:
        gained = (now - self._filled_at) * self._per_second
        self._tokens = min(self._burst, self._tokens + gained)
        self._filled_at = now
