"""What the server and the gateway keep of tokens, passwords and setup keys: hashes only.

Tokens, instance passwords and setup keys carry 128 random bits or more, so a plain SHA-256 hides
them; passwords get PBKDF2 all the same, since an operator may set one by hand.
"""

from __future__ import annotations

from porttunnel.errors import ConfigurationError, RemoteProtocolError
from porttunnel.keys.primitives import (
    KEY_BYTES,
    constant_time_equal,
    derive_password_hash,
    hmac_sha256,
    sha256,
)

__all__ = [
    "ID_BYTES",
    "PASSWORD_ITERATIONS",
    "derive_device_password",
    "derive_next_token",
    "hash_client_nonce",
    "hash_password",
    "hash_setup_key",
    "hash_token",
    "parse_id",
    "verify_password",
    "verify_token",
]

ID_BYTES = 16  # 128 random bits: never drawn twice
SALT_BYTES = 16
DEVICE_PASSWORD_BYTES = 16  # 128 bits that nobody can guess, as an instance's password
PASSWORD_ITERATIONS = 100_000  # 11 ms of CPU for each login, so it is rate-limited before
MAX_PASSWORD_ITERATIONS = 10_000_000  # a second of CPU: more in a store is damage

LABEL_NEXT_TOKEN = b"ptun1 next token"
LABEL_DEVICE_PASSWORD = b"ptgw1 device password"

_ALGORITHM = "pbkdf2-sha256"
_DAMAGED = "a stored password hash is damaged; set that password again or restore the store"
_ID_ALPHABET = frozenset("0123456789abcdef")


def hash_token(token: bytes) -> bytes:
    """What is stored of a session token (32 random bytes): its SHA-256."""
    return sha256(token)


def verify_token(token: bytes, token_hash: bytes) -> bool:
    """Whether ``token`` is the one of ``token_hash``."""
    return constant_time_equal(sha256(token), token_hash)


def derive_next_token(token: bytes, salt: bytes) -> bytes:
    """The session token (32 bytes) that follows ``token``, the same each time.

    Who has read the store knows the salt and not the token; who has an old token knows no salt.

    :param salt: 32 random bytes, drawn when ``token`` is shown for the first time.
    """
    return hmac_sha256(salt, LABEL_NEXT_TOKEN, token)


def hash_setup_key(setup_key: bytes) -> bytes:
    """What is stored of a device's setup key: its SHA-256."""
    return sha256(setup_key)


def hash_client_nonce(client_nonce: bytes) -> bytes:
    """What is stored of the nonce that a device made its password with: its SHA-256."""
    return sha256(client_nonce)


def derive_device_password(client_nonce: bytes, setup_key: bytes) -> bytes:
    """What a device proves itself to the gateway with, 16 bytes; both sides derive it.

    :param client_nonce: 32 random bytes of the device's.
    :param setup_key: from the pairing's code.
    """
    derived = hmac_sha256(client_nonce, LABEL_DEVICE_PASSWORD, setup_key)
    return derived[:DEVICE_PASSWORD_BYTES]


def hash_password(password: bytes, salt: bytes, iterations: int = PASSWORD_ITERATIONS) -> str:
    """PBKDF2-HMAC-SHA256 as a text that carries algorithm and cost.

    Takes about 11 ms at the default cost: call it in a thread.

    :param salt: 16 fresh random bytes.
    :returns: ``pbkdf2-sha256$100000$<salt in hex>$<hash in hex>``.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"the salt has {SALT_BYTES} bytes")
    derived = derive_password_hash(password, salt, iterations)
    return f"{_ALGORITHM}${iterations}${salt.hex()}${derived.hex()}"


def verify_password(password: bytes, text: str) -> bool:
    """Whether ``password`` is the one of ``text`` (a :func:`hash_password`, of any cost).

    Takes about 11 ms at the default cost: call it in a thread.

    :raises ConfigurationError: ``text`` is not such a hash.
    """
    try:
        algorithm, cost, salt_text, hash_text = text.split("$")
        iterations, salt, expected = int(cost), bytes.fromhex(salt_text), bytes.fromhex(hash_text)
    except ValueError:
        raise ConfigurationError(_DAMAGED) from None
    if (
        algorithm != _ALGORITHM
        or not 0 < iterations <= MAX_PASSWORD_ITERATIONS
        or len(expected) != KEY_BYTES
    ):
        raise ConfigurationError(_DAMAGED)
    return constant_time_equal(derive_password_hash(password, salt, iterations), expected)


def parse_id(text: str) -> bytes:
    """The 16 bytes of an id that is written with hex digits.

    :raises RemoteProtocolError: anything but 32 lower-case hex digits, so that each id has one
        spelling and stands in topics and paths as it is.
    """
    if len(text) != 2 * ID_BYTES or not _ID_ALPHABET.issuperset(text):
        raise RemoteProtocolError("an id has 32 lower-case hex digits")
    return bytes.fromhex(text)
