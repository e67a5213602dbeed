"""A request and its response, as the device sees them.

Source: docs/gateway-protocol, section 3. Fed with the parts that come for one request id, it tells
what they mean; it gives the parts to be sent. What goes wrong on the other side or on the way ends
the request with :class:`~porttunnel.gateway.message_event.ExchangeFailed` and harms nothing else.
"""

from __future__ import annotations

from porttunnel.errors import AuthenticationFailed, LocalProtocolError, RemoteProtocolError
from porttunnel.gateway.message_event import (
    LIVE_STATES,
    CreditReceived,
    DeviceEvent,
    ExchangeFailed,
    ExchangeState,
    FailureReceived,
    RefusalReceived,
    ResponseReceived,
    demand_state,
)
from porttunnel.gateway.message_head import MessageHead
from porttunnel.gateway.message_key import DeviceKeys, Ends, bind_request, bind_response
from porttunnel.gateway.part import Cancel, Credit, Failure, Part, SegmentPart, decode_part
from porttunnel.gateway.part_stream import WINDOW_PARTS, Opening, PartReceiver, PartSender
from porttunnel.gateway.refusal import REFUSAL_MARK, Refusal
from porttunnel.keys.envelope import SegmentOpener, SegmentSealer
from porttunnel.keys.primitives import Buffer
from porttunnel.keys.secret_holder import SecretHolder

__all__ = ["DeviceExchange"]


class DeviceExchange(SecretHolder):
    """The device's side.

    :param keys: of the generation in ``head``.
    :param head: of the request; its counter is used for no other.
    :param salt: 32 fresh random bytes.
    :param prefix: 7 fresh random bytes.
    :ivar state: never OPENED.
    :ivar response_head: of the response, once its first part has opened.
    """

    __slots__ = (
        "_ends",
        "_head",
        "_header",
        "_keys",
        "_receiver",
        "_sender",
        "response_head",
        "state",
    )
    OPEN_SLOTS = frozenset({"_ends", "_head", "_header", "response_head", "state"})

    def __init__(
        self, ends: Ends, keys: DeviceKeys, head: MessageHead, *, salt: bytes, prefix: bytes
    ) -> None:
        ikm, associated = keys.of_request(head), bind_request(ends, head)
        sealer = SegmentSealer(ikm, associated, salt=salt, prefix=prefix)
        self._ends = ends
        self._keys = keys
        self._head = head
        self._header = sealer.header
        self._sender = PartSender(head, sealer)
        self._receiver: PartReceiver | None = None
        self.response_head: MessageHead | None = None
        self.state = ExchangeState.OPEN

    @property
    def sendable_parts(self) -> int:
        """How many parts of the request may be sent now."""
        return self._sender.sendable_parts if self.state in LIVE_STATES else 0

    @property
    def room_bytes(self) -> int:
        """How much of the request the next part can hold."""
        return self._sender.room_bytes

    def send(self, plaintext: Buffer, *, last: bool = False) -> bytearray:
        """The next part of the request; parameters and errors as :meth:`PartSender.send`'s.

        :raises LocalProtocolError: also when the exchange is over.
        """
        demand_state(self.state, *LIVE_STATES)
        return self._sender.send(plaintext, last=last)

    def cancel(self) -> bytes:
        """Break off; the part that tells the instance."""
        self.state = ExchangeState.ENDED
        return Cancel().encode()

    def probe(self) -> bytes:
        """A part that says nothing new: who has given the request up answers that it is broken.

        :raises LocalProtocolError: the exchange is over.
        """
        demand_state(self.state, *LIVE_STATES)
        receiver = self._receiver
        return (Credit(WINDOW_PARTS) if receiver is None else receiver.credit).encode()

    def consume(self, parts: int = 1) -> bytes | None:
        """So many pieces of the response were taken; a part to be sent, if any."""
        if self._receiver is None:
            raise LocalProtocolError("nothing of a response was received")
        credit = self._receiver.consume(parts)
        return None if credit is None else credit.encode()

    def receive(self, data: Buffer) -> DeviceEvent | None:
        """What a part means, if anything; what comes after the end means nothing."""
        if self.state not in LIVE_STATES:
            return None
        try:
            return self._receive(decode_part(data))
        except (RemoteProtocolError, AuthenticationFailed) as error:
            return ExchangeFailed(error, self.cancel())

    def _receive(self, part: Part) -> DeviceEvent | None:
        match part:
            case Credit():
                return CreditReceived() if self._sender.take_credit(part) else None
            case Failure():
                self.state = ExchangeState.ENDED
                return FailureReceived(part)
            case SegmentPart():
                return self._receive_segment(part)
        raise RemoteProtocolError("an instance cancelled a request")

    def _receive_segment(self, part: SegmentPart) -> DeviceEvent:
        if self._receiver is not None:
            plaintext = self._receiver.receive(part)
            return self._tell(plaintext, self._receiver)
        opening = Opening(part)
        receiver = PartReceiver(self._make_opener(opening))
        plaintext = receiver.open_first(opening)
        self._receiver = receiver
        self.response_head = opening.head
        if plaintext[:1] == bytes([REFUSAL_MARK]):
            if not receiver.finished:
                raise RemoteProtocolError("a refusal goes on")
            refusal = Refusal.decode(plaintext)
            self.state = ExchangeState.DONE
            return RefusalReceived(refusal)
        return self._tell(plaintext, receiver)

    def _tell(self, plaintext: memoryview, receiver: PartReceiver) -> ResponseReceived:
        if receiver.finished:
            self.state = ExchangeState.DONE
        return ResponseReceived(plaintext, receiver.finished)

    def _make_opener(self, opening: Opening) -> SegmentOpener:
        head, ours = opening.head, self._head
        if (head.generation, head.counter) != (ours.generation, ours.counter):
            raise RemoteProtocolError("a response is for another request")
        if head.about_keys != ours.about_keys:
            raise RemoteProtocolError("a response is of another kind than its request")
        associated = bind_response(self._ends, head, ours, self._header)
        return SegmentOpener(self._keys.of_response(head), associated, opening.header)
