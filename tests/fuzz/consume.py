"""What targets make of the fuzzer's bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from atheris import FuzzedDataProvider

from porttunnel.session.packet import PacketType

__all__ = ["MAX_BODY_BYTES", "FuzzedDataProvider", "consume_packet", "consume_pieces", "cut"]

MAX_BODY_BYTES = 300
_HEADER = struct.Struct(">2sBBHHIHHQQI")
_KINDS = [int(kind) for kind in PacketType]


def consume_packet(source: FuzzedDataProvider, body: bytes | None = None) -> bytes:
    """A packet whose header is mostly one; random bytes would seldom get past its magic."""
    if body is None:
        body = source.ConsumeBytes(source.ConsumeIntInRange(0, MAX_BODY_BYTES))
    kind = source.PickValueInList(_KINDS)
    flags = source.PickValueInList([0, 0, 1, 2, 3, 0x8000])
    epoch, number, ack = (source.PickValueInList([0, 0, 0, 1, 2**32 - 1]) for _ in range(3))
    sender, target = (source.PickValueInList([0, 1, 2, 2, 3, 0xFFFE, 0xFFFF]) for _ in range(2))
    length = len(body)
    if not source.ConsumeIntInRange(0, 15):
        length = source.ConsumeIntInRange(0, 2**32 - 1)
    head = bytearray(
        _HEADER.pack(b"PT", 1, kind, 1, flags, epoch, sender, target, number, ack, length)
    )
    if not source.ConsumeIntInRange(0, 15):
        head[source.ConsumeIntInRange(0, len(head) - 1)] = source.ConsumeIntInRange(0, 255)
    return bytes(head) + body


def consume_pieces(source: FuzzedDataProvider) -> Iterator[bytes]:
    """Until nothing is left."""
    while source.remaining_bytes():
        yield source.ConsumeBytes(source.ConsumeIntInRange(1, 64))


def cut(source: FuzzedDataProvider, data: bytes) -> Iterator[bytes]:
    """The data in pieces of any size."""
    while data:
        count = source.ConsumeIntInRange(1, len(data))
        yield data[:count]
        data = data[count:]
