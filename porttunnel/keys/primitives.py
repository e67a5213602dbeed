"""The cryptographic functions that porttunnel uses, each with its reason.

Nothing else in the package imports ``cryptography`` (but for TLS in ``net``), so this page is
the whole list. Nothing is chosen at run time: suite 1 fixes every algorithm
(docs/session-protocol, section 5), so there is nothing to downgrade.

Two steps draw their own randomness, from the library's generator: making a key, and
encapsulating to one. Everywhere else randomness is an argument.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, mlkem, padding, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from porttunnel.errors import AuthenticationFailed, RemoteProtocolError
from porttunnel.keys.secret_holder import SecretHolder

__all__ = [
    "KEY_BYTES",
    "MLKEM_CIPHERTEXT_BYTES",
    "MLKEM_PUBLIC_BYTES",
    "NONCE_BYTES",
    "RSA_CIPHERTEXT_BYTES",
    "RSA_PUBLIC_BYTES",
    "SIGNATURE_BYTES",
    "TAG_BYTES",
    "AeadKey",
    "MlkemPrivateKey",
    "RsaPrivateKey",
    "SigningKey",
    "VerifyKey",
    "constant_time_equal",
    "derive_password_hash",
    "expand",
    "extract",
    "hmac_sha256",
    "mlkem_encapsulate",
    "rsa_encapsulate",
    "sha256",
    "sha512",
    "x25519",
]

KEY_BYTES = 32  # AES-256, HMAC-SHA256, X25519, ML-KEM secrets: all 256 bits
NONCE_BYTES = 12  # the only length at which GCM uses the nonce without hashing it
TAG_BYTES = 16  # GCM's full tag; shorter ones weaken it more than their length says

RSA_BITS = 2048  # a user waits for it at each join (about 33 ms); ML-KEM stands beside it
RSA_EXPONENT = 65537
RSA_PUBLIC_BYTES = 294  # SubjectPublicKeyInfo of such a key with e = 65537
RSA_CIPHERTEXT_BYTES = 256
MLKEM_PUBLIC_BYTES = 1184  # FIPS 203, table 3
MLKEM_CIPHERTEXT_BYTES = 1088  # FIPS 203, table 3
SIGNATURE_BYTES = 64

# DER around the 256 bytes of the modulus. Compared as bytes, so each key has one encoding: a
# lenient parser would let a relay rewrite a key without changing it.
_RSA_PREFIX = bytes.fromhex("30820122300d06092a864886f70d01010105000382010f003082010a0282010100")
_RSA_SUFFIX = bytes.fromhex("0203010001")

Buffer = bytes | bytearray | memoryview

_SHA256 = hashes.SHA256()
_OAEP = padding.OAEP(mgf=padding.MGF1(_SHA256), algorithm=_SHA256, label=None)


def sha256(*parts: Buffer) -> bytes:
    """SHA-256 of the parts one after the other; the caller makes their borders unmistakable."""
    return hashlib.sha256(b"".join(parts)).digest()


def sha512(*parts: Buffer) -> bytes:
    """SHA-512 of the parts one after the other (the hash of CPace's suite)."""
    return hashlib.sha512(b"".join(parts)).digest()


def hmac_sha256(key: bytes, *parts: Buffer) -> bytes:
    """HMAC-SHA256 under ``key`` of the parts one after the other, 32 bytes."""
    return hmac.digest(key, b"".join(parts), "sha256")


def extract(salt: bytes, ikm: bytes) -> bytes:
    """HKDF-SHA256's first step (RFC 5869, 2.2): 32 even bytes from uneven key material."""
    return HKDF.extract(_SHA256, salt, ikm)


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    """HKDF-SHA256's second step (RFC 5869, 2.3): ``length`` bytes for the purpose ``info``."""
    return HKDFExpand(_SHA256, length, info).derive(prk)


def constant_time_equal(a: bytes, b: bytes) -> bool:
    """Whether two secrets are the same, in a time that does not tell where they differ."""
    return hmac.compare_digest(a, b)


def derive_password_hash(password: bytes, salt: bytes, iterations: int) -> bytes:
    """PBKDF2-HMAC-SHA256, 32 bytes. The library's takes 11 ms for 100,000, hashlib's 18."""
    return PBKDF2HMAC(_SHA256, KEY_BYTES, salt, iterations).derive(password)


def x25519(scalar: bytes, point: bytes) -> bytes:
    """RFC 7748's X25519: 32 bytes from 32 and 32.

    :raises AuthenticationFailed: the result is all zero. Then ``point`` was of low order, and a
        peer that sends such a point knows the result without knowing the password.
    """
    private = X25519PrivateKey.from_private_bytes(scalar)
    public = X25519PublicKey.from_public_bytes(point)
    try:
        return private.exchange(public)
    except ValueError:
        raise AuthenticationFailed from None


class _IntoCipher(Protocol):
    """AES-256-GCM that writes its result into a buffer of the caller's."""

    def encrypt_into(
        self, nonce: Buffer, plaintext: Buffer, associated: Buffer, out: memoryview, /
    ) -> int: ...

    def decrypt_into(
        self, nonce: Buffer, sealed: Buffer, associated: Buffer, out: memoryview, /
    ) -> int: ...


def _seals_in_place(cipher: _IntoCipher, expected: bytes) -> bool:
    """Whether the library gives right results when output and input are the same memory.

    It does in every version tried, and that saves a copy of everything that is sent; but it
    promises nothing, so it is asked at each start.

    :param expected: the result of sealing ``_SAMPLE`` in the ordinary way.
    """
    nonce, length = bytes(NONCE_BYTES), len(_SAMPLE)
    packet = bytearray(_SAMPLE + bytes(TAG_BYTES))
    view = memoryview(packet)
    try:
        cipher.encrypt_into(nonce, view[:length], b"", view)
        if packet != expected:
            return False
        cipher.decrypt_into(nonce, view, b"", view[:length])
    except (BufferError, ValueError, InvalidTag):
        return False
    return packet[:length] == _SAMPLE


_SAMPLE = bytes(range(256)) * 5  # long enough for the vectorised paths of the library
_SAMPLE_CIPHER = AESGCM(bytes(KEY_BYTES))
_IN_PLACE = _seals_in_place(
    _SAMPLE_CIPHER, _SAMPLE_CIPHER.encrypt(bytes(NONCE_BYTES), _SAMPLE, b"")
)


class _TwoBufferCipher:
    """AES-256-GCM with a copy in between, for a library that can't work in place."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def encrypt_into(
        self, nonce: Buffer, plaintext: Buffer, associated: Buffer, out: memoryview, /
    ) -> int:
        out[:] = self._cipher.encrypt(nonce, plaintext, associated)
        return len(out)

    def decrypt_into(
        self, nonce: Buffer, sealed: Buffer, associated: Buffer, out: memoryview, /
    ) -> int:
        out[:] = self._cipher.decrypt(nonce, sealed, associated)
        return len(out)


class AeadKey(SecretHolder):
    """One AES-256-GCM key. The caller sees to it that no nonce is used twice.

    :param key: 32 bytes.
    """

    __slots__ = ("_decrypt_into", "_encrypt_into")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"an AES-256 key has {KEY_BYTES} bytes")
        cipher: _IntoCipher = AESGCM(key) if _IN_PLACE else _TwoBufferCipher(key)
        self._encrypt_into = cipher.encrypt_into
        self._decrypt_into = cipher.decrypt_into

    def seal_into(
        self,
        nonce: bytes,
        plaintext: Buffer,
        associated: Buffer,
        out: memoryview,
    ) -> None:
        """Encrypt and authenticate.

        :param nonce: 12 bytes.
        :param associated: authenticated, not encrypted; must not overlap ``out``.
        :param out: exactly 16 bytes longer than ``plaintext``; takes ciphertext and tag. It may
            begin where ``plaintext`` begins.
        """
        self._encrypt_into(nonce, plaintext, associated, out)

    def open_into(
        self,
        nonce: bytes,
        sealed: Buffer,
        associated: Buffer,
        out: memoryview,
    ) -> int:
        """Check and decrypt; returns the number of plaintext bytes.

        :param sealed: ciphertext and tag.
        :param out: exactly 16 bytes shorter than ``sealed``; may begin where it begins. After a
            failure it holds rubbish that nobody may look at.
        :raises AuthenticationFailed: not sealed with this key, nonce and associated data.
        """
        try:
            return self._decrypt_into(nonce, sealed, associated, out)
        except InvalidTag:
            raise AuthenticationFailed from None


class RsaPrivateKey(SecretHolder):
    """RSA-2048 with OAEP (SHA-256, MGF1-SHA-256, empty label).

    The paper that porttunnel follows asks for RSA; alone it would fall to a quantum computer
    and has no forward secrecy, so it never stands alone (see ``hybrid``).
    """

    __slots__ = ("_private", "public")
    OPEN_SLOTS = frozenset({"public"})

    def __init__(self, private: rsa.RSAPrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @classmethod
    def generate(cls) -> RsaPrivateKey:
        """A fresh key. Takes about 33 ms: call it in a thread."""
        return cls(rsa.generate_private_key(public_exponent=RSA_EXPONENT, key_size=RSA_BITS))

    @classmethod
    def load(cls, exported: bytes) -> RsaPrivateKey:
        """A key that :meth:`export` gave, read from where only its owner can write."""
        private: Any = serialization.load_der_private_key(exported, None)
        return cls(private)

    def export(self) -> bytes:
        """The key itself, PKCS #8 in DER: for a file that only its owner can read."""
        encoding, form = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8
        return self._private.private_bytes(encoding, form, serialization.NoEncryption())

    def decapsulate(self, ciphertext: bytes, fallback: bytes) -> bytes:
        """The 32-byte secret in ``ciphertext``, or ``fallback`` when there is none.

        An error here would be Manger's oracle (CRYPTO 2001): a few thousand answers "padding
        right" or "wrong" decrypt a ciphertext. With random bytes in the secret's place the run
        fails later and in the same way as after a wrong PIN.

        :param fallback: 32 fresh random bytes.
        """
        try:
            secret = self._private.decrypt(ciphertext, _OAEP)
        except ValueError:
            return fallback
        return secret if len(secret) == KEY_BYTES else fallback


def rsa_encapsulate(public: bytes) -> tuple[bytes, bytes]:
    """Draw a secret and encrypt it to a peer's RSA key.

    :param public: SubjectPublicKeyInfo, 294 bytes, 2048 bits, e = 65537.
    :returns: the secret (32 bytes) and its ciphertext (256).
    :raises RemoteProtocolError: ``public`` is anything else.
    """
    framed = (
        len(public) == RSA_PUBLIC_BYTES
        and public.startswith(_RSA_PREFIX)
        and public.endswith(_RSA_SUFFIX)
        and public[len(_RSA_PREFIX)] >= 0x80
    )
    # An even modulus has no inverse in the library's arithmetic and would raise there.
    if not framed or public[-len(_RSA_SUFFIX) - 1] % 2 == 0:
        raise RemoteProtocolError("the RSA key is not one of 2048 bits with e = 65537")
    modulus = int.from_bytes(public[len(_RSA_PREFIX) : -len(_RSA_SUFFIX)])
    key = rsa.RSAPublicNumbers(RSA_EXPONENT, modulus).public_key()
    secret = AESGCM.generate_key(bit_length=8 * KEY_BYTES)
    return secret, key.encrypt(secret, _OAEP)


class MlkemPrivateKey(SecretHolder):
    """ML-KEM-768 (FIPS 203): keeps recordings closed to a later quantum computer."""

    __slots__ = ("_private", "public")
    OPEN_SLOTS = frozenset({"public"})

    def __init__(self, private: mlkem.MLKEM768PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> MlkemPrivateKey:
        """A fresh key."""
        return cls(mlkem.MLKEM768PrivateKey.generate())

    @classmethod
    def load(cls, exported: bytes) -> MlkemPrivateKey:
        """A key that :meth:`export` gave."""
        return cls(mlkem.MLKEM768PrivateKey.from_seed_bytes(exported))

    def export(self) -> bytes:
        """The key itself, the 64 bytes of its seed: as :meth:`RsaPrivateKey.export`."""
        return self._private.private_bytes_raw()

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """The 32-byte secret in ``ciphertext`` (1088 bytes).

        A forged ciphertext gives a secret that nobody knows, by ML-KEM's own rule; only a wrong
        length is an error.

        :raises RemoteProtocolError: wrong length.
        """
        if len(ciphertext) != MLKEM_CIPHERTEXT_BYTES:
            raise RemoteProtocolError("the ML-KEM ciphertext has a wrong length")
        return self._private.decapsulate(ciphertext)


def mlkem_encapsulate(public: bytes) -> tuple[bytes, bytes]:
    """Draw a secret for a peer's ML-KEM-768 key.

    :param public: 1184 bytes.
    :returns: the secret (32 bytes) and its ciphertext (1088).
    :raises RemoteProtocolError: not a key (wrong length, or a coefficient out of range).
    """
    try:
        return mlkem.MLKEM768PublicKey.from_public_bytes(public).encapsulate()
    except ValueError:
        raise RemoteProtocolError("the ML-KEM key is not a key of ML-KEM-768") from None


class SigningKey(SecretHolder):
    """Ed25519: the master's own voice, which members that share a group key can't imitate."""

    __slots__ = ("_private", "public")
    OPEN_SLOTS = frozenset({"public"})

    def __init__(self, private: ed25519.Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> SigningKey:
        """A fresh key."""
        return cls(ed25519.Ed25519PrivateKey.generate())

    def sign(self, *parts: Buffer) -> bytes:
        """The signature (64 bytes) of the parts one after the other."""
        return self._private.sign(b"".join(parts))


class VerifyKey:
    """The public half of a :class:`SigningKey`.

    :param public: 32 bytes.
    :raises RemoteProtocolError: not 32 bytes.
    """

    __slots__ = ("_public",)

    def __init__(self, public: bytes) -> None:
        if len(public) != KEY_BYTES:
            raise RemoteProtocolError("an Ed25519 key has 32 bytes")
        self._public = ed25519.Ed25519PublicKey.from_public_bytes(public)

    def verify(self, signature: bytes | memoryview, *parts: Buffer) -> None:
        """Check the signature of the parts one after the other.

        :raises AuthenticationFailed: signed by another key, or something else was signed.
        """
        try:
            self._public.verify(bytes(signature), b"".join(parts))
        except InvalidSignature:
            raise AuthenticationFailed from None
