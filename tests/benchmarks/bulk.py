"""One transfer, and what it cost each process on its way."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tests.benchmarks.processes import cpu_seconds
from tests.benchmarks.program import Program

__all__ = ["CPU", "GIB", "MIB", "THROUGHPUT", "Clocks", "Transfer", "transfer"]

MIB = 1 << 20
GIB = 1 << 30
CPU = "CPU"
THROUGHPUT = "throughput"
TRANSFER_SECONDS = 300.0  # 1 GiB at 4 MiB/s: slower is broken

Clocks = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Transfer:
    """What a transfer took.

    :ivar count: bytes that came.
    :ivar cpu_seconds: by what the processes are.
    """

    count: int
    seconds: float
    cpu_seconds: Mapping[str, float]

    def figures(self) -> dict[str, float]:
        """MiB/s, CPU seconds for each GiB, and the same of each part if there are several."""
        gib = self.count / GIB
        each = {name: seconds / gib for name, seconds in self.cpu_seconds.items()}
        parts = {f"{CPU} of {name}": value for name, value in each.items() if len(each) > 1}
        return {CPU: sum(each.values()), THROUGHPUT: self.count / MIB / self.seconds} | parts


def transfer(
    start_fetch: Callable[[], AbstractContextManager[Program]],
    count: int,
    clocks: Callable[[], Clocks],
) -> Transfer:
    """Fetch ``count`` bytes.

    :param start_fetch: starts what speaks like ``fetch`` of :mod:`tests.benchmarks.traffic`.
    :param clocks: whose time counts, by what they are; asked once the fetch is connected.
    """
    with start_fetch() as fetch:
        fetch.read_line("ready")
        measured = clocks()
        before = _read(measured)
        fetch.write_line("go")
        got = json.loads(fetch.read_line(seconds=TRANSFER_SECONDS))
        after = _read(measured)
    assert got["bytes"] >= count, f"only {got['bytes']} of {count} bytes came"
    used = {name: after[name] - before[name] for name in measured}
    return Transfer(got["bytes"], got["seconds"], used)


def _read(clocks: Clocks) -> dict[str, float]:
    return {name: sum(map(cpu_seconds, pids)) for name, pids in clocks.items()}
