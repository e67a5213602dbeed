"""Standard input and output on the reactor: one reader of lines, one writer, no thread.

A prompt in a thread would survive Ctrl-C, and a blocking write to a pipe that nobody reads would
stop the session. Either of them may be given away for data instead of lines.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["StandardStreams", "write_error"]

MAX_LINE_BYTES = 4_096  # a code, a yes, or a JSON command
MAX_WAITING_BYTES = 1 << 20  # of output that nobody reads; then this program ends
MAX_READ_BYTES = 256 * 1024  # of data at a time; a pipe holds 64 KiB
CLOSE_SECONDS = 2.0  # for the last lines to be read


@implementer(IHalfCloseableProtocol)
class StandardStreams(LineReceiver):
    """See the module. Reads only while somebody waits for a line: a program in the background of
    a terminal must not touch its input.

    :param reactor: the reactor.
    :param on_output_lost: called once when nobody reads the output any more.
    """

    delimiter = b"\n"
    MAX_LENGTH = MAX_LINE_BYTES

    def __init__(self, reactor: Any, on_output_lost: Callable[[], None]) -> None:
        self._reactor = reactor
        self._on_output_lost = on_output_lost
        self._wanted: Deferred[str | None] | None = None
        self._patient = False
        self._input_is_data = False
        self._consumer: Any = None
        self._on_output_full: Callable[[bool], None] | None = None
        self._input_ended = False
        self._output_lost = False
        self._output_full = False
        self._waiting_bytes = 0
        self._asking = False  # the last line on the screen is a question
        self._closed: Deferred[None] | None = None

    def open(self) -> None:
        """Begin; before it nothing is read or written."""
        StandardIO(self, reactor=self._reactor)
        if hasattr(signal, "SIGCONT") and self.interactive:
            # A shell sends it with `bg` and `fg`.
            signal.signal(
                signal.SIGCONT,
                lambda *_: self._reactor.callFromThread(self._follow_terminal),
            )

    @property
    def interactive(self) -> bool:
        """Whether a person can be asked: both ends are a terminal."""
        return (
            self.output_is_terminal
            and sys.stdin is not None
            and sys.stdin.isatty()
            and not self._input_is_data
        )

    @property
    def output_is_terminal(self) -> bool:
        """Whether what is written goes to a terminal."""
        output = sys.stdout if self._on_output_full is None else sys.stderr
        return output is not None and output.isatty()

    def reserve_input(self) -> None:
        """Standard input is data: no line will be read, nobody can be asked."""
        self._input_is_data = True

    def send_input_to(self, consumer: Any) -> None:
        """Give standard input to a transport or the like, as fast as it takes it; at its end the
        transport is told ``loseConnection``.

        :param consumer: an ``IConsumer``.
        """
        self._consumer = consumer
        if self._input_ended:
            consumer.loseConnection()
            return
        LineReceiver.setRawMode(self)
        LineReceiver.resumeProducing(self)
        consumer.registerProducer(_InputProducer(self), True)

    def reserve_output(self, on_full: Callable[[bool], None]) -> None:
        """Standard output is for :meth:`write_data`; lines go to standard error.

        :param on_full: called with whether the output takes nothing more for now.
        """
        self._on_output_full = on_full

    def write_data(self, data: bytes) -> None:
        """Write data to standard output, which was reserved for it."""
        if not self._output_lost and self.transport is not None:
            self.transport.write(data)

    def finish_output(self) -> Deferred[None]:
        """Close standard output once its reader has it all, without hurry; fires then."""
        finished: Deferred[None] = Deferred()
        if self._closed is None and self.transport is not None:
            transport: Any = self.transport
            self._closed = Deferred()
            self._closed.addBoth(lambda _: _set_blocking())
            self._closed.chainDeferred(finished)
            # A producer would be asked for more instead.
            transport.unregisterProducer()
            transport.loseConnection()
        else:
            finished.callback(None)
        return finished

    def write(self, text: str) -> None:
        """Write, without waiting for a reader."""
        self._follow_terminal()
        self._asking = not text.endswith("\n")
        if self._on_output_full is not None:
            write_error(text)
            return
        if self._output_lost or self.transport is None:
            return
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        data = text.encode(encoding, errors="replace")
        if self._output_full:
            self._waiting_bytes += len(data)
            if self._waiting_bytes > MAX_WAITING_BYTES:
                self._lose_output()
                return
        self.transport.write(data)

    def read_line(self, *, patient: bool = False) -> Deferred[str | None]:
        """The next line without its end, or None when the input has ended. One at a time.

        :param patient: read only while this program is in the terminal's foreground: in the
            background that would stop it, and nobody waits for what it could do.
        """
        if self._input_ended or self._input_is_data:
            return succeed(None)
        wanted: Deferred[str | None] = Deferred()
        self._wanted = wanted
        self._patient = patient
        if not patient or _is_in_foreground():
            LineReceiver.resumeProducing(self)
        return wanted

    def insist(self) -> None:
        """The line that is being read is waited for now."""
        if self._patient and self._wanted is not None:
            self._patient = False
            LineReceiver.resumeProducing(self)

    def discard_typed(self) -> None:
        """Forget what was typed before the question: it can't be an answer to it."""
        if self.interactive:
            LineReceiver.clearLineBuffer(self)
            try:
                import termios
            except ImportError:  # Windows: its console is read line by line anyway
                return
            termios.tcflush(0, termios.TCIFLUSH)

    def close(self) -> Deferred[None]:
        """Write what waits and stop; fires when it is done."""
        if self._closed is None:
            if self._asking and self.interactive:
                self.write("\n")  # the shell's prompt belongs below it
            self._closed = Deferred()
            if self._output_lost or self.transport is None:
                self._closed.callback(None)
            else:
                self.transport.loseConnection()
                self._closed.addTimeout(CLOSE_SECONDS, self._reactor)
                self._closed.addErrback(lambda _: None)
            # The terminal is shared with the shell, which expects a blocking one.
            self._closed.addBoth(lambda _: _set_blocking())
        return self._closed

    def output_full(self) -> None:
        """What is written from now on waits in memory."""
        self._output_full = True
        if self._on_output_full is not None:
            self._on_output_full(True)

    def output_has_room(self) -> None:
        """What waited is written."""
        self._output_full = False
        self._waiting_bytes = 0
        if self._on_output_full is not None:
            self._on_output_full(False)

    # LineReceiver

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.registerProducer(_OutputProducer(self), True)
        LineReceiver.pauseProducing(self)

    def lineReceived(self, line: bytes) -> None:
        self._deliver(line.rstrip(b"\r").decode(errors="replace"))

    def rawDataReceived(self, data: bytes) -> None:
        self._consumer.write(data + _read_more())

    def lineLengthExceeded(self, line: bytes) -> None:
        self._end_input()

    def readConnectionLost(self) -> None:
        """The input has ended; its last line may lack an end."""
        rest = b"" if self._input_is_data else LineReceiver.clearLineBuffer(self)
        if rest and self._wanted is not None:
            self._deliver(rest.decode(errors="replace"))
        self._end_input()

    def writeConnectionLost(self) -> None:
        """Nobody reads the output."""
        self._lose_output()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.transport = None
        self._end_input()
        if reason.check(ConnectionDone) is None:
            self._lose_output()  # the last of it is not out
        if self._closed is not None and not self._closed.called:
            self._closed.callback(None)

    def _deliver(self, line: str) -> None:
        wanted, self._wanted = self._wanted, None
        self._asking = False
        LineReceiver.pauseProducing(self)
        if wanted is not None:
            wanted.callback(line)

    def _follow_terminal(self) -> None:
        if self._patient and self._wanted is not None:
            if _is_in_foreground():
                LineReceiver.resumeProducing(self)
            else:
                LineReceiver.pauseProducing(self)

    def _end_input(self) -> None:
        self._input_ended = True
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.unregisterProducer()
            consumer.loseConnection()
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            wanted.callback(None)

    def _lose_output(self) -> None:
        if not self._output_lost:
            self._output_lost = True
            self._on_output_lost()


@implementer(IPushProducer)
class _OutputProducer:
    """Told by the output whether it takes more."""

    def __init__(self, streams: StandardStreams) -> None:
        self._streams = streams

    def pauseProducing(self) -> None:
        self._streams.output_full()

    def resumeProducing(self) -> None:
        self._streams.output_has_room()

    def stopProducing(self) -> None:
        self._streams.output_full()


@implementer(IPushProducer)
class _InputProducer:
    """Standard input, as whoever takes it sees it."""

    def __init__(self, streams: StandardStreams) -> None:
        self._streams = streams

    def pauseProducing(self) -> None:
        LineReceiver.pauseProducing(self._streams)

    def resumeProducing(self) -> None:
        LineReceiver.resumeProducing(self._streams)

    def stopProducing(self) -> None:
        LineReceiver.pauseProducing(self._streams)


def _read_more() -> bytes:
    """What else of the input is there. The reactor reads 8 KiB at a time, each of which would
    become a packet of its own.
    """
    if os.name != "posix":  # standard input waits there
        return b""
    try:
        return os.read(0, MAX_READ_BYTES)
    except OSError:  # nothing, or what the reactor will find out as well
        return b""


def _is_in_foreground() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except (AttributeError, OSError):  # Windows, or no terminal of ours
        return True


def write_error(text: str) -> None:
    """Write to standard error, at once."""
    if sys.stderr is None:  # closed by whoever started us
        return
    # Whoever reads neither must not stop the session: then the line is lost.
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _set_blocking() -> None:
    if os.name == "posix":
        for descriptor in (0, 1):
            os.set_blocking(descriptor, True)
