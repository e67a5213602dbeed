"""One try at a request: an exchange with the instance over the device's link.

Source: docs/gateway-protocol, section 3. What goes wrong is told once and ends the try; whether
there is another one is for its owner to say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from porttunnel.errors import PorttunnelError, RequestFailureCode
from porttunnel.gateway.device_exchange import DeviceExchange
from porttunnel.gateway.message_event import (
    CreditReceived,
    ExchangeFailed,
    FailureReceived,
    RefusalReceived,
    ResponseReceived,
)
from porttunnel.gateway.part import Failure, FailureCode
from porttunnel.gateway.refusal import Refusal
from porttunnel.keys.primitives import Buffer
from porttunnel.net.device.link import DeviceLink

__all__ = ["Attempt", "AttemptOwner"]

# Sent and not taken by the gateway: a request must not wait behind megabytes of another's.
MAX_UNTAKEN_PARTS = 4

_CODES: dict[str, RequestFailureCode] = {
    FailureCode.INSTANCE_OFFLINE: RequestFailureCode.INSTANCE_OFFLINE,
    FailureCode.BUSY: RequestFailureCode.BUSY,
    FailureCode.REVOKED: RequestFailureCode.REVOKED,
}


class AttemptOwner(Protocol):
    """Who is told what becomes of a try."""

    def plaintext_received(self, data: memoryview, last: bool) -> None:
        """A piece of the response, for which :meth:`Attempt.consume` is owed."""

    def room_made(self) -> None:
        """More of the request may be sent."""

    def attempt_refused(self, refusal: Refusal, generation: int) -> None:
        """The instance says, sealed, that it did nothing, or that it has the request already.

        With that the try is over.

        :param generation: of the secret that it was made under.
        """

    def attempt_failed(self, code: RequestFailureCode) -> None:
        """It came to nothing, and nobody can tell what was done; the try is over."""


class Attempt:
    """See the module.

    :param exchange: fresh.
    :param generation: of its secret.
    :param seconds: tells the time.
    :raises RequestNotExecuted: it can't begin.
    :ivar heard: when something sealed came, or something was sent, last, by ``seconds``. Hints
        don't count: with these a gateway could let a request wait for ever.
    """

    def __init__(
        self,
        link: DeviceLink,
        exchange: DeviceExchange,
        generation: int,
        owner: AttemptOwner,
        seconds: Callable[[], float],
    ) -> None:
        self._link = link
        self._exchange = exchange
        self._generation = generation
        self._owner = owner
        self._seconds = seconds
        self._untaken = 0
        self._over = False
        self.heard: float = seconds()
        self._request_id = link.add(self)

    @property
    def room_bytes(self) -> int:
        """How much the next part may hold now; 0: none may be sent."""
        if self._over or self._untaken >= MAX_UNTAKEN_PARTS or not self._exchange.sendable_parts:
            return 0
        return self._exchange.room_bytes

    def send(self, plaintext: Buffer, *, last: bool) -> None:
        """Send a part of the request.

        :param plaintext: at most :attr:`room_bytes`.
        """
        self._untaken += 1
        self.heard = self._seconds()
        taking = self._send(self._exchange.send(plaintext, last=last))
        taking.addCallbacks(lambda _: self._taken(), self._untaken_for)

    def consume(self) -> None:
        """A piece of the response is needed no more."""
        credit = None if self._over else self._exchange.consume()
        if credit is not None:
            self._hint(credit)

    def probe(self) -> None:
        """Ask for a sign that the other side still knows the request, if it does not."""
        if not self._over:
            self._hint(self._exchange.probe())

    def cancel(self) -> None:
        """Want nothing more of it; nothing more is told."""
        if not self._over:
            part = self._exchange.cancel()
            self._close()
            self._hint(part)

    # The link's listener

    def part_received(self, data: bytes) -> None:
        """See :class:`~porttunnel.net.device.link.LinkListener`."""
        match self._exchange.receive(data):
            case ResponseReceived(plaintext, last):
                self.heard = self._seconds()
                if last:
                    self._close()
                self._owner.plaintext_received(plaintext, last)
            case CreditReceived():
                self._owner.room_made()
            case RefusalReceived(refusal):
                self._close()
                self._owner.attempt_refused(refusal, self._generation)
            case FailureReceived(failure):
                self._fail(_CODES.get(failure.code, RequestFailureCode.BROKEN))
            case ExchangeFailed(_, goodbye):
                self._hint(goodbye)
                self._fail(RequestFailureCode.BROKEN)

    def all_failed(self, failure: Failure) -> None:
        """See :class:`~porttunnel.net.device.link.LinkListener`."""
        if failure.code == FailureCode.INSTANCE_OFFLINE:
            self._fail(RequestFailureCode.INSTANCE_LOST)
        else:
            self._fail(_CODES.get(failure.code, RequestFailureCode.BROKEN))

    def link_lost(self) -> None:
        """See :class:`~porttunnel.net.device.link.LinkListener`."""
        self._fail(RequestFailureCode.CONNECTION_LOST)

    def _taken(self) -> None:
        self._untaken -= 1
        if not self._over:
            self._owner.room_made()

    def _untaken_for(self, failure: Any) -> None:
        failure.trap(PorttunnelError)
        # That the connection is lost is told by the link as well, and perhaps before.
        self._fail(RequestFailureCode.CONNECTION_LOST)

    def _hint(self, part: bytes) -> None:
        # If it is lost the connection is, and that is told elsewhere.
        self._send(part).addErrback(lambda failure: failure.trap(PorttunnelError))

    def _send(self, part: bytes | bytearray) -> Deferred[Any]:
        return self._link.send(self._request_id, part)

    def _fail(self, code: RequestFailureCode) -> None:
        if not self._over:
            self._close()
            self._owner.attempt_failed(code)

    def _close(self) -> None:
        self._over = True
        self._link.remove(self._request_id)
