"""porttunnel.net.carriers.websocket_client: autobahn's side of a connection to our own server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.error import ConnectionLost as TwistedConnectionLost
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from porttunnel.errors import NotReachable
from porttunnel.net.carriers.interface import Carrier
from porttunnel.net.carriers.websocket_client import (
    PING_SECONDS,
    PONG_SECONDS,
    WebSocketConnector,
)
from porttunnel.net.websocket import WebSocketFactory
from porttunnel.websocket.handshake import Accepted, Terms


class Receiver:
    """One end: keeps what it is told, and sends as much as is taken."""

    def __init__(self) -> None:
        self.carrier: Carrier
        self.received = bytearray()
        self.reads = 0
        self.wanted = 0
        self.enough: Deferred[None] = Deferred()
        self.lost: Deferred[Failure] = Deferred()
        self.pending = memoryview(b"")

    def carrier_made(self, carrier: Carrier) -> None:
        self.carrier = carrier

    def carrier_received(self, data: memoryview) -> None:
        self.reads += 1
        self.received += data
        if self.wanted and len(self.received) >= self.wanted:
            self.wanted = 0
            self.enough.callback(None)

    def reading_done(self) -> None:
        pass

    def carrier_writable(self) -> None:
        self.pending = self.pending[self.carrier.send([self.pending]) :]

    def carrier_ended(self) -> None:
        self.carrier.close()

    def carrier_lost(self, reason: Failure) -> None:
        self.lost.callback(reason.value)

    def send(self, data: bytes) -> None:
        self.pending = memoryview(data)
        self.carrier_writable()

    async def bytes_received(self, count: int) -> bytes:
        if len(self.received) < count:
            self.wanted, self.enough = count, Deferred()
            await self.enough
        return bytes(self.received)


class Swallower(Protocol):
    """Takes everything and says what it is told to."""

    def __init__(self, answer: bytes, seen: Deferred[bytes]) -> None:
        self.answer = answer
        self.seen = seen

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(self.answer)
        if not self.seen.called:
            self.seen.callback(data)


class WebSocketConnectorTests(TestCase):
    """On real sockets."""

    timeout = 60.0
    clock: Clock | None = None  # the client's, if the test has one for it

    async def listen(self, factory: Any) -> int:
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    def connector(
        self, port: int, path: str = "/", headers: dict[str, str] | None = None
    ) -> WebSocketConnector:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        connector = WebSocketConnector(
            reactor, endpoint, f"ws://127.0.0.1:{port}{path}", "mqtt", headers
        )
        if self.clock is not None:
            connector._factory._batched_timer = SimpleNamespace(call_later=self.clock.callLater)
        return connector

    async def pair(self, **headers: str) -> tuple[Receiver, Receiver]:
        """A client and the server's side of its connection."""
        self.accepted: list[Accepted] = []
        server, client = Receiver(), Receiver()

        def build(accepted: Accepted, peer: Any) -> Receiver:
            self.accepted.append(accepted)
            return server

        factory = WebSocketFactory(reactor, build, terms=Terms(subprotocols=("mqtt",)))
        port = await self.listen(factory)
        await self.connector(port, headers=headers).connect(client)
        return client, server

    async def part(self, client: Receiver, server: Receiver) -> None:
        client.carrier.close()
        await client.lost
        await server.lost

    async def test_carries_bytes_both_ways(self) -> None:
        client, server = await self.pair(Authorization="Bearer x")
        self.assertEqual(self.accepted[0].subprotocol, "mqtt")
        self.assertEqual(self.accepted[0].request.values("authorization"), ("Bearer x",))
        self.assertEqual(client.carrier.peer.host, "127.0.0.1")
        client.carrier.limit_unsent(1_000)
        client.send(b"question")
        self.assertEqual(await server.bytes_received(8), b"question")
        server.send(b"answer")
        self.assertEqual(await client.bytes_received(6), b"answer")
        client.carrier.end()
        self.assertIsInstance(await server.lost, ConnectionDone)
        self.assertIsInstance(await client.lost, ConnectionDone)
        client.carrier.close()
        self.assertEqual(client.carrier.send([memoryview(b"late")]), 4)

    async def test_a_small_message_waits_for_no_acknowledgement(self) -> None:
        client, server = await self.pair()
        carrier: Any = client.carrier
        self.assertTrue(carrier._transport._protocol.transport.getTcpNoDelay())
        await self.part(client, server)

    async def test_waits_for_a_peer_that_does_not_read(self) -> None:
        client, server = await self.pair()
        server.carrier.pause_receiving()
        data = bytes(8 << 20)
        client.send(data)
        self.assertGreater(len(client.pending), 0)
        server.carrier.resume_receiving()
        self.assertEqual(len(await server.bytes_received(len(data))), len(data))
        self.assertEqual(len(client.pending), 0)
        await self.part(client, server)

    async def test_can_be_told_not_to_read(self) -> None:
        client, server = await self.pair()
        client.carrier.pause_receiving()
        server.send(bytes(8 << 20))
        self.assertEqual(client.reads, 0)
        self.assertGreater(len(server.pending), 0)
        client.carrier.resume_receiving()
        await client.bytes_received(8 << 20)
        await self.part(client, server)

    async def test_a_server_that_is_not_read_is_not_silent(self) -> None:
        self.clock = clock = Clock()
        client, server = await self.pair()
        client.carrier.pause_receiving()
        clock.pump([PING_SECONDS, *([PONG_SECONDS] * 10)])
        # It gets all the time again, though a ping waits for its pong.
        client.carrier.resume_receiving()
        clock.pump([PING_SECONDS, PONG_SECONDS - 1])
        server.send(b"here")
        self.assertEqual(await client.bytes_received(4), b"here")
        await self.part(client, server)
        self.assertEqual(clock.getDelayedCalls(), [])

    async def test_who_is_not_read_for_a_moment_is_pinged_as_before(self) -> None:
        self.clock = clock = Clock()
        client, server = await self.pair()
        client.carrier.pause_receiving()
        client.carrier.resume_receiving()
        clock.pump([PING_SECONDS, PONG_SECONDS])
        self.assertIsInstance(await client.lost, TwistedConnectionLost)
        await server.lost
        self.assertEqual(clock.getDelayedCalls(), [])

    async def test_the_server_may_end_it(self) -> None:
        client, server = await self.pair()
        server.carrier.close()
        self.assertIsInstance(await client.lost, ConnectionDone)
        await server.lost

    async def test_a_cut_is_no_orderly_end(self) -> None:
        client, server = await self.pair()
        server.carrier.abort()
        self.assertIsInstance(await client.lost, TwistedConnectionLost)
        await server.lost

    async def test_aborts(self) -> None:
        client, server = await self.pair()
        client.carrier.abort()
        await client.lost
        await server.lost

    async def test_a_server_that_does_not_speak_it_is_not_reachable(self) -> None:
        terms = Terms(subprotocols=("mqtt",), path="/mqtt")
        port = await self.listen(WebSocketFactory(reactor, lambda *_: Receiver(), terms=terms))
        with self.assertRaisesRegex(NotReachable, "404"):
            await self.connector(port, "/elsewhere").connect(Receiver())

    async def test_a_server_that_agrees_on_no_protocol_is_not_reachable(self) -> None:
        receiver = Receiver()
        port = await self.listen(WebSocketFactory(reactor, lambda *_: receiver))
        with self.assertRaisesRegex(NotReachable, "does not say that it speaks"):
            await self.connector(port).connect(Receiver())
        await receiver.lost

    @pytest.mark.mqtt5("6.0.0-1")
    @pytest.mark.mqtt3("6.0.0-1")
    async def test_text_ends_the_connection(self) -> None:
        client, server = await self.pair()
        # Beneath our carrier, which sends nothing but binary frames.
        server.carrier._carrier.send([memoryview(b"\x81\x02hi\x82\x02no")])
        self.assertIsInstance(await client.lost, TwistedConnectionLost)
        self.assertEqual(bytes(client.received), b"")
        await server.lost

    async def test_who_gives_up_while_the_server_is_silent_leaves_nothing_behind(self) -> None:
        seen: Deferred[bytes] = Deferred()
        gone: Deferred[None] = Deferred()

        class Silent(Swallower):
            def connectionLost(self, reason: Failure = connectionDone) -> None:
                gone.callback(None)

        factory = Factory()
        factory.protocol = lambda: Silent(b"", seen)  # type: ignore[assignment]  # a callable
        port = await self.listen(factory)
        connecting = Deferred.fromCoroutine(self.connector(port).connect(Receiver()))
        self.assertIn(b"Sec-WebSocket-Protocol: mqtt", await seen)
        connecting.cancel()
        with self.assertRaises(CancelledError):
            await connecting
        await gone
