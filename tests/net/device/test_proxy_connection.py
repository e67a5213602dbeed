"""porttunnel.net.device.proxy_connection and proxy_exchange: a browser, and an instance."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.errors import (
    DeviceRevoked,
    LocalProtocolError,
    RequestFailureCode,
    RequestNotExecuted,
    RequestUncertain,
)
from porttunnel.gateway.http_head import RequestHead, ResponseHead
from porttunnel.net.device.interface import DeviceRequest
from porttunnel.net.device.proxy_connection import IDLE_SECONDS, LINGER_SECONDS, MAX_HEAD_BYTES
from porttunnel.net.device.proxy_exchange import GOODBYE_SECONDS
from tests.net.device.browser import HOST, BrowserEnd
from tests.net.device.fake_device import FakeDevice

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455, section 1.3
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
LOST = RequestUncertain("the connection is lost", RequestFailureCode.CONNECTION_LOST)


class RefusingDevice(FakeDevice):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def request(self, head: RequestHead) -> DeviceRequest:
        raise self.error


class ProxyTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.browser = BrowserEnd()
        self.device = self.browser.device
        self.wire = self.browser.wire

    def tearDown(self) -> None:
        if not self.browser.gone:
            self.browser.leave()
            self.browser.clock.advance(GOODBYE_SECONDS)
        self.assertEqual(self.browser.clock.getDelayedCalls(), [])
        self.assertEqual(self.browser.gone, [self.browser.connection])

    def be(self, device: FakeDevice) -> None:
        """Another device."""
        self.browser.leave()
        self.browser = BrowserEnd(device)
        self.device, self.wire = device, self.browser.wire

    def asked(self) -> Any:
        """The only request that is under way."""
        return self.device.asked[-1]


class RequestTests(ProxyTestCase):
    def test_goes_out_with_what_is_not_of_its_connection(self) -> None:
        self.browser.ask(
            "GET",
            "/wiki?id=start",
            ("Accept", "text/html"),
            ("Cookie", "other=program"),
            ("Connection", "keep-alive, X-Mine"),
            ("X-Mine", "1"),
            ("TE", "trailers"),
        )
        request = self.asked()
        self.assertEqual(
            request.head,
            RequestHead(
                b"GET", b"http", HOST.encode(), b"/wiki?id=start", ((b"accept", b"text/html"),)
            ),
        )
        self.assertEqual((request.writer.data, request.writer.trailers), (b"", ()))

    def test_gets_its_answer_and_the_next_one_follows(self) -> None:
        for number in range(3):
            self.browser.ask("GET", f"/{number}")
            body = self.asked().respond(200, (b"content-length", b"4"), (b"x", b"y"))
            body.give(b"pa")
            body.give(b"ge")
            body.end()
            head, data, end = self.browser.answer()
            self.assertEqual((head.status_code, head.reason, data), (200, b"OK", b"page"))
            self.assertEqual(list(head.headers), [(b"content-length", b"4"), (b"x", b"y")])
            self.assertIsNotNone(end)
        self.assertEqual([each.head.path for each in self.device.asked], [b"/0", b"/1", b"/2"])

    def test_an_answer_of_unknown_length_comes_in_chunks_with_its_trailers(self) -> None:
        self.browser.ask()
        body = self.asked().respond(200)
        body.give(b"page")
        body.end((b"checksum", b"1"), (b"content-length", b"3"))
        head, data, end = self.browser.answer()
        self.assertEqual(dict(head.headers)[b"transfer-encoding"], b"chunked")
        assert end is not None
        self.assertEqual((data, list(end.headers)), (b"page", [(b"checksum", b"1")]))

    def test_trailers_go_where_there_is_room_for_them(self) -> None:
        self.browser.ask()
        body = self.asked().respond(200, (b"content-length", b"0"))
        body.end((b"checksum", b"1"))
        self.assertNotIn(b"checksum", self.browser.received())

    def test_cookies_and_what_is_of_a_connection_stay_behind(self) -> None:
        self.browser.ask()
        body = self.asked().respond(
            200,
            (b"set-cookie", b"a=b"),
            (b"connection", b"x-mine"),
            (b"x-mine", b"1"),
            (b"alt-svc", b'h2=":443"'),
            (b"etag", b'"1"'),
            (b"content-length", b"0"),
        )
        body.end()
        head, _, _ = self.browser.answer()
        self.assertEqual(list(head.headers), [(b"etag", b'"1"'), (b"content-length", b"0")])

    def test_head_has_no_content(self) -> None:
        self.browser.ask("HEAD")
        body = self.asked().respond(200, (b"content-length", b"9"))
        body.give(b"not asked")
        body.end()
        head, data, end = self.browser.answer("HEAD")
        self.assertEqual((dict(head.headers)[b"content-length"], data), (b"9", b""))
        self.assertIsNotNone(end)
        self.browser.ask("GET")
        self.assertEqual(len(self.device.asked), 2)

    def test_what_cannot_be_read_has_nothing_of_the_request_before_it(self) -> None:
        self.browser.ask("HEAD", "/", ("Accept", "text/html"))
        self.asked().respond(200, (b"content-length", b"9")).end()
        self.browser.received()
        self.browser.send(b"\0\r\n\r\n")
        head, data, end = self.browser.answer()
        self.assertEqual(head.status_code, 400)
        self.assertTrue(dict(head.headers)[b"content-type"].startswith(b"text/plain"))
        self.assertIn(b"no request", data)
        self.assertIsNotNone(end)

    def test_statuses_without_content(self) -> None:
        for status in (204, 304):
            self.browser.ask()
            self.asked().respond(status).end()
            self.assertTrue(self.browser.received().endswith(b"\r\n\r\n"))
        self.browser.ask()
        self.assertEqual(len(self.device.asked), 3)

    def test_a_status_that_nobody_knows(self) -> None:
        self.browser.ask()
        self.asked().respond(299, (b"content-length", b"0")).end()
        self.assertTrue(self.browser.received().startswith(b"HTTP/1.1 299 \r\n"))

    def test_heads_before_the_final_one(self) -> None:
        early = [
            ResponseHead(100),
            ResponseHead(101),
            ResponseHead(103, ((b"link", b"</a.css>"),)),
            ResponseHead(103, ((b"link", b"\x0b"),)),
        ]
        self.browser.ask()
        self.asked().respond(200, early=early).end()
        received = self.browser.received()
        self.assertEqual(re.findall(rb"HTTP/1.1 (\d+)", received), [b"103", b"200"])
        self.browser.ask(version="1.0")
        self.asked().respond(200, early=early).end()
        self.assertEqual(re.findall(rb"HTTP/1.1 (\d+)", self.browser.received()), [b"200"])

    def test_an_old_client_gets_its_answer_and_the_end(self) -> None:
        self.browser.ask(version="1.0")
        body = self.asked().respond(200)
        body.give(b"page")
        body.end((b"checksum", b"1"))
        received = self.browser.received()
        self.assertTrue(received.endswith(b"\r\n\r\npage"))
        self.assertIn(b"onnection: close", received)
        self.assertTrue(self.wire.disconnecting)

    def test_requests_ahead_of_their_turn_wait(self) -> None:
        one = f"GET /1 HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
        self.browser.send(one + one.replace(b"/1", b"/2"))
        self.assertEqual(len(self.device.asked), 1)
        self.assertFalse(self.wire.reading)
        self.asked().respond(204).end()
        self.assertEqual([each.head.path for each in self.device.asked], [b"/1", b"/2"])
        self.assertTrue(self.wire.reading)

    def test_what_follows_the_last_request_is_nobodys(self) -> None:
        self.browser.ask("GET", "/", ("Connection", "close"))
        self.browser.send(b"GET /more HTTP/1.1\r\n\r\n")
        self.asked().respond(204).end()
        self.assertEqual(len(self.device.asked), 1)
        self.assertTrue(self.wire.disconnecting)

    def test_who_names_the_whole_address_is_served_too(self) -> None:
        self.browser.ask("GET", f"http://{HOST}/page", host="elsewhere.example")
        self.browser.ask("GET", f"HTTP://{HOST}")
        self.asked().respond(204).end()
        heads = [each.head for each in self.device.asked]
        self.assertEqual([head.path for head in heads], [b"/page", b"/"])
        self.assertEqual({head.authority for head in heads}, {HOST.encode()})


class UploadTests(ProxyTestCase):
    LENGTH = ("Content-Length", "6")

    def test_flows_as_it_comes(self) -> None:
        self.browser.ask("POST", "/save", self.LENGTH, body=b"abc")
        writer = self.asked().writer
        self.assertEqual((writer.data, writer.trailers), (b"abc", None))
        self.browser.send(b"def")
        self.assertEqual((writer.data, writer.trailers), (b"abcdef", ()))
        self.assertEqual(self.asked().head.fields, ((b"content-length", b"6"),))
        self.asked().respond(204).end()
        self.browser.ask()
        self.assertEqual(len(self.device.asked), 2)

    def test_in_chunks_with_trailers(self) -> None:
        self.browser.ask("POST", "/", ("Transfer-Encoding", "chunked"), body=b"3\r\nabc\r\n")
        self.browser.send(b"2\r\nde\r\n0\r\nchecksum: 1\r\nhost: elsewhere\r\n\r\n")
        writer = self.asked().writer
        self.assertEqual((writer.data, writer.trailers), (b"abcde", ((b"checksum", b"1"),)))
        self.assertEqual(self.asked().head.fields, ())

    def test_waits_until_there_is_a_way(self) -> None:
        self.device.way = Deferred()
        self.browser.ask("POST", "/", self.LENGTH, body=b"abc")
        self.assertFalse(self.wire.reading)
        self.browser.send(b"de")  # was under way
        self.device.way.callback(None)
        self.assertTrue(self.wire.reading)
        self.assertEqual(self.asked().writer.data, b"abcde")

    def test_stops_while_the_device_takes_no_more(self) -> None:
        self.browser.ask("POST", "/", self.LENGTH, body=b"a")
        writer = self.asked().writer
        writer.producer.pauseProducing()
        self.assertFalse(self.wire.reading)
        self.browser.send(b"bcdef")  # was under way
        self.assertEqual(writer.data, b"a")
        writer.producer.resumeProducing()
        self.assertTrue(self.wire.reading)
        self.assertEqual((writer.data, writer.trailers), (b"abcdef", ()))

    def test_is_thrown_away_when_nobody_takes_it(self) -> None:
        self.browser.ask("POST", "/", self.LENGTH, body=b"a")
        writer = self.asked().writer
        writer.producer.pauseProducing()
        writer.producer.stopProducing()
        self.assertTrue(self.wire.reading)

    def test_who_waits_for_a_yes_gets_it_once_there_is_a_way(self) -> None:
        self.device.way = Deferred()
        self.browser.ask("PUT", "/", self.LENGTH, ("Expect", "100-continue"))
        self.assertEqual(self.browser.received(), b"")
        self.device.way.callback(None)
        self.assertEqual(self.browser.received(), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(self.asked().head.fields, ((b"content-length", b"6"),))
        self.browser.send(b"abcdef")
        self.assertEqual(self.asked().writer.trailers, ())

    def test_an_early_answer_ends_the_connection(self) -> None:
        self.browser.ask("POST", "/", self.LENGTH, body=b"abc")
        self.asked().respond(413, (b"content-length", b"0")).end()
        head, _, _ = self.browser.answer()
        self.assertEqual((head.status_code, dict(head.headers)[b"connection"]), (413, b"close"))
        self.assertTrue(self.wire.half_closed)
        self.browser.send(b"defGET / HTTP/1.1\r\n\r\n")
        self.assertEqual((len(self.device.asked), self.browser.received()), (1, b""))
        self.assertIsNone(self.asked().writer.producer)
        self.browser.clock.advance(LINGER_SECONDS)
        self.assertTrue(self.wire.aborted)

    def test_an_answer_that_begins_early_still_takes_the_rest(self) -> None:
        self.browser.ask("POST", "/", self.LENGTH, body=b"abc")
        body = self.asked().respond(200, (b"content-length", b"2"))
        self.browser.send(b"def")
        self.assertEqual(self.asked().writer.trailers, ())
        body.give(b"ok")
        body.end()
        self.assertEqual(self.browser.answer()[1], b"ok")
        self.assertTrue(self.wire.disconnecting)
        self.assertFalse(self.wire.half_closed)

    def test_a_body_that_is_none_breaks_the_request(self) -> None:
        self.browser.ask("POST", "/", ("Transfer-Encoding", "chunked"), body=b"nonsense\r\n")
        self.assertTrue(self.asked().cancelled)
        self.assertEqual(self.browser.answer()[0].status_code, 400)
        self.assertTrue(self.wire.half_closed)

    def test_a_body_that_is_none_breaks_an_answer(self) -> None:
        self.browser.ask("POST", "/", ("Transfer-Encoding", "chunked"))
        self.asked().respond(200)
        self.browser.send(b"nonsense\r\n")
        self.assertTrue(self.asked().cancelled)
        self.assertTrue(self.wire.aborted)


class PaceTests(ProxyTestCase):
    def test_a_browser_that_does_not_read_holds_the_response(self) -> None:
        self.browser.ask()
        body = self.asked().respond(200)
        self.assertTrue(self.wire.streaming)
        self.wire.producer.pauseProducing()
        self.assertTrue(body.paused)
        self.wire.producer.resumeProducing()
        self.assertFalse(body.paused)
        self.wire.producer.stopProducing()
        body.end()
        self.assertIsNone(self.wire.producer)


class EndTests(ProxyTestCase):
    def test_a_browser_that_goes_away_cancels(self) -> None:
        for state in ("waiting", "responding"):
            with self.subTest(state=state):
                self.be(FakeDevice())
                self.browser.ask()
                request = self.asked()
                if state == "responding":
                    request.respond(200)
                self.browser.leave()
                self.assertTrue(request.cancelled)

    def test_a_browser_that_goes_away_in_an_upload(self) -> None:
        self.browser.ask("POST", "/", ("Content-Length", "6"), body=b"abc")
        self.browser.leave()
        self.assertTrue(self.asked().cancelled)
        self.assertIsNone(self.asked().writer.producer)
        self.assertIsNone(self.asked().writer.trailers)

    def test_a_browser_that_goes_away_before_there_is_a_way(self) -> None:
        self.device.way = Deferred()
        self.browser.ask()
        self.browser.leave()
        self.device.way.callback(None)
        self.assertTrue(self.asked().cancelled)
        self.assertIsNone(self.asked().writer.trailers)

    def test_what_comes_after_the_browser_is_gone(self) -> None:
        self.browser.ask()
        request = self.asked()
        self.browser.leave()
        request.respond(200)
        self.assertIsNone(request.body.receiver)
        self.be(FakeDevice())
        self.browser.ask()
        body = self.asked().respond(200)
        self.browser.leave()
        self.browser.received()
        body.give(b"late")
        body.end()
        self.assertEqual(self.browser.received(), b"")

    def test_a_response_that_breaks_does_not_look_whole(self) -> None:
        self.browser.ask()
        body = self.asked().respond(200)
        body.give(b"half a pa")
        body.break_(LOST)
        self.assertTrue(self.wire.aborted)

    def test_a_response_that_is_not_what_its_head_says(self) -> None:
        for content in (b"long", b"s"):
            with self.subTest(content=content):
                self.be(FakeDevice())
                self.browser.ask()
                body = self.asked().respond(200, (b"content-length", b"3"))
                body.give(content)
                if len(content) < 3:
                    body.end()
                self.assertTrue(self.wire.aborted)
                self.browser.leave()

    def test_a_response_that_can_not_be_passed_on(self) -> None:
        for name, value in ((b"a", b"\x0b"), (b"content-length", b"many")):
            self.browser.ask("POST", "/", ("Content-Length", "0"))
            self.asked().respond(200, (name, value))
            head, data, _ = self.browser.answer()
            self.assertEqual(head.status_code, 502)
            self.assertIn(b"no response that can be passed on", data)
            self.assertTrue(self.asked().cancelled)

    def test_an_idle_connection_is_closed(self) -> None:
        self.browser.clock.advance(IDLE_SECONDS - 1)
        self.browser.ask()
        self.browser.clock.advance(IDLE_SECONDS)
        self.asked().respond(204).end()
        self.assertFalse(self.wire.disconnecting)
        self.browser.clock.advance(IDLE_SECONDS)
        self.assertTrue(self.wire.disconnecting)


class PageTests(ProxyTestCase):
    def test_no_way_and_no_answer(self) -> None:
        not_done = RequestNotExecuted("No way.", RequestFailureCode.NOT_CONNECTED)
        for error, status, words in (
            (not_done, 502, b"No way.\n"),
            (DeviceRevoked("Pair again."), 403, b"Pair again.\n"),
            (LocalProtocolError("too much"), 431, b"too long.\nNothing was done"),
        ):
            with self.subTest(status=status):
                self.be(RefusingDevice(error))
                self.browser.ask("POST", "/", ("Content-Length", "0"))
                head, data, _ = self.browser.answer()
                self.assertEqual(head.status_code, status)
                self.assertIn(words, data)
                self.browser.leave()

    def test_a_request_whose_answer_does_not_come(self) -> None:
        self.browser.ask("POST", "/", ("Content-Length", "1"), body=b"1")
        self.asked().fail(LOST)
        head, data, _ = self.browser.answer()
        self.assertEqual(head.status_code, 502)
        self.assertEqual(data, b"the connection is lost\n")
        self.browser.ask("HEAD")
        self.asked().fail(LOST)
        self.assertEqual(self.browser.answer("HEAD")[0].status_code, 502)
        self.browser.ask()
        self.assertEqual(len(self.device.asked), 3)

    def test_an_upload_whose_answer_does_not_come(self) -> None:
        self.browser.ask("POST", "/", ("Content-Length", "2"), body=b"1")
        self.asked().fail(LOST)
        self.assertEqual(self.browser.answer()[0].status_code, 502)
        self.assertTrue(self.wire.half_closed)

    def test_what_is_not_http(self) -> None:
        for sent, status in (
            (b"\x16\x03\x01\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nA: " + bytes(MAX_HEAD_BYTES), 431),
            (f"GET / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: br\r\n\r\n".encode(), 501),
        ):
            with self.subTest(status=status):
                self.be(FakeDevice())
                self.browser.send(sent)
                head, data, _ = self.browser.answer()
                self.assertEqual(head.status_code, status)
                self.assertIn(b"Nothing was done", data)
                self.assertEqual(self.device.asked, [])
                self.browser.leave()

    def test_what_is_not_for_this_system(self) -> None:
        for method, path, fields, status in (
            ("GET", "/#fragment", (), 400),
            ("CONNECT", "/", (), 501),
            ("GET", "/", (("Sec-Fetch-Site", "cross-site"),), 403),
            ("GET", "http://elsewhere.example/", (), 421),
        ):
            with self.subTest(status=status):
                self.browser.ask(method, path, *fields)
                head, _, _ = self.browser.answer(method)
                self.assertEqual(head.status_code, status)
        self.browser.ask(host="rebound.example:8080")
        self.assertEqual(self.browser.answer()[0].status_code, 421)
        self.assertEqual(self.device.asked, [])

    def test_a_refused_upload_is_not_read(self) -> None:
        length = ("Content-Length", "9")
        self.browser.ask("POST", "/", length, ("Origin", "https://evil.example"), body=b"ab")
        head, _, _ = self.browser.answer()
        self.assertEqual((head.status_code, dict(head.headers)[b"connection"]), (403, b"close"))
        self.assertTrue(self.wire.half_closed)

    def test_our_own_mistake_is_logged_and_breaks_off(self) -> None:
        self.be(RefusingDevice(RuntimeError("oops")))
        self.browser.ask()
        self.assertTrue(self.wire.aborted)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class WebSocketTests(ProxyTestCase):
    FIELDS = (
        ("Connection", "keep-alive, Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Protocol", "chat"),
        ("Origin", f"http://{HOST}"),
    )

    def open(self) -> Any:
        self.browser.ask("GET", "/live", *self.FIELDS)
        body = self.asked().respond(200, (b"sec-websocket-protocol", b"chat"))
        self.browser.received()
        return body

    def test_is_asked_for_by_an_extended_connect(self) -> None:
        self.browser.ask("GET", "/live", *self.FIELDS)
        request = self.asked()
        self.assertEqual(
            request.head,
            RequestHead(
                b"CONNECT",
                b"http",
                HOST.encode(),
                b"/live",
                (
                    (b":protocol", b"websocket"),
                    (b"sec-websocket-protocol", b"chat"),
                    (b"origin", f"http://{HOST}".encode()),
                ),
            ),
        )
        self.assertIsNone(request.writer.trailers)
        request.respond(200, (b"sec-websocket-protocol", b"chat"))
        lines = self.browser.received().split(b"\r\n")
        self.assertEqual(lines[0], b"HTTP/1.1 101 Switching Protocols")
        self.assertIn(b"sec-websocket-accept: " + ACCEPT, lines)
        self.assertIn(b"sec-websocket-protocol: chat", lines)

    def test_carries_bytes_both_ways(self) -> None:
        body = self.open()
        self.browser.send(b"there")
        body.give(b"back")
        self.assertEqual((self.asked().writer.data, self.browser.received()), (b"there", b"back"))

    def test_what_came_early_arrives(self) -> None:
        self.browser.ask("GET", "/live", *self.FIELDS, body=b"early")
        self.assertFalse(self.wire.reading)
        self.asked().respond(200)
        self.assertEqual(self.asked().writer.data, b"early")
        self.assertTrue(self.wire.reading)

    def test_has_a_pace_both_ways(self) -> None:
        body = self.open()
        self.wire.producer.pauseProducing()
        self.assertTrue(body.paused)
        self.asked().writer.producer.pauseProducing()
        self.assertFalse(self.wire.reading)
        self.asked().writer.producer.resumeProducing()
        self.assertTrue(self.wire.reading)

    def test_the_other_end_closes(self) -> None:
        body = self.open()
        body.give(b"bye")
        body.end()
        self.assertTrue(self.wire.disconnecting)
        self.assertEqual(self.browser.received(), b"bye")
        self.browser.leave()
        self.assertFalse(self.asked().cancelled)

    def test_the_other_end_breaks(self) -> None:
        self.open().break_(LOST)
        self.assertTrue(self.wire.aborted)

    def test_the_browser_leaves_and_its_last_words_arrive(self) -> None:
        body = self.open()
        self.browser.send(b"bye")
        self.browser.leave()
        request = self.asked()
        self.assertEqual((request.writer.data, request.writer.trailers), (b"bye", ()))
        self.assertFalse(request.cancelled)
        body.give(b"late")
        body.end()
        self.assertEqual(self.browser.clock.getDelayedCalls(), [])
        self.assertFalse(request.cancelled)

    def test_the_browser_leaves_and_nobody_answers(self) -> None:
        self.open()
        self.browser.leave()
        self.browser.clock.advance(GOODBYE_SECONDS)
        self.assertTrue(self.asked().cancelled)

    def test_is_refused_by_the_web_system(self) -> None:
        self.browser.ask("GET", "/live", *self.FIELDS)
        body = self.asked().respond(403, (b"content-length", b"2"))
        body.give(b"no")
        body.end()
        self.assertEqual(self.asked().writer.trailers, ())
        head, data, _ = self.browser.answer()
        self.assertEqual((head.status_code, data), (403, b"no"))
        self.browser.ask()
        self.assertEqual(len(self.device.asked), 2)

    def test_has_no_way(self) -> None:
        self.browser.ask("GET", "/live", *self.FIELDS)
        self.asked().fail(LOST)
        self.assertEqual(self.browser.answer()[0].status_code, 502)

    def test_a_handshake_that_is_wrong(self) -> None:
        old = [(name, "8" if name.endswith("Version") else value) for name, value in self.FIELDS]
        self.browser.ask("GET", "/live", *old)
        head, _, _ = self.browser.answer()
        self.assertEqual(head.status_code, 426)
        self.assertEqual(dict(head.headers)[b"sec-websocket-version"], b"13")
        self.assertEqual(self.device.asked, [])

    def test_of_a_page_of_another_site_is_refused(self) -> None:
        foreign = [*self.FIELDS[:-1], ("Origin", "https://evil.example")]
        self.browser.ask("GET", "/live", *foreign)
        self.assertEqual(self.browser.answer()[0].status_code, 403)

    def test_other_upgrades_are_not_made(self) -> None:
        self.browser.ask("GET", "/", ("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"))
        self.assertEqual((self.asked().head.method, self.asked().head.fields), (b"GET", ()))
        self.asked().respond(204).end()
        self.browser.ask()
        self.assertEqual(len(self.device.asked), 2)


class EveryByteTests(SynchronousTestCase):
    def test_a_request_comes_byte_by_byte(self) -> None:
        browser = BrowserEnd()
        text = f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 3\r\n\r\nabc"
        for byte in (text + text).encode():
            browser.send(bytes([byte]))
            if browser.device.asked and browser.device.asked[-1].writer.trailers == ():
                browser.device.asked[-1].respond(204).end()
                browser.device.asked[-1].writer.trailers = ((b"seen", b"1"),)
        self.assertEqual([each.writer.data for each in browser.device.asked], [b"abc", b"abc"])
        self.assertEqual(
            browser.received().count(b"HTTP/1.1 204"), 2, "each has its answer, in its turn"
        )
        browser.leave()
