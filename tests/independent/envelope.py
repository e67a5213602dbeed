"""Writes tests/vectors/envelope.json, sealed streams::

    python -m tests.independent.envelope

Written from docs/gateway-protocol, section 4, alone, with AES from a library. A file that is there
keeps its random inputs; without one they are drawn.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["PLACE", "build", "hkdf", "seal_stream"]

PLACE = Path(__file__).resolve().parents[1] / "vectors" / "envelope.json"

ABOUT = (
    "Vectors of sealed streams, docs/gateway-protocol, section 4; made by tests/independent. Bytes"
    " are hexadecimal. Of plaintexts the lengths are given: they are pieces of bytes that count"
    " from 0 to 250 over and over, anew with each stream. Of a segment over 256 bytes the SHA-256"
    " is given, or in a failure, where its content does not matter, the length. In `failures` so"
    " many segments open as `opened` says; then comes the error, with the next segment or, if"
    " there is none, at the end of the stream."
)
INPUT_BYTES = {"ikm": 32, "salt": 32, "prefix": 7, "associated": 20}


def hkdf(salt: bytes, ikm: bytes, info: bytes) -> bytes:
    """HKDF-SHA256 with 32 bytes of output: one block."""
    prk = hmac.new(salt, ikm, hashlib.sha256).digest()
    return hmac.new(prk, info + b"\x01", hashlib.sha256).digest()


def seal_stream(key: bytes, prefix: bytes, pieces: list[bytes], *, last: int = -1) -> list[bytes]:
    """The segments, without the header; ``last`` is the index of the one sealed as the last."""
    cipher = AESGCM(key)
    end = last % len(pieces)
    return [
        cipher.encrypt(prefix + at.to_bytes(4, "big") + bytes([at == end]), piece, None)
        for at, piece in enumerate(pieces)
    ]


def pieces_of(lengths: list[int]) -> list[bytes]:
    """Plaintexts of these lengths, one after the other."""
    flow = bytes(range(251)) * (sum(lengths) // 251 + 1)
    pieces, at = [], 0
    for length in lengths:
        pieces.append(flow[at : at + length])
        at += length
    return pieces


def build(inputs: dict[str, str]) -> dict[str, Any]:
    """All groups, for the values in :data:`INPUT_BYTES`."""
    ikm, salt, prefix, associated = (bytes.fromhex(inputs[name]) for name in INPUT_BYTES)
    streams = {
        "nothing": [0],
        "one byte": [1],
        "two segments": [5, 7],
        "an empty last one": [5, 0],
        "flushed often": [1, 2, 3, 4, 5, 0],
        "the first is full": [65_480],
        "one byte more": [65_480, 1],
        "all are full": [65_480, 65_520, 65_520],
        "full, then an empty last one": [65_480, 65_520, 0],
    }
    header = bytes([40]) + salt + prefix
    key = hkdf(salt, ikm, associated)

    def sealed(lengths: list[int], last: int = -1) -> list[bytes]:
        return seal_stream(key, prefix, pieces_of(lengths), last=last)

    one, two, three = sealed([5, 7, 9])
    cut = sealed([5, 7, 9], last=1)
    whole = [one, two, three]
    no_auth, malformed = "AuthenticationFailed", "RemoteProtocolError"
    failures = [
        ("without its last segment", header, [one, two], 2, malformed),
        ("without any segment", header, [], 0, malformed),
        ("swapped", header, [two, one, three], 0, no_auth),
        ("one is missing", header, [one, three], 1, no_auth),
        ("one comes twice", header, [one, one, two, three], 1, no_auth),
        ("goes on after its end", header, [*cut[:2], three], 2, malformed),
        ("the last one twice", header, [*whole, three], 3, malformed),
        ("an empty one in the middle", header, sealed([5, 0, 9]), 1, malformed),
        ("too short for a tag", header, [one, two[:15]], 1, malformed),
        ("a byte too few", header, [one, two[:-1]], 1, no_auth),
        ("a byte too many", header, [one, two + b"\0"], 1, no_auth),
        ("two segments in one", header, [one + two, three], 0, no_auth),
        ("the first is longer than the header leaves", header, sealed([65_481]), 0, malformed),
        ("the second is too long", header, sealed([1, 65_521]), 1, malformed),
        ("another salt", bytes([40, salt[0] ^ 1]) + salt[1:] + prefix, whole, 0, no_auth),
        ("another prefix", header[:-1] + bytes([header[-1] ^ 1]), whole, 0, no_auth),
    ]
    failed_headers = {
        "nothing": b"",
        "a byte too few": header[:-1],
        "a byte too many": header + b"\0",
        "another length": bytes([24]) + header[1:],
    }
    return {
        "about": ABOUT,
        "inputs": inputs,
        "header": header.hex(),
        "streams": [
            {
                "name": name,
                "lengths": lengths,
                "segments": [
                    each.hex() if len(each) <= 256 else hashlib.sha256(each).hexdigest()
                    for each in sealed(lengths)
                ],
            }
            for name, lengths in streams.items()
        ],
        "failures": [
            {
                "name": name,
                "header": start.hex(),
                "segments": [
                    each.hex() if len(each) <= 256 else f"{len(each)} bytes" for each in segments
                ],
                "opened": opened,
                "error": error,
            }
            for name, start, segments, opened, error in failures
        ],
        "failed_headers": [
            {"name": name, "header": start.hex()} for name, start in failed_headers.items()
        ],
    }


def main() -> None:
    """Write the file."""
    if PLACE.exists():
        inputs = json.loads(PLACE.read_text(encoding="utf-8"))["inputs"]
    else:
        inputs = {name: secrets.token_hex(count) for name, count in INPUT_BYTES.items()}
    PLACE.write_text(json.dumps(build(inputs), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
