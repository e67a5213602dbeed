"""`python -m tests.benchmarks direct` runs, and says what it should; how fast, no test asserts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.openssh import SSH
from tests.house.test_benchmarks import run_benchmark
from tests.real.namespaces import three_hosts

LINES = {
    *(("bulk", figure, SSH) for figure in ("CPU", "throughput")),
    *(("bulk", f"CPU of {program}", "") for program in ("share", "server", "join")),
    *(("keys", f"round trip {percentile}", SSH) for percentile in ("p50", "p99")),
    ("keys", "CPU of a round trip", SSH),
}


@pytest.mark.real
def test_a_small_run_has_a_line_for_everything(tmp_path: Path) -> None:
    with three_hosts() as network:  # skips where the benchmark would measure nothing
        assert network.client.lan_address is not None
    run_benchmark("direct", "--rounds", "1", "--mib", "8", "--output", str(tmp_path))
    (path,) = tmp_path.glob("direct-*.json")
    result = json.loads(path.read_text(encoding="utf-8"))
    missing = result["missing"]
    table = {(row["part"], row["figure"], row["peer"]) for row in result["table"]}
    assert table == {
        (part, figure, "" if peer in missing else peer) for part, figure, peer in LINES
    }
    goals = {(row["part"], row["figure"]): row["goal"] for row in result["table"] if row["goal"]}
    assert SSH in missing or {key: goal["bound"] for key, goal in goals.items()} == {
        ("bulk", "CPU"): 0.85,
        ("keys", "round trip p50"): 1.5,
    }
