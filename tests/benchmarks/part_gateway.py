"""What a request through the gateway costs, beside `ssh -R` and nginx as reverse proxy.

Everybody's client is the same process with plain sockets, and everybody's web site the same nginx.
Ours has a program more on the way: `porttunnel device serve`, at the client's side.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from tests.benchmarks.bulk import CPU, GIB, MIB, THROUGHPUT, Clocks
from tests.benchmarks.gateway_programs import device, site
from tests.benchmarks.openssh import SSH, remote_forward
from tests.benchmarks.processes import cpu_seconds
from tests.benchmarks.program import Program
from tests.benchmarks.run import Part
from tests.benchmarks.table import OURS, Goal
from tests.benchmarks.web_peers import (
    LARGE,
    NGINX,
    SMALL,
    WebServer,
    nginx_site,
    reverse_proxy,
)

__all__ = ["measure_body", "measure_latency", "measure_requests", "percentile"]

MILLISECONDS = 1e3
MICROSECONDS = 1e6
AT_A_TIME = 20
TRANSFER_SECONDS = 300.0
P50, P95, P99 = 0.5, 0.95, 0.99
LARGE_SHARE = 4  # the one body is so much larger than what others are measured with
PARTS = ("gateway", "agent", "device")

ALONE = "one at a time"
TOGETHER = f"{AT_A_TIME} at a time"
REQUESTS = "requests"
LOADED = "while another device takes a large body"

SLOWER = "p95 then, of the idle one's"

_Measure = Callable[[], Mapping[str, float]]


def percentile(times: list[float], share: float) -> float:
    """Of some seconds, in milliseconds."""
    return sorted(times)[int(len(times) * share)] * MILLISECONDS


def measure_requests(part: Part) -> None:
    """A page of 1 KiB, again and again."""
    target = part.stack.enter_context(nginx_site(part.folder, MIB)).port
    units = {f"{case}: {REQUESTS}": "1/s" for case in (ALONE, TOGETHER)}
    units |= {f"{ALONE}: p50": "ms", f"{ALONE}: p99": "ms", f"{TOGETHER}: p99": "ms"}
    units |= {f"{TOGETHER}: {CPU} of a request": "µs"}
    units |= {f"{TOGETHER}: {CPU} of a request, {name}": "µs" for name in PARTS}
    _add_all(part, target, _ask)
    part.measure(units)


def _ask(part: Part, client: Program, clocks: Clocks) -> Mapping[str, float]:
    figures = {}
    for case, connections in ((ALONE, 1), (TOGETHER, AT_A_TIME)):
        before = _read(clocks)
        client.write_line(f"ask {SMALL} {connections} {part.run.seconds}")
        told = json.loads(client.read_line())
        after = _read(clocks)
        used = {name: (after[name] - before[name]) / told["count"] for name in clocks}
        figures[f"{case}: {REQUESTS}"] = told["count"] / told["seconds"]
        figures[f"{case}: p50"] = percentile(told["times"], P50)
        figures[f"{case}: p99"] = percentile(told["times"], P99)
        figures[f"{case}: {CPU} of a request"] = sum(used.values()) * MICROSECONDS
        for name in PARTS:
            if name in used:
                figures[f"{case}: {CPU} of a request, {name}"] = used[name] * MICROSECONDS
    return figures


def measure_body(part: Part) -> None:
    """One large body."""
    target = part.stack.enter_context(nginx_site(part.folder, _large_bytes(part))).port
    units = {CPU: "s/GiB", **{f"{CPU} of {name}": "s/GiB" for name in PARTS}, THROUGHPUT: "MiB/s"}
    _add_all(part, target, _take)
    part.measure(units)


def _take(part: Part, client: Program, clocks: Clocks) -> Mapping[str, float]:
    client.write_line(f"take {LARGE}")
    client.read_line("ready")
    before = _read(clocks)
    client.write_line("go")
    told = json.loads(client.read_line(seconds=TRANSFER_SECONDS))
    after = _read(clocks)
    count = _large_bytes(part)
    assert told["bytes"] == count, f"{told['bytes']} of {count} bytes came"
    used = {name: (after[name] - before[name]) / (count / GIB) for name in clocks}
    figures = {f"{CPU} of {name}": used[name] for name in PARTS if name in used}
    return figures | {
        CPU: sum(used.values()),
        THROUGHPUT: count / MIB / told["seconds"],
    }


def measure_latency(part: Part) -> None:
    """A page of 1 KiB, one at a time, while another device's client takes one large body after
    the other.
    """
    target = part.stack.enter_context(nginx_site(part.folder, _large_bytes(part))).port
    units = {f"{when}: {name}": "ms" for when in ("idle", LOADED) for name in ("p50", "p99")}
    units |= {SLOWER: "times"}

    def start_ours() -> _Measure:
        reached = part.stack.enter_context(site(part.folder, target))
        _, other_port = part.stack.enter_context(device(part.folder, "ben"))
        return _loaded(part, OURS, reached.port, other_port)

    def start_peer(name: str, peer: Callable[[], AbstractContextManager[int]]) -> _Measure:
        port = part.stack.enter_context(peer())
        return _loaded(part, name, port, port)

    part.add(OURS, start_ours)
    for name, peer in _peers(part, target).items():
        part.add(name, lambda name=name, peer=peer: start_peer(name, peer))
    part.measure(units, {(SLOWER, ""): Goal(3.0)})


def _loaded(part: Part, name: str, port: int, other_port: int) -> _Measure:
    client = _start_client(part, f"{name}-asks", port)
    other = _start_client(part, f"{name}-presses", other_port)

    def measure() -> Mapping[str, float]:
        figures, p95 = {}, {}
        for when in ("idle", LOADED):
            if when == LOADED:
                other.write_line(f"press {LARGE} 1")
            client.write_line(f"ask {SMALL} 1 {part.run.seconds}")
            times = json.loads(client.read_line())["times"]
            figures[f"{when}: p50"] = percentile(times, P50)
            figures[f"{when}: p99"] = percentile(times, P99)
            p95[when] = percentile(times, P95)
        other.write_line("enough")
        other.read_line(seconds=TRANSFER_SECONDS)
        return figures | {SLOWER: p95[LOADED] / p95["idle"]}

    return measure


def _large_bytes(part: Part) -> int:
    return LARGE_SHARE * part.bulk_bytes


def _add_all(
    part: Part, target: int, measure: Callable[[Part, Program, Clocks], Mapping[str, float]]
) -> None:
    """Ours and the peers, all of which lead to a loopback port."""

    def start_ours() -> _Measure:
        reached = part.stack.enter_context(site(part.folder, target))
        client = _start_client(part, "ours", reached.port)
        clocks = {
            "gateway": [reached.gateway.program.pid],
            "agent": [reached.agent.pid],
            "device": [reached.device.pid],
        }
        return lambda: measure(part, client, clocks)

    def start_ssh() -> _Measure:
        forwarded = part.stack.enter_context(remote_forward(target, part.folder))
        client = _start_client(part, "ssh", forwarded.port)
        return lambda: measure(part, client, {SSH: forwarded.processes()})

    def start_nginx() -> _Measure:
        proxy: WebServer = part.stack.enter_context(reverse_proxy(part.folder, target))
        client = _start_client(part, "nginx", proxy.port)
        return lambda: measure(part, client, {NGINX: proxy.processes()})

    part.add(OURS, start_ours)
    part.add(SSH, start_ssh)
    part.add(NGINX, start_nginx)


def _peers(part: Part, target: int) -> dict[str, Callable[[], AbstractContextManager[int]]]:
    @contextmanager
    def ssh() -> Iterator[int]:
        with remote_forward(target, part.folder) as forwarded:
            yield forwarded.port

    @contextmanager
    def nginx() -> Iterator[int]:
        with reverse_proxy(part.folder, target) as proxy:
            yield proxy.port

    return {SSH: ssh, NGINX: nginx}


def _start_client(part: Part, name: str, port: int) -> Program:
    argv = ["python", "-m", "tests.benchmarks.http_load", str(port)]
    return part.stack.enter_context(Program(argv, part.folder, name=f"client-{name}"))


def _read(clocks: Clocks) -> dict[str, float]:
    return {name: sum(map(cpu_seconds, pids)) for name, pids in clocks.items()}
