"""The direct path beside ``ssh -R`` over the same LAN: ``python -m tests.benchmarks direct``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.benchmarks.part_direct import measure_bulk, measure_keys
from tests.benchmarks.run import Part
from tests.benchmarks.suite import run_suite

__all__ = ["PARTS", "main"]

PARTS: dict[str, Callable[[Part], None]] = {"bulk": measure_bulk, "keys": measure_keys}


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table, write the JSON."""
    return run_suite("direct", PARTS, arguments)
