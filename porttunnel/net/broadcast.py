"""Both ends of a broadcast for Twisted programs: a consumer to write to, and who gets the bytes.

Source: docs/session-protocol, section 8. A slow member does not hold up the others for long: who
stays behind is dropped from the broadcast and told so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from porttunnel.errors import CutOff, PorttunnelError
from porttunnel.session.broadcast_sender import BroadcastSender

__all__ = ["DEFAULT_CHANNEL", "BroadcastListener", "BroadcastOwner", "BroadcastWriter"]

DEFAULT_CHANNEL = 1  # of programs that broadcast one thing only
# A program that writes without looking: the core takes 8 MiB at a time, more never comes at once.
MAX_WRITE_BYTES = 1024 * 1024
_log = Logger()


class BroadcastListener(Protocol):
    """Gets what the master broadcasts; see ``JoinedSession.on_broadcast``."""

    def broadcast_received(self, channel: int, data: memoryview) -> None:
        """Bytes came; the view is valid during the call only."""

    def broadcast_ended(self, channel: int) -> None:
        """All of this broadcast has come."""

    def broadcast_lost(self, error: PorttunnelError) -> None:
        """Nothing more of any broadcast will come, and what came is incomplete."""


class BroadcastOwner(Protocol):
    """What a writer needs of its session."""

    @property
    def reactor(self) -> Any:
        """Runs it."""

    @property
    def broadcast_sender(self) -> BroadcastSender:
        """The core's."""

    def flush_soon(self) -> None:
        """Send what was written, in the reactor's next turn."""

    def release_broadcast(self, channel: int) -> None:
        """This channel's writer wants no more calls."""


@implementer(IConsumer)
class BroadcastWriter:
    """Writes to all members. Made by :meth:`porttunnel.net.master.SharedSession.broadcast`.

    Without a member it is full: what is written waits for the first one.

    :param owner: the session.
    :param channel: 1 to 2**32 - 1.
    :raises LocalProtocolError: no such channel is possible.
    :ivar written_bytes: what was written so far.
    """

    disconnecting = False

    def __init__(self, owner: BroadcastOwner, channel: int) -> None:
        self._owner = owner
        self._channel = channel
        self.written_bytes = 0
        # Nothing is written by this; it asks to be told when there is a member.
        self._full = not owner.broadcast_sender.write(channel, b"", owner.reactor.seconds())
        self._ended = False
        self._producer: Any = None
        self._streaming = False
        self._producer_paused = False
        self._pull: IDelayedCall | None = None
        self._done = False
        self._error: PorttunnelError | None = None
        self._waiting: list[Deferred[None]] = []

    @property
    def is_full(self) -> bool:
        """Whether to write nothing more for now."""
        return self._full

    def when_done(self) -> Deferred[None]:
        """Fires once all that was written is with all members, after :meth:`loseConnection`;
        fails with ``CutOff`` if the session ended before.
        """
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        if self._done:
            self._tell_done()
        return waiting

    # ITransport, as far as there is somebody to write to

    def write(self, data: bytes) -> None:
        """Broadcast bytes. A large piece is copied; write little at a time, and with a producer.

        :raises LocalProtocolError: more than 8 MiB would wait: use a producer.
        """
        if self._ended or self._done or not data:
            return
        view = memoryview(data)
        now = self._owner.reactor.seconds()
        sender = self._owner.broadcast_sender
        for start in range(0, len(view), MAX_WRITE_BYTES):
            self._full = not sender.write(
                self._channel, view[start : start + MAX_WRITE_BYTES], now
            )
        self.written_bytes += len(view)
        if self._full:
            if self._producer is not None and self._streaming and not self._producer_paused:
                self._producer_paused = True
                self._producer.pauseProducing()
        elif self._producer is not None and not self._streaming:
            self._pull_soon()
        self._owner.flush_soon()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Broadcast several pieces."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """The broadcast is complete, once a producer is done; members are told behind it all."""
        self.disconnecting = True
        self._finish()

    # IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """As ``IConsumer.registerProducer``: a push producer if ``streaming``, else a pull one."""
        if self._producer is not None:
            raise RuntimeError("a producer is registered already; unregister it first")
        if self._done or self._ended:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        self._producer_paused = False
        if not streaming:
            if not self._full:
                producer.resumeProducing()
        elif self._full:
            self._producer_paused = True
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """As ``IConsumer.unregisterProducer``."""
        self._producer = None
        self._finish()

    # The session's calls

    def writable(self) -> None:
        """What waited has gone."""
        self._full = False
        if self._producer is not None and (self._producer_paused or not self._streaming):
            self._producer_paused = False
            self._call(self._producer.resumeProducing)

    def check_done(self) -> None:
        """Members have acknowledged something."""
        if self._ended and not self._done and self._owner.broadcast_sender.settled:
            self._stop(None)

    def session_ended(self) -> None:
        """Nobody is there to write to."""
        if not self._done:
            self._stop(CutOff("The session ended before the broadcast did. Share again."))

    # Inside

    def _finish(self) -> None:
        if self.disconnecting and self._producer is None and not (self._ended or self._done):
            self._ended = True
            self._owner.broadcast_sender.end(self._channel, self._owner.reactor.seconds())
            self._owner.flush_soon()

    def _pull_soon(self) -> None:
        if self._pull is None:
            self._pull = self._owner.reactor.callLater(0, self._pull_now)

    def _pull_now(self) -> None:
        self._pull = None
        if self._producer is not None and not self._streaming and not self._full:
            self._call(self._producer.resumeProducing)

    def _stop(self, error: PorttunnelError | None) -> None:
        self._done = True
        self._error = error
        self._owner.release_broadcast(self._channel)
        if self._pull is not None:
            self._pull.cancel()
            self._pull = None
        producer, self._producer = self._producer, None
        if producer is not None:
            self._call(producer.stopProducing)
        self._tell_done()

    def _tell_done(self) -> None:
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            if self._error is None:
                done.callback(None)
            else:
                done.errback(self._error)

    def _call(self, function: Callable[[], object]) -> None:
        """Call the producer's code, whose faults must not end the session."""
        try:
            function()
        except Exception:
            _log.failure("the producer of a broadcast failed; the broadcast ends", Failure())
            self._producer = None
            self.loseConnection()
