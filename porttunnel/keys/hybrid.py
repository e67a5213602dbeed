"""RSA-2048-OAEP and ML-KEM-768 as one: a recording stays closed while either holds.

Both secrets enter the handshake's key derivation side by side, each behind its length, together
with a hash over both public keys and both ciphertexts (docs/session-protocol, section 5).
"""

from __future__ import annotations

from dataclasses import dataclass

from porttunnel.errors import RemoteProtocolError
from porttunnel.keys.primitives import (
    KEY_BYTES,
    RSA_CIPHERTEXT_BYTES,
    MlkemPrivateKey,
    RsaPrivateKey,
    mlkem_encapsulate,
    rsa_encapsulate,
)
from porttunnel.keys.secret_holder import SecretHolder
from porttunnel.wire import encode_vec

__all__ = ["SHARED_BYTES", "Encapsulation", "HybridPrivateKey", "encapsulate"]

SHARED_BYTES = 2 * (2 + KEY_BYTES)  # two secrets, each as a vec

_MLKEM_SEED_BYTES = 64  # FIPS 203: d and z


class HybridPrivateKey(SecretHolder):
    """A client's key pair for one join.

    :ivar rsa_public: SubjectPublicKeyInfo DER, 294 bytes, e = 65537.
    :ivar mlkem_public: 1184 bytes.
    """

    __slots__ = ("_mlkem", "_rsa", "mlkem_public", "rsa_public")
    OPEN_SLOTS = frozenset({"mlkem_public", "rsa_public"})

    def __init__(self, rsa: RsaPrivateKey, mlkem: MlkemPrivateKey) -> None:
        self._rsa = rsa
        self._mlkem = mlkem
        self.rsa_public = rsa.public
        self.mlkem_public = mlkem.public

    @classmethod
    def generate(cls) -> HybridPrivateKey:
        """A fresh key pair. Takes about 33 ms: call it in a thread while the user types."""
        return cls(RsaPrivateKey.generate(), MlkemPrivateKey.generate())

    @classmethod
    def load(cls, exported: bytes) -> HybridPrivateKey:
        """A key pair that :meth:`export` gave."""
        seed, rsa = exported[:_MLKEM_SEED_BYTES], exported[_MLKEM_SEED_BYTES:]
        return cls(RsaPrivateKey.load(rsa), MlkemPrivateKey.load(seed))

    def export(self) -> bytes:
        """The private keys themselves, for a file that only their owner can read: an exchange of
        keys may have to go on after its program was started anew.
        """
        return self._mlkem.export() + self._rsa.export()

    def decapsulate(
        self, rsa_ciphertext: bytes, mlkem_ciphertext: bytes, fallback: bytes
    ) -> bytes:
        """Both secrets, ``vec(rsa secret) | vec(mlkem secret)``, 68 bytes.

        :param rsa_ciphertext: 256 bytes.
        :param mlkem_ciphertext: 1088 bytes.
        :param fallback: 32 fresh random bytes, which take the RSA secret's place if OAEP fails.
        :raises RemoteProtocolError: a ciphertext has a wrong length.
        """
        if len(rsa_ciphertext) != RSA_CIPHERTEXT_BYTES:
            raise RemoteProtocolError("the RSA ciphertext has a wrong length")
        if len(fallback) != KEY_BYTES:
            raise ValueError(f"the fallback has {KEY_BYTES} bytes")
        return _join(
            self._rsa.decapsulate(rsa_ciphertext, fallback),
            self._mlkem.decapsulate(mlkem_ciphertext),
        )


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Encapsulation(SecretHolder):
    """The master's half: what it sends, and what both then share.

    :ivar rsa_ciphertext: 256 bytes.
    :ivar mlkem_ciphertext: 1088 bytes.
    :ivar shared: ``vec(rsa secret) | vec(mlkem secret)``, 68 bytes.
    """

    rsa_ciphertext: bytes
    mlkem_ciphertext: bytes
    shared: bytes


def encapsulate(rsa_public: bytes, mlkem_public: bytes) -> Encapsulation:
    """Draw both secrets for a client's keys (under 0.2 ms).

    :param rsa_public: SubjectPublicKeyInfo DER, 294 bytes, 2048 bits, e = 65537.
    :param mlkem_public: 1184 bytes.
    :raises RemoteProtocolError: not such a key.
    """
    rsa_secret, rsa_ciphertext = rsa_encapsulate(rsa_public)
    mlkem_secret, mlkem_ciphertext = mlkem_encapsulate(mlkem_public)
    return Encapsulation(rsa_ciphertext, mlkem_ciphertext, _join(rsa_secret, mlkem_secret))


def _join(rsa_secret: bytes, mlkem_secret: bytes) -> bytes:
    return encode_vec(rsa_secret) + encode_vec(mlkem_secret)
