"""The body of a request on its way to the web system: kept until there is a connection for it.

What is kept is bounded by the credit that the device has.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from porttunnel.errors import LocalProtocolError, PorttunnelError
from porttunnel.gateway.http_head import Fields
from porttunnel.net.gateway_client.body import ReceivedBody
from porttunnel.net.instance.upstream_connection import UpstreamConnection

__all__ = ["BodyState", "UpstreamBody"]


class BodyState(Enum):
    """How far a request's body is."""

    COMING = "more may come"
    WHOLE = "its end has come"
    BROKEN = "the device, or the way from it, has broken off"
    WRONG = "it is longer or shorter than the request's head says"
    DROPPED = "nobody wants the rest"


@implementer(IPushProducer)
class UpstreamBody:
    """See the module; a ``BodyReceiver``, and a producer of the connection.

    :param body: of the request.
    :param on_moved: called when a piece, or the end, has come.
    :param on_failed: called when it is BROKEN or WRONG.
    :ivar state: how far it is.
    :ivar paused: whether the web system takes nothing for now, or nothing flows to it yet.
    """

    def __init__(
        self, body: ReceivedBody, on_moved: Callable[[], None], on_failed: Callable[[], None]
    ) -> None:
        self._body = body
        self._on_moved = on_moved
        self._on_failed = on_failed
        self._kept: list[bytes] = []
        self._trailers: Fields = ()
        self._connection: UpstreamConnection | None = None
        self._pass_trailers: Callable[[Fields], Fields] | None = None
        self._is_beginning = False
        self._is_producer = False
        self.state = BodyState.COMING
        self.paused = False

    @property
    def kept_bytes(self) -> int:
        """How much waits for a connection."""
        return sum(map(len, self._kept))

    def begin(self) -> None:
        """Take what comes. What has come already comes at once, and perhaps that is all of it."""
        self._is_beginning = True
        self._body.deliver(self)
        self._is_beginning = False
        if self._kept:
            self.pauseProducing()
        self._on_moved()

    def flow_to(
        self,
        connection: UpstreamConnection,
        pass_trailers: Callable[[Fields], Fields] | None = None,
    ) -> None:
        """Send what was kept, and then what comes. The head went out before.

        :param pass_trailers: which of the trailers to send; none of them if not given.
        :raises LocalProtocolError: it is not as long as the head says.
        """
        self._connection = connection
        self._pass_trailers = pass_trailers
        kept, self._kept = self._kept, []
        for piece in kept:
            connection.send_data(piece)
        if self.state is BodyState.WHOLE:
            self._send_end(connection)
        elif self.state is BodyState.COMING:
            self._is_producer = True
            connection.transport.registerProducer(self, True)
            # Last: the end may come with it.
            self.resumeProducing()

    def drop(self) -> None:
        """Want nothing more of it."""
        if self.state is BodyState.COMING:
            self.state = BodyState.DROPPED
            self._body.cancel()
        self._kept.clear()
        self._detach()

    # What the other side of the body calls

    def body_received(self, data: bytes) -> None:
        if self.state is not BodyState.COMING:
            return
        connection = self._connection
        if connection is None:
            self._kept.append(data)
            if not self._is_beginning:
                self.pauseProducing()
                self._on_moved()
        else:
            self._send(lambda: connection.send_data(data))

    def body_ended(self, trailers: Fields) -> None:
        if self.state is not BodyState.COMING:
            return
        self.state = BodyState.WHOLE
        self._trailers = trailers
        connection = self._connection
        if connection is not None:
            self._send(lambda: self._send_end(connection))
        elif not self._is_beginning:
            self._on_moved()

    def body_broken(self, error: PorttunnelError) -> None:
        if self.state is BodyState.COMING:
            self._fail(BodyState.BROKEN)

    # What the connection calls

    def pauseProducing(self) -> None:
        if not self.paused and self.state is BodyState.COMING:
            self.paused = True
            self._body.pause()

    def resumeProducing(self) -> None:
        if self.paused and self.state is BodyState.COMING:
            self.paused = False
            self._body.resume()

    def stopProducing(self) -> None:
        """The connection is gone; its reader is told so."""

    def _send(self, send: Callable[[], None]) -> None:
        try:
            send()
        except LocalProtocolError:
            self._body.cancel()
            self._fail(BodyState.WRONG)
        else:
            self._on_moved()

    def _send_end(self, connection: UpstreamConnection) -> None:
        self._detach()
        passed = self._pass_trailers
        connection.send_end(() if passed is None else passed(self._trailers))

    def _fail(self, state: BodyState) -> None:
        self.state = state
        self._kept.clear()
        self._detach()
        self._on_failed()

    def _detach(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and self._is_producer:
            self._is_producer = False
            connection.transport.unregisterProducer()
