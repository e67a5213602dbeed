"""Writes tests/vectors/message.json, what device and instance say through the gateway::

    python -m tests.independent.message

Written from docs/gateway-protocol, section 3, alone, with AES from a library. A file that is there
keeps its random inputs; without one they are drawn.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import struct
from pathlib import Path
from typing import Any, NamedTuple

from tests.independent.envelope import hkdf, seal_stream

__all__ = ["LABELS", "PLACE", "Stream", "build", "derive"]

PLACE = Path(__file__).resolve().parents[1] / "vectors" / "message.json"

ABOUT = (
    "Vectors of requests, responses and pushes, docs/gateway-protocol, section 3; made by"
    " tests/independent. Bytes are hexadecimal. In `failed_requests` and `failed_responses` the"
    " last part must fail and all before it open."
)
INPUT_BYTES = {
    "secret": 32,
    "instance_id": 16,
    "device_id": 16,
    "request_salt": 32,
    "request_prefix": 7,
    "response_salt": 32,
    "response_prefix": 7,
    "push_salt": 32,
    "push_prefix": 7,
    "other": 32,
}
LABELS = {
    "request": b"d>i",
    "response": b"i>d",
    "push": b"push",
    "pair_request": b"pair d>i",
    "pair_response": b"pair i>d",
}
LAST, CANCEL, CREDIT, ERROR = 1, 2, 4, 8
GATEWAY = 0xFFFFFFFF


def derive(secret: bytes, label: bytes) -> bytes:
    """The key material of a label."""
    prk = hmac.new(b"ptgw1", secret, hashlib.sha256).digest()
    return hmac.new(prk, label + b"\x01", hashlib.sha256).digest()


def make_head(generation: int, counter: int, unix_ms: int, flags: int = 0) -> bytes:
    """25 bytes."""
    return struct.pack(">BIQQI", 1, generation, counter, unix_ms, flags)


def part(number: int, flags: int, body: bytes = b"") -> bytes:
    """What one MQTT message carries."""
    return struct.pack(">IB", number, flags) + body


class Stream(NamedTuple):
    """One direction, before it is sealed."""

    secret: bytes
    label: bytes
    ids: bytes
    head: bytes
    salt: bytes
    prefix: bytes
    bound_to: bytes = b""

    def header(self) -> bytes:
        """Of the sealed stream."""
        return bytes([40]) + self.salt + self.prefix

    def seal(self, pieces: list[bytes], last: int = -1) -> list[bytes]:
        """All parts."""
        associated = b"ptgw1 " + self.label + self.ids + self.head + self.bound_to
        key = hkdf(self.salt, derive(self.secret, self.label), associated)
        sealed = seal_stream(key, self.prefix, pieces, last=last)
        end = last % len(pieces)
        before = self.head + self.header()
        return [
            part(at, LAST if at == end else 0, (before if at == 0 else b"") + segment)
            for at, segment in enumerate(sealed)
        ]

    def answer(self, head: bytes, salt: bytes, prefix: bytes) -> Stream:
        """The response to this request."""
        label = LABELS["pair_response" if self.label.startswith(b"pair") else "response"]
        bound = hashlib.sha256(self.head + self.header()).digest()
        return self._replace(label=label, head=head, salt=salt, prefix=prefix, bound_to=bound)


def build(inputs: dict[str, str]) -> dict[str, Any]:
    """All groups, for the values in :data:`INPUT_BYTES`."""
    raw = {name: bytes.fromhex(inputs[name]) for name in INPUT_BYTES}
    secret, ids = raw["secret"], raw["instance_id"] + raw["device_id"]
    question = {"generation": 3, "counter": 1_790_000_000_123, "unix_ms": 1_790_000_000_456}
    reply = question | {"unix_ms": 1_790_000_000_789}
    drawn = raw["request_salt"], raw["request_prefix"]
    answered = raw["response_salt"], raw["response_prefix"]

    def ask(flags: int = 0, **changed: Any) -> Stream:
        label = LABELS["pair_request" if flags else "request"]
        return Stream(secret, label, ids, make_head(**question, flags=flags), *drawn)._replace(
            **changed
        )

    def answer(request: Stream, flags: int = 0, **changed: int) -> Stream:
        return request.answer(make_head(**(reply | changed), flags=flags), *answered)

    push_head = make_head(3, 9, 1_790_000_000_789)
    push_name = b"page-changed"
    bound = struct.pack(">H", len(push_name)) + push_name
    push_drawn = raw["push_salt"], raw["push_prefix"]
    push = Stream(secret, LABELS["push"], ids, push_head, *push_drawn, bound_to=bound)
    hello, bye = [b"hello", b"world", b""], [b"good", b"bye"]
    exchanges = []
    for name, flags in (("a request", 0), ("about keys", 1)):
        request = ask(flags)
        exchanges.append(
            {
                "name": name,
                "about_keys": bool(flags),
                "request": question | {"head": request.head.hex()} | _stream(request, hello),
                "response": reply | _stream(answer(request, flags), bye),
            }
        )
    request, response = ask(), answer(ask())
    parts, answers = request.seal(hello), response.seal(bye)
    other = raw["other"]
    swapped_ids = raw["device_id"] + raw["instance_id"]
    failed_requests = {
        "another secret": ask(secret=other).seal(hello)[:1],
        "another label": ask(label=b"i>d").seal(hello)[:1],
        "the label of pairings": ask(label=b"pair d>i").seal(hello)[:1],
        "another device": ask(ids=raw["instance_id"] + other[:16]).seal(hello)[:1],
        "another instance": ask(ids=other[:16] + raw["device_id"]).seal(hello)[:1],
        "the ids swapped": ask(ids=swapped_ids).seal(hello)[:1],
        "its generation was changed": [_turned(parts[0], 9)],
        "its counter was changed": [_turned(parts[0], 17)],
        "its time was changed": [_turned(parts[0], 25)],
        "its flag was changed": [_turned(parts[0], 29)],
        "its salt was changed": [_turned(parts[0], 31)],
        "its segment was changed": [_turned(parts[0], 71)],
        "the second was changed": [parts[0], _turned(parts[1], 6)],
        "the second of another request": [
            parts[0],
            ask(salt=other).seal(hello)[1],
        ],
        "swapped, renumbered": [parts[0], part(1, LAST, parts[2][5:])],
    }
    of_other = answer(ask(salt=other))
    failed_responses = {
        "to another request": of_other.seal(bye)[:1],
        "to the same at another time": answer(
            ask(head=make_head(**(question | {"unix_ms": 1})))
        ).seal(bye)[:1],
        "bound to nothing": response._replace(bound_to=b"").seal(bye)[:1],
        "another secret": response._replace(secret=other).seal(bye)[:1],
        "the label of requests": response._replace(label=b"d>i").seal(bye)[:1],
        "the label of pushes": response._replace(label=b"push").seal(bye)[:1],
        "another device": response._replace(ids=raw["instance_id"] + other[:16]).seal(bye)[:1],
        "the request itself": parts[:1],
        "its time was changed": [_turned(answers[0], 25)],
        "the second of another response": [answers[0], of_other.seal(bye)[1]],
        "the second was changed": [answers[0], _turned(answers[1], 5)],
    }
    refusals = {
        "not executed": (0, 0),
        "counter": (1, 2**64 - 1),
        "time": (2, 7),
        "waiting": (3, 0),
        "rotate": (4, 0),
    }
    malformed = {
        "nothing": b"",
        "too short": b"\0\0\0\0",
        "no segment": part(1, 0),
        "a segment without a tag": part(1, 0, bytes(15)),
        "two flags": part(1, LAST | CANCEL, bytes(16)),
        "an unknown flag": part(1, 16, bytes(16)),
        "credit with a body": part(1, CREDIT, b"\0"),
        "cancel with a body": part(0, CANCEL, b"\0"),
        "cancel with a number": part(1, CANCEL),
        "an error with another number": part(1, ERROR, b'{"error":"busy"}'),
        "an error without a body": part(0, ERROR),
        "an error that is no JSON": part(0, ERROR, b"busy"),
        "an error that is no UTF-8": part(0, ERROR, b'{"error":"\xff"}'),
        "an error without a code": part(0, ERROR, b"{}"),
        "an error with a number": part(0, ERROR, b'{"error":1}'),
        "an error with a sentence": part(0, ERROR, b'{"error":"Not now."}'),
        "an error with a line end": part(0, ERROR, b'{"error":"busy\\n"}'),
        "an error that is too long": part(0, ERROR, b'{"error":"busy"}' + b" " * 241),
    }
    hints = {
        "credit": ("credit", 40, part(40, CREDIT)),
        "all credit": ("credit", GATEWAY, part(GATEWAY, CREDIT)),
        "cancel": ("cancel", None, part(0, CANCEL)),
        "an instance's error": ("error", "broken", part(0, ERROR, b'{"error":"broken"}')),
        "the gateway's answer": (
            "gateway",
            "instance-offline",
            part(GATEWAY, ERROR, b'{"error":"instance-offline"}'),
        ),
    }
    return {
        "about": ABOUT,
        "inputs": inputs,
        "keys": {name: derive(secret, label).hex() for name, label in LABELS.items()},
        "exchanges": exchanges,
        "push": {
            "name": push_name.decode(),
            "generation": 3,
            "counter": 9,
            "unix_ms": 1_790_000_000_789,
            "plaintext": b"news".hex(),
            "payload": push.seal([b"news"])[0].hex(),
        },
        "failed_pushes": _listed(
            {
                "another name": [push._replace(bound_to=b"\0\x01a").seal([b"news"])[0]],
                "another label": [push._replace(label=b"i>d").seal([b"news"])[0]],
                "another device": [push._replace(ids=swapped_ids).seal([b"news"])[0]],
                "its counter was changed": [_turned(push.seal([b"news"])[0], 17)],
            }
        ),
        "failed_requests": _listed(failed_requests),
        "failed_responses": _listed(failed_responses),
        "refusals": [
            {
                "name": name,
                "reason": reason,
                "value": value,
                "plaintext": struct.pack(">BBQ", 0x3F, reason, value).hex(),
            }
            for name, (reason, value) in refusals.items()
        ],
        "hints": [
            {"name": name, "kind": kind, "value": value, "part": each.hex()}
            for name, (kind, value, each) in hints.items()
        ],
        "malformed_parts": _listed({name: [each] for name, each in malformed.items()}),
    }


def _stream(stream: Stream, pieces: list[bytes]) -> dict[str, Any]:
    return {
        "pieces": [piece.hex() for piece in pieces],
        "parts": [each.hex() for each in stream.seal(pieces)],
    }


def _turned(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _listed(groups: dict[str, list[bytes]]) -> list[dict[str, Any]]:
    return [
        {"name": name, "parts": [each.hex() for each in parts]} for name, parts in groups.items()
    ]


def main() -> None:
    """Write the file."""
    if PLACE.exists():
        inputs = json.loads(PLACE.read_text(encoding="utf-8"))["inputs"]
    else:
        inputs = {name: secrets.token_hex(count) for name, count in INPUT_BYTES.items()}
    PLACE.write_text(json.dumps(build(inputs), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
