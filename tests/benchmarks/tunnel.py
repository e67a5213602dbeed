"""The session tunnel beside its peers: ``python -m tests.benchmarks tunnel``."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.part_keys import measure_keys
from tests.benchmarks.part_memory import measure_memory
from tests.benchmarks.part_relay import measure_relay
from tests.benchmarks.part_share import measure_share
from tests.benchmarks.part_stream import measure_records, measure_stream
from tests.benchmarks.run import Part, Run
from tests.benchmarks.table import format_table, write_json

__all__ = ["PARTS", "main"]

PARTS: dict[str, Callable[[Part], None]] = {
    "relay": measure_relay,
    "share": measure_share,
    "stream": measure_stream,
    "records": measure_records,
    "keys": measure_keys,
    "memory": measure_memory,
}
RESULTS = Path("benchmark-results")


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks tunnel")
    parser.add_argument("--rounds", type=int, default=5, help="figures are medians of them")
    parser.add_argument("--mib", type=int, default=1024, help="size of each bulk transfer")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the JSON")
    options = parser.parse_args(arguments)
    names = options.only.split(",")
    if unknown := set(names) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    run = Run(options.rounds, options.mib)
    for name in names:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, ExitStack() as stack:
            PARTS[name](Part(run, name, Path(folder), stack))
    print(format_table(run.rows))
    for name, installation in run.missing.items():
        print(f"skipped: {name} is not installed ({installation})")
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    path = options.output / f"tunnel-{stamp}.json"
    write_json(path, _about(options) | {"missing": run.missing}, run.rows, run.samples)
    print(f"written: {path}")
    return 0


def _about(options: argparse.Namespace) -> dict[str, object]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "rounds": options.rounds,
        "mib": options.mib,
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
    }
