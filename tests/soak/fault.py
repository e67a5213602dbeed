"""What goes wrong, drawn from a seed."""

from __future__ import annotations

import random
from enum import StrEnum

__all__ = ["RESTARTING_PART", "FaultPlan", "MemberFault", "ServerFault"]

RESTARTING_PART = 0.6  # of the time; in the rest the server shows whether it grows


class MemberFault(StrEnum):
    """What happens to members of one session."""

    CUT = "cut"  # RST on a member's link
    CUT_ALL = "cut all"  # the same on all links of a process in one moment
    STALL = "stall"  # a member reads nothing for a while
    JOIN = "join"  # somebody new comes in; if many are there, somebody leaves first
    KICK = "kick"
    LOCK = "lock"  # and somebody knocks meanwhile
    DIRECT_OFF = "direct off"  # the connection between two members breaks


class ServerFault(StrEnum):
    """What happens to the server; it is started again at once."""

    KILL = "kill -9"
    TERMINATE = "SIGTERM"


# How often each comes in one round through the pack.
_PACK = {
    MemberFault.CUT: 7,
    MemberFault.CUT_ALL: 1,
    MemberFault.STALL: 3,
    MemberFault.JOIN: 4,
    MemberFault.KICK: 2,
    MemberFault.LOCK: 1,
    MemberFault.DIRECT_OFF: 2,
}


class FaultPlan:
    """One fault for each second.

    :param seed: of all that is drawn.
    :param seconds: of the whole run.
    :param restarts: of the server, spread over the first part of the run.
    """

    def __init__(self, seed: int, seconds: int, restarts: int) -> None:
        self._random = random.Random(seed)
        self._pack: list[MemberFault] = []
        each = max(1, int(seconds * RESTARTING_PART) // max(1, restarts))
        kinds = list(ServerFault)
        self._restarts = {
            (number + 1) * each: kinds[number % len(kinds)] for number in range(restarts)
        }

    def draw(self, second: int) -> MemberFault | ServerFault:
        """What happens in this second."""
        if second in self._restarts:
            return self._restarts[second]
        if not self._pack:
            self._pack = [fault for fault, count in _PACK.items() for _ in range(count)]
            self._random.shuffle(self._pack)
        return self._pack.pop()

    def number(self, below: int) -> int:
        """Which session, or which member."""
        return self._random.randrange(below)
