"""Many deadlines on one timer: what thousands of connections wait for costs next to nothing."""

from __future__ import annotations

import heapq
from itertools import count
from math import inf
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

__all__ = ["Deadlines", "Waiter"]

TICK_SECONDS = 0.05  # how late a call may be, so that calls are made together


class Waiter(Protocol):
    """Somebody who wants to be called at a time.

    :ivar due: when it will be called (seconds, absolute), or infinity; only looked at by
        :class:`Deadlines`, and kept by it.
    """

    due: float

    def deadline_came(self, now: float) -> float | None:
        """It is time. Returns when to be called again, if at all."""


class Deadlines:
    """See the module.

    :param reactor: time.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        # An entry whose time is not its waiter's `due` is passed over: it was moved, or forgotten.
        self._entries: list[tuple[float, int, Waiter]] = []
        self._numbers = count()
        self._waiting = 0  # how many have something due
        self._timer: IDelayedCall | None = None
        self._timer_due = inf

    def expect(self, waiter: Waiter, due: float) -> None:
        """Call it at this time, or earlier if that was said before."""
        if due >= waiter.due:
            return
        self._waiting += waiter.due == inf
        waiter.due = due
        heapq.heappush(self._entries, (due, next(self._numbers), waiter))
        if due < self._timer_due:
            self._set_timer(due)

    def forget(self, waiter: Waiter) -> None:
        """Don't call it any more."""
        self._waiting -= waiter.due != inf
        waiter.due = inf
        if not self._waiting:
            # What is left was moved or forgotten; nothing of it should keep a reactor waiting.
            self.stop()

    def stop(self) -> None:
        """Call nobody any more."""
        self._entries.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._timer_due = inf

    def _set_timer(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._reactor.callLater(
            max(0.0, due - self._reactor.seconds()), self._call_all
        )

    def _call_all(self) -> None:
        self._timer = None
        self._timer_due = inf
        now = self._reactor.seconds()
        entries = self._entries
        while entries and entries[0][0] <= now:
            due, _, waiter = heapq.heappop(entries)
            if waiter.due != due:
                continue
            self._waiting -= 1
            waiter.due = inf
            try:
                again = waiter.deadline_came(now)
            except Exception:
                # Others wait behind it.
                self._log.failure("a deadline could not be met")
                continue
            if again is not None:
                self.expect(waiter, max(again, now + TICK_SECONDS))
        if entries:
            self._set_timer(max(entries[0][0], now + TICK_SECONDS))
