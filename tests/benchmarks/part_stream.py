"""Streams of the library, source and sink inside the programs: bulk, and small records."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.benchmarks.bulk import CPU, THROUGHPUT, transfer
from tests.benchmarks.library_programs import BULK, PIECE_BYTES, RECORDS, library_pair
from tests.benchmarks.openssh import SSH
from tests.benchmarks.part_share import UNITS, ssh_transfer
from tests.benchmarks.run import Part
from tests.benchmarks.table import OURS, Goal
from tests.benchmarks.traffic_programs import start_source

__all__ = ["measure_records", "measure_stream"]

GOALS = {(CPU, SSH): Goal(0.8), (THROUGHPUT, SSH): Goal(1.3, at_least=True)}

RECORD_RATE = "64-byte records"
CPU_PER_RECORD = "CPU of a record"
RECORD_UNITS = {RECORD_RATE: "1/s", CPU_PER_RECORD: "µs"}
RECORD_GOALS = {(RECORD_RATE, ""): Goal(200_000, at_least=True)}
MAX_RECORDS = 1_000_000  # five seconds at the goal
MICROSECONDS = 1e6

_Measure = Callable[[], Mapping[str, float]]


def measure_stream(part: Part) -> None:
    """What one byte costs between two programs that use the library."""
    part.add(OURS, lambda: _bulk(part))
    source_port = part.stack.enter_context(start_source(part.folder))
    part.add(SSH, lambda: ssh_transfer(part, source_port))
    part.measure(UNITS, GOALS)


def measure_records(part: Part) -> None:
    """How many small writes go through one stream, each of them a call of `transport.write`."""
    part.add(OURS, lambda: _records(part))
    part.measure(RECORD_UNITS, RECORD_GOALS)


def _bulk(part: Part) -> _Measure:
    pair = part.stack.enter_context(library_pair(part.folder))
    count = part.bulk_bytes
    return lambda: transfer(pair.fetching(BULK, count), count, pair.clocks).figures()


def _records(part: Part) -> _Measure:
    pair = part.stack.enter_context(library_pair(part.folder))
    size = PIECE_BYTES[RECORDS]
    count = min(part.bulk_bytes, MAX_RECORDS * size)

    def measure() -> Mapping[str, float]:
        done = transfer(pair.fetching(RECORDS, count), count, pair.clocks)
        records = done.count / size
        cpu_seconds = sum(done.cpu_seconds.values())
        return {
            RECORD_RATE: records / done.seconds,
            CPU_PER_RECORD: cpu_seconds / records * MICROSECONDS,
        }

    return measure
