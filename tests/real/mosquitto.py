"""mosquitto (Debian), a broker that others wrote. It keeps sessions over a start."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.real.needed import needed_program
from tests.real.program import Program, Start
from tests.real.server_port import port_to_come_back_to

__all__ = ["Mosquitto"]

CONFIG = """
listener {port} 127.0.0.1
listener {websocket_port} 127.0.0.1
protocol websockets
allow_anonymous true
persistence true
persistence_location {folder}/
log_dest stdout
log_type all
"""


class Mosquitto:
    """A broker that comes back at the same ports.

    :param more: lines of its configuration.
    :ivar port: for TCP.
    :ivar websocket_port: for WebSocket.
    """

    def __init__(self, start: Start, folder: Path, more: str = "") -> None:
        self._start = start
        self._file = folder / "mosquitto.conf"
        self.port = port_to_come_back_to()
        self.websocket_port = port_to_come_back_to(self.port)
        config = CONFIG.format(port=self.port, websocket_port=self.websocket_port, folder=folder)
        if os.geteuid() == 0:
            config += "user root\n"  # it would become another, who may not write here
        self._file.write_text(config + more, "utf-8")
        self.run()

    def run(self) -> None:
        """Start it (again)."""
        name = needed_program("mosquitto", "mosquitto")
        # Into a pipe it would write only once it has a lot.
        by_line = (needed_program("stdbuf", "coreutils"), "-oL")
        self._program: Program = self._start(*by_line, name, "-c", str(self._file))
        self._program.line_with(" running")

    def says(self, words: str) -> None:
        """Wait until its log has them."""
        self._program.line_with(words)

    def save(self) -> None:
        """Have it begin to write down all that it has."""
        os.kill(self._program.pid, signal.SIGUSR1)
        self._program.line_with("Saving in-memory database")

    def freeze(self) -> None:
        """From now on it does nothing."""
        os.kill(self._program.pid, signal.SIGSTOP)

    def kill(self) -> None:
        """Without a chance to write or say anything."""
        os.kill(self._program.pid, signal.SIGKILL)
        assert self._program.wait() == -signal.SIGKILL

    def terminate(self) -> None:
        """As a service manager does; it writes down all that it has."""
        self._program.terminate()
        assert self._program.wait() == 0
