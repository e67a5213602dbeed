"""porttunnel.net.instance.upstream on real sockets: TCP, TLS, UNIX; pace, cuts, much data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import defer
from twisted.internet import reactor as real_reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from porttunnel.gateway.http_head import Fields, RequestHead
from porttunnel.net.certificate import load_or_create_identity
from porttunnel.net.instance.upstream import Upstream
from porttunnel.net.instance.upstream_setting import UpstreamSettings
from porttunnel.net.tls import server_context
from tests.net.instance.upstream_line import AskedInTest, BodyInTest, WriterInTest

reactor: Any = real_reactor

LISTEN = "tcp:0:interface=127.0.0.1"
PIECE = bytes(range(256)) * 256
PIECES = 512  # 32 MiB, much more than kernels keep for a connection


class Waiting:
    """Lets a test wait for what it expects."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], bool], defer.Deferred[None]]] = []

    async def until(self, condition: Callable[[], bool]) -> None:
        if not condition():
            waiting: defer.Deferred[None] = defer.Deferred()
            self._waiting.append((condition, waiting))
            await waiting

    def note(self) -> None:
        for entry in [entry for entry in self._waiting if entry[0]()]:
            self._waiting.remove(entry)
            entry[1].callback(None)


class HashingWriter(WriterInTest):
    """Keeps only the length and hash of what came."""

    def __init__(self, waiting: Waiting) -> None:
        super().__init__()
        self.hash = hashlib.sha256()
        self.length = 0
        self._waiting = waiting

    def write(self, data: bytes) -> None:
        self.hash.update(data)
        self.length += len(data)
        self._waiting.note()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        super().registerProducer(producer, streaming)
        self._waiting.note()

    def end(self, trailers: Fields = ()) -> None:
        super().end(trailers)
        self._waiting.note()

    def abort(self) -> None:
        super().abort()
        self._waiting.note()


class PausedBody(BodyInTest):
    """Tells of its pauses."""

    def __init__(self, waiting: Waiting) -> None:
        super().__init__()
        self._waiting_for = waiting

    def pause(self) -> None:
        super().pause()
        self._waiting_for.note()

    def resume(self) -> None:
        super().resume()
        self._waiting_for.note()


class Origin(Protocol):
    """A connection at the web system; sends what it is told, as fast as it may."""

    transport: Any

    def __init__(self, site: Site) -> None:
        self.site = site
        self.paused = False
        self.lost = False
        self.received = b""
        self.length = 0
        self.hash = hashlib.sha256()
        self._left = 0

    def connectionMade(self) -> None:
        self.site.connections.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.received = (self.received + data)[:4_096]
        self.length += len(data)
        self.hash.update(data)
        self.site.heard(self)
        self.site.waiting.note()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True
        self.site.waiting.note()

    def send_pieces(self, count: int) -> None:
        self._left = count
        self.transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self.paused = False
        while self._left and not self.paused:
            self._left -= 1
            self.transport.write(PIECE)
        if not self._left:
            self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        self.paused = True
        self.site.waiting.note()

    def stopProducing(self) -> None:
        self._left = 0


class Site(Factory):
    """The web system; ``heard`` is called with a connection at which something came."""

    noisy = False

    def __init__(self, waiting: Waiting) -> None:
        self.waiting = waiting
        self.connections: list[Origin] = []
        self.heard: Callable[[Origin], None] = lambda _: None

    def buildProtocol(self, addr: Any) -> Origin:
        return Origin(self)


class LoopbackTests(TestCase):
    timeout = 60.0  # a deadline, not a measure

    def setUp(self) -> None:
        self.waiting = Waiting()
        self.site = Site(self.waiting)
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    async def listen(self, endpoint: str = LISTEN, factory: Any = None) -> Any:
        port = await serverFromString(reactor, endpoint).listen(factory or self.site)
        self.addCleanup(lambda: defer.maybeDeferred(port.stopListening))
        return port

    def open_upstream(self, origin: str, **settings: Any) -> Upstream:
        upstream = Upstream(reactor, UpstreamSettings(origin=origin, **settings))

        async def stop() -> None:
            upstream.stop()
            for connection in self.site.connections:
                if not connection.lost:
                    connection.transport.abortConnection()
            await self.waiting.until(lambda: all(one.lost for one in self.site.connections))

        self.addCleanup(lambda: defer.Deferred.fromCoroutine(stop()))
        return upstream

    async def plain(self) -> Upstream:
        port = await self.listen()
        return self.open_upstream(f"http://127.0.0.1:{port.getHost().port}")

    def ask(
        self, upstream: Upstream, method: bytes = b"GET", *fields: tuple[bytes, bytes]
    ) -> AskedInTest:
        asked = AskedInTest(RequestHead(method, b"http", b"localhost", b"/", fields))
        asked.writer = HashingWriter(self.waiting)
        asked.body = PausedBody(self.waiting)
        upstream.open(asked)
        return asked

    async def ended(self, asked: AskedInTest) -> Any:
        await self.waiting.until(lambda: asked.writer.end_state is not None)
        return asked.status, asked.writer.end_state

    def answer(self, said: bytes, *, close: bool = False) -> None:
        """What the web system says once a request's head is whole."""

        def heard(connection: Origin) -> None:
            if connection.received.endswith(b"\r\n\r\n"):
                connection.received = b""
                connection.transport.write(said)
                if close:
                    connection.transport.loseConnection()

        self.site.heard = heard

    async def test_a_download_goes_at_the_pace_of_the_device(self) -> None:
        upstream = await self.plain()
        length = len(PIECE) * PIECES
        self.answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
        asked = self.ask(upstream)
        asked.body.end()
        await self.waiting.until(lambda: asked.writer.producer is not None)
        asked.writer.producer.pauseProducing()
        origin = self.site.connections[0]
        origin.send_pieces(PIECES)
        await self.waiting.until(lambda: origin.paused)
        before = asked.writer.length
        self.assertLess(before, length)
        asked.writer.producer.resumeProducing()
        self.assertEqual(await self.ended(asked), (200, ()))
        self.assertEqual(asked.writer.length, length)
        self.assertEqual(asked.writer.hash.digest(), hashlib.sha256(PIECE * PIECES).digest())

    async def test_an_upload_goes_at_the_pace_of_the_web_system(self) -> None:
        upstream = await self.plain()
        length = len(PIECE) * PIECES
        heads: list[bytes] = []

        def heard(connection: Origin) -> None:
            if not heads:
                heads.append(connection.received)
                connection.length = 0
                connection.hash = hashlib.sha256()
                connection.transport.pauseProducing()
            elif connection.length == length:
                connection.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")

        self.site.heard = heard
        asked = self.ask(upstream, b"POST", (b"content-length", b"%d" % length))
        await self.waiting.until(lambda: bool(heads))
        origin = self.site.connections[0]
        sent = 0
        while not asked.body.paused:
            asked.body.send(PIECE)
            sent += 1
        self.assertLess(sent, PIECES)
        origin.transport.resumeProducing()
        while sent < PIECES:
            await self.waiting.until(lambda: not asked.body.paused)
            asked.body.send(PIECE)
            sent += 1
        asked.body.end()
        self.assertEqual(await self.ended(asked), (204, ()))
        self.assertEqual(origin.hash.digest(), hashlib.sha256(PIECE * PIECES).digest())

    async def test_connections_are_used_again(self) -> None:
        upstream = await self.plain()
        self.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        for _ in range(5):
            asked = self.ask(upstream)
            asked.body.end()
            self.assertEqual(await self.ended(asked), (200, ()))
        self.assertEqual(len(self.site.connections), 1)

    async def test_cancelling_reaches_the_web_system(self) -> None:
        upstream = await self.plain()
        self.answer(b"HTTP/1.1 200 OK\r\n\r\nab")
        asked = self.ask(upstream)
        asked.body.end()
        await self.waiting.until(lambda: asked.status is not None)
        asked.on_cancelled()
        await self.waiting.until(lambda: self.site.connections[0].lost)
        self.assertIsNone(asked.writer.end_state)

    async def test_a_cut_is_no_end(self) -> None:
        upstream = await self.plain()
        self.answer(b"HTTP/1.1 200 OK\r\n\r\nab")
        asked = self.ask(upstream)
        asked.body.end()
        writer: Any = asked.writer
        await self.waiting.until(lambda: writer.length == 2)
        self.site.connections[0].transport.abortConnection()
        self.assertEqual(await self.ended(asked), (200, "aborted"))

    async def test_nobody_listens(self) -> None:
        port = await self.listen()
        number = port.getHost().port
        await port.stopListening()
        asked = self.ask(self.open_upstream(f"http://127.0.0.1:{number}"))
        asked.body.end()
        self.assertEqual(await self.ended(asked), (502, ()))

    async def test_a_unix_socket(self) -> None:
        path = self.folder / "web.sock"
        await self.listen(f"unix:{path}")
        self.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        asked = self.ask(self.open_upstream(f"unix:{path}"))
        asked.body.end()
        self.assertEqual(await self.ended(asked), (200, ()))

    async def test_tls_with_a_pin(self) -> None:
        identity = load_or_create_identity(self.folder)
        factory = TLSMemoryBIOFactory(server_context(identity), False, self.site)
        port = (await self.listen(factory=factory)).getHost().port
        self.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        upstream = self.open_upstream(f"https://127.0.0.1:{port}#{identity.pin}")
        for _ in range(2):
            asked = self.ask(upstream)
            asked.body.end()
            self.assertEqual(await self.ended(asked), (200, ()))
        self.assertEqual(len(self.site.connections), 1)
        other = "sha256-" + "A" * 43
        for origin in (f"https://127.0.0.1:{port}#{other}", f"https://127.0.0.1:{port}"):
            asked = self.ask(self.open_upstream(origin))
            asked.body.end()
            self.assertEqual(await self.ended(asked), (502, ()))
        self.assertEqual(sum(one.length > 0 for one in self.site.connections), 1)

    async def test_in_tls_the_end_of_a_connection_tells_whether_it_was_cut(self) -> None:
        identity = load_or_create_identity(self.folder)
        factory = TLSMemoryBIOFactory(server_context(identity), False, self.site)
        port = (await self.listen(factory=factory)).getHost().port
        upstream = self.open_upstream(f"https://127.0.0.1:{port}#{identity.pin}")
        self.answer(b"HTTP/1.1 200 OK\r\n\r\nab", close=True)
        asked = self.ask(upstream)
        asked.body.end()
        self.assertEqual(await self.ended(asked), (200, ()))
        self.answer(b"HTTP/1.1 200 OK\r\n\r\nab")
        asked = self.ask(upstream)
        asked.body.end()
        writer: Any = asked.writer
        await self.waiting.until(lambda: writer.length == 2)
        # The connection below ends in order, and TLS said no goodbye: anybody could have done it.
        self.site.connections[-1].transport.transport.loseConnection()
        self.assertEqual(await self.ended(asked), (200, "aborted"))

    async def test_a_websocket_ends_in_one_direction_at_a_time(self) -> None:
        upstream = await self.plain()
        await self.say_goodbye(upstream)

    async def test_a_websocket_in_tls(self) -> None:
        identity = load_or_create_identity(self.folder)
        factory = TLSMemoryBIOFactory(server_context(identity), False, self.site)
        port = (await self.listen(factory=factory)).getHost().port
        await self.say_goodbye(self.open_upstream(f"https://127.0.0.1:{port}#{identity.pin}"))

    async def say_goodbye(self, upstream: Upstream) -> None:
        self.site.heard = self.agree
        asked = self.ask(upstream, b"CONNECT", (b":protocol", b"websocket"))
        writer: Any = asked.writer
        await self.waiting.until(lambda: writer.length == 2)
        asked.body.send(b"bye")
        asked.body.end()
        self.assertEqual(await self.ended(asked), (200, ()))
        self.assertEqual(writer.length, 6)

    def agree(self, connection: Origin) -> None:
        """Become a WebSocket, and answer each end with an end."""
        from porttunnel.websocket.handshake import accept_value

        if connection.received.endswith(b"\r\n\r\n"):
            key = connection.received.partition(b"sec-websocket-key: ")[2].partition(b"\r\n")[0]
            connection.received = b""
            accept = accept_value(key.decode()).encode()
            connection.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                b"Upgrade: websocket\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\nhi"
            )
        elif connection.received.endswith(b"bye"):
            connection.transport.write(b"byes")
            connection.transport.loseConnection()
