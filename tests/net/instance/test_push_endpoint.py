"""Pushes asked for by HTTP, without a socket and with a clock that the test moves."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.errors import ClientStopped, GatewayUnreachable
from porttunnel.net.instance import push_endpoint
from porttunnel.net.instance.device_record import DeviceState, PushReport
from porttunnel.net.instance.push_endpoint import (
    MAX_CONNECTIONS,
    MAX_PUSH_BODY_BYTES,
    MAX_RUNNING,
    PUSH_SECONDS,
    REQUEST_SECONDS,
    PushSite,
)
from tests.net.instance.fake_instance import DEVICE, FakeInstance

OTHER = "e" * 32
NEWS = {"name": "news", "all": True, "text": "hello"}


class Line(StringTransport):
    """A connection whose end is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class PushTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.instance = FakeInstance()
        self.site = PushSite(self.clock, self.instance)

    def connect(self) -> tuple[Any, Line]:
        channel: Any = self.site.buildProtocol(None)
        line = Line()
        channel.makeConnection(line)
        return channel, line

    def send(self, body: Any, *, start: str = "POST /push HTTP/1.1", **fields: str) -> Line:
        channel, self.line = self.connect()
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {
            "Host": "localhost",
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
        } | {name.replace("_", "-"): value for name, value in fields.items()}
        lines = [start, *(f"{name}: {value}" for name, value in named.items() if value), "", ""]
        channel.dataReceived("\r\n".join(lines).encode() + content)
        self.channel = channel
        return self.line

    def answer(self, line: Line) -> tuple[int, bytes, Any]:
        head, _, body = line.value().partition(b"\r\n\r\n")
        return int(head.split()[1]), head.lower(), json.loads(body)

    def ask(self, body: Any, **options: Any) -> tuple[int, Any]:
        status, head, answer = self.answer(self.send(body, **options))
        self.assertIn(b"cache-control: no-store", head)
        return status, answer

    def refused(self, body: Any, **options: Any) -> tuple[int, str]:
        status, head, answer = self.answer(self.send(body, **options))
        self.assertIn(b"content-type: application/problem+json", head)
        self.assertEqual(answer["status"], status)
        self.assertTrue(answer["title"] and answer["detail"])
        return status, answer["code"]

    def test_to_all(self) -> None:
        self.instance.answers = [PushReport((DEVICE,), (OTHER,))]
        self.assertEqual(self.ask(NEWS), (200, {"sent": [DEVICE], "offline": [OTHER]}))
        self.assertEqual(self.instance.asked, [("push", "news", b"hello", None, None)])

    def test_to_a_user_and_to_devices(self) -> None:
        self.instance.add(DeviceState.PAIRED)
        self.assertEqual(self.ask({"name": "a", "user": "anna", "base64": "AAH/"})[0], 200)
        self.assertEqual(self.ask({"name": "a", "devices": [DEVICE], "text": "x"})[0], 200)
        self.assertEqual(
            self.instance.asked,
            [("push", "a", b"\0\1\xff", None, "anna"), ("push", "a", b"x", (DEVICE,), None)],
        )

    def test_a_device_that_is_none(self) -> None:
        self.instance.add(DeviceState.PAIRED)
        asked = {"name": "a", "devices": [DEVICE, OTHER], "text": "x"}
        self.assertEqual(self.refused(asked), (422, "no-such-device"))
        self.assertEqual(self.instance.asked, [])

    def test_what_is_not_asked_rightly(self) -> None:
        for status, code, options in (
            (421, "wrong-host", {"Host": "localhost:80"}),
            (421, "wrong-host", {"Host": "evil.example"}),
            (421, "wrong-host", {"Host": "", "start": "POST /push HTTP/1.0"}),
            (404, "not-found", {"start": "POST /push/ HTTP/1.1"}),
            (404, "not-found", {"start": "POST /push?x=1 HTTP/1.1"}),
            (404, "not-found", {"start": "POST / HTTP/1.1"}),
            (405, "wrong-method", {"start": "PUT /push HTTP/1.1"}),
            (405, "wrong-method", {"start": "GET /push HTTP/1.1"}),
            (415, "not-json", {"Content-Type": "text/plain"}),
            (415, "not-json", {"Content-Type": "application/jsonp"}),
            (415, "not-json", {"Content-Type": ""}),
        ):
            self.assertEqual(self.refused(NEWS, **options), (status, code))
        self.assertEqual(self.refused(b"{}"), (400, "malformed"))
        self.assertEqual(self.instance.asked, [])
        self.assertEqual(self.ask(NEWS, Content_Type="Application/JSON; charset=utf-8")[0], 200)

    def test_a_method_that_is_named(self) -> None:
        self.assertIn(b"allow: post", self.answer(self.send(NEWS, start="PUT /push HTTP/1.1"))[1])

    def test_a_body_that_is_too_long(self) -> None:
        line = self.send(bytes(MAX_PUSH_BODY_BYTES + 1))
        self.assertTrue(line.value().startswith(b"HTTP/1.1 413 "))
        self.assertEqual(self.refused(bytes(MAX_PUSH_BODY_BYTES)), (400, "malformed"))

    def test_why_it_could_not_be_done(self) -> None:
        for error, status, code in (
            (GatewayUnreachable("no connection"), 503, "not-connected"),
            (ClientStopped("stopped"), 503, "failed"),
            (RuntimeError("a fault"), 500, "internal"),
        ):
            self.instance.answers = [error]
            self.assertEqual(self.refused(NEWS), (status, code))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_no_answer_of_the_gateway_s(self) -> None:
        self.instance.answers = [Deferred()]
        line = self.send(NEWS)
        self.assertEqual(line.value(), b"")
        self.clock.advance(PUSH_SECONDS)
        self.assertEqual(self.answer(line)[0], 504)

    def test_so_many_at_a_time(self) -> None:
        under_way: list[Deferred[None]] = [Deferred() for _ in range(MAX_RUNNING)]
        self.instance.answers = list(under_way)
        lines = [self.send(NEWS) for _ in under_way]
        self.assertEqual(self.refused(NEWS), (503, "busy"))
        self.assertIn(b"retry-after: 1", self.line.value().lower())
        for pushed in under_way:
            pushed.callback(None)
        self.assertEqual({self.answer(line)[0] for line in lines}, {200})
        self.assertEqual(self.ask(NEWS)[0], 200)

    def test_who_asked_has_gone(self) -> None:
        pushed: Deferred[None] = Deferred()
        self.instance.answers = [pushed]
        line = self.send(NEWS)
        self.channel.connectionLost(push_endpoint.connectionDone)
        pushed.callback(None)
        self.assertEqual(line.value(), b"")
        self.assertEqual(self.ask(NEWS)[0], 200)

    def test_so_many_connections(self) -> None:
        connections = [self.connect() for _ in range(MAX_CONNECTIONS)]
        refused = self.connect()
        self.assertTrue(refused[1].aborted)
        refused[0].connectionLost(push_endpoint.connectionDone)
        connections[0][0].connectionLost(push_endpoint.connectionDone)
        self.assertFalse(self.connect()[1].aborted)

    def test_a_request_that_drips(self) -> None:
        channel, line = self.connect()
        for byte in b"POST /push HTTP/1.1\r\nHost: localhost":
            channel.dataReceived(bytes([byte]))
            self.clock.advance(REQUEST_SECONDS / 30)
        self.assertTrue(line.disconnecting)


class TokenTests(PushTests):
    """On a port."""

    def setUp(self) -> None:
        super().setUp()
        hosts = (b"127.0.0.1:8080", b"localhost:8080")
        self.site = PushSite(self.clock, self.instance, hosts=hosts, token="t0ken")

    def send(self, body: Any, **options: Any) -> Line:
        if options.get("Host") == "localhost:80":
            options["Host"] = "localhost"
        host = {"Host": "localhost:8080", "Authorization": "Bearer t0ken"}
        return super().send(body, **(host | options))

    def test_who_may(self) -> None:
        for token in ("", "t0ken", "Basic t0ken", "Bearer", "Bearer t0ke", "Bearer t0ken x"):
            self.assertEqual(self.refused(NEWS, Authorization=token), (401, "wrong-token"))
        self.assertIn(b"www-authenticate: bearer", self.line.value().lower())
        self.assertEqual(self.instance.asked, [])
        self.assertEqual(self.ask(NEWS, Authorization="bearer t0ken")[0], 200)
        self.assertEqual(self.ask(NEWS, Host="127.0.0.1:8080")[0], 200)
