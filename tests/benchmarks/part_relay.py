"""The relay alone: packets of 64 KiB from one member to another through the tunnel server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from porttunnel.session.credit import MAX_WINDOW_BYTES
from tests.benchmarks.bulk import CPU, MIB, THROUGHPUT, Transfer, transfer
from tests.benchmarks.our_programs import tunnel_server
from tests.benchmarks.processes import family
from tests.benchmarks.program import Program
from tests.benchmarks.relay_peers import HAPROXY, NGINX, TRANSIT, haproxy, nginx, transit_relay
from tests.benchmarks.run import Part
from tests.benchmarks.table import OURS, Goal
from tests.benchmarks.traffic_programs import start_fetch, start_member, start_source

__all__ = ["measure_relay"]

# Less than the sockets hold: then nothing waits in the server, and passing on is all it does.
LITTLE_BYTES = MIB
CPU_WITH_LITTLE = f"{CPU}, {LITTLE_BYTES // MIB} MiB under way"
UNITS = {CPU: "s/GiB", THROUGHPUT: "MiB/s", CPU_WITH_LITTLE: "s/GiB"}
GOALS = {
    (figure, peer): goal
    for figure in (CPU, CPU_WITH_LITTLE)
    for peer, goal in ((NGINX, Goal(0.6)), (HAPROXY, Goal(1.2)))
}

_Measure = Callable[[], Mapping[str, float]]
_Proxy = Callable[[int, Path], AbstractContextManager[tuple[Program, int]]]


def measure_relay(part: Part) -> None:
    """What one byte costs whoever passes it on."""
    part.add(OURS, lambda: _ours(part))
    source_port = part.stack.enter_context(start_source(part.folder))
    part.add(NGINX, lambda: _proxy(part, nginx, source_port))
    part.add(HAPROXY, lambda: _proxy(part, haproxy, source_port))
    part.add(TRANSIT, lambda: _transit(part))
    part.measure(UNITS, GOALS)


def _ours(part: Part) -> _Measure:
    server, port = part.stack.enter_context(tunnel_server(part.folder))
    count, folder = part.bulk_bytes, part.folder

    def measure(window_bytes: int) -> Mapping[str, float]:
        with start_member("packet_member", "master", port, window_bytes, folder=folder) as master:
            number = int(master.read_line())
            return transfer(
                lambda: start_member(
                    "packet_member", "client", port, number, count, folder=folder
                ),
                count,
                lambda: {"server": [server.pid]},
            ).figures()

    def measure_both() -> Mapping[str, float]:
        little = measure(LITTLE_BYTES)
        return {**measure(MAX_WINDOW_BYTES), CPU_WITH_LITTLE: little[CPU]}

    return measure_both


def _proxy(part: Part, kind: _Proxy, source_port: int) -> _Measure:
    proxy, port = part.stack.enter_context(kind(source_port, part.folder))
    return lambda: _peer_figures(
        transfer(
            lambda: start_fetch(port, part.bulk_bytes, part.folder),
            part.bulk_bytes,
            lambda: {"server": family([proxy.pid])},
        )
    )


def _transit(part: Part) -> _Measure:
    relay, port = part.stack.enter_context(transit_relay(part.folder))
    count, folder = part.bulk_bytes, part.folder

    def measure() -> Mapping[str, float]:
        with start_member("transit_member", "source", port, folder=folder):
            return _peer_figures(
                transfer(
                    lambda: start_member("transit_member", "fetch", port, count, folder=folder),
                    count,
                    lambda: {"server": [relay.pid]},
                )
            )

    return measure


def _peer_figures(done: Transfer) -> Mapping[str, float]:
    # A peer pauses its source, so that both of our figures have this one beside them.
    figures = done.figures()
    return {**figures, CPU_WITH_LITTLE: figures[CPU]}
