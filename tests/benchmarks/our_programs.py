"""porttunnel's own programs, started as users start them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.program import HOST, Program

__all__ = ["Running", "shared_and_joined", "tunnel_server"]

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


@contextmanager
def tunnel_server(folder: Path) -> Iterator[tuple[Program, int]]:
    """``twistd porttunnel-server`` on a free port."""
    twistd = Path(sys.executable).with_name("twistd")
    settings = folder / "server.toml"
    settings.write_text(_SETTINGS)
    server = Program(
        [
            *("python", twistd, "--nodaemon", "--pidfile=", f"--logfile={folder / 'server.log'}"),
            *("porttunnel-server", "--config", settings, "--data-dir", folder / "server"),
            *("--listen", f"tcp:0:interface={HOST}", "--admin", "off"),
        ],
        folder,
        name="tunnel-server",
    )
    with server:
        endpoint = server.read_line("listening tcp:")
        yield server, int(endpoint.partition(":")[0])


@contextmanager
def shared_and_joined(target: int, folder: Path) -> Iterator[Running]:
    """A loopback port by way of ``porttunnel share``, the server and ``porttunnel join``."""
    with tunnel_server(folder) as (server, server_port):
        options = ("--server", f"tcp:{HOST}:{server_port}", "--json")
        argv = [*_CLI, "share", f"{SERVICE}=tcp:{HOST}:{target}", *options, "--yes"]
        with Program([*argv, "--data-dir", folder / "share"], folder, name="share") as share:
            code = _read_event(share, "session")["code"]
            with Program(
                [*_CLI, "join", *options, "--data-dir", folder / "join"],
                folder,
                name="join",
                environment={"PORTTUNNEL_CODE": code},
            ) as join:
                address = _read_event(join, "listening")["address"]
                yield Running(share, server, join, int(address.rpartition(":")[2]))


def _read_event(program: Program, wanted: str) -> dict[str, str]:
    while True:
        told: dict[str, str] = json.loads(program.read_line())
        if told["event"] == wanted:
            return told
