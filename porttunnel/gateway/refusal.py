"""What an instance says, sealed, in place of an HTTP response: not carried out, and why.

Source: docs/gateway-protocol, section 3. Its first byte can't begin a message in binary HTTP. Only
because it is sealed for one request may a device believe it, and repeat what it had asked.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from porttunnel.errors import RemoteProtocolError

__all__ = ["REFUSAL_BYTES", "REFUSAL_MARK", "Refusal", "RefusalReason"]

REFUSAL_BYTES = 10
REFUSAL_MARK = 0x3F  # as a framing of RFC 9292 far from those that it has

_FORM = struct.Struct(">BBQ")

Buffer = bytes | bytearray | memoryview


class RefusalReason(IntEnum):
    """Why a request was not carried out, and what the value says."""

    NOT_EXECUTED = 0  # the instance can't just now; 0
    COUNTER = 1  # seen, or too old: the highest counter that was accepted
    TIME = 2  # the clocks differ too much: the instance's, as milliseconds since 1970
    WAITING = 3  # somebody has to type the device's digits first; 0
    ROTATE = 4  # the device's secret has to be changed first; 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """The request was not carried out.

    :ivar value: what belongs to the reason.
    """

    reason: RefusalReason
    value: int = 0

    def encode(self) -> bytes:
        """The 10 bytes, the whole plaintext of a response."""
        return _FORM.pack(REFUSAL_MARK, self.reason, self.value)

    @classmethod
    def decode(cls, data: Buffer) -> Refusal:
        """Read the 10 bytes.

        :raises RemoteProtocolError: of another length, or of a reason that is not known.
        """
        if len(data) != REFUSAL_BYTES:
            raise RemoteProtocolError("a refusal is too short or too long")
        mark, reason, value = _FORM.unpack(data)
        if mark != REFUSAL_MARK or reason not in _REASONS:
            raise RemoteProtocolError("a refusal is not one, or of a reason that is not known")
        return cls(RefusalReason(reason), value)


_REASONS = frozenset(RefusalReason)
