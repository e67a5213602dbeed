"""A broadcast to many members, without and with one that stands still."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.bulk import CPU, GIB, MIB
from tests.benchmarks.our_programs import tunnel_server
from tests.benchmarks.processes import cpu_seconds, peak_resident_bytes, resident_bytes
from tests.benchmarks.program import Program
from tests.benchmarks.run import Part
from tests.benchmarks.table import OURS, Goal
from tests.benchmarks.traffic_programs import start_member

__all__ = ["UNDISTURBED", "UNITS", "measure_broadcast"]

UNDISTURBED = "the same without it"
TIME = "until the others have all, while one is stopped"
DELIVERED = "delivered to the others"
SERVER_MEMORY = "server's memory grows by"
MEMBERS_OF_A_PROCESS = 7  # 49 of them in seven processes
BROADCAST_SECONDS = 600.0  # a deadline: a hundredth of what it is here
MIB_PER_MEMBER = 8  # what may wait for each in the server
STALLED_AT_MOST = 2.0  # times as long as without it

UNITS = {
    TIME: "s",
    DELIVERED: "MiB/s",
    CPU: "s/GiB",
    **{f"{CPU} of {name}": "s/GiB" for name in ("share", "server", "join")},
    SERVER_MEMORY: "MiB",
}


@dataclass(frozen=True)
class _Audience:
    """Who is in a session.

    :ivar count: members that take what comes.
    :ivar stopped: the process of another one, which won't.
    """

    share: Program
    server: Program
    joins: Sequence[Program]
    count: int
    stopped: Program | None

    def cpu_seconds(self) -> dict[str, float]:
        return {
            "share": cpu_seconds(self.share.pid),
            "server": cpu_seconds(self.server.pid),
            "join": sum(cpu_seconds(join.pid) for join in self.joins),
        }


def measure_broadcast(part: Part, members: int) -> None:
    """Everything is started anew for each measurement: what a process once had in memory it keeps
    as its peak.
    """
    goals = {
        (TIME, UNDISTURBED): Goal(STALLED_AT_MOST),
        (SERVER_MEMORY, ""): Goal(members * MIB_PER_MEMBER),
    }
    part.add(OURS, lambda: lambda: _measure(part, members - 1, stop_another=True))
    part.add(UNDISTURBED, lambda: lambda: _measure(part, members - 1, stop_another=False))
    part.measure(UNITS, goals)


def _measure(part: Part, count: int, *, stop_another: bool) -> Mapping[str, float]:
    size = part.bulk_bytes
    with _gathered(part.folder, count, stop_another) as audience:
        resident = resident_bytes(audience.server.pid)
        before = audience.cpu_seconds()
        if audience.stopped is not None:
            os.kill(audience.stopped.pid, signal.SIGSTOP)
        audience.share.write_line(str(size))
        began = float(audience.share.read_line("began "))
        ends = [_read_end(audience.joins[number % len(audience.joins)]) for number in range(count)]
        after = audience.cpu_seconds()
        peak = peak_resident_bytes(audience.server.pid)
        short = [end for end in ends if end["bytes"] != size or end["lost"]]
        assert not short, f"{len(short)} of {count} did not get all of {size} bytes: {short}"
        if audience.stopped is not None:
            os.kill(audience.stopped.pid, signal.SIGCONT)
            end = _read_end(audience.stopped)
            assert end["lost"] or end["bytes"] == size
    seconds = max(end["at"] for end in ends) - began
    delivered = count * size
    used = {name: (after[name] - before[name]) * GIB / delivered for name in before}
    return {
        TIME: seconds,
        DELIVERED: delivered / MIB / seconds,
        CPU: sum(used.values()),
        **{f"{CPU} of {name}": value for name, value in used.items()},
        SERVER_MEMORY: (peak - resident) / MIB,
    }


@contextmanager
def _gathered(folder: Path, count: int, stop_another: bool) -> Iterator[_Audience]:
    with ExitStack() as stack:
        server, port = stack.enter_context(tunnel_server(folder))
        share = stack.enter_context(
            start_member("broadcast_member", "share", port, count + 1, folder=folder)
        )

        def start_join() -> Program:
            join = start_member("broadcast_member", "join", port, folder=folder)
            stack.enter_context(join).read_line("ready")
            return join

        joins = [start_join() for _ in range(0, count, MEMBERS_OF_A_PROCESS)]
        stopped = start_join() if stop_another else None
        places = [joins[number % len(joins)] for number in range(count)]
        for join in places if stopped is None else [*places, stopped]:
            # A code lets in one; the next one is shown once that is in.
            join.write_line(share.read_line())
            join.read_line("joined")
        yield _Audience(share, server, joins, count, stopped)


def _read_end(join: Program) -> dict[str, Any]:
    end: dict[str, Any] = json.loads(join.read_line(seconds=BROADCAST_SECONDS))
    return end
