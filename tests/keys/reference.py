"""A second implementation of the handshake and of sealing, small and slow.

Written from docs/session-protocol, sections 2, 4 and 5, and from the RFCs, with integers and
hashlib; only AES and ML-KEM come from the library (their own vectors check those). It imports
nothing of porttunnel, so that no mistake can be on both sides.

``python -m tests.keys.reference`` writes tests/vectors/handshake.json and sealing.json.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.keys.published import oaep_examples, read_blocks

__all__ = [
    "Inputs",
    "cpace_generator",
    "expand",
    "extract",
    "oaep_decrypt",
    "oaep_encrypt",
    "run_handshake",
    "seal",
    "x25519",
]

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
P = 2**255 - 19
MODES = {"PIN": 1, "SAS": 2, "LINK": 3, "REJOIN": 4}


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def extract(salt: bytes, ikm: bytes) -> bytes:
    return hmac.new(salt, ikm, "sha256").digest()


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    out = block = b""
    counter = 0
    while len(out) < length:
        counter += 1
        block = hmac.new(prk, block + info + bytes([counter]), "sha256").digest()
        out += block
    return out[:length]


def vec(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def x25519(scalar: bytes, point: bytes) -> bytes:
    """RFC 7748, section 5."""
    clamped = bytearray(scalar)
    clamped[0] &= 248
    clamped[31] = clamped[31] & 127 | 64
    k = int.from_bytes(clamped, "little")
    x1 = int.from_bytes(point, "little") % 2**255
    x2, z2, x3, z3 = 1, 0, x1, 1
    for bit in (k >> shift & 1 for shift in range(254, -1, -1)):
        if bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
        da, cb = (x3 - z3) * (x2 + z2), (x3 + z3) * (x2 - z2)
        aa, bb = (x2 + z2) ** 2, (x2 - z2) ** 2
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, (aa - bb) * (aa + 121665 * (aa - bb)) % P
        if bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return (x2 * pow(z2, -1, P) % P if z2 else 0).to_bytes(32, "little")


def leb(data: bytes) -> bytes:
    length, out = len(data), b""
    while True:
        length, low = divmod(length, 128)
        out += bytes([low + 128 if length else low])
        if not length:
            return out + data


def cpace_generator(prs: bytes, ci: bytes, sid: bytes) -> bytes:
    """draft-irtf-cfrg-cpace-21: generator_string, then RFC 9380's map, straight line (F.3)."""
    start = leb(b"CPace255") + leb(prs)
    zeros = bytes(max(0, 127 - len(start)))
    digest = hashlib.sha512(start + leb(zeros) + leb(ci) + leb(sid)).digest()[:32]
    r = int.from_bytes(digest, "little") % 2**255
    x1 = 486662 * pow(-1 - 2 * r * r, P - 2, P) % P
    x2 = (-x1 - 486662) % P
    gx1 = (x1**3 + 486662 * x1**2 + x1) % P
    square = pow(gx1, (P - 1) // 2, P) in (0, 1)
    return (x1 if square else x2).to_bytes(32, "little")


def mgf1(seed: bytes, length: int) -> bytes:
    blocks = (sha256(seed + counter.to_bytes(4, "big")) for counter in range(-(-length // 32)))
    return b"".join(blocks)[:length]


def xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def oaep_encrypt(modulus: int, message: bytes, seed: bytes) -> bytes:
    """RFC 8017, 7.1.1, for 2048 bits, e = 65537, SHA-256 and an empty label."""
    data = sha256(b"") + bytes(256 - 2 * 32 - 2 - len(message)) + b"\1" + message
    masked = xor(data, mgf1(seed, 223))
    block = b"\0" + xor(seed, mgf1(masked, 32)) + masked
    return pow(int.from_bytes(block, "big"), 65537, modulus).to_bytes(256, "big")


def oaep_decrypt(modulus: int, private_exponent: int, ciphertext: bytes) -> bytes:
    """RFC 8017, 7.1.2, as far as a right ciphertext needs it."""
    block = pow(int.from_bytes(ciphertext, "big"), private_exponent, modulus).to_bytes(256, "big")
    masked = block[33:]
    data = xor(masked, mgf1(xor(block[1:33], mgf1(masked, 32)), 223))
    lead, _, message = data[32:].partition(b"\1")
    assert block[0] == 0
    assert data[:32] == sha256(b"")
    assert not any(lead)
    return message


@dataclass(frozen=True)
class Inputs:
    """What goes into one run."""

    number: int
    session_id: bytes
    member: int
    former: int
    mode: str
    prs: bytes
    rsa_public: bytes
    mlkem_public: bytes
    rsa_secret: bytes
    rsa_ciphertext: bytes
    mlkem_secret: bytes
    mlkem_ciphertext: bytes
    client_scalar: bytes
    client_nonce: bytes
    master_scalar: bytes
    master_nonce: bytes


def run_handshake(i: Inputs) -> dict[str, bytes | str]:
    """Everything that one run sends and yields, under the specification's names."""
    member = i.member.to_bytes(2, "big")
    number = str(i.number).encode()
    ya = yb = isk = b""
    if i.mode != "SAS":
        sid = i.session_id + member
        g = cpace_generator(i.prs, b"ptun1 tunnel|client|master|" + number, sid)
        ya, yb = x25519(i.client_scalar, g), x25519(i.master_scalar, g)
        k = x25519(i.client_scalar, yb)
        parts = (b"CPace255_ISK", sid, k, ya, b"C", yb, b"M")
        isk = hashlib.sha512(b"".join(map(leb, parts))).digest()
    c1 = (
        b"\x01\x00\x01"
        + bytes([MODES[i.mode]])
        + member
        + i.former.to_bytes(2, "big")
        + i.session_id
        + vec(ya)
        + vec(i.rsa_public)
        + vec(i.mlkem_public)
    )
    c1 += sha256(b"ptun1 commit" + i.client_nonce + c1)
    m2 = b"\x01\x00\x01" + member + i.master_nonce + vec(yb)
    m2 += vec(i.rsa_ciphertext) + vec(i.mlkem_ciphertext)
    t2 = sha256(
        b"ptun1 t2"
        + vec(number)
        + len(c1).to_bytes(8, "big")
        + c1
        + len(m2).to_bytes(8, "big")
        + m2
    )
    hs = extract(t2, vec(isk) + vec(i.rsa_secret) + vec(i.mlkem_secret))
    t3 = sha256(b"ptun1 t3" + t2 + i.client_nonce)
    mac_c = hmac.new(expand(hs, b"ptun1 confirm c", 32), t3, "sha256").digest()
    mac_m = hmac.new(expand(hs, b"ptun1 confirm m", 32), t3 + mac_c, "sha256").digest()
    ms = extract(t3, hs)
    e = expand(extract(b"ptun1 sas", t3), b"", 16)
    a, b = (str(int.from_bytes(half, "big") % 10**6).zfill(6) for half in (e[:8], e[8:]))
    return {
        "c1": c1,
        "m2": m2,
        "c3": i.client_nonce + mac_c,
        "m4": mac_m,
        "client_to_master": expand(ms, b"ptun1 c>m", 32),
        "master_to_client": expand(ms, b"ptun1 m>c", 32),
        "direct_client": expand(ms, b"ptun1 direct c", 32),
        "direct_master": expand(ms, b"ptun1 direct m", 32),
        "rejoin": expand(ms, b"ptun1 rejoin", 32),
        "sas_client_shows": a if i.mode == "SAS" else "",
        "sas_master_shows": b if i.mode == "SAS" else "",
    }


def seal(key: bytes, iv: bytes, number: int, header: bytes, plaintext: bytes) -> bytes:
    """A whole sealed packet."""
    nonce = xor(iv, bytes(4) + number.to_bytes(8, "big"))
    return header + AESGCM(key).encrypt(nonce, plaintext, header)


def _fixed(label: str, length: int = 32) -> bytes:
    return expand(sha256(b"test vector"), label.encode(), length)


def _handshake_vectors() -> dict[str, Any]:
    rsa = oaep_examples()[0]
    mlkem = next(read_blocks("asymmetric/MLKEM/kat_MLKEM_768.rsp"))
    prefix = "30820122300d06092a864886f70d01010105000382010f003082010a0282010100"
    rsa_public = bytes.fromhex(prefix) + rsa.modulus.to_bytes(256, "big") + b"\2\3\1\0\1"
    passwords = {
        "PIN": b"604219",
        "SAS": b"",
        "LINK": b"YZ6HJJRJ4YJW7UZFLM43VRXFEY",
        "REJOIN": _fixed("rejoin").hex().encode(),
    }
    runs = []
    for mode, prs in passwords.items():
        inputs = Inputs(
            number=48213,
            session_id=_fixed(f"{mode} session", 16),
            member=2 if mode == "PIN" else 0xFFFD,
            former=0x1234 if mode == "REJOIN" else 0,
            mode=mode,
            prs=prs,
            rsa_public=rsa_public,
            mlkem_public=bytes.fromhex(mlkem["pk"]),
            rsa_secret=_fixed(f"{mode} rsa"),
            rsa_ciphertext=oaep_encrypt(
                rsa.modulus, _fixed(f"{mode} rsa"), _fixed(f"{mode} seed")
            ),
            mlkem_secret=bytes.fromhex(mlkem["ss"]),
            mlkem_ciphertext=bytes.fromhex(mlkem["ct"]),
            client_scalar=_fixed(f"{mode} ya"),
            client_nonce=_fixed(f"{mode} nonce c"),
            master_scalar=_fixed(f"{mode} yb"),
            master_nonce=_fixed(f"{mode} nonce m"),
        )
        runs.append({"inputs": vars(inputs), "expected": run_handshake(inputs)})
    return {
        "about": "docs/session-protocol, section 5; keys from published OAEP and ML-KEM vectors",
        "rsa_private": [f"{value:x}" for value in (*rsa.primes, rsa.private_exponent)],
        "mlkem_seed": mlkem["d"] + mlkem["z"],
        "runs": runs,
        "failures": [
            {"message": "c1", "offset": 0, "at": "master c1", "error": "RemoteProtocolError"},
            {"message": "c1", "offset": 3, "at": "master c1", "error": "RemoteProtocolError"},
            {"message": "c1", "offset": 5, "at": "master c1", "error": "RemoteProtocolError"},
            {"message": "c1", "offset": 30, "at": "master c3", "error": "AuthenticationFailed"},
            {"message": "c1", "offset": 1571, "at": "master c3", "error": "AuthenticationFailed"},
            {"message": "m2", "offset": 2, "at": "client m2", "error": "RemoteProtocolError"},
            {"message": "m2", "offset": 4, "at": "client m2", "error": "RemoteProtocolError"},
            {"message": "m2", "offset": 40, "at": "master c3", "error": "AuthenticationFailed"},
            {"message": "m2", "offset": 100, "at": "master c3", "error": "AuthenticationFailed"},
            {"message": "m2", "offset": 1418, "at": "master c3", "error": "AuthenticationFailed"},
            {"message": "c3", "offset": 0, "at": "master c3", "error": "AuthenticationFailed"},
            {"message": "c3", "offset": 63, "at": "master c3", "error": "AuthenticationFailed"},
            {"message": "m4", "offset": 31, "at": "client m4", "error": "AuthenticationFailed"},
        ],
    }


def _sealing_vectors() -> dict[str, Any]:
    secret = _fixed("pair secret")
    generations = []
    current = secret
    for generation in range(3):
        key, iv = expand(current, b"key", 32), expand(current, b"iv", 12)
        ack_key, ack_iv = expand(current, b"ack key", 32), expand(current, b"ack iv", 12)
        number = (0, 7, 2**64 - 1)[generation]
        header = _fixed(f"header {generation}", 36)
        plaintext = _fixed("plaintext", 100 * generation + 1)
        generations.append(
            {
                "number": number,
                "header": header,
                "plaintext": plaintext,
                "data": seal(key, iv, number, header, plaintext),
                "ack": seal(ack_key, ack_iv, number, header, b""),
            }
        )
        current = expand(current, b"upd", 32)
    session_id, epoch, group_key = _fixed("session", 16), 3, _fixed("group key")
    material = expand(extract(session_id + b"\0\0\0\3", group_key), b"ptun1 grp", 44)
    header, plaintext = _fixed("group header", 36), _fixed("plaintext", 77)
    return {
        "about": "docs/session-protocol, sections 2 and 5: packets by generation, one of a group",
        "secret": secret,
        "generations": generations,
        "group": {
            "session_id": session_id,
            "epoch": epoch,
            "key": group_key,
            "number": 5,
            "header": header,
            "plaintext": plaintext,
            "packet": seal(material[:32], material[32:], 5, header, plaintext),
        },
        # One bit turned over at this offset of a data packet.
        "failures": [
            {"offset": offset, "error": "AuthenticationFailed"} for offset in (0, 23, 35, 36, -1)
        ],
    }


def write_vectors() -> None:
    """Write both files anew; the same inputs give the same bytes."""
    VECTORS.mkdir(exist_ok=True)
    for name, content in (
        ("handshake", _handshake_vectors()),
        ("sealing", _sealing_vectors()),
    ):
        text = json.dumps(content, indent=1, default=lambda data: data.hex())
        (VECTORS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_vectors()
