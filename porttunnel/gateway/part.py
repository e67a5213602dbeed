"""Parts: what one MQTT message between device and instance carries.

Source: docs/gateway-protocol, section 3. A part is a segment of a sealed stream, or a hint:
credit, cancel, error. The gateway writes parts of one kind: that it could not pass one on.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Annotated

import msgspec

from porttunnel.errors import RemoteProtocolError
from porttunnel.gateway.message_head import MESSAGE_HEAD_BYTES

__all__ = [
    "FROM_GATEWAY",
    "MAX_ERROR_BYTES",
    "MAX_PART_BYTES",
    "PART_HEAD_BYTES",
    "Cancel",
    "Credit",
    "Failure",
    "FailureCode",
    "Part",
    "PartFlag",
    "SegmentPart",
    "decode_part",
    "encode_segment_head",
]

PART_HEAD_BYTES = 5
MIN_SEGMENT_BYTES = 16  # a tag
MAX_SEGMENT_BYTES = 65_536  # the first with the 40 bytes before it
MAX_PART_BYTES = PART_HEAD_BYTES + MESSAGE_HEAD_BYTES + MAX_SEGMENT_BYTES
MAX_ERROR_BYTES = 256  # a code, and room for another field one day

FROM_GATEWAY = 0xFFFF_FFFF  # in the place of a number: the gateway speaks, not the other end

_HEAD = struct.Struct(">IB")

Buffer = bytes | bytearray | memoryview


class PartFlag(IntEnum):
    """What a part is; a segment in the middle of its stream has none."""

    LAST = 1
    CANCEL = 2
    CREDIT = 4
    ERROR = 8


class FailureCode(StrEnum):
    """What an error can say; others are let through, for later versions."""

    INSTANCE_OFFLINE = "instance-offline"  # the gateway: nobody is there
    BUSY = "busy"  # too much is going on; later it may be otherwise
    BROKEN = "broken"  # a part did not open, or broke a rule
    REVOKED = "revoked"  # the gateway: this device is none any more


@dataclass(frozen=True, slots=True)
class SegmentPart:
    """A piece of a sealed stream.

    :ivar number: the index of the segment.
    :ivar body: of number 0 message head, stream header and segment, else the segment; a view.
    :ivar last: a hint that the stream ends with it.
    """

    number: int
    body: memoryview
    last: bool


@dataclass(frozen=True, slots=True)
class Credit:
    """The other end may send more.

    :ivar limit: the first part that may not be sent yet.
    """

    limit: int

    def encode(self) -> bytes:
        """The part."""
        return _HEAD.pack(self.limit, PartFlag.CREDIT)


@dataclass(frozen=True, slots=True)
class Cancel:
    """The device no longer wants its answer."""

    def encode(self) -> bytes:
        """The part."""
        return _HEAD.pack(0, PartFlag.CANCEL)


@dataclass(frozen=True, slots=True)
class Failure:
    """It does not go on. A hint like the others: it proves nothing.

    :ivar code: a :class:`FailureCode`, or one of a later version.
    :ivar from_gateway: whether the gateway says so, or else the other end.
    """

    code: str
    from_gateway: bool = False

    def encode(self) -> bytes:
        """The part."""
        number = FROM_GATEWAY if self.from_gateway else 0
        body = msgspec.json.encode(_FailureBody(self.code))
        return _HEAD.pack(number, PartFlag.ERROR) + body


Part = SegmentPart | Credit | Cancel | Failure


class _FailureBody(msgspec.Struct):
    """Fields that aren't known are passed over: a later version may say more."""

    error: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z-]{0,31}\\Z")]


_FAILURE_DECODER = msgspec.json.Decoder(_FailureBody)


def encode_segment_head(number: int, last: bool) -> bytes:
    """What stands before the body of a :class:`SegmentPart`."""
    return _HEAD.pack(number, PartFlag.LAST if last else 0)


def decode_part(data: Buffer) -> Part:
    """Read one part.

    :param data: the whole of an MQTT message's payload.
    :raises RemoteProtocolError: it is none.
    """
    view = memoryview(data)
    if not PART_HEAD_BYTES <= len(view) <= MAX_PART_BYTES:
        raise RemoteProtocolError("a part is too short or too long")
    number, flags = _HEAD.unpack(view[:PART_HEAD_BYTES])
    body = view[PART_HEAD_BYTES:]
    if flags in (0, PartFlag.LAST):
        if len(body) < MIN_SEGMENT_BYTES:
            raise RemoteProtocolError("a part has no whole segment")
        return SegmentPart(number, body, flags == PartFlag.LAST)
    if flags == PartFlag.ERROR and number in (0, FROM_GATEWAY):
        return Failure(_decode_failure(body), number == FROM_GATEWAY)
    if flags == PartFlag.CREDIT and not body:
        return Credit(number)
    if flags == PartFlag.CANCEL and not body and number == 0:
        return Cancel()
    raise RemoteProtocolError("a part has flags that don't go with it")


def _decode_failure(body: memoryview) -> str:
    if len(body) > MAX_ERROR_BYTES:
        raise RemoteProtocolError("an error is too long")
    try:
        return _FAILURE_DECODER.decode(body).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise RemoteProtocolError("an error is not one") from None
