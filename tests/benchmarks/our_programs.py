"""porttunnel's own programs, started as users start them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.program import HOST, Program

__all__ = ["joined", "shared", "tunnel_server"]

_CLI = ("python", "-m", "porttunnel.cli")


@contextmanager
def tunnel_server(folder: Path) -> Iterator[tuple[Program, int]]:
    """``twistd porttunnel-server`` on a free port."""
    twistd = Path(sys.executable).with_name("twistd")
    server = Program(
        [
            *("python", twistd, "--nodaemon", "--pidfile=", f"--logfile={folder / 'server.log'}"),
            *("porttunnel-server", "--listen", f"tcp:0:interface={HOST}", "--admin", "off"),
            *("--data-dir", folder / "server"),
        ],
        folder,
        name="tunnel-server",
    )
    with server:
        endpoint = server.read_line("listening tcp:")
        yield server, int(endpoint.partition(":")[0])


@contextmanager
def shared(
    server_port: int, services: dict[str, int], folder: Path
) -> Iterator[tuple[Program, str]]:
    """``porttunnel share`` of loopback ports, and the code to join with."""
    targets = [f"{name}=tcp:{HOST}:{port}" for name, port in services.items()]
    share = Program(
        [
            *(*_CLI, "share", *targets, "--server", f"tcp:{HOST}:{server_port}"),
            *("--yes", "--json", "--data-dir", folder / "share"),
        ],
        folder,
        name="share",
    )
    with share:
        yield share, json.loads("{" + share.read_line("{"))["code"]


@contextmanager
def joined(
    server_port: int, code: str, services: list[str], folder: Path
) -> Iterator[tuple[Program, dict[str, int]]]:
    """``porttunnel join``, and the loopback port of each service."""
    join = Program(
        [
            *(*_CLI, "join", "--server", f"tcp:{HOST}:{server_port}"),
            *("--json", "--data-dir", folder / "join"),
        ],
        folder,
        name="join",
        environment={"PORTTUNNEL_CODE": code},
    )
    with join:
        ports: dict[str, int] = {}
        while set(ports) < set(services):
            told = json.loads(join.read_line())
            if told["event"] == "listening":
                ports[told["service"]] = int(told["address"].rpartition(":")[2])
        yield join, ports
