"""What a broadcast costs, and a member that stands still: ``python -m tests.benchmarks
broadcast``.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.part_broadcast import measure_broadcast
from tests.benchmarks.run import Part, Run
from tests.benchmarks.table import format_table, write_json

__all__ = ["main"]

RESULTS = Path("benchmark-results")


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks broadcast")
    parser.add_argument("--rounds", type=int, default=3, help="figures are medians of them")
    parser.add_argument("--mib", type=int, default=32, help="size of each broadcast")
    parser.add_argument("--members", type=int, default=50, help="one of them is stopped")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the JSON")
    options = parser.parse_args(arguments)
    run = Run(options.rounds, options.mib)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, ExitStack() as stack:
        measure_broadcast(Part(run, "broadcast", Path(folder), stack), options.members)
    print(format_table(run.rows))
    now = datetime.now(UTC)
    about = {
        "at": now.isoformat(timespec="seconds"),
        "rounds": options.rounds,
        "mib": options.mib,
        "members": options.members,
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
    }
    path = options.output / f"broadcast-{now:%Y%m%d-%H%M%S}.json"
    write_json(path, about, run.rows, run.samples)
    print(f"written: {path}")
    return 0
