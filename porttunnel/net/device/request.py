"""A request of a device's, with all the tries that it may take.

Source: docs/gateway-protocol, section 3. It is tried again by itself only if the instance says,
sealed, that it did nothing; or, for GET and HEAD, if nobody can tell. Once the head of a response
is there it is never tried again.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from porttunnel.errors import (
    PorttunnelError,
    RemoteProtocolError,
    RequestFailed,
    RequestFailureCode,
    RequestNotExecuted,
    RequestUncertain,
)
from porttunnel.gateway.binary_http_reader import (
    ContentReceived,
    MessageEnded,
    MessageEvent,
    MessageReader,
)
from porttunnel.gateway.http_head import RequestHead, ResponseHead
from porttunnel.gateway.refusal import Refusal, RefusalReason
from porttunnel.net.device.attempt import Attempt, AttemptOwner
from porttunnel.net.device.failure_text import not_executed, seen_before, uncertain
from porttunnel.net.device.interface import DeviceResponse
from porttunnel.net.device.patience import Patience
from porttunnel.net.device.request_writer import RequestWriter
from porttunnel.net.device.response_body import ResponseBody

__all__ = ["AttemptMaker", "Request"]

SAFE_METHODS = frozenset({b"GET", b"HEAD"})
TUNNEL_METHOD = b"CONNECT"


class AttemptMaker(Protocol):
    """What a request needs of its device."""

    async def begin_attempt(self, owner: AttemptOwner, *, careful: bool) -> Attempt:
        """A try under the secret that counts, once there is a connection.

        :param careful: it can't be repeated: look twice which secret that is.
        :raises GatewayError: there is none.
        """

    def note(self, refusal: Refusal) -> None:
        """Correct counter and clock, if it is about these."""

    async def replace_secret(self, generation: int) -> None:
        """Get a secret after the one of this generation, unless there is one by now.

        :raises PorttunnelError: that did not succeed.
        """

    def doubt_secret(self) -> None:
        """The instance could not open what was sealed, or says so."""


class Request:
    """Implements :class:`~porttunnel.net.device.interface.DeviceRequest`.

    :param reactor: time.
    :param maker: makes the tries.
    :param head: of the request.
    :param on_over: called once when it has ended.
    :raises LocalProtocolError: no request can have such a head.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        maker: AttemptMaker,
        head: RequestHead,
        patience: Patience,
        on_over: Callable[[Request], None],
    ) -> None:
        self._reactor = reactor
        self._maker = maker
        self._patience = patience
        self._on_over = on_over
        self._is_safe = head.method in SAFE_METHODS
        self._is_tunnel = head.method == TUNNEL_METHOD
        self.writer = RequestWriter(reactor, head, self._flush_soon, self.cancel)
        self._attempt: Attempt | None = None
        self._reader = MessageReader(request=False)
        self._retries = iter(patience.retries)
        self._refused_generation = 0
        self._recovering = False  # something was there, and was lost
        self._informational: list[ResponseHead] = []
        self._response: DeviceResponse | None = None
        self._body = ResponseBody(self._part_taken, self.cancel)
        self._waiting: list[Deferred[DeviceResponse]] = []
        self._error: PorttunnelError | None = None
        self._over = False
        self._flush: IDelayedCall | None = None
        self._watch: IDelayedCall | None = None
        self._working: Deferred[None] | None = None

    async def begin(self) -> None:
        """The first try.

        :raises GatewayError: it can't begin.
        """
        try:
            attempt = await self._maker.begin_attempt(self, careful=not self._is_safe)
        except BaseException:
            self._finish()
            raise
        if self._error is not None:
            # Cancelled meanwhile, as by its device's stop.
            attempt.cancel()
            raise self._error
        self._attempt = attempt
        self._watch = self._reactor.callLater(self._patience.probe, self._look)
        self._flush_soon()

    # For the program

    def response(self) -> Deferred[DeviceResponse]:
        """See ``DeviceRequest``."""
        if self._response is not None:
            return succeed(self._response)
        if self._error is not None:
            return fail(self._error)
        waiting: Deferred[DeviceResponse] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def cancel(self) -> None:
        """See ``DeviceRequest``."""
        self._body.close()  # whoever does not want it is not told
        self._give_up(uncertain(RequestFailureCode.CANCELLED, self._is_safe), tell_instance=True)

    # What the try tells

    def plaintext_received(self, data: memoryview, last: bool) -> None:
        """See :class:`~porttunnel.net.device.attempt.AttemptOwner`."""
        self.writer.keep_no_more()
        try:
            for told in self._reader.read(data):
                self._take(told)
            self._body.mark_part()
            if last:
                for told in self._reader.finish():
                    self._take(told)
        except RemoteProtocolError:
            # Sealed by the instance, and no HTTP: nothing that could be tried again.
            self._give_up(uncertain(RequestFailureCode.BROKEN, self._is_safe), tell_instance=True)

    def room_made(self) -> None:
        """See :class:`~porttunnel.net.device.attempt.AttemptOwner`."""
        self._send()

    def attempt_refused(self, refusal: Refusal, generation: int) -> None:
        """See :class:`~porttunnel.net.device.attempt.AttemptOwner`."""
        self._attempt = None
        self._refused_generation = generation
        if refusal.reason is RefusalReason.WAITING:
            self._give_up(not_executed(RequestFailureCode.WAITING))
        elif refusal.reason is RefusalReason.COUNTER:
            # Perhaps somebody on the way has made a copy, and this answers the copy.
            self._try_again(seen_before(self._is_safe), refusal)
        else:
            self._try_again(not_executed(RequestFailureCode.REFUSED), refusal)

    def attempt_failed(self, code: RequestFailureCode) -> None:
        """See :class:`~porttunnel.net.device.attempt.AttemptOwner`."""
        self._attempt = None
        if code is RequestFailureCode.BROKEN:
            self._maker.doubt_secret()
        # Nobody there from the beginning: it may take hours, and whoever waits is told at once.
        hopeless = code is RequestFailureCode.REVOKED or (
            code is RequestFailureCode.INSTANCE_OFFLINE and not self._recovering
        )
        error = uncertain(code, self._is_safe)
        if hopeless:
            self._give_up(error)
        else:
            self._recovering = True
            self._try_again(error)

    # Tries

    def _try_again(self, error: RequestFailed, refusal: Refusal | None = None) -> None:
        delay = next(self._retries, None)
        allowed = self._is_safe or isinstance(error, RequestNotExecuted)
        if delay is None or not allowed or not self.writer.is_repeatable:
            if refusal is not None:
                self._maker.note(refusal)
            self._give_up(error)
            return
        working = Deferred.fromCoroutine(self._begin_again(delay, refusal))
        self._working = working
        working.addErrback(self._working_failed, error, refusal)

    async def _begin_again(self, delay: float, refusal: Refusal | None) -> None:
        if refusal is not None:
            # Before the delay: it says what the time is now.
            self._maker.note(refusal)
        if delay:
            await deferLater(self._reactor, delay)
        if refusal is not None and refusal.reason is RefusalReason.ROTATE:
            await self._maker.replace_secret(self._refused_generation)
        self.writer.rewind()
        self._attempt = await self._maker.begin_attempt(self, careful=not self._is_safe)
        self._working = None
        self._send()

    def _working_failed(
        self, failure: Failure, reason: RequestFailed, refusal: Refusal | None
    ) -> None:
        self._working = None
        error: Any = failure.value
        if failure.check(CancelledError):
            return
        if not isinstance(error, PorttunnelError):
            # A mistake of ours: whoever waits for the response must not wait for ever.
            self._log.failure("a request could not be tried again", failure)
            self._give_up(uncertain(RequestFailureCode.BROKEN, self._is_safe))
        elif isinstance(error, RequestUncertain):
            # What was lost is not the request itself, but what was said about keys before it.
            self._try_again(reason, refusal)
        else:
            self._give_up(error)

    def _flush_soon(self) -> None:
        # What is written in one turn of the reactor shares a part.
        if self._flush is None:
            self._flush = self._reactor.callLater(0, self._flush_now)

    def _flush_now(self) -> None:
        self._flush = None
        self._send()

    def _send(self) -> None:
        attempt, writer = self._attempt, self.writer
        while attempt is not None and writer.waiting_bytes and (room := attempt.room_bytes):
            piece, last = writer.take(room)
            attempt.send(piece, last=last)

    def _take(self, told: MessageEvent) -> None:
        match told:
            case ContentReceived(data):
                self._body.add(bytes(data))
            case MessageEnded(trailers):
                self._body.end(trailers)
                self._finish()
            case ResponseHead() if told.final:
                self._response = DeviceResponse(told, tuple(self._informational), self._body)
                for waiting in self._take_waiting():
                    waiting.callback(self._response)
            case ResponseHead():
                self._informational.append(told)

    def _part_taken(self) -> None:
        if self._attempt is not None:
            self._attempt.consume()

    def _look(self) -> None:
        """After some silence."""
        self._watch = None
        attempt, patience = self._attempt, self._patience
        delay = patience.probe
        # What the program does not take stops the other side: its silence means nothing then.
        if attempt is not None and not self._body.is_held:
            silent = self._reactor.seconds() - attempt.heard
            if silent >= self._silence_allowed():
                error = uncertain(RequestFailureCode.TIMED_OUT, self._is_safe)
                self._give_up(error, tell_instance=True)
                return
            if silent >= patience.probe:
                attempt.probe()
            else:
                delay -= silent
        self._watch = self._reactor.callLater(delay, self._look)

    def _silence_allowed(self) -> float:
        if self._response is None:
            return self._patience.answer
        return inf if self._is_tunnel else self._patience.silence

    # The end

    def _give_up(self, error: PorttunnelError, *, tell_instance: bool = False) -> None:
        if self._over:
            return
        self._error = error
        attempt = self._attempt
        self._finish()
        if attempt is not None and tell_instance:
            attempt.cancel()
        for waiting in self._take_waiting():
            waiting.errback(error)
        if self._response is not None:
            self._body.fail(error)

    def _finish(self) -> None:
        if self._over:
            return
        self._over = True
        self._attempt = None
        for call in (self._flush, self._watch):
            if call is not None:
                call.cancel()
        self._flush = self._watch = None
        if self._working is not None:
            self._working.cancel()
        self.writer.close()
        self._on_over(self)

    def _take_waiting(self) -> list[Deferred[DeviceResponse]]:
        waiting, self._waiting = self._waiting, []
        return waiting
