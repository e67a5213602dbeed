"""Reads test vectors that others published: NIST's, the RFCs', and CPace's draft's."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest

__all__ = [
    "OaepExample",
    "draft_vectors",
    "oaep_examples",
    "read_blocks",
    "read_lines",
]

PUBLISHED = Path(cryptography_vectors.__file__).parent
# Where the draft's own file lies when nothing else is said: beside the repository.
DRAFT_VECTORS = Path(__file__).resolve().parents[3] / "shared/vectors/cpace-x25519-sha512.json"


@dataclass(frozen=True)
class OaepExample:
    """One message of a published OAEP key; all keys have 2048 bits and e = 65537."""

    modulus: int
    private_exponent: int
    primes: tuple[int, int]
    message: bytes
    ciphertext: bytes


def read_lines(name: str) -> list[str]:
    """The lines of one published file."""
    return (PUBLISHED / name).read_text(encoding="ascii").splitlines()


def read_blocks(name: str) -> Iterator[dict[str, str]]:
    """The ``key = value`` blocks of one published file, each begun by its count.

    A line without value (NIST's FAIL) becomes a key with an empty value. What stands in
    brackets holds for the blocks that follow.
    """
    heading: dict[str, str] = {}
    block: dict[str, str] = {}
    for line in map(str.strip, read_lines(name)):
        if line.startswith("#") or not line:
            continue
        key, _, value = (part.strip() for part in line.strip("[]").partition("="))
        if key.lower() == "count" or line.startswith("["):
            if block:
                yield block
            block = {}
        if line.startswith("["):
            heading[key] = value
        else:
            block = block or dict(heading)
            block[key] = value
    yield block


@cache
def oaep_examples() -> tuple[OaepExample, ...]:
    """OAEP with SHA-256 twice and an empty label."""
    text = "\n".join(read_lines("asymmetric/RSA/oaep-custom/oaep-sha256-sha256.txt"))
    examples = []
    for key in text.split("# Private key")[1:]:
        fields = dict(re.findall(r"^# (.+):\n([0-9a-f]+)$", key.partition("# OAEP")[0], re.M))
        pairs = re.findall(r"# Message:\n([0-9a-f]+)\n# Encryption:\n([0-9a-f]+)", key)
        examples += [
            OaepExample(
                modulus=int(fields["Modulus"], 16),
                private_exponent=int(fields["Exponent"], 16),
                primes=(int(fields["Prime 1"], 16), int(fields["Prime 2"], 16)),
                message=bytes.fromhex(message),
                ciphertext=bytes.fromhex(ciphertext),
            )
            for message, ciphertext in pairs
        ]
    return tuple(examples)


def draft_vectors() -> Any:
    """The CPace draft's vectors for X25519 and SHA-512.

    Skips the test if the file is nowhere, unless PORTTUNNEL_REQUIRE_REAL=1.
    """
    place = Path(os.environ.get("PORTTUNNEL_VECTORS", DRAFT_VECTORS))
    if place.is_dir():
        place /= DRAFT_VECTORS.name
    if not place.exists():
        reason = f"the CPace draft's vectors are missing: set PORTTUNNEL_VECTORS ({place.name})"
        if os.environ.get("PORTTUNNEL_REQUIRE_REAL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return json.loads(place.read_text(encoding="utf-8"))
