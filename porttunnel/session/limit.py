"""How often, and how many at once, one address prefix may ask something of the tunnel server.

Counts by prefix, with a bounded number of prefixes in memory; the time is an argument. Source:
docs/session-protocol, section 8.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Self

__all__ = ["ConnectionLimiter", "RateLimiter", "prefix_of"]

IPV6_PREFIX_BITS = 64  # what one subscriber gets at least, with every address in it

FAILURES_PER_MINUTE = 5  # somebody who mistypes
FAILURES_PER_HOUR = 20  # one five-digit number in 4,500 tried in an hour, per prefix
FAILURES_PER_SECOND_OVERALL = 50  # from any number of prefixes together
# Each session uses up its number for ever: half of the five-digit ones would take one prefix three
# days. An office behind one address, or somebody's script, opens fewer.
CREATES_PER_MINUTE = 60
CREATES_PER_HOUR = 600
CREATES_PER_SECOND_OVERALL = 50  # from any number of prefixes together
MAX_PREFIXES = 20_000  # some 30 MB at worst: the overall rate bounds how many times are kept
MAX_CONNECTIONS_PER_PREFIX = 64  # an office behind one address
MAX_CONNECTIONS = 20_000  # 60 KiB each at worst, and below the usual limit of open files

_SECOND = 1.0
_MINUTE = 60.0
_HOUR = 3_600.0


def prefix_of(address: str) -> str:
    """Whose limits an address counts against.

    :param address: as a transport tells it.
    :returns: an IPv4 address itself, also one that is written as IPv6; of another IPv6 address
        its /64; anything else (the name of a UNIX socket) as it is.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    # By its number: the zone of a link-local address is this machine's matter.
    return str(IPv6Network((int(parsed), IPV6_PREFIX_BITS), strict=False))


class RateLimiter:
    """How often something that is counted may happen.

    What was allowed must be counted before the next of the same prefix is looked at; otherwise
    those that are under way at the same time are all let through.

    :param per_minute: of one prefix within any 60 seconds.
    :param per_hour: of one prefix within any hour, not fewer than ``per_minute``.
    :param per_second_overall: of all prefixes within any second.
    :param max_prefixes: how many prefixes are remembered; the one that was counted longest ago is
        forgotten first.

    ``now`` is seconds of a clock that does not go back.
    """

    def __init__(
        self,
        *,
        per_minute: int,
        per_hour: int,
        per_second_overall: int,
        max_prefixes: int = MAX_PREFIXES,
    ) -> None:
        self._per_minute = per_minute
        self._per_hour = per_hour
        self._per_second_overall = per_second_overall
        self._max_prefixes = max_prefixes
        self._counted: OrderedDict[str, deque[float]] = OrderedDict()
        self._overall: deque[float] = deque(maxlen=per_second_overall)

    @classmethod
    def for_join_failures(
        cls, per_minute: int = FAILURES_PER_MINUTE, per_hour: int = FAILURES_PER_HOUR
    ) -> Self:
        """Slows down who tries session numbers. Only failures are to be counted."""
        return cls(
            per_minute=per_minute,
            per_hour=per_hour,
            per_second_overall=FAILURES_PER_SECOND_OVERALL,
        )

    @classmethod
    def for_creates(
        cls, per_minute: int = CREATES_PER_MINUTE, per_hour: int = CREATES_PER_HOUR
    ) -> Self:
        """Slows down who uses up session numbers. Only what used one is to be counted."""
        return cls(
            per_minute=per_minute,
            per_hour=per_hour,
            per_second_overall=CREATES_PER_SECOND_OVERALL,
        )

    def allows(self, prefix: str, now: float) -> bool:
        """Whether it may happen now, for this prefix."""
        return self.wait_seconds(prefix, now) == 0.0

    def knows(self, prefix: str, now: float) -> bool:
        """Whether it has happened within an hour, for this prefix."""
        times = self._counted.get(prefix)
        return times is not None and now - times[-1] < _HOUR

    def wait_seconds(self, prefix: str, now: float) -> float:
        """How long it may not happen, for this prefix, if nothing is counted meanwhile; or 0."""
        times = self._counted.get(prefix, ())
        return max(
            _wait_seconds(self._overall, self._per_second_overall, _SECOND, now),
            _wait_seconds(times, self._per_minute, _MINUTE, now),
            _wait_seconds(times, self._per_hour, _HOUR, now),
        )

    def count(self, prefix: str, now: float) -> None:
        """It has happened, for this prefix."""
        self._overall.append(now)
        times = self._counted.setdefault(prefix, deque(maxlen=self._per_hour))
        times.append(now)
        self._counted.move_to_end(prefix)
        # What no window holds any more goes: so memory is bounded by the overall rate, not by
        # an hour's worth of every prefix.
        while now - times[0] >= _HOUR:
            times.popleft()
        while len(self._counted) > self._max_prefixes or self._longest_ago(now) >= _HOUR:
            self._counted.popitem(last=False)

    def _longest_ago(self, now: float) -> float:
        return now - next(iter(self._counted.values()))[-1]


class ConnectionLimiter:
    """Counts open connections.

    :param per_prefix: how many one prefix may have at a time.
    :param overall: how many there may be in all.
    """

    def __init__(
        self, *, per_prefix: int = MAX_CONNECTIONS_PER_PREFIX, overall: int = MAX_CONNECTIONS
    ) -> None:
        self._per_prefix = per_prefix
        self._overall = overall
        self._counts: dict[str, int] = {}
        self._total = 0

    def connection_made(self, prefix: str | None) -> bool:
        """Count a new connection, or, with False, refuse it: then it is not counted.

        :param prefix: whose it is; None while nobody knows, then it counts among all only.
        """
        if self._total >= self._overall or not (prefix is None or self.prefix_known(prefix)):
            return False
        self._total += 1
        return True

    def prefix_known(self, prefix: str) -> bool:
        """Count a connection that was made with None as this prefix's too, or refuse it."""
        count = self._counts.get(prefix, 0)
        if count >= self._per_prefix:
            return False
        self._counts[prefix] = count + 1
        return True

    def connection_lost(self, prefix: str | None) -> None:
        """A connection that was counted has ended; None if it was never counted as a prefix's."""
        if prefix is not None:
            count = self._counts.pop(prefix) - 1
            if count:
                self._counts[prefix] = count
        self._total -= 1


def _wait_seconds(times: Sequence[float], count: int, seconds: float, now: float) -> float:
    """Until not all of the last ``count`` times lie within the last ``seconds``."""
    return max(0.0, seconds - (now - times[-count])) if len(times) >= count else 0.0
