"""Interruptions as people want to hear of them: not at all if they are over in a moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall

__all__ = ["Interruptions"]

NOTICE_SECONDS = 1.0  # a link that was cut is usually back within a tenth of it


class Interruptions:
    """Says that something is away once it has been for a second, and then also that it is back.

    :param reactor: time.
    :param say: puts a line on the screen.
    """

    def __init__(self, reactor: Any, say: Callable[[str], None]) -> None:
        self._reactor = reactor
        self._say = say
        self._waiting: dict[int, IDelayedCall] = {}
        self._told: set[int] = set()

    def begin(self, who: int, line: str) -> None:
        """Somebody is away.

        :param who: a number for them.
        :param line: what to say in a second.
        """
        if who not in self._waiting and who not in self._told:
            self._waiting[who] = self._reactor.callLater(NOTICE_SECONDS, self._tell, who, line)

    def end(self, who: int, line: str) -> None:
        """They are back; ``line`` is said if their absence was."""
        told = who in self._told
        self.forget(who)
        if told:
            self._say(line)

    def forget(self, who: int) -> None:
        """They are gone for good, which is told otherwise."""
        self._told.discard(who)
        waiting = self._waiting.pop(who, None)
        if waiting is not None:
            waiting.cancel()

    def stop(self) -> None:
        """Say nothing more."""
        for who in list(self._waiting):
            self.forget(who)

    def _tell(self, who: int, line: str) -> None:
        del self._waiting[who]
        self._told.add(who)
        self._say(line)
