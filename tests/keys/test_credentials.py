"""porttunnel/keys/credentials.py: what the server keeps, and what it never loads for that."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import ConfigurationError, RemoteProtocolError
from porttunnel.keys.credentials import (
    derive_device_password,
    derive_next_token,
    hash_client_nonce,
    hash_password,
    hash_setup_key,
    hash_token,
    parse_id,
    verify_password,
    verify_token,
)
from tests.independent.pairing import PLACE as PAIRING_VECTORS

TOKEN = b"t" * 32
SALT = b"0123456789abcdef"
CHEAP = 10  # iterations; the real cost is checked once
GOOD = hash_password(b"secret", SALT, CHEAP)


def test_tokens_and_setup_keys_are_kept_as_hashes() -> None:
    assert hash_token(TOKEN) == hash_setup_key(TOKEN) == hashlib.sha256(TOKEN).digest()


def test_verifies_a_token() -> None:
    assert verify_token(TOKEN, hash_token(TOKEN))
    assert not verify_token(TOKEN[:-1] + b"u", hash_token(TOKEN))
    assert not verify_token(TOKEN, b"")


def test_the_next_token_needs_the_last_one_and_the_salt() -> None:
    salt = b"s" * 32
    expected = hmac.digest(salt, b"ptun1 next token" + TOKEN, "sha256")
    assert derive_next_token(TOKEN, salt) == expected
    assert derive_next_token(TOKEN, b"o" * 32) != expected
    assert derive_next_token(b"o" * 32, salt) != expected


def test_a_password_hash_carries_algorithm_and_cost() -> None:
    derived = hashlib.pbkdf2_hmac("sha256", b"secret", SALT, 100_000).hex()
    text = hash_password(b"secret", SALT)
    assert text == f"pbkdf2-sha256$100000${SALT.hex()}${derived}"
    assert verify_password(b"secret", text)


@given(st.binary(max_size=100), st.binary(max_size=100), st.integers(1, 20))
def test_only_the_right_password_verifies(right: bytes, typed: bytes, iterations: int) -> None:
    text = hash_password(right, SALT, iterations)
    assert verify_password(right, text)
    # HMAC fills short keys with zeros, so these two are one password to PBKDF2.
    assert verify_password(typed, text) is (typed.rstrip(b"\0") == right.rstrip(b"\0"))


def test_two_salts_two_hashes() -> None:
    assert hash_password(b"secret", b"x" * 16, CHEAP) != GOOD


@pytest.mark.parametrize("length", [0, 15, 17])
def test_a_salt_has_16_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        hash_password(b"secret", bytes(length))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        GOOD + "$",
        GOOD.replace("sha256", "sha1"),
        GOOD.replace("$10$", "$ten$"),
        GOOD.replace("$10$", "$0$"),
        GOOD.replace("$10$", "$-1$"),
        GOOD.replace("$10$", "$10000001$"),
        GOOD.replace(SALT.hex(), "salt"),
        GOOD[:-2],
        GOOD[:-1],
        GOOD[:-64],
    ],
)
def test_a_damaged_hash_lets_nobody_in_and_says_what_to_do(text: str) -> None:
    with pytest.raises(ConfigurationError, match="set that password again") as caught:
        verify_password(b"secret", text)
    assert text == "" or text not in str(caught.value)


@given(st.binary(min_size=16, max_size=16))
def test_an_id_is_32_hex_digits(identifier: bytes) -> None:
    assert parse_id(identifier.hex()) == identifier


@pytest.mark.parametrize(
    "text",
    ["", "0" * 31, "0" * 33, "A" * 32, "g" * 32, "0" * 30 + "+#", " " + "0" * 31, "٣" * 32],
)
def test_an_id_has_one_spelling(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="32 lower-case hex digits"):
        parse_id(text)


def test_the_server_loads_nothing_that_decrypts() -> None:
    program = (
        "import sys, porttunnel.keys.credentials\n"
        "print(sorted(name for name in sys.modules if name.startswith('porttunnel.keys.')))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert loaded.strip() == str(
        [
            "porttunnel.keys.credentials",
            "porttunnel.keys.primitives",
            "porttunnel.keys.secret_holder",
        ]
    )


class TestDevicePasswords:
    """tests/vectors/pairing.json, made by tests/independent/pairing.py."""

    VECTORS = json.loads(PAIRING_VECTORS.read_text(encoding="utf-8"))

    def test_are_derived_from_nonce_and_setup_key(self) -> None:
        nonce, key = (
            bytes.fromhex(self.VECTORS["inputs"][name]) for name in ("client_nonce", "setup_key")
        )
        password = derive_device_password(nonce, key)
        assert password.hex() == self.VECTORS["device_password"]
        assert derive_device_password(bytes(32), key) != password
        assert derive_device_password(nonce, bytes(16)) != password

    def test_of_the_nonce_a_hash_is_kept(self) -> None:
        nonce = bytes.fromhex(self.VECTORS["inputs"]["client_nonce"])
        assert hash_client_nonce(nonce).hex() == self.VECTORS["client_nonce_hash"]
