"""One request of a browser on its way through the device, and its response.

Bodies flow both ways as they come, each no faster than its other side takes it. A WebSocket is a
request whose two bodies are the connection's bytes (RFC 8441).
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from porttunnel.errors import LocalProtocolError, PorttunnelError
from porttunnel.gateway.http_head import Fields, RequestHead, ResponseHead
from porttunnel.net.device.interface import DeviceRequest, DeviceResponse, Requester
from porttunnel.net.device.proxy_page import ProxyPage, page_of_error, page_of_fault
from porttunnel.net.gateway_client.body import ReceivedBody

__all__ = ["Browser", "ProxyExchange"]

GOODBYE_SECONDS = 10.0  # for the other end of a WebSocket whose browser is gone to end it too

_log = Logger()


class Browser(Protocol):
    """The connection that a request came on, as its exchange uses it."""

    def open_input(self) -> None:
        """The way is open: give out what comes."""

    def hold_input(self, held: bool) -> None:
        """Give out no more for now, or go on."""

    def inform(self, head: ResponseHead) -> None:
        """A head below 200."""

    def respond(self, head: ResponseHead) -> bool:
        """The final head; whether it can be passed on."""

    def switch(self, head: ResponseHead) -> None:
        """It is a WebSocket from now on."""

    def send(self, data: bytes) -> None:
        """A piece of the response, or of the WebSocket."""

    def finish(self, trailers: Fields) -> None:
        """The response is whole, or the WebSocket has ended."""

    def answer(self, page: ProxyPage) -> None:
        """Instead of a response."""

    def break_off(self) -> None:
        """The response will not be whole."""


class _State(Enum):
    OPENING = "the device is asked for a way"
    WAITING = "the request goes out; its response has not begun"
    RESPONDING = "the response comes"
    SWITCHED = "it is a WebSocket"
    PARTING = "its browser is gone; the other end may still end it"
    OVER = "over"


@implementer(IPushProducer)
class ProxyExchange:
    """A :class:`porttunnel.net.gateway_client.body.BodyReceiver`, and the producer of what the
    browser gets.

    :param reactor: time.
    :param browser: where the request came from.
    :param head: what the instance gets.
    :param has_body: whether a body comes; not of a WebSocket.
    :param websocket: whether it asks for one.
    """

    def __init__(
        self,
        reactor: Any,
        browser: Browser,
        head: RequestHead,
        *,
        has_body: bool,
        websocket: bool,
    ) -> None:
        self._reactor = reactor
        self._browser = browser
        self._head = head
        self._has_body = has_body
        self._websocket = websocket
        self._state = _State.OPENING
        self._request: DeviceRequest | None = None
        self._sending = False  # the writer has a producer
        self._body: ReceivedBody | None = None
        self._goodbye: IDelayedCall | None = None

    def start(self, device: Requester) -> None:
        """Go."""
        running = Deferred.fromCoroutine(self._run(device))
        running.addErrback(self._failed)

    # From the browser

    def input_received(self, data: bytes) -> None:
        """A piece of the request's body, or of the WebSocket."""
        if self._sending and self._request is not None:
            self._request.writer.write(data)

    def input_ended(self, trailers: Fields) -> None:
        """The request's body is whole."""
        if self._sending and self._request is not None:
            self._stop_sending()
            self._request.writer.end(trailers)

    def input_broken(self) -> bool:
        """It will not be; whether the browser can still be answered."""
        answerable = self._state in (_State.OPENING, _State.WAITING)
        self._cancel()
        return answerable

    def browser_gone(self) -> None:
        """Nobody wants the response any more."""
        if self._state is not _State.SWITCHED or self._request is None:
            self._cancel()
            return
        # What it sent last may say why it leaves: that shall arrive.
        self._state = _State.PARTING
        self._stop_sending()
        self._request.writer.end()
        self._goodbye = self._reactor.callLater(GOODBYE_SECONDS, self._cancel)

    # IPushProducer: what the browser gets

    def pauseProducing(self) -> None:
        if self._body is not None:
            self._body.pause()

    def resumeProducing(self) -> None:
        if self._body is not None:
            self._body.resume()

    def stopProducing(self) -> None:
        """Nothing: ``browser_gone`` follows."""

    # BodyReceiver

    def body_received(self, data: bytes) -> None:
        if self._state in (_State.RESPONDING, _State.SWITCHED):
            self._browser.send(data)

    def body_ended(self, trailers: Fields) -> None:
        if self._end():
            self._browser.finish(trailers)

    def body_broken(self, error: PorttunnelError) -> None:
        if self._end():
            self._browser.break_off()

    # Inside

    async def _run(self, device: Requester) -> None:
        try:
            request = await device.request(self._head)
        except LocalProtocolError:
            self._fail(page_of_fault(431))  # what else a head can have wrong was looked for
            return
        except PorttunnelError as error:
            self._fail(page_of_error(error))
            return
        if self._state is _State.OVER:
            request.cancel()
            return
        self._request = request
        self._state = _State.WAITING
        if self._has_body:
            self._begin_sending(request)
        elif not self._websocket:
            request.writer.end()
        try:
            response = await request.response()
        except PorttunnelError as error:
            self._fail(page_of_error(error))
            return
        if self._state is _State.WAITING:
            self._respond(request, response)

    def _respond(self, request: DeviceRequest, response: DeviceResponse) -> None:
        for head in response.informational:
            self._browser.inform(head)
        if self._websocket and 200 <= response.head.status < 300:
            self._state = _State.SWITCHED
            self._browser.switch(response.head)
            self._begin_sending(request)
        else:
            if self._websocket:
                request.writer.end()
            if not self._browser.respond(response.head):
                self._cancel()
                self._browser.answer(page_of_fault(502, _NO_RESPONSE))
                return
            self._state = _State.RESPONDING
        self._body = response.body
        response.body.deliver(self)

    def _begin_sending(self, request: DeviceRequest) -> None:
        self._sending = True
        request.writer.registerProducer(_BrowserProducer(self._browser), True)
        self._browser.open_input()

    def _stop_sending(self) -> None:
        if self._sending and self._request is not None:
            self._sending = False
            self._request.writer.unregisterProducer()

    def _fail(self, page: ProxyPage) -> None:
        if self._end():
            self._browser.answer(page)

    def _cancel(self) -> None:
        if self._end(and_parting=True) and self._request is not None:
            self._request.cancel()

    def _end(self, *, and_parting: bool = False) -> bool:
        """It is over; whether the browser doesn't know yet."""
        known = self._state is _State.OVER or (self._state is _State.PARTING and not and_parting)
        self._state = _State.OVER
        self._stop_sending()
        goodbye, self._goodbye = self._goodbye, None
        if goodbye is not None and goodbye.active():
            goodbye.cancel()
        return not known

    def _failed(self, failure: Any) -> None:
        _log.failure("a request through the proxy failed", failure)
        known = self._state is _State.OVER
        self._cancel()
        if not known:
            self._browser.break_off()


_NO_RESPONSE = "What came from the web system is no response that can be passed on."


@implementer(IPushProducer)
class _BrowserProducer:
    """What the browser sends, as the request's writer sees it."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    def pauseProducing(self) -> None:
        self._browser.hold_input(True)

    def resumeProducing(self) -> None:
        self._browser.hold_input(False)

    def stopProducing(self) -> None:
        """Nothing more can be sent: what comes is thrown away."""
        self._browser.hold_input(False)
