"""Counters and clocks, so that nothing is carried out twice or long after it was asked.

Source: docs/gateway-protocol, section 3. All times are milliseconds since 1970, by the clock of
whoever calls.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass

from porttunnel.errors import LocalProtocolError
from porttunnel.gateway.message_head import MessageHead
from porttunnel.gateway.refusal import Refusal, RefusalReason

__all__ = [
    "MAX_CLOCK_DIFFERENCE_MS",
    "WINDOW_COUNTERS",
    "Admitted",
    "PushGate",
    "ReplayWindow",
    "RequestClock",
    "RisingCounter",
    "judge_time",
]

WINDOW_COUNTERS = 1_024  # requests of one device that may overtake each other
# Clocks of phones are set by their network, those of servers are some seconds off at worst.
MAX_CLOCK_DIFFERENCE_MS = 300_000

_MAX_COUNTER = 2**64 - 1  # what a head can say


@dataclass(frozen=True, slots=True)
class Admitted:
    """A counter is new. Before anything of the request is passed on, and before it is refused for
    another reason, both changes are to be written down.

    :ivar counter: to be kept.
    :ivar forgotten: a counter that need not be kept any more, if any.
    """

    counter: int
    forgotten: int | None


class ReplayWindow:
    """What an instance keeps of the requests under one generation of one device's secret.

    :param counters: those that were written down: at most :data:`WINDOW_COUNTERS`, the highest.
    """

    __slots__ = ("_counters",)

    def __init__(self, counters: Iterable[int] = ()) -> None:
        self._counters = sorted(counters)

    @property
    def highest(self) -> int:
        """The highest that was accepted; or 0."""
        return self._counters[-1] if self._counters else 0

    def admit(self, counter: int) -> Admitted | Refusal:
        """Whether a request that has opened is new, or what its device is to be told.

        Its counter counts as used from now on, so that of two that come together one is admitted,
        even if writing it down fails. It is judged before anything else: of two copies of a
        request one may have been carried out, so none may be refused as if it had not.
        """
        counters = self._counters
        place = bisect_left(counters, counter)
        full = len(counters) >= WINDOW_COUNTERS
        if (full and place == 0) or counters[place : place + 1] == [counter]:
            return Refusal(RefusalReason.COUNTER, self.highest)
        insort(counters, counter)
        return Admitted(counter, counters.pop(0) if full else None)


def judge_time(head: MessageHead, now_ms: int) -> Refusal | None:
    """What the device of an admitted request is to be told if the clocks differ too much."""
    if abs(head.unix_ms - now_ms) > MAX_CLOCK_DIFFERENCE_MS:
        return Refusal(RefusalReason.TIME, now_ms)
    return None


class RisingCounter:
    """Numbers for what one side sends: each higher than the last, and about the time.

    So none comes twice even if the last one was not written down before a crash, unless there was
    more than one each millisecond; and then the other side says which was the highest.

    :param last: the last that was used, if it is known.
    """

    __slots__ = ("last",)

    def __init__(self, last: int = 0) -> None:
        self.last = last

    def draw(self, now_ms: int) -> int:
        """The next.

        :raises LocalProtocolError: there is none; a new generation begins anew.
        """
        following = max(self.last + 1, now_ms)
        if following > _MAX_COUNTER:
            raise LocalProtocolError("the counter is used up; rotate the device's secret")
        self.last = following
        return following


class RequestClock:
    """A device's counter, and its clock as its instance sees it.

    :param last: the last counter that was used, if it is known.
    :param offset_ms: what the instance's clock is ahead, if it is known.
    """

    __slots__ = ("_counter", "offset_ms")

    def __init__(self, last: int = 0, offset_ms: int = 0) -> None:
        self._counter = RisingCounter(last)
        self.offset_ms = offset_ms

    @property
    def last(self) -> int:
        """The last counter that was used."""
        return self._counter.last

    def now_ms(self, clock_ms: int) -> int:
        """The time to write into heads, and to see how old a push is.

        Never negative, though the clock may have been put right since the offset was learned: a
        wrong time is corrected by the answer to it, one that can't be said by nothing.
        """
        return max(0, clock_ms + self.offset_ms)

    def draw(self, generation: int, clock_ms: int, *, about_keys: bool = False) -> MessageHead:
        """The head of the next request.

        :param clock_ms: what the device's own clock says.
        :raises LocalProtocolError: the counter is used up.
        """
        now_ms = self.now_ms(clock_ms)
        return MessageHead(generation, self._counter.draw(now_ms), now_ms, about_keys)

    def correct(self, refusal: Refusal, clock_ms: int) -> bool:
        """Learn from a refusal; whether the same request, with a new head, may do better now. If
        the refusal was about the counter it may have been carried out already.

        :param refusal: sealed by the instance for one of our requests.
        :param clock_ms: what the device's own clock says.
        """
        if refusal.reason is RefusalReason.COUNTER:
            self._counter.last = max(self._counter.last, refusal.value)
            return True
        if refusal.reason is RefusalReason.TIME:
            self.offset_ms = refusal.value - clock_ms
            return True
        return False


class PushGate:
    """Lets a device take each push once.

    :param highest: counter of those that were taken; to be kept with the device's secrets.
    """

    __slots__ = ("highest",)

    def __init__(self, highest: int = 0) -> None:
        self.highest = highest

    def admit(self, head: MessageHead, now_ms: int) -> bool:
        """Whether a push that has opened is to be taken.

        :param now_ms: as :meth:`RequestClock.now_ms` says.
        """
        if head.counter <= self.highest or now_ms - head.unix_ms > MAX_CLOCK_DIFFERENCE_MS:
            return False
        self.highest = head.counter
        return True
