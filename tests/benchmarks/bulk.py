"""One large transfer, and what it cost each process on its way."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from tests.benchmarks.processes import cpu_seconds
from tests.benchmarks.program import Program

__all__ = ["CPU", "GIB", "MIB", "THROUGHPUT", "measure_transfer"]

MIB = 1 << 20
GIB = 1 << 30
CPU = "CPU"
THROUGHPUT = "throughput"
TRANSFER_SECONDS = 300.0  # 1 GiB at 4 MiB/s: slower is broken

Clocks = Mapping[str, Sequence[int]]


def measure_transfer(
    start_fetch: Callable[[], Program], count: int, clocks: Callable[[], Clocks]
) -> dict[str, float]:
    """Fetch ``count`` bytes.

    :param start_fetch: starts a process like ``fetch`` of :mod:`tests.benchmarks.traffic`.
    :param clocks: whose time counts, by what they are; asked once the fetch is connected.
    :returns: MiB/s, CPU seconds for each GiB, and the same of each part if there are several.
    """
    with start_fetch() as fetch:
        fetch.read_line("ready")
        measured = clocks()
        before = _read(measured)
        fetch.write_line("go")
        got = json.loads(fetch.read_line(seconds=TRANSFER_SECONDS))
        after = _read(measured)
    assert got["bytes"] >= count, f"{got['bytes']} of {count} bytes came"
    gib = got["bytes"] / GIB
    parts = {name: (after[name] - before[name]) / gib for name in measured}
    figures = {THROUGHPUT: got["bytes"] / MIB / got["seconds"], CPU: sum(parts.values())}
    if len(parts) > 1:
        figures |= {f"{CPU} of {name}": value for name, value in parts.items()}
    return figures


def _read(clocks: Clocks) -> dict[str, float]:
    return {name: sum(map(cpu_seconds, pids)) for name, pids in clocks.items()}
