"""porttunnel.net.gateway.site and page: what the gateway's port answers to HTTP."""

from __future__ import annotations

import io
import re
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher, textFileLogObserver
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from porttunnel.net.bounded_request import MAX_BODY_BYTES
from porttunnel.net.gateway.plain_http import TLSDemandedResource
from porttunnel.net.gateway.site import (
    ABORT_SECONDS,
    LAST_SECONDS,
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_LINE_BYTES,
    REQUEST_SECONDS,
    GatewaySite,
)

PEER = IPv4Address("TCP", "203.0.113.77", 40_000)


class Echo(Resource):
    """Answers with where it is and what it got."""

    isLeaf = True

    def __init__(self, name: bytes) -> None:
        Resource.__init__(self)
        self.name = name

    def render(self, request: Any) -> bytes:
        return b"%s %s %s" % (self.name, request.uri, request.content.read())


class FullTransport(StringTransport):
    """What is written stays in it: from some of it on its producer is asked to wait."""

    FULL_BYTES = 65_536

    def write(self, data: bytes) -> None:
        StringTransport.write(self, data)
        if len(self.value()) > self.FULL_BYTES:
            self.producer.pauseProducing()


class SiteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.ready = True
        self.site = GatewaySite(
            self.clock,
            accounts=Echo(b"accounts"),
            mqtt=Echo(b"mqtt"),
            is_ready=lambda: self.ready,
        )
        self.site.doStart()
        self.addCleanup(self.site.doStop)
        self.log = io.StringIO()
        observer = textFileLogObserver(self.log)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def connect(self, transport: Any = None) -> tuple[Any, Any]:
        channel: Any = self.site.buildProtocol(PEER)
        transport = transport or StringTransport(peerAddress=PEER)
        channel.makeConnection(transport)
        return channel, transport

    def ask(self, head: str, body: bytes = b"") -> tuple[int, str, str]:
        """Status, head and body."""
        channel, transport = self.connect()
        channel.dataReceived(head.encode() + b"\r\nHost: x\r\n\r\n" + body)
        head, _, content = transport.value().decode().partition("\r\n\r\n")
        channel.connectionLost(Failure(ConnectionDone()))
        return int(head.split()[1]), head, content

    def test_places(self) -> None:
        for path, answer in {
            "/v1/devices/x": "accounts /v1/devices/x ",
            "/openapi.json": "accounts /openapi.json ",
            "/mqtt": "mqtt /mqtt ",
            "/healthz": "ok\n",
            "/readyz": "ready\n",
        }.items():
            self.assertEqual(self.ask(f"GET {path} HTTP/1.1")[::2], (200, answer))
        for path in ("/nothing", "/healthz/more", "/v2", "/../v1", "//v1"):
            self.assertEqual(self.ask(f"GET {path} HTTP/1.1")[0], 404)
        self.assertEqual(self.ask("POST / HTTP/1.1")[0], 405)

    def test_what_demands_tls_reads_nothing(self) -> None:
        self.site = GatewaySite(
            self.clock,
            accounts=TLSDemandedResource(),
            mqtt=TLSDemandedResource(),
            is_ready=lambda: True,
        )
        for line in ("POST /v1/instances", "GET /mqtt", "GET /openapi.json"):
            status, head, body = self.ask(f"{line} HTTP/1.1")
            self.assertEqual(status, 403)
            self.assertIn("application/problem+json", head)
            self.assertIn('"code":"tls-demanded"', body)
        self.assertEqual(self.ask("GET /readyz HTTP/1.1")[0], 200)

    def test_readiness(self) -> None:
        self.ready = False
        self.assertEqual(self.ask("GET /readyz HTTP/1.1")[0], 503)
        self.assertEqual(self.ask("GET /healthz HTTP/1.1")[0], 200)

    def test_pages_say_what_to_do_and_load_nothing(self) -> None:
        for path, text in {"/": "porttunnel join", "/pair": "porttunnel device pair"}.items():
            status, head, body = self.ask(f"GET {path} HTTP/1.1")
            self.assertEqual(status, 200)
            self.assertIn(text, body)
            for line in (
                "Content-Security-Policy: default-src 'none';",
                "Referrer-Policy: no-referrer",
                "X-Content-Type-Options: nosniff",
                "Cache-Control: no-store",
                "Content-Type: text/html; charset=utf-8",
            ):
                self.assertIn(line, head)
            self.assertIsNone(re.search("<script|src=|href=|https?:|url\\(", body))
            self.assertEqual(self.ask(f"HEAD {path} HTTP/1.1")[2], "")

    def test_heads_are_bounded(self) -> None:
        long = "x" * (MAX_LINE_BYTES + 1)
        self.assertEqual(self.ask(f"GET /{long} HTTP/1.1")[0], 431)
        self.assertEqual(self.ask(f"GET / HTTP/1.1\r\nX: {long}")[0], 431)
        fields = "\r\n".join(f"X{number}: 1" for number in range(MAX_FIELDS + 1))
        self.assertEqual(self.ask(f"GET / HTTP/1.1\r\n{fields}")[0], 400)
        fields = "\r\n".join(f"X{n}: {'x' * 4_000}" for n in range(MAX_HEAD_BYTES // 4_000 + 1))
        self.assertEqual(self.ask(f"GET / HTTP/1.1\r\n{fields}")[0], 400)

    def test_a_head_without_an_end_is_cut_off(self) -> None:
        channel, transport = self.connect()
        channel.dataReceived(b"GET /" + b"x" * (2 * MAX_LINE_BYTES))
        self.assertIn(b" 431 ", transport.value())
        self.assertTrue(transport.disconnecting)

    def test_bodies_are_bounded(self) -> None:
        length = f"Content-Length: {MAX_BODY_BYTES + 1}"
        self.assertEqual(self.ask(f"POST /v1 HTTP/1.1\r\n{length}")[0], 413)
        form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3"
        answer = self.ask(f"POST /v1 HTTP/1.1\r\n{form}", b"a=b")
        self.assertEqual(answer[::2], (200, "accounts /v1 a=b"))

    def test_a_slow_drip_gains_no_time(self) -> None:
        channel, transport = self.connect()
        for byte in b"GET / HTTP/1.1\r\nX: abcdef":
            channel.dataReceived(bytes([byte]))
            self.clock.advance(1.0)
        self.assertFalse(transport.disconnecting)
        self.clock.advance(REQUEST_SECONDS)
        self.assertTrue(transport.disconnecting)

    def test_so_has_who_does_not_ask_again(self) -> None:
        channel, transport = self.connect()
        for _ in range(3):
            self.clock.advance(REQUEST_SECONDS - 1.0)
            channel.dataReceived(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(transport.value().count(b"200 OK"), 3)
        self.clock.advance(REQUEST_SECONDS)
        self.assertTrue(transport.disconnecting)

    def test_who_does_not_take_the_end_is_cut_off(self) -> None:
        channel, transport = self.connect()
        self.clock.advance(REQUEST_SECONDS)
        self.assertEqual((transport.disconnecting, transport.disconnected), (True, False))
        self.clock.advance(ABORT_SECONDS)
        self.assertTrue(transport.disconnected)
        channel.connectionLost(Failure(ConnectionDone()))

    def test_who_asks_on_and_does_not_read_is_sent_away(self) -> None:
        """What he is answered would wait here, and be much more than what he said."""
        question = b"GET /pair HTTP/1.1\r\nHost: x\r\n\r\n"
        for beginning in (b"", b"GET /v1 HTTP/1.1\r\nHost: x\r\n\r\n"):
            channel, transport = self.connect(FullTransport(peerAddress=PEER))
            channel.dataReceived(beginning + question * 3)
            self.assertFalse(transport.disconnecting)
            channel.dataReceived(question * 1_000)
            self.assertTrue(transport.disconnecting)
            self.assertLess(len(transport.value()), FullTransport.FULL_BYTES + 5_000)
            channel.connectionLost(Failure(ConnectionDone()))

    def test_a_long_answer_alone_sends_nobody_away(self) -> None:
        channel, transport = self.connect()
        channel.pauseProducing()
        channel.dataReceived(b"GET /pair HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertFalse(transport.disconnecting)
        channel.resumeProducing()
        channel.dataReceived(b"GET /pair HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(transport.value().count(b"HTTP/1.1 200 OK"), 2)
        channel.connectionLost(Failure(ConnectionDone()))

    def test_nor_stays_who_got_the_last_answer(self) -> None:
        """In TLS the transport waits for the client's goodbye."""
        for line in (b"Connection: close", b"Content-Length: %d" % (MAX_BODY_BYTES + 1)):
            channel, transport = self.connect()
            channel.dataReceived(b"POST /v1 HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n\r\n")
            self.assertTrue(transport.disconnecting)
            self.clock.advance(LAST_SECONDS - 0.1)
            self.assertFalse(transport.disconnected)
            self.clock.advance(0.1)
            self.assertTrue(transport.disconnected)
            channel.connectionLost(Failure(ConnectionDone()))

    def test_nothing_is_logged(self) -> None:
        """Twisted would name the addresses of those who ask, and of those who are too slow."""
        self.ask("GET / HTTP/1.1")
        self.ask("GET /nothing HTTP/1.1")
        self.test_who_does_not_take_the_end_is_cut_off()
        self.assertEqual(self.log.getvalue(), "")
