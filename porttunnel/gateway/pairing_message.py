"""What device and instance say to each other about keys, before it is sealed.

Source: docs/gateway-protocol, section 2. The device commits itself to its nonce before it has seen
the instance's, so that nobody between the two can try until six digits fit.
"""

from __future__ import annotations

from dataclasses import dataclass

from porttunnel.errors import RemoteProtocolError
from porttunnel.keys.hybrid import Encapsulation, HybridPrivateKey
from porttunnel.keys.primitives import (
    MLKEM_CIPHERTEXT_BYTES,
    MLKEM_PUBLIC_BYTES,
    RSA_CIPHERTEXT_BYTES,
    RSA_PUBLIC_BYTES,
    Buffer,
    sha256,
)
from porttunnel.wire import Reader, encode_u32, encode_vec

__all__ = [
    "COMMIT_BYTES",
    "CONFIRMED",
    "NONCE_BYTES",
    "Confirm",
    "ExchangeAnswer",
    "ExchangeRequest",
    "decode_key_request",
    "derive_commit",
]

NONCE_BYTES = 32
COMMIT_BYTES = 32

LABEL_COMMIT = b"ptgw1 commit"

_EXCHANGE = 1
_CONFIRM = 2

CONFIRMED = bytes([_CONFIRM])  # the answer to a confirmation


def derive_commit(nonce: bytes, opening: bytes) -> bytes:
    """What binds a device to its nonce.

    :param opening: the request before the commitment.
    """
    return sha256(LABEL_COMMIT, nonce, opening)


@dataclass(frozen=True, slots=True)
class ExchangeRequest:
    """The device's opening.

    :ivar generation: of the secret that comes out.
    :ivar rsa_public: 294 bytes.
    :ivar mlkem_public: 1184 bytes.
    :ivar commit: 32 bytes.
    """

    generation: int
    rsa_public: bytes
    mlkem_public: bytes
    commit: bytes

    @classmethod
    def make(cls, generation: int, key: HybridPrivateKey, nonce: bytes) -> ExchangeRequest:
        """A request with its commitment.

        :param key: fresh for this exchange.
        :param nonce: 32 fresh random bytes.
        """
        opening = cls(generation, key.rsa_public, key.mlkem_public, b"").encode()
        commit = derive_commit(nonce, opening)
        return cls(generation, key.rsa_public, key.mlkem_public, commit)

    def encode(self) -> bytes:
        """The plaintext."""
        return (
            bytes([_EXCHANGE])
            + encode_u32(self.generation)
            + encode_vec(self.rsa_public)
            + encode_vec(self.mlkem_public)
            + self.commit
        )


@dataclass(frozen=True, slots=True)
class ExchangeAnswer:
    """The instance's answer.

    :ivar generation: the request's.
    :ivar nonce: 32 random bytes.
    :ivar rsa_ciphertext: 256 bytes.
    :ivar mlkem_ciphertext: 1088 bytes.
    """

    generation: int
    nonce: bytes
    rsa_ciphertext: bytes
    mlkem_ciphertext: bytes

    @classmethod
    def make(cls, generation: int, nonce: bytes, encapsulation: Encapsulation) -> ExchangeAnswer:
        """An answer.

        :param nonce: 32 fresh random bytes.
        :param encapsulation: for the keys of the request.
        """
        if len(nonce) != NONCE_BYTES:
            raise ValueError(f"a nonce has {NONCE_BYTES} bytes")
        capsules = encapsulation.rsa_ciphertext, encapsulation.mlkem_ciphertext
        return cls(generation, nonce, *capsules)

    def encode(self) -> bytes:
        """The plaintext."""
        return (
            bytes([_EXCHANGE])
            + encode_u32(self.generation)
            + self.nonce
            + encode_vec(self.rsa_ciphertext)
            + encode_vec(self.mlkem_ciphertext)
        )

    @classmethod
    def decode(cls, data: Buffer) -> ExchangeAnswer:
        """Read the plaintext.

        :raises RemoteProtocolError: malformed.
        """
        reader = Reader(data)
        if reader.u8() != _EXCHANGE:
            raise RemoteProtocolError("the answer to an exchange of keys is something else")
        answer = cls(
            generation=reader.u32(),
            nonce=reader.take(NONCE_BYTES),
            rsa_ciphertext=reader.vec(RSA_CIPHERTEXT_BYTES),
            mlkem_ciphertext=reader.vec(MLKEM_CIPHERTEXT_BYTES),
        )
        reader.finish()
        return answer


@dataclass(frozen=True, slots=True)
class Confirm:
    """The device's confirmation, under the new secret.

    :ivar nonce: the one that it had committed itself to.
    """

    nonce: bytes

    def encode(self) -> bytes:
        """The plaintext."""
        return bytes([_CONFIRM]) + self.nonce


def decode_key_request(data: Buffer) -> ExchangeRequest | Confirm:
    """Read what a device asks about keys.

    :raises RemoteProtocolError: malformed.
    """
    reader = Reader(data)
    kind = reader.u8()
    request: ExchangeRequest | Confirm
    if kind == _EXCHANGE:
        request = ExchangeRequest(
            generation=reader.u32(),
            rsa_public=reader.vec(RSA_PUBLIC_BYTES),
            mlkem_public=reader.vec(MLKEM_PUBLIC_BYTES),
            commit=reader.take(COMMIT_BYTES),
        )
    elif kind == _CONFIRM:
        request = Confirm(reader.take(NONCE_BYTES))
    else:
        raise RemoteProtocolError("a request about keys is of a kind that is not known")
    reader.finish()
    return request
