"""One HTTP/1.1 connection to the web system, used for one request after the other.

What is HTTP in it h11 reads and writes; here stand the pace, the ends, and what they mean. A
response that ends because its connection does is whole only if the connection was closed in order;
over plain TCP that is all that can be known (docs/agent).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

import h11
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IDelayedCall,
    IReactorTime,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from porttunnel.errors import LocalProtocolError
from porttunnel.gateway.http_head import Fields

__all__ = ["UpstreamConnection", "UpstreamReader"]

MAX_HEAD_BYTES = 65_536  # of a response; what a device takes of fields
CLOSING_SECONDS = 5.0  # for the web system to say goodbye in TLS; then the connection is cut

_SWITCHING = 101
_BODILESS = (204, 304)


class UpstreamReader(Protocol):
    """Who gets the response to a request."""

    def informed(self, status: int, fields: Fields) -> None:
        """A head below 200."""

    def answered(self, status: int, fields: Fields) -> None:
        """The final head."""

    def received(self, data: bytes) -> None:
        """A piece of the body; or of what follows :meth:`switched`."""

    def ended(self, trailers: Fields) -> None:
        """The response is whole. The connection belongs to somebody else now."""

    def switched(self, fields: Fields) -> None:
        """The connection is no HTTP any more: what is received and sent are plain bytes."""

    def closed(self) -> None:
        """After :meth:`switched`: the other side has closed it, in order."""

    def broken(self, text: str, *, silent: bool) -> None:
        """The response is not whole and will not be.

        :param text: what happened, for a log.
        :param silent: not a byte of it had come.
        """


class _State(Enum):
    IDLE = "nothing is asked"
    BUSY = "a request is under way"
    SWITCHED = "it is no HTTP any more"
    CLOSED = "over"


class UpstreamConnection(TwistedProtocol):
    """See the module.

    :param reactor: time.
    :param on_idle: called with this connection when it can be used again.
    :param on_gone: called with it, once, when it can't.
    :ivar was_used: whether a request went over it before the one that is under way.
    """

    transport: Any

    def __init__(
        self,
        reactor: IReactorTime,
        on_idle: Callable[[UpstreamConnection], None],
        on_gone: Callable[[UpstreamConnection], None],
    ) -> None:
        self._reactor = reactor
        self._on_idle = on_idle
        self._on_gone: Callable[[UpstreamConnection], None] | None = on_gone
        self._http = _new_http()
        self._is_head = False
        self._left = 0  # of a body that h11 doesn't see
        self._state = _State.IDLE
        self._reader: UpstreamReader | None = None
        self._requests = 0
        self._silent = True
        self._paused = False
        self._lost = False
        self._closing: IDelayedCall | None = None

    @property
    def was_used(self) -> bool:
        return self._requests > 1

    # What the request's side does

    def send_head(
        self, reader: UpstreamReader, method: bytes, target: bytes, fields: Fields
    ) -> None:
        """Begin a request.

        :raises LocalProtocolError: something in it can't be sent; nothing was.
        """
        self._requests += 1
        self._send(h11.Request(method=method, target=target, headers=list(fields)))
        self._state = _State.BUSY
        self._silent = True
        self._is_head = method == b"HEAD"
        self._left = 0
        self._reader = reader

    def send_data(self, data: bytes) -> None:
        """A piece of the request's body, or of what follows a switch.

        :raises LocalProtocolError: more than the request's head says.
        """
        if self._state is _State.SWITCHED:
            self.transport.write(data)
        elif self._state is _State.BUSY:
            self._send(h11.Data(data=data))

    def send_end(self, trailers: Fields = ()) -> None:
        """The request is whole; or no bytes follow after a switch.

        :raises LocalProtocolError: less was sent than the request's head says.
        """
        if self._state is _State.SWITCHED:
            self._end_writing()
        elif self._state is _State.BUSY:
            self._send(h11.EndOfMessage(headers=list(trailers)))

    def pause(self) -> None:
        """Read nothing more for now."""
        if not self._paused and self._state is not _State.CLOSED:
            self._paused = True
            self.transport.pauseProducing()

    def resume(self) -> None:
        """Read again."""
        if self._paused:
            self._paused = False
            if self._state is not _State.CLOSED:
                self.transport.resumeProducing()

    def abort(self) -> None:
        """Cut it: the web system sees that nobody waits any more. The reader is told nothing."""
        self._reader = None
        self._leave()
        if not self._lost:
            self.transport.abortConnection()

    def close(self) -> None:
        """Close it in order, while nothing is under way."""
        self._leave()
        if not self._lost:
            self.transport.loseConnection()
            self._closing = self._reactor.callLater(CLOSING_SECONDS, self._cut)

    # What Twisted calls

    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            # A small piece would wait until the one before it was acknowledged.
            self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        reader = self._reader
        if self._state is _State.SWITCHED:
            if reader is not None:
                reader.received(data)
            return
        if reader is None:
            # Nothing was asked: what is said now would be taken for the next answer.
            self.abort()
            return
        self._silent = False
        if self._left:
            self._receive_plain(reader, data)
        else:
            self._http.receive_data(data)
            self._read_events(reader)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        if self._closing is not None:
            self._closing.cancel()
        in_order = reason.check(ConnectionDone) is not None
        reader = self._reader
        if self._state is _State.BUSY and reader is not None and in_order and not self._left:
            # The end of the connection may be the end of the response.
            self._http.receive_data(b"")
            self._read_events(reader)
            reader = self._reader
        switched = self._state is _State.SWITCHED
        self._reader = None
        self._leave()
        if reader is None:
            return
        if switched and in_order:
            reader.closed()
        else:
            reader.broken(_describe(reason), silent=self._silent)

    # Reading

    def _read_events(self, reader: UpstreamReader) -> None:
        pieces: list[bytes | bytearray] = []
        while self._reader is reader:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                self._give(reader, pieces)
                # Behind a colon h11 cites what it was: a cookie, a piece of a page.
                self._break(reader, str(error).partition(":")[0])
                return
            if isinstance(event, h11.Data):
                pieces.append(event.data)  # joined at once: many chunks are small
                continue
            self._give(reader, pieces)
            if self._reader is not reader or not self._tell(reader, event):
                return

    def _tell(self, reader: UpstreamReader, event: Any) -> bool:
        """Pass an event on; whether more may follow in what was read."""
        match event:
            case h11.InformationalResponse(status_code=status) if status == _SWITCHING:
                self._switch(reader, event)
                return False
            case h11.InformationalResponse():
                reader.informed(event.status_code, _fields(event))
            case h11.Response():
                self._left = self._find_length(event)
                reader.answered(event.status_code, _fields(event))
                if self._left and self._reader is reader:
                    self._receive_plain(reader, bytes(self._http.trailing_data[0]))
                return not self._left
            case h11.EndOfMessage():
                self._end_of_message(reader, _fields(event))
                return False
            case _:
                return False
        return True

    def _give(self, reader: UpstreamReader, pieces: list[bytes | bytearray]) -> None:
        if pieces and self._reader is reader:
            reader.received(b"".join(pieces))
        pieces.clear()

    def _find_length(self, response: h11.Response) -> int:
        """How many bytes follow and nothing else, if that is so; then h11 need not see them."""
        fields = dict(response.headers)
        if b"transfer-encoding" in fields or response.status_code in _BODILESS or self._is_head:
            return 0
        return int(fields.get(b"content-length", b"0"))

    def _receive_plain(self, reader: UpstreamReader, data: bytes) -> None:
        surplus = len(data) > self._left
        piece = data[: self._left] if surplus else data
        self._left -= len(piece)
        if piece:
            reader.received(piece)
        if not self._left and self._reader is reader:
            # Our side of it is h11's still; DONE means as well that the connection may stay.
            again = self._http.our_state is h11.DONE and not surplus
            self._end(reader, (), _new_http() if again else None)

    def _end_of_message(self, reader: UpstreamReader, trailers: Fields) -> None:
        http = self._http
        if (
            http.our_state is h11.DONE
            and http.their_state is h11.DONE
            and not http.trailing_data[0]
        ):
            http.start_next_cycle()
            self._end(reader, trailers, http)
        else:
            self._end(reader, trailers, None)

    def _end(self, reader: UpstreamReader, trailers: Fields, again: h11.Connection | None) -> None:
        """The response is whole.

        :param again: for the next one, if there may be one.
        """
        is_sent = self._http.our_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED)
        self._reader = None
        self.resume()
        if again is not None:
            self._http = again
            self._state = _State.IDLE
            # First, so that whoever asks again because of the end finds it.
            self._on_idle(self)
            reader.ended(trailers)
        elif is_sent:
            self.close()
            reader.ended(trailers)
        else:
            self.abort()
            reader.ended(trailers)

    def _switch(self, reader: UpstreamReader, event: h11.InformationalResponse) -> None:
        self._state = _State.SWITCHED
        reader.switched(_fields(event))
        data = self._http.trailing_data[0]
        if data and self._reader is reader:
            reader.received(bytes(data))

    def _break(self, reader: UpstreamReader, text: str) -> None:
        self.abort()
        reader.broken(text, silent=self._silent)

    # Writing

    def _send(self, event: Any) -> None:
        try:
            pieces = self._http.send_with_data_passthrough(event)
        except h11.LocalProtocolError as error:
            raise LocalProtocolError(str(error)) from error
        self.transport.writeSequence(pieces or [])

    def _end_writing(self) -> None:
        if ISSLTransport.providedBy(self.transport):
            # TLS says goodbye for one direction; what still comes is read until the other's.
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()

    def _cut(self) -> None:
        self._closing = None
        self.transport.abortConnection()

    def _leave(self) -> None:
        self._state = _State.CLOSED
        on_gone, self._on_gone = self._on_gone, None
        if on_gone is not None:
            on_gone(self)


def _new_http() -> h11.Connection:
    return h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)


def _fields(event: Any) -> Fields:
    return tuple((bytes(name), bytes(value)) for name, value in event.headers)


def _describe(reason: Failure) -> str:
    if reason.check(ConnectionDone):
        return "it closed the connection before the end"
    return f"the connection was lost: {reason.getErrorMessage()}"
