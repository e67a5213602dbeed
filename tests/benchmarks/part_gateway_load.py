"""What very many do to a gateway: that they are there, guess passwords, come back."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import ExitStack

from tests.benchmarks.bulk import MIB
from tests.benchmarks.gateway_programs import fill, gateway, site
from tests.benchmarks.part_gateway import P50, P99, percentile
from tests.benchmarks.part_mqtt import KIB
from tests.benchmarks.processes import cpu_seconds, resident_bytes
from tests.benchmarks.program import Program
from tests.benchmarks.run import Part
from tests.benchmarks.table import OURS, Goal
from tests.benchmarks.web_peers import SMALL, nginx_site
from tests.real.server_port import port_to_come_back_to

__all__ = ["measure_guessing", "measure_idle", "measure_return"]

FIRST_INSTANCES = 100  # pay for what all of them share
INSTANCES = 10_000
RETURNING = 5_000
BAD_LOGINS_PER_SECOND = 1_000
GUESSING_SECONDS = 10.0
PATIENCE_SECONDS = 600.0
FAST = 1  # rounds of the hash of a password: where logins are not what is measured

MEMORY = "memory of an idle instance"
RESIDENT = "memory of the gateway"
OPENED = "CPU of a login without its hash"
BACK = "all back after the gateway listens again"
BACK_CPU = "CPU of the gateway meanwhile"
IDLE, GUESSED = "idle", f"{BAD_LOGINS_PER_SECOND} bad logins a second"
SLOWER = "p99 grows by"


def measure_idle(part: Part) -> None:
    """So many that have logged in and wait for requests."""
    units = {MEMORY: "KiB", RESIDENT: "MiB", OPENED: "ms"}
    part.add(OURS, lambda: lambda: _idle(part))
    part.measure(units, {(MEMORY, ""): Goal(8.0)}, rounds=1)


def _idle(part: Part) -> Mapping[str, float]:
    first, count = part.scaled(FIRST_INSTANCES), part.scaled(INSTANCES)
    with ExitStack() as stack:
        fill(part.folder / "server", count, FAST)
        running = stack.enter_context(gateway(part.folder))
        pid = running.program.pid
        crowd = stack.enter_context(_crowd(part, "idle", running.port))
        crowd.write_line(str(first))
        crowd.read_line("open")
        before, used = resident_bytes(pid), cpu_seconds(pid)
        crowd.write_line(str(count))
        crowd.read_line("open", seconds=PATIENCE_SECONDS)
        resident = resident_bytes(pid)
        return {
            MEMORY: (resident - before) / (count - first) / KIB,
            RESIDENT: resident / MIB,
            OPENED: (cpu_seconds(pid) - used) / (count - first) * 1e3,
        }


def measure_guessing(part: Part) -> None:
    """Strangers guess, each from another address; whoever is connected asks for a small page."""
    units = {f"{when}: {name}": "ms" for when in (IDLE, GUESSED) for name in ("p50", "p99")}
    part.add(OURS, lambda: lambda: _guessing(part))
    part.measure(units | {SLOWER: "ms"}, {(SLOWER, ""): Goal(100.0)}, rounds=1)


def _guessing(part: Part) -> Mapping[str, float]:
    seconds = min(GUESSING_SECONDS, GUESSING_SECONDS * part.run.seconds)
    figures = {}
    with ExitStack() as stack:
        target = stack.enter_context(nginx_site(part.folder, MIB)).port
        reached = stack.enter_context(site(part.folder, target))
        argv = ["python", "-m", "tests.benchmarks.http_load", str(reached.port)]
        client = stack.enter_context(Program(argv, part.folder, name="client"))
        arguments = ("bad", reached.gateway.port, BAD_LOGINS_PER_SECOND, seconds)
        strangers = stack.enter_context(_crowd(part, *arguments))
        strangers.read_line("ready")
        for when in (IDLE, GUESSED):
            if when == GUESSED:
                strangers.write_line("go")
            client.write_line(f"ask {SMALL} 1 {seconds}")
            times = json.loads(client.read_line(seconds=PATIENCE_SECONDS))["times"]
            figures[f"{when}: p50"] = percentile(times, P50)
            figures[f"{when}: p99"] = percentile(times, P99)
        answers = json.loads(strangers.read_line(seconds=PATIENCE_SECONDS))
        assert "LET IN" not in answers, answers
    return figures | {SLOWER: figures[f"{GUESSED}: p99"] - figures[f"{IDLE}: p99"]}


def measure_return(part: Part) -> None:
    """The gateway is killed, and starts again: until all instances have logged in."""
    part.add(OURS, lambda: lambda: _return(part))
    part.measure({BACK: "s", BACK_CPU: "s"}, rounds=1)


def _return(part: Part) -> Mapping[str, float]:
    port, count = port_to_come_back_to(), part.scaled(RETURNING)
    with ExitStack() as stack:
        fill(part.folder / "server", count, FAST)
        running = stack.enter_context(gateway(part.folder, port))
        crowd = stack.enter_context(_start(part, "gateway_returning", port, count))
        crowd.read_line("all there ", seconds=PATIENCE_SECONDS)
        running.program.kill()
        fill(part.folder / "server", count)
        again = stack.enter_context(gateway(part.folder, port))
        listening = time.monotonic()
        back = float(crowd.read_line("all there ", seconds=PATIENCE_SECONDS))
        used = cpu_seconds(again.program.pid)
        crowd.stop()  # before the gateway, which would take its time to send all away
        return {BACK: max(0.0, back - listening), BACK_CPU: used}


def _crowd(part: Part, role: str, *arguments: float) -> Program:
    return _start(part, "gateway_crowd", role, *arguments)


def _start(part: Part, module: str, *arguments: object) -> Program:
    argv = ["python", "-m", f"tests.benchmarks.{module}", *map(str, arguments)]
    return Program(argv, part.folder, name=module)
