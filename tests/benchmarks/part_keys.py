"""What somebody feels who types: one byte there and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from statistics import quantiles

from tests.benchmarks.bare_loop import BARE, bare_loops
from tests.benchmarks.openssh import SSH, remote_forward
from tests.benchmarks.our_programs import shared_and_joined
from tests.benchmarks.processes import cpu_seconds
from tests.benchmarks.run import Part
from tests.benchmarks.table import OURS, Goal
from tests.benchmarks.traffic import WARM_UP_TRIPS
from tests.benchmarks.traffic_programs import start_echo, start_member

__all__ = ["KEY_UNITS", "P50", "measure_keys", "type_keys"]

P50 = "round trip p50"
P99 = "round trip p99"
CPU_PER_TRIP = "CPU of a round trip"
KEY_UNITS = {P50: "µs", P99: "µs", CPU_PER_TRIP: "µs"}
GOALS = {(P50, SSH): Goal(1.5)}
TRIPS = 2_000  # twenty of them are beyond p99
MICROSECONDS = 1e6

_Measure = Callable[[], Mapping[str, float]]


def measure_keys(part: Part) -> None:
    """Keystrokes, one at a time, through share and join as users run them."""
    echo_port = part.stack.enter_context(start_echo(part.folder))
    part.add(OURS, lambda: _ours(part, echo_port))
    part.add(SSH, lambda: _ssh(part, echo_port))
    part.add(BARE, lambda: _bare(part, echo_port))
    part.measure(KEY_UNITS, GOALS)


def _ours(part: Part, echo_port: int) -> _Measure:
    running = part.stack.enter_context(shared_and_joined(echo_port, part.folder))
    pids = [running.share.pid, running.server.pid, running.join.pid]
    return lambda: type_keys(part, running.port, pids)


def _ssh(part: Part, echo_port: int) -> _Measure:
    forwarded = part.stack.enter_context(remote_forward(echo_port, part.folder))
    return lambda: type_keys(part, forwarded.port, forwarded.processes())


def _bare(part: Part, echo_port: int) -> _Measure:
    loops = part.stack.enter_context(bare_loops(echo_port, part.folder))
    return lambda: type_keys(part, loops.port, loops.pids)


def type_keys(
    part: Part, port: int, pids: Sequence[int], prefix: Sequence[str] = ()
) -> Mapping[str, float]:
    """One byte after the other.

    :param pids: whose CPU counts.
    :param prefix: what stands before a command, so that it runs where the port is.
    """
    count = part.scaled(TRIPS)
    before = sum(map(cpu_seconds, pids))
    keys = start_member("traffic", "keys", port, count, folder=part.folder, prefix=prefix)
    with keys:
        trips = json.loads(keys.read_line())
        used = sum(map(cpu_seconds, pids)) - before
    hundredths = quantiles(trips, n=100)
    return {
        P50: hundredths[49] * MICROSECONDS,
        P99: hundredths[98] * MICROSECONDS,
        CPU_PER_TRIP: used / (count + WARM_UP_TRIPS) * MICROSECONDS,
    }
