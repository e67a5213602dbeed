"""``python -m tests.soak``: a real server, many sessions, a fault every second.

The last line says whether anything was lost, logged as an error, or fell out. What grows is
measured once everything has run for a while: the members over the second half, the server over the
second half of its last life. All of them collect what is garbage in cycles first: Python itself
does that so seldom that between two times it looks like growth.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from tests.benchmarks.processes import resident_bytes
from tests.benchmarks.program import HOST
from tests.benchmarks.program import Program as Members
from tests.real.program import PYTHON, Program, clean_environment
from tests.real.server_port import port_to_come_back_to
from tests.soak.fault import RESTARTING_PART, FaultPlan, MemberFault, ServerFault
from tests.soak.growth import Growth

READY_SECONDS = 300.0
RESULT_SECONDS = 400.0  # all that members wait for, one after the other
COUNT_SECONDS = 5  # between two looks at what is in use
WARM_UP_PART = 0.5  # of the time that a process runs undisturbed
KIB = 1024
SERVER = "memory of server"
LOG = "server.log"
SHOWN_CHARACTERS = 3_000
_TRACES = re.compile(r"Traceback|Unhandled|\[critical\]|#critical")
_SETTINGS = """
[limits]
connections_per_prefix = 10000
join_failures_per_minute = 100000
join_failures_per_hour = 100000
creates_per_minute = 10000
creates_per_hour = 10000
"""


class _Server:
    """The server, at the same port after each end.

    :ivar traces: tracebacks and the like in what it wrote, each with what follows; complete once
        it was stopped.
    """

    def __init__(self, folder: Path) -> None:
        self.traces: list[str] = []
        self.port = port_to_come_back_to()
        self._folder = folder
        self._settings = folder / "server.toml"
        self._settings.write_text(_SETTINGS)
        self._program = self._start()

    @property
    def pid(self) -> int:
        return self._program.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._program.stop()

    def restart(self, fault: ServerFault) -> None:
        self.end(fault)
        self._program = self._start()

    def end(self, fault: ServerFault) -> None:
        if fault is ServerFault.KILL:
            os.kill(self.pid, signal.SIGKILL)
            self._program.wait()
        else:
            self._program.terminate()
            exit_code = self._program.wait()
            # Twisted ends itself by the signal once it has stopped in order.
            if exit_code not in (0, -signal.SIGTERM):
                self.traces.append(f"exit code {exit_code} after SIGTERM")
        self._program.stop()
        self._look_for_traces(self._program.errors)
        self._look_for_traces((self._folder / LOG).read_text(errors="replace"))
        (self._folder / LOG).unlink()

    def _look_for_traces(self, text: str) -> None:
        self.traces += [
            text[found.start() : found.start() + SHOWN_CHARACTERS]
            for found in _TRACES.finditer(text)
        ]

    def _start(self) -> Program:
        program = Program(
            [
                *(*PYTHON, "-m", "tests.soak.server"),
                *("--log-level=info", "--log-format=text", f"--log-file={LOG}"),
                *("porttunnel-server", "--config", str(self._settings), "--admin", "off"),
                *("--listen", f"tcp:{self.port}:interface={HOST}"),
            ],
            clean_environment(self._folder),
            self._folder,
        )
        program.line("listening ")
        return program


def main() -> int:
    """Run, report; 0 if nothing was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--processes", type=int, default=2, help="that the members are in")
    parser.add_argument("--restarts", type=int, default=4, help="of the server")
    parser.add_argument("--seed", type=int, default=1, help="of the faults")
    options = parser.parse_args()
    seconds = round(options.minutes * 60)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, ExitStack() as stack:
        server = stack.enter_context(_Server(Path(folder)))
        counts = _shares(options.sessions, options.processes)
        members = [_start_members(Path(folder), stack, server.port, *each) for each in counts]
        print(f"{options.sessions} sessions, {seconds} s, seed {options.seed}", flush=True)
        plan = FaultPlan(options.seed, seconds, options.restarts)
        last_life = seconds * (1 - RESTARTING_PART if options.restarts else 1)
        growths = {SERVER: Growth(last_life * WARM_UP_PART)}
        for each in members:
            growths |= {what: Growth(seconds * WARM_UP_PART) for what in _figures_of(each)}
        _run(
            server, members, [count for _, count in counts], plan, growths=growths, seconds=seconds
        )
        results = [_finish(program) for program in members]
        server.end(ServerFault.TERMINATE)
        return _report(results, growths, server.traces)


def _figures_of(members: Members) -> tuple[str, str]:
    return f"memory of {members.name}", f"blocks in use of {members.name}"


def _shares(sessions: int, processes: int) -> list[tuple[str, int]]:
    used = min(sessions, processes)
    return [
        (f"members-{number + 1}", sessions // used + (number < sessions % used))
        for number in range(used)
    ]


def _start_members(folder: Path, stack: ExitStack, port: int, name: str, count: int) -> Members:
    argv = [*PYTHON, "-m", "tests.soak.members", f"tcp:{HOST}:{port}", str(count)]
    program = stack.enter_context(Members(argv, folder, name=name))
    program.read_line("ready", seconds=READY_SECONDS)
    return program


def _run(
    server: _Server,
    members: list[Members],
    counts: list[int],
    plan: FaultPlan,
    *,
    growths: dict[str, Growth],
    seconds: int,
) -> None:
    begun = time.monotonic()
    restarts: Counter[ServerFault] = Counter()
    for second in range(seconds):
        time.sleep(max(0.0, begun + second - time.monotonic()))
        if second % COUNT_SECONDS == 0:
            _measure(server, members, growths)
        fault = plan.draw(second)
        if isinstance(fault, ServerFault):
            server.restart(fault)
            restarts[fault] += 1
        else:
            _tell(members, counts, plan, fault)
    print(", ".join(f"server {fault}: {count}" for fault, count in restarts.items()))


def _measure(server: _Server, members: list[Members], growths: dict[str, Growth]) -> None:
    for each in members:
        each.write_line("count")
    for each in members:
        memory, blocks = _figures_of(each)
        count = int(each.read_line("blocks ", seconds=RESULT_SECONDS))
        growths[blocks].add(each.pid, time.monotonic(), count)
        growths[memory].add(each.pid, time.monotonic(), resident_bytes(each.pid) / KIB)
    growths[SERVER].add(server.pid, time.monotonic(), resident_bytes(server.pid) / KIB)


def _tell(members: list[Members], counts: list[int], plan: FaultPlan, fault: MemberFault) -> None:
    number = plan.number(len(members))
    order = {"fault": fault, "session": plan.number(counts[number]), "seed": plan.number(1 << 32)}
    members[number].write_line(json.dumps(order))


def _finish(program: Members) -> dict[str, Any]:
    program.write_line("finish")
    result: dict[str, Any] = json.loads(program.read_line("result ", seconds=RESULT_SECONDS))
    errors = program.errors.read_text(errors="replace")
    if errors:
        result["problems"].append(f"standard error of {program.name}: {errors}")
        result["problem_count"] += 1
    return result


def _report(results: list[dict[str, Any]], growths: dict[str, Growth], traces: list[str]) -> int:
    seen: Counter[str] = Counter()
    for result in results:
        seen.update(result["seen"])
    for what, count in sorted(seen.items()):
        print(f"{what}: {count:,}")
    for name, growth in growths.items():
        unit = " KiB" if name.startswith("memory") else ""
        slope = growth.per_minute
        told = "too short to tell" if slope is None else f"{slope:+,.1f}{unit} a minute"
        print(f"{name}: {told} ({growth.sample_count} samples), at most {growth.peak:,.0f}{unit}")
    problems = [problem for result in results for problem in result["problems"]]
    for problem in problems:
        print(f"PROBLEM {problem}")
    for trace in traces:
        print(f"SERVER {trace}")
    count = sum(result["problem_count"] for result in results)
    print(f"{count} problems, {len(traces)} tracebacks in the server's log", flush=True)
    return 1 if count or traces else 0


if __name__ == "__main__":
    sys.exit(main())
