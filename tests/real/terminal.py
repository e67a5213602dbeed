"""A program in a terminal of its own, as a person has it: keys, Ctrl-C, colours."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.real.program import STOP_SECONDS, WAIT_SECONDS, ProgramSilent

__all__ = ["CTRL_C", "Terminal"]

CTRL_C = "\x03"
WIDTH, HEIGHT = 100, 50

# Makes the terminal the program's own, so that Ctrl-C reaches it and all that it started.
TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """A program whose terminal is ours.

    :param command: what to start.
    :param environment: all of its environment.
    :param cwd: where it runs.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str], cwd: Path) -> None:
        import fcntl
        import pty
        import struct
        import termios

        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))

        self.command = tuple(command)
        self.shown = ""
        self._process = subprocess.Popen(
            (sys.executable, "-c", TAKE_TERMINAL, *self.command),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment | {"TERM": "xterm"},
            cwd=cwd,
            start_new_session=True,
        )
        os.close(theirs)

    def type(self, keys: str) -> None:
        """Press keys; end a line with ``\\n``."""
        os.write(self._ours, keys.encode())

    def wait_for(self, words: str, seconds: float = WAIT_SECONDS) -> str:
        """What is shown up to and with ``words``; the next call looks behind them."""
        deadline = time.monotonic() + seconds
        while words not in self.shown:
            if not self._read(deadline - time.monotonic()):
                raise ProgramSilent(f"{self.command} did not show {words!r}, but\n{self.shown}")
        found, words, self.shown = self.shown.partition(words)
        return found + words

    def wait(self, seconds: float = WAIT_SECONDS) -> int:
        """Its exit code, once it has ended; what it still showed is in ``shown``."""
        deadline = time.monotonic() + seconds
        while self._read(deadline - time.monotonic()):
            pass
        return self._process.wait(max(0.1, deadline - time.monotonic()))

    def stop(self) -> None:
        """End it, whatever it does."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        os.close(self._ours)

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._ours], [], [], max(0.0, seconds))
        if not ready:
            return False
        try:
            data = os.read(self._ours, 65_536)
        except OSError:  # the last program that had the terminal open has ended
            return False
        self.shown += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)
