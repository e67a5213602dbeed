"""Who waits for room, in the order of their turns: streams in a pair, members on a path."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["TurnQueue"]


class TurnQueue:
    """Numbers of those that wait, each once. Empty, it is false."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers: dict[int, None] = {}

    def __bool__(self) -> bool:
        return bool(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    @property
    def first(self) -> int:
        """Whose turn it is. There must be one."""
        return next(iter(self._numbers))

    def wait(self, number: int) -> None:
        """Stand at the end, unless it waits already."""
        self._numbers[number] = None

    def wait_first(self, number: int) -> None:
        """Stand before all others."""
        self._numbers = {number: None} | self._numbers

    def leave(self, number: int) -> None:
        """Wait no more."""
        self._numbers.pop(number, None)

    def clear(self) -> None:
        """Nobody waits."""
        self._numbers.clear()
