"""`python -m tests.benchmarks mqtt-load` runs, and says what it should."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.part_mqtt_load import BACK, CALLED, GREW, MEMORY, OPENED, TAKEN
from tests.house.test_benchmarks import run_benchmark

COUNT = 156  # of 10,000 connections, at the hundredth part of the time
FIGURES = {
    *(
        ("connections", f"{transport}: {figure.format(COUNT)}")
        for transport in ("TCP", "WebSocket")
        for figure in (OPENED, CALLED, MEMORY)
    ),
    ("flood", GREW),
    ("flood", TAKEN),
    ("return", BACK),
}


@pytest.mark.real
def test_a_small_run_has_a_line_for_everything(tmp_path: Path) -> None:
    run_benchmark("mqtt-load", "--rounds", "1", "--seconds", "0.02", "--output", str(tmp_path))
    (path,) = tmp_path.glob("mqtt-load-*.json")
    table = json.loads(path.read_text(encoding="utf-8"))["table"]
    assert {(row["part"], row["figure"]) for row in table} == FIGURES
    goals = {row["figure"]: row["goal"]["bound"] for row in table if row["goal"]}
    assert goals[GREW] == 16.0
