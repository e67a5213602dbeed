"""CPace-X25519-SHA512, from draft-irtf-cfrg-cpace-21, with X25519 alone from a library."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

__all__ = ["CPaceAborted", "generator", "multiply", "session_key"]

P = 2**255 - 19
J = 486662
NON_SQUARE = 2
DSI = b"CPace255"
HASH_BLOCK_BYTES = 128


class CPaceAborted(Exception):
    """The shared point was the neutral element."""


def _leb128(value: int) -> bytes:
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def lv_cat(*parts: bytes) -> bytes:
    """All parts, each behind its length."""
    return b"".join(_leb128(len(part)) + part for part in parts)


def _elligator2(u: int) -> int:
    """Curve25519's point for a field element, as its u-coordinate (RFC 9380, 6.7.1)."""
    divisor = (1 + NON_SQUARE * u * u) % P
    x = -J * pow(divisor, -1, P) % P if divisor else -J % P
    right = (x * x * x + J * x * x + x) % P
    is_square = right == 0 or pow(right, (P - 1) // 2, P) == 1
    return x if is_square else (-x - J) % P


def generator(prs: bytes, ci: bytes, sid: bytes) -> bytes:
    """The point that both sides multiply, 32 bytes."""
    padding = max(0, HASH_BLOCK_BYTES - 1 - len(lv_cat(prs)) - len(lv_cat(DSI)))
    digest = hashlib.sha512(lv_cat(DSI, prs, bytes(padding), ci, sid)).digest()[:32]
    u = int.from_bytes(digest, "little") & (2**255 - 1)
    return _elligator2(u % P).to_bytes(32, "little")


def multiply(scalar: bytes, point: bytes) -> bytes:
    """X25519; what the neutral element would give aborts."""
    try:
        return X25519PrivateKey.from_private_bytes(scalar).exchange(
            X25519PublicKey.from_public_bytes(point)
        )
    except ValueError:
        raise CPaceAborted from None


def session_key(
    sid: bytes, K: bytes, initiator: tuple[bytes, bytes], responder: tuple[bytes, bytes]
) -> bytes:
    """ISK, 64 bytes; of each side its Y and AD."""
    transcript = lv_cat(*initiator) + lv_cat(*responder)
    return hashlib.sha512(lv_cat(DSI + b"_ISK", sid, K) + transcript).digest()
