"""What an application answers, as it flows to the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IConsumer, IReactorTime
from zope.interface import implementer

from porttunnel.gateway.binary_http import Framing, MessageWriter
from porttunnel.gateway.http_head import Fields, ResponseHead
from porttunnel.net.instance.byte_budget import ByteShare
from porttunnel.net.registered_producer import RegisteredProducer

__all__ = ["ResponseBody"]

HIGH_BYTES = 256 * 1_024  # four parts: then the producer is paused
LOW_BYTES = 64 * 1_024  # one part: then it goes on, before the device has to wait
# Whoever writes more without regard to its pauses loses the response, not others their memory.
MAX_WAITING_BYTES = 64 << 20


@implementer(IConsumer)
class ResponseBody:
    """A :class:`~porttunnel.net.gateway_client.body.BodyWriter`, and all of the response's bytes
    that wait.

    :param reactor: time.
    :param ready: called when there is something to send.
    :param break_off: called when it will never be whole.
    :param budget: the device's.
    :param call: calls the producer's code, and answers for its faults.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        ready: Callable[[], None],
        break_off: Callable[[], None],
        budget: ByteShare,
        call: Callable[[Callable[[], object]], None],
    ) -> None:
        self._ready = ready
        self._break_off = break_off
        self._budget = budget
        self._writer = MessageWriter(Framing.RESPONSE)
        self._producer = RegisteredProducer(reactor, call)
        self._waiting = bytearray()
        self._is_ended = False
        self._is_closed = False

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to send."""
        return not self._is_closed and (bool(self._waiting) or self._is_ended)

    # The application's

    def write(self, data: bytes) -> None:
        if self._is_closed or self._is_ended or not data:
            return
        if not self._add(self._writer.write_content(data)):
            self._break_off()
        elif len(self._waiting) >= HIGH_BYTES:
            self._producer.hold()
        elif self._producer.is_pulled:
            self._producer.pull_soon()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer.register(producer, streaming, over=self._is_closed or self._is_ended)

    def unregisterProducer(self) -> None:
        self._producer.unregister()

    def end(self, trailers: Fields = ()) -> None:
        if not self._is_closed and not self._is_ended:
            last = self._writer.end(trailers)
            self._is_ended = True
            self._add(last)

    def abort(self) -> None:
        if not self._is_closed:
            self._break_off()

    # The request's

    def write_head(self, head: ResponseHead) -> None:
        """See :meth:`MessageWriter.write_head`."""
        self._add(self._writer.write_head(head))

    def write_whole(self, data: bytes) -> None:
        """All of a response that is none of HTTP."""
        self._is_ended = True
        self._add(data)

    def take(self, most: int) -> tuple[bytearray, bool]:
        """The next bytes, at most so many, and whether they are the last."""
        taken = self._waiting[:most]
        del self._waiting[:most]
        self._budget.give_back(len(taken))
        if self._producer.is_full and len(self._waiting) <= LOW_BYTES:
            self._producer.go_on()
        return taken, self._is_ended and not self._waiting

    def close(self) -> None:
        """The request is over: nothing more is sent, a producer is told."""
        if not self._is_closed:
            self._is_closed = True
            self._budget.give_back(len(self._waiting))
            self._waiting.clear()
            self._producer.stop()

    def _add(self, data: bytes) -> bool:
        self._waiting += data
        fits = self._budget.take(len(data)) and len(self._waiting) <= MAX_WAITING_BYTES
        self._ready()
        return fits
