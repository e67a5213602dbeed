"""What the parts of one run have in common: options, peers that may be missing, results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.bulk import MIB
from tests.benchmarks.contest import Contestant, MissingPeer, hold_rounds
from tests.benchmarks.table import Goal, Row, rows_of

__all__ = ["FULL_MIB", "Part", "Run"]

FULL_MIB = 64  # runs with less measure nothing


@dataclass
class Run:
    """One run of a benchmark.

    :ivar rounds: figures are medians of so many.
    :ivar mib: size of a bulk transfer.
    :ivar seconds: length of what is measured for a time.
    :ivar missing: peers that aren't installed, and how to.
    """

    rounds: int
    mib: int
    seconds: float = 1.0
    rows: list[Row] = field(default_factory=list)
    samples: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


class Part:
    """One part of a run.

    :param folder: a temporary one, the part's own.
    :param stack: stops what the part has started.
    """

    def __init__(self, run: Run, name: str, folder: Path, stack: ExitStack) -> None:
        self.run = run
        self.folder = folder
        self.stack = stack
        self._name = name
        self._contestants: list[Contestant] = []

    @property
    def bulk_bytes(self) -> int:
        return self.run.mib * MIB

    def scaled(self, count: int) -> int:
        """``count``, or less of it in a run that is only to show that everything works."""
        return max(1, min(count, count * self.run.mib // FULL_MIB))

    def add(self, name: str, start: Callable[[], Callable[[], Mapping[str, float]]]) -> None:
        """Start a contestant; without it, if it isn't installed.

        :param start: starts it and returns what measures it once.
        """
        try:
            self._contestants.append(Contestant(name, start()))
        except MissingPeer as missing:
            self.run.missing[name] = str(missing)

    def measure(
        self,
        units: Mapping[str, str],
        goals: Mapping[tuple[str, str], Goal] | None = None,
        *,
        rounds: int | None = None,
    ) -> None:
        """Hold the rounds; see :func:`tests.benchmarks.table.rows_of`.

        :param rounds: instead of the run's.
        """
        samples = hold_rounds(self._contestants, rounds or self.run.rounds)
        self.run.samples[self._name] = samples.values
        self.run.rows += rows_of(self._name, samples, units, goals or {})
