"""Runs a command on the reactor: Ctrl-C and SIGTERM let it leave cleanly."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import (
    FilteringLogObserver,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.python.failure import Failure

from porttunnel.cli import text
from porttunnel.cli.exit_code import ExitCode
from porttunnel.cli.standard_streams import StandardStreams, write_error
from porttunnel.errors import PorttunnelError
from porttunnel.net.client import JoinedSession
from porttunnel.net.master import SharedSession
from porttunnel.net.steady_time import keep_time_steady

__all__ = ["Command", "leave", "run_program"]

LEAVE_SECONDS = 6.0  # for goodbyes; one second more than a link has for its last bytes
NOTICE_SECONDS = 1.5  # most goodbyes are over by then
_log = Logger()

Command = Callable[[Any, StandardStreams], Coroutine[Any, Any, ExitCode]]
"""A command: gets the reactor and the streams. To leave, it is cancelled."""


def run_program(command: Command) -> ExitCode:
    """Run a command until it ends or is told to.

    :param command: is cancelled at Ctrl-C and SIGTERM, and may still await its goodbyes then.
    :returns: what to tell the shell.
    """
    from twisted.internet import reactor

    keep_time_steady(reactor)
    program = _Program(reactor, command)
    any_reactor: Any = reactor
    any_reactor.callWhenRunning(program.start)
    any_reactor.run()
    return program.exit_code


async def leave(session: SharedSession | JoinedSession) -> None:
    """End or leave a session, as the last thing that a command does."""
    from twisted.internet import reactor

    leaving = session.close()
    # What it ended with, if it has ended already, is told elsewhere.
    leaving.addErrback(lambda failure: failure.trap(PorttunnelError))
    leaving.addCallback(lambda _: session.when_disconnected())
    # Whoever asks to leave in this moment waits no longer, but what is under way goes on.
    left: Deferred[None] = Deferred()
    leaving.chainDeferred(left)
    clock: Any = reactor
    notice = clock.callLater(NOTICE_SECONDS, _tell_leaving)
    try:
        await left
    finally:
        if notice.active():
            notice.cancel()


class _Program:
    def __init__(self, reactor: Any, command: Command) -> None:
        self.exit_code = ExitCode.FAILED
        self._reactor = reactor
        self._command = command
        self._running: Deferred[ExitCode] | None = None
        self._leaving = False
        self._output_lost = False
        self._streams = StandardStreams(reactor, self._lose_output)

    def start(self) -> None:
        _begin_logging()
        for number in _signals():
            # After the reactor's own, which would stop it before anybody could say goodbye.
            signal.signal(number, self._receive_signal)
        self._streams.open()
        running = Deferred.fromCoroutine(self._command(self._reactor, self._streams))
        self._running = running
        running.addCallbacks(self._ended, self._failed)
        running.addBoth(lambda _: self._streams.close())
        running.addBoth(lambda _: self._stop())

    def _receive_signal(self, number: int, frame: Any) -> None:
        # Whoever asks a second time means it.
        signal.signal(number, signal.SIG_DFL)
        self._reactor.callFromThread(self._leave)

    def _leave(self) -> None:
        if not self._leaving and self._running is not None:
            self._leaving = True
            self._reactor.callLater(LEAVE_SECONDS, self._stop)
            self._running.cancel()

    def _lose_output(self) -> None:
        self._output_lost = True
        write_error(f"{text.OUTPUT_LOST}\n")
        self._leave()

    def _ended(self, exit_code: ExitCode) -> None:
        self.exit_code = exit_code

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            _log.failure("porttunnel itself failed; please report this", failure)

    def _stop(self) -> None:
        if self._output_lost:  # the last lines too
            self.exit_code = ExitCode.FAILED
        if self._reactor.running:
            self._reactor.stop()


def _tell_leaving() -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        write_error(f"{text.LEAVING}\n")


def _signals() -> list[int]:
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGBREAK"):
        numbers.append(signal.SIGBREAK)
    return list(numbers)


def _begin_logging() -> None:
    """What goes wrong goes to standard error; the rest of the log is for services."""
    if sys.stderr is None:  # closed by whoever started us
        return
    predicate = LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)
    observer = FilteringLogObserver(textFileLogObserver(sys.stderr), [predicate])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
