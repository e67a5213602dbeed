"""Writes tests/vectors/direct.json, the proofs of a direct path::

    python -m tests.independent.direct

Written from docs/session-protocol, section 7, alone, with the standard library alone. A file that
is there keeps its random inputs; without one they are drawn.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import struct
from pathlib import Path
from typing import Any

__all__ = ["PLACE", "build"]

PLACE = Path(__file__).resolve().parents[1] / "vectors" / "direct.json"

ABOUT = (
    "Vectors of the direct path, docs/session-protocol, section 7; made by tests/independent."
    " Bytes are hexadecimal. What stands in a group failed_... or malformed_... must fail:"
    " failed_d1 at the master of `run`, failed_d2 at its client, failed_d3 at its master after its"
    " D2."
)

INPUT_BYTES = {
    "session_id": 16,
    "direct_client": 32,
    "direct_master": 32,
    "client_nonce": 16,
    "master_nonce": 16,
    "other_key": 32,
    "other_nonce": 16,
}


def mac(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA256, the first 16 bytes."""
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()[:16]


def make_d1(key: bytes, session_id: bytes, member: int, nonce: bytes) -> bytes:
    """The client's opening."""
    opening = struct.pack(">4s16sH16s", b"PTD1", session_id, member, nonce)
    return opening + mac(key, opening)


def build(inputs: dict[str, str]) -> dict[str, Any]:
    """All groups, for the values in :data:`INPUT_BYTES`."""
    session_id, client, master, nonce, answer, other, other_nonce = (
        bytes.fromhex(inputs[name]) for name in INPUT_BYTES
    )

    def run(member: int) -> tuple[bytes, bytes, bytes]:
        d1 = make_d1(client, session_id, member, nonce)
        d2 = answer + mac(master, d1, answer)
        return d1, d2, mac(client, d1, d2)

    d1, d2, d3 = run(2)
    opening, shown = d1[:38], d1[38:]
    elsewhere = make_d1(client, session_id, 2, other_nonce)
    whole = hmac.new(client, opening, hashlib.sha256).digest()

    malformed_d1 = {
        "nothing": b"",
        "one byte too few": d1[:-1],
        "one byte too many": d1 + b"\0",
        "a D2 behind it": d1 + d2,
        "another preface": b"PTD2" + d1[4:],
        "a packet": b"PT\x01\x10" + d1[4:],
        **{
            f"member {member:#06x}": make_d1(client, session_id, member, nonce)
            for member in (0, 1, 0xFFFE, 0xFFFF)
        },
    }
    failed_d1 = {
        "another session": make_d1(client, other[:16], 2, nonce)[:38] + shown,
        "another member": run(3)[0][:38] + shown,
        "another nonce": elsewhere[:38] + shown,
        "the key of the master": make_d1(master, session_id, 2, nonce),
        "a strange key": make_d1(other, session_id, 2, nonce),
        "an empty key": make_d1(b"", session_id, 2, nonce),
        "the preface is not covered": opening + mac(client, opening[4:]),
        "the last half of the HMAC": opening + whole[16:],
        "a hash in the HMAC's place": opening + hashlib.sha256(client + opening).digest()[:16],
        "zeros in the HMAC's place": opening + bytes(16),
        "D3 in the HMAC's place": opening + d3,
    }
    failed_d2 = {
        "nothing": b"",
        "the nonce alone": answer,
        "one byte too few": d2[:-1],
        "one byte too many": d2 + b"\0",
        "another nonce": other_nonce + d2[16:],
        "the key of the client": answer + mac(client, d1, answer),
        "a strange key": answer + mac(other, d1, answer),
        "the nonce before D1": answer + mac(master, answer, d1),
        "D1's HMAC is not covered": answer + mac(master, opening, answer),
        "the nonce is not covered": answer + mac(master, d1),
        "the client's own nonce and HMAC": nonce + shown,
        "replayed from another connection": answer + mac(master, elsewhere, answer),
        "zeros": bytes(32),
    }
    replied = other_nonce + mac(master, d1, other_nonce)
    failed_d3 = {
        "nothing": b"",
        "one byte too few": d3[:-1],
        "one byte too many": d3 + b"\0",
        "replayed from another connection": mac(client, d1, replied),
        "for another D1": mac(client, elsewhere, d2),
        "the key of the master": mac(master, d1, d2),
        "a strange key": mac(other, d1, d2),
        "D2 before D1": mac(client, d2, d1),
        "D1 is not covered": mac(client, d2),
        "D2 is not covered": mac(client, d1),
        "D2's HMAC is not covered": mac(client, d1, answer),
        "D1's HMAC": shown,
        "D2's HMAC": d2[16:],
        "zeros": bytes(16),
    }
    return {
        "about": ABOUT,
        "inputs": inputs,
        "run": {"member": 2, **_named(run(2))},
        "runs": [{"member": m, **_named(run(m))} for m in (2, 3, 0x0100, 0xFFFD)],
        "malformed_d1": _listed(malformed_d1),
        "failed_d1": _listed(failed_d1),
        "failed_d2": _listed(failed_d2),
        "failed_d3": _listed(failed_d3),
    }


def _named(messages: tuple[bytes, bytes, bytes]) -> dict[str, str]:
    return {f"d{at}": message.hex() for at, message in enumerate(messages, 1)}


def _listed(messages: dict[str, bytes]) -> list[dict[str, str]]:
    return [{"name": name, "message": message.hex()} for name, message in messages.items()]


def main() -> None:
    """Write the file."""
    if PLACE.exists():
        inputs = json.loads(PLACE.read_text(encoding="utf-8"))["inputs"]
    else:
        inputs = {name: secrets.token_hex(count) for name, count in INPUT_BYTES.items()}
    PLACE.write_text(json.dumps(build(inputs), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
