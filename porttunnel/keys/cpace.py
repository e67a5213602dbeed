"""CPace-X25519-SHA512, initiator and responder: a code of six digits makes a strong key.

draft-irtf-cfrg-cpace-21. Each run gives an attacker one guess and nothing to guess on
afterwards, which is why six digits suffice. The initiator's values end in ``a``, the
responder's in ``b``.

The arithmetic below works on Python integers and is not constant in time. What it could leak
is the generator, and so the password string, to somebody who measures this very process while
it joins; scalars only ever enter :func:`x25519`, which is constant in time.
"""

from __future__ import annotations

from porttunnel.keys.primitives import sha512, x25519

__all__ = ["SHARE_BYTES", "derive_isk", "generator", "public_share"]

SHARE_BYTES = 32

LABEL_GENERATOR = b"CPace255"  # the draft's DSI for this group
LABEL_ISK = b"CPace255_ISK"

_SHA512_BLOCK_BYTES = 128
_FIELD_PRIME = 2**255 - 19
_MONTGOMERY_A = 486662  # Curve25519: v^2 = u^3 + A u^2 + u
_NON_SQUARE = 2  # the draft's Z for this field


def generator(prs: bytes, ci: bytes, sid: bytes) -> bytes:
    """The point that both sides get from the password (32 bytes).

    :param prs: the password-related string.
    :param ci: channel identifier: who talks to whom about what.
    :param sid: identifier of the session, the same on both sides.
    """
    # The password alone fills the hash's first block, so that what is public can't be hashed
    # ahead of it for all passwords at once.
    padding_length = (
        _SHA512_BLOCK_BYTES - 1 - len(_prefixed(prs)) - len(_prefixed(LABEL_GENERATOR))
    )
    text = b"".join(map(_prefixed, (LABEL_GENERATOR, prs, bytes(max(0, padding_length)), ci, sid)))
    digest = sha512(text)[:SHARE_BYTES]
    field_element = int.from_bytes(digest, "little") & (2**255 - 1)
    return _map_to_curve(field_element).to_bytes(SHARE_BYTES, "little")


def public_share(scalar: bytes, point: bytes) -> bytes:
    """What one side sends (32 bytes).

    :param scalar: 32 fresh random bytes.
    :param point: the :func:`generator`.
    """
    return x25519(scalar, point)


def derive_isk(
    scalar: bytes,
    peer_share: bytes,
    sid: bytes,
    *,
    ya: bytes,
    ada: bytes,
    yb: bytes,
    adb: bytes,
) -> bytes:
    """The intermediate session key (64 bytes); it still goes through a key derivation.

    :param scalar: this side's own.
    :param peer_share: what the peer sent, 32 bytes.
    :param ya: the initiator's share, and ``ada`` its associated data.
    :param yb: the responder's share, and ``adb`` its associated data.
    :raises AuthenticationFailed: the peer's share is a point of low order (the draft's abort).
    """
    shared = x25519(scalar, peer_share)
    return sha512(*map(_prefixed, (LABEL_ISK, sid, shared, ya, ada, yb, adb)))


def _prefixed(data: bytes) -> bytes:
    """``data`` behind its length in LEB128, the draft's ``prepend_len``."""
    length = len(data)
    prefix = bytearray()
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + data


def _map_to_curve(r: int) -> int:
    """Elligator 2 (RFC 9380, 6.7.1) as the draft uses it: only the u coordinate."""
    v = -_MONTGOMERY_A * pow(1 + _NON_SQUARE * r * r, _FIELD_PRIME - 2, _FIELD_PRIME)
    curve = (v**3 + _MONTGOMERY_A * v**2 + v) % _FIELD_PRIME
    is_square = pow(curve, (_FIELD_PRIME - 1) // 2, _FIELD_PRIME) != _FIELD_PRIME - 1
    return (v if is_square else -v - _MONTGOMERY_A) % _FIELD_PRIME
