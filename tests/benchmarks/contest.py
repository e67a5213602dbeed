"""Who is measured, in rounds: each round measures everybody once, one after the other.

A busy machine slows down a whole round, so the ratios within a round hold where figures don't.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Contestant", "MissingPeer", "Samples", "hold_rounds"]

Figures = Mapping[str, float]


class MissingPeer(Exception):
    """A peer isn't installed; the text says what to install."""


@dataclass(frozen=True)
class Contestant:
    """Somebody to measure.

    :ivar name: as in the table.
    :ivar measure: measures once; figures by their names.
    """

    name: str
    measure: Callable[[], Figures]


class Samples:
    """What was measured, by contestant and figure, one value for each round."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, list[float]]] = {}

    def add(self, name: str, figures: Figures) -> None:
        for figure, value in figures.items():
            self.values.setdefault(name, {}).setdefault(figure, []).append(value)

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def figures(self, name: str) -> Iterable[str]:
        return self.values[name]

    def median(self, name: str, figure: str) -> float:
        return median(self.values[name][figure])

    def ratios(self, name: str, peer: str, figure: str) -> list[float]:
        """Of each round, the smallest first.

        A round in which the peer's figure is zero has none: CPU is counted in ticks of 10 ms,
        and a small run may cost less than one.
        """
        pairs = zip(self.values[name][figure], self.values[peer][figure], strict=True)
        return sorted(ours / theirs for ours, theirs in pairs if theirs)


def hold_rounds(contestants: Sequence[Contestant], rounds: int) -> Samples:
    samples = Samples()
    for number in range(rounds):
        # The other way round every second time: whoever follows a heavy one has no other luck.
        order = contestants if number % 2 == 0 else contestants[::-1]
        for contestant in order:
            samples.add(contestant.name, contestant.measure())
    return samples
