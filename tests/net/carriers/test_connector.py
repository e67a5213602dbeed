"""porttunnel.net.carriers.connector: a carrier each time it is asked, or why not."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from porttunnel.errors import NotReachable
from porttunnel.net.carriers.connector import StreamConnector
from porttunnel.net.carriers.tcp import TCPCarrier


class Receiver:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.carriers: list[Any] = []
        self.lost: Deferred[Any] = Deferred()
        self.got: Deferred[bytes] = Deferred()

    def carrier_made(self, carrier: Any) -> None:
        self.carriers.append(carrier)

    def carrier_received(self, data: memoryview) -> None:
        self.got.callback(bytes(data))

    def reading_done(self) -> None:
        pass

    def carrier_writable(self) -> None:
        pass

    def carrier_ended(self) -> None:
        self.carriers[0].close()

    def carrier_lost(self, reason: Any) -> None:
        self.lost.callback(None)


class Endpoint:
    """Answers as it is told."""

    def __init__(self, connecting: Deferred[Any]) -> None:
        self.connecting = connecting

    def connect(self, factory: Any) -> Deferred[Any]:
        return self.connecting


class LoopbackTests(TestCase):
    """On real sockets."""

    timeout = 60.0

    async def test_makes_a_carrier_of_a_connection(self) -> None:
        class Greeter(Protocol):
            def connectionMade(self) -> None:
                self.transport.write(b"hello")
                self.transport.loseConnection()

        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
            Factory.forProtocol(Greeter)
        )
        self.addCleanup(port.stopListening)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        receiver = Receiver()
        await StreamConnector(reactor, endpoint).connect(receiver)
        self.assertIsInstance(receiver.carriers[0], TCPCarrier)
        self.assertEqual(await receiver.got, b"hello")
        await receiver.lost

    async def test_says_why_there_is_none(self) -> None:
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Factory())
        number = port.getHost().port
        await port.stopListening()
        connector = StreamConnector(reactor, TCP4ClientEndpoint(reactor, "127.0.0.1", number))
        with self.assertRaisesRegex(NotReachable, "Check the address"):
            await connector.connect(Receiver())


class FailureTests(SynchronousTestCase):
    """Endpoints that fail in their own ways."""

    def connect(self, connecting: Deferred[Any]) -> Deferred[None]:
        connector = StreamConnector(None, Endpoint(connecting))
        return Deferred.fromCoroutine(connector.connect(Receiver()))

    def test_an_error_of_ours_is_passed_on(self) -> None:
        error = NotReachable("another certificate")
        failure = self.failureResultOf(self.connect(fail(error)), NotReachable)
        self.assertIs(failure.value, error)

    def test_who_gives_up_leaves_nothing_behind(self) -> None:
        cancelled: list[Any] = []
        connecting = self.connect(Deferred(cancelled.append))
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.assertEqual(len(cancelled), 1)
