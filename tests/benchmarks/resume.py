"""The pause that people see after a cut: ``python -m tests.benchmarks resume``."""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.part_resume import measure_resume
from tests.benchmarks.run import Part, Run
from tests.benchmarks.table import format_table, write_json

__all__ = ["main"]

RESULTS = Path("benchmark-results")


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks resume")
    parser.add_argument("--cuts", type=int, default=100, help="of each member's link")
    parser.add_argument("--kills", type=int, default=20, help="of the server")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the JSON")
    options = parser.parse_args(arguments)
    run = Run(rounds=1, mib=0)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, ExitStack() as stack:
        measure_resume(Part(run, "resume", Path(folder), stack), options.cuts, options.kills)
    print(format_table(run.rows))
    now = datetime.now(UTC)
    about = {
        "at": now.isoformat(timespec="seconds"),
        "cuts": options.cuts,
        "kills": options.kills,
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
    }
    path = options.output / f"resume-{now:%Y%m%d-%H%M%S}.json"
    write_json(path, about, run.rows, run.samples)
    print(f"written: {path}")
    return 0
