"""Reading HTTP messages in binary form as they come: RFC 9292.

Whatever can be told is told at once; only fields are collected, within bounds. That a message has
ended is told when its stream has: a message may be cut short in places where what is missing is
empty, and padding may follow.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

from porttunnel.errors import LimitExceeded, LocalProtocolError, RemoteProtocolError
from porttunnel.gateway.binary_http import Framing
from porttunnel.gateway.http_head import (
    MAX_AUTHORITY_BYTES,
    MAX_METHOD_BYTES,
    MAX_PATH_BYTES,
    MAX_SCHEME_BYTES,
    Fields,
    RequestHead,
    ResponseHead,
    find_field_fault,
    find_request_fault,
    find_response_fault,
)

__all__ = [
    "MAX_FIELDS",
    "MAX_INFORMATIONAL",
    "MAX_SECTION_BYTES",
    "ContentReceived",
    "MessageEnded",
    "MessageEvent",
    "MessageReader",
]

MAX_SECTION_BYTES = 65_536  # the fields of one head or trailer; web servers take 8 to 64 KiB
MAX_FIELDS = 512  # of one section; each costs some 200 bytes beside its own
MAX_INFORMATIONAL = 16  # heads before the final one; more are no information

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class ContentReceived:
    """A piece of the content, never empty.

    :ivar data: a view of what was given to ``read``, as long as that is.
    """

    data: memoryview


@dataclass(frozen=True, slots=True)
class MessageEnded:
    """The message is whole.

    :ivar trailers: fields after the content.
    """

    trailers: Fields


MessageEvent = RequestHead | ResponseHead | ContentReceived | MessageEnded
_Steps = Generator[MessageEvent | None, None, None]  # None: more bytes are needed


class MessageReader:
    """Reads one message, of known or indeterminate length.

    :param request: whether it has to be a request, or else a response.
    """

    __slots__ = ("_at", "_data", "_ended", "_passed", "_request", "_steps")

    def __init__(self, *, request: bool) -> None:
        self._request = request
        self._data = memoryview(b"")
        self._at = 0  # in the data
        self._passed = 0  # bytes before the data
        self._ended = False
        self._steps = self._read_message()

    def read(self, data: Buffer) -> Iterator[MessageEvent]:
        """What the next bytes tell; to be gone through before more are read.

        :raises RemoteProtocolError: not such a message; what came before still counts as read, and
            nothing more can be.
        :raises LimitExceeded: more fields or heads than allowed.
        """
        if self._ended:
            raise LocalProtocolError("a message is read on after its end")
        self._passed += self._at
        self._data, self._at = memoryview(data), 0
        yield from self._run()

    def finish(self) -> Iterator[MessageEvent]:
        """No more bytes come, and the stream that brought them says so itself; ends with
        :class:`MessageEnded`.

        :raises RemoteProtocolError: the message was cut off.
        """
        self._ended = True
        yield from self._run()

    def _run(self) -> Iterator[MessageEvent]:
        for step in self._steps:
            if step is None:
                return
            yield step
            if isinstance(step, MessageEnded):
                return
        raise LocalProtocolError("a message is read on after it broke the protocol, or its end")

    def _read_message(self) -> _Steps:
        framing = yield from self._take_varint()
        known = framing in (Framing.KNOWN_REQUEST, Framing.KNOWN_RESPONSE)
        requests = (Framing.KNOWN_REQUEST, Framing.REQUEST)
        responses = (Framing.KNOWN_RESPONSE, Framing.RESPONSE)
        if framing not in (requests if self._request else responses):
            raise RemoteProtocolError("a message is not of the kind that belongs here")
        if self._request:
            yield (yield from self._take_request_head(known))
        else:
            yield from self._read_response_heads(known)
        yield from self._read_content(known)
        trailers = yield from self._take_fields(known)
        _refuse(find_field_fault(trailers))
        while (yield from self._has_more()):
            if any(self._data[self._at :]):
                raise RemoteProtocolError("a message goes on after its end")
            self._at = len(self._data)
        yield MessageEnded(trailers)

    def _read_response_heads(self, known: bool) -> _Steps:
        for _ in range(MAX_INFORMATIONAL + 1):
            status = yield from self._take_varint()
            head = ResponseHead(status, (yield from self._take_fields(known)))
            _refuse(find_response_fault(head))
            yield head
            if head.final:
                return
        raise LimitExceeded(f"a response has more than {MAX_INFORMATIONAL} heads below 200")

    def _read_content(self, known: bool) -> _Steps:
        if not (yield from self._has_more()):
            return
        while left := (yield from self._take_varint()):
            while left:
                if not (yield from self._has_more()):
                    raise RemoteProtocolError("a message was cut off in its content")
                piece = self._data[self._at : self._at + left]
                self._at += len(piece)
                left -= len(piece)
                yield ContentReceived(piece)
            if known:
                return

    def _take_request_head(self, known: bool) -> Generator[MessageEvent | None, None, RequestHead]:
        head = RequestHead(
            method=(yield from self._take_prefixed(MAX_METHOD_BYTES)),
            scheme=(yield from self._take_prefixed(MAX_SCHEME_BYTES)),
            authority=(yield from self._take_prefixed(MAX_AUTHORITY_BYTES)),
            path=(yield from self._take_prefixed(MAX_PATH_BYTES)),
            fields=(yield from self._take_fields(known)),
        )
        _refuse(find_request_fault(head))
        return head

    def _take_fields(self, known: bool) -> Generator[MessageEvent | None, None, Fields]:
        """A section of fields; an absent one is empty."""
        if not (yield from self._has_more()):
            return ()
        length = (yield from self._take_varint()) if known else MAX_SECTION_BYTES
        if length > MAX_SECTION_BYTES:
            raise LimitExceeded("a message has more bytes of fields than allowed")
        end = self._passed + self._at + length
        fields: list[tuple[bytes, bytes]] = []
        while not known or self._passed + self._at < end:
            count = yield from self._take_varint()
            if not count and not known:
                break
            if len(fields) == MAX_FIELDS:
                raise LimitExceeded(f"a message has more than {MAX_FIELDS} fields in one place")
            name = yield from self._take_within(count, end, known)
            count = yield from self._take_varint()
            fields.append((name, (yield from self._take_within(count, end, known))))
        return tuple(fields)

    def _take_within(self, count: int, end: int, known: bool) -> Generator[None, None, bytes]:
        if self._passed + self._at + count > end:
            if known:
                raise RemoteProtocolError("a field reaches beyond its section")
            raise LimitExceeded("a message has more bytes of fields than allowed")
        return (yield from self._take(count))

    def _take_prefixed(self, most: int) -> Generator[None, None, bytes]:
        count = yield from self._take_varint()
        if count > most:
            raise LimitExceeded("a part of a request's first line is too long")
        return (yield from self._take(count))

    def _take_varint(self) -> Generator[None, None, int]:
        first = (yield from self._take(1))[0]
        length = 1 << (first >> 6)
        rest = yield from self._take(length - 1)
        return int.from_bytes(bytes([first & 0x3F]) + rest)

    def _take(self, count: int) -> Generator[None, None, bytes]:
        taken = bytearray()
        while len(taken) < count:
            if not (yield from self._has_more()):
                raise RemoteProtocolError("a message was cut off")
            piece = self._data[self._at : self._at + count - len(taken)]
            self._at += len(piece)
            taken += piece
        return bytes(taken)

    def _has_more(self) -> Generator[None, None, bool]:
        """Whether there is another byte; waits until that is known."""
        while self._at == len(self._data):
            if self._ended:
                return False
            yield None
        return True


def _refuse(fault: str | None) -> None:
    if fault is not None:
        raise RemoteProtocolError(fault)
