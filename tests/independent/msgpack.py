"""As much MessagePack as docs/session-protocol, section 3 needs; strict."""

from __future__ import annotations

import struct
from typing import Any

__all__ = ["MessagePackError", "decode", "encode"]


class MessagePackError(ValueError):
    """Not MessagePack, or more of it than the protocol has."""


def _sized(value: int, forms: tuple[tuple[int, str, int], ...]) -> bytes:
    """The shortest form of a length: each is the first excluded value, a format, a first byte."""
    for limit, layout, first in forms:
        if value < limit:
            return struct.pack(f">B{layout}", first, value)
    raise MessagePackError("too long")


def encode(value: Any) -> bytes:
    """One value: bool, int, float, str, bytes, list, dict with text keys."""
    match value:
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int():
            return _encode_int(value)
        case float():
            return struct.pack(">Bd", 0xCB, value)
        case str():
            text = value.encode()
            if len(text) < 32:
                return bytes([0xA0 | len(text)]) + text
            forms = ((1 << 8, "B", 0xD9), (1 << 16, "H", 0xDA))
            return _sized(len(text), forms) + text
        case bytes():
            return _sized(len(value), ((1 << 8, "B", 0xC4), (1 << 16, "H", 0xC5))) + value
        case list():
            head = bytes([0x90 | len(value)]) if len(value) < 16 else b""
            head = head or _sized(len(value), ((1 << 16, "H", 0xDC),))
            return head + b"".join(map(encode, value))
        case dict():
            head = bytes([0x80 | len(value)]) if len(value) < 16 else b""
            head = head or _sized(len(value), ((1 << 16, "H", 0xDE),))
            return head + b"".join(encode(k) + encode(v) for k, v in value.items())
    raise MessagePackError(f"no form for {type(value).__name__}")


def _encode_int(value: int) -> bytes:
    if -32 <= value < 0:
        return struct.pack(">b", value)
    if 0 <= value < 128:
        return bytes([value])
    if value < 0:
        raise MessagePackError("the protocol has no such number")
    forms = ((1 << 8, "B", 0xCC), (1 << 16, "H", 0xCD), (1 << 32, "I", 0xCE), (1 << 64, "Q", 0xCF))
    return _sized(value, forms)


def decode(data: bytes) -> Any:
    """Exactly one value."""
    value, end = _decode(data, 0)
    if end != len(data):
        raise MessagePackError("bytes after the end")
    return value


# First byte: struct layout of what follows.
_INTEGERS = {0xCC: "B", 0xCD: "H", 0xCE: "I", 0xCF: "Q", 0xD0: "b", 0xD1: "h", 0xD2: "i"} | {
    0xD3: "q"
}
_STRINGS = {0xD9: "B", 0xDA: "H", 0xDB: "I"}
_BINS = {0xC4: "B", 0xC5: "H", 0xC6: "I"}
_ARRAYS = {0xDC: "H", 0xDD: "I"}
_MAPS = {0xDE: "H", 0xDF: "I"}


def _number(data: bytes, offset: int, layout: str) -> tuple[Any, int]:
    end = offset + struct.calcsize(f">{layout}")
    try:
        return struct.unpack_from(f">{layout}", data, offset)[0], end
    except struct.error:
        raise MessagePackError("ended too early") from None


def _take(data: bytes, offset: int, count: int) -> tuple[bytes, int]:
    if offset + count > len(data):
        raise MessagePackError("ended too early")
    return data[offset : offset + count], offset + count


def _text(data: bytes, offset: int, count: int) -> tuple[str, int]:
    raw, end = _take(data, offset, count)
    try:
        return raw.decode(), end
    except UnicodeDecodeError:
        raise MessagePackError("not UTF-8") from None


def _decode(data: bytes, offset: int) -> tuple[Any, int]:
    first, offset = _number(data, offset, "B")
    if first < 0x80:
        return first, offset
    if first >= 0xE0:
        return first - 256, offset
    if 0xA0 <= first <= 0xBF:
        return _text(data, offset, first & 31)
    if 0x90 <= first <= 0x9F:
        return _decode_array(data, offset, first & 15)
    if 0x80 <= first <= 0x8F:
        return _decode_map(data, offset, first & 15)
    if first in (0xC2, 0xC3):
        return first == 0xC3, offset
    if first in (0xCA, 0xCB):
        return _number(data, offset, "f" if first == 0xCA else "d")
    if first in _INTEGERS:
        return _number(data, offset, _INTEGERS[first])
    for forms, decoder in (
        (_STRINGS, _text),
        (_BINS, _take),
        (_ARRAYS, _decode_array),
        (_MAPS, _decode_map),
    ):
        if first in forms:
            count, offset = _number(data, offset, forms[first])
            return decoder(data, offset, count)
    raise MessagePackError(f"first byte {first:#x}")


def _decode_array(data: bytes, offset: int, count: int) -> tuple[list[Any], int]:
    values = []
    for _ in range(count):
        value, offset = _decode(data, offset)
        values.append(value)
    return values, offset


def _decode_map(data: bytes, offset: int, count: int) -> tuple[dict[str, Any], int]:
    values: dict[str, Any] = {}
    for _ in range(count):
        key, offset = _decode(data, offset)
        if not isinstance(key, str) or key in values:
            raise MessagePackError("a key that is no text, or comes twice")
        values[key], offset = _decode(data, offset)
    return values, offset
