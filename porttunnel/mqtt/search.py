"""How much is done at a time, by all clients together, of what costs much for the bytes it takes.

A few bytes of SUBSCRIBE may mean a look at all retained messages, and find none; and what one read
brings of the smallest packets may take a second. So there is a budget; who has found it used up
goes on when the broker is called next, one after the other.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["PACKETS", "STEPS", "Search", "Searcher"]

STEPS = 2_000  # levels of topics, or packets, looked at before others have their turn: 2 to 10 ms
# Packets looked at in a turn of all: 0.1 s. What a turn usually brings is far below it.
PACKETS = 20_000
STEP_BYTES = 16  # of a packet's small parts, each of which is looked at: as much as a step


class Searcher(Protocol):
    """Who has much to do."""

    def pump(self, now: float) -> None:
        """Go on."""


class Search:
    """See the module.

    :param steps: the budget. Who waits gets :data:`STEPS` of it at a time.
    """

    __slots__ = ("_left", "_steps", "_waiting")

    def __init__(self, steps: int) -> None:
        self._steps = self._left = steps
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

    def weigh(self, count: int) -> None:
        """Bytes of a packet's small parts are looked at, whether there is budget or not."""
        self._left -= count // STEP_BYTES

    def renew(self) -> None:
        """A turn is over; who did not wait in it begins the next with a new budget."""
        if not self._waiting:
            self._left = self._steps

    def go_on(self, now: float) -> None:
        """Let those go on who wait, with a new budget."""
        left = self._steps
        waiting = self._waiting
        while waiting and left > 0:
            searcher = next(iter(waiting))
            del waiting[searcher]
            self._left = given = min(left, STEPS)
            searcher.pump(now)
            left -= given - self._left
        self._left = left
