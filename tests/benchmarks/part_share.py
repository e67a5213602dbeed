"""A TCP service as users share it: `porttunnel share`, the server, `porttunnel join`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.benchmarks.bare_loop import BARE, bare_loops
from tests.benchmarks.bulk import CPU, THROUGHPUT, transfer
from tests.benchmarks.openssh import SSH, remote_forward
from tests.benchmarks.our_programs import shared_and_joined
from tests.benchmarks.run import Part
from tests.benchmarks.table import OURS, Goal
from tests.benchmarks.traffic_programs import start_fetch, start_source

__all__ = ["UNITS", "measure_share", "measure_tls", "ssh_transfer"]

UNITS = {
    CPU: "s/GiB",
    f"{CPU} of share": "s/GiB",
    f"{CPU} of server": "s/GiB",
    f"{CPU} of join": "s/GiB",
    THROUGHPUT: "MiB/s",
}
GOALS = {(CPU, SSH): Goal(1.15), (THROUGHPUT, SSH): Goal(0.9, at_least=True)}

_Measure = Callable[[], Mapping[str, float]]


def measure_share(part: Part) -> None:
    """What one byte costs all who touch it between the service and who uses it."""
    source_port = part.stack.enter_context(start_source(part.folder))
    part.add(OURS, lambda: _ours(part, source_port))
    part.add(SSH, lambda: ssh_transfer(part, source_port))
    part.add(BARE, lambda: _bare(part, source_port))
    part.measure(UNITS, GOALS)


def measure_tls(part: Part) -> None:
    """The same with both links in TLS, as to a server on another machine."""
    source_port = part.stack.enter_context(start_source(part.folder))
    part.add(OURS, lambda: _ours(part, source_port, tls=True))
    part.add(SSH, lambda: ssh_transfer(part, source_port))
    part.measure(UNITS, {})


def _ours(part: Part, source_port: int, *, tls: bool = False) -> _Measure:
    running = part.stack.enter_context(shared_and_joined(source_port, part.folder, tls=tls))
    clocks = {
        "share": [running.share.pid],
        "server": [running.server.pid],
        "join": [running.join.pid],
    }
    return lambda: transfer(
        lambda: start_fetch(running.port, part.bulk_bytes, part.folder),
        part.bulk_bytes,
        lambda: clocks,
    ).figures()


def ssh_transfer(part: Part, source_port: int) -> _Measure:
    """The same service through ``ssh -R``; both of its sides count."""
    forwarded = part.stack.enter_context(remote_forward(source_port, part.folder))
    return lambda: transfer(
        lambda: start_fetch(forwarded.port, part.bulk_bytes, part.folder),
        part.bulk_bytes,
        lambda: {"sshd and ssh": forwarded.processes()},
    ).figures()


def _bare(part: Part, source_port: int) -> _Measure:
    loops = part.stack.enter_context(bare_loops(source_port, part.folder))
    return lambda: transfer(
        lambda: start_fetch(loops.port, part.bulk_bytes, part.folder),
        part.bulk_bytes,
        lambda: {"loops": loops.pids},
    ).figures()
