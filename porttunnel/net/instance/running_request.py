"""One request of a device's, from its first part to the last of its response."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from porttunnel.errors import LocalProtocolError, RemoteProtocolError, RequestBroken
from porttunnel.gateway.binary_http_reader import ContentReceived, MessageEnded, MessageReader
from porttunnel.gateway.http_head import RequestHead, ResponseHead
from porttunnel.gateway.instance_exchange import InstanceExchange
from porttunnel.gateway.message_event import (
    LIVE_STATES,
    CreditReceived,
    ExchangeFailed,
    ExchangeState,
    FailureReceived,
    RequestCancelled,
    RequestReceived,
)
from porttunnel.gateway.part import FailureCode
from porttunnel.gateway.refusal import Refusal, RefusalReason
from porttunnel.gateway.topic import format_response_topic
from porttunnel.net.gateway_client.body import BodyWriter
from porttunnel.net.instance.byte_budget import ByteBudget
from porttunnel.net.instance.request_body import RequestBody
from porttunnel.net.instance.response_body import ResponseBody
from porttunnel.net.instance.turns import Turns

__all__ = ["RequestPlace", "RunningRequest"]

HEAD_SECONDS = 30.0  # for a head of several parts to come; usually it is in the first
SILENCE_SECONDS = 300.0  # for a part that may come, or leave to send one: a device that sleeps

_CONNECT = b"CONNECT"


class RequestPlace:
    """What all requests have in common.

    :param reactor: time.
    :param turns: who may send next.
    :param open_request: gets each one once its head is there.
    :param received: bytes of bodies that wait for applications.
    :param answered: bytes of responses that wait for devices.
    """

    __slots__ = ("answered", "open_request", "reactor", "received", "turns")

    def __init__(
        self,
        reactor: IReactorTime,
        turns: Turns,
        open_request: Callable[[Any], None],
        received: ByteBudget,
        answered: ByteBudget,
    ) -> None:
        self.reactor = reactor
        self.turns = turns
        self.open_request = open_request
        self.received = received
        self.answered = answered


class RunningRequest:
    """A :class:`~porttunnel.net.instance.application.ServedRequest`, and a
    :class:`~porttunnel.net.instance.turns.PartSource`.

    :param exchange: opened, not decided.
    :param on_over: called once, when nothing more is sent or received.
    """

    _log = Logger()

    def __init__(
        self,
        place: RequestPlace,
        exchange: InstanceExchange,
        *,
        device_id: str,
        user: str,
        request_id: str,
        on_over: Callable[[], None],
    ) -> None:
        self.device_id = device_id
        self.user = user
        self.topic = format_response_topic(device_id, request_id)
        self.on_cancelled: Callable[[], None] = lambda: None
        self._place = place
        self._exchange = exchange
        self._on_over = on_over
        self._reader = MessageReader(request=True)
        self._head: RequestHead | None = None
        self.body = RequestBody(self._consume, place.received.share_of(device_id), self._call)
        self._response = ResponseBody(
            place.reactor,
            self._offer,
            self.fail,
            place.answered.share_of(device_id),
            self._call,
        )
        self._has_informed = self._has_answered = self._is_whole = self._is_over = False
        self._moved_at = place.reactor.seconds()

    @property
    def head(self) -> RequestHead:
        """What is asked for."""
        if self._head is None:
            raise LocalProtocolError("A request without a head is shown to nobody.")
        return self._head

    # The application's

    def inform(self, head: ResponseHead) -> None:
        """See ``ServedRequest``."""
        if head.final or self._has_answered:
            raise LocalProtocolError("Before the final head come heads below 200, and no others.")
        if not self._is_over:
            self._has_informed = True
            self._response.write_head(head)

    def respond(self, head: ResponseHead) -> BodyWriter:
        """See ``ServedRequest``."""
        if not head.final or self._has_answered:
            raise LocalProtocolError("A request is answered once, with a head of 200 and above.")
        if not self._is_over:
            self._response.write_head(head)
        self._has_answered = True
        return self._response

    def refuse_busy(self) -> None:
        """See ``ServedRequest``."""
        if self._has_informed:
            # The device has a part of an answer: nothing can prove any more that there is none.
            self.fail()
        elif not self._has_answered and not self._is_over:
            self._has_answered = True
            self.body.cancel()
            self._response.write_whole(Refusal(RefusalReason.NOT_EXECUTED).encode())

    def fail(self) -> None:
        """See ``ServedRequest``."""
        self.break_off(FailureCode.BROKEN)

    # The instance's

    def begin(self) -> None:
        """Its counter was written down: go on. Does nothing if it is over."""
        if self._exchange.state is ExchangeState.OPENED:
            for received in self._exchange.accept():
                if not self._is_over:
                    self._take(received)

    def break_off(self, code: FailureCode) -> None:
        """It can't go on; the device is told."""
        if not self._is_over:
            self._say(self._exchange.fail(code))
            self.cancel("It was broken off.")

    def receive(self, data: bytes) -> None:
        """Another part of it."""
        if self._is_over:
            return
        match self._exchange.receive(data):
            case RequestReceived() as received:
                self._take(received)
            case CreditReceived():
                self._moved_at = self._place.reactor.seconds()
                self._offer()
            case RequestCancelled() | FailureReceived():
                self.cancel("The device does not want an answer any more.")
            case ExchangeFailed(_, goodbye):
                self._say(goodbye)
                self.cancel("What came was not what the device sent.")

    def cancel(self, why: str) -> None:
        """Nobody wants the answer any more; the device is told nothing.

        :param why: for the application, in a sentence.
        """
        if not self._is_over:
            self._finish()
            self.body.break_off(RequestBroken(why))
            self._call(self.on_cancelled)

    def check(self, now: float) -> None:
        """Break off if the device has let it wait for too long."""
        waited = now - self._moved_at
        if self._head is None:
            is_late = waited >= HEAD_SECONDS
        elif self._response.is_waiting:
            # It would have gone if there were credit.
            is_late = waited >= SILENCE_SECONDS and not self._exchange.sendable_parts
        else:
            # In a tunnel silence means nothing.
            is_late = (
                waited >= SILENCE_SECONDS
                and not self._is_whole
                and not self.body.is_paused
                and self._head.method != _CONNECT
            )
        if is_late:
            self.break_off(FailureCode.BROKEN)

    # The turns'

    @property
    def has_part(self) -> bool:
        """Whether there is something to send that may be sent."""
        return self._response.is_waiting and self._exchange.sendable_parts > 0

    def take_part(self) -> bytearray:
        """The next part of the response."""
        data, last = self._response.take(self._exchange.room_bytes)
        part = self._exchange.send(data, last=last)
        self._moved_at = self._place.reactor.seconds()
        if last:
            self._finish()
            self.body.break_off(RequestBroken("The answer was whole before the request was."))
        return part

    def lose_device(self) -> None:
        """A part reached nobody."""
        self.cancel("The device is not connected any more.")

    # Inside

    def _take(self, received: RequestReceived) -> None:
        self._moved_at = self._place.reactor.seconds()
        pieces: list[memoryview] = []
        ended: MessageEnded | None = None
        opened = False
        try:
            for told in self._read(received):
                match told:
                    case RequestHead():
                        self._head = told
                        opened = True
                    case ContentReceived(data):
                        pieces.append(data)
                    case MessageEnded():
                        ended = told
        except RemoteProtocolError:
            self.break_off(FailureCode.BROKEN)
            return
        if not self.body.receive(pieces):
            self.break_off(FailureCode.BUSY)
            return
        if ended is not None:
            self._is_whole = True
            self.body.end(ended.trailers)
        if opened:
            self._call(lambda: self._place.open_request(self))

    def _read(self, received: RequestReceived) -> Any:
        yield from self._reader.read(received.data)
        if received.last:
            yield from self._reader.finish()

    def _consume(self) -> None:
        if not self._is_over:
            credit = self._exchange.consume()
            if credit is not None:
                self._say(credit)

    def _offer(self) -> None:
        if self.has_part:
            self._place.turns.add(self)

    def _say(self, payload: bytes | bytearray) -> None:
        # If it doesn't come through, the device asks for it after a while.
        self._place.turns.say(self.device_id, self.topic, payload).addErrback(lambda _: None)

    def _finish(self) -> None:
        self._is_over = True
        if self._exchange.state in LIVE_STATES:
            self._exchange.fail(FailureCode.BROKEN)
        self._place.turns.remove(self)
        self._response.close()
        self._on_over()

    def _call(self, function: Callable[[], object]) -> None:
        try:
            function()
        except Exception:
            # Not what was asked for, nor by whom: others read logs.
            self._log.failure("an application failed in a request")
            self.fail()
