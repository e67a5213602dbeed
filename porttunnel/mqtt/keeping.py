"""What becomes of a message for a session, and how much all sessions may keep."""

from __future__ import annotations

from enum import Enum, auto

__all__ = ["ID_BYTES", "HeldBytes", "Outcome"]

# A packet identifier that one side of a QoS 2 message has to know for a while, in memory, about,
# as measured with CPython 3.11. A client may have a thousand each way, in each of its sessions.
ID_BYTES = 64


class Outcome(Enum):
    """What became of a message for a session."""

    SENT = auto()
    QUEUED = auto()
    DROPPED = auto()
    """There was no room for it."""
    ABSENT = auto()
    """QoS 0 for a client that is away."""


class HeldBytes:
    """What the messages of all sessions take, and may take; packet identifiers are among it.

    No session gets more than it leaves free for all others: however many read nothing, there is
    as much left as each of them has.
    """

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.held = 0
        self.limit = limit

    def has_room(self, cost: int, own: int) -> bool:
        """Whether one of this size may be kept too.

        :param own: what the session that wants it has already.
        """
        return self.held + own + cost <= self.limit
