"""The body of a device's request, as it flows to the application."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from porttunnel.errors import LocalProtocolError, RequestBroken
from porttunnel.gateway.http_head import Fields
from porttunnel.net.gateway_client.body import BodyReceiver
from porttunnel.net.instance.byte_budget import ByteShare

__all__ = ["RequestBody"]


class RequestBody:
    """A :class:`~porttunnel.net.gateway_client.body.ReceivedBody`.

    :param consume: told of each part that needs no memory any more: the device may send more.
    :param budget: the device's.
    :param call: calls the receiver's code, and answers for its faults.
    """

    def __init__(
        self,
        consume: Callable[[], None],
        budget: ByteShare,
        call: Callable[[Callable[[], object]], None],
    ) -> None:
        self._consume = consume
        self._budget = budget
        self._call = call
        self._receiver: BodyReceiver | None = None
        self._waiting: deque[bytes] = deque()  # what each part brought
        self._end: Fields | RequestBroken | None = None
        self._is_told = False  # the end
        self._is_paused = False
        self._is_unwanted = False
        self._is_flowing = False

    @property
    def is_paused(self) -> bool:
        """Whether the application takes nothing just now."""
        return self._is_paused or self._receiver is None

    # The application's

    def deliver(self, receiver: BodyReceiver) -> None:
        if self._receiver is not None:
            raise LocalProtocolError("A body has one receiver. Give what it gets on from there.")
        self._receiver = receiver
        self._flow()

    def pause(self) -> None:
        self._is_paused = True

    def resume(self) -> None:
        self._is_paused = False
        self._flow()

    def cancel(self) -> None:
        # No more credit: the device's upload stands until the answer has ended the request.
        self._is_unwanted = self._is_told = True
        self._drop_waiting()

    # The request's

    def receive(self, pieces: Iterable[memoryview]) -> bool:
        """A part has come; whether there was room for it.

        :param pieces: what of the body it brought, if anything.
        """
        if self._is_unwanted:
            return True
        # As one: a device may have made pieces of a byte, which would cost a hundred each.
        data = b"".join(pieces)
        self._waiting.append(data)
        fits = self._budget.take(len(data))
        self._flow()
        return fits

    def end(self, trailers: Fields) -> None:
        """It is whole."""
        if self._end is None:
            self._end = trailers
            self._flow()

    def break_off(self, error: RequestBroken) -> None:
        """The request is over: what waits is dropped. Whoever takes the body, now or later, is
        told that it isn't whole, unless it was told that it is.
        """
        self._drop_waiting()
        if not self._is_told:
            self._end = error
            # Also if it is paused: nothing of it is worth waiting for.
            self._tell_end()

    def _drop_waiting(self) -> None:
        self._budget.give_back(sum(map(len, self._waiting)))
        self._waiting.clear()

    def _flow(self) -> None:
        if self._is_flowing:
            return
        self._is_flowing = True
        receiver = self._receiver
        while self._waiting and receiver is not None and not self._is_paused:
            data = self._waiting.popleft()
            self._budget.give_back(len(data))
            if data:
                self._call(partial(receiver.body_received, data))
            if not self._is_unwanted:
                self._consume()
        self._is_flowing = False
        if not self._waiting and not self._is_paused:
            self._tell_end()

    def _tell_end(self) -> None:
        receiver, end = self._receiver, self._end
        if receiver is None or end is None or self._is_told:
            return
        self._is_told = True
        if isinstance(end, RequestBroken):
            self._call(partial(receiver.body_broken, end))
        else:
            self._call(partial(receiver.body_ended, end))
