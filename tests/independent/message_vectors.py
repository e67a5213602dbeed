"""Vectors of MessagePack messages (sections 3 and 6) and of codes (section 4)."""

from __future__ import annotations

from typing import Any

from tests.independent import msgpack
from tests.independent.code import (
    CodeError,
    check_digit,
    format_pin_code,
    link_text,
    parse,
)
from tests.independent.vector_inputs import Inputs

__all__ = ["codes", "messages", "refused_codes", "refused_messages"]

BIN16, BIN32 = bytes(range(16)), bytes(range(32))
MEMBER = {"type": "member", "member": 2, "name": "Ben"}
SERVICE = {"type": "service", "name": "web", "kind": "http"}
ADDRESS = {"type": "address", "host": "192.168.1.5", "port": 4663}
LIMITS = {"type": "limits", "waiting_bytes": 8_650_752, "master_grace_s": 0, "client_grace_s": 0}

# In which packet or record each stands: see section 3's tables, and section 6's.
MESSAGES: dict[str, list[dict[str, Any]]] = {
    "REQUEST": [
        {"type": "create", "lifetime_s": 60, "max_clients": 1, "join_window_s": 0},
        {
            "type": "create",
            "lifetime_s": 7_776_000,
            "max_clients": 65_533,
            "join_window_s": 7_776_000,
        },
        {"type": "join", "number": 48213},
        {"type": "resume", "session_id": BIN16, "member": 2, "token": BIN32},
        {"type": "leave"},
        {"type": "kick", "member": 0xFFFD},
        {"type": "lock", "locked": True},
        {"type": "close"},
        {"type": "status"},
    ],
    "REPLY": [
        {
            "type": "created",
            "session_id": BIN16,
            "number": 48213,
            "token": BIN32,
            "limits": LIMITS,
        },
        {"type": "joined", "session_id": BIN16, "member": 2, "token": BIN32},
        {"type": "resumed", "token": BIN32},
        {"type": "done"},
        {"type": "status", "members": [1, 2], "linked": [1], "locked": False, "ends_in_s": 60},
    ],
    "EVENT": [
        {"type": "joining", "member": 2},
        {"type": "left", "member": 2, "reason": "it left"},
        {"type": "link", "member": 1, "up": False},
        {"type": "closed", "reason": ""},
        {"type": "going-away", "retry_after_s": 1.5},
    ],
    "ERROR": [
        {"type": "error", "code": code, "text": "x" * 200}
        for code in (
            "malformed",
            "unexpected",
            "not-allowed",
            "limit",
            "too-late",
            "no-such-number",
            "session-ended",
            "handshake-failed",
            "busy",
            "replaced",
            "internal",
        )
    ],
    "CONTROL": [
        {"type": "hello", "name": "", "capabilities": []},
        {"type": "join-as", "name": "ü" * 64, "capabilities": ["a"] * 16},
        {
            "type": "welcome",
            "name": "Anna",
            "members": [MEMBER],
            "services": [SERVICE],
            "epoch": 1,
            "group_key": BIN32,
            "signing_key": BIN32,
        },
        {"type": "refused", "reason": "no"},
        {"type": "members", "members": [MEMBER, MEMBER | {"member": 3}]},
        {"type": "bye", "reason": "x" * 200},
        {"type": "epoch", "epoch": 2, "key": BIN32, "previous_end": (1 << 63) - 1},
        {"type": "direct", "addresses": [ADDRESS] * 8},
        {"type": "direct", "addresses": []},
        {"type": "group-ack", "epoch": 0xFFFF_FFFF, "next": 0, "missing": True},
        {"type": "group-end", "epoch": 1, "next": 7},
        {"type": "resent", "packet": BIN32},
        {"type": "group-dropped", "reason": "too slow"},
    ],
}

# What is changed in the first message of its type, and what the change is called.
CHANGES: dict[str, list[tuple[str, str, Any]]] = {
    "create": [
        ("lifetime_s", "below", 59),
        ("lifetime_s", "above", 7_776_001),
        ("max_clients", "below", 0),
        ("max_clients", "above", 65_534),
        ("join_window_s", "above", 7_776_001),
        ("lifetime_s", "float", 60.0),
    ],
    "join": [
        ("number", "text", "48213"),
        ("number", "float", 48213.0),
        ("number", "bool", True),
        ("number", "negative", -1),
    ],
    "resume": [
        ("session_id", "text", "x" * 16),
        ("session_id", "long", BIN16 + b"x"),
        ("token", "short", BIN32[1:]),
        ("token", "text", "x" * 32),
    ],
    "kick": [("member", "text", "2")],
    "lock": [("locked", "int", 1)],
    "joined": [("session_id", "short", BIN16[1:]), ("member", "bin", b"\2")],
    "resumed": [("token", "long", BIN32 + b"x")],
    "left": [("reason", "bin", b"it left")],
    "link": [("up", "int", 1)],
    "going-away": [("retry_after_s", "below", -1.0), ("retry_after_s", "above", 3601.0)],
    "error": [("text", "long", "x" * 201), ("code", "bin", b"busy")],
    "hello": [
        ("name", "long", "x" * 65),
        ("name", "bin", b""),
        ("capabilities", "text", "a"),
        ("capabilities", "many", ["a"] * 17),
        ("capabilities", "bin", [b"a"]),
    ],
    "welcome": [
        ("group_key", "short", BIN32[1:]),
        ("signing_key", "text", "x" * 32),
        ("epoch", "zero", 0),
        ("members", "int", [2]),
        ("services", "member", [MEMBER]),
    ],
    "refused": [("reason", "long", "x" * 201)],
    "bye": [("reason", "long", "x" * 201)],
    "epoch": [
        ("epoch", "zero", 0),
        ("epoch", "above", 1 << 32),
        ("key", "short", BIN32[1:]),
        ("key", "text", "x" * 32),
        ("previous_end", "negative", -1),
        ("previous_end", "above", 1 << 63),
    ],
    "direct": [
        ("addresses", "many", [ADDRESS] * 9),
        ("addresses", "text", ["192.168.1.5"]),
        ("addresses", "port 0", [ADDRESS | {"port": 0}]),
        ("addresses", "port above", [ADDRESS | {"port": 65_536}]),
        ("addresses", "long host", [ADDRESS | {"host": "1" * 46}]),
    ],
    "group-ack": [("epoch", "zero", 0), ("next", "negative", -1), ("missing", "int", 1)],
    "group-end": [("epoch", "zero", 0), ("next", "above", 1 << 63)],
    "resent": [("packet", "text", "x")],
    "group-dropped": [("reason", "long", "x" * 201)],
}


def _form(value: Any) -> Any:
    """JSON has no bytes: {"bin": hexadecimal}."""
    match value:
        case bytes():
            return {"bin": value.hex()}
        case list():
            return [_form(each) for each in value]
        case dict():
            return {key: _form(each) for key, each in value.items()}
    return value


def messages() -> list[dict[str, Any]]:
    """Bodies that are read."""
    found = []
    for carrier, each in MESSAGES.items():
        for fields in each:
            body = msgpack.encode(fields)
            assert msgpack.decode(body) == fields
            found.append({"carrier": carrier, "fields": _form(fields), "body": body.hex()})
    return found


def refused_messages() -> list[dict[str, str]]:
    """Bodies that are an error."""
    found = []

    def add(carrier: str, name: str, body: bytes) -> None:
        found.append({"carrier": carrier, "name": name, "body": body.hex()})

    for carrier, each in MESSAGES.items():
        seen = set()
        for fields in each:
            kind = fields["type"]
            if kind in seen:
                continue
            seen.add(kind)
            body = msgpack.encode(fields)
            add(carrier, f"{kind}: a byte is missing", body[:-1])
            add(carrier, f"{kind}: a byte too many", body + b"\0")
            add(carrier, f"{kind}: a field that nobody knows", msgpack.encode(fields | {"x": 1}))
            for key in fields:
                fewer = {name: value for name, value in fields.items() if name != key}
                add(carrier, f"{kind}: without {key}", msgpack.encode(fewer))
            for key, name, value in CHANGES.get(kind, []):
                changed = msgpack.encode(fields | {key: value})
                add(carrier, f"{kind}: {key} {name}", changed)
        add(carrier, "an unknown type", msgpack.encode({"type": "nothing"}))
        add(carrier, "an array", msgpack.encode(["close"]))
        add(carrier, "nil", b"\xc0")
        add(carrier, "a type that is a number", msgpack.encode({"type": 1}))
        add(carrier, "keys that are numbers", b"\x81\x01\x02")
    add("REQUEST", "an event", msgpack.encode(MESSAGES["EVENT"][0]))
    add("EVENT", "a reply", msgpack.encode(MESSAGES["REPLY"][0]))
    add("CONTROL", "a request", msgpack.encode({"type": "close"}))
    add(
        "ERROR",
        "a code that nobody knows",
        msgpack.encode({"type": "error", "code": "tired", "text": ""}),
    )
    return found


def codes(inputs: Inputs) -> list[dict[str, Any]]:
    """Codes as people type them."""
    link = link_text(inputs.raw("link"))
    found: list[dict[str, Any]] = []
    for number, pin in (
        (48213, "604219"),
        (10000, "000000"),
        (99999, "999999"),
        (100000, inputs.pin),
        (12345678, inputs.pin),
    ):
        text = format_pin_code(number, pin)
        assert parse(text) == (number, pin)
        check = check_digit(f"{number}{pin}")
        found.append(
            {"text": text, "mode": "pin", "number": number, "prs": pin, "check_digit": check}
        )
        without = text.replace(" ", "")
        found.append({**found[-1], "text": without})
    assert found[0]["text"] == "4821 3604 2197"  # the example of section 4
    for number in (48213, 12345678):
        found.append({"text": str(number), "mode": "sas", "number": number, "prs": ""})
        text = f"porttunnel:{number}#{link}"
        assert parse(text) == (number, link)
        found.append({"text": text, "mode": "link", "number": number, "prs": link})
    return found


def refused_codes(inputs: Inputs) -> list[dict[str, str]]:
    """What nobody can have been given."""
    right = format_pin_code(48213, "604219").replace(" ", "")
    link = link_text(inputs.raw("link"))
    texts = {f"check digit {digit}": right[:-1] + digit for digit in "0123456789"}
    del texts[f"check digit {right[-1]}"]
    for at in range(len(right) - 1):
        turned = right[:at] + right[at + 1] + right[at] + right[at + 2 :]
        if turned != right:
            texts[f"digits {at} and {at + 1} exchanged"] = turned
    for length in (0, 1, 4, 9, 10, 11, 16):
        digits = "1" * (length - 1)
        texts[f"{length} digits"] = digits + check_digit(digits) if length else ""
    zero = "01000604219"
    texts |= {
        "a number that begins with 0": zero + check_digit(zero),
        "SAS with a number that begins with 0": "01234",
        "a letter": right[:-1] + "x",
        "digits of another script": right.replace("4", "٤"),
        "link without a secret": "porttunnel:48213#",
        "link without a mark": f"porttunnel:48213{link}",
        "link with a character less": f"porttunnel:48213#{link[:-1]}",
        "link with a character more": f"porttunnel:48213#{link}A",
        "link with a 1": f"porttunnel:48213#1{link[1:]}",
        "link whose last two bits are not zero": f"porttunnel:48213#{link[:-1]}B",
        "link with padding": f"porttunnel:48213#{link}======",
        "link with a number of 4 digits": f"porttunnel:4821#{link}",
        "link with a number of 9 digits": f"porttunnel:482134821#{link}",
        "link of something else": f"tunnel:48213#{link}",
    }
    found = []
    for name, text in texts.items():
        try:
            parse(text)
        except CodeError:
            found.append({"name": name, "text": text})
            continue
        raise AssertionError(f"{name} was read")
    return found
