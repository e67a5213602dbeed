"""porttunnel's own programs, started as users start them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from porttunnel.net.certificate import load_or_create_identity
from tests.benchmarks.program import HOST, Program

__all__ = ["Running", "Seat", "members", "read_event", "shared_and_joined", "tunnel_server"]

SERVICE = "it"
_CLI = ("python", "-m", "porttunnel.cli")

# Everybody here comes from one address, as behind a load balancer.
_SETTINGS = """
[limits]
connections_per_prefix = 10000
creates_per_minute = 10000
creates_per_hour = 10000
"""


@dataclass(frozen=True)
class Running:
    """A service that is shared, and joined.

    :ivar port: where it can be used.
    """

    share: Program
    server: Program
    join: Program
    port: int


@dataclass(frozen=True)
class Seat:
    """Where a member runs, and how.

    :ivar options: of its command.
    :ivar prefix: what stands before it, so that it runs on another host.
    """

    options: Sequence[str]
    prefix: Sequence[str] = ()


@contextmanager
def tunnel_server(
    folder: Path, prefix: Sequence[str] = (), interface: str = HOST
) -> Iterator[tuple[Program, int]]:
    """``twistd porttunnel-server`` on a free port.

    :param prefix: what stands before its command, so that it runs on another host.
    :param interface: where it listens.
    """
    twistd = Path(sys.executable).with_name("twistd")
    settings = folder / "server.toml"
    settings.write_text(_SETTINGS)
    server = Program(
        [
            *prefix,
            *("python", twistd, "--nodaemon", "--pidfile=", f"--logfile={folder / 'server.log'}"),
            *("porttunnel-server", "--config", settings, "--data-dir", folder / "server"),
            *("--listen", f"tcp:0:interface={interface}", "--admin", "off"),
        ],
        folder,
        name="tunnel-server",
    )
    with server:
        endpoint = server.read_line("listening tcp:")
        yield server, int(endpoint.partition(":")[0])


@contextmanager
def shared_and_joined(target: int, folder: Path, *, tls: bool = False) -> Iterator[Running]:
    """A loopback port by way of ``porttunnel share``, the server and ``porttunnel join``.

    Not the direct path, which two programs on one machine would otherwise find.

    :param tls: both go to the server as if it were another machine.
    """
    with tunnel_server(folder) as (server, server_port):
        address = f"tcp:{HOST}:{server_port}"
        if tls:
            pin = load_or_create_identity(folder / "server").pin
            address = f"ptuns://{HOST}:{server_port}#{pin}"
        seat = Seat(("--server", address, "--no-direct"))
        with members(server, target, folder, seat, seat) as running:
            yield running


@contextmanager
def members(
    server: Program, target: int, folder: Path, of_share: Seat, of_join: Seat
) -> Iterator[Running]:
    """``porttunnel share`` and ``porttunnel join`` at a running server.

    :param target: a loopback port of the host that shares it.
    """
    share_argv: list[str | Path] = [
        *(*of_share.prefix, *_CLI, "share", f"{SERVICE}=tcp:{HOST}:{target}", "--json", "--yes"),
        *of_share.options,
        *("--data-dir", folder / "share"),
    ]
    join_argv: list[str | Path] = [
        *(*of_join.prefix, *_CLI, "join", "--json", *of_join.options),
        *("--data-dir", folder / "join"),
    ]
    with Program(share_argv, folder, name="share") as share:
        code = read_event(share, "session")["code"]
        environment = {"PORTTUNNEL_CODE": code}
        with Program(join_argv, folder, name="join", environment=environment) as join:
            address = read_event(join, "listening")["address"]
            yield Running(share, server, join, int(address.rpartition(":")[2]))


def read_event(program: Program, wanted: str) -> dict[str, str]:
    """What it tells next under this name; what comes before is passed over."""
    while True:
        told: dict[str, str] = json.loads(program.read_line())
        if told["event"] == wanted:
            return told
