"""Programs that a benchmark starts, talks to by lines, and stops by their number."""

from __future__ import annotations

import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.real.server_port import port_to_come_back_to

__all__ = ["HOST", "LINE_SECONDS", "Program", "ProgramFailed", "free_port", "wait_for_port"]

HOST = "127.0.0.1"
LINE_SECONDS = 60.0  # the longest that anything here takes to start, several times over
STOP_SECONDS = 5.0
POLL_SECONDS = 0.05
SHOWN_OUTPUT_CHARACTERS = 2_000

_ROOT = Path(__file__).resolve().parents[2]
_given_ports: list[int] = []


class ProgramFailed(Exception):
    """A program ended, or did not say in time what it should."""


class Program:
    """A child process; leaving the context stops it.

    :param argv: the program and its arguments; ``python`` stands for this Python.
    :param folder: where its standard error goes, to a file with its name.
    :param environment: added to ours.
    :param name: for messages and the file.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        folder: Path,
        *,
        name: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._lines = bytearray()
        handle = folder / f"{name}.err"
        arguments = [sys.executable if part == "python" else str(part) for part in argv]
        inherited = {key: value for key, value in os.environ.items() if "PORTTUNNEL" not in key}
        self.errors = handle
        with handle.open("ab") as errors:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=folder,
                env=inherited | {"PYTHONPATH": str(_ROOT)} | dict(environment or {}),
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def write_line(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def read_line(self, beginning: str = "", *, seconds: float = LINE_SECONDS) -> str:
        """The next line of its standard output that begins so, without that beginning.

        :raises ProgramFailed: no such line within ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while True:
            line, newline, rest = self._lines.partition(b"\n")
            if newline:
                self._lines = rest
                if line.startswith(beginning.encode()):
                    return line.decode()[len(beginning) :]
                continue
            self._read(deadline)

    def _read(self, deadline: float) -> None:
        assert self._process.stdout is not None
        left = max(0.0, deadline - time.monotonic())
        if not select.select([self._process.stdout], [], [], left)[0]:
            raise self._failure("said nothing more in time")
        data = os.read(self._process.stdout.fileno(), 65_536)
        if not data:
            raise self._failure("ended")
        self._lines += data

    def _failure(self, what: str) -> ProgramFailed:
        shown = self.errors.read_text(errors="replace")[-SHOWN_OUTPUT_CHARACTERS:]
        return ProgramFailed(f"{self.name} {what}\n{shown}")

    def wait_for_error(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """The first match in its standard error.

        :raises ProgramFailed: there is none in time.
        """
        deadline = time.monotonic() + LINE_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            found = pattern.search(self.errors.read_text(errors="replace"))
            if found is not None:
                return found
            time.sleep(POLL_SECONDS)
        raise self._failure("did not tell in time what it should")

    def kill(self) -> None:
        """As nobody would."""
        self._process.kill()
        self.stop()

    def stop(self) -> None:
        process = self._process
        for stop in (process.terminate, process.kill):
            stop()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            break
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def free_port() -> int:
    """A loopback port for a program that can't choose one itself and tell; each time another."""
    port = port_to_come_back_to(*_given_ports)
    _given_ports.append(port)
    return port


def wait_for_port(program: Program, port: int) -> None:
    """Until somebody listens there.

    :raises ProgramFailed: nobody does in time.
    """
    deadline = time.monotonic() + LINE_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            time.sleep(POLL_SECONDS)
        else:
            return
    raise ProgramFailed(f"{program.name} does not listen\n{program.errors.read_text()}")
