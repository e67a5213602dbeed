"""What a Close frame can say: a code and a reason.

Source: RFC 6455, sections 5.5.1 and 7.4; the IANA registry of close codes.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from porttunnel.errors import WebSocketError

__all__ = ["MAX_REASON_BYTES", "CloseCode", "decode_close", "encode_close"]

MAX_REASON_BYTES = 123  # a control frame's payload has at most 125 bytes, the code takes two

_CODE = struct.Struct(">H")
_PRIVATE_CODES = range(3_000, 5_000)  # of libraries and applications


class CloseCode(IntEnum):
    """The codes that may stand in a Close frame, but for those of libraries and applications."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED = 1003
    INVALID_PAYLOAD = 1007
    POLICY_VIOLATION = 1008
    TOO_BIG = 1009
    MISSING_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014


_CODES = frozenset(CloseCode)


def encode_close(code: int, reason: str) -> bytes:
    """The payload of a Close frame.

    :param code: one that may be sent.
    :param reason: cut, between two characters, to what fits.
    :raises ValueError: the code may not stand in a Close frame.
    """
    if not _may_be_sent(code):
        raise ValueError(
            f"{code} may not stand in a Close frame: use 1000 to 1014 or 3000 to 4999"
        )
    text = reason.encode("utf-8")[:MAX_REASON_BYTES].decode("utf-8", "ignore")
    return _CODE.pack(code) + text.encode("utf-8")


def decode_close(payload: memoryview) -> tuple[int | None, str]:
    """The code, or None if there is none, and the reason.

    :raises WebSocketError: half a code, or one that may not be sent (1002); a reason that is not
        UTF-8 (1007).
    """
    if not payload:
        return None, ""
    if len(payload) < _CODE.size:
        raise WebSocketError("a Close frame has half a code", CloseCode.PROTOCOL_ERROR)
    (code,) = _CODE.unpack_from(payload)
    if not _may_be_sent(code):
        raise WebSocketError(
            "a Close frame has a code that may not be sent", CloseCode.PROTOCOL_ERROR
        )
    try:
        return code, str(payload[_CODE.size :], "utf-8")
    except UnicodeDecodeError:
        raise WebSocketError(
            "the reason in a Close frame is not UTF-8", CloseCode.INVALID_PAYLOAD
        ) from None


def _may_be_sent(code: int) -> bool:
    return code in _CODES or code in _PRIVATE_CODES
