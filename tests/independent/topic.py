"""Writes tests/vectors/topic.json, who may publish and subscribe to what at the gateway::

    python -m tests.independent.topic

Written from docs/gateway-protocol, section 1, alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["PLACE", "build"]

PLACE = Path(__file__).resolve().parents[1] / "vectors" / "topic.json"

ABOUT = (
    "Vectors of the gateway's topics, docs/gateway-protocol, section 1; made by tests/independent."
    " `publish` and `subscribe` say for the device, its instance, and a stranger (an instance with"
    " another device) where a message goes, or null, and whether a filter is allowed; for what"
    " stands in `nothing` that is null and false for each of them."
)
DEVICE, INSTANCE = "0123456789abcdef" * 2, "fedcba9876543210" * 2
OTHER, STRANGER = "00" * 16, "ff" * 16
DIGITS, LETTERS = "0123456789", "abcdefghijklmnopqrstuvwxyz"


def right(level: str, alphabet: str, least: int, most: int) -> bool:
    """A level of these characters, of a length between these."""
    return least <= len(level) <= most and all(each in alphabet for each in level)


def is_id(level: str) -> bool:
    """The id of a device or an instance."""
    return right(level, DIGITS + "abcdef", 32, 32)


def is_rid(level: str) -> bool:
    """The id of a request."""
    return right(level, DIGITS + LETTERS, 8, 32)


def is_name(level: str) -> bool:
    """The name of a push or an event."""
    return right(level, DIGITS + LETTERS + "-", 1, 64)


def routed(who: str, topic: str) -> str | None:
    """Where a message goes."""
    levels = topic.split("/")
    if len(levels) != 4 or levels[0] != "device" or not is_id(levels[1]):
        return None
    _, device, kind, last = levels
    if who == "device":
        right_place = device == DEVICE and kind == "request" and is_rid(last)
        return f"instance/{INSTANCE}/request/{DEVICE}/{last}" if right_place else None
    if device != (DEVICE if who == "instance" else OTHER):
        return None
    right_place = (kind == "response" and is_rid(last)) or (kind == "push" and is_name(last))
    return topic if right_place else None


def allowed(who: str, text: str) -> bool:
    """Whether a filter is."""
    levels = text.split("/")
    if who == "device":
        if levels[:2] != ["device", DEVICE] or len(levels) != 4:
            return False
        check = {"response": is_rid, "push": is_name}.get(levels[2])
        return check is not None and (levels[3] == "+" or check(levels[3]))
    if levels[:2] != ["instance", INSTANCE if who == "instance" else STRANGER]:
        return False
    if levels[2:3] == ["event"] and len(levels) == 4:
        return levels[3] == "+" or is_name(levels[3])
    if levels[2:3] == ["request"] and len(levels) == 5:
        return (levels[3] == "+" or is_id(levels[3])) and (levels[4] == "+" or is_rid(levels[4]))
    return False


LASTS = [
    "12345678",
    "1234567",
    "z" * 32,
    "z" * 33,
    "ABCDEFGH",
    "page-changed",
    "a",
    "x" * 64,
    "x" * 65,
    "",
    "+",
    "#",
    "1234567+",
    "12345678\n",
    "12345678/",
    "１２３４５６７８",
    "a b",
    "$a",
]
OWNERS = [DEVICE, OTHER, INSTANCE, STRANGER, DEVICE.upper(), DEVICE[1:], DEVICE + "0", "+", ""]


def build() -> dict[str, Any]:
    """All groups."""
    kinds = ["request", "response", "push", "event", "Request", "+"]
    texts = [f"device/{DEVICE}/{kind}/{last}" for kind in kinds for last in LASTS]
    texts += [
        f"{first}/{owner}/{kind}/{last}"
        for first in ("device", "instance", "Device", "+")
        for owner in OWNERS
        for kind in kinds[:4]
        for last in ("12345678", "+")
    ]
    texts += [
        f"instance/{INSTANCE}/request/{owner}/{last}"
        for owner in [*OWNERS, "#"]
        for last in LASTS[:5] + LASTS[9:14]
    ]
    texts += [f"instance/{INSTANCE}/event/{last}" for last in LASTS]
    texts += [
        "#",
        "+",
        "",
        "/",
        "$SYS/broker",
        f"device/{DEVICE}",
        f"device/{DEVICE}/#",
        f"device/{DEVICE}/response/#",
        f"device/{DEVICE}/response/12345678/x",
        f"/device/{DEVICE}/response/12345678",
        f"$share/g/device/{DEVICE}/response/+",
        f"instance/{INSTANCE}/#",
        f"instance/{INSTANCE}/request/+",
        f"instance/{INSTANCE}/request/#",
        f"instance/{INSTANCE}/request/+/+/+",
        f"instance/{STRANGER}/request/+/+",
        f"$share/g/instance/{INSTANCE}/request/+/+",
    ]
    people = ("device", "instance", "stranger")
    return {
        "about": ABOUT,
        "device": DEVICE,
        "instance": INSTANCE,
        "device of the stranger": OTHER,
        "stranger": STRANGER,
        "publish": [
            {"topic": text} | found
            for text in dict.fromkeys(texts)
            if any((found := {who: routed(who, text) for who in people}).values())
        ],
        "subscribe": [
            {"topic": text} | allow
            for text in dict.fromkeys(texts)
            if any((allow := {who: allowed(who, text) for who in people}).values())
        ],
        "nothing": [
            text
            for text in dict.fromkeys(texts)
            if not any(routed(who, text) or allowed(who, text) for who in people)
        ],
    }


def main() -> None:
    """Write the file."""
    PLACE.write_text(json.dumps(build(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
