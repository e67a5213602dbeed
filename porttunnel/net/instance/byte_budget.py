"""How much may wait in memory for all devices together."""

from __future__ import annotations

__all__ = ["ByteBudget"]


class ByteBudget:
    """Counts bytes.

    :param maximum: how many may be taken.
    :ivar taken: how many are.
    """

    __slots__ = ("_maximum", "taken")

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self.taken = 0

    def take(self, count: int) -> bool:
        """Count them in any case; whether that was within the budget. If it wasn't, whoever they
        are for has to give them up.
        """
        self.taken += count
        return self.taken <= self._maximum

    def give_back(self, count: int) -> None:
        """They are gone."""
        self.taken -= count
