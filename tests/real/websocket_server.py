"""``python -m tests.real.websocket_server``: sends back what WebSocket clients send.

It prints ``port URL``, a port of its own, ``site URL``, a page of a web site, and ``messages
URL``, where whole messages come back as such; then, of each connection, ``lost`` and why.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.internet.task import react
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Site

from porttunnel.net.carriers.interface import Carrier
from porttunnel.net.carriers.protocol import CarrierProtocol
from porttunnel.net.driver import MachineDriver
from porttunnel.net.native_mask import unmask
from porttunnel.net.websocket import WebSocketFactory, WebSocketResource
from porttunnel.websocket.connection import Limits, ServerConnection
from porttunnel.websocket.event import BytesReceived, CloseReceived, ConnectionFailed, TextReceived
from porttunnel.websocket.frame_limit import FrameLimits
from porttunnel.websocket.handshake import Accepted, Request, RequestReader, Terms, negotiate

TERMS = Terms(subprotocols=("echo",), origins=frozenset({"https://example.org"}))
LIMITS = Limits(FrameLimits(1 << 22, 1 << 22), ping_seconds=1.0, pong_seconds=10.0)


def say(*words: object) -> None:
    print(*words, flush=True)


class Echo:
    """Sends back a stream of bytes, and reads no more than it can send."""

    def __init__(self) -> None:
        self._carrier: Carrier
        self._kept = b""

    def carrier_made(self, carrier: Carrier) -> None:
        self._carrier = carrier

    def carrier_received(self, data: memoryview) -> None:
        self._kept += data
        self.carrier_writable()

    def reading_done(self) -> None:
        pass

    def carrier_writable(self) -> None:
        taken = self._carrier.send([memoryview(self._kept)])
        self._kept = self._kept[taken:]
        if self._kept:
            self._carrier.pause_receiving()
        else:
            self._carrier.resume_receiving()

    def carrier_ended(self) -> None:
        pass

    def carrier_lost(self, reason: Failure) -> None:
        say("lost", reason.type.__name__)


class MessageEcho:
    """Sends back whole messages: the core's other way, with the driver of every core."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._request = RequestReader()
        self._carrier: Carrier
        self._connection: ServerConnection
        self._driver: MachineDriver | None = None

    def carrier_made(self, carrier: Carrier) -> None:
        self._carrier = carrier

    def carrier_received(self, data: memoryview) -> None:
        if self._driver is not None:
            self._driver.carrier_received(data)
            return
        request = self._request.read(data)
        if request is None:
            return
        answer = negotiate(request, TERMS) if isinstance(request, Request) else request
        if not isinstance(answer, Accepted):
            self._carrier.send([memoryview(answer.answer())])
            self._carrier.end()
            return
        self._connection = ServerConnection(
            self._reactor.seconds(), answer=answer.answer(), limits=LIMITS, unmask=unmask
        )
        self._driver = MachineDriver(self._reactor, self._connection, self._report)
        self._driver.carrier_made(self._carrier)
        self._driver.carrier_received(memoryview(self._request.rest))

    def _report(self) -> None:
        driver: Any = self._driver
        for event in self._connection.events():
            match event:
                case TextReceived(text):
                    self._connection.send_message(text)
                case BytesReceived(payload):
                    self._connection.send_message(payload)
                case CloseReceived() | ConnectionFailed():
                    driver.close()

    def reading_done(self) -> None:
        if self._driver is not None:
            self._driver.reading_done()

    def carrier_writable(self) -> None:
        if self._driver is not None:
            self._driver.carrier_writable()

    def carrier_ended(self) -> None:
        if self._driver is not None:
            self._driver.carrier_ended()
        else:
            self._carrier.close()

    def carrier_lost(self, reason: Failure) -> None:
        if self._driver is not None:
            self._driver.carrier_lost(reason)
        say("lost", reason.type.__name__)


class MessageFactory(Factory):
    noisy = False

    def buildProtocol(self, addr: object) -> CarrierProtocol:
        return CarrierProtocol(global_reactor, MessageEcho(global_reactor))


async def serve(reactor: Any) -> None:
    def build(accepted: Accepted, peer: object) -> Echo:
        return Echo()

    root = Resource()
    root.putChild(b"echo", WebSocketResource(reactor, build, terms=TERMS, limits=LIMITS))
    factories = {
        "port": WebSocketFactory(reactor, build, terms=TERMS, limits=LIMITS),
        "site": Site(root),
        "messages": MessageFactory(),
    }
    for name, factory in factories.items():
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
        say(name, f"ws://127.0.0.1:{port.getHost().port}/echo")


if __name__ == "__main__":
    from twisted.internet.defer import Deferred

    def main(reactor: Any) -> Any:
        serving = Deferred.fromCoroutine(serve(reactor))
        return serving.addCallback(lambda _: Deferred())

    react(main)
