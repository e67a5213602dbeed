"""How long nothing comes, when a link was cut or the server has died."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import quantiles

from tests.benchmarks.program import HOST, Program
from tests.benchmarks.run import Part
from tests.benchmarks.table import OURS, Goal
from tests.benchmarks.ticks import TICK
from tests.benchmarks.traffic import SOCKET_SECONDS, receive_exactly
from tests.real.fault_proxy import FaultProxy
from tests.real.server_port import port_to_come_back_to

__all__ = ["FLOOR", "measure_resume"]

FLOOR = "new TCP connection, one byte there and back"
CUT, KILLED = "cut", "server killed"
LINKS = ("share", "join")
GOAL_MS = 100.0
# Ticks that come between two faults: a link that lives for a moment only is another matter.
CALM_TICKS = 100
MS = 1e3
NS = 1e9

UNITS = {
    f"{fault} p{percent}": "ms"
    for fault in (*(f"{CUT}, link of {link}" for link in LINKS), KILLED)
    for percent in (50, 95)
}
GOALS = {(f"{CUT}, link of {link} p50", ""): Goal(GOAL_MS) for link in LINKS}

# Everybody here comes from one address, and comes again very often.
_SETTINGS = """
[limits]
connections_per_prefix = 10000
"""

_Measure = Callable[[], Mapping[str, float]]


def measure_resume(part: Part, cuts: int, kills: int) -> None:
    """From the fault, or from when the server listens again, to the first byte that was sent
    after the fault.
    """
    part.add(OURS, lambda: _ours(part, cuts, kills))
    part.add(FLOOR, lambda: _floor(part, cuts))
    part.measure(UNITS, GOALS, rounds=1)


class _Server:
    """The server, at the same port again after each end."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.port = port_to_come_back_to()
        self.settings = folder / "server.toml"
        self.settings.write_text(_SETTINGS)
        self._program = self._run()

    def restart(self) -> float:
        """Kill it and start it.

        :returns: when it listens again, by :func:`time.monotonic`.
        """
        os.kill(self._program.pid, signal.SIGKILL)
        self._program.stop()
        self._program = self._run()
        return time.monotonic()

    def _run(self) -> Program:
        twistd, folder = Path(sys.executable).with_name("twistd"), self._folder
        log = f"--logfile={folder / 'server.log'}"
        program = Program(
            [
                *("python", twistd, "--nodaemon", "--pidfile=", log),
                *("porttunnel-server", "--config", self.settings, "--admin", "off"),
                *("--data-dir", folder / "server"),
                *("--listen", f"tcp:{self.port}:interface={HOST}"),
            ],
            folder,
            name="tunnel-server",
        )
        self._stack.enter_context(program)
        program.read_line("listening tcp:")
        return program


def _ours(part: Part, cuts: int, kills: int) -> _Measure:
    server = _Server(part.folder, part.stack)
    proxies = [part.stack.enter_context(FaultProxy(server.port)) for _ in LINKS]
    port = part.stack.enter_context(_joined(part, [proxy.port for proxy in proxies]))

    def measure() -> Mapping[str, float]:
        figures: dict[str, float] = {}
        with socket.create_connection((HOST, port), timeout=SOCKET_SECONDS) as ticking:
            for link, proxy in zip(LINKS, proxies, strict=True):
                waits = [_wait_after_cut(ticking, proxy) for _ in range(cuts)]
                figures |= _figures(f"{CUT}, link of {link}", waits)
            waits = [_wait_after_kill(ticking, server) for _ in range(kills)]
            return figures | _figures(KILLED, waits)

    return measure


@contextmanager
def _joined(part: Part, server_ports: list[int]) -> Iterator[int]:
    """The ticks by way of ``share`` and ``join``, each with a link of its own; the port."""
    folder = part.folder
    cli = ("python", "-m", "porttunnel.cli")
    of_share, of_join = (
        ("--server", f"tcp:{HOST}:{port}", "--json", "--no-direct") for port in server_ports
    )
    with ExitStack() as stack:
        ticks = Program(["python", "-m", "tests.benchmarks.ticks"], folder, name="ticks")
        target = stack.enter_context(ticks).read_line()
        share = Program(
            [
                *(*cli, "share", f"ticks=tcp:{HOST}:{target}", "--yes", *of_share),
                *("--data-dir", folder / "share"),
            ],
            folder,
            name="share",
        )
        code = _read_event(stack.enter_context(share), "session")["code"]
        join = Program(
            [*cli, "join", *of_join, "--data-dir", folder / "join"],
            folder,
            name="join",
            environment={"PORTTUNNEL_CODE": code},
        )
        address = _read_event(stack.enter_context(join), "listening")["address"]
        yield int(address.rpartition(":")[2])


def _wait_after_cut(ticking: socket.socket, proxy: FaultProxy) -> float:
    _calm(ticking)
    cut_at = proxy.cut()
    return _read_newer(ticking, cut_at) - cut_at


def _wait_after_kill(ticking: socket.socket, server: _Server) -> float:
    _calm(ticking)
    killed_at = time.monotonic()
    listening_at = server.restart()
    # What comes sooner than this process reads the server's word has waited for nothing.
    return max(0.0, _read_newer(ticking, killed_at) - listening_at)


def _calm(ticking: socket.socket) -> None:
    """Read what has waited, and some more that comes without delay."""
    _read_newer(ticking, time.monotonic())
    receive_exactly(ticking, CALM_TICKS * TICK.size)


def _read_newer(ticking: socket.socket, moment: float) -> float:
    """When the first tick came that was sent after a moment."""
    while True:
        (sent_ns,) = TICK.unpack(receive_exactly(ticking, TICK.size))
        if sent_ns / NS > moment:
            return time.monotonic()


def _floor(part: Part, count: int) -> _Measure:
    echo = Program(["python", "-m", "tests.benchmarks.traffic", "echo"], part.folder, name="echo")
    port = int(part.stack.enter_context(echo).read_line())

    def trip() -> float:
        begun = time.monotonic()
        with socket.create_connection((HOST, port), timeout=SOCKET_SECONDS) as connection:
            connection.sendall(b"k")
            receive_exactly(connection, 1)
            return time.monotonic() - begun

    def measure() -> Mapping[str, float]:
        waits = [trip() for _ in range(count)]
        faults = (*(f"{CUT}, link of {link}" for link in LINKS), KILLED)
        return {name: value for fault in faults for name, value in _figures(fault, waits).items()}

    return measure


def _figures(fault: str, waits: list[float]) -> dict[str, float]:
    # A single one is all of them; quantiles() wants two.
    parts = quantiles(waits * 2 if len(waits) == 1 else waits, n=100, method="inclusive")
    return {f"{fault} p{percent}": parts[percent - 1] * MS for percent in (50, 95)}


def _read_event(program: Program, wanted: str) -> dict[str, str]:
    while True:
        told: dict[str, str] = json.loads(program.read_line())
        if told["event"] == wanted:
            return told
