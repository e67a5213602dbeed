"""Pairings for tests, with the values of tests/vectors/pairing.json."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import mlkem, rsa

from porttunnel.gateway.message_key import Ends
from porttunnel.gateway.pairing_device import DeviceExchanging
from porttunnel.gateway.pairing_message import (
    Confirm,
    ExchangeRequest,
    decode_key_request,
)
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.gateway.pairing_step import Answering
from porttunnel.keys.hybrid import Encapsulation, HybridPrivateKey
from porttunnel.keys.primitives import MlkemPrivateKey, RsaPrivateKey
from porttunnel.wire import encode_vec
from tests.independent.pairing import PLACE

__all__ = [
    "ANSWERING",
    "CONFIRM",
    "DRAWN",
    "ENDS",
    "KEY",
    "PAIRING",
    "REQUEST",
    "ROTATION",
    "SETUP",
    "VECTORS",
    "confirm_of",
    "each",
    "make_device",
    "plaintext_of",
    "request_of",
]

VECTORS: Any = json.loads(PLACE.read_text(encoding="utf-8"))
DRAWN = {name: bytes.fromhex(value) for name, value in VECTORS["inputs"].items()}
PAIRING, ROTATION = VECTORS["pairing"], VECTORS["rotation"]
ENDS = Ends(DRAWN["instance_id"], DRAWN["device_id"])
SETUP = DeviceSecret.from_setup(DRAWN["setup_secret"])

_RSA = serialization.load_der_private_key(DRAWN["rsa_private_pkcs8_der"], None)
assert isinstance(_RSA, rsa.RSAPrivateKey)
KEY = HybridPrivateKey(
    RsaPrivateKey(_RSA),
    MlkemPrivateKey(mlkem.MLKEM768PrivateKey.from_seed_bytes(DRAWN["mlkem_seed"])),
)
ANSWERING = Answering(
    Encapsulation(
        DRAWN["rsa_ct"],
        DRAWN["mlkem_ct"],
        encode_vec(DRAWN["rsa_secret"]) + encode_vec(DRAWN["mlkem_secret"]),
    ),
    DRAWN["nonce_i"],
)


def each(group: str) -> pytest.MarkDecorator:
    """One test for each vector of a group."""
    return pytest.mark.parametrize("case", VECTORS[group], ids=lambda case: case["name"])


def plaintext_of(case: Any) -> bytes:
    """The plaintext of a vector."""
    return bytes.fromhex(case["plaintext"])


def request_of(plaintext: bytes) -> ExchangeRequest:
    """A plaintext that is a request for a secret."""
    request = decode_key_request(plaintext)
    assert isinstance(request, ExchangeRequest)
    return request


def confirm_of(plaintext: bytes) -> Confirm:
    """A plaintext that is a confirmation."""
    confirm = decode_key_request(plaintext)
    assert isinstance(confirm, Confirm)
    return confirm


def make_device(
    current: DeviceSecret = SETUP, nonce: bytes = DRAWN["nonce_d"]
) -> DeviceExchanging:
    """The device of the vectors."""
    return DeviceExchanging(ENDS, current, key=KEY, nonce=nonce, fallback=bytes(32))


REQUEST = request_of(bytes.fromhex(PAIRING["request"]))
CONFIRM = confirm_of(bytes.fromhex(PAIRING["confirm"]))
