"""How often, and how many at once, one address prefix may ask something of the tunnel server.

Counts by prefix, with a bounded number of prefixes in memory; the time is an argument. Source:
docs/session-protocol, section 10.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from ipaddress import IPv6Address, IPv6Network, ip_address

__all__ = ["ConnectionLimiter", "JoinLimiter", "prefix_of"]

IPV6_PREFIX_BITS = 64  # what one subscriber gets at least, with every address in it

FAILURES_PER_MINUTE = 5  # somebody who mistypes
FAILURES_PER_HOUR = 20  # one five-digit number in 4,500 tried in an hour, per prefix
FAILURES_PER_SECOND_OVERALL = 50  # from any number of prefixes together
MAX_PREFIXES = 20_000  # some 15 MB at worst; more prefixes than connections fail nothing new
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


class JoinLimiter:
    """Slows down who tries session numbers. Only failures count.

    A failure must be reported before the next JOIN of the prefix is looked at; otherwise those
    that are under way at the same time are all let through.

    :param per_minute: failures of one prefix within any 60 seconds.
    :param per_hour: failures of one prefix within any hour, not fewer than ``per_minute``.
    :param per_second_overall: failures of all prefixes within any second.
    :param max_prefixes: how many prefixes are remembered; the one that failed longest ago is
        forgotten first.

    ``now`` is seconds of a clock that does not go back.
    """

    def __init__(
        self,
        *,
        per_minute: int = FAILURES_PER_MINUTE,
        per_hour: int = FAILURES_PER_HOUR,
        per_second_overall: int = FAILURES_PER_SECOND_OVERALL,
        max_prefixes: int = MAX_PREFIXES,
    ) -> None:
        self._per_minute = per_minute
        self._per_hour = per_hour
        self._max_prefixes = max_prefixes
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._overall: deque[float] = deque(maxlen=per_second_overall)

    def may_join(self, prefix: str, now: float) -> bool:
        """Whether a JOIN from this prefix is looked at now."""
        if _used_up(self._overall, self._overall.maxlen, _SECOND, now):
            return False
        failures = self._failures.get(prefix)
        return failures is None or not (
            _used_up(failures, self._per_minute, _MINUTE, now)
            or _used_up(failures, self._per_hour, _HOUR, now)
        )

    def join_failed(self, prefix: str, now: float) -> None:
        """A JOIN from this prefix named no number that can be joined."""
        self._overall.append(now)
        failures = self._failures.setdefault(prefix, deque(maxlen=self._per_hour))
        failures.append(now)
        self._failures.move_to_end(prefix)
        if len(self._failures) > self._max_prefixes:
            self._failures.popitem(last=False)


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

    def connection_made(self, prefix: str) -> bool:
        """Count a new connection, or, with False, refuse it: then it is not counted."""
        count = self._counts.get(prefix, 0)
        if count >= self._per_prefix or self._total >= self._overall:
            return False
        self._counts[prefix] = count + 1
        self._total += 1
        return True

    def connection_lost(self, prefix: str) -> None:
        """A connection that was counted has ended."""
        count = self._counts.pop(prefix) - 1
        if count:
            self._counts[prefix] = count
        self._total -= 1


def _used_up(times: deque[float], count: int | None, seconds: float, now: float) -> bool:
    """Whether the last ``count`` of the times all lie within the last ``seconds``."""
    return count is not None and len(times) >= count and now - times[-count] < seconds
