"""A stream as a full Twisted transport: producers both ways, half-close, back-pressure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    IReactorTime,
    ITransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from porttunnel.errors import PorttunnelError, StreamCode, StreamReset
from porttunnel.net.registered_producer import RegisteredProducer
from porttunnel.net.stream_handle import StreamOwner

__all__ = ["StreamAddress", "StreamTransport"]

LINGER_SECONDS = 30.0  # after our close, for the other side's end; its data are thrown away
CHUNK_BYTES = 65_536  # up to this size what is kept lies together: alone a byte would take fifty
_log = Logger()


@implementer(IAddress)
class StreamAddress:
    """Where a stream leads.

    :param member: member number of the session.
    :param service: the name it was opened for.
    """

    def __init__(self, member: int, service: str) -> None:
        self.member = member
        self.service = service

    def __repr__(self) -> str:
        return f"StreamAddress(member={self.member}, service={self.service!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StreamAddress):
            return NotImplemented
        return (self.member, self.service) == (other.member, other.service)

    def __hash__(self) -> int:
        return hash((self.member, self.service))


class _State(Enum):
    OPEN = "both halves"
    CLOSING = "loseConnection was called; what is written still goes out, nothing is delivered"
    LINGERING = "our END is out, the protocol is told; theirs is to come"
    DONE = "over"


@implementer(ITransport, IConsumer, IPushProducer)
class StreamTransport:
    """The transport of one protocol on one stream; a ``StreamHandle``.

    :param reactor: time.
    :param owner: the session.
    :param peer: the other side's member and the service.
    :param host: our own member and the service.
    :param stream: the stream's id.
    """

    disconnecting = False

    def __init__(
        self,
        reactor: IReactorTime,
        owner: StreamOwner,
        *,
        peer: StreamAddress,
        host: StreamAddress,
        stream: int,
    ) -> None:
        self._reactor = reactor
        self._owner = owner
        self._streams = owner.streams_with(peer.member)
        self._peer = peer
        self._host = host
        self._stream = stream
        self.protocol: IProtocol | None = None
        self._state = _State.OPEN
        self._write_ended = False
        self._end_wanted = False
        self._remote_ended = False
        self._producer = RegisteredProducer(reactor, self._call)
        self._write_news: IDelayedCall | None = None
        self._reading_paused = False
        self._received: deque[bytearray] = deque()  # while paused; bounded by the credit given
        self._delivery: IDelayedCall | None = None
        self._linger: IDelayedCall | None = None

    def attach(self, protocol: IProtocol) -> None:
        """Give the protocol its transport; from now on it gets what comes."""
        self.protocol = protocol
        self._call(protocol.makeConnection, self)

    # ITransport

    def write(self, data: bytes) -> None:
        """Send bytes; what can't go yet waits here."""
        if self._write_ended or self._state is _State.DONE or not data:
            return
        if not self._streams.may_write(self._stream):
            return  # broken off, which the protocol is told next
        if not self._streams.write(self._stream, data):
            self._producer.hold()
        elif self._producer.is_pulled:
            self._producer.pull_soon()
        self._owner.flush_soon()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send several pieces."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close once everything written has gone, and the producer is done."""
        if self._state is _State.OPEN:
            self._state = _State.CLOSING
            self.disconnecting = True
            # Not left unread: the other side could not finish without the credit.
            self._streams.consumed(self._stream, sum(map(len, self._received)))
            self._received.clear()
            self._finish_writing()

    def loseWriteConnection(self) -> None:
        """Half-close once everything written has gone, and the producer is done."""
        self._end_wanted = True
        self._finish_writing()

    def abortConnection(self) -> None:
        """Close at once; the other side sees a broken stream."""
        if self._state is not _State.DONE:
            self._abort(Failure(ConnectionAborted()))

    def getPeer(self) -> StreamAddress:
        """The other side."""
        return self._peer

    def getHost(self) -> StreamAddress:
        """This side."""
        return self._host

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing to do: records never wait for more."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Nothing to do: the session's link is watched."""

    # IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """As ``IConsumer.registerProducer``."""
        over = self._state in (_State.LINGERING, _State.DONE)
        self._producer.register(producer, streaming, over=over)

    def unregisterProducer(self) -> None:
        """As ``IConsumer.unregisterProducer``."""
        self._producer.unregister()
        self._finish_writing()

    # IPushProducer: what comes from the other side

    def pauseProducing(self) -> None:
        """Deliver nothing: the other side runs out of credit; the session goes on."""
        self._reading_paused = True

    def resumeProducing(self) -> None:
        """Deliver again."""
        self._reading_paused = False
        if self._received or self._remote_ended:
            self._deliver_soon()

    def stopProducing(self) -> None:
        """As a transport: close."""
        self.loseConnection()

    # StreamHandle

    def stream_accepted(self) -> None:
        """Nothing: the protocol is made when this comes."""

    def stream_refused(self, code: StreamCode, text: str) -> None:
        """Nothing: a protocol is made after this could come."""

    def stream_received(self, data: memoryview) -> None:
        """Deliver, or keep while paused."""
        if self._state is not _State.OPEN:
            # After our close: taken and thrown away, so that the other side can finish.
            self._streams.consumed(self._stream, len(data))
        elif self._reading_paused or self._received:
            self._keep(data)
        else:
            self._deliver(bytes(data))

    def stream_writable(self) -> None:
        """What waited has gone."""
        self._producer.go_on()
        self._finish_writing()

    def stream_ended(self) -> None:
        """The other side has sent its last byte."""
        self._remote_ended = True
        if not self._received and not self._reading_paused:
            self._deliver_end()

    def stream_closed(self) -> None:
        """Both halves have ended."""
        self._stop_linger()
        # Who has paused has not heard of the other side's end yet.
        if self._state is not _State.OPEN or not (self._received or self._reading_paused):
            self._lose(Failure(ConnectionDone()))

    def stream_reset(self, code: StreamCode) -> None:
        """The other side broke it off."""
        text = "The other side broke the connection off; what came may be incomplete. Try again."
        self._lose(Failure(StreamReset(text, code)))

    def stream_lost(self, error: PorttunnelError) -> None:
        """The session ended under it."""
        self._lose(Failure(error))

    # Inside

    def _keep(self, data: memoryview) -> None:
        if self._received and len(self._received[-1]) + len(data) <= CHUNK_BYTES:
            self._received[-1] += data
        else:
            self._received.append(bytearray(data))

    def _deliver(self, data: bytes) -> None:
        if self.protocol is not None:
            self._call(self.protocol.dataReceived, data)
        self._streams.consumed(self._stream, len(data))
        self._owner.flush_soon()

    def _deliver_soon(self) -> None:
        if self._delivery is None:
            self._delivery = self._reactor.callLater(0, self._deliver_received)

    def _deliver_received(self) -> None:
        self._delivery = None
        while self._received and not self._reading_paused and self._state is _State.OPEN:
            self._deliver(bytes(self._received.popleft()))
        if self._remote_ended and not self._received and not self._reading_paused:
            self._deliver_end()

    def _deliver_end(self) -> None:
        if self._state is _State.OPEN:
            protocol: Any = self.protocol
            if IHalfCloseableProtocol.providedBy(protocol):
                self._call(protocol.readConnectionLost)
            else:
                self.loseConnection()
        if self._write_ended and self._state is not _State.DONE:
            self._lose(Failure(ConnectionDone()))

    def _finish_writing(self) -> None:
        wanted = self._end_wanted or self._state is _State.CLOSING
        if not wanted or self._producer.is_full or self._producer.is_there:
            return
        if not self._write_ended:
            self._write_ended = True
            self._streams.end(self._stream)
            self._owner.flush_soon()
            if self._state is _State.OPEN:
                # Like all news not from within the call that causes it: its caller is in mid-step.
                self._write_news = self._reactor.callLater(0, self._tell_write_ended)
        if self._state is _State.CLOSING:
            self._state = _State.LINGERING
            if not self._remote_ended:
                self._linger = self._reactor.callLater(LINGER_SECONDS, self._stop_waiting)
            self._reactor.callLater(0, self._tell_lost, Failure(ConnectionDone()))

    def _tell_write_ended(self) -> None:
        self._write_news = None
        protocol: Any = self.protocol
        if IHalfCloseableProtocol.providedBy(protocol):
            self._call(protocol.writeConnectionLost)

    def _stop_waiting(self) -> None:
        self._linger = None
        self._break_off(StreamCode.TIMED_OUT)
        self._state = _State.DONE

    def _stop_linger(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    def _break_off(self, code: StreamCode) -> None:
        self._streams.reset(self._stream, code)
        self._owner.release(self._peer.member, self._stream)
        self._owner.flush_soon()

    def _abort(self, reason: Failure) -> None:
        self._break_off(StreamCode.ABORTED)
        self._stop()
        self._reactor.callLater(0, self._tell_lost, reason)

    def _lose(self, reason: Failure) -> None:
        if self._write_news is not None:
            self._write_news.cancel()
            self._tell_write_ended()
        self._stop()
        self._tell_lost(reason)

    def _stop(self) -> None:
        self._state = _State.DONE
        self._stop_linger()
        self._producer.cancel_pull()
        if self._delivery is not None:
            self._delivery.cancel()
            self._delivery = None
        # Nobody will read them; for the other streams' sake they count as taken.
        self._streams.consumed(self._stream, sum(map(len, self._received)))
        self._received.clear()

    def _tell_lost(self, reason: Failure) -> None:
        self._producer.stop()
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            self._call(protocol.connectionLost, reason)

    def _call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call the protocol's or the producer's code, whose faults are this stream's only."""
        try:
            function(*arguments)
        except Exception:
            failure = Failure()
            _log.failure("the protocol of a stream failed; the stream is broken off", failure)
            if self._state is not _State.DONE:
                self._abort(failure)
