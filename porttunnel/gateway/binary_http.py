"""Writing HTTP messages as bytes: binary HTTP, RFC 9292.

Only of indeterminate length, piece by piece as there is something to say. Reading, also of known
length, is in ``binary_http_reader``.
"""

from __future__ import annotations

from enum import Enum, IntEnum

from porttunnel.errors import LocalProtocolError
from porttunnel.gateway.http_head import (
    Fields,
    RequestHead,
    ResponseHead,
    find_field_fault,
    find_request_fault,
    find_response_fault,
)

__all__ = ["MAX_VARINT", "Framing", "MessageWriter", "encode_varint"]

MAX_VARINT = 2**62 - 1  # two bits of eight bytes tell the length

Buffer = bytes | bytearray | memoryview


class Framing(IntEnum):
    """A message's first number (RFC 9292, section 3.3)."""

    KNOWN_REQUEST = 0
    KNOWN_RESPONSE = 1
    REQUEST = 2
    RESPONSE = 3


class _State(Enum):
    HEAD = "a head comes next"
    CONTENT = "content, or the end, comes next"
    ENDED = "nothing comes any more"


def encode_varint(value: int) -> bytes:
    """A number in one, two, four or eight bytes (RFC 9000, section 16); at most 2^62 - 1."""
    for exponent in range(4):
        length = 1 << exponent
        if value < 1 << (8 * length - 2):
            return (value | exponent << (8 * length - 2)).to_bytes(length)
    raise ValueError(f"a number of variable length is at most {MAX_VARINT}")


class MessageWriter:
    """One message of indeterminate length.

    :param framing: REQUEST or RESPONSE.

    Each method gives the bytes that come next.

    :raises LocalProtocolError: from each method, if it isn't its turn, or a head or field has
        bytes that it can't have.
    """

    __slots__ = ("_framing", "_started", "_state")

    def __init__(self, framing: Framing) -> None:
        if framing not in (Framing.REQUEST, Framing.RESPONSE):
            raise ValueError("what is written piece by piece has no known length")
        self._framing = framing
        self._state = _State.HEAD
        self._started = False

    def write_head(self, head: RequestHead | ResponseHead) -> bytes:
        """The head; of a response also one below 200, after which another follows."""
        self._demand(_State.HEAD)
        if isinstance(head, RequestHead) != (self._framing is Framing.REQUEST):
            raise LocalProtocolError("a head of a response stands in a request, or the reverse")
        framing = b"" if self._started else encode_varint(self._framing)
        written = framing + _encode_control(head) + _encode_fields(head.fields) + b"\0"
        self._started = True
        if isinstance(head, RequestHead) or head.final:
            self._state = _State.CONTENT
        return written

    def write_content(self, data: Buffer) -> bytes:
        """A piece of content; of an empty one nothing."""
        self._demand(_State.CONTENT)
        return b"".join((encode_varint(len(data)), data)) if data else b""

    def end(self, trailers: Fields = (), padding: int = 0) -> bytes:
        """The end of the message.

        :param trailers: fields after the content.
        :param padding: so many zeros, to hide how long the message is.
        """
        self._demand(_State.CONTENT)
        lines = _encode_fields(_checked(trailers))
        self._state = _State.ENDED
        return b"\0" + lines + b"\0" + bytes(padding)

    def _demand(self, state: _State) -> None:
        if self._state is not state:
            raise LocalProtocolError(f"not the turn in a message: {self._state.value}")


def _encode_control(head: RequestHead | ResponseHead) -> bytes:
    if isinstance(head, RequestHead):
        _refuse(find_request_fault(head))
        parts = (head.method, head.scheme, head.authority, head.path)
        return b"".join(map(_prefixed, parts))
    _refuse(find_response_fault(head))
    return encode_varint(head.status)


def _encode_fields(fields: Fields) -> bytes:
    return b"".join(_prefixed(name) + _prefixed(value) for name, value in fields)


def _checked(trailers: Fields) -> Fields:
    _refuse(find_field_fault(trailers))
    return trailers


def _refuse(fault: str | None) -> None:
    if fault is not None:
        raise LocalProtocolError(fault)


def _prefixed(data: bytes) -> bytes:
    return encode_varint(len(data)) + data
