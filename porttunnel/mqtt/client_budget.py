"""How much a client's program may have asked for that is not done yet, in bytes."""

from __future__ import annotations

from porttunnel.errors import QueueFull

__all__ = ["ENTRY_BYTES", "QueueBudget"]

ENTRY_BYTES = 512  # what keeping an entry costs besides its content, so that empty ones count too


class QueueBudget:
    """Counts them.

    :param maximum: bytes; a single entry may be larger where nothing else waits.

    :ivar used: bytes that are taken now.
    """

    __slots__ = ("_maximum", "used")

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self.used = 0

    def take(self, count: int) -> None:
        """Count an entry.

        :raises QueueFull: there is no room for it.
        """
        if self.used and self.used + count > self._maximum:
            raise QueueFull(
                "Too much waits to be sent to the broker already. Wait until there is room, or "
                "allow more with max_queued_bytes."
            )
        self.used += count

    def give_back(self, count: int) -> None:
        """An entry is done with."""
        self.used -= count

    @property
    def has_room(self) -> bool:
        """Whether half of it is free: a good moment for who waited to go on."""
        return self.used <= self._maximum // 2
