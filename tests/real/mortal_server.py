"""A tunnel server that can die and come back."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from porttunnel.services.server import DATABASE_NAME
from tests.real.program import TWISTD, Program, Start, find_port
from tests.real.server_port import port_to_come_back_to

__all__ = ["MortalServer"]

WAIT_SECONDS = 60.0  # far more than a server takes to stop


class MortalServer:
    """A tunnel server that comes back at the same port with the same data."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self.port = port_to_come_back_to()
        self.program = self._run()

    @property
    def address(self) -> str:
        return f"ptun://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """Without a chance to write or say anything."""
        os.kill(self.program.pid, signal.SIGKILL)
        assert self.program.wait() == -signal.SIGKILL

    def terminate(self) -> None:
        """As a service manager does."""
        self.program.terminate()
        # Twisted ends by the very signal once everything is closed.
        assert self.program.wait(WAIT_SECONDS) == -signal.SIGTERM
        assert self.program.errors == ""

    def forget(self, home: Path) -> None:
        """Lose the book, which is somewhere in this folder."""
        (book,) = home.glob(f"**/{DATABASE_NAME}")
        for path in book.parent.glob(f"{DATABASE_NAME}*"):
            path.unlink()

    def restart(self) -> None:
        self.program = self._run()

    def _run(self) -> Program:
        listen = f"tcp:{self.port}:interface=127.0.0.1"
        program = self._start(*TWISTD, "porttunnel-server", "--listen", listen, "--admin", "off")
        assert find_port(program.line("listening ")) == self.port
        return program
