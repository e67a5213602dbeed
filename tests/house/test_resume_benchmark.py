"""`python -m tests.benchmarks resume` runs, and says what it should; how fast, no test asserts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.part_resume import FLOOR
from tests.house.test_benchmarks import run_benchmark

FAULTS = ("cut, link of share", "cut, link of join", "server killed")


@pytest.mark.real
def test_a_small_run_has_a_line_for_everything(tmp_path: Path) -> None:
    written = run_benchmark("resume", "--cuts", "2", "--kills", "1", "--output", str(tmp_path))
    (path,) = tmp_path.glob("resume-*.json")
    table = json.loads(path.read_text(encoding="utf-8"))["table"]
    figures = {f"{fault} p{percent}" for fault in FAULTS for percent in (50, 95)}
    assert {row["figure"] for row in table if row["peer"] == FLOOR} == figures
    with_goal = {row["figure"] for row in table if row["goal"] is not None}
    assert with_goal == {f"{fault} p50" for fault in FAULTS[:2]}
    assert all(row["ours"] >= 0 for row in table)
    assert all(figure in written for figure in figures)
