"""The MQTT broker beside its peers: ``python -m tests.benchmarks mqtt``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.benchmarks.part_mqtt import (
    measure_idle,
    measure_qos0,
    measure_qos1,
    measure_requests,
)
from tests.benchmarks.run import Part
from tests.benchmarks.suite import run_suite

__all__ = ["PARTS", "main"]

PARTS: dict[str, Callable[[Part], None]] = {
    "qos0": measure_qos0,
    "qos1": measure_qos1,
    "requests": measure_requests,
    "idle": measure_idle,
}


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table, write the JSON."""
    return run_suite("mqtt", PARTS, arguments, timed=True)
