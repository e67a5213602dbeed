"""A carrier made of WebSocket frames, the client's side, by autobahn.

The server's side is :mod:`porttunnel.net.carriers.websocket`, of our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IPushProducer,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.python.failure import Failure

from porttunnel.errors import NotReachable
from porttunnel.net.carriers.connector import connect_protocol
from porttunnel.net.carriers.interface import Receiver
from porttunnel.net.carriers.stock import StockCarrier

__all__ = ["WebSocketConnector"]

OPENING_SECONDS = 15.0  # for the server's answer, over a proxy perhaps
CLOSING_SECONDS = 5.0  # for the server's Close frame after ours, and for it to hang up
PING_SECONDS = 30.0  # proxies and NATs forget a connection after a minute or more
PONG_SECONDS = 20.0  # a mobile network may take ten to wake up
PING_BYTES = 12  # autobahn's: a number to know the answer by

_PROTOCOL_ERROR = 1002
_UNSUPPORTED_DATA = 1003


class WebSocketConnector:
    """See :class:`porttunnel.net.carriers.connector.Connector`.

    :param reactor: the reactor of the endpoint.
    :param endpoint: leads to the server, with TLS if the URL begins with ``wss:``.
    :param url: ``ws://host[:port]/path`` or ``wss://...``.
    :param subprotocol: which both sides must speak.
    :param headers: more fields of the request.
    """

    def __init__(
        self,
        reactor: Any,
        endpoint: IStreamClientEndpoint,
        url: str,
        subprotocol: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._factory: Any = WebSocketClientFactory(
            url, protocols=[subprotocol], headers=dict(headers or {}), reactor=reactor
        )
        self._factory.noisy = False
        self._factory.setProtocolOptions(
            # Nothing is gathered: what comes of a frame is handed on, whatever its size.
            maxFramePayloadSize=0,
            maxMessagePayloadSize=0,
            openHandshakeTimeout=OPENING_SECONDS,
            closeHandshakeTimeout=CLOSING_SECONDS,
            serverConnectionDropTimeout=CLOSING_SECONDS,
            failByDrop=False,
            perMessageCompressionOffers=[],
            autoPingInterval=PING_SECONDS,
            autoPingTimeout=PONG_SECONDS,
            autoPingSize=PING_BYTES,
        )

    async def connect(self, receiver: Receiver) -> None:
        """See :class:`~porttunnel.net.carriers.connector.Connector`."""
        protocol = _WebSocketProtocol(receiver)
        protocol.factory = self._factory
        await connect_protocol(protocol, self._endpoint)
        try:
            await protocol.opened
        except CancelledError:
            protocol.transport.abortConnection()
            raise


class _FrameTransport:
    """What :class:`StockCarrier` wants of a transport, for the payload of frames."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol

    def write(self, data: bytes) -> None:
        if self._protocol.state == WebSocketClientProtocol.STATE_OPEN:
            self._protocol.sendMessage(data, isBinary=True)

    def getPeer(self) -> IAddress:
        peer: IAddress = self._protocol.transport.getPeer()
        return peer

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        self._protocol.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self._protocol.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        self._protocol.paused = True
        self._protocol.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self._protocol.paused = False
        if self._protocol.autoPingTimeoutCall is not None:
            # The pong may have come and not been read: the server gets the whole time again.
            self._protocol._cancelAutoPingTimeoutCall()
        self._protocol.transport.resumeProducing()

    def loseConnection(self) -> None:
        if self._protocol.state == WebSocketClientProtocol.STATE_OPEN:
            self._protocol.sendClose(WebSocketClientProtocol.CLOSE_STATUS_CODE_NORMAL)

    def abortConnection(self) -> None:
        self._protocol.transport.abortConnection()


class _WebSocketProtocol(WebSocketClientProtocol):
    """Hands on what comes, as it comes.

    :param receiver: gets it.
    :ivar opened: fires when the server has agreed, and fails if it hasn't.
    :ivar paused: nothing is read, no pong either: the server's silence means nothing.
    """

    transport: Any

    def __init__(self, receiver: Receiver) -> None:
        super().__init__()
        self.opened: Deferred[None] = Deferred()
        self._receiver = receiver
        self._agreed = False
        self._refused: str | None = None  # what we don't put up with
        self.paused = False

    def connectionMade(self) -> None:
        super().connectionMade()
        # Autobahn means to, and asks for its own setting before it has it. Without this a small
        # message waits for the acknowledgement of the one before: 40 ms or more.
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)

    # Autobahn's own two format a coloured line for its log each time, also if nobody keeps one:
    # with frames of 64 KiB that is a twentieth of all that a client does.

    def dataReceived(self, data: bytes) -> None:
        self._dataReceived(data)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        if sync or chopsize or self.send_queue:
            super().sendData(data, sync, chopsize)
        else:
            self.transport.write(data)

    def onAutoPingTimeout(self) -> None:
        if self.paused:
            # Pings go on: what is between us and the server, and itself, want to see us.
            self._sendAutoPing()
        else:
            super().onAutoPingTimeout()

    def onOpen(self) -> None:
        if self.websocket_protocol_in_use is None:
            self._refuse(_PROTOCOL_ERROR, "the server does not say that it speaks our protocol")
            return
        self._agreed = True
        self._receiver.carrier_made(StockCarrier(_FrameTransport(self), self._receiver))
        self.opened.callback(None)

    def onMessageBegin(self, isBinary: bool) -> None:
        if not isBinary:
            self._refuse(_UNSUPPORTED_DATA, "the server sent text")

    def onMessageFrameBegin(self, length: int) -> None:
        """The borders of frames mean nothing."""

    def onMessageFrameData(self, payload: bytes) -> None:
        if self._agreed and self._refused is None:
            self._receiver.carrier_received(memoryview(payload))
            self._receiver.reading_done()

    def onMessageFrameEnd(self) -> None:
        """See above."""

    def onMessageEnd(self) -> None:
        """See above."""

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        reason = self._refused or reason
        if self._agreed:
            clean = wasClean and self._refused is None
            self._receiver.carrier_lost(
                Failure(ConnectionDone() if clean else ConnectionLost(reason))
            )
        elif not self.opened.called:
            self.opened.errback(
                NotReachable(
                    f"The server does not speak WebSocket with us ({reason}). Check the address, "
                    "its path, and what may be needed to be let in."
                )
            )

    def _refuse(self, code: int, text: str) -> None:
        self._refused = text
        self._fail_connection(code, text)
