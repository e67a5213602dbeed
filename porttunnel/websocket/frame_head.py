"""What stands before a frame's payload: what it is, how long. Source: RFC 6455, section 5.2."""

from __future__ import annotations

import struct
from enum import IntEnum

__all__ = ["FINAL", "LENGTH_16", "LENGTH_64", "Opcode", "encode_head"]

FINAL = 0x80  # the bit of a message's last frame
# In place of a length: it follows in so many bits.
LENGTH_16 = 126
LENGTH_64 = 127

_HEAD_16 = struct.Struct(">BBH")
_HEAD_64 = struct.Struct(">BBQ")


class Opcode(IntEnum):
    """What a frame is."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


def encode_head(opcode: int, size: int) -> bytes:
    """The head of an unfragmented, unmasked frame with a payload of ``size`` bytes."""
    if size < LENGTH_16:
        return bytes((FINAL | opcode, size))
    if size < 1 << 16:
        return _HEAD_16.pack(FINAL | opcode, LENGTH_16, size)
    return _HEAD_64.pack(FINAL | opcode, LENGTH_64, size)
