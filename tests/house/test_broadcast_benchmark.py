"""`python -m tests.benchmarks broadcast` runs and tells what it should; how fast, no test says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.part_broadcast import UNDISTURBED, UNITS
from tests.house.test_benchmarks import run_benchmark


@pytest.mark.real
def test_a_small_run_has_a_line_for_everything(tmp_path: Path) -> None:
    small = ("--rounds", "1", "--mib", "2", "--members", "4")
    written = run_benchmark("broadcast", *small, "--output", str(tmp_path))
    (path,) = tmp_path.glob("broadcast-*.json")
    table = json.loads(path.read_text(encoding="utf-8"))["table"]
    assert {row["figure"] for row in table if row["peer"] == UNDISTURBED} == set(UNITS)
    assert [row["goal"]["bound"] for row in table if row["goal"] is not None] == [2.0, 32]
    assert all(row["ours"] >= 0 or row["unit"] == "MiB" for row in table)
    assert all(figure in written for figure in UNITS)
