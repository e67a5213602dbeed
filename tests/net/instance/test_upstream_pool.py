"""porttunnel.net.instance.upstream_pool: kept, counted, waited for."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionRefusedError

from porttunnel.net.instance import upstream_pool
from porttunnel.net.instance.upstream_connection import CLOSING_SECONDS
from tests.net.instance.upstream_line import ANNA, AskedInTest, WebSystem

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

BERT = "b" * 32


def idle(web: WebSystem, count: int) -> None:
    """Make so many idle connections."""
    first = len(web.endpoint.lines)
    for _ in range(count):
        web.ask()
    for line in web.endpoint.lines[first:]:
        line.say(OK)


def test_the_last_used_is_used_first() -> None:
    web = WebSystem()
    idle(web, 2)
    web.endpoint.lines[0].transport.clear()
    web.endpoint.lines[1].transport.clear()
    web.ask()
    assert web.endpoint.lines[1].asked
    assert not web.endpoint.lines[0].asked
    web.ask()
    assert web.endpoint.lines[0].asked
    assert len(web.endpoint.lines) == 2


def test_idle_ones_are_closed_in_time_and_cut_if_they_stay() -> None:
    web = WebSystem(keep_alive_seconds=4)
    idle(web, 1)
    web.clock.advance(3)
    web.ask()
    web.line.say(OK)
    web.clock.advance(3)
    assert not web.line.closing
    web.clock.advance(1)
    assert web.line.closing
    assert web.upstream.connections == 0
    web.clock.advance(CLOSING_SECONDS)
    assert web.line.aborted
    web.line.close()
    assert web.clock.getDelayedCalls() == []


def test_more_than_are_of_use_are_not_kept() -> None:
    web = WebSystem()
    idle(web, upstream_pool.MAX_IDLE + 1)
    assert web.endpoint.lines[0].closing
    assert not web.endpoint.lines[1].closing
    assert web.upstream.connections == upstream_pool.MAX_IDLE


def test_what_speaks_unasked_is_cut() -> None:
    web = WebSystem()
    for unasked in (b"HTTP/1.1 408 Timeout\r\n\r\n", b"x"):
        idle(web, 1)
        web.line.say(unasked)
        assert web.line.aborted
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    for whole in (OK, chunked):
        web.ask()
        web.line.say(whole + b"HTTP/1.1 200 OK\r\n")
        assert web.line.closing
    web.ask()
    assert len(web.endpoint.lines) == 5


def test_what_is_closed_is_not_used_again() -> None:
    web = WebSystem()
    idle(web, 1)
    web.line.close()
    assert web.upstream.connections == 0
    web.ask()
    web.line.say(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    assert web.line.closing
    web.ask()
    web.line.say(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert web.line.closing
    assert web.upstream.connections == 0


class TestWaiting:
    def test_in_turn(self) -> None:
        web = WebSystem(max_connections=1)
        first, second, third = web.ask(b"/1"), web.ask(b"/2", b"POST"), web.ask(b"/3")
        assert web.upstream.waiting == 2
        web.line.say(OK)
        assert first.status == 200
        # What was used before is closed for one that wants a new one.
        assert web.endpoint.lines[0].closing
        assert len(web.endpoint.lines) == 2
        assert b"POST /2" in web.line.asked
        web.line.say(OK)
        assert second.status == 200
        assert b"GET /3" in web.line.asked
        web.line.say(OK)
        assert third.status == 200
        assert (web.upstream.waiting, web.upstream.connections) == (0, 1)
        assert len(web.endpoint.lines) == 2

    def test_only_so_many_and_so_long(self) -> None:
        web = WebSystem(max_connections=1, max_waiting=1, wait_seconds=10)
        web.ask()
        waiting = web.ask()
        refused = web.ask()
        assert refused.ended == "busy"
        web.clock.advance(10)
        assert waiting.status == 503
        assert waiting.fields[b"retry-after"] == b"5"
        assert web.upstream.running == 1

    def test_a_late_body_finds_all_places_taken(self) -> None:
        web = WebSystem(max_connections=1, max_waiting=1)
        late = web.ask(b"/", b"POST", data=None)
        web.ask()
        web.ask()
        late.body.send(b"x")
        assert late.status == 503
        assert late.body.cancelled

    def test_whoever_is_cancelled_holds_no_place(self) -> None:
        web = WebSystem(max_connections=1, max_waiting=1)
        running, waiting = web.ask(), web.ask()
        waiting.on_cancelled()
        assert web.upstream.waiting == 0
        after = web.ask()
        running.on_cancelled()
        web.line.say(OK)
        assert after.status == 200

    def test_what_is_being_made_counts_and_is_given_up(self) -> None:
        web = WebSystem(max_connections=1, wait_seconds=10)
        web.endpoint.held = True
        making, waiting = web.ask(b"/1"), web.ask(b"/2")
        assert (web.upstream.connections, web.upstream.waiting) == (1, 1)
        making.on_cancelled()
        assert web.endpoint.cancelled == 1
        web.clock.advance(10)
        assert waiting.answer is None, "the endpoint has a time-out of its own"
        web.endpoint.accept()
        web.line.say(OK)
        assert waiting.status == 200

    def test_whoever_comes_after_one_that_failed(self) -> None:
        web = WebSystem(max_connections=1)
        web.endpoint.held = True
        failed, after = web.ask(b"/1"), web.ask(b"/2")
        web.endpoint.refuse(ConnectionRefusedError())
        assert failed.status == 502
        web.endpoint.accept()
        web.line.say(OK)
        assert after.status == 200

    def test_stopping(self) -> None:
        web = WebSystem(max_connections=2)
        pool: Any = web.upstream._pool
        web.endpoint.held = True
        asked = [pool.acquire(device, fresh=False) for device in (ANNA, ANNA, BERT)]
        outcomes: list[Any] = []
        for connecting in asked:
            connecting.addErrback(outcomes.append)
        pool.stop()
        assert [outcome.type for outcome in outcomes] == [CancelledError] * 3
        assert (pool.connections, pool.waiting, pool.is_busy_for(ANNA)) == (0, 0, True)

    def test_who_comes_back_after_the_end_is_closed(self) -> None:
        web = WebSystem()
        asked = web.ask()
        web.upstream._pool.stop()
        web.line.say(OK)
        assert asked.status == 200
        assert web.line.closing


class TestDevices:
    def test_one_that_takes_all_it_can_leaves_some(self) -> None:
        web = WebSystem(max_connections=8, max_waiting=2)
        asked = [web.ask() for _ in range(8)]
        assert (web.upstream.connections, web.upstream.waiting) == (5, 2)
        assert asked[-1].ended == "busy"
        other = web.ask(b"/", b"POST", device_id=BERT)
        assert b"POST" in web.line.asked
        web.line.say(OK)
        assert other.status == 200
        assert web.upstream.waiting == 2
        # What it gives back is for whoever of it comes first.
        for line in web.endpoint.lines[:5]:
            line.say(OK)
        assert web.upstream.waiting == 0

    def test_several_of_them_leave_one_for_who_has_none(self) -> None:
        web = WebSystem(max_connections=8)
        for number in range(20):
            web.ask(device_id=f"{number % 3}" * 32)
        assert web.upstream.connections == 7
        other = web.ask(device_id=BERT)
        assert web.upstream.connections == 8
        web.line.say(OK)
        assert other.status == 200

    def test_the_counts_come_back_from_everywhere(self) -> None:
        web = WebSystem(max_connections=4)
        web.endpoint.held = True
        first, second, third = web.ask(), web.ask(), web.ask()
        first.on_cancelled()
        web.endpoint.refuse(ConnectionRefusedError())
        web.endpoint.accept()
        web.line.close()
        assert (second.status, third.status) == (502, 502)
        web.endpoint.held = False
        for _ in range(4):
            web.ask()
        assert (web.upstream.connections, web.upstream.waiting) == (3, 1)


@pytest.mark.parametrize("count", [1, 3])
def test_never_more_than_allowed(count: int) -> None:
    web = WebSystem(max_connections=count)
    asked: list[AskedInTest] = []
    for number in range(20):
        asked.append(web.ask(b"/", b"POST" if number % 3 else b"GET"))
        assert web.upstream.connections <= count
    while any(one.status is None for one in asked):
        for line in list(web.endpoint.lines):
            if line.asked:
                line.say(OK)
                assert web.upstream.connections <= count
    assert {one.status for one in asked} == {200}
    assert web.upstream.running == 0
