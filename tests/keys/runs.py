"""Whole handshakes with fixed values, for the tests of the handshake's modules."""

from __future__ import annotations

from functools import cache
from typing import Any

from porttunnel.keys.handshake import (
    ClientHandshake,
    Established,
    HandshakeMode,
    MasterHandshake,
    decode_c1,
)
from porttunnel.keys.hybrid import Encapsulation, HybridPrivateKey, encapsulate

__all__ = [
    "FORMER",
    "MEMBER",
    "NUMBER",
    "PASSWORDS",
    "SESSION_ID",
    "answer",
    "hybrid_key",
    "make_client",
    "make_master",
    "values_of",
]

NUMBER = 48213
SESSION_ID = b"0123456789abcdef"
MEMBER = 7
FORMER = 5

PASSWORDS = {
    HandshakeMode.PIN: b"604219",
    HandshakeMode.SAS: b"",
    HandshakeMode.LINK: b"YZ6HJJRJ4YJW7UZFLM43VRXFEY",
    HandshakeMode.REJOIN: b"9f" * 32,
}


@cache
def hybrid_key() -> HybridPrivateKey:
    """One key for all tests: an RSA key takes longer than a handshake."""
    return HybridPrivateKey.generate()


def make_client(mode: HandshakeMode = HandshakeMode.PIN, **changes: Any) -> ClientHandshake:
    """A client with the values above, or with ``changes``."""
    values: dict[str, Any] = {
        "number": NUMBER,
        "session_id": SESSION_ID,
        "member": MEMBER,
        "mode": mode,
        "prs": PASSWORDS[mode],
        "key": hybrid_key(),
        "scalar": b"a" * 32,
        "nonce": b"c" * 32,
        "fallback": b"f" * 32,
        "former": FORMER if mode is HandshakeMode.REJOIN else 0,
    }
    return ClientHandshake(**(values | changes))


@cache
def answer() -> Encapsulation:
    """An encapsulation to :func:`hybrid_key`."""
    return encapsulate(hybrid_key().rsa_public, hybrid_key().mlkem_public)


def make_master(
    c1: bytes | bytearray | memoryview,
    mode: HandshakeMode = HandshakeMode.PIN,
    **changes: Any,
) -> MasterHandshake:
    """A master that got this C1, with the values above, or with ``changes``."""
    opening = decode_c1(c1)
    values: dict[str, Any] = {
        "number": NUMBER,
        "session_id": SESSION_ID,
        "member": MEMBER,
        "mode": mode,
        "prs": PASSWORDS[mode],
        "c1": c1,
        "scalar": b"b" * 32,
        "nonce": b"m" * 32,
    }
    if "encapsulation" not in changes:
        values["encapsulation"] = encapsulate(opening.rsa_public, opening.mlkem_public)
    return MasterHandshake(**(values | changes))


def values_of(established: Established) -> dict[str, bytes | str]:
    """The attributes, so that two sides can be compared."""
    return {name: getattr(established, name) for name in Established.__slots__}
