"""WebSocket servers on Twisted: on a port of their own, or beside the pages of a web site.

Both give their receivers the same :class:`~porttunnel.net.carriers.websocket.WebSocketCarrier`.
See docs/websocket.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.protocol import Factory
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from porttunnel.net.carriers.protocol import CarrierProtocol
from porttunnel.net.carriers.stock import StockCarrier
from porttunnel.net.carriers.websocket import BuildReceiver, Serving, WebSocketCarrier
from porttunnel.net.deadline import Deadlines
from porttunnel.net.port_sharing import SharedPortProtocol
from porttunnel.websocket.connection import Limits
from porttunnel.websocket.handshake import (
    UPGRADE_REQUIRED,
    Accepted,
    Refused,
    Request,
    Terms,
    negotiate,
)

__all__ = ["WebSocketFactory", "WebSocketResource"]


class WebSocketFactory(Factory):
    """Serves WebSocket on a port of its own; for any stream endpoint, with TLS or without.

    :param reactor: time, and what watches the sockets.
    :param build_receiver: see :data:`BuildReceiver`.
    :param terms: who is let in; without them everybody at any path.
    :param limits: what a client may do, and when it is pinged.
    """

    noisy = False

    def __init__(
        self,
        reactor: Any,
        build_receiver: BuildReceiver,
        *,
        terms: Terms | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._reactor = reactor
        self._serving = _serving(reactor, build_receiver, terms, limits)

    def buildProtocol(self, addr: IAddress | None) -> CarrierProtocol:
        return CarrierProtocol(self._reactor, WebSocketCarrier(self._serving))


class WebSocketResource(Resource):
    """Serves WebSocket at one path of a web site; it has no children.

    It takes the connection over from the site, which then knows nothing of it any more; a
    :class:`~porttunnel.net.port_sharing.SharedPortProtocol` in between goes on counting it.

    :param reactor: time, and what watches the sockets.
    :param build_receiver: see :data:`BuildReceiver`.
    :param terms: who is let in; a path among them is the whole one, as the client sends it.
    :param limits: what a client may do, and when it is pinged.
    """

    isLeaf = True

    def __init__(
        self,
        reactor: Any,
        build_receiver: BuildReceiver,
        *,
        terms: Terms | None = None,
        limits: Limits | None = None,
    ) -> None:
        Resource.__init__(self)
        self._reactor = reactor
        self._serving = _serving(reactor, build_receiver, terms, limits)

    def render(self, request: Any) -> Any:
        answer: Accepted | Refused = _NOT_HERE
        if request.postpath in ([], [b""]):
            answer = negotiate(_request_of(request), self._serving.terms)
        if isinstance(answer, Refused):
            return _refuse(request, answer)
        peer = request.channel.transport.getPeer()
        receiver = self._serving.build_receiver(answer, peer)
        if isinstance(receiver, Refused):
            return _refuse(request, receiver)
        carrier = WebSocketCarrier(self._serving, (answer, receiver))
        _take_over(request.channel, self._reactor, carrier)
        return NOT_DONE_YET


class _StockProtocol(CarrierProtocol):
    """Leaves the socket to the transport, which still has something to send."""

    def connectionMade(self) -> None:
        self._receiver.carrier_made(StockCarrier(self.transport, self._receiver))


_NOT_HERE = Refused(404, "Not Found", "There is nothing at this path. Check the address.")


def _serving(
    reactor: Any, build_receiver: BuildReceiver, terms: Terms | None, limits: Limits | None
) -> Serving:
    return Serving(
        reactor.seconds, Deadlines(reactor), build_receiver, terms or Terms(), limits or Limits()
    )


def _request_of(request: Any) -> Request:
    """What twisted.web has read, as our handshake wants it."""
    fields = {
        name.decode("latin-1").lower(): tuple(value.decode("latin-1") for value in values)
        for name, values in request.requestHeaders.getAllRawHeaders()
    }
    # A stream of HTTP/2 is not a connection, and has no Upgrade.
    minor_version = 1 if request.clientproto == b"HTTP/1.1" else 0
    return Request(
        request.method.decode("latin-1"), request.uri.decode("latin-1"), minor_version, fields
    )


def _refuse(request: Any, refused: Refused) -> bytes:
    body = f"{refused.text}\n".encode()
    request.setResponseCode(refused.status, refused.phrase.encode("ascii"))
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    http_2 = request.clientproto == b"HTTP/2"
    for name, value in refused.fields:
        # HTTP/2 has no fields that are about a connection.
        if not (http_2 and name == "Upgrade"):
            request.setHeader(name.encode("ascii"), value.encode("ascii"))
    if refused.status == UPGRADE_REQUIRED and not http_2:
        request.setHeader(b"connection", b"Upgrade")
    if not refused.head_only:
        return body
    request.setHeader(b"content-length", b"%d" % len(body))
    return b""


def _has_unsent(transport: Any) -> bool:
    """Whether an answer to an earlier request may not have gone out yet. A transport that doesn't
    say so keeps its socket.
    """
    if isinstance(transport, TLSMemoryBIOProtocol):
        # It collects what is written in a turn of the reactor before it encrypts it.
        aggregator = getattr(transport, "_aggregator", None)
        if getattr(aggregator, "_scheduled", True) is not None:
            return True
    # Inside TLS these are the socket's below it.
    return bool(
        getattr(transport, "_tempDataLen", 1) or len(transport.dataBuffer) > transport.offset
    )


def _take_over(channel: Any, reactor: Any, carrier: WebSocketCarrier) -> None:
    """From now on the connection is the carrier's."""
    transport: Any = channel.transport
    protocol: Any = (_StockProtocol if _has_unsent(transport) else CarrierProtocol)(
        reactor, carrier
    )
    channel.setTimeout(None)
    transport.unregisterProducer()
    if IPushProducer.providedBy(transport):
        # The site pauses it while it works on a request.
        transport.resumeProducing()
    # What came together with the request is given out once this returns.
    channel.rawDataReceived = protocol.dataReceived
    wrapped = isinstance(transport, ProtocolWrapper)
    found = transport.wrappedProtocol if wrapped else transport.protocol
    if isinstance(found, SharedPortProtocol):
        found.hand_over(protocol, b"")
        return
    if wrapped:
        transport.wrappedProtocol = protocol
    else:
        transport.protocol = protocol
    protocol.makeConnection(transport)
