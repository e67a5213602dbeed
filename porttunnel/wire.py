"""Bounded reading and writing of the plain fields that our wire formats share.

Integers are big-endian; a ``vec`` is a 16-bit length and that many bytes
(docs/session-protocol, "Notation").
"""

from __future__ import annotations

import struct

from porttunnel.errors import RemoteProtocolError

__all__ = ["MAX_VEC_BYTES", "Reader", "encode_u16", "encode_u32", "encode_u64", "encode_vec"]

MAX_VEC_BYTES = 0xFFFF  # what a 16-bit length can say

_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")

encode_u16 = _U16.pack
encode_u32 = _U32.pack
encode_u64 = struct.Struct(">Q").pack


def encode_vec(data: bytes) -> bytes:
    """A 16-bit length and the bytes.

    :raises ValueError: more than :data:`MAX_VEC_BYTES` bytes.
    """
    if len(data) > MAX_VEC_BYTES:
        raise ValueError(f"a vec holds at most {MAX_VEC_BYTES} bytes")
    return _U16.pack(len(data)) + data


class Reader:
    """Reads fields one after the other and never beyond the end.

    :param data: the whole message.
    :raises RemoteProtocolError: from each method, when the message is too short or a length
        is not the demanded one.
    """

    __slots__ = ("_data", "_offset")

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = memoryview(data)
        self._offset = 0

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        end = self._offset + count
        if end > len(self._data):
            raise RemoteProtocolError("a message ended too early")
        taken = bytes(self._data[self._offset : end])
        self._offset = end
        return taken

    def u8(self) -> int:
        """The next byte as a number."""
        return self.take(1)[0]

    def u16(self) -> int:
        """The next two bytes as a number."""
        value: int = _U16.unpack(self.take(2))[0]
        return value

    def u32(self) -> int:
        """The next four bytes as a number."""
        value: int = _U32.unpack(self.take(4))[0]
        return value

    def vec(self, length: int) -> bytes:
        """The next vec, which must hold exactly ``length`` bytes."""
        if self.u16() != length:
            raise RemoteProtocolError("a field has a length that it can't have")
        return self.take(length)

    def finish(self) -> None:
        """Nothing may follow."""
        if self._offset != len(self._data):
            raise RemoteProtocolError("a message has bytes after its end")
