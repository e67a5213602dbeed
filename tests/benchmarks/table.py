"""Results as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.contest import Samples

__all__ = ["OURS", "Goal", "Row", "format_table", "rows_of", "write_json"]

OURS = "porttunnel"
_HEAD = ("part", "figure", "peer", "ratio", "rounds", "goal", "met", OURS, "peer's", "unit")
_SIGNIFICANT_BELOW = 100  # larger figures need no decimals


@dataclass(frozen=True)
class Goal:
    """What a ratio, or a figure without a peer, should be."""

    bound: float
    at_least: bool = False

    def met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:,g}"


@dataclass(frozen=True)
class Row:
    """One line.

    :ivar ratios: of our figure to the peer's in each round, the smallest first.
    """

    part: str
    figure: str
    unit: str
    ours: float
    peer: str = ""
    theirs: float | None = None
    ratios: Sequence[float] = ()
    goal: Goal | None = None

    @property
    def ratio(self) -> float | None:
        """The median of the rounds' ratios: medians of different rounds have none."""
        return median(self.ratios) if self.ratios else None

    @property
    def met(self) -> bool | None:
        if self.goal is None:
            return None
        if self.peer and self.ratio is None:
            return None
        return self.goal.met(self.ours if self.ratio is None else self.ratio)


def rows_of(
    part: str,
    samples: Samples,
    units: Mapping[str, str],
    goals: Mapping[tuple[str, str], Goal],
) -> list[Row]:
    """Our figures, each beside every peer that has it too.

    :param units: by figure; the figures that are shown, in their order.
    :param goals: by figure and peer; with the peer empty, for the figure itself.
    """
    rows = []
    for figure, unit in units.items():
        if figure not in samples.figures(OURS):
            continue
        ours = samples.median(OURS, figure)
        peers = [
            name for name in samples.values if name != OURS and figure in samples.figures(name)
        ]
        alone = goals.get((figure, ""))
        if alone is not None or not peers:
            rows.append(Row(part, figure, unit, ours, goal=alone))
        for peer in peers:
            ratios = samples.ratios(OURS, peer, figure)
            theirs = samples.median(peer, figure)
            goal = goals.get((figure, peer))
            rows.append(Row(part, figure, unit, ours, peer, theirs, ratios, goal))
    return rows


def format_table(rows: Sequence[Row]) -> str:
    lines = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    texts = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    ]
    texts.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(texts)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.part,
        row.figure,
        row.peer,
        "" if row.ratio is None else f"{row.ratio:.2f}",
        f"{row.ratios[0]:.2f}-{row.ratios[-1]:.2f}" if len(row.ratios) > 1 else "",
        "" if row.goal is None else str(row.goal),
        {None: "", True: "yes", False: "NO"}[row.met],
        _format(row.ours),
        _format(row.theirs),
        row.unit,
    )


def _format(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if abs(value) < _SIGNIFICANT_BELOW else f"{value:,.0f}"


def write_json(path: Path, about: Mapping[str, Any], rows: Sequence[Row], samples: Any) -> None:
    """Everything: what was measured where, the table, and each round's values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = [asdict(row) | {"ratio": row.ratio, "met": row.met} for row in rows]
    content = dict(about) | {"table": table, "samples": samples}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
