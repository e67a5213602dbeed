"""Both ends of a broadcast for Twisted programs: a consumer to write to, and who gets the bytes.

Source: docs/session-protocol, section 8. A slow member does not hold up the others for long: who
stays behind is dropped from the broadcast and told so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from porttunnel.errors import CutOff, PorttunnelError
from porttunnel.net.registered_producer import RegisteredProducer
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
        self._producer = RegisteredProducer(owner.reactor, self._call)
        # Nothing is written by this; it asks to be told when there is a member.
        if not owner.broadcast_sender.write(channel, b"", owner.reactor.seconds()):
            self._producer.hold()
        self._ended = False
        self._done = False
        self._error: PorttunnelError | None = None
        self._waiting: list[Deferred[None]] = []

    @property
    def is_full(self) -> bool:
        """Whether to write nothing more for now."""
        return self._producer.is_full

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
        has_room = True
        for start in range(0, len(view), MAX_WRITE_BYTES):
            has_room = sender.write(self._channel, view[start : start + MAX_WRITE_BYTES], now)
        self.written_bytes += len(view)
        if not has_room:
            self._producer.hold()
        elif self._producer.is_pulled:
            self._producer.pull_soon()
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
        self._producer.register(producer, streaming, over=self._done or self._ended)

    def unregisterProducer(self) -> None:
        """As ``IConsumer.unregisterProducer``."""
        self._producer.unregister()
        self._finish()

    # The session's calls

    def writable(self) -> None:
        """What waited has gone."""
        self._producer.go_on()

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
        if self.disconnecting and not (self._producer.is_there or self._ended or self._done):
            self._ended = True
            self._owner.broadcast_sender.end(self._channel, self._owner.reactor.seconds())
            self._owner.flush_soon()

    def _stop(self, error: PorttunnelError | None) -> None:
        self._done = True
        self._error = error
        self._owner.release_broadcast(self._channel)
        self._producer.stop()
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
            self._producer.unregister()
            self.loseConnection()
