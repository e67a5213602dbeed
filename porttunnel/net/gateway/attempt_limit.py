"""How many attempts strangers may have under way, and how often they may be wrong.

What is wrong is counted when it is known, so what is under way is bounded too: otherwise all that
come at the same moment would be let through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from porttunnel.errors import GatewayBusy
from porttunnel.session.limit import RateLimiter

__all__ = ["AttemptLimit"]

MAX_UNDER_WAY_PER_PREFIX = 16  # an office behind one address; the rest of the places is others'
BUSY_SECONDS = 1.0  # so soon most of the places are free again


class AttemptLimit:
    """Lets attempts in, and out again.

    :param rate: how often what is counted at the end may happen.
    :param max_under_way: of all prefixes together.
    :param max_under_way_per_prefix: of one.
    :param waits_for_all: whether the overall rate holds up also prefixes that have not been
        counted within an hour. If not, nobody can keep all others out by being wrong from many
        places.
    """

    def __init__(
        self,
        rate: RateLimiter,
        *,
        max_under_way: int,
        max_under_way_per_prefix: int = MAX_UNDER_WAY_PER_PREFIX,
        waits_for_all: bool = False,
    ) -> None:
        self._rate = rate
        self._max_under_way = max_under_way
        self._max_under_way_per_prefix = max_under_way_per_prefix
        self._waits_for_all = waits_for_all
        self._under_way: Counter[str] = Counter()
        self._total = 0

    def enter(self, prefix: str, now: float) -> None:
        """Begin an attempt, which ends with :meth:`leave`.

        :param now: seconds of a clock that does not go back.
        :raises GatewayBusy: too many of this prefix were counted, or too many are under way.
        """
        wait_seconds = self.wait_seconds(prefix, now)
        if wait_seconds:
            raise GatewayBusy(wait_seconds, too_many=True)
        self.take_place(prefix)

    def wait_seconds(self, prefix: str, now: float) -> float:
        """How long too many of this prefix have been counted; or 0."""
        if self._waits_for_all or self._rate.knows(prefix, now):
            return self._rate.wait_seconds(prefix, now)
        return 0.0

    def take_place(self, prefix: str) -> None:
        """Begin an attempt however many of this prefix were counted.

        :raises GatewayBusy: too many are under way.
        """
        if (
            self._total >= self._max_under_way
            or self._under_way[prefix] >= self._max_under_way_per_prefix
        ):
            raise GatewayBusy(BUSY_SECONDS)
        self._under_way[prefix] += 1
        self._total += 1

    def leave(self, prefix: str, now: float, *, counts: bool) -> None:
        """End an attempt.

        :param counts: whether it was one of those that may not happen often.
        """
        self._total -= 1
        self._under_way[prefix] -= 1
        if not self._under_way[prefix]:
            del self._under_way[prefix]
        if counts:
            self._rate.count(prefix, now)

    @contextmanager
    def counted(self, prefix: str, now: float, *, waits: bool = True) -> Iterator[None]:
        """One attempt, which counts whatever comes of it.

        :param waits: whether it may not be, if too many were counted.
        :raises GatewayBusy: see :meth:`enter`.
        """
        if waits:
            self.enter(prefix, now)
        else:
            self.take_place(prefix)
        try:
            yield
        finally:
            self.leave(prefix, now, counts=True)
