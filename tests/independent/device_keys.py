"""How a device comes to a secret: docs/gateway-protocol, section 2."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import struct
from typing import NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import mlkem, rsa

from tests.independent.device_request import Ends, Secret
from tests.independent.pairing import OAEP, expand, extract, sized, vec

__all__ = ["KeyExchange", "PairingCode", "device_password"]


class PairingCode(NamedTuple):
    """What a QR says.

    :ivar gateway: its address, without a slash at the end.
    :ivar pin: half of the SHA-256 of the gateway's key, or zeros.
    """

    gateway: str
    setup_key: bytes
    setup_secret: bytes
    pin: bytes
    expires: int

    @classmethod
    def parse(cls, text: str) -> PairingCode:
        """Of the QR's text."""
        gateway, found, data = text.strip().partition("/pair#")
        raw = base64.urlsafe_b64decode(data)
        assert found
        assert (len(raw), raw[0]) == (69, 1)
        (expires,) = struct.unpack(">I", raw[65:])
        return cls(gateway, raw[1:17], raw[17:49], raw[49:65], expires)


def device_password(setup_key: bytes, nonce: bytes) -> bytes:
    """What both derive."""
    label = b"ptgw1 device password" + setup_key
    return hmac.new(nonce, label, hashlib.sha256).digest()[:16]


class KeyExchange:
    """One pairing or rotation; the device's side.

    :param current: the secret under which it runs.
    :ivar request: its plaintext.
    :ivar confirmation: the plaintext of what follows, under the new secret.
    """

    def __init__(self, ends: Ends, current: Secret, generation: int) -> None:
        self._ends = b"".join(ends)
        self._current = current
        self._generation = generation
        self._rsa = rsa.generate_private_key(65537, 2048)
        self._mlkem = mlkem.MLKEM768PrivateKey.generate()
        nonce = secrets.token_bytes(32)
        self._nonce = nonce
        self.confirmation = b"\x02" + nonce
        rsa_public = self._rsa.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        opening = b"\x01" + struct.pack(">I", generation) + vec(rsa_public)
        opening += vec(self._mlkem.public_key().public_bytes_raw())
        self.request = opening + hashlib.sha256(b"ptgw1 commit" + nonce + opening).digest()

    def finish(self, answer: bytes) -> tuple[Secret, str]:
        """The new secret, and the digits to show."""
        kind, generation = struct.unpack_from(">BI", answer)
        assert (kind, generation) == (1, self._generation)
        rest = answer[37:]
        (length,) = struct.unpack_from(">H", rest)
        rsa_ct, rest = rest[2 : 2 + length], rest[2 + length :]
        (length,) = struct.unpack_from(">H", rest)
        mlkem_ct = rest[2 : 2 + length]
        assert len(rest) == 2 + length
        encapsulated = self._rsa.decrypt(rsa_ct, OAEP) + self._mlkem.decapsulate(mlkem_ct)
        told = sized(self.request) + sized(answer)
        t2 = hashlib.sha256(b"ptgw1 t2" + self._ends + told).digest()
        prk = extract(t2, self._current.value + encapsulated)
        t3 = hashlib.sha256(b"ptgw1 t3" + t2 + self._nonce).digest()
        number = int.from_bytes(expand(extract(b"ptgw1 sas", t3), b"", 8), "big")
        secret = Secret(self._generation, expand(prk, b"ptgw1 device secret", 32))
        return secret, f"{number % 1_000_000:06}"
