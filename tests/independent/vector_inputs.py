"""What is drawn for the vectors: once; a file that is there keeps its own."""

from __future__ import annotations

import secrets
from functools import cache
from typing import NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import mlkem, rsa

from tests.independent.handshake import OAEP, Encapsulation, PublicKeys, Secrets

__all__ = ["Inputs"]


class Inputs(NamedTuple):
    """All random values, as they stand in the file (hexadecimal)."""

    session_id: str
    pin: str
    link: str
    group_key: str
    rsa_private_pkcs8_der: str
    mlkem_seed: str
    client_scalar: str
    nonce_c: str
    master_scalar: str
    nonce_m: str
    rsa_secret: str
    rsa_ct: str
    short_rsa_ct: str
    mlkem_secret: str
    mlkem_ct: str

    @classmethod
    def draw(cls) -> Inputs:
        """Fresh ones."""
        drawn = Secrets.draw()
        public = PublicKeys(drawn.rsa.public_key(), drawn.mlkem.public_key())
        capsule = public.encapsulate()
        der = drawn.rsa.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return cls(
            session_id=secrets.token_hex(16),
            pin=f"{secrets.randbelow(10**6):06}",
            link=secrets.token_hex(16),
            group_key=secrets.token_hex(32),
            rsa_private_pkcs8_der=der.hex(),
            mlkem_seed=drawn.mlkem.private_bytes_raw().hex(),
            client_scalar=drawn.scalar.hex(),
            nonce_c=drawn.nonce.hex(),
            master_scalar=capsule.scalar.hex(),
            nonce_m=capsule.nonce.hex(),
            rsa_secret=capsule.rsa_secret.hex(),
            rsa_ct=capsule.rsa_ct.hex(),
            short_rsa_ct=public.rsa.encrypt(secrets.token_bytes(31), OAEP).hex(),
            mlkem_secret=capsule.mlkem_secret.hex(),
            mlkem_ct=capsule.mlkem_ct.hex(),
        )

    def raw(self, name: str) -> bytes:
        """One of them as bytes."""
        return bytes.fromhex(getattr(self, name))

    @property
    def client(self) -> Secrets:
        """What the client drew."""
        key = _load_rsa(self.raw("rsa_private_pkcs8_der"))
        kem = mlkem.MLKEM768PrivateKey.from_seed_bytes(self.raw("mlkem_seed"))
        return Secrets(key, kem, self.raw("client_scalar"), self.raw("nonce_c"))

    @property
    def master(self) -> Encapsulation:
        """What the master drew."""
        names = ("rsa_secret", "rsa_ct", "mlkem_secret", "mlkem_ct", "master_scalar", "nonce_m")
        return Encapsulation(*map(self.raw, names))


@cache
def _load_rsa(der: bytes) -> rsa.RSAPrivateKey:
    key = serialization.load_der_private_key(der, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key
