"""One request of a device's at the web system: there, back, and whatever may come in between.

It is sent once. Only what changes nothing and has no body is sent again, once, if the web system
closed a connection that had been idle without a word.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from porttunnel.errors import LocalProtocolError, UpstreamError
from porttunnel.gateway.cookie_jar import CookieJar, CookieShelf
from porttunnel.gateway.forward import ForwardedRequest, ForwardRules
from porttunnel.gateway.forward_path import Denial
from porttunnel.gateway.http_head import Fields
from porttunnel.net.gateway_client.body import BodyWriter
from porttunnel.net.instance.application import ServedRequest
from porttunnel.net.instance.upstream_answer import deny, say_failed
from porttunnel.net.instance.upstream_body import BodyState, UpstreamBody
from porttunnel.net.instance.upstream_connection import UpstreamConnection
from porttunnel.net.instance.upstream_framing import (
    CHUNKED,
    frame_body,
    frame_websocket,
    is_websocket,
)
from porttunnel.net.instance.upstream_pool import UpstreamPool
from porttunnel.net.instance.upstream_setting import UpstreamSettings
from porttunnel.net.instance.upstream_share import UpstreamShares

__all__ = ["UpstreamExchange", "UpstreamShared"]

MAX_INFORMATIONAL = 8  # heads below 200 that are passed on; who sends more says nothing new
KEY_BYTES = 16  # of Sec-WebSocket-Key (RFC 6455, section 4.1)

_CONTINUE = 100
_REPEATABLE = {b"GET", b"HEAD", b"OPTIONS"}


@dataclass(slots=True)
class UpstreamShared:
    """What all requests to one web system have in common.

    :ivar reactor: time.
    :ivar cookies: of all devices.
    :ivar unix_time: seconds since 1970, for cookies.
    :ivar token_bytes: makes random bytes.
    :ivar websockets: who has how many.
    :ivar on_failed: told why the web system did not answer properly; for a log.
    :ivar on_answered: told that it did.
    :ivar on_over: told of each request that is over.
    """

    reactor: Any
    settings: UpstreamSettings
    rules: ForwardRules
    pool: UpstreamPool
    cookies: CookieShelf
    unix_time: Callable[[], float]
    token_bytes: Callable[[int], bytes]
    websockets: UpstreamShares
    on_failed: Callable[[str], None]
    on_answered: Callable[[], None]
    on_over: Callable[[UpstreamExchange], None]


class _State(Enum):
    OPENING = "nothing was sent"
    ASKED = "the request goes out, or is out"
    ANSWERING = "the response comes"
    SWITCHED = "it is a WebSocket"
    OVER = "over"


@implementer(IPushProducer)
class UpstreamExchange:
    """See the module; an ``UpstreamReader``, and the producer of the response's body.

    :param shared: the web system.
    :param request: of the device.
    """

    def __init__(self, shared: UpstreamShared, request: ServedRequest) -> None:
        self._shared = shared
        self._request = request
        self._state = _State.OPENING
        self._body = UpstreamBody(request.body, self._body_moved, self._body_failed)
        self._asked: ForwardedRequest
        self._jar: CookieJar
        self._connecting: Deferred[UpstreamConnection] | None = None
        self._connection: UpstreamConnection | None = None
        self._writer: BodyWriter | None = None
        self._timer: IDelayedCall | None = None
        self._key = ""
        self._is_websocket = False  # counted as one
        self._repeated = False
        self._paused = False
        self._informed = 0

    def begin(self) -> None:
        """Judge it and send it."""
        shared, request = self._shared, self._request
        request.on_cancelled = self.cancel
        if shared.pool.is_busy_for(request.device_id):
            self._leave()
            request.refuse_busy()
            return
        jar = self._jar = shared.cookies.jar_of(request.device_id)
        asked = shared.rules.forward_request(
            request.head, request.user, lambda target: jar.field_for(target, shared.unix_time())
        )
        if isinstance(asked, Denial):
            self._leave()
            deny(request, asked, shared.rules.allow_list)
            self._body.drop()
            return
        self._asked = asked
        if asked.websocket:
            if not shared.websockets.may_take(request.device_id):
                self._answer_failed(503)
                return
            self._is_websocket = True
            shared.websockets.take(request.device_id)
        self._wait(shared.settings.idle_seconds)
        self._body.begin()

    def cancel(self) -> None:
        """Nobody wants the answer any more: the web system sees it."""
        if self._state is not _State.OVER:
            self._leave()
            self._body.drop()

    # The request's body

    def _body_moved(self) -> None:
        if self._state is _State.OPENING:
            self._connect_if_known()
        elif self._state is _State.ASKED:
            self._wait_for_head()
        elif self._state is not _State.OVER:
            self._wait_for_more()

    def _body_failed(self) -> None:
        if self._state is _State.OVER:
            return
        if self._body.state is BodyState.WRONG and self._writer is None:
            self._answer_failed(400)
        else:
            self._break_off()

    # The connection

    def _connect_if_known(self) -> None:
        """Not before it is known whether there is a body, since the head says so."""
        asked, body = self._asked, self._body
        known = asked.websocket or asked.length is not None or body.kept_bytes
        if self._state is not _State.OPENING or self._connecting is not None:
            return
        if known or body.state is BodyState.WHOLE:
            self._stop_waiting()  # the pool has time-outs of its own
            self._acquire(fresh=not self._is_repeatable())

    def _is_repeatable(self) -> bool:
        body = self._body
        empty = body.state is BodyState.WHOLE and not body.kept_bytes
        return self._asked.method in _REPEATABLE and empty and not self._asked.length

    def _acquire(self, *, fresh: bool) -> None:
        connecting = self._connecting = self._shared.pool.acquire(
            self._request.device_id, fresh=fresh
        )
        connecting.addCallbacks(self._connected, self._not_connected)

    def _not_connected(self, reason: Failure) -> None:
        self._connecting = None
        if reason.check(CancelledError):
            return
        error = reason.check(UpstreamError) and reason.value
        self._shared.on_failed(reason.getErrorMessage())
        self._answer_failed(error.status if isinstance(error, UpstreamError) else 502)

    def _connected(self, connection: UpstreamConnection) -> None:
        self._connecting = None
        self._connection = connection
        self._state = _State.ASKED
        asked, rules = self._asked, self._shared.rules
        framing = self._framing()
        try:
            connection.send_head(self, asked.method, asked.target, asked.fields + framing)
            if asked.websocket:
                connection.send_end()
            else:
                self._body.flow_to(connection, rules.keep_asked if framing is CHUNKED else None)
        except LocalProtocolError:
            self._answer_failed(400)
            return
        if self._state is _State.ASKED:
            self._wait_for_head()

    def _framing(self) -> Fields:
        if self._asked.websocket:
            self._key = base64.b64encode(self._shared.token_bytes(KEY_BYTES)).decode()
            return frame_websocket(self._key)
        whole = self._body.state is BodyState.WHOLE
        return frame_body(self._asked, self._body.kept_bytes if whole else None)

    # What the connection tells

    def informed(self, status: int, fields: Fields) -> None:
        self._informed += 1
        if status == _CONTINUE or self._informed > MAX_INFORMATIONAL:
            return
        given = self._shared.rules.forward_response(status, fields)
        if given is not None:
            with suppress(LocalProtocolError):  # it was only a hint
                self._request.inform(given.head)

    def answered(self, status: int, fields: Fields) -> None:
        if self._asked.websocket and status < 300:
            # A device would take any such answer for a WebSocket.
            self._fail("it did not answer as a WebSocket")
            return
        self._respond(status, fields, _State.ANSWERING)

    def received(self, data: bytes) -> None:
        if self._writer is not None:
            self._writer.write(data)
            self._wait_for_more()

    def ended(self, trailers: Fields) -> None:
        self._connection = None
        self._finish(self._shared.rules.forward_trailers(trailers))

    def switched(self, fields: Fields) -> None:
        connection = self._connection
        if connection is None or not is_websocket(self._key, fields):
            self._fail("it did not answer as a WebSocket")
            return
        self._shared.pool.release(connection)
        self._respond(200, fields, _State.SWITCHED)
        if self._state is _State.SWITCHED:
            self._body.flow_to(connection)

    def closed(self) -> None:
        self._connection = None
        self._finish(())

    def broken(self, text: str, *, silent: bool) -> None:
        connection, self._connection = self._connection, None
        was_idle = silent and connection is not None and connection.was_used
        if was_idle and not self._repeated and self._is_repeatable():
            self._state = _State.OPENING
            self._repeated = True
            self._stop_waiting()
            self._acquire(fresh=True)
        else:
            self._fail(text)

    # What the response's consumer calls

    def pauseProducing(self) -> None:
        self._paused = True
        if self._connection is not None:
            self._connection.pause()
            self._wait_for_more()

    def resumeProducing(self) -> None:
        self._paused = False
        if self._connection is not None:
            self._connection.resume()
            self._wait_for_more()

    def stopProducing(self) -> None:
        self.cancel()

    # The answer

    def _respond(self, status: int, fields: Fields, state: _State) -> None:
        shared = self._shared
        given = shared.rules.forward_response(status, fields)
        try:
            writer = None if given is None else self._request.respond(given.head)
        except LocalProtocolError:
            writer = None
        if given is None or writer is None:
            self._fail("it answered with a head that can't be passed on")
            return
        if given.clears_cookies:
            self._jar.clear()
        for cookie in given.cookies:
            self._jar.store(cookie, self._asked.target, shared.unix_time())
        shared.on_answered()
        self._state = state
        self._writer = writer
        self._wait_for_more()
        writer.registerProducer(self, True)

    def _finish(self, trailers: Fields) -> None:
        writer = self._writer
        self._leave()
        if writer is not None:
            writer.unregisterProducer()
            writer.end(trailers)
        self._body.drop()

    def _fail(self, text: str) -> None:
        """The web system's fault."""
        self._shared.on_failed(text)
        if self._writer is None:
            asking = self._body.state is BodyState.COMING and not self._asked.websocket
            self._answer_failed(502, asking=asking)
        else:
            self._break_off()

    def _answer_failed(self, status: int, *, asking: bool = False) -> None:
        self._leave()
        say_failed(self._request, status, asking=asking)
        self._body.drop()

    def _break_off(self) -> None:
        """Neither side may take what it has for the whole."""
        writer = self._writer
        self._leave()
        if writer is None:
            self._request.fail()
        else:
            writer.unregisterProducer()
            writer.abort()
        self._body.drop()

    def _leave(self) -> None:
        """Let go of everything but the device."""
        self._state = _State.OVER
        self._stop_waiting()
        if self._connecting is not None:
            self._connecting.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        if self._is_websocket:
            self._is_websocket = False
            self._shared.websockets.give_back(self._request.device_id)
        self._shared.on_over(self)

    # Time

    def _wait_for_head(self) -> None:
        settings = self._shared.settings
        whole = self._body.state is BodyState.WHOLE or self._asked.websocket
        self._wait(settings.head_seconds if whole else settings.idle_seconds)

    def _wait_for_more(self) -> None:
        settings = self._shared.settings
        if self._state is _State.SWITCHED:
            self._wait(settings.websocket_idle_seconds)
        else:
            self._wait(settings.device_idle_seconds if self._paused else settings.idle_seconds)

    def _wait(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._shared.reactor.callLater(seconds, self._time_is_over)
        else:
            self._timer.reset(seconds)

    def _stop_waiting(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _time_is_over(self) -> None:
        self._timer = None
        if self._writer is not None:
            self._break_off()
        elif self._body.state is BodyState.COMING and not self._body.paused:
            self._answer_failed(408)
        else:
            self._shared.on_failed("it did not answer in time")
            self._answer_failed(504)
