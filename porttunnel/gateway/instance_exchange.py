"""A request and its response, as the instance sees them.

Source: docs/gateway-protocol, section 3. Fed with the parts that come for one request id, it tells
what they mean; it gives the parts to be sent. What goes wrong on the other side or on the way ends
the request with :class:`~porttunnel.gateway.message_event.ExchangeFailed` and harms nothing else.
"""

from __future__ import annotations

from collections import deque

from porttunnel.errors import AuthenticationFailed, RemoteProtocolError
from porttunnel.gateway.message_event import (
    LIVE_STATES,
    CreditReceived,
    ExchangeFailed,
    ExchangeState,
    FailureReceived,
    InstanceEvent,
    RequestCancelled,
    RequestReceived,
    demand_state,
)
from porttunnel.gateway.message_head import MessageHead
from porttunnel.gateway.message_key import DeviceKeys, Ends, bind_request, bind_response
from porttunnel.gateway.part import Credit, Failure, FailureCode, Part, SegmentPart, decode_part
from porttunnel.gateway.part_stream import Opening, PartReceiver, PartSender
from porttunnel.gateway.refusal import Refusal
from porttunnel.keys.envelope import SegmentOpener, SegmentSealer
from porttunnel.keys.primitives import Buffer
from porttunnel.keys.secret_holder import SecretHolder

__all__ = ["InstanceExchange"]


class InstanceExchange(SecretHolder):
    """The instance's side. Nothing of a request is told before :meth:`accept`, which is for the
    caller to call once it has written down the request's counter.

    :param keys: of the device and the generation that the opening names.
    :param opening: of the request.
    :param unix_ms: milliseconds since 1970 by the instance's clock, for the response.
    :param salt: 32 fresh random bytes, for the response.
    :param prefix: 7 fresh random bytes, for the response.
    :ivar head: of the request.
    :ivar state: OPENED at first.
    :raises RemoteProtocolError: the opening breaks the rules.
    :raises AuthenticationFailed: it was not sealed with these keys.
    """

    __slots__ = ("_receiver", "_sender", "_waiting", "head", "state")
    OPEN_SLOTS = frozenset({"head", "state"})

    def __init__(
        self,
        ends: Ends,
        keys: DeviceKeys,
        opening: Opening,
        *,
        unix_ms: int,
        salt: bytes,
        prefix: bytes,
    ) -> None:
        self.head = opening.head
        opener = SegmentOpener(
            keys.of_request(self.head), bind_request(ends, self.head), opening.header
        )
        self._receiver = PartReceiver(opener)
        first = self._receiver.open_first(opening)
        head = MessageHead(self.head.generation, self.head.counter, unix_ms, self.head.about_keys)
        associated = bind_response(ends, head, self.head, opening.header)
        ikm = keys.of_response(head)
        self._sender = PartSender(head, SegmentSealer(ikm, associated, salt=salt, prefix=prefix))
        self._waiting = deque([RequestReceived(first, self._receiver.finished)])
        self.state = ExchangeState.OPENED

    @property
    def sendable_parts(self) -> int:
        """How many parts of the response may be sent now."""
        return self._sender.sendable_parts if self.state in LIVE_STATES else 0

    @property
    def room_bytes(self) -> int:
        """How much of the response the next part can hold."""
        return self._sender.room_bytes

    def accept(self) -> list[RequestReceived]:
        """Go on; what has come of the request so far.

        :raises LocalProtocolError: it was decided before, or the request is over.
        """
        demand_state(self.state, ExchangeState.OPENED)
        self.state = ExchangeState.OPEN
        told = list(self._waiting)
        self._waiting.clear()
        return told

    def refuse(self, refusal: Refusal) -> bytearray:
        """Carry nothing out; the part that says so.

        :raises LocalProtocolError: it was decided before, or the request is over.
        """
        demand_state(self.state, ExchangeState.OPENED)
        self._waiting.clear()
        self.state = ExchangeState.DONE
        return self._sender.send(refusal.encode(), last=True)

    def send(self, plaintext: Buffer, *, last: bool = False) -> bytearray:
        """The next part of the response; parameters and errors as :meth:`PartSender.send`'s.

        With the last one the exchange is over: what still comes of the request is not told.

        :raises LocalProtocolError: also when the request was not accepted, or is over.
        """
        demand_state(self.state, ExchangeState.OPEN)
        part = self._sender.send(plaintext, last=last)
        if last:
            self.state = ExchangeState.DONE
        return part

    def fail(self, code: FailureCode) -> bytes:
        """Break off; the part that tells the device."""
        self._waiting.clear()
        self.state = ExchangeState.ENDED
        return Failure(code).encode()

    def consume(self, parts: int = 1) -> bytes | None:
        """So many pieces of the request were taken; a part to be sent, if any."""
        credit = self._receiver.consume(parts)
        return None if credit is None else credit.encode()

    def receive(self, data: Buffer) -> InstanceEvent | None:
        """What a later part means, if anything; what comes after the end means nothing."""
        if self.state not in LIVE_STATES:
            return None
        try:
            return self._receive(decode_part(data))
        except (RemoteProtocolError, AuthenticationFailed) as error:
            return ExchangeFailed(error, self.fail(FailureCode.BROKEN))

    def _receive(self, part: Part) -> InstanceEvent | None:
        match part:
            case Credit():
                return CreditReceived() if self._sender.take_credit(part) else None
            case SegmentPart():
                plaintext = self._receiver.receive(part)
                received = RequestReceived(plaintext, self._receiver.finished)
                if self.state is ExchangeState.OPEN:
                    return received
                self._waiting.append(received)
                return None
        self._waiting.clear()
        self.state = ExchangeState.ENDED
        return FailureReceived(part) if isinstance(part, Failure) else RequestCancelled()
