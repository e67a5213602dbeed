"""The gateway, the agent and devices, started as users start them."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from porttunnel.keys.credentials import PASSWORD_ITERATIONS, hash_password
from porttunnel.net.gateway.sqlite_store import SQLiteGatewayStore
from porttunnel.services.server_gateway import GATEWAY_DATABASE_NAME
from tests.benchmarks.gateway_crowd import PASSWORD, login_of
from tests.benchmarks.our_programs import read_event
from tests.benchmarks.program import HOST, Program

__all__ = ["Gateway", "Reached", "device", "fill", "gateway", "site"]

_CLI = ("python", "-m", "porttunnel.cli")

# Everybody here comes from one address, as behind a load balancer.
_SERVER_SETTINGS = """
[limits]
connections = 20000
connections_per_prefix = 20000
"""
_AGENT_SETTINGS = """
gateway = "http://{host}:{gateway}"
[upstream]
origin = "http://{host}:{origin}"
"""


@dataclass(frozen=True)
class Gateway:
    """One that runs.

    :ivar folder: its data.
    """

    program: Program
    port: int
    folder: Path


@dataclass(frozen=True)
class Reached:
    """A web site behind a gateway, as one device reaches it.

    :ivar port: where the device serves it.
    """

    gateway: Gateway
    agent: Program
    device: Program
    port: int


def _twistd(folder: Path, name: str) -> list[str | Path]:
    path = Path(sys.executable).with_name("twistd")
    return ["python", path, "--nodaemon", "--pidfile=", f"--logfile={folder / name}.log"]


@contextmanager
def gateway(folder: Path, port: int = 0) -> Iterator[Gateway]:
    """``twistd porttunnel-server``.

    :param port: where it listens; 0 for any.
    """
    settings, data = folder / "server.toml", folder / "server"
    settings.write_text(_SERVER_SETTINGS)
    argv: list[str | Path] = [
        *(*_twistd(folder, "server"), "porttunnel-server", "--config", settings),
        *("--data-dir", data, "--listen", f"tcp:{port}:interface={HOST}", "--admin", "off"),
    ]
    with Program(argv, folder, name="gateway") as program:
        endpoint = program.read_line("listening tcp:")
        yield Gateway(program, int(endpoint.partition(":")[0]), data)


@contextmanager
def agent(folder: Path, gateway_port: int, origin_port: int) -> Iterator[Program]:
    """``twistd porttunnel-agent`` with its data in ``agent``, once it is connected."""
    settings = folder / "agent.toml"
    settings.write_text(
        _AGENT_SETTINGS.format(host=HOST, gateway=gateway_port, origin=origin_port)
    )
    argv: list[str | Path] = [
        *(*_twistd(folder, "agent"), "porttunnel-agent", "--config", settings),
        *("--data-dir", folder / "agent"),
    ]
    with Program(argv, folder, name="agent") as program:
        program.read_line("connected ")
        yield program


@contextmanager
def device(folder: Path, name: str) -> Iterator[tuple[Program, int]]:
    """A new one, paired beside the agent of the same folder, and ``porttunnel device serve``.

    :param name: of its user and its folder.
    """
    invite: list[str | Path] = [*_CLI, "instance", "invite", "--user", name, "--immediate"]
    invite += ["--json", "--data-dir", folder / "agent"]
    own: list[str | Path] = ["--json", "--data-dir", folder / name]
    with ExitStack() as stack:
        inviting = stack.enter_context(Program(invite, folder, name=f"invite-{name}"))
        code = read_event(inviting, "invitation")["code"]
        argv = [*_CLI, "device", "pair", "-", *own]
        pairing = stack.enter_context(Program(argv, folder, name=f"pair-{name}"))
        pairing.write_line(code)
        read_event(pairing, "paired")
        read_event(inviting, "paired")
    with Program([*_CLI, "device", "serve", *own], folder, name=f"serve-{name}") as serving:
        address = read_event(serving, "listening")["address"]
        yield serving, int(address.rpartition(":")[2])


@contextmanager
def site(folder: Path, origin_port: int) -> Iterator[Reached]:
    """All of it, for a web site at a loopback port."""
    with (
        gateway(folder) as running,
        agent(folder, running.port, origin_port) as beside,
        device(folder, "ada") as (serving, port),
    ):
        yield Reached(running, beside, serving, port)


def fill(folder: Path, count: int, iterations: int = PASSWORD_ITERATIONS) -> None:
    """Have a gateway that does not run know the instances of the crowd.

    :param folder: its data.
    :param iterations: of the hash of their password; one, if logins are not what is measured.
    """
    path = folder / GATEWAY_DATABASE_NAME
    SQLiteGatewayStore(path).close()  # makes the tables
    hashed = hash_password(PASSWORD.encode(), bytes(16), iterations)
    rows = [(login_of(number)[0], hashed) for number in range(count)]
    with closing(sqlite3.connect(path)) as database, database:
        database.executemany(
            "INSERT INTO instances (instance_id, password_hash) VALUES (?, ?) "
            "ON CONFLICT DO UPDATE SET password_hash = excluded.password_hash",
            rows,
        )
