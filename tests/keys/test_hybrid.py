"""porttunnel/keys/hybrid.py: two secrets as one, and no answer that helps a guesser."""

from __future__ import annotations

import pytest

from porttunnel.errors import LocalProtocolError, RemoteProtocolError
from porttunnel.keys.hybrid import SHARED_BYTES, HybridPrivateKey, encapsulate

FALLBACK = b"F" * 32


@pytest.fixture(scope="module")
def key() -> HybridPrivateKey:
    return HybridPrivateKey.generate()


def turned(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_both_sides_share_both_secrets(key: HybridPrivateKey) -> None:
    sent = encapsulate(key.rsa_public, key.mlkem_public)
    shared = key.decapsulate(sent.rsa_ciphertext, sent.mlkem_ciphertext, FALLBACK)
    assert shared == sent.shared
    assert len(shared) == SHARED_BYTES == 68
    assert (shared[:2], shared[34:36]) == (b"\0\x20", b"\0\x20")


def test_sizes(key: HybridPrivateKey) -> None:
    sent = encapsulate(key.rsa_public, key.mlkem_public)
    assert (len(key.rsa_public), len(key.mlkem_public)) == (294, 1184)
    assert (len(sent.rsa_ciphertext), len(sent.mlkem_ciphertext)) == (256, 1088)


def test_each_encapsulation_is_fresh(key: HybridPrivateKey) -> None:
    first, second = (encapsulate(key.rsa_public, key.mlkem_public) for _ in range(2))
    assert first.shared[2:34] != second.shared[2:34]
    assert first.shared[36:] != second.shared[36:]


def test_a_forged_rsa_ciphertext_puts_the_fallback_in_its_secrets_place(
    key: HybridPrivateKey,
) -> None:
    sent = encapsulate(key.rsa_public, key.mlkem_public)
    shared = key.decapsulate(turned(sent.rsa_ciphertext, 77), sent.mlkem_ciphertext, FALLBACK)
    assert shared == b"\0\x20" + FALLBACK + sent.shared[34:]


def test_a_forged_mlkem_ciphertext_gives_a_secret_that_nobody_knows(
    key: HybridPrivateKey,
) -> None:
    sent = encapsulate(key.rsa_public, key.mlkem_public)
    shared = key.decapsulate(sent.rsa_ciphertext, turned(sent.mlkem_ciphertext, 77), FALLBACK)
    assert shared[:36] == sent.shared[:36]
    assert shared[36:] != sent.shared[36:]


@pytest.mark.parametrize(("rsa", "mlkem"), [(255, 1088), (257, 1088), (256, 1087), (256, 0)])
def test_ciphertexts_of_other_lengths_are_refused(
    key: HybridPrivateKey, rsa: int, mlkem: int
) -> None:
    with pytest.raises(RemoteProtocolError, match="ciphertext has a wrong length"):
        key.decapsulate(bytes(rsa), bytes(mlkem), FALLBACK)


def test_the_fallback_has_the_secrets_length(key: HybridPrivateKey) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        key.decapsulate(bytes(256), bytes(1088), b"")


def test_bad_public_keys_are_refused(key: HybridPrivateKey) -> None:
    with pytest.raises(RemoteProtocolError, match="RSA key"):
        encapsulate(key.rsa_public[:-1], key.mlkem_public)
    with pytest.raises(RemoteProtocolError, match="ML-KEM key"):
        encapsulate(key.rsa_public, key.mlkem_public[:-1])


def test_nothing_shows_itself(key: HybridPrivateKey) -> None:
    sent = encapsulate(key.rsa_public, key.mlkem_public)
    assert repr(key) == "<HybridPrivateKey (secret)>"
    assert repr(sent) == "<Encapsulation (secret)>"


def test_erasing_leaves_only_the_public_halves() -> None:
    key = HybridPrivateKey.generate()
    key.erase()
    assert (len(key.rsa_public), len(key.mlkem_public)) == (294, 1184)
    with pytest.raises(LocalProtocolError):
        key.decapsulate(bytes(256), bytes(1088), FALLBACK)


def test_an_exported_key_is_the_same(key: HybridPrivateKey) -> None:
    again = HybridPrivateKey.load(key.export())
    assert (again.rsa_public, again.mlkem_public) == (key.rsa_public, key.mlkem_public)
    sent = encapsulate(key.rsa_public, key.mlkem_public)
    assert again.decapsulate(sent.rsa_ciphertext, sent.mlkem_ciphertext, FALLBACK) == sent.shared
    assert again.export() == key.export()
