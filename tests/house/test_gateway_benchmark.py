"""`python -m tests.benchmarks gateway` runs, and says what it should."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.bulk import CPU, THROUGHPUT
from tests.benchmarks.openssh import SSH
from tests.benchmarks.part_gateway import ALONE, LOADED, PARTS, REQUESTS, SLOWER, TOGETHER
from tests.benchmarks.part_gateway_load import (
    BACK,
    BACK_CPU,
    GUESSED,
    IDLE,
    MEMORY,
    OPENED,
    RESIDENT,
)
from tests.benchmarks.part_gateway_load import SLOWER as GROWS
from tests.benchmarks.web_peers import NGINX
from tests.house.test_benchmarks import run_benchmark

PEERS = (SSH, NGINX)
LINES = {
    *(
        ("requests", figure, peer)
        for figure in (
            *(f"{case}: {REQUESTS}" for case in (ALONE, TOGETHER)),
            *(f"{ALONE}: {name}" for name in ("p50", "p99")),
            f"{TOGETHER}: p99",
            f"{TOGETHER}: {CPU} of a request",
        )
        for peer in PEERS
    ),
    *(("requests", f"{TOGETHER}: {CPU} of a request, {name}", "") for name in PARTS),
    *(("body", figure, peer) for figure in (CPU, THROUGHPUT) for peer in PEERS),
    *(("body", f"{CPU} of {name}", "") for name in PARTS),
    *(
        ("latency", f"{when}: {name}", peer)
        for when in ("idle", LOADED)
        for name in ("p50", "p99")
        for peer in PEERS
    ),
    *(("latency", SLOWER, peer) for peer in ("", *PEERS)),
    *(("idle", figure, "") for figure in (MEMORY, RESIDENT, OPENED)),
    *(("guessing", f"{when}: {name}", "") for when in (IDLE, GUESSED) for name in ("p50", "p99")),
    ("guessing", GROWS, ""),
    ("return", BACK, ""),
    ("return", BACK_CPU, ""),
}


@pytest.mark.real
def test_a_small_run_has_a_line_for_everything(tmp_path: Path) -> None:
    run_benchmark("gateway", "--rounds", "1", "--seconds", "0.02", "--output", str(tmp_path))
    (path,) = tmp_path.glob("gateway-*.json")
    table = json.loads(path.read_text(encoding="utf-8"))["table"]
    assert {(row["part"], row["figure"], row["peer"]) for row in table} == LINES
    assert all(row["ours"] >= 0 for row in table if row["figure"] != GROWS)
