"""A suite of parts, each of which measures us beside our peers."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.run import FULL_MIB, Part, Run
from tests.benchmarks.table import format_table, write_json

__all__ = ["run_suite"]

RESULTS = Path("benchmark-results")


def run_suite(
    name: str,
    parts: Mapping[str, Callable[[Part], None]],
    arguments: Sequence[str],
    *,
    timed: bool = False,
) -> int:
    """Measure, print the table, write the JSON.

    :param timed: things are measured for a time, and not for a number of bytes.
    """
    parser = argparse.ArgumentParser(prog=f"python -m tests.benchmarks {name}")
    parser.add_argument("--rounds", type=int, default=5, help="figures are medians of them")
    if timed:
        parser.add_argument("--seconds", type=float, default=2.0, help="each thing is measured")
    else:
        parser.add_argument("--mib", type=int, default=1024, help="size of each bulk transfer")
        parser.set_defaults(seconds=0.0)
    parser.add_argument("--only", default=",".join(parts), help="parts, with commas between")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the JSON")
    options = parser.parse_args(arguments)
    if timed:
        options.mib = min(FULL_MIB, int(FULL_MIB * options.seconds))  # what is counted, too
    wanted = options.only.split(",")
    if unknown := set(wanted) - set(parts):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    run = Run(options.rounds, options.mib, options.seconds)
    for part in wanted:
        print(f"measuring {part} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, ExitStack() as stack:
            parts[part](Part(run, part, Path(folder), stack))
    print(format_table(run.rows))
    for what, installation in run.missing.items():
        print(f"skipped: {what} is not installed ({installation})")
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    path = options.output / f"{name}-{stamp}.json"
    write_json(path, _about(options) | {"missing": run.missing}, run.rows, run.samples)
    print(f"written: {path}")
    return 0


def _about(options: argparse.Namespace) -> dict[str, object]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "rounds": options.rounds,
        "mib": options.mib,
        "seconds": options.seconds,
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
    }
