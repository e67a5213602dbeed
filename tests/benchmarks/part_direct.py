"""Two hosts with a LAN in common: `porttunnel share` and `join` straight, beside ``ssh -R``.

Each host is a network namespace, as in :mod:`tests.real.namespaces`: a direct path is never on
loopback. ``ssh`` runs where `share` does, and ``sshd`` where `join` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest

from tests.benchmarks.bulk import CPU, THROUGHPUT, transfer
from tests.benchmarks.openssh import SSH, Forwarded, remote_forward
from tests.benchmarks.our_programs import Running, Seat, members, read_event, tunnel_server
from tests.benchmarks.part_keys import KEY_UNITS, P50, type_keys
from tests.benchmarks.program import ProgramFailed
from tests.benchmarks.run import Part
from tests.benchmarks.table import OURS, Goal
from tests.benchmarks.traffic_programs import start_echo, start_fetch, start_source
from tests.real.namespaces import Host, Network, three_hosts

__all__ = ["measure_bulk", "measure_keys"]

BULK_UNITS = {
    CPU: "s/GiB",
    f"{CPU} of share": "s/GiB",
    f"{CPU} of server": "s/GiB",
    f"{CPU} of join": "s/GiB",
    THROUGHPUT: "MiB/s",
}
BULK_GOALS = {(CPU, SSH): Goal(0.85)}
KEY_GOALS = {(P50, SSH): Goal(1.5)}
ANY_ADDRESS = "0.0.0.0"

_Measure = Callable[[], Mapping[str, float]]


def measure_bulk(part: Part) -> None:
    """What one byte costs both who touch it."""
    network = _network(part)
    if network is None:
        return
    hosts = network
    prefix = hosts.master.prefix
    source_port = part.stack.enter_context(start_source(part.folder, prefix))
    part.add(OURS, lambda: _our_transfer(part, hosts, source_port))
    part.add(SSH, lambda: _ssh_transfer(part, hosts, source_port))
    part.measure(BULK_UNITS, BULK_GOALS)


def measure_keys(part: Part) -> None:
    """Keystrokes, one at a time."""
    network = _network(part)
    if network is None:
        return
    hosts = network
    echo_port = part.stack.enter_context(start_echo(part.folder, hosts.master.prefix))
    part.add(OURS, lambda: _our_keys(part, hosts, echo_port))
    part.add(SSH, lambda: _ssh_keys(part, hosts, echo_port))
    part.measure(KEY_UNITS, KEY_GOALS)


def _network(part: Part) -> Network | None:
    try:
        return part.stack.enter_context(three_hosts())
    except pytest.skip.Exception as skipped:
        part.run.missing["a network of namespaces"] = str(skipped)
        return None


def _our_transfer(part: Part, network: Network, source_port: int) -> _Measure:
    running = part.stack.enter_context(_straight(part, network, source_port))
    clocks = {
        "share": [running.share.pid],
        "server": [running.server.pid],
        "join": [running.join.pid],
    }
    return lambda: _fetch(part, network.client, running.port, lambda: clocks)


def _ssh_transfer(part: Part, network: Network, source_port: int) -> _Measure:
    forwarded = part.stack.enter_context(_forwarded(part, network, source_port))
    return lambda: _fetch(
        part,
        network.client,
        forwarded.port,
        lambda: {"sshd and ssh": forwarded.processes()},
    )


def _fetch(
    part: Part, client: Host, port: int, clocks: Callable[[], Mapping[str, list[int]]]
) -> Mapping[str, float]:
    before = client.lan_received_bytes()
    figures = transfer(
        lambda: start_fetch(port, part.bulk_bytes, part.folder, client.prefix),
        part.bulk_bytes,
        clocks,
    ).figures()
    if client.lan_received_bytes() - before < part.bulk_bytes:
        raise ProgramFailed("not all of it came by the LAN")
    return figures


def _our_keys(part: Part, network: Network, echo_port: int) -> _Measure:
    running = part.stack.enter_context(_straight(part, network, echo_port))
    pids = [running.share.pid, running.server.pid, running.join.pid]
    return lambda: type_keys(part, running.port, pids, network.client.prefix)


def _ssh_keys(part: Part, network: Network, echo_port: int) -> _Measure:
    forwarded = part.stack.enter_context(_forwarded(part, network, echo_port))
    return lambda: type_keys(part, forwarded.port, forwarded.processes(), network.client.prefix)


@contextmanager
def _straight(part: Part, network: Network, target: int) -> Iterator[Running]:
    """A port of the master's host, shared and joined, once both use the direct path."""
    with tunnel_server(part.folder, network.server.prefix, ANY_ADDRESS) as (server, port):
        share, join = (
            Seat(("--server", f"ptun://{host.server_address}:{port}"), host.prefix)
            for host in (network.master, network.client)
        )
        with members(server, target, part.folder, share, join) as running:
            for program in running.share, running.join:
                while read_event(program, "path")["path"] != "direct":
                    pass  # the relay is told first, if it was used
            yield running


@contextmanager
def _forwarded(part: Part, network: Network, target: int) -> Iterator[Forwarded]:
    server = network.client
    assert server.lan_address is not None
    with remote_forward(
        target,
        part.folder,
        address=server.lan_address,
        server_prefix=server.prefix,
        client_prefix=network.master.prefix,
    ) as forwarded:
        yield forwarded
