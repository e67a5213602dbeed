"""A real program under test: its lines, its events, its end, each wait with a deadline."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

__all__ = [
    "PORTTUNNEL",
    "PYTHON",
    "ROOT",
    "TWISTD",
    "Program",
    "ProgramSilent",
    "Start",
    "TunnelServer",
    "clean_environment",
    "find_port",
    "start_server",
]

ROOT = Path(__file__).resolve().parents[2]

# Where warnings are errors, also in what the tests start. Twisted's listening ports keep a
# descriptor in reserve for the whole life of a process; that one is not ours to close.
RESERVED = "ignore:unclosed file <_io.TextIOWrapper name='/dev/null':ResourceWarning"
PYTHON = (sys.executable, "-W", "error", "-W", RESERVED)
PORTTUNNEL = (*PYTHON, "-m", "porttunnel.cli")
TWISTD = (*PYTHON, "-m", "twisted")

WAIT_SECONDS = 30.0  # a deadline, not a measure: a loaded machine starts a program in ten
STOP_SECONDS = 15.0  # after SIGTERM; then SIGKILL


class ProgramSilent(AssertionError):
    """What was waited for did not come; says what came instead."""


class Program:
    """A started program.

    :param command: what to start.
    :param environment: all of its environment.
    :param cwd: where it runs.

    :ivar seen: all lines of its standard output that were waited past so far.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str], cwd: Path) -> None:
        self.command = tuple(command)
        self.seen: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._errors: list[str] = []
        self._ended = False
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=cwd,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=self._read_output, args=(self._process.stdout,), daemon=True),
            threading.Thread(target=self._read_errors, args=(self._process.stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self._process.poll() is not None

    @property
    def errors(self) -> str:
        """What it wrote to standard error so far; complete after :meth:`wait`."""
        return "".join(self._errors)

    def next_line(self, seconds: float = WAIT_SECONDS) -> str | None:
        """The next line of its standard output, without its end; None when that has ended."""
        if self._ended:
            return None
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise ProgramSilent(self._report("said nothing")) from None
        if line is None:
            self._ended = True
        else:
            self.seen.append(line)
        return line

    def line(self, *beginnings: str, seconds: float = WAIT_SECONDS) -> str:
        """The next line that begins with one of ``beginnings``; others are passed over."""
        deadline = time.monotonic() + seconds
        while (line := self.next_line(max(0.0, deadline - time.monotonic()))) is not None:
            if line.startswith(beginnings):
                return line
        raise ProgramSilent(self._report(f"ended without a line {beginnings!r}"))

    def line_with(self, words: str, seconds: float = WAIT_SECONDS) -> str:
        """The next line that contains ``words``; others are passed over."""
        deadline = time.monotonic() + seconds
        while (line := self.next_line(max(0.0, deadline - time.monotonic()))) is not None:
            if words in line:
                return line
        raise ProgramSilent(self._report(f"ended without a line that contains {words!r}"))

    def event(self, kind: str, seconds: float = WAIT_SECONDS, **fields: Any) -> dict[str, Any]:
        """The next JSON event of a kind, with these fields; others are passed over."""
        deadline = time.monotonic() + seconds
        while (line := self.next_line(max(0.0, deadline - time.monotonic()))) is not None:
            event: dict[str, Any] = json.loads(line)
            if event["event"] == kind and fields.items() <= event.items():
                return event
        raise ProgramSilent(self._report(f"ended without an event {kind!r} {fields}"))

    def rest(self) -> list[str]:
        """All lines of its standard output, until it ends."""
        while self.next_line() is not None:
            continue
        return self.seen

    def events(self) -> list[dict[str, Any]]:
        """All events until its output ends."""
        found = []
        while (line := self.next_line()) is not None:
            found.append(json.loads(line))
        return found

    def send(self, line: str | dict[str, Any]) -> None:
        """Write a line, or a JSON command, to its standard input."""
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
        stdin.flush()

    def end_input(self) -> None:
        """Close its standard input."""
        stdin = self._process.stdin
        assert stdin is not None
        stdin.close()

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def terminate(self) -> None:
        """What a service manager does."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = WAIT_SECONDS) -> int:
        """Its exit code, once it has ended."""
        try:
            exit_code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ProgramSilent(self._report("did not end")) from None
        for reader in self._readers:
            reader.join(seconds)
        return exit_code

    def stop(self) -> None:
        """End it, whatever it does; for the end of a test."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if os.name == "posix":
            # What it started itself and left behind would keep our ends of the pipes open.
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        for reader in self._readers:
            reader.join(STOP_SECONDS)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:  # it ended with input unread
                    continue

    def _report(self, what: str) -> str:
        seen = "\n".join(self.seen[-20:])
        return f"{' '.join(self.command)} {what}\n-- output\n{seen}\n-- errors\n{self.errors}"

    def _read_output(self, stream: IO[str]) -> None:
        for line in stream:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _read_errors(self, stream: IO[str]) -> None:
        self._errors.extend(stream)


Start = Callable[..., Program]


class TunnelServer(NamedTuple):
    """A tunnel server that listens on a loopback port.

    :ivar address: what to give as ``--server``, plain.
    :ivar tls_address: the same with TLS and the server's pin.
    """

    port: int
    address: str
    tls_address: str
    program: Program


def start_server(start: Start, *options: str) -> TunnelServer:
    """Start a tunnel server with its data in ``PORTTUNNEL_DATA``."""
    listen = "tcp:0:interface=127.0.0.1"
    program = start(*TWISTD, "porttunnel-server", "--listen", listen, "--admin", listen, *options)
    port = find_port(program.line("listening "))
    tls_address = program.line("address ").removeprefix("address ")
    return TunnelServer(port, f"ptun://127.0.0.1:{port}", tls_address, program)


def find_port(listening: str) -> int:
    """The port in a server's ``listening tcp:PORT:...``."""
    return int(listening.split(":")[1])


def clean_environment(home: Path) -> dict[str, str]:
    """An environment in which nothing of this machine's user is found."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    return kept | {
        "HOME": str(home),
        "PORTTUNNEL_DATA": str(home / "data"),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }
