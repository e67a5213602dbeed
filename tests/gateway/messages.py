"""Requests and responses for tests, with the values of tests/vectors/message.json."""

from __future__ import annotations

import json
from typing import Any

import pytest

from porttunnel.gateway.device_exchange import DeviceExchange
from porttunnel.gateway.instance_exchange import InstanceExchange
from porttunnel.gateway.message_head import MessageHead
from porttunnel.gateway.message_key import DeviceKeys, Ends
from porttunnel.gateway.part_stream import decode_opening
from tests.independent.message import PLACE

__all__ = [
    "DRAWN",
    "ENDS",
    "HEAD",
    "KEYS",
    "SECRET",
    "VECTORS",
    "each",
    "make_device",
    "make_instance",
    "parts_of",
]

VECTORS: Any = json.loads(PLACE.read_text(encoding="utf-8"))
DRAWN = {name: bytes.fromhex(value) for name, value in VECTORS["inputs"].items()}
SECRET = DRAWN["secret"]
ENDS = Ends(DRAWN["instance_id"], DRAWN["device_id"])
KEYS = DeviceKeys(SECRET)
_QUESTION = VECTORS["exchanges"][0]["request"]
HEAD = MessageHead(_QUESTION["generation"], _QUESTION["counter"], _QUESTION["unix_ms"])
RESPONSE_MS: int = VECTORS["exchanges"][0]["response"]["unix_ms"]


def each(group: str) -> pytest.MarkDecorator:
    """One test for each vector of a group."""
    return pytest.mark.parametrize("case", VECTORS[group], ids=lambda case: case["name"])


def parts_of(case: Any) -> list[bytes]:
    """The parts of a vector."""
    return [bytes.fromhex(part) for part in case["parts"]]


def make_device(head: MessageHead = HEAD) -> DeviceExchange:
    """The device of the vectors."""
    salt, prefix = DRAWN["request_salt"], DRAWN["request_prefix"]
    return DeviceExchange(ENDS, KEYS, head, salt=salt, prefix=prefix)


def make_instance(part: bytes | bytearray, unix_ms: int = RESPONSE_MS) -> InstanceExchange:
    """The instance of the vectors, which was sent this part."""
    salt, prefix = DRAWN["response_salt"], DRAWN["response_prefix"]
    opening = decode_opening(bytes(part))
    return InstanceExchange(ENDS, KEYS, opening, unix_ms=unix_ms, salt=salt, prefix=prefix)
