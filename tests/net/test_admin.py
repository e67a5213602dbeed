"""What the operator sees, asked over real HTTP."""

from __future__ import annotations

from typing import Any

from twisted.internet import defer, endpoints, reactor
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from porttunnel.net import admin
from porttunnel.net.bounded_request import MAX_BODY_BYTES
from porttunnel.net.tunnel_link import LiveSession
from porttunnel.net.tunnel_server import TunnelServerFactory
from tests.net.http_question import Question, ask


class AdminTests(TestCase):
    timeout = 20

    async def setUp(self) -> None:
        self.clock = Clock()
        self.probed: defer.Deferred[None] = defer.Deferred()
        self.probe_result: Any = None
        self.listening = True
        directory: Any = None
        self.server = TunnelServerFactory(self.clock, directory, lambda *_: defer.succeed(None))
        site = admin.admin_site(self.clock, self.server, lambda: self.listening, self.probe)
        endpoint = endpoints.serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        self.port = await endpoint.listen(site)
        self.addCleanup(self.port.stopListening)

    def probe(self) -> defer.Deferred[None]:
        if isinstance(self.probe_result, defer.Deferred):
            self.probed.callback(None)
            return self.probe_result
        return defer.maybeDeferred(self.probe_result or (lambda: None))

    async def ask(self, path: str, method: str = "GET") -> tuple[int, bytes, bytes]:
        """Status, head, body."""
        return await ask(self.port.getHost().port, path, method)

    def fill(self) -> None:
        session = LiveSession(b"sixteen bytes id")
        link: Any = object()
        session.links = {1: link, 2: link}
        self.server.sessions[session.session_id] = session
        self.server.links.update([link])
        self.server.waiting.count = 321
        counters = self.server.counters
        counters.relayed_bytes = 123_456
        counters.refused_connections = 7
        counters.requests["join", "no-such-number"] = 5
        counters.failed_links["malformed"] = 4

    async def test_health(self) -> None:
        code, head, body = await self.ask("/healthz")
        self.assertEqual((code, body), (200, b"ok\n"))
        self.assertIn(b"cache-control: no-store", head)
        self.assertEqual((await self.ask("/healthz", "HEAD"))[0], 200)

    async def test_a_body_that_nobody_wants_is_not_kept(self) -> None:
        head = (
            "POST /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"Content-Length: {MAX_BODY_BYTES + 1}\r\n\r\n"
        )
        question = Question(head.encode())
        client = endpoints.clientFromString(reactor, f"tcp:127.0.0.1:{self.port.getHost().port}")
        await client.connect(Factory.forProtocol(lambda: question))
        self.assertEqual((await question.ended).split()[1], b"413")

    async def test_ready(self) -> None:
        self.assertEqual((await self.ask("/readyz"))[:3:2], (200, b"ready\n"))

    async def test_not_listening(self) -> None:
        self.listening = False
        self.assertEqual((await self.ask("/readyz"))[:3:2], (503, b"not listening yet\n"))

    async def test_a_store_that_fails(self) -> None:
        def fail() -> None:
            raise OSError("the disk is gone: /secret/path")

        self.probe_result = fail
        code, _, body = await self.ask("/readyz")
        self.assertEqual(code, 503)
        self.assertIn(b"see the log", body)
        self.assertNotIn(b"secret", body)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    async def test_a_store_that_hangs(self) -> None:
        self.probe_result = defer.Deferred()
        asked = defer.Deferred.fromCoroutine(self.ask("/readyz"))
        await self.probed
        await _next_turn()
        self.clock.advance(admin.PROBE_SECONDS)
        self.assertEqual((await asked)[0], 503)
        self.assertEqual(len(self.flushLoggedErrors(defer.TimeoutError)), 1)

    async def test_who_does_not_wait_for_the_answer_does_no_harm(self) -> None:
        probed: defer.Deferred[None] = defer.Deferred()
        self.probe_result = probed
        question = Question(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client = endpoints.clientFromString(reactor, f"tcp:127.0.0.1:{self.port.getHost().port}")
        await client.connect(Factory.forProtocol(lambda: question))
        await self.probed
        await _next_turn()
        assert question.transport is not None
        question.transport.abortConnection()
        self.assertEqual(await question.ended, b"")
        for _ in range(10):
            await _next_turn()
        probed.callback(None)
        self.assertEqual((await self.ask("/healthz"))[0], 200)

    async def test_draining(self) -> None:
        self.server.draining = True
        code, _, body = await self.ask("/readyz")
        self.assertEqual(code, 503)
        self.assertIn(b"draining", body)
        self.assertIn(b"draining", (await self.ask("/"))[2])
        self.assertEqual((await self.ask("/healthz"))[0], 200)

    async def test_metrics(self) -> None:
        self.fill()
        code, head, body = await self.ask("/metrics")
        self.assertEqual(code, 200)
        self.assertIn(b"content-type: text/plain", head)
        for line in (
            b"porttunnel_links 1.0",
            b"porttunnel_sessions 1.0",
            b"porttunnel_members 2.0",
            b"porttunnel_waiting_bytes 321.0",
            b"porttunnel_relayed_bytes_total 123456.0",
            b"porttunnel_refused_connections_total 7.0",
            b'porttunnel_requests_total{kind="join",outcome="no-such-number"} 5.0',
            b'porttunnel_failed_links_total{code="malformed"} 4.0',
        ):
            self.assertIn(line, body.splitlines())
        self.assertNotIn(b"sixteen", body)
        self.assertNotIn(b"process_", body)

    async def test_without_the_extra_it_says_what_to_install(self) -> None:
        self.patch(admin, "format_metrics", None)
        code, _, body = await self.ask("/metrics")
        self.assertEqual(code, 501)
        self.assertIn(b"pip install 'porttunnel[metrics]'", body)

    async def test_the_status_page(self) -> None:
        self.fill()
        code, head, body = await self.ask("/")
        self.assertEqual(code, 200)
        self.assertIn(b"content-type: text/html", head)
        self.assertIn(b"<td>123456</td>", body)
        self.assertIn(b"in service", body)
        self.assertNotIn(b"sixteen", body)

    async def test_nothing_else_is_there(self) -> None:
        self.assertEqual((await self.ask("/etc/passwd"))[0], 404)
        self.assertEqual((await self.ask("/healthz/more"))[0], 200)


def _next_turn() -> defer.Deferred[None]:
    turn: defer.Deferred[None] = defer.Deferred()
    reactor.callLater(0, turn.callback, None)
    return turn
