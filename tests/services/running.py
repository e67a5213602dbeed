"""A twistd process of ours, as people run it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

__all__ = ["PATIENCE_SECONDS", "ROOT", "TWISTD", "RunningService"]

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 30.0  # for anything; only a failure takes that long
TWISTD = "from twisted.scripts.twistd import run; run()"


class RunningService:
    """The process; its standard output, log included, goes to :attr:`lines`.

    :param warnings: what becomes of them; Twisted's ``ssl:`` endpoints make some.
    """

    def __init__(
        self,
        folder: Path,
        service: str,
        *arguments: str,
        program: str = TWISTD,
        warnings: str = "error",
    ) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-W", warnings, "-c", program),
                *("-n", "--pidfile=", service),
                *("--admin", "tcp:0:interface=127.0.0.1", *arguments),
            ],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._watchdog = threading.Timer(PATIENCE_SECONDS, self.process.kill)
        self._watchdog.start()

    def wait_for(self, pattern: str) -> re.Match[str]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if match := re.match(pattern, line):
                return match
        raise AssertionError(f"no {pattern!r} in:\n{''.join(self.lines)}")

    def rest(self) -> str:
        """All that was printed; waits for the end."""
        assert self.process.stdout is not None
        with self.process.stdout:
            self.lines += self.process.stdout
        self.process.wait()
        self._watchdog.cancel()
        return "".join(self.lines)

    def stop(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        return self.rest()
