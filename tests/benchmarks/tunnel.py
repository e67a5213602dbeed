"""The session tunnel beside its peers: ``python -m tests.benchmarks tunnel``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.benchmarks.part_keys import measure_keys
from tests.benchmarks.part_memory import measure_memory
from tests.benchmarks.part_relay import measure_relay
from tests.benchmarks.part_share import measure_share, measure_tls
from tests.benchmarks.part_stream import measure_records, measure_stream
from tests.benchmarks.run import Part
from tests.benchmarks.suite import run_suite

__all__ = ["PARTS", "main"]

PARTS: dict[str, Callable[[Part], None]] = {
    "relay": measure_relay,
    "share": measure_share,
    "tls": measure_tls,
    "stream": measure_stream,
    "records": measure_records,
    "keys": measure_keys,
    "memory": measure_memory,
}


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table, write the JSON."""
    return run_suite("tunnel", PARTS, arguments)
