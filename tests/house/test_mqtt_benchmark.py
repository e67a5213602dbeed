"""`python -m tests.benchmarks mqtt` runs, and says what it should; how fast, no test asserts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.bare_broker import BARE
from tests.benchmarks.mqtt_brokers import AEDES, AMQTT, MOSQUITTO
from tests.benchmarks.mqtt_wire import TCP
from tests.benchmarks.part_mqtt import REQUESTERS, SIZES, TRANSPORTS
from tests.house.test_benchmarks import run_benchmark

PEERS = (MOSQUITTO, AEDES, AMQTT)
FIGURES = {
    *(
        (part, f"{transport}, {case}: {kind}")
        for part, cases in (("qos0", SIZES), ("qos1", SIZES), ("requests", REQUESTERS))
        for transport in TRANSPORTS.values()
        for case in cases.values()
        for kind in ("CPU", "rate")
    ),
    *(("idle", transport) for transport in TRANSPORTS.values()),
}


@pytest.mark.real
def test_a_small_run_has_a_line_for_everything(tmp_path: Path) -> None:
    written = run_benchmark(
        "mqtt", "--rounds", "1", "--seconds", "0.05", "--output", str(tmp_path)
    )
    (path,) = tmp_path.glob("mqtt-*.json")
    result = json.loads(path.read_text(encoding="utf-8"))
    there = [peer for peer in PEERS if peer not in result["missing"]]
    table = {(row["part"], row["figure"], row["peer"]) for row in result["table"] if row["peer"]}
    bare = {
        ("requests", f"{TRANSPORTS[TCP]}, {case}: {kind}", BARE)
        for case in REQUESTERS.values()
        for kind in ("CPU", "rate")
    }
    assert table == {(*figure, peer) for figure in FIGURES for peer in there} | bare
    assert {(row["part"], row["figure"]) for row in result["table"]} == FIGURES
    assert all(row["ours"] > 0 for row in result["table"] if row["figure"].endswith("rate"))
    assert all(name in written for name in result["missing"])
