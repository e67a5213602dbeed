"""Threads that do nothing before a test says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

__all__ = ["Turns"]


class Turns:
    """In the place of a thread, or of several: runs calls at once, or holds them.

    :ivar count: how many calls came.
    """

    def __init__(self) -> None:
        self.count = 0
        self.are_held = False
        self._held: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def run(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        self.count += 1
        if not self.are_held:
            return maybeDeferred(function, *arguments)
        deferred: Deferred[Any] = Deferred()
        self._held.append((deferred, function, arguments))
        return deferred

    def waiting(self) -> int:
        return len(self._held)

    def release_one(self) -> None:
        deferred, function, arguments = self._held.pop(0)
        maybeDeferred(function, *arguments).chainDeferred(deferred)

    def release(self) -> None:
        """All that is held, and all that comes from now on."""
        self.are_held = False
        while self._held:
            self.release_one()
