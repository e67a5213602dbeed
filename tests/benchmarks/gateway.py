"""The gateway, agent and device: ``python -m tests.benchmarks gateway``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.benchmarks.part_gateway import measure_body, measure_latency, measure_requests
from tests.benchmarks.part_gateway_load import measure_guessing, measure_idle, measure_return
from tests.benchmarks.run import Part
from tests.benchmarks.suite import run_suite

__all__ = ["PARTS", "main"]

PARTS: dict[str, Callable[[Part], None]] = {
    "requests": measure_requests,
    "body": measure_body,
    "latency": measure_latency,
    "idle": measure_idle,
    "guessing": measure_guessing,
    "return": measure_return,
}


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table, write the JSON."""
    return run_suite("gateway", PARTS, arguments, timed=True)
