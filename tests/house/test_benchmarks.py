"""The benchmarks run, and say what they should; how fast anything is, no test asserts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.bare_loop import BARE
from tests.benchmarks.contest import Contestant, MissingPeer, Samples, hold_rounds
from tests.benchmarks.openssh import SSH
from tests.benchmarks.relay_peers import HAPROXY, NGINX, TRANSIT
from tests.benchmarks.run import Part, Run
from tests.benchmarks.table import OURS, Goal, format_table, rows_of

ROOT = Path(__file__).resolve().parents[2]
RUN_SECONDS = 240  # a hang fails instead of holding up the run; it takes a tenth of that

LINES = {
    *(
        ("relay", figure, peer)
        for figure in ("CPU", "throughput", "CPU, 1 MiB under way")
        for peer in (NGINX, HAPROXY, TRANSIT)
    ),
    *((part, "CPU", SSH) for part in ("share", "tls", "stream")),
    *((part, "throughput", SSH) for part in ("share", "tls", "stream")),
    ("share", "CPU", BARE),
    ("share", "throughput", BARE),
    *(
        (part, f"CPU of {program}", "")
        for part in ("share", "tls", "stream")
        for program in ("share", "server", "join")
    ),
    ("records", "64-byte records", ""),
    ("records", "CPU of a record", ""),
    *(
        ("keys", figure, peer)
        for figure in ("round trip p50", "round trip p99", "CPU of a round trip")
        for peer in (SSH, BARE)
    ),
    ("memory", "idle session", ""),
    *(("memory", f"reader stalls: {program}", "") for program in ("share", "server", "join")),
    ("memory", "reader stalls, sender keeps no window: server", ""),
}


@pytest.mark.real
def test_a_small_run_has_a_line_for_everything(tmp_path: Path) -> None:
    written = run_benchmark("tunnel", "--rounds", "1", "--mib", "8", "--output", str(tmp_path))
    (path,) = tmp_path.glob("tunnel-*.json")
    result = json.loads(path.read_text(encoding="utf-8"))
    missing = result["missing"]
    wanted = {(part, figure, "" if peer in missing else peer) for part, figure, peer in LINES}
    # Without any of its peers a figure of ours still has its line.
    alone = {(part, figure) for part, figure, peer in wanted if peer}
    wanted -= {(part, figure, "") for part, figure in alone}
    assert {(row["part"], row["figure"], row["peer"]) for row in result["table"]} == wanted
    assert all(row["ours"] >= 0 for row in result["table"])
    assert all(name in written for name in missing)
    shown = [line.split("|")[1:4] for line in written.splitlines() if line.startswith("| ")]
    assert {tuple(cell.strip() for cell in line) for line in shown[1:]} == wanted


def test_an_unknown_benchmark_is_refused() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "nothing"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "tunnel" in ran.stdout


def run_benchmark(*arguments: str) -> str:
    """Its output; told to stop, not killed, so that it stops what it started."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tests.benchmarks", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        output, errors = process.communicate(timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.communicate()
        raise
    assert process.returncode == 0, errors
    return output


class TestTheRounds:
    def test_measure_everybody_in_turns(self) -> None:
        order: list[str] = []

        def contestant(name: str) -> Contestant:
            def measure() -> Mapping[str, float]:
                order.append(name)
                return {"x": len(order)}

            return Contestant(name, measure)

        samples = hold_rounds([contestant("a"), contestant("b")], 3)
        assert order == ["a", "b", "b", "a", "a", "b"]
        assert samples.values == {"a": {"x": [1, 4, 5]}, "b": {"x": [2, 3, 6]}}

    def test_give_ratios_within_a_round(self) -> None:
        samples = Samples()
        # The second round ran on a machine ten times slower, for both.
        for ours, theirs in ((1.0, 2.0), (10.0, 20.0), (3.0, 2.0)):
            samples.add(OURS, {"x": ours})
            samples.add("peer", {"x": theirs})
        assert samples.ratios(OURS, "peer", "x") == [0.5, 0.5, 1.5]
        assert rows_of("part", samples, {"x": "s"}, {})[0].ratio == 0.5
        assert samples.median(OURS, "x") == 3.0

    def test_give_no_ratio_to_nothing(self) -> None:
        samples = Samples()
        for ours, theirs in ((0.0, 0.0), (0.01, 0.0), (0.02, 0.01)):
            samples.add(OURS, {"x": ours})
            samples.add("peer", {"x": theirs})
        assert samples.ratios(OURS, "peer", "x") == [2.0]

    def test_show_both_figures_when_no_round_has_a_ratio(self) -> None:
        samples = Samples()
        samples.add(OURS, {"x": 0.01})
        samples.add("peer", {"x": 0.0})
        rows = rows_of("part", samples, {"x": "s"}, {})
        assert rows[0].ratio is None
        assert "0.01" in format_table(rows)

    def test_go_on_without_a_peer_that_is_not_installed(self) -> None:
        run = Run(rounds=1, mib=1)
        part = Part(run, "part", Path(), ExitStack())

        def missing() -> Any:
            raise MissingPeer("apt install it")

        part.add(OURS, lambda: lambda: {"x": 1.0})
        part.add("peer", missing)
        part.measure({"x": "s"})
        assert run.missing == {"peer": "apt install it"}
        assert [(row.figure, row.peer, row.ours) for row in run.rows] == [("x", "", 1.0)]


class TestTheTable:
    @pytest.fixture
    def samples(self) -> Samples:
        samples = Samples()
        samples.add(OURS, {"x": 1_000.0, "y": 2.0})
        samples.add("peer", {"x": 2_000.0})
        return samples

    def test_puts_ratio_and_goal_beside_a_figure(self, samples: Samples) -> None:
        goals = {("x", "peer"): Goal(0.4), ("y", ""): Goal(1, at_least=True)}
        rows = rows_of("part", samples, {"x": "1/s", "y": "s"}, goals)
        assert [row.met for row in rows] == [False, True]
        lines = [
            [cell.strip() for cell in line.split("|")] for line in format_table(rows).splitlines()
        ]
        assert lines[2][1:-1] == [
            *("part", "x", "peer", "0.50", "", "≤ 0.4", "NO", "1,000", "2,000", "1/s")
        ]
        assert lines[3][1:-1] == ["part", "y", "", "", "", "≥ 1", "yes", "2.00", "", "s"]

    def test_shows_what_is_measured_only(self, samples: Samples) -> None:
        rows = rows_of("part", samples, {"x": "1/s", "z": "s"}, {})
        assert [(row.figure, row.met) for row in rows] == [("x", None)]
