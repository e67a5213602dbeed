"""porttunnel.net.instance.upstream: WebSockets, which become plain bytes both ways."""

from __future__ import annotations

import pytest

from porttunnel.net.instance.upstream_framing import frame_websocket, is_websocket
from porttunnel.websocket.handshake import accept_value
from tests.net.instance.upstream_line import AskedInTest, WebSystem

KEY = "A" * 22 + "=="  # of 16 zeros
ACCEPT = accept_value(KEY).encode()
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
AGREED = SWITCHING + b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n"


@pytest.fixture
def web() -> WebSystem:
    return WebSystem(max_connections=1, max_websockets=3, websocket_idle_seconds=60)


def ask(web: WebSystem) -> AskedInTest:
    fields = ((b":protocol", b"websocket"), (b"sec-websocket-protocol", b"chat, other"))
    return web.ask(b"/live?x=1", b"CONNECT", *fields, data=None)


def opened(web: WebSystem) -> AskedInTest:
    asked = ask(web)
    web.line.say(AGREED + b"\r\n")
    assert asked.status == 200
    web.line.transport.clear()
    return asked


def test_bytes_pass_both_ways(web: WebSystem) -> None:
    asked = ask(web)
    assert web.line.asked == (
        b"GET /live?x=1 HTTP/1.1\r\nhost: wiki.example:8080\r\n"
        b"sec-websocket-protocol: chat, other\r\nx-remote-user: anna\r\n"
        b"connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        b"sec-websocket-key: " + KEY.encode() + b"\r\n\r\n"
    )
    asked.body.send(b"early")
    assert web.line.asked == b""
    web.line.say(AGREED + b"Sec-WebSocket-Protocol: chat\r\nSet-Cookie: a=b\r\n\r\nhello")
    assert asked.answer is not None
    assert asked.answer.fields == ((b"sec-websocket-protocol", b"chat"),)
    assert asked.writer.data == b"hello"
    assert web.line.asked == b"early"
    assert not asked.body.paused
    asked.body.send(b"\x81\x00")
    web.line.say(b"\x81\x01x")
    assert web.line.asked == b"\x81\x00"
    assert asked.writer.data == b"hello\x81\x01x"


def test_each_side_may_pause_the_other(web: WebSystem) -> None:
    asked = opened(web)
    asked.writer.producer.pauseProducing()
    assert web.line.paused
    asked.writer.producer.resumeProducing()
    assert not web.line.paused
    web.line.transport.producer.pauseProducing()
    assert asked.body.paused


def test_ends_are_passed_on(web: WebSystem) -> None:
    asked = opened(web)
    asked.body.end()
    assert web.line.transport.half_closed
    web.line.say(b"bye")
    web.line.close()
    assert (asked.writer.data, asked.writer.end_state) == (b"bye", ())
    asked = opened(web)
    web.line.close()
    assert asked.writer.end_state == ()
    assert asked.body.cancelled
    asked = opened(web)
    web.line.cut()
    assert asked.writer.end_state == "aborted"
    asked = opened(web)
    asked.body.break_off()
    assert web.line.aborted
    assert asked.writer.end_state == "aborted"
    asked = opened(web)
    asked.on_cancelled()
    assert web.line.aborted
    assert web.upstream.running == 0


def test_they_take_no_connection_from_others(web: WebSystem) -> None:
    opened(web)
    asked = opened(web)
    assert web.upstream.connections == 0
    assert ask(web).status == 503, "the last one is for another device"
    asked.on_cancelled()
    opened(web)
    page = web.ask()
    web.line.say(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert page.status == 204


def test_a_silent_one_ends_after_a_time(web: WebSystem) -> None:
    asked = opened(web)
    web.clock.advance(59)
    web.line.say(b"x")
    web.clock.advance(59)
    asked.body.send(b"x")
    web.clock.advance(59)
    assert asked.writer.end_state is None
    web.clock.advance(1)
    assert asked.writer.end_state == "aborted"
    assert web.line.aborted


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", 401),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", 302),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 502),
        (SWITCHING + b"\r\n", 502),
        (SWITCHING + b"Sec-WebSocket-Accept: " + b"x" * 28 + b"\r\n\r\n", 502),
        (b"", 502),
    ],
)
def test_a_web_system_that_does_not_agree(web: WebSystem, said: bytes, status: int) -> None:
    asked = ask(web)
    asked.body.send(b"early")
    if said:
        web.line.say(said)
    else:
        web.line.close()
    assert asked.status == status
    assert b"too large" not in asked.writer.data
    assert b"early" not in web.line.asked
    assert web.upstream.running == 0
    assert ask(web).status is None, "it still counts as a WebSocket"


def test_a_head_that_the_device_cannot_be_told(web: WebSystem) -> None:
    asked = ask(web)
    asked.unfit = True
    web.line.say(AGREED + b"\r\nhello")
    assert asked.status == 502
    assert web.line.aborted


def test_a_key_and_its_answer() -> None:
    assert dict(frame_websocket(KEY))[b"sec-websocket-key"] == KEY.encode()
    assert is_websocket(KEY, ((b"sec-websocket-accept", ACCEPT),))
    assert not is_websocket(KEY, ((b"sec-websocket-accept", b"\xff"),))
    assert not is_websocket(KEY, ())
