"""porttunnel.net.instance.upstream: requests there and back, on lines that the test holds."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from twisted.internet.error import ConnectionRefusedError, TimeoutError
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher

from porttunnel.gateway.http_head import ResponseHead
from porttunnel.net.instance.upstream_exchange import MAX_INFORMATIONAL
from tests.net.instance.upstream_line import AskedInTest, Line, WebSystem

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
HOST = b"host: wiki.example:8080\r\n"
USER = b"x-remote-user: anna\r\n"


@pytest.fixture
def web() -> WebSystem:
    return WebSystem()


def answered(asked: AskedInTest) -> tuple[int | None, bytes, Any]:
    return asked.status, asked.writer.data, asked.writer.end_state


class TestAskingAndAnswering:
    def test_a_page(self, web: WebSystem) -> None:
        asked = web.ask(b"/wiki/start?do=edit", b"GET", (b"accept", b"*/*"), (b"cookie", b"x=y"))
        assert web.line.asked == (
            b"GET /wiki/start?do=edit HTTP/1.1\r\n" + HOST + b"accept: */*\r\n" + USER + b"\r\n"
        )
        web.line.say(b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 4\r\n")
        web.line.say(b"Server: x\r\n\r\npa")
        assert asked.answer == ResponseHead(
            404, ((b"content-type", b"text/html"), (b"content-length", b"4"), (b"server", b"x"))
        )
        assert asked.writer.producer is not None
        web.line.say(b"ge")
        assert answered(asked) == (404, b"page", ())
        assert asked.writer.producer is None
        assert web.upstream.running == 0

    @pytest.mark.parametrize(
        ("method", "answer", "status"),
        [
            (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200),
            (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204),
            (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304),
            (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
        ],
    )
    def test_answers_without_a_body(
        self, web: WebSystem, method: bytes, answer: bytes, status: int
    ) -> None:
        asked = web.ask(b"/", method)
        web.line.say(answer)
        assert answered(asked) == (status, b"", ())
        assert web.ask().answer is None
        assert len(web.endpoint.lines) == 1

    def test_byte_by_byte_and_at_once(self, web: WebSystem) -> None:
        whole = CHUNKED + b"3\r\nabc\r\n1\r\nd\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\n\r\n"
        for pieces in ([whole], [bytes([octet]) for octet in whole]):
            asked = web.ask()
            for piece in pieces:
                web.line.say(piece)
            assert answered(asked) == (200, b"abcd", ((b"x-sum", b"1"),))

    def test_of_a_known_length(self, web: WebSystem) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
        whole = head + b"abcd"
        for pieces in ([whole], [bytes([octet]) for octet in whole], [head, b"abcd"]):
            asked = web.ask()
            for piece in pieces:
                web.line.say(piece)
            assert answered(asked) == (200, b"abcd", ())
        assert len(web.endpoint.lines) == 1
        asked = web.ask()
        web.line.say(head + b"abcdHTTP/1.1 200 OK\r\n")
        assert answered(asked) == (200, b"abcd", ())
        assert web.line.closing, "what follows was not asked for"
        both = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n"
        asked = web.ask()
        web.line.say(both + b"1\r\na\r\n0\r\n\r\n")
        assert answered(asked) == (200, b"a", ())

    def test_a_reader_that_goes_in_the_middle(self, web: WebSystem) -> None:
        asked = web.ask()
        asked.writer.registerProducer = lambda *_: asked.on_cancelled()  # type: ignore[method-assign]  # goes at once
        web.line.say(OK)
        assert asked.writer.data == b""
        assert web.line.aborted

    def test_heads_before_the_final_one(self, web: WebSystem) -> None:
        asked = web.ask()
        web.line.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        for _ in range(MAX_INFORMATIONAL + 3):
            web.line.say(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        hint = ResponseHead(103, ((b"link", b"</a>"),))
        assert asked.informed == [hint] * (MAX_INFORMATIONAL - 1)
        web.line.say(OK)
        assert answered(asked) == (200, b"ok", ())

    def test_a_hint_that_cannot_be_passed_on_harms_nothing(self, web: WebSystem) -> None:
        asked = web.ask()
        asked.unfit = True
        web.line.say(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        asked.unfit = False
        web.line.say(OK)
        assert asked.status == 200

    def test_cookies_stay_with_the_device_that_got_them(self, web: WebSystem) -> None:
        web.ask(b"/login")
        said = b"HTTP/1.1 302 Found\r\nSet-Cookie: s=1; path=/\r\nContent-Length: 0\r\n"
        web.line.say(said + b"Location: http://wiki.example:8080/home\r\n\r\n")
        web.ask()
        assert b"cookie: s=1\r\n" in web.line.asked
        web.line.say(OK)
        web.ask(device_id="b" * 32)
        assert b"cookie" not in web.line.asked
        web.line.say(OK)
        web.upstream.forget("a" * 32)
        web.ask()
        assert b"cookie" not in web.line.asked
        web.line.say(b"HTTP/1.1 200 OK\r\nSet-Cookie: t=1\r\nContent-Length: 0\r\n\r\n")
        web.ask()
        clearing = b'HTTP/1.1 200 OK\r\nClear-Site-Data: "cookies"\r\nSet-Cookie: u=1\r\n'
        web.line.say(clearing + b"Content-Length: 0\r\n\r\n")
        assert b"cookie: t=1\r\n" in web.line.asked
        web.ask()
        assert b"cookie: u=1\r\n" in web.line.asked

    def test_redirects_stay_inside(self, web: WebSystem) -> None:
        asked = web.ask()
        web.line.say(b"HTTP/1.1 302 Found\r\nLocation: http://wiki.example:8080/a\r\n")
        web.line.say(b"Content-Length: 0\r\n\r\n")
        assert asked.fields[b"location"] == b"/a"

    @pytest.mark.parametrize(
        ("path", "method", "status"),
        [(b"/admin", b"GET", 403), (b"/wiki/../admin", b"GET", 400), (b"/wiki", b"PURGE", 405)],
    )
    def test_what_is_not_allowed_is_not_asked(
        self, path: bytes, method: bytes, status: int
    ) -> None:
        web = WebSystem(paths=("/wiki",))
        asked = web.ask(path, method)
        assert asked.status == status
        assert web.endpoint.lines == []
        if status == 405:
            assert b"GET" in asked.fields[b"allow"]
        assert web.upstream.running == 0

    def test_what_http_cannot_say_is_not_asked(self, web: WebSystem) -> None:
        asked = web.ask(b"/", b"GET", (b"a", b"\x01"))
        assert asked.status == 400
        assert web.endpoint.lines == []


class TestTheRequestsBody:
    def test_of_known_length(self, web: WebSystem) -> None:
        asked = web.ask(b"/", b"POST", (b"content-length", b"4"), data=None)
        head = b"POST / HTTP/1.1\r\n" + HOST + USER + b"content-length: 4\r\n\r\n"
        assert web.line.asked == head
        asked.body.send(b"ab")
        assert web.line.asked == b"ab"
        asked.body.send(b"cd")
        asked.body.end((b"x-sum", b"1"))
        assert web.line.asked == b"cd"
        web.line.say(OK)
        assert answered(asked) == (200, b"ok", ())

    def test_that_came_whole_has_a_length(self, web: WebSystem) -> None:
        web.ask(b"/", b"POST", data=b"abcd")
        assert web.line.asked.endswith(b"content-length: 4\r\n\r\nabcd")
        web.line.say(OK)
        web.ask(b"/", b"POST")
        assert web.line.asked.endswith(b"content-length: 0\r\n\r\n")
        web.line.say(OK)
        web.ask(b"/", b"DELETE")
        assert b"content-length" not in web.line.asked

    def test_of_unknown_length_goes_in_chunks_with_trailers(self, web: WebSystem) -> None:
        asked = web.ask(b"/", b"PUT", data=None)
        assert web.endpoint.lines == []
        asked.body.send(b"ab")
        assert web.line.asked.endswith(b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n")
        asked.body.end((b"x-sum", b"1"), (b"x-remote-user", b"root"), (b"host", b"evil"))
        assert web.line.asked == b"0\r\nx-sum: 1\r\n\r\n"

    def test_that_turns_out_to_be_none(self, web: WebSystem) -> None:
        asked = web.ask(b"/", b"GET", data=None)
        assert web.endpoint.lines == []
        asked.body.end()
        assert web.line.asked.startswith(b"GET / ")

    def test_waits_for_a_connection_and_for_the_web_system(self, web: WebSystem) -> None:
        web.endpoint.held = True
        asked = web.ask(b"/", b"POST", data=None)
        asked.body.send(b"ab")
        assert asked.body.paused
        asked.body.send(b"cd")
        web.endpoint.accept()
        assert not asked.body.paused
        assert web.line.asked.endswith(b"2\r\nab\r\n2\r\ncd\r\n")
        web.line.transport.producer.pauseProducing()
        assert asked.body.paused
        web.line.transport.producer.resumeProducing()
        assert not asked.body.paused
        asked.body.end()
        assert web.line.transport.producer is None

    def test_that_is_whole_before_there_is_a_connection(self, web: WebSystem) -> None:
        web.endpoint.held = True
        asked = web.ask(b"/", b"POST", data=None)
        for piece in (b"ab", b"cd"):
            asked.body.send(piece)
        asked.body.end()
        web.endpoint.accept()
        assert web.line.asked.endswith(b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n")
        assert web.line.transport.producer is None
        web.line.say(OK)
        assert answered(asked) == (200, b"ok", ())
        assert web.upstream.connections == 1

    @pytest.mark.parametrize("early", [False, True])
    def test_that_breaks_off_is_never_ended(self, web: WebSystem, early: bool) -> None:
        web.endpoint.held = early
        asked = web.ask(b"/", b"POST", data=None)
        asked.body.send(b"ab")
        asked.body.break_off()
        assert asked.ended == "failed"
        assert web.upstream.running == 0
        if early:
            assert web.endpoint.cancelled == 1
        else:
            assert not web.line.asked.endswith(b"0\r\n\r\n")
            assert web.line.aborted

    @pytest.mark.parametrize("data", [b"abc", b"a"])
    def test_of_another_length_than_was_said(self, web: WebSystem, data: bytes) -> None:
        asked = web.ask(b"/", b"POST", (b"content-length", b"2"), data=None)
        asked.body.send(data)
        asked.body.end()
        assert asked.status == 400
        assert web.line.aborted
        assert web.upstream.running == 0

    def test_that_came_before_the_connection_and_is_too_long(self, web: WebSystem) -> None:
        asked = web.ask(b"/", b"POST", (b"content-length", b"2"), data=b"abc")
        assert asked.status == 400
        assert web.line.aborted

    def test_is_not_sent_on_once_the_answer_is_whole(self, web: WebSystem) -> None:
        asked = web.ask(b"/", b"POST", (b"content-length", b"9"), data=None)
        asked.body.send(b"ab")
        web.line.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        assert answered(asked) == (413, b"no", ())
        assert asked.body.cancelled
        assert web.line.aborted
        web.ask()
        assert len(web.endpoint.lines) == 2

    def test_goes_on_while_the_answer_comes(self, web: WebSystem) -> None:
        asked = web.ask(b"/", b"POST", data=None)
        asked.body.send(b"ab")
        web.line.say(CHUNKED + b"1\r\nx\r\n")
        asked.body.send(b"cd")
        assert web.line.asked.endswith(b"2\r\ncd\r\n")
        asked.body.end()
        web.line.say(b"0\r\n\r\n")
        assert answered(asked) == (200, b"x", ())
        assert not web.line.aborted

    def test_that_breaks_off_while_the_answer_comes(self, web: WebSystem) -> None:
        asked = web.ask(b"/", b"POST", data=None)
        asked.body.send(b"ab")
        web.line.say(CHUNKED + b"1\r\nx\r\n")
        asked.body.break_off()
        assert answered(asked) == (200, b"x", "aborted")
        assert web.line.aborted


class TestPace:
    def test_a_device_that_takes_nothing_stops_its_own_line_only(self, web: WebSystem) -> None:
        slow = web.ask()
        slow_line = web.line
        slow_line.say(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nab")
        slow.writer.producer.pauseProducing()
        assert slow_line.paused
        other = web.ask()
        web.line.say(OK)
        assert other.status == 200
        assert slow_line.paused
        slow.writer.producer.resumeProducing()
        assert not slow_line.paused
        slow.writer.producer.pauseProducing()
        slow_line.say(b"cdef")
        assert answered(slow) == (200, b"abcdef", ())
        assert not slow_line.paused, "the next request would hear nothing"


class TestEnds:
    @pytest.mark.parametrize(
        "said",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
            CHUNKED + b"5\r\nab",
            CHUNKED + b"2\r\nab\r\n",
            CHUNKED + b"2\r\nab\r\n0\r\n",
        ],
    )
    def test_what_is_cut_is_never_whole(self, web: WebSystem, said: bytes) -> None:
        for end in (Line.close, Line.cut):
            asked = web.ask()
            web.line.say(said)
            end(web.line)
            assert answered(asked) == (200, b"ab", "aborted")

    def test_the_end_of_the_connection_may_be_that_of_the_answer(self, web: WebSystem) -> None:
        asked = web.ask()
        web.line.say(b"HTTP/1.0 200 OK\r\n\r\nab")
        web.line.close()
        assert answered(asked) == (200, b"ab", ())
        asked = web.ask()
        web.line.say(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nab")
        web.line.cut()
        assert answered(asked) == (200, b"ab", "aborted")

    @pytest.mark.parametrize(
        "said",
        [
            b"",
            b"HTTP/1.1 200",
            b"HTTP/1.1 200 OK\r\nA: b\r\n",
            b"rubbish\r\n\r\n",
            b"\x16\x03\x01\x02\x00",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000,
            b"HTTP/1.1 600 What\r\nContent-Length: 0\r\n\r\n",
        ],
    )
    def test_what_is_no_answer(self, web: WebSystem, said: bytes) -> None:
        asked = web.ask(b"/", b"POST")
        if said:
            web.line.say(said)
        web.line.close()
        assert asked.status == 502
        assert b"did not answer properly" in asked.writer.data
        assert b"wiki" not in asked.writer.data
        assert asked.writer.end_state == ()
        assert len(web.endpoint.lines) == 1, "it was asked again"

    def test_what_it_did_not_want_to_the_end(self, web: WebSystem) -> None:
        asked = web.ask(b"/", b"POST", (b"content-length", b"9"), data=None)
        asked.body.send(b"abc")
        web.line.cut()
        assert (asked.status, asked.body.cancelled) == (502, True)
        assert b"Perhaps it was too large" in asked.writer.data

    def test_a_head_that_the_device_cannot_be_told(self, web: WebSystem) -> None:
        asked = web.ask()
        asked.unfit = True
        web.line.say(OK)
        assert asked.status == 502
        assert web.line.aborted

    def test_broken_chunks(self, web: WebSystem) -> None:
        asked = web.ask()
        web.line.say(CHUNKED + b"2\r\nab\r\nxyz\r\n")
        assert answered(asked) == (200, b"ab", "aborted")
        assert web.line.aborted

    def test_an_answer_to_head_has_no_text_of_ours(self, web: WebSystem) -> None:
        asked = web.ask(b"/", b"HEAD")
        web.line.close()
        assert answered(asked) == (502, b"", ())
        assert int(asked.fields[b"content-length"]) > 0

    def test_who_takes_no_connection(self, web: WebSystem) -> None:
        web.endpoint.held = True
        for error, status in ((ConnectionRefusedError(), 502), (TimeoutError(), 504)):
            asked = web.ask()
            web.endpoint.refuse(error)
            assert asked.status == status
        assert web.upstream.connections == 0

    def test_cancelling_reaches_the_web_system(self, web: WebSystem) -> None:
        asked = web.ask()
        asked.on_cancelled()
        assert web.line.aborted
        answering = web.ask()
        web.line.say(CHUNKED + b"1\r\na\r\n")
        answering.on_cancelled()
        answering.on_cancelled()
        answering.body.break_off()
        assert web.line.aborted
        assert answering.writer.end_state is None
        stopped = web.ask()
        web.line.say(CHUNKED + b"1\r\na\r\n")
        stopped.writer.producer.stopProducing()
        assert web.line.aborted
        web.endpoint.held = True
        web.ask().on_cancelled()
        assert web.endpoint.cancelled == 1
        assert (web.upstream.running, web.upstream.connections) == (0, 0)
        assert asked.answer is None

    def test_stopping_breaks_off_everything(self, web: WebSystem) -> None:
        web.ask()
        web.line.say(OK)
        idle = web.line
        web.ask(b"/", b"POST")
        busy = web.line
        web.upstream.stop()
        assert idle.closing
        assert busy.aborted
        assert web.upstream.running == 0
        late = web.ask()
        assert late.ended == "busy"
        for line in web.endpoint.lines:
            line.close()
        assert web.clock.getDelayedCalls() == []


class TestTime:
    def test_for_the_head(self) -> None:
        web = WebSystem(head_seconds=10)
        asked = web.ask()
        web.clock.advance(9)
        web.line.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert asked.answer is None
        web.clock.advance(1)
        assert asked.status == 504
        assert web.line.aborted

    def test_for_the_rest(self) -> None:
        web = WebSystem(head_seconds=5, idle_seconds=10)
        asked = web.ask()
        web.line.say(CHUNKED)
        for _ in range(3):
            web.clock.advance(9)
            web.line.say(b"1\r\na\r\n")
        web.clock.advance(10)
        assert answered(asked) == (200, b"aaa", "aborted")
        assert web.line.aborted

    def test_of_a_device_that_takes_nothing(self) -> None:
        web = WebSystem(idle_seconds=10, device_idle_seconds=50)
        asked = web.ask()
        web.line.say(CHUNKED + b"1\r\na\r\n")
        asked.writer.producer.pauseProducing()
        web.clock.advance(49)
        asked.writer.producer.resumeProducing()
        asked.writer.producer.pauseProducing()
        web.clock.advance(49)
        assert asked.writer.end_state is None
        web.clock.advance(1)
        assert answered(asked) == (200, b"a", "aborted")

    def test_of_a_web_system_whose_device_takes_again(self) -> None:
        web = WebSystem(idle_seconds=10, device_idle_seconds=50)
        asked = web.ask()
        web.line.say(CHUNKED + b"1\r\na\r\n")
        asked.writer.producer.pauseProducing()
        web.clock.advance(49)
        asked.writer.producer.resumeProducing()
        web.clock.advance(9)
        assert asked.writer.end_state is None
        web.clock.advance(1)
        assert answered(asked) == (200, b"a", "aborted")

    def test_of_a_device_that_sends_nothing(self) -> None:
        web = WebSystem(idle_seconds=10)
        silent = web.ask(b"/", b"POST", data=None)
        web.clock.advance(10)
        assert silent.status == 408
        stuck = web.ask(b"/", b"POST", data=None)
        stuck.body.send(b"a")
        web.clock.advance(9)
        stuck.body.send(b"a")
        web.clock.advance(9)
        assert stuck.answer is None
        web.clock.advance(1)
        assert stuck.status == 408
        assert web.line.aborted

    def test_of_a_web_system_that_takes_nothing(self) -> None:
        web = WebSystem(idle_seconds=10)
        asked = web.ask(b"/", b"POST", data=None)
        asked.body.send(b"a")
        web.line.transport.producer.pauseProducing()
        web.clock.advance(10)
        assert asked.status == 504

    def test_a_long_upload_ends_before_the_time_for_the_head_begins(self) -> None:
        web = WebSystem(head_seconds=5, idle_seconds=10)
        asked = web.ask(b"/", b"POST", data=None)
        for _ in range(4):
            asked.body.send(b"a")
            web.clock.advance(9)
        asked.body.end()
        web.clock.advance(4)
        assert asked.answer is None
        web.clock.advance(1)
        assert asked.status == 504

    def test_nothing_is_left_when_all_is_over(self, web: WebSystem) -> None:
        web.ask()
        web.line.say(OK)
        web.clock.advance(web.settings.keep_alive_seconds)
        assert web.line.closing
        web.line.close()
        assert web.clock.getDelayedCalls() == []
        assert web.upstream.connections == 0


class TestRepeating:
    """A web system may close an idle connection just when something is asked on it."""

    def use_once(self, web: WebSystem) -> Line:
        web.ask()
        web.line.say(OK)
        return web.line

    def test_what_changes_nothing_is_asked_once_more(self, web: WebSystem) -> None:
        for method in (b"GET", b"HEAD", b"OPTIONS"):
            used = self.use_once(web)
            asked = web.ask(b"/a", method)
            assert used.asked.endswith(b"\r\n\r\n")
            used.close()
            assert web.line is not used
            assert web.line.asked.startswith(method)
            web.line.say(b"HTTP/1.1 204 No Content\r\n\r\n")
            assert asked.status == 204

    def test_but_not_twice(self, web: WebSystem) -> None:
        used = self.use_once(web)
        asked = web.ask()
        used.cut()
        web.line.cut()
        assert asked.status == 502
        assert len(web.endpoint.lines) == 2

    def test_not_on_another_one_that_had_been_idle(self, web: WebSystem) -> None:
        web.ask()
        web.ask()
        for used in web.endpoint.lines:  # and now it starts again
            used.say(OK)
        asked = web.ask()
        web.line.close()
        assert len(web.endpoint.lines) == 3
        web.line.say(OK)
        assert answered(asked) == (200, b"ok", ())

    def test_nor_if_an_answer_had_begun(self, web: WebSystem) -> None:
        used = self.use_once(web)
        asked = web.ask()
        used.say(b"H")
        used.close()
        assert asked.status == 502
        assert len(web.endpoint.lines) == 1

    def test_nor_on_a_connection_that_is_new(self, web: WebSystem) -> None:
        asked = web.ask()
        web.line.close()
        assert asked.status == 502
        assert len(web.endpoint.lines) == 1

    @pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"PATCH"])
    def test_what_changes_something_goes_out_on_a_new_one_and_once(
        self, web: WebSystem, method: bytes
    ) -> None:
        used = self.use_once(web)
        used.transport.clear()
        asked = web.ask(b"/", method)
        assert used.asked == b""
        assert web.line is not used
        web.line.close()
        assert asked.status == 502
        assert len(web.endpoint.lines) == 2

    def test_a_body_goes_out_once_whatever_the_method(self, web: WebSystem) -> None:
        used = self.use_once(web)
        asked = web.ask(b"/", b"GET", data=b"query")
        assert web.line is not used
        web.line.close()
        assert asked.status == 502


class TestTheLog:
    def test_says_once_that_it_is_down_and_that_it_is_back(self, web: WebSystem) -> None:
        logged = EventLoggingObserver()
        globalLogPublisher.addObserver(logged)
        try:
            for _ in range(3):
                web.ask()
                web.line.close()
            assert len(logged) == 1
            web.ask()
            web.line.say(OK)
            web.ask()
            web.line.say(OK)
            assert len(logged) == 2
        finally:
            globalLogPublisher.removeObserver(logged)

    @pytest.mark.parametrize(
        ("answer", "why"),
        [
            (b"HTTP/1.1 200 OK\r\nSet-Cookie: id=secret\0\r\n\r\n", "illegal header line"),
            (b"HTTP/1.1 secret\r\n\r\n", "illegal status line"),
            (CHUNKED + b"secret\r\n", "illegal chunk header"),
        ],
    )
    def test_says_nothing_of_what_was_answered(
        self, web: WebSystem, answer: bytes, why: str
    ) -> None:
        logged = EventLoggingObserver()
        globalLogPublisher.addObserver(logged)
        try:
            web.ask()
            web.line.say(answer)
            assert [event["text"] for event in logged] == [why]
        finally:
            globalLogPublisher.removeObserver(logged)

    def test_nothing_is_lost_in_a_deferred(self, web: WebSystem) -> None:
        logged = EventLoggingObserver()
        globalLogPublisher.addObserver(logged)
        try:
            web.endpoint.held = True
            web.ask()
            web.endpoint.refuse(ConnectionRefusedError())
            web.ask().on_cancelled()
            gc.collect()
            assert [event for event in logged if "log_failure" in event] == []
        finally:
            globalLogPublisher.removeObserver(logged)
