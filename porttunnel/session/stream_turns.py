"""Whose turn it is among the streams of a pair, and among the pairs of a path.

Source: docs/session-protocol, section 6: waiting streams are served in turn. What a stream has
kept is sent when its turn comes. But who fills packets itself, from a socket, can only be told,
and comes a little later. Were several told at once, who is read first would take all the room
there is, be back first, and win again each time, while the others starve. So one is told at a time
on the whole path, and until it has come all others wait. Only who has bytes to send asks for room,
so it comes at once; should it not, it is given up after some seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from porttunnel.session.turn_queue import TurnQueue

if TYPE_CHECKING:
    from porttunnel.session.pair import Pair
    from porttunnel.session.path import Path

__all__ = ["StreamTurns"]


class StreamTurns:
    """The streams that wait, and the one that was told to come.

    :param pair: on whose path others may wait as well.
    """

    __slots__ = ("_pair", "_queue", "_told", "_told_before")

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._queue = TurnQueue()
        self._told: int | None = None
        self._told_before: int | None = None

    def __bool__(self) -> bool:
        return bool(self._queue)

    @property
    def expects_more(self) -> bool:
        """Whether somebody will come, now or in its turn."""
        return bool(self._queue) or self._told is not None

    @property
    def first(self) -> int:
        """Whose turn it is. There must be one."""
        return self._queue.first

    def is_expected_on(self, path: Path) -> bool:
        """Whether one of these was told of room on this path and has not come yet."""
        return self._told is not None and self._pair.path is path

    def may_tell(self) -> bool:
        """Whether nobody is expected, here or in another pair on the path."""
        return self._told is None and not self._path_is_promised()

    def must_yield(self, number: int) -> bool:
        """Whether room that there may be is for others."""
        if self._told is not None:
            return number != self._told
        return bool(self._queue) or self._path_is_promised()

    def wait(self, number: int) -> None:
        """Stand in the queue."""
        self._queue.wait(number)

    def found_no_room(self, number: int) -> None:
        """It came to fill packets and waits, before the others if it had been told to come."""
        if number != self._told:
            self._queue.wait(number)
            return
        # What others had begun to fill before has taken the room.
        self._told = None
        self._queue.wait_first(number)
        if self._pair.path is not None:
            self._pair.path.turns.wait_first(self._pair.remote_member)

    def tell(self, number: int) -> None:
        """It is told to come, and waits no more."""
        self._queue.leave(number)
        self._told = number
        if self._pair.path is not None:
            self._pair.path.told = self

    def came(self, number: int) -> None:
        """It has taken what it wants."""
        if number == self._told:
            self._told = None

    def give_up_on_told(self) -> bool:
        """To be called every few seconds: who was told before the last call and has not come is
        not waited for any more. Whether there was one.
        """
        is_late = self._told is not None and self._told == self._told_before
        if is_late:
            self._told = None
        self._told_before = self._told
        return is_late

    def leave(self, number: int) -> None:
        """It wants no turn."""
        self._queue.leave(number)
        self.came(number)

    def _path_is_promised(self) -> bool:
        path = self._pair.path
        return path is not None and path.told is not self and path.is_promised
