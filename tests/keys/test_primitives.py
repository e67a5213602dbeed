"""porttunnel/keys/primitives.py against the published vectors of each algorithm."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ed25519, mlkem, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import AuthenticationFailed, LocalProtocolError, RemoteProtocolError
from porttunnel.keys import primitives
from porttunnel.keys.primitives import (
    AeadKey,
    MlkemPrivateKey,
    RsaPrivateKey,
    SigningKey,
    VerifyKey,
    constant_time_equal,
    derive_password_hash,
    expand,
    extract,
    hmac_sha256,
    mlkem_encapsulate,
    rsa_encapsulate,
    sha256,
    sha512,
    x25519,
)
from tests.keys import reference
from tests.keys.published import OaepExample, oaep_examples, read_blocks, read_lines

Buffer = bytes | bytearray | memoryview

NONCE = bytes(12)
GCM_STRIDE = 13  # of 7,800 published blocks every 13th, about 0.1 s


@pytest.fixture(scope="module")
def rsa_key() -> RsaPrivateKey:
    return RsaPrivateKey.generate()


@pytest.fixture(params=[True, False], ids=["in place", "two buffers"])
def in_place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways of sealing, whatever the library at hand can do."""
    if request.param and not primitives._IN_PLACE:
        pytest.skip("this version of cryptography does not work in place")
    monkeypatch.setattr(primitives, "_IN_PLACE", request.param)
    return bool(request.param)


class TestHashes:
    def test_parts_are_hashed_one_after_the_other(self) -> None:
        assert sha256(b"ab", memoryview(b"c")) == hashlib.sha256(b"abc").digest()
        assert sha512(b"ab", bytearray(b"c")) == hashlib.sha512(b"abc").digest()
        assert sha256() == hashlib.sha256().digest()

    def test_hmac_rfc_4231_case_2(self) -> None:
        assert hmac_sha256(b"Jefe", b"what do ya want ", b"for nothing?").hex() == (
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        )

    @pytest.mark.parametrize("block", list(read_blocks("KDF/rfc-5869-HKDF-SHA256.txt")))
    def test_hkdf_rfc_5869(self, block: dict[str, str]) -> None:
        prk = extract(bytes.fromhex(block["salt"]), bytes.fromhex(block["IKM"]))
        assert prk.hex() == block["PRK"]
        okm = expand(prk, bytes.fromhex(block["info"]), int(block["L"]))
        assert okm.hex() == block["OKM"]

    @given(st.binary(max_size=80), st.binary(max_size=80), st.binary(), st.integers(1, 200))
    def test_hkdf_like_the_reference(
        self, salt: bytes, ikm: bytes, info: bytes, length: int
    ) -> None:
        prk = extract(salt, ikm)
        assert prk == reference.extract(salt, ikm)
        assert expand(prk, info, length) == reference.expand(prk, info, length)

    def test_pbkdf2_like_the_standard_library(self) -> None:
        assert derive_password_hash(b"secret", b"salt" * 4, 1000) == hashlib.pbkdf2_hmac(
            "sha256", b"secret", b"salt" * 4, 1000
        )

    def test_compares_in_constant_time(self) -> None:
        assert constant_time_equal(b"same", b"same")
        assert not constant_time_equal(b"same", b"sane")
        assert not constant_time_equal(b"same", b"same ")


class TestX25519:
    @pytest.mark.parametrize("block", list(read_blocks("asymmetric/X25519/rfc7748.txt"))[:2])
    def test_rfc_7748(self, block: dict[str, str]) -> None:
        scalar, point = bytes.fromhex(block["INPUT_SCALAR"]), bytes.fromhex(block["INPUT_U"])
        assert x25519(scalar, point).hex() == block["OUTPUT_U"]

    @given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
    def test_like_the_reference(self, scalar: bytes, point: bytes) -> None:
        expected = reference.x25519(scalar, point)
        if any(expected):
            assert x25519(scalar, point) == expected

    @pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31)])
    def test_a_point_of_low_order_fails(self, point: bytes) -> None:
        with pytest.raises(AuthenticationFailed):
            x25519(b"\x42" * 32, point)

    def test_a_wrong_length_is_our_own_mistake(self) -> None:
        with pytest.raises(ValueError, match="32 bytes"):
            x25519(bytes(32), bytes(31))
        with pytest.raises(ValueError, match="32 bytes"):
            x25519(bytes(31), bytes(32))


def published_gcm(name: str) -> Iterator[dict[str, str]]:
    """The blocks with our nonce and tag lengths."""
    blocks = read_blocks(f"ciphers/AES/GCM/{name}.rsp")
    return (block for block in blocks if block["IVlen"] == "96" and block["Taglen"] == "128")


class TestAead:
    def test_nist_decryption(self, in_place: bool) -> None:
        outcomes = {True: 0, False: 0}
        for block in itertools.islice(published_gcm("gcmDecrypt256"), 0, None, GCM_STRIDE):
            key = AeadKey(bytes.fromhex(block["Key"]))
            sealed = bytearray.fromhex(block["CT"] + block["Tag"])
            view = memoryview(sealed)
            out = view[: len(sealed) - 16]
            try:
                count = key.open_into(
                    bytes.fromhex(block["IV"]), view, bytes.fromhex(block["AAD"]), out
                )
            except AuthenticationFailed:
                assert "FAIL" in block
                outcomes[False] += 1
            else:
                assert out.hex() == block["PT"]
                assert count == len(out)
                outcomes[True] += 1
        assert min(outcomes.values()) > 5

    def test_nist_encryption(self, in_place: bool) -> None:
        blocks = list(itertools.islice(published_gcm("gcmEncryptExtIV256"), 0, None, GCM_STRIDE))
        assert len(blocks) > 5
        for block in blocks:
            plaintext = bytes.fromhex(block["PT"])
            packet = memoryview(bytearray(plaintext + bytes(16)))
            AeadKey(bytes.fromhex(block["Key"])).seal_into(
                bytes.fromhex(block["IV"]),
                packet[: len(plaintext)],
                bytes.fromhex(block["AAD"]),
                packet,
            )
            assert packet.hex() == block["CT"] + block["Tag"]

    @pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 4096, 65_536])
    def test_in_place_within_a_packet(self, in_place: bool, length: int) -> None:
        plaintext = bytes(index * 7 & 0xFF for index in range(length))
        header = bytes(range(36))
        packet = memoryview(bytearray(header + plaintext + bytes(16)))
        key = AeadKey(b"\x51" * 32)
        key.seal_into(NONCE, packet[36:-16], packet[:36], packet[36:])
        assert packet == header + AESGCM(b"\x51" * 32).encrypt(NONCE, plaintext, header)
        assert key.open_into(NONCE, packet[36:], packet[:36], packet[36:-16]) == length
        assert packet[:-16] == header + plaintext

    def test_from_one_buffer_into_another(self, in_place: bool) -> None:
        sealed, opened = memoryview(bytearray(21)), memoryview(bytearray(5))
        key = AeadKey(bytes(32))
        key.seal_into(NONCE, b"hello", b"", sealed)
        assert key.open_into(NONCE, bytes(sealed), b"", opened) == 5
        assert bytes(opened) == b"hello"

    @pytest.mark.parametrize("bit", range(0, 8 * (36 + 21), 5))
    def test_one_turned_bit_is_enough(self, in_place: bool, bit: int) -> None:
        packet = memoryview(bytearray(b"h" * 36 + b"hello" + bytes(16)))
        key = AeadKey(bytes(32))
        key.seal_into(NONCE, packet[36:41], packet[:36], packet[36:])
        packet[bit // 8] ^= 1 << bit % 8
        with pytest.raises(AuthenticationFailed):
            key.open_into(NONCE, packet[36:], packet[:36], packet[36:41])

    @pytest.mark.parametrize("length", [0, 15])
    def test_what_is_shorter_than_a_tag_fails(self, in_place: bool, length: int) -> None:
        with pytest.raises(AuthenticationFailed):
            AeadKey(bytes(32)).open_into(NONCE, bytes(length), b"", memoryview(bytearray()))

    @pytest.mark.parametrize("room", [20, 22])
    def test_room_that_does_not_fit_is_our_own_mistake(self, in_place: bool, room: int) -> None:
        with pytest.raises(ValueError):  # noqa: PT011  # the text is the library's
            AeadKey(bytes(32)).seal_into(NONCE, b"hello", b"", memoryview(bytearray(room)))

    @pytest.mark.parametrize("length", [16, 24, 31, 33])
    def test_only_256_bits(self, length: int) -> None:
        with pytest.raises(ValueError, match="32 bytes"):
            AeadKey(bytes(length))

    def test_an_erased_key_seals_nothing(self) -> None:
        key = AeadKey(bytes(32))
        key.erase()
        with pytest.raises(LocalProtocolError):
            key.seal_into(NONCE, b"", b"", memoryview(bytearray(16)))


Change = Callable[[memoryview], None]


class SpoiltCipher:
    """AES-GCM that spoils its results, as a library might that was not made for one buffer."""

    def __init__(self, after_encrypt: Change, after_decrypt: Change) -> None:
        self._cipher = AESGCM(bytes(32))
        self._after_encrypt = after_encrypt
        self._after_decrypt = after_decrypt

    def encrypt_into(
        self, nonce: Buffer, plaintext: Buffer, associated: Buffer, out: memoryview, /
    ) -> int:
        count = self._cipher.encrypt_into(nonce, bytes(plaintext), associated, out)
        self._after_encrypt(out)
        return count

    def decrypt_into(
        self, nonce: Buffer, sealed: Buffer, associated: Buffer, out: memoryview, /
    ) -> int:
        count = self._cipher.decrypt_into(nonce, bytes(sealed), associated, out)
        self._after_decrypt(out)
        return count


def leave(out: memoryview) -> None:
    del out


def spoil(out: memoryview) -> None:
    out[0] ^= 1


def raise_buffer_error(out: memoryview) -> None:
    raise BufferError("output and input overlap")


def raise_invalid_tag(out: memoryview) -> None:
    raise InvalidTag


class TestSelfTest:
    @pytest.mark.parametrize(
        ("after_encrypt", "after_decrypt", "usable"),
        [
            (leave, leave, True),
            (spoil, leave, False),
            (leave, spoil, False),
            (raise_buffer_error, leave, False),
            (leave, raise_invalid_tag, False),
        ],
    )
    def test_finds_a_library_that_cannot_work_in_place(
        self, after_encrypt: Change, after_decrypt: Change, usable: bool
    ) -> None:
        expected = AESGCM(bytes(32)).encrypt(NONCE, primitives._SAMPLE, b"")
        cipher = SpoiltCipher(after_encrypt, after_decrypt)
        assert primitives._seals_in_place(cipher, expected) is usable


def published_rsa_key(example: OaepExample) -> RsaPrivateKey:
    p, q = example.primes
    d = example.private_exponent
    numbers = rsa.RSAPrivateNumbers(
        p,
        q,
        d,
        rsa.rsa_crt_dmp1(d, p),
        rsa.rsa_crt_dmq1(d, q),
        rsa.rsa_crt_iqmp(p, q),
        rsa.RSAPublicNumbers(65537, example.modulus),
    )
    return RsaPrivateKey(numbers.private_key())


class TestRsa:
    @pytest.mark.parametrize("example", oaep_examples())
    def test_the_reference_opens_published_messages(self, example: OaepExample) -> None:
        opened = reference.oaep_decrypt(
            example.modulus, example.private_exponent, example.ciphertext
        )
        assert opened == example.message

    @pytest.mark.parametrize("example", oaep_examples()[::6])
    def test_published_keys(self, example: OaepExample) -> None:
        """What we seal the checked reference opens, and the other way round."""
        key = published_rsa_key(example)
        secret, ciphertext = rsa_encapsulate(key.public)
        assert key.decapsulate(ciphertext, bytes(32)) == secret
        assert secret == reference.oaep_decrypt(
            example.modulus, example.private_exponent, ciphertext
        )
        sealed = reference.oaep_encrypt(example.modulus, b"S" * 32, b"seed" * 8)
        assert key.decapsulate(sealed, bytes(32)) == b"S" * 32

    def test_published_messages_of_another_length_yield_the_fallback(self) -> None:
        for example in oaep_examples()[:6]:
            assert len(example.message) != 32
            key = published_rsa_key(example)
            assert key.decapsulate(example.ciphertext, b"F" * 32) == b"F" * 32

    def test_sizes(self, rsa_key: RsaPrivateKey) -> None:
        secret, ciphertext = rsa_encapsulate(rsa_key.public)
        assert (len(rsa_key.public), len(secret), len(ciphertext)) == (294, 32, 256)

    @pytest.mark.parametrize("bit", [0, 1, 999, 2047])
    def test_a_changed_ciphertext_yields_the_fallback(
        self, rsa_key: RsaPrivateKey, bit: int
    ) -> None:
        _, ciphertext = rsa_encapsulate(rsa_key.public)
        changed = (int.from_bytes(ciphertext) ^ 1 << bit).to_bytes(256)
        assert rsa_key.decapsulate(changed, b"F" * 32) == b"F" * 32

    @pytest.mark.parametrize("ciphertext", [b"", bytes(255), bytes(257), b"\xff" * 256])
    def test_what_is_no_ciphertext_yields_the_fallback(
        self, rsa_key: RsaPrivateKey, ciphertext: bytes
    ) -> None:
        assert rsa_key.decapsulate(ciphertext, b"F" * 32) == b"F" * 32

    @pytest.mark.parametrize("byte", [*range(33), *range(289, 294)])
    def test_the_frame_around_the_modulus_is_fixed(
        self, rsa_key: RsaPrivateKey, byte: int
    ) -> None:
        for bit in range(8):
            changed = bytearray(rsa_key.public)
            changed[byte] ^= 1 << bit
            with pytest.raises(RemoteProtocolError, match="2048 bits"):
                rsa_encapsulate(bytes(changed))

    def test_a_modulus_is_long_and_odd(self, rsa_key: RsaPrivateKey) -> None:
        for byte, bit in ((33, 0x80), (288, 0x01)):
            changed = bytearray(rsa_key.public)
            changed[byte] ^= bit
            with pytest.raises(RemoteProtocolError, match="2048 bits"):
                rsa_encapsulate(bytes(changed))

    def test_any_other_modulus_is_the_clients_own_matter(self, rsa_key: RsaPrivateKey) -> None:
        for bit in range(1, 2047, 13):
            modulus = int.from_bytes(rsa_key.public[33:289]) ^ 1 << bit
            public = rsa_key.public[:33] + modulus.to_bytes(256) + rsa_key.public[289:]
            assert len(rsa_encapsulate(public)[1]) == 256

    @pytest.mark.parametrize("length", [0, 293, 295])
    def test_other_lengths(self, rsa_key: RsaPrivateKey, length: int) -> None:
        with pytest.raises(RemoteProtocolError, match="2048 bits"):
            rsa_encapsulate((rsa_key.public + b"\0")[:length])


class TestMlkem:
    @pytest.mark.parametrize(
        "block", list(read_blocks("asymmetric/MLKEM/kat_MLKEM_768.rsp"))[::10]
    )
    def test_published(self, block: dict[str, str]) -> None:
        seed = bytes.fromhex(block["d"] + block["z"])
        key = MlkemPrivateKey(mlkem.MLKEM768PrivateKey.from_seed_bytes(seed))
        assert key.public.hex() == block["pk"]
        assert key.decapsulate(bytes.fromhex(block["ct"])).hex() == block["ss"]
        # "n" for implicit rejection: a forged ciphertext has a secret too, and no error.
        assert key.decapsulate(bytes.fromhex(block["ct_n"])).hex() == block["ss_n"]

    def test_both_sides_get_one_secret(self) -> None:
        key = MlkemPrivateKey.generate()
        secret, ciphertext = mlkem_encapsulate(key.public)
        assert (len(key.public), len(secret), len(ciphertext)) == (1184, 32, 1088)
        assert key.decapsulate(ciphertext) == secret

    @pytest.mark.parametrize("public", [b"", bytes(1183), bytes(1185), b"\xff" * 1184])
    def test_what_is_no_key_is_refused(self, public: bytes) -> None:
        """The last one has coefficients out of range (FIPS 203, 7.2)."""
        with pytest.raises(RemoteProtocolError, match="ML-KEM key"):
            mlkem_encapsulate(public)

    @pytest.mark.parametrize("length", [0, 1087, 1089])
    def test_a_ciphertext_of_another_length_is_refused(self, length: int) -> None:
        with pytest.raises(RemoteProtocolError, match="ML-KEM ciphertext"):
            MlkemPrivateKey.generate().decapsulate(bytes(length))


class TestEd25519:
    @pytest.mark.parametrize("line", read_lines("asymmetric/Ed25519/sign.input")[:64:3])
    def test_published(self, line: str) -> None:
        private, public, message, signed = map(bytes.fromhex, line.split(":")[:4])
        key = SigningKey(ed25519.Ed25519PrivateKey.from_private_bytes(private[:32]))
        assert key.public == public
        assert key.sign(message) == signed[:64]
        VerifyKey(public).verify(memoryview(signed)[:64], message)

    def test_parts_are_signed_one_after_the_other(self) -> None:
        key = SigningKey.generate()
        signature = key.sign(b"one ", memoryview(b"two"))
        assert len(signature) == 64
        VerifyKey(key.public).verify(signature, b"one two")

    @pytest.mark.parametrize("signature", [b"", bytes(64), bytes(63)])
    def test_a_wrong_signature_fails(self, signature: bytes) -> None:
        with pytest.raises(AuthenticationFailed):
            VerifyKey(SigningKey.generate().public).verify(signature, b"text")

    def test_another_text_or_key_fails(self) -> None:
        key = SigningKey.generate()
        for public, text in ((key.public, b"texts"), (SigningKey.generate().public, b"text")):
            with pytest.raises(AuthenticationFailed):
                VerifyKey(public).verify(key.sign(b"text"), text)

    @pytest.mark.parametrize("length", [0, 31, 33])
    def test_a_public_key_of_another_length_is_refused(self, length: int) -> None:
        with pytest.raises(RemoteProtocolError, match="32 bytes"):
            VerifyKey(bytes(length))


def test_no_key_shows_itself() -> None:
    canary = b"canary" + bytes(26)
    holders = (
        AeadKey(canary),
        SigningKey(ed25519.Ed25519PrivateKey.from_private_bytes(canary)),
        MlkemPrivateKey(mlkem.MLKEM768PrivateKey.from_seed_bytes(canary * 2)),
    )
    for holder in holders:
        assert repr(holder) == f"<{type(holder).__name__} (secret)>"


def test_exported_keys_are_the_same(rsa_key: RsaPrivateKey) -> None:
    assert RsaPrivateKey.load(rsa_key.export()).public == rsa_key.public
    mlkem_key = MlkemPrivateKey.generate()
    assert len(mlkem_key.export()) == 64
    assert MlkemPrivateKey.load(mlkem_key.export()).public == mlkem_key.public
