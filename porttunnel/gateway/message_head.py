"""The visible head of a message: which key, which counter, when.

Source: docs/gateway-protocol, section 3. Everybody on the way can read it and nobody can change
it: it is part of what the sealed stream behind it is bound to.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from porttunnel.errors import RemoteProtocolError

__all__ = ["FLAG_KEY", "MESSAGE_HEAD_BYTES", "MessageHead"]

MESSAGE_HEAD_BYTES = 25
FLAG_KEY = 1  # about keys: a pairing's or a rotation's exchange

_VERSION = 1
_HEAD = struct.Struct(">BIQQI")

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class MessageHead:
    """What stands before a sealed stream.

    :ivar generation: of the device's secret; 0 is the setup secret of the QR.
    :ivar counter: of the request, also in its response; of a push its own.
    :ivar unix_ms: milliseconds since 1970 by the sender's clock.
    :ivar about_keys: whether this is a message of a pairing or a rotation.
    """

    generation: int
    counter: int
    unix_ms: int
    about_keys: bool = False

    def encode(self) -> bytes:
        """The 25 bytes."""
        flags = FLAG_KEY if self.about_keys else 0
        return _HEAD.pack(_VERSION, self.generation, self.counter, self.unix_ms, flags)

    @classmethod
    def decode(cls, data: Buffer) -> MessageHead:
        """Read the 25 bytes.

        :raises RemoteProtocolError: of another length or version, or with an unknown flag.
        """
        if len(data) != MESSAGE_HEAD_BYTES:
            raise RemoteProtocolError("a message has no whole head")
        version, generation, counter, unix_ms, flags = _HEAD.unpack(data)
        if version != _VERSION or flags not in (0, FLAG_KEY):
            raise RemoteProtocolError("a message is of a version or has a flag that is not known")
        return cls(generation, counter, unix_ms, flags == FLAG_KEY)
