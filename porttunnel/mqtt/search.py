"""How much is looked for among the retained messages at a time, by all sessions together.

A few bytes of SUBSCRIBE may mean a look at all of them, and find none. So there is a budget; who
has found it used up goes on when the broker is called next, one session after the other.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["Search", "Searcher"]

STEPS = 2_000  # levels of topics looked at before everything else has its turn: 2 to 10 ms


class Searcher(Protocol):
    """Who looks for retained messages."""

    def pump(self, now: float) -> None:
        """Go on."""


class Search:
    """See the module."""

    __slots__ = ("_left", "_waiting")

    def __init__(self) -> None:
        self._left = STEPS
        self._waiting: dict[Searcher, None] = {}  # in the order in which they came

    @property
    def is_waited_for(self) -> bool:
        """Whether :meth:`go_on` is to be called soon."""
        return bool(self._waiting)

    def take_step(self, searcher: Searcher) -> bool:
        """Whether there is budget for another step; if not, ``searcher`` will be called."""
        if self._left <= 0:
            self._waiting[searcher] = None
            return False
        self._left -= 1
        return True

    def go_on(self, now: float) -> None:
        """Let those look on who wait, with a new budget."""
        self._left = STEPS
        waiting = self._waiting
        while waiting and self._left > 0:
            searcher = next(iter(waiting))
            del waiting[searcher]
            searcher.pump(now)
