"""Records: what a sealed body holds. Control messages and the records of streams.

Source: docs/session-protocol, section 6.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from porttunnel.errors import RemoteProtocolError, StreamCode
from porttunnel.session.packet import (
    HEADER_BYTES,
    TAG_BYTES,
)

__all__ = [
    "CONTROL_STREAM",
    "MAX_GROUP_PACKET_BYTES",
    "MAX_GROUP_PLAINTEXT_BYTES",
    "RECORD_HEADER",
    "Bye",
    "Control",
    "Direct",
    "DirectAddress",
    "Epoch",
    "GroupAck",
    "GroupDropped",
    "GroupEnd",
    "Hello",
    "JoinAs",
    "MemberName",
    "Members",
    "RecordKind",
    "Refused",
    "Resent",
    "Service",
    "Welcome",
    "decode_control",
    "decode_open",
    "decode_refuse",
    "decode_reset",
    "decode_u32",
    "encode_control",
    "encode_open",
    "encode_record",
    "encode_refuse",
    "encode_reset",
    "encode_u32",
]

CONTROL_STREAM = 0
MAX_NAME_CHARACTERS = 64  # of a person, a machine or a service: fits a line
MAX_SERVICES = 256
MAX_LISTED_MEMBERS = 100  # half a record of names in four-byte characters; the first are listed
MAX_CAPABILITIES = 16
MAX_TEXT_CHARACTERS = 200
MAX_HOST_CHARACTERS = 45  # an IPv6 address at its longest
MAX_DIRECT_ADDRESSES = 8  # of one machine; who names more makes others knock at strange doors
MAX_GROUP_PLAINTEXT_BYTES = 61_440  # so that a lost one fits whole into a pair's packet
MAX_GROUP_PACKET_BYTES = HEADER_BYTES + MAX_GROUP_PLAINTEXT_BYTES + TAG_BYTES

RECORD_HEADER = struct.Struct(">BII")  # kind, stream, length of the payload
_U32 = struct.Struct(">I")

encode_u32 = _U32.pack


class RecordKind(IntEnum):
    """What a record is."""

    CONTROL = 0
    OPEN = 1
    ACCEPT = 2
    REFUSE = 3
    DATA = 4
    CREDIT = 5
    END = 6
    RESET = 7


Name = Annotated[str, Meta(max_length=MAX_NAME_CHARACTERS)]
ServiceName = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARACTERS)]
Text = Annotated[str, Meta(max_length=MAX_TEXT_CHARACTERS)]
Capabilities = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARACTERS)]],
    Meta(max_length=MAX_CAPABILITIES),
]
MemberNumber = Annotated[int, Meta(ge=1, le=0xFFFD)]
Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
EpochNumber = Annotated[int, Meta(ge=1, le=0xFFFFFFFF)]
PacketNumber = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class _Control(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", kw_only=True
):
    pass


class Hello(_Control, frozen=True, tag="hello"):
    """Master to client, first: who is here, and what may be asked for."""

    name: Name
    capabilities: Capabilities


class JoinAs(_Control, frozen=True, tag="join-as"):
    """Client to master: who asks, and for what."""

    name: Name
    capabilities: Capabilities


class Refused(_Control, frozen=True, tag="refused"):
    """Master to client: the user said no."""

    reason: Text


class Service(_Control, frozen=True, tag="service"):
    """One thing that is shared."""

    name: ServiceName
    kind: ServiceName


class MemberName(_Control, frozen=True, tag="member"):
    """A member and how it called itself."""

    member: MemberNumber
    name: Name


class Members(_Control, frozen=True, tag="members"):
    """Master to client: who is in the session now."""

    members: Annotated[list[MemberName], Meta(max_length=MAX_LISTED_MEMBERS)]


class Welcome(_Control, frozen=True, tag="welcome"):
    """Master to client: you are in."""

    name: Name
    members: Annotated[list[MemberName], Meta(max_length=MAX_LISTED_MEMBERS)]
    services: Annotated[list[Service], Meta(max_length=MAX_SERVICES)]
    epoch: EpochNumber
    group_key: Key
    signing_key: Key

    def __repr__(self) -> str:
        return f"Welcome(name={self.name!r}, services={self.services!r}, epoch={self.epoch})"


class Bye(_Control, frozen=True, tag="bye"):
    """Either: nothing will come after this, on purpose."""

    reason: Text


class Epoch(_Control, frozen=True, tag="epoch"):
    """Master to client: the key of the next group epoch."""

    epoch: EpochNumber
    key: Key
    previous_end: PacketNumber

    def __repr__(self) -> str:
        return f"Epoch(epoch={self.epoch}, previous_end={self.previous_end})"


class DirectAddress(_Control, frozen=True, tag="address"):
    """Where the master can be reached without the tunnel server, perhaps."""

    host: Annotated[str, Meta(min_length=2, max_length=MAX_HOST_CHARACTERS)]
    port: Annotated[int, Meta(ge=1, le=0xFFFF)]


class Direct(_Control, frozen=True, tag="direct"):
    """Master to client: try these addresses; none: it can't be reached that way any more."""

    addresses: Annotated[list[DirectAddress], Meta(max_length=MAX_DIRECT_ADDRESSES)]


class GroupAck(_Control, frozen=True, tag="group-ack"):
    """Client to master: the next group packet that it expects; ``missing``: later ones came."""

    epoch: EpochNumber
    next: PacketNumber
    missing: bool


class GroupEnd(_Control, frozen=True, tag="group-end"):
    """Master to client: which group packet would be the next; nothing is under way."""

    epoch: EpochNumber
    next: PacketNumber


class Resent(_Control, frozen=True, tag="resent"):
    """Master to client: a group packet that it missed, bit-identical."""

    packet: Annotated[bytes, Meta(max_length=MAX_GROUP_PACKET_BYTES)]

    def __repr__(self) -> str:
        return f"Resent({len(self.packet)} bytes)"


class GroupDropped(_Control, frozen=True, tag="group-dropped"):
    """Master to client: it was too slow, and gets no group packets any more."""

    reason: Text


Control = (
    Hello
    | JoinAs
    | Refused
    | Welcome
    | Members
    | Bye
    | Epoch
    | Direct
    | GroupAck
    | GroupEnd
    | Resent
    | GroupDropped
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Control)

_CODE_NUMBERS = {code: number for number, code in enumerate(StreamCode, 1)}
_CODES = {number: code for code, number in _CODE_NUMBERS.items()}


def encode_record(kind: RecordKind, stream: int, payload: bytes = b"") -> bytes:
    """A whole record."""
    return RECORD_HEADER.pack(kind, stream, len(payload)) + payload


def encode_control(message: _Control) -> bytes:
    """A whole control record."""
    return encode_record(RecordKind.CONTROL, CONTROL_STREAM, _encoder.encode(message))


def decode_control(payload: memoryview) -> Control:
    """A control record's payload; :raises RemoteProtocolError: malformed."""
    try:
        message: Control = _decoder.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # Without the library's words: they can hold the peer's.
        raise RemoteProtocolError("a control message is malformed") from None
    return message


def encode_open(stream: int, service: str, window: int) -> bytes:
    """OPEN: the service's name and how many bytes the other side may send at first."""
    return encode_record(RecordKind.OPEN, stream, _U32.pack(window) + service.encode())


def decode_open(payload: memoryview) -> tuple[str, int]:
    """An OPEN's service and window (bytes); :raises RemoteProtocolError: malformed."""
    try:
        service = bytes(payload[4:]).decode()
    except UnicodeDecodeError:
        raise RemoteProtocolError("a service's name is not UTF-8") from None
    if not 1 <= len(service) <= MAX_NAME_CHARACTERS:
        raise RemoteProtocolError("a service's name is empty or too long")
    return service, decode_u32(payload[:4])


def decode_u32(payload: memoryview) -> int:
    """The payload of ACCEPT and CREDIT; :raises RemoteProtocolError: not four bytes."""
    if len(payload) != _U32.size:
        raise RemoteProtocolError("a record has a length that its kind can't have")
    value: int = _U32.unpack(payload)[0]
    return value


def encode_refuse(stream: int, code: StreamCode, text: str) -> bytes:
    """REFUSE: why, for programs and for people."""
    body = bytes([_CODE_NUMBERS[code]]) + text[:MAX_TEXT_CHARACTERS].encode()
    return encode_record(RecordKind.REFUSE, stream, body)


def encode_reset(stream: int, code: StreamCode) -> bytes:
    """RESET: why."""
    return encode_record(RecordKind.RESET, stream, bytes([_CODE_NUMBERS[code]]))


def decode_refuse(payload: memoryview) -> tuple[StreamCode, str]:
    """Code and text of REFUSE; :raises RemoteProtocolError: malformed."""
    code = decode_reset(payload[:1])
    try:
        text = bytes(payload[1:]).decode()
    except UnicodeDecodeError:
        raise RemoteProtocolError("a refusal's text is not UTF-8") from None
    if len(text) > MAX_TEXT_CHARACTERS:
        raise RemoteProtocolError("a refusal's text is too long")
    return code, text


def decode_reset(payload: memoryview) -> StreamCode:
    """The code of RESET; :raises RemoteProtocolError: malformed."""
    if len(payload) != 1 or payload[0] not in _CODES:
        raise RemoteProtocolError("a stream was ended with a code that this version lacks")
    return _CODES[payload[0]]
