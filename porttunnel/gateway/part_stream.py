"""One direction of a request: a sealed stream in parts, with credit.

Source: docs/gateway-protocol, section 3. Credit counts parts, not bytes. It is a hint of the other
end's, or of a gateway's that lies: too much of it costs the receiver, who checks what it gave; too
little stops the stream, which the gateway could do anyhow.
"""

from __future__ import annotations

from porttunnel.errors import LimitExceeded, LocalProtocolError, RemoteProtocolError
from porttunnel.gateway.message_head import MESSAGE_HEAD_BYTES, MessageHead
from porttunnel.gateway.part import Credit, SegmentPart, decode_part, encode_segment_head
from porttunnel.keys.envelope import (
    HEADER_BYTES,
    MAX_SEGMENTS,
    SegmentOpener,
    SegmentSealer,
    max_plaintext_bytes,
)
from porttunnel.keys.primitives import TAG_BYTES, Buffer
from porttunnel.keys.secret_holder import SecretHolder

__all__ = ["WINDOW_PARTS", "Opening", "PartReceiver", "PartSender", "decode_opening"]

WINDOW_PARTS = (
    16  # about a MiB under way: 80 MiB/s at 12 ms of round trip, and all that waits here
)
CREDIT_STEP_PARTS = WINDOW_PARTS // 2  # half a window goes on while the news of more is under way

_OPENING_BYTES = MESSAGE_HEAD_BYTES + HEADER_BYTES


class Opening:
    """The body of part 0, taken apart.

    :ivar head: the message head.
    :ivar header: the stream header, 40 bytes.
    :ivar segment: the first one; a view.
    :ivar last: a hint that there is no other.
    :raises RemoteProtocolError: the part is another one, too short, or its head is none.
    """

    __slots__ = ("head", "header", "last", "segment")

    def __init__(self, part: SegmentPart) -> None:
        if part.number != 0 or len(part.body) < _OPENING_BYTES:
            raise RemoteProtocolError("a message does not begin with its head")
        self.head = MessageHead.decode(part.body[:MESSAGE_HEAD_BYTES])
        self.header = bytes(part.body[MESSAGE_HEAD_BYTES:_OPENING_BYTES])
        self.segment = part.body[_OPENING_BYTES:]
        self.last = part.last


def decode_opening(data: Buffer) -> Opening:
    """The beginning of a sealed stream, so that its reader can look up whose key it needs.

    :param data: the payload of an MQTT message.
    :raises RemoteProtocolError: not the first part of a stream.
    """
    part = decode_part(data)
    if not isinstance(part, SegmentPart):
        raise RemoteProtocolError("a message does not begin with a segment")
    return Opening(part)


class PartSender(SecretHolder):
    """Sends one stream.

    :param head: stands before it.
    :param sealer: seals it; nothing was sealed yet.
    """

    __slots__ = ("_head", "_limit", "_sealer")
    OPEN_SLOTS = frozenset({"_head", "_limit"})

    def __init__(self, head: MessageHead, sealer: SegmentSealer) -> None:
        self._head = head
        self._sealer = sealer
        self._limit = WINDOW_PARTS

    @property
    def finished(self) -> bool:
        """Whether the last part was sent."""
        return self._sealer.finished

    @property
    def sendable_parts(self) -> int:
        """How many parts may be sent now."""
        return 0 if self.finished else self._limit - self._sealer.index

    @property
    def room_bytes(self) -> int:
        """How much the next part can hold."""
        return max_plaintext_bytes(self._sealer.index)

    def send(self, plaintext: Buffer, *, last: bool = False) -> bytearray:
        """The next part.

        :param plaintext: at most :attr:`room_bytes`; empty only if it is the last.
        :raises LocalProtocolError: there is no credit, it is too long, or the last was sent.
        """
        if not self.sendable_parts:
            raise LocalProtocolError("a part was to be sent without credit, or after the last")
        index = self._sealer.index
        before = encode_segment_head(index, last)
        if not index:
            before += self._head.encode() + self._sealer.header
        part = bytearray(len(before) + len(plaintext) + TAG_BYTES)
        part[: len(before)] = before
        self._sealer.seal_into(plaintext, memoryview(part)[len(before) :], last=last)
        return part

    def take_credit(self, credit: Credit) -> bool:
        """The other end allows more; whether that is news."""
        news = credit.limit > self._limit
        self._limit = max(self._limit, credit.limit)
        return news


class PartReceiver(SecretHolder):
    """Receives one stream.

    :param opener: opens it; nothing was opened yet.
    """

    __slots__ = ("_consumed", "_limit", "_opener")
    OPEN_SLOTS = frozenset({"_consumed", "_limit"})

    def __init__(self, opener: SegmentOpener) -> None:
        self._opener = opener
        self._limit = WINDOW_PARTS  # the first part that may not come yet
        self._consumed = 0

    @property
    def finished(self) -> bool:
        """Whether the last part has come."""
        return self._opener.finished

    @property
    def credit(self) -> Credit:
        """What was told last."""
        return Credit(self._limit)

    def open_first(self, opening: Opening) -> memoryview:
        """The plaintext of part 0; errors as :meth:`receive`'s."""
        return self._opener.open(opening.segment, last_expected=opening.last)

    def receive(self, part: SegmentPart) -> memoryview:
        """The plaintext of a later part.

        :raises RemoteProtocolError: not the next one, or of no length that it can have.
        :raises LimitExceeded: beyond the credit.
        :raises AuthenticationFailed: not what was sealed in this place.
        """
        if part.number != self._opener.index:
            raise RemoteProtocolError("a part is missing, or came twice, or in another order")
        if part.number >= self._limit:
            raise LimitExceeded("more parts came than were allowed")
        return self._opener.open(part.body, last_expected=part.last)

    def consume(self, parts: int = 1) -> Credit | None:
        """So many received parts need no memory any more; the credit to be told, if any.

        :raises LocalProtocolError: more than were received.
        """
        if self._consumed + parts > self._opener.index:
            raise LocalProtocolError("more parts were consumed than received")
        self._consumed += parts
        limit = min(self._consumed + WINDOW_PARTS, MAX_SEGMENTS - 1)
        if self.finished or limit - self._limit < CREDIT_STEP_PARTS:
            return None
        self._limit = limit
        return Credit(limit)
