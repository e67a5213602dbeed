"""porttunnel.net.websocket on loopback: a port of its own, and a site's page that is none."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import defer
from twisted.internet import reactor as real_reactor
from twisted.internet.endpoints import (
    SSL4ServerEndpoint,
    TCP4ClientEndpoint,
    serverFromString,
    wrapClientTLS,
)
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.test.requesthelper import DummyRequest

from porttunnel.errors import CutOff, WebSocketError
from porttunnel.net.carriers.stock import StockCarrier
from porttunnel.net.carriers.tcp import TCPCarrier
from porttunnel.net.carriers.tls import TLSCarrier
from porttunnel.net.certificate import load_or_create_identity
from porttunnel.net.counters import ServerCounters
from porttunnel.net.port_sharing import Branch, SharedPortFactory
from porttunnel.net.tls import pinned_context, server_context
from porttunnel.net.websocket import WebSocketFactory, WebSocketResource
from porttunnel.session.limit import ConnectionLimiter
from porttunnel.websocket.connection import Limits
from porttunnel.websocket.frame_limit import FrameLimits
from porttunnel.websocket.handshake import Accepted, Refused, Terms
from tests.websocket.client import Frame, frame, read_frames

reactor: Any = real_reactor

BINARY, CLOSE, PING = 2, 8, 9
NORMALLY = b"\x03\xe8"
MQTT = Terms(subprotocols=("mqtt",))
MEBIBYTE = 1 << 20


def request(path: str = "/mqtt", line: str = "GET {} HTTP/1.1", **changed: str | None) -> bytes:
    fields: dict[str, str | None] = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "mqtt",
    } | {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join((line.format(path), *lines, "", "")).encode()


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
        ready = [entry for entry in self._waiting if entry[0]()]
        for entry in ready:
            self._waiting.remove(entry)
            entry[1].callback(None)


class Client(Protocol, Waiting):
    """A client's connection, byte by byte."""

    def __init__(self) -> None:
        Waiting.__init__(self)
        self.data = b""
        self.lost: Failure | None = None

    def write(self, data: bytes) -> None:
        transport: Any = self.transport
        transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        self.note()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason
        self.note()

    async def head(self) -> bytes:
        """The next answer's head; what follows it stays."""
        await self.until(lambda: b"\r\n\r\n" in self.data or self.lost is not None)
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        return head

    async def frames(self, count: int) -> list[Frame]:
        """Exactly so many bytes' worth of frames."""
        await self.until(lambda: len(self.data) >= count or self.lost is not None)
        data, self.data = self.data, b""
        return read_frames(data)

    async def payload(self, count: int) -> bytes:
        """So many bytes of payload, in frames of any number."""
        payload = b""
        while len(payload) < count:
            known = len(self.data)
            for part in self._cut():
                payload += part
            if len(self.data) == known:
                await self.until(lambda known=known: len(self.data) > known)
        assert self.data == b""
        return payload

    def _cut(self) -> Iterator[bytes]:
        """The payloads of the frames that are whole; the rest stays."""
        while len(self.data) >= 10:
            size, used = self.data[1], 2
            if size >= 126:
                count = 2 if size == 126 else 8
                size, used = int.from_bytes(self.data[2 : 2 + count], "big"), 2 + count
            if len(self.data) < used + size:
                return
            part, self.data = self.data[used : used + size], self.data[used + size :]
            yield part

    async def end(self) -> None:
        await self.until(lambda: self.lost is not None)


class Echo(Waiting):
    """Sends back what it gets, as far as the line takes it, and reads no more until it has."""

    def __init__(self, accepted: Accepted, peer: Any) -> None:
        super().__init__()
        self.accepted = accepted
        self.peer = peer
        self.carrier: Any
        self.reason: Failure | None = None
        self.calls: list[str] = []
        self._kept = b""

    def carrier_made(self, carrier: Any) -> None:
        self.carrier = carrier
        self.calls.append("made")

    def carrier_received(self, data: memoryview) -> None:
        self._kept += data
        self._send()

    def reading_done(self) -> None:
        pass

    def carrier_writable(self) -> None:
        self._send()

    def carrier_ended(self) -> None:
        self.calls.append("ended")

    def carrier_lost(self, reason: Failure) -> None:
        self.calls.append("lost")
        self.reason = reason
        self.note()

    def _send(self) -> None:
        while self._kept:
            taken = self.carrier.send([memoryview(self._kept)])
            self._kept = self._kept[taken:]
            if not taken:
                self.carrier.pause_receiving()
                return
        self.carrier.resume_receiving()

    async def lost_by(self) -> Any:
        await self.until(lambda: self.reason is not None)
        assert self.reason is not None
        return self.reason.type


class Page(Resource):
    """Any other page."""

    isLeaf = True

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._body = body

    def render_GET(self, request: Any) -> bytes:
        return self._body


class WebSocketTestCase(TestCase):
    timeout = 60.0  # a deadline, not a measure
    carrier_kind: type[Any] = TCPCarrier
    terms = MQTT
    limits: Limits | None = None

    def setUp(self) -> None:
        self.echos: list[Echo] = []
        self.refusal: Refused | None = None
        self.port = 0

    def build(self, accepted: Accepted, peer: Any) -> Any:
        if self.refusal is not None:
            return self.refusal
        self.echos.append(Echo(accepted, peer))
        return self.echos[-1]

    async def listen(self, factory: IProtocolFactory) -> None:
        endpoint = serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        self.listening(await endpoint.listen(factory))

    def listening(self, port: Any) -> None:
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port

    async def connect(self) -> Client:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        client: Any = await endpoint.connect(Factory.forProtocol(Client))
        self.addCleanup(self.leave, client)
        return client

    async def leave(self, client: Client) -> None:
        """No connection is left after a test."""
        transport: Any = client.transport
        if client.lost is None:
            transport.abortConnection()
        await client.end()
        for echo in self.echos:
            await echo.lost_by()

    async def open(self) -> tuple[Client, Echo]:
        client = await self.connect()
        client.write(request())
        head = await client.head()
        self.assertTrue(head.startswith(b"HTTP/1.1 101 "), head)
        self.assertIn(b"\r\nSec-WebSocket-Protocol: mqtt", head)
        return client, self.echos[-1]

    async def beneath(self, echo: Echo) -> Any:
        return echo.carrier._carrier

    async def refused(self, sent: bytes, status: int, text: bytes) -> bytes:
        """The answer's head."""
        client = await self.connect()
        client.write(sent)
        head = await client.head()
        self.assertEqual(head.split(b" ")[1], b"%d" % status, head)
        await client.until(lambda: text in client.data)
        self.assertEqual(self.echos, [])
        return head


class ServingTests:
    """What holds on a port of its own and beside a site's pages."""

    async def test_bytes_come_back(self: Any) -> None:
        client, echo = await self.open()
        self.assertIsInstance(await self.beneath(echo), self.carrier_kind)
        self.assertEqual(echo.peer.host, "127.0.0.1")
        self.assertEqual(echo.carrier.peer, echo.peer)
        self.assertEqual(echo.accepted.subprotocol, "mqtt")
        client.write(frame(BINARY, b"hello") + frame(PING, b"p"))
        self.assertEqual(await client.frames(10), [Frame(0x82, b"hello"), Frame(0x8A, b"p")])

    async def test_much_comes_back(self: Any) -> None:
        client, _ = await self.open()
        sent = random.Random(4).randbytes(3 * MEBIBYTE)
        for at in range(0, len(sent), 65_000):
            client.write(frame(BINARY, sent[at : at + 65_000]))
        self.assertEqual(await client.payload(len(sent)), sent)

    async def test_frames_that_come_with_the_request(self: Any) -> None:
        client = await self.connect()
        client.write(request() + frame(BINARY, b"early"))
        await client.head()
        self.assertEqual(await client.frames(7), [Frame(0x82, b"early")])

    async def test_the_client_closes(self: Any) -> None:
        client, echo = await self.open()
        client.write(frame(CLOSE, NORMALLY))
        self.assertEqual(await client.frames(4), [Frame(0x88, NORMALLY)])
        await client.end()
        self.assertIs(await echo.lost_by(), ConnectionDone)
        self.assertEqual(echo.calls, ["made", "ended", "lost"])

    async def test_the_server_closes(self: Any) -> None:
        client, echo = await self.open()
        echo.carrier.close(1001, "restart")
        self.assertEqual(await client.frames(11), [Frame(0x88, b"\x03\xe9restart")])
        client.write(frame(CLOSE, b"\x03\xe9"))
        await client.end()
        self.assertIs(await echo.lost_by(), ConnectionDone)
        self.assertEqual(echo.calls, ["made", "lost"])

    async def test_the_client_breaks_the_protocol(self: Any) -> None:
        client, echo = await self.open()
        client.write(frame(1, b"text"))
        await client.until(lambda: len(client.data) > 4)
        self.assertEqual(client.data[2:4], b"\x03\xeb")
        transport = client.transport
        transport.loseConnection()
        self.assertIs(await echo.lost_by(), WebSocketError)

    async def test_the_client_is_gone(self: Any) -> None:
        client, echo = await self.open()
        client.transport.loseConnection()
        self.assertIs(await echo.lost_by(), CutOff)

    async def test_no_common_subprotocol(self: Any) -> None:
        await self.refused(request(Sec_WebSocket_Protocol="other"), 400, b": mqtt\n")

    async def test_not_over_http_1_0(self: Any) -> None:
        head = await self.refused(request(line="GET {} HTTP/1.0"), 426, b"WebSocket client")
        self.assertIn(b"upgrade: websocket", head.lower())

    async def test_a_browser_that_looks_at_it(self: Any) -> None:
        plain = request(Upgrade=None, Connection="keep-alive", Sec_WebSocket_Key=None)
        head = await self.refused(plain, 426, b"WebSocket client")
        self.assertIn(b"connection: upgrade", head.lower())

    async def test_another_path(self: Any) -> None:
        await self.refused(request("/mqtt/x"), 404, b"nothing at this path")

    async def test_another_method(self: Any) -> None:
        head = await self.refused(request(line="POST {} HTTP/1.1"), 405, b"GET")
        self.assertIn(b"\r\nAllow: GET", head)
        head = await self.refused(request(line="HEAD {} HTTP/1.1"), 405, b"")
        self.assertIn(b"content-length: 70", head.lower())

    async def test_the_program_has_a_say(self: Any) -> None:
        self.refusal = Refused(503, "Service Unavailable", "Too many are here. Try again later.")
        await self.refused(request(), 503, b"Try again later.\n")


class FactoryTests(ServingTests, WebSocketTestCase):
    """A port of its own."""

    async def setUp(self) -> None:
        super().setUp()
        terms = Terms(subprotocols=("mqtt",), path="/mqtt")
        await self.listen(WebSocketFactory(reactor, self.build, terms=terms))

    async def test_its_socket_sends_at_once(self) -> None:
        _, echo = await self.open()
        beneath = await self.beneath(echo)
        no_delay = beneath._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        self.assertTrue(no_delay)


class ResourceTests(ServingTests, WebSocketTestCase):
    """One page of a site."""

    async def setUp(self) -> None:
        super().setUp()
        await self.listen(self.site())

    def site(self) -> Site:
        root = Resource()
        root.putChild(b"page", Page(b"a page"))
        root.putChild(b"long", Page(b"x" * 200_000))
        root.putChild(b"mqtt", WebSocketResource(reactor, self.build, terms=MQTT))
        return Site(root, timeout=60)

    async def test_the_other_pages_are_there(self) -> None:
        client = await self.connect()
        client.write(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.until(lambda: client.data.endswith(b"a page"))
        # And the same connection then becomes a WebSocket.
        client.data = b""
        client.write(request())
        self.assertTrue((await client.head()).startswith(b"HTTP/1.1 101 "))
        client.write(frame(BINARY, b"hello"))
        self.assertEqual(await client.frames(7), [Frame(0x82, b"hello")])

    async def test_an_answer_that_has_not_gone_out_goes_before(self) -> None:
        client = await self.connect()
        client.write(b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n" + request() + frame(BINARY, b"a"))
        self.assertTrue((await client.head()).startswith(b"HTTP/1.1 200 "))
        await client.until(lambda: len(client.data) >= 200_000)
        page, client.data = client.data[:200_000], client.data[200_000:]
        self.assertEqual(page, b"x" * 200_000)
        self.assertTrue((await client.head()).startswith(b"HTTP/1.1 101 "))
        self.assertEqual(await client.frames(3), [Frame(0x82, b"a")])
        (echo,) = self.echos
        self.assertIsInstance(await self.beneath(echo), StockCarrier)
        sent = random.Random(5).randbytes(300_000)
        client.write(frame(BINARY, sent))
        self.assertEqual(await client.payload(len(sent)), sent)

    async def test_at_the_root_of_a_site(self) -> None:
        await self.listen(Site(WebSocketResource(reactor, self.build)))
        client = await self.connect()
        client.write(request("/", Sec_WebSocket_Protocol=None))
        self.assertTrue((await client.head()).startswith(b"HTTP/1.1 101 "))
        await self.leave(client)

    async def test_limits(self) -> None:
        limits = Limits(FrameLimits(frame_bytes=200), ping_seconds=None)
        resource = WebSocketResource(reactor, self.build, limits=limits)
        await self.listen(Site(resource))
        client = await self.connect()
        client.write(request("/"))
        await client.head()
        client.write(frame(BINARY, bytes(201)))
        await client.until(lambda: client.data[2:4] == b"\x03\xf1")
        self.assertEqual(self.echos[0].accepted.subprotocol, None)


class HTTP2Tests(TestCase):
    """Twisted speaks HTTP/2 where a library is installed for it; here a request stands in."""

    def test_is_told_to_upgrade_without_a_field_about_the_connection(self) -> None:
        request = DummyRequest([])
        request.clientproto = b"HTTP/2"
        request.uri = b"/mqtt"
        request.requestHeaders.addRawHeader(b"host", b"a")
        resource = WebSocketResource(reactor, lambda accepted, peer: self.fail("let in"))
        body = resource.render(request)
        self.assertIn(b"WebSocket client", body)
        self.assertEqual(request.responseCode, 426)
        names = {name.lower() for name, _ in request.responseHeaders.getAllRawHeaders()}
        self.assertEqual(names, {b"content-type", b"sec-websocket-version"})


class SharedPortTests(ResourceTests):
    """That site behind a port that speaks other things too, which goes on counting."""

    async def setUp(self) -> None:
        WebSocketTestCase.setUp(self)
        self.limiter = ConnectionLimiter(per_prefix=8, overall=1)
        await self.listen(
            SharedPortFactory(
                reactor,
                {Branch.HTTP: self.site()},
                tls=None,
                limiter=self.limiter,
                counters=ServerCounters(),
            )
        )

    async def test_the_place_is_free_again_after_it(self) -> None:
        for _ in range(3):
            client, echo = await self.open()
            client.write(frame(CLOSE))
            await client.end()
            await echo.lost_by()

    async def test_another_method(self) -> None:
        """One connection at a time: twice is once too often."""
        await self.refused(request(line="POST {} HTTP/1.1"), 405, b"GET")


class TLSTests(ServingTests, WebSocketTestCase):
    """The same under TLS."""

    carrier_kind = TLSCarrier

    async def setUp(self) -> None:
        super().setUp()
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.identity = load_or_create_identity(Path(folder.name))
        await self.listen_tls()

    async def listen_tls(self) -> None:
        terms = Terms(subprotocols=("mqtt",), path="/mqtt")
        factory = WebSocketFactory(reactor, self.build, terms=terms)
        endpoint = SSL4ServerEndpoint(
            reactor, 0, server_context(self.identity), interface="127.0.0.1"
        )
        self.listening(await endpoint.listen(factory))

    async def connect(self) -> Client:
        plain = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        endpoint = wrapClientTLS(pinned_context(self.identity.pin), plain)
        client: Any = await endpoint.connect(Factory.forProtocol(Client))
        self.addCleanup(self.leave, client)
        return client


class TLSResourceTests(TLSTests):
    """The same for a site."""

    async def listen_tls(self) -> None:
        root = Resource()
        root.putChild(b"page", Page(b"a page"))
        root.putChild(b"mqtt", WebSocketResource(reactor, self.build, terms=MQTT))
        endpoint = SSL4ServerEndpoint(
            reactor, 0, server_context(self.identity), interface="127.0.0.1"
        )
        self.listening(await endpoint.listen(Site(root)))

    async def test_an_answer_that_is_not_encrypted_yet_goes_before(self) -> None:
        client = await self.connect()
        client.write(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n" + request() + frame(BINARY, b"a"))
        self.assertTrue((await client.head()).startswith(b"HTTP/1.1 200 "))
        await client.until(lambda: client.data.startswith(b"a page"))
        client.data = client.data[len(b"a page") :]
        self.assertTrue((await client.head()).startswith(b"HTTP/1.1 101 "))
        self.assertEqual(await client.frames(3), [Frame(0x82, b"a")])
        (echo,) = self.echos
        self.assertIsInstance(await self.beneath(echo), StockCarrier)
