"""Many changes, one write: what comes while the disk works waits for the next write together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from porttunnel.net.instance.store import StoreChange

__all__ = ["GroupCommit"]

# What one write has at most: some tens of milliseconds of statements, so that none waits long.
MAX_CHANGES = 4_096
# What may wait, which is seconds of them: with more the disk stands, and so must who makes them.
MAX_WAITING_CHANGES = 16_384


class GroupCommit:
    """Hands changes to a store, in their order, never two writes at a time.

    :param write: makes all of some changes or none; its Deferred fires when they are safe.
    :param soon: calls a function in the reactor's next turn: what comes in one turn goes together.
    :ivar writes: how many there were.
    """

    def __init__(
        self,
        write: Callable[[Sequence[StoreChange]], Deferred[Any]],
        soon: Callable[[Callable[[], None]], object],
    ) -> None:
        self._write = write
        self._soon = soon
        self._changes: list[StoreChange] = []
        self._waiting: list[tuple[int, Deferred[None]]] = []  # how many changes each has
        self._is_at_work = False
        self._when_idle: list[Deferred[None]] = []
        self.writes = 0

    def keep(self, *changes: StoreChange) -> Deferred[None]:
        """Write these; fires when they are safe, fails with what the store raised. Cancelled,
        they are written nevertheless.
        """
        kept: Deferred[None] = Deferred(lambda _: None)
        self._changes += changes
        self._waiting.append((len(changes), kept))
        if not self._is_at_work:
            self._is_at_work = True
            self._soon(self._begin)
        return kept

    @property
    def is_behind(self) -> bool:
        """Whether so much waits that nobody should begin what needs more."""
        return len(self._changes) >= MAX_WAITING_CHANGES

    def when_idle(self) -> Deferred[None]:
        """Fires once nothing waits to be written."""
        idle: Deferred[None] = Deferred()
        self._when_idle.append(idle)
        if not self._is_at_work:
            self._tell_idle()
        return idle

    def _begin(self) -> None:
        count = taken = 0
        for changes, _ in self._waiting:
            if taken and count + changes > MAX_CHANGES:
                break
            count += changes
            taken += 1
        written, self._changes = self._changes[:count], self._changes[count:]
        waiting, self._waiting = self._waiting[:taken], self._waiting[taken:]
        self.writes += 1
        self._write(written).addBoth(self._finish, [kept for _, kept in waiting])

    def _finish(self, result: object, waiting: list[Deferred[None]]) -> None:
        if self._waiting:
            # Before those are told: the disk is not to wait for what they do now.
            self._begin()
        else:
            self._is_at_work = False
        for kept in waiting:
            if not kept.called:
                kept.callback(result if isinstance(result, Failure) else None)
        if not self._is_at_work:
            self._tell_idle()

    def _tell_idle(self) -> None:
        waiting, self._when_idle = self._when_idle, []
        for idle in waiting:
            idle.callback(None)
