"""Programs that `porttunnel demo` starts, and what they say."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.defer import TimeoutError as TwistedTimeout
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

import porttunnel
from porttunnel.cli import demo_text as text
from porttunnel.errors import PorttunnelError

__all__ = ["Child", "ChildFailed"]

LINE_SECONDS = 60.0  # a cold start on a slow machine; then something is wrong
STOP_SECONDS = 8.0  # after SIGTERM: a little more than a command's own goodbyes take
MAX_KEPT_LINES = 1_000  # nobody has waited for the oldest of them
MAX_LINE_BYTES = 1 << 16
MAX_ERROR_BYTES = 4_096  # of standard error, to tell why a program failed

# At Ctrl-C the terminal tells all programs at once. A service goes on until it is stopped: others
# would wait for seconds to say goodbye to nobody.
_SERVICE = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
)


class ChildFailed(PorttunnelError):
    """A program of the demo did not do what it should."""


class Child(ProcessProtocol):
    """A program and its lines.

    :param reactor: starts it.
    :param name: for messages.
    :param module: what ``python -m`` runs.
    :param arguments: its arguments. Nothing secret: others on this machine can see them.
    :param data_dir: its data, so that it finds none of the user's.
    :param service: whether Ctrl-C is not meant for it.
    """

    def __init__(
        self,
        reactor: Any,
        name: str,
        module: str,
        arguments: list[str],
        data_dir: Path,
        *,
        service: bool,
    ) -> None:
        self._reactor = reactor
        self._name = name
        self._buffer = b""
        self._errors = b""
        self._lines: deque[str] = deque(maxlen=MAX_KEPT_LINES)
        self._wanted: Deferred[str] | None = None
        self._exit_code: int | None = None
        self._waiting_for_end: list[Deferred[int]] = []
        run = ["-c", _SERVICE.format(module=module)] if service else ["-m", module]
        command = [sys.executable, *run, *arguments]
        reactor.spawnProcess(self, command[0], command, env=_environment(data_dir))

    async def line(self, beginning: str) -> str:
        """The next line that begins so; others are passed over.

        :raises ChildFailed: it ended, or was silent for too long.
        """
        while True:
            if self._lines:
                line = self._lines.popleft()
            else:
                wanted = self._wanted = Deferred()
                if self._exit_code is not None:
                    self._fail()
                wanted.addTimeout(LINE_SECONDS, self._reactor)
                try:
                    line = await wanted
                except TwistedTimeout:
                    raise ChildFailed(
                        text.TOO_SLOW.format(
                            program=self._name, wanted=beginning, seconds=LINE_SECONDS
                        )
                    ) from None
            if line.startswith(beginning):
                return line

    async def event(self, kind: str) -> dict[str, Any]:
        """The next event of a program that was started with ``--json``.

        :raises ChildFailed: it ended, or was silent for too long.
        """
        # What our own programs write: the event's name comes first.
        event: dict[str, Any] = json.loads(await self.line(f'{{"event":"{kind}"'))
        return event

    def send(self, line: str) -> None:
        """Write a line to its standard input."""
        transport: Any = self.transport
        transport.write(f"{line}\n".encode())

    def when_ended(self) -> Deferred[int]:
        """Fires with its exit code."""
        if self._exit_code is not None:
            return succeed(self._exit_code)
        ended: Deferred[int] = Deferred()
        self._waiting_for_end.append(ended)
        return ended

    def failure(self) -> ChildFailed:
        """What to tell about a program that has ended by itself."""
        words = text.PROGRAM_ENDED.format(program=self._name, exit_code=self._exit_code)
        errors = self._errors.decode(errors="replace").strip()
        return ChildFailed(f"{words}\n{errors}".strip())

    async def stop(self) -> None:
        """End it: politely, then not."""
        if self._exit_code is not None:
            return
        self._signal("TERM")
        killing: IDelayedCall = self._reactor.callLater(STOP_SECONDS, self._signal, "KILL")
        await self.when_ended()
        if killing.active():
            killing.cancel()

    # ProcessProtocol

    def outReceived(self, data: bytes) -> None:
        *lines, rest = (self._buffer + data).split(b"\n")
        self._buffer = rest[-MAX_LINE_BYTES:]
        self._lines.extend(line.decode(errors="replace") for line in lines)
        wanted = self._wanted
        if wanted is not None and self._lines:
            self._wanted = None
            wanted.callback(self._lines.popleft())

    def errReceived(self, data: bytes) -> None:
        self._errors = (self._errors + data)[-MAX_ERROR_BYTES:]

    def processEnded(self, reason: Failure) -> None:
        status: Any = reason.value
        self._exit_code = status.exitCode if status.exitCode is not None else -1
        self._fail()
        waiting, self._waiting_for_end = self._waiting_for_end, []
        for ended in waiting:
            ended.callback(self._exit_code)

    def _fail(self) -> None:
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            wanted.errback(self.failure())

    def _signal(self, name: str) -> None:
        transport: Any = self.transport
        try:
            transport.signalProcess(name)
        except ProcessExitedAlready:
            return


def _environment(data_dir: Path) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("PORTTUNNEL_")
    }
    # The very package that runs here, however it was found.
    root = str(Path(porttunnel.__file__).parents[1])
    path = os.pathsep.join(filter(None, (root, kept.get("PYTHONPATH"))))
    return kept | {"PYTHONPATH": path, "PORTTUNNEL_DATA": str(data_dir)}
