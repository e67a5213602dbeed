"""What the server keeps in memory: for sessions that only exist, and for readers that stall."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.benchmarks.bulk import MIB
from tests.benchmarks.our_programs import shared_and_joined, tunnel_server
from tests.benchmarks.processes import peak_resident_bytes, resident_bytes
from tests.benchmarks.program import Program
from tests.benchmarks.run import Part
from tests.benchmarks.table import OURS, Goal
from tests.benchmarks.traffic_programs import start_member, start_source

__all__ = ["measure_memory"]

PER_SESSION = "idle session"
STALLED = "reader stalls: {}"
POURED = "reader stalls, sender keeps no window: server"
UNITS = {
    PER_SESSION: "KiB",
    **{STALLED.format(name): "MiB" for name in ("share", "server", "join")},
    POURED: "MiB",
}
# A pair may have 8 MiB under way, which wait at the server at worst; the rest is the allocator's.
MAX_GROWTH = Goal(16)
GOALS = {(figure, ""): MAX_GROWTH for figure, unit in UNITS.items() if unit == "MiB"}

FIRST_SESSIONS = 100  # pay for what all of them share
SESSIONS = 1_000
KIB = 1024
HOLD_SECONDS = 55.0  # the server takes links for dead that say nothing for 60 s
STILL_SECONDS = 2.0
GROWING_SECONDS = 60.0
POLL_SECONDS = 0.25


def measure_memory(part: Part) -> None:
    """Once: what is counted is the same in each round."""
    part.add(OURS, lambda: lambda: _measure(part))
    part.measure(UNITS, GOALS, rounds=1)


def _measure(part: Part) -> Mapping[str, float]:
    figures: dict[str, float] = {}
    for name, kind in (("idle", _idle), ("stall", _stall), ("pour", _pour)):
        folder = part.folder / name
        folder.mkdir()
        figures |= kind(part, folder)
    return figures


def _idle(part: Part, folder: Path) -> Mapping[str, float]:
    with (
        tunnel_server(folder) as (server, port),
        start_member("packet_member", "hold", port, folder=folder) as holder,
    ):
        used = []
        count = part.scaled(SESSIONS)
        for sessions in (FIRST_SESSIONS, count):
            holder.write_line(str(sessions))
            holder.read_line("open", seconds=HOLD_SECONDS)
            used.append(resident_bytes(server.pid))
    return {PER_SESSION: (used[1] - used[0]) / count / KIB}


def _stall(part: Part, folder: Path) -> Mapping[str, float]:
    with start_source(folder) as source_port, shared_and_joined(source_port, folder) as running:
        programs = {"share": running.share, "server": running.server, "join": running.join}
        before = {name: resident_bytes(each.pid) for name, each in programs.items()}
        with start_member(
            "traffic", "stall", running.port, part.bulk_bytes, folder=folder
        ) as reader:
            reader.read_line("stalled")
            _wait_until_still(list(programs.values()))
            reader.write_line("go on")
            reader.read_line("alive")
        # Peaks: what is freed again later was needed all the same.
        return {
            STALLED.format(name): (peak_resident_bytes(each.pid) - before[name]) / MIB
            for name, each in programs.items()
        }


def _pour(part: Part, folder: Path) -> Mapping[str, float]:
    with (
        tunnel_server(folder) as (server, port),
        start_member("packet_member", "pour", port, part.bulk_bytes, folder=folder) as master,
    ):
        number = int(master.read_line())
        before = resident_bytes(server.pid)
        with start_member("packet_member", "stall", port, number, folder=folder) as reader:
            reader.read_line("stalled")
            master.read_line()
            return {POURED: (peak_resident_bytes(server.pid) - before) / MIB}


def _wait_until_still(programs: Sequence[Program]) -> None:
    """Until none of them has grown for a while."""
    now = time.monotonic()
    end, still_at, most = now + GROWING_SECONDS, now, 0
    while now < end and now - still_at < STILL_SECONDS:
        time.sleep(POLL_SECONDS)
        now = time.monotonic()
        total = sum(resident_bytes(program.pid) for program in programs)
        if total > most:
            most, still_at = total, now
