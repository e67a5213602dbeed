"""Packets: the 36-byte header, what may stand in it, and splitting a byte stream into packets.

Source: docs/session-protocol, section 2. The tunnel server reads no more of a packet than this
module does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from porttunnel.errors import RemoteProtocolError

__all__ = [
    "ALL_MEMBERS",
    "DATA_WORDS",
    "FLAG_GROUP",
    "FLAG_RESYNC",
    "FLAG_SYNCED",
    "HEADER",
    "HEADER_BYTES",
    "MASTER",
    "MAX_PACKET_BYTES",
    "MAX_PLAINTEXT_BYTES",
    "NO_MEMBER",
    "RECORD_HEADER_BYTES",
    "SERVER",
    "TAG_BYTES",
    "Header",
    "PacketSplitter",
    "PacketType",
    "check_handshake_header",
    "decode_header",
    "encode_header_into",
    "encode_packet",
]

HEADER_BYTES = 36
TAG_BYTES = 16  # of AES-256-GCM, at the end of each sealed body
RECORD_HEADER_BYTES = 9  # kind, stream, length
MAX_PLAINTEXT_BYTES = 65_536  # one packet: large enough for speed, small enough to interleave
MAX_PACKET_BYTES = HEADER_BYTES + MAX_PLAINTEXT_BYTES + TAG_BYTES
MAX_REQUEST_BYTES = 4_096  # a request is a handful of numbers; nobody needs more
MAX_REPLY_BYTES = 65_536  # STATUS lists members
MAX_ERROR_BYTES = 1_024  # a code and a sentence

SERVER = 0
MASTER = 1
NO_MEMBER = 0xFFFE  # the sender before CREATED or JOINED
ALL_MEMBERS = 0xFFFF

FLAG_GROUP = 0x0001
FLAG_RESYNC = 0x0002
FLAG_SYNCED = 0x0004

_MAGIC_AND_VERSION = 0x50540100  # "PT", version 1, room for the type
_SUITE = 1 << 16
HEADER = struct.Struct(">IIIHHQQI")
# Only what tells whether a packet continues a run: a third of the time of the whole header.
_RUN_HEADER = struct.Struct(">Q4xI16xI")  # magic to flags, sender and target, length


class PacketType(IntEnum):
    """What a packet is (docs/session-protocol, section 2)."""

    C1 = 0x01
    M2 = 0x02
    C3 = 0x03
    M4 = 0x04
    DATA = 0x10
    ACK = 0x11
    STORE = 0x12
    REQUEST = 0x20
    REPLY = 0x21
    EVENT = 0x22
    PING = 0x30
    PONG = 0x31
    ERROR = 0x3F


# The first eight bytes of DATA in a pair. Bulk data writes its headers itself, with all fields in
# their order: a call with their names would cost as much again.
DATA_WORDS = (_MAGIC_AND_VERSION | PacketType.DATA, _SUITE)

# type: shortest body, longest body, flags that may be set
_RULES: dict[PacketType, tuple[int, int, tuple[int, ...]]] = {
    PacketType.C1: (1_540, 1_572, (0,)),
    PacketType.M2: (1_387, 1_419, (0,)),
    PacketType.C3: (64, 64, (0,)),
    PacketType.M4: (32, 32, (0,)),
    PacketType.DATA: (TAG_BYTES, MAX_PLAINTEXT_BYTES + TAG_BYTES, (0, FLAG_GROUP)),
    PacketType.ACK: (TAG_BYTES, TAG_BYTES, (0, FLAG_RESYNC, FLAG_SYNCED)),
    PacketType.STORE: (RECORD_HEADER_BYTES, MAX_PLAINTEXT_BYTES, (0,)),
    PacketType.REQUEST: (1, MAX_REQUEST_BYTES, (0,)),
    PacketType.REPLY: (1, MAX_REPLY_BYTES, (0,)),
    PacketType.EVENT: (1, MAX_REQUEST_BYTES, (0,)),
    PacketType.PING: (8, 8, (0,)),
    PacketType.PONG: (8, 8, (0,)),
    PacketType.ERROR: (1, MAX_ERROR_BYTES, (0,)),
}
_BY_WORD = {
    _MAGIC_AND_VERSION | kind: (shortest, longest, tuple(_SUITE | flag for flag in flags), kind)
    for kind, (shortest, longest, flags) in _RULES.items()
}

# Sealed packets that may share a run, by their first eight bytes: what their longest body is.
_PAIR_RUN = {
    (_MAGIC_AND_VERSION | kind) << 32 | _SUITE | flag: _RULES[kind][1]
    for kind in (PacketType.DATA, PacketType.ACK)
    for flag in _RULES[kind][2]
    if flag != FLAG_GROUP
}
_GROUP_RUN = {
    (_MAGIC_AND_VERSION | PacketType.DATA) << 32 | _SUITE | FLAG_GROUP: _RULES[PacketType.DATA][1]
}
_SEALED = frozenset((PacketType.DATA, PacketType.ACK))


_HANDSHAKE_NUMBERS = {PacketType.C3: 1, PacketType.M4: 1}


class Header(NamedTuple):
    """The fields of one packet's header, checked."""

    kind: PacketType
    flags: int
    epoch: int
    sender: int
    target: int
    number: int
    ack: int
    length: int


def decode_header(data: bytes | bytearray | memoryview, offset: int = 0) -> Header:
    """Read and check the header that begins at ``offset``.

    :param data: at least ``offset`` + 36 bytes.
    :raises RemoteProtocolError: wrong magic, version, type, suite, flag or length.
    """
    word, suite_flags, epoch, sender, target, number, ack, length = HEADER.unpack_from(
        data, offset
    )
    rule = _BY_WORD.get(word)
    if rule is None:
        raise RemoteProtocolError("not a packet of this protocol: check address and port")
    shortest, longest, allowed, kind = rule
    if suite_flags not in allowed:
        raise RemoteProtocolError("a packet has a suite or flags that this version lacks")
    if not shortest <= length <= longest:
        raise RemoteProtocolError("a packet has a length that its type can't have")
    return Header(kind, suite_flags & 0xFFFF, epoch, sender, target, number, ack, length)


def check_handshake_header(header: Header) -> None:
    """What nobody seals has its fixed fields all the same, for one meaning has one form.

    :param header: of C1, M2, C3, M4, or of an ERROR between members.
    :raises RemoteProtocolError: it has an epoch, an ack, or another number than its type's.
    """
    if header.epoch or header.ack or header.number != _HANDSHAKE_NUMBERS.get(header.kind, 0):
        raise RemoteProtocolError("a handshake packet's header has fields that it can't have")


def encode_header_into(
    buffer: bytearray | memoryview,
    kind: PacketType,
    sender: int,
    target: int,
    length: int,
    *,
    number: int = 0,
    ack: int = 0,
    epoch: int = 0,
    flags: int = 0,
) -> None:
    """Write a header into the first 36 bytes of ``buffer``; ``length`` is the body's."""
    HEADER.pack_into(
        buffer,
        0,
        _MAGIC_AND_VERSION | kind,
        _SUITE | flags,
        epoch,
        sender,
        target,
        number,
        ack,
        length,
    )


def encode_packet(
    kind: PacketType, sender: int, target: int, body: bytes, *, number: int = 0
) -> bytes:
    """A whole packet with a plaintext body (handshake, requests, pings, errors)."""
    packet = bytearray(HEADER_BYTES)
    encode_header_into(packet, kind, sender, target, len(body), number=number)
    return bytes(packet) + body


def _end_of_run(data: memoryview, offset: int, first: Header) -> int:
    """Where the sealed packets end that follow ``first`` from ``offset`` on, whole, between the
    same two, and right as far as a header tells.
    """
    longest_bodies = _GROUP_RUN if first.flags & FLAG_GROUP else _PAIR_RUN
    route = first.sender << 16 | first.target
    read = _RUN_HEADER.unpack_from
    end = len(data)
    last = end - HEADER_BYTES
    while offset <= last:
        word, found, length = read(data, offset)
        if found != route or not TAG_BYTES <= length <= longest_bodies.get(word, 0):
            break
        stop = offset + HEADER_BYTES + length
        if stop > end:
            break
        offset = stop
    return offset


class PacketSplitter:
    """Cuts a link's bytes into whole packets.

    Packets that lie whole in the data are given as views into it, without a copy; only the last,
    incomplete one is kept, at most :data:`MAX_PACKET_BYTES`, and never more than has come of it.
    """

    __slots__ = ("_kept", "_size")

    def __init__(self) -> None:
        self._kept = bytearray()
        self._size = HEADER_BYTES  # of the kept packet, as far as is known

    @property
    def kept_bytes(self) -> int:
        """How much of an incomplete packet waits for its rest."""
        return len(self._kept)

    @property
    def kept_header(self) -> Header | None:
        """The header of the incomplete packet, once it is there: a body that may not come need
        not be waited for.
        """
        return decode_header(self._kept) if len(self._kept) >= HEADER_BYTES else None

    def split(self, data: memoryview) -> Iterator[tuple[Header, memoryview]]:
        """Header and whole packet (header and body), one after the other.

        :param data: the next bytes of the link; views into it are valid as long as it is. The
            iteration must be finished before the next call.
        :raises RemoteProtocolError: something else than packets.
        """
        return self._cut(data, runs=False)

    def runs(self, data: memoryview) -> Iterator[tuple[Header, memoryview]]:
        """As :meth:`split`, but consecutive DATA and ACK packets between the same two come as
        one run: the first one's header, and one view of them all. Group packets are not mixed
        with others.
        """
        return self._cut(data, runs=True)

    def _cut(self, data: memoryview, *, runs: bool) -> Iterator[tuple[Header, memoryview]]:
        offset = 0
        if self._kept:
            offset = self._complete(data)
            if len(self._kept) < self._size:
                return
            packet = memoryview(self._kept)
            self._kept = bytearray()
            self._size = HEADER_BYTES
            yield decode_header(packet), packet
        end = len(data)
        while end - offset >= HEADER_BYTES:
            header = decode_header(data, offset)
            stop = offset + HEADER_BYTES + header.length
            if stop > end:
                self._size = HEADER_BYTES + header.length
                break
            if runs and header.kind in _SEALED:
                stop = _end_of_run(data, stop, header)
            yield header, data[offset:stop]
            offset = stop
        self._kept += data[offset:]

    def _complete(self, data: memoryview) -> int:
        """Fill up the kept packet from the front of ``data``; how much of it was used."""
        used = self._fill(data)
        # No body is empty, so a packet that is only a header wants more.
        if len(self._kept) == HEADER_BYTES == self._size:
            self._size += decode_header(self._kept).length
            used += self._fill(data[used:])
        return used

    def _fill(self, data: memoryview) -> int:
        count = min(self._size - len(self._kept), len(data))
        self._kept += data[:count]
        return count
