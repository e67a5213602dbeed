"""The MQTT broker with very many clients: ``python -m tests.benchmarks mqtt-load``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.benchmarks.part_mqtt_load import (
    measure_connections,
    measure_flood,
    measure_return,
)
from tests.benchmarks.run import Part
from tests.benchmarks.suite import run_suite

__all__ = ["PARTS", "main"]

PARTS: dict[str, Callable[[Part], None]] = {
    "connections": measure_connections,
    "flood": measure_flood,
    "return": measure_return,
}


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table, write the JSON."""
    return run_suite("mqtt-load", PARTS, arguments, timed=True)
