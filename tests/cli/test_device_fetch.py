"""porttunnel.cli.device_fetch: one request, its answer as it comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.cli.device_content import TextContent
from porttunnel.cli.device_fetch import PROGRESS_SECONDS, Fetching, make_head
from porttunnel.cli.device_json import JsonDeviceDialogue
from porttunnel.cli.exit_code import ExitCode
from porttunnel.errors import (
    ConfigurationError,
    GatewayUnreachable,
    RequestFailureCode,
    RequestUncertain,
)
from porttunnel.gateway.http_head import RequestHead
from porttunnel.net.device.event import DeviceConnected, DeviceDisconnected, SecretRotated
from porttunnel.net.device.record import DeviceRecord
from tests.cli.device_records import make_record
from tests.cli.spoken import SpokenStreams
from tests.net.device.fake_device import FakeBody, FakeDevice, FakeRequest

RECORD = make_record()
LOST = RequestUncertain("lost", RequestFailureCode.CONNECTION_LOST)


class KeptOutput:
    name = "file"

    def __init__(self) -> None:
        self.data = b""
        self.full: Callable[[bool], None] = lambda full: None
        self.finished = False
        self.discarded = False
        self.fault: ConfigurationError | None = None

    def on_full(self, call: Callable[[bool], None]) -> None:
        self.full = call

    def write(self, data: bytes) -> None:
        if self.fault is not None:
            raise self.fault
        self.data += data

    async def finish(self) -> None:
        self.finished = True

    def discard(self) -> None:
        self.discarded = True


class NotingDialogue(JsonDeviceDialogue):
    """Tells as JSON, and notes what JSON says nothing of."""

    def __init__(self, streams: Any) -> None:
        super().__init__(streams)
        self.waited: list[tuple[DeviceRecord, bool]] = []

    def tell_waiting(self, device: DeviceRecord, *, connected: bool) -> None:
        super().tell_waiting(device, connected=connected)
        self.waited.append((device, connected))


class GivenContent(TextContent):
    closed = False

    def close(self) -> None:
        self.closed = True


class HeadTests(SynchronousTestCase):
    def test_is_written_as_the_web_wants_it(self) -> None:
        head = make_head("POST", "/Zürich a%20b?q=[1]", ["Accept:text/plain", "x-a: b:c "])
        self.assertEqual(
            head,
            RequestHead(
                b"POST",
                b"https",
                b"",
                b"/Z%C3%BCrich%20a%20b?q=[1]",
                ((b"accept", b"text/plain"), (b"x-a", b"b:c")),
            ),
        )

    def test_bytes_that_are_no_text_are_sent_as_they_are(self) -> None:
        head = make_head("GET", "/\udcfc", ["x: \udcff"])
        self.assertEqual((head.path, head.fields), (b"/%FC", ((b"x", b"\xff"),)))

    def test_what_can_not_be_right_is_said(self) -> None:
        for method, path, fields, words in (
            ("GET", "no-slash", [], "A path begins with /"),
            ("GET", "/a#b", [], "has no #"),
            ("G T", "/", [], "a method is a word"),
            ("G\udcff", "/", [], "a method is a word"),
            ("CONNECT", "/", [], "for proxies"),
            ("GET", "/", ["accept"], "'accept' is no field"),
            ("GET", "/", [": x"], "is no field"),
            ("GET", "/", ["a b: x"], "a field has a name"),
            ("POST", "/", ["Content-Length: 3"], "follows from --data"),
        ):
            with self.subTest(words=words), self.assertRaises(ConfigurationError) as raised:
                make_head(method, path, fields)
            self.assertIn(words, str(raised.exception))


class FetchingTests(SynchronousTestCase):
    def begin(
        self, data: bytes = b"", *, allowed: range = range(200, 300), quiet: bool = False
    ) -> FakeRequest:
        self.wait(data, allowed=allowed, quiet=quiet)
        return self.device.asked[0]

    def wait(
        self,
        data: bytes = b"",
        *,
        allowed: range = range(200, 300),
        quiet: bool = False,
        waited: DeviceRecord | None = None,
        way: Deferred[None] | None = None,
    ) -> None:
        """With a way: until it is there, the request has not begun."""
        self.clock = Clock()
        self.streams: Any = SpokenStreams()
        self.output = KeptOutput()
        self.device = FakeDevice()
        self.device.way = way
        self.dialogue = NotingDialogue(self.streams)
        fetching = self.fetching = Fetching(
            self.clock,
            self.dialogue,
            self.output,
            include=False,
            allowed=allowed,
            quiet=quiet,
            waited=waited,
        )
        head = make_head("POST", "/", [])
        self.content = GivenContent(data)
        running = fetching.run(self.device, head, self.content)
        self.running: Deferred[ExitCode] = ensureDeferred(running)

    def events(self) -> list[str]:
        return [event["event"] for event in self.streams.events()]

    def respond(self, request: FakeRequest, status: int = 200, *fields: Any) -> FakeBody:
        body = request.respond(status, *fields)
        self.assertNoResult(self.running)
        return body

    def test_tells_what_is_waited_for_until_the_answer_is_there(self) -> None:
        way: Deferred[None] = Deferred()
        self.wait(waited=RECORD, way=way)
        self.assertEqual(self.dialogue.waited, [(RECORD, False)])
        for happened in (
            DeviceDisconnected(GatewayUnreachable("gone")),
            DeviceDisconnected(GatewayUnreachable("gone")),
            DeviceConnected(),
        ):
            self.fetching.receive_event(happened)
        way.callback(None)
        self.assertEqual(self.dialogue.waited, [(RECORD, False), (RECORD, True)])
        self.fetching.receive_event(DeviceDisconnected())
        self.fetching.receive_event(SecretRotated(2))
        told = [(each["up"], each.get("reason")) for each in self.streams.events()]
        self.assertEqual(told, [(False, "gone"), (True, None), (False, "")])
        body = self.respond(self.device.asked[0])
        self.fetching.receive_event(DeviceConnected())
        body.end()
        self.successResultOf(self.running)
        self.assertEqual(self.events(), ["response", "done"])

    def test_a_connection_that_was_there_at_once_is_no_news(self) -> None:
        self.wait(waited=RECORD)
        self.fetching.receive_event(DeviceConnected())
        self.respond(self.device.asked[0]).end()
        self.successResultOf(self.running)
        self.assertEqual(self.events(), ["response", "done"])

    def test_after_a_failure_the_end_of_the_connection_is_no_news(self) -> None:
        self.wait(waited=RECORD)
        self.device.asked[0].fail(LOST)
        self.failureResultOf(self.running, RequestUncertain)
        self.fetching.receive_event(DeviceDisconnected())
        self.assertEqual(self.events(), [])

    def test_who_wants_no_such_news_hears_none(self) -> None:
        self.begin()
        self.fetching.receive_event(DeviceDisconnected())
        self.assertEqual((self.dialogue.waited, self.events()), ([], []))
        self.respond(self.device.asked[0]).end()
        self.successResultOf(self.running)

    def test_writes_what_comes(self) -> None:
        request = self.begin(b"abc")
        self.assertEqual(request.head.fields, ((b"content-length", b"3"),))
        self.assertEqual((request.writer.data, request.writer.trailers), (b"abc", ()))
        body = self.respond(request)
        body.give(b"an")
        body.give(b"swer")
        body.end()
        self.assertEqual(self.successResultOf(self.running), ExitCode.DONE)
        self.assertEqual((self.output.data, self.output.finished), (b"answer", True))
        events = self.streams.events()
        self.assertEqual(events[0], {"event": "response", "status": 200, "fields": []})
        self.assertEqual(events[1:], [{"event": "done", "reason": "file: 6 B"}])
        self.assertTrue(self.content.closed)

    def test_nothing_to_send_has_no_length(self) -> None:
        self.assertEqual(self.begin().head.fields, ())
        self.running.addErrback(lambda failure: failure.trap(CancelledError))
        self.running.cancel()
        self.assertTrue(self.content.closed)

    def test_another_status_is_a_failure_whose_content_is_kept(self) -> None:
        body = self.respond(self.begin(), 404)
        body.give(b"no")
        body.end()
        self.assertEqual(self.successResultOf(self.running), ExitCode.FAILED)
        self.assertEqual((self.output.data, self.output.finished), (b"no", True))
        self.assertEqual(self.events(), ["response"])

    def test_what_is_allowed_is_a_success(self) -> None:
        self.respond(self.begin(allowed=range(200, 400)), 302).end()
        self.assertEqual(self.successResultOf(self.running), ExitCode.DONE)

    def test_tells_progress_once_a_second(self) -> None:
        body = self.respond(self.begin(), 200, (b"content-length", b"9"))
        for _ in range(4):
            body.give(b"a")
            self.clock.advance(PROGRESS_SECONDS / 2)
        body.give(b"a")
        told = [each for each in self.streams.events() if each["event"] == "progress"]
        self.assertEqual([(each["bytes"], each["total"]) for each in told], [(3, 9), (5, 9)])
        body.end()
        self.successResultOf(self.running)

    def test_is_quiet_where_progress_would_be_in_the_way(self) -> None:
        body = self.respond(self.begin(quiet=True), 200, (b"content-length", b"?"))
        self.clock.advance(PROGRESS_SECONDS)
        body.give(b"a")
        body.end()
        self.assertEqual(self.successResultOf(self.running), ExitCode.DONE)
        self.assertNotIn("progress", self.events())

    def test_an_output_that_is_full_holds_the_response(self) -> None:
        request = self.begin()
        self.output.full(True)  # nothing to hold yet
        body = self.respond(request)
        self.output.full(True)
        self.assertTrue(body.paused)
        self.output.full(False)
        self.assertFalse(body.paused)
        body.end()
        self.successResultOf(self.running)

    def test_a_response_that_breaks(self) -> None:
        body = self.respond(self.begin())
        body.give(b"half")
        body.break_(LOST)
        self.assertIs(self.failureResultOf(self.running).value, LOST)
        self.assertEqual((self.output.discarded, self.output.finished), (True, False))

    def test_no_response(self) -> None:
        self.begin().fail(LOST)
        self.assertIs(self.failureResultOf(self.running).value, LOST)
        self.assertTrue(self.output.discarded)

    def test_an_output_that_breaks_cancels(self) -> None:
        request = self.begin()
        body = self.respond(request)
        self.output.fault = ConfigurationError("full")
        body.give(b"a")
        body.give(b"b")
        body.end()
        self.assertIs(self.failureResultOf(self.running).value, self.output.fault)
        self.assertTrue(request.cancelled)
        self.assertTrue(self.output.discarded)

    def test_whoever_leaves_cancels(self) -> None:
        request = self.begin()
        self.respond(request).give(b"half")
        self.running.cancel()
        self.failureResultOf(self.running, CancelledError)
        self.assertTrue(request.cancelled)
        self.assertTrue(self.output.discarded)
