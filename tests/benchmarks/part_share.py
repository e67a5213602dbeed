"""A TCP service as users share it: `porttunnel share`, the server, `porttunnel join`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.benchmarks.bulk import CPU, THROUGHPUT, measure_transfer
from tests.benchmarks.openssh import SSH, remote_forward
from tests.benchmarks.our_programs import joined, shared, tunnel_server
from tests.benchmarks.run import Part
from tests.benchmarks.table import OURS, Goal
from tests.benchmarks.traffic_programs import start_fetch, start_source

__all__ = ["measure_share"]

UNITS = {
    CPU: "s/GiB",
    f"{CPU} of share": "s/GiB",
    f"{CPU} of server": "s/GiB",
    f"{CPU} of join": "s/GiB",
    THROUGHPUT: "MiB/s",
}
GOALS = {(CPU, SSH): Goal(1.15), (THROUGHPUT, SSH): Goal(0.9, at_least=True)}
SERVICE = "bulk"

_Measure = Callable[[], Mapping[str, float]]


def measure_share(part: Part) -> None:
    """What one byte costs all who touch it between the service and who uses it."""
    source_port = part.stack.enter_context(start_source(part.folder))
    part.add(OURS, lambda: _ours(part, source_port))
    part.add(SSH, lambda: _ssh(part, source_port))
    part.measure(UNITS, GOALS)


def _ours(part: Part, source_port: int) -> _Measure:
    enter, folder = part.stack.enter_context, part.folder
    server, server_port = enter(tunnel_server(folder))
    share, code = enter(shared(server_port, {SERVICE: source_port}, folder))
    join, ports = enter(joined(server_port, code, [SERVICE], folder))
    return lambda: measure_transfer(
        lambda: start_fetch(ports[SERVICE], part.bulk_bytes, folder),
        part.bulk_bytes,
        lambda: {"share": [share.pid], "server": [server.pid], "join": [join.pid]},
    )


def _ssh(part: Part, source_port: int) -> _Measure:
    forwarded = part.stack.enter_context(remote_forward([source_port], part.folder))
    return lambda: measure_transfer(
        lambda: start_fetch(forwarded.ports[source_port], part.bulk_bytes, part.folder),
        part.bulk_bytes,
        lambda: {"sshd and ssh": forwarded.processes()},
    )
