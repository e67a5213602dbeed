"""What is broadcast, on standard output: `join --broadcast-stdout`."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from porttunnel.cli import text
from porttunnel.cli.standard_streams import StandardStreams
from porttunnel.errors import CutOff, PorttunnelError, StreamCode, StreamReset
from porttunnel.net.broadcast import DEFAULT_CHANNEL
from porttunnel.net.client import JoinedSession

__all__ = ["BroadcastOutput"]

# A master drops who is 32 MiB behind: more comes only from one that doesn't keep to that.
MAX_WAITING_BYTES = 48 * 1024 * 1024


class BroadcastOutput:
    """A :class:`porttunnel.net.broadcast.BroadcastListener`.

    :param streams: standard output, from now on for data only.
    """

    def __init__(self, streams: StandardStreams) -> None:
        self._streams = streams
        self._session: JoinedSession | None = None
        self._full = False
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._over = False
        self._ended: Deferred[None] = Deferred()
        self._written: Deferred[None] | None = None
        streams.reserve_output(self._set_full)

    def begin(self, session: JoinedSession) -> None:
        """We are in."""
        self._session = session
        session.on_broadcast(self, counts_consumed=True)

    def when_ended(self, session: JoinedSession) -> Deferred[None]:
        """Fires when all has come; fails if it can't any more."""
        session.when_done().addCallbacks(self._session_ended, self._session_failed)
        return self._ended

    async def flush(self) -> None:
        """Wait until whoever reads the output has it all, however long that takes."""
        if self._waiting:
            self._written = Deferred()
            await self._written
        await self._streams.finish_output()

    # BroadcastListener

    def broadcast_received(self, channel: int, data: memoryview) -> None:
        if channel != DEFAULT_CHANNEL or self._over:
            self._consume(len(data))
            return
        self._waiting.append(bytes(data))
        self._waiting_bytes += len(data)
        self._write()
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self._fail(StreamReset(text.OUTPUT_TOO_SLOW, StreamCode.TIMED_OUT))

    def broadcast_ended(self, channel: int) -> None:
        if channel == DEFAULT_CHANNEL and not self._over:
            self._over = True
            self._consume(self._waiting_bytes)  # what is kept here is safe
            self._ended.callback(None)

    def broadcast_lost(self, error: PorttunnelError) -> None:
        self._fail(error)

    # Inside

    def _set_full(self, full: bool) -> None:
        self._full = full
        self._write()

    def _write(self) -> None:
        while self._waiting and not self._full:
            data = self._waiting.popleft()
            self._waiting_bytes -= len(data)
            if not self._over:
                self._consume(len(data))
            self._streams.write_data(data)  # may say that it is full now
        written = self._written
        if written is not None and not self._waiting:
            self._written = None
            written.callback(None)

    def _consume(self, count: int) -> None:
        if self._session is not None:
            self._session.broadcast_consumed(count)

    def _session_ended(self, _: None) -> None:
        self._fail(CutOff(text.BROADCAST_CUT))

    def _session_failed(self, reason: Failure) -> None:
        if not self._over:
            self._over = True
            self._ended.errback(reason)

    def _fail(self, error: PorttunnelError) -> None:
        if not self._over:
            self._over = True
            self._ended.errback(error)
