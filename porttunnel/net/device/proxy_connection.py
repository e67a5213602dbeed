"""One connection of a browser to the loopback proxy: HTTP/1.1, one request after the other.

What is HTTP in it h11 reads and writes; here stand the pace, the ends, and what is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from http import HTTPStatus
from typing import Any

import h11
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from porttunnel.gateway.http_head import MAX_PATH_BYTES, Fields, ResponseHead
from porttunnel.net.device.interface import Requester
from porttunnel.net.device.proxy_exchange import ProxyExchange
from porttunnel.net.device.proxy_field import (
    WEBSOCKET,
    passed_response_fields,
    passed_trailers,
)
from porttunnel.net.device.proxy_page import ProxyPage, page_of_fault
from porttunnel.net.device.proxy_request import ProxyRequest, read_request
from porttunnel.websocket.handshake import accept_value

__all__ = ["ProxyConnection"]

MAX_HEAD_BYTES = MAX_PATH_BYTES + 66_560  # a path, and the fields that an instance takes
IDLE_SECONDS = 75.0  # without a request; browsers open connections ahead and keep them
LINGER_SECONDS = 30.0  # for a browser to read an answer that came before its request was whole

_BODILESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
_CLOSE = (b"connection", b"close")


class _State(Enum):
    IDLE = "a request may come"
    BUSY = "a request is under way"
    SWITCHED = "it is a WebSocket"
    LINGERING = "the last answer is out; what comes is thrown away"
    CLOSED = "it is being closed, or is"


class ProxyConnection(Protocol):
    """A :class:`porttunnel.net.device.proxy_exchange.Browser`.

    :param reactor: time.
    :param device: whom to ask.
    :param own: what Host may say.
    :param on_gone: called with this connection when it is over.
    """

    def __init__(
        self,
        reactor: Any,
        device: Requester,
        own: frozenset[bytes],
        on_gone: Callable[[ProxyConnection], None],
    ) -> None:
        self._reactor = reactor
        self._device = device
        self._own = own
        self._on_gone = on_gone
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._state = _State.IDLE
        self._request: ProxyRequest | None = None
        self._exchange: ProxyExchange | None = None
        self._bodiless = False  # the response
        self._takes_trailers = False
        self._waits = False  # the request's body waits for a way
        self._held = False  # whoever takes it has enough for now
        self._ahead = False  # something has come before its turn
        self._advancing = False
        self._timer: IDelayedCall | None = None

    @property
    def _wire(self) -> Any:
        return self.transport

    # Protocol

    def connectionMade(self) -> None:
        self._wire.setTcpNoDelay(True)
        self._set_timer(IDLE_SECONDS, self._hang_up)

    def dataReceived(self, data: bytes) -> None:
        if self._state is _State.SWITCHED and self._exchange is not None:
            self._exchange.input_received(data)
        elif self._state in (_State.IDLE, _State.BUSY):
            self._http.receive_data(data)
            self._advance()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._state = _State.CLOSED
        self._stop_timer()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.browser_gone()
        self._on_gone(self)

    # Browser

    def open_input(self) -> None:
        self._waits = False
        if self._http.they_are_waiting_for_100_continue:
            self._inform(HTTPStatus.CONTINUE, [])
        if self._state is _State.SWITCHED and self._exchange is not None:
            early = self._http.trailing_data[0]
            if early:
                self._exchange.input_received(early)
        self._advance()

    def hold_input(self, held: bool) -> None:
        self._held = held
        self._advance()

    def inform(self, head: ResponseHead) -> None:
        # 100 was for the instance, and 101 is answered here.
        if (
            head.status > HTTPStatus.SWITCHING_PROTOCOLS
            and self._http.their_http_version == b"1.1"
        ):
            try:
                self._inform(head.status, list(passed_response_fields(head)))
            except h11.LocalProtocolError:
                return  # a hint that can't be written is none

    def respond(self, head: ResponseHead) -> bool:
        fields = passed_response_fields(head)
        self._bodiless = self._method == b"HEAD" or head.status in _BODILESS
        has_length = any(name == b"content-length" for name, _ in fields)
        self._takes_trailers = (
            not (self._bodiless or has_length) and self._http.their_http_version == b"1.1"
        )
        try:
            self._send_head(head.status, fields)
        except h11.LocalProtocolError:
            return False
        self._wire.registerProducer(self._exchange, True)
        return True

    def switch(self, head: ResponseHead) -> None:
        key = "" if self._request is None else self._request.websocket_key
        fields = [
            (b"upgrade", WEBSOCKET),
            (b"connection", b"upgrade"),
            (b"sec-websocket-accept", accept_value(key).encode("ascii")),
            *passed_response_fields(head),
        ]
        self._inform(HTTPStatus.SWITCHING_PROTOCOLS, fields)
        self._state = _State.SWITCHED
        self._wire.registerProducer(self._exchange, True)

    def send(self, data: bytes) -> None:
        if self._state is _State.SWITCHED:
            self._wire.write(data)
        elif not self._bodiless:
            self._send_or_break(h11.Data(data=data))

    def finish(self, trailers: Fields) -> None:
        self._wire.unregisterProducer()
        if self._state is _State.SWITCHED:
            self._hang_up()
            return
        passed = passed_trailers(trailers) if self._takes_trailers else ()
        if self._send_or_break(h11.EndOfMessage(headers=list(passed))):
            self._end_cycle()

    def answer(self, page: ProxyPage) -> None:
        head, content = page.encode(b"" if self._request is None else self._request.accept)
        self._send_head(head.status, head.fields)
        if self._method != b"HEAD":
            self._send(h11.Data(data=content))
        self._send(h11.EndOfMessage())
        self._end_cycle()

    def break_off(self) -> None:
        self._state = _State.CLOSED
        self._wire.abortConnection()

    def close(self) -> None:
        """End at once, with what is under way."""
        if self._exchange is not None:
            self._exchange.input_broken()
        self.break_off()

    # Inside: what comes

    @property
    def _method(self) -> bytes:
        return b"" if self._request is None else self._request.head.method

    def _advance(self) -> None:
        """Take what has come, as far as it may go on."""
        if self._advancing:
            return
        self._advancing = True
        try:
            self._ahead = False
            while self._state in (_State.IDLE, _State.BUSY) and not (self._waits or self._held):
                if self._http.their_state not in (h11.IDLE, h11.SEND_BODY):
                    self._ahead = bool(self._http.trailing_data[0])
                    break
                if not self._take_next():
                    break
        finally:
            self._advancing = False
        self._set_pace()

    def _take_next(self) -> bool:
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            self._refuse(page_of_fault(error.error_status_hint))
            return False
        match event:
            case h11.Request():
                self._begin(event)
            case h11.Data(data=data):
                if self._exchange is not None:
                    self._exchange.input_received(bytes(data))
            case h11.EndOfMessage(headers=trailers):
                if self._exchange is not None:
                    self._exchange.input_ended(passed_trailers(tuple(trailers)))
            case _:
                return False
        return True

    def _begin(self, event: h11.Request) -> None:
        self._stop_timer()
        self._state = _State.BUSY
        framing = (b"content-length", b"transfer-encoding")
        has_body = any(name in framing and value != b"0" for name, value in event.headers)
        if not has_body:
            # It ends at once: then all of it is here, and another one may follow.
            self._http.next_event()
        request = self._request = read_request(event, self._own)
        if request.page is not None:
            self.answer(request.page)
            return
        self._waits = has_body
        exchange = self._exchange = ProxyExchange(
            self._reactor,
            self,
            request.head,
            has_body=has_body,
            websocket=bool(request.websocket_key),
        )
        exchange.start(self._device)

    def _refuse(self, page: ProxyPage) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None or exchange.input_broken():
            self.answer(page)
        else:
            self.break_off()

    def _set_pace(self) -> None:
        if self._ahead or (
            self._state in (_State.BUSY, _State.SWITCHED) and (self._waits or self._held)
        ):
            self._wire.pauseProducing()
        elif self._state is not _State.CLOSED:
            self._wire.resumeProducing()

    # Inside: what goes

    def _send(self, event: h11.Event) -> None:
        self._wire.writeSequence(self._http.send_with_data_passthrough(event))

    def _send_or_break(self, event: h11.Event) -> bool:
        try:
            self._send(event)
        except h11.LocalProtocolError:  # more than its head says, or less
            self.break_off()
            return False
        return True

    def _inform(self, status: int, fields: list[tuple[bytes, bytes]]) -> None:
        self._send(
            h11.InformationalResponse(status_code=status, headers=fields, reason=_phrase(status))
        )

    def _send_head(self, status: int, fields: Fields) -> None:
        if self._http.their_state is h11.SEND_BODY:
            # If this ends before the request does, what follows must not be taken for another.
            fields = (*fields, _CLOSE)
        response = h11.Response(status_code=status, headers=list(fields), reason=_phrase(status))
        self._send(response)

    def _end_cycle(self) -> None:
        self._exchange = None
        self._request = None  # what can't be read next is not asked by it
        self._waits = self._held = False
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._state = _State.IDLE
            self._set_timer(IDLE_SECONDS, self._hang_up)
            self._advance()
        elif self._http.their_state in (h11.SEND_BODY, h11.ERROR):
            # Closed with something unread the system would reset the connection, and the browser
            # lose our answer.
            self._state = _State.LINGERING
            self._wire.loseWriteConnection()
            self._wire.resumeProducing()
            self._set_timer(LINGER_SECONDS, self._wire.abortConnection)
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        self._state = _State.CLOSED
        self._wire.loseConnection()

    def _set_timer(self, seconds: float, call: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self._reactor.callLater(seconds, call)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()


def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b""
