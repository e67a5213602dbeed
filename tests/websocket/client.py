"""A client's side of WebSocket, as plainly as it can be written: what the tests send and read.

Nothing here is shared with porttunnel.websocket, so that an error there can't hide here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["MASK", "Frame", "cuts", "frame", "masked", "read_frames"]

MASK = b"\x37\xfa\x21\x3d"  # of RFC 6455's examples


class Frame(NamedTuple):
    """A frame of the server's."""

    first: int
    payload: bytes

    @property
    def opcode(self) -> int:
        return self.first & 0x0F


def masked(payload: bytes, mask: bytes = MASK) -> bytes:
    return bytes(byte ^ key for byte, key in zip(payload, itertools.cycle(mask)))


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    final: bool = True,
    reserved: int = 0,
    mask: bytes | None = MASK,
    length_bytes: int | None = None,
) -> bytes:
    """A frame as a client sends it.

    :param reserved: the three bits, as a number.
    :param mask: None for a frame without one, which no client may send.
    :param length_bytes: 0, 2 or 8: how the length is written, if not in the shortest way.
    """
    size = len(payload)
    if length_bytes is None:
        length_bytes = 0 if size < 126 else 2 if size < 65_536 else 8
    short = {0: size, 2: 126, 8: 127}[length_bytes]
    head = bytes([final << 7 | reserved << 4 | opcode, (mask is not None) << 7 | short])
    head += size.to_bytes(8, "big")[8 - length_bytes :]
    return head + (payload if mask is None else mask + masked(payload, mask))


def read_frames(data: bytes) -> list[Frame]:
    """What a server sent, which has to be whole frames without masks."""
    frames = []
    while data:
        first, size = data[0], data[1]
        assert size < 128, "a server's frame is masked"
        used = 2
        if size >= 126:
            count = 2 if size == 126 else 8
            size = int.from_bytes(data[2 : 2 + count], "big")
            used += count
        assert len(data) >= used + size, "a frame is not whole"
        frames.append(Frame(first, data[used : used + size]))
        data = data[used + size :]
    return frames


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """The data whole, byte by byte, and in two at every place."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]
