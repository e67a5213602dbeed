"""porttunnel/gateway/pairing_device.py: the old secret is kept until the new one is confirmed."""

from __future__ import annotations

from typing import Any

import pytest

from porttunnel.errors import LocalProtocolError, RemoteProtocolError
from porttunnel.gateway.pairing_device import DeviceConfirming, DeviceExchanging
from porttunnel.gateway.pairing_schedule import DeviceSecret
from tests.gateway.pairings import (
    DRAWN,
    ENDS,
    KEY,
    PAIRING,
    ROTATION,
    SETUP,
    each,
    make_device,
    plaintext_of,
)


@pytest.mark.parametrize("run", [PAIRING, ROTATION], ids=["pairing", "rotation"])
def test_vectors(run: Any) -> None:
    current = DeviceSecret(run["generation"] - 1, bytes.fromhex(run["current"]))
    exchanging = make_device(current)
    assert exchanging.request.hex() == run["request"]
    confirming = exchanging.receive_answer(bytes.fromhex(run["answer"]))
    assert confirming.digits == run["digits"]
    assert confirming.confirm.hex() == run["confirm"]
    assert confirming.pending.generation == run["generation"]
    secret = confirming.receive_confirmed(bytes.fromhex(run["confirmed"]))
    assert (secret.generation, secret.secret.hex()) == (run["generation"], run["secret"])
    assert current.secret.hex() == run["current"], "the old one is for the caller to drop"


@each("malformed_answers")
def test_a_malformed_answer_changes_nothing(case: Any) -> None:
    exchanging = make_device()
    with pytest.raises(RemoteProtocolError):
        exchanging.receive_answer(plaintext_of(case))
    confirming = exchanging.receive_answer(bytes.fromhex(PAIRING["answer"]))
    assert confirming.pending.secret.hex() == PAIRING["secret"]


def test_an_exchange_is_used_once() -> None:
    exchanging = make_device()
    exchanging.receive_answer(bytes.fromhex(PAIRING["answer"]))
    with pytest.raises(LocalProtocolError, match="erased"):
        exchanging.receive_answer(bytes.fromhex(PAIRING["answer"]))


@pytest.mark.parametrize("plaintext", [b"", b"\1", b"\2\0", b"\3"])
def test_only_one_answer_confirms(plaintext: bytes) -> None:
    confirming = make_device().receive_answer(bytes.fromhex(PAIRING["answer"]))
    with pytest.raises(RemoteProtocolError, match="something else"):
        confirming.receive_confirmed(plaintext)
    assert confirming.receive_confirmed(memoryview(b"\2")) is confirming.pending


def test_goes_on_from_what_was_written_down() -> None:
    confirming = make_device().receive_answer(bytes.fromhex(PAIRING["answer"]))
    pending = DeviceSecret(confirming.pending.generation, confirming.pending.secret)
    again = DeviceConfirming(pending, confirming.digits, confirming.nonce)
    assert again.confirm == confirming.confirm


def test_its_nonce_has_its_length() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        DeviceExchanging(ENDS, SETUP, key=KEY, nonce=DRAWN["nonce_d"][1:], fallback=bytes(32))


def test_the_secrets_stay_inside() -> None:
    exchanging = make_device()
    confirming = make_device().receive_answer(bytes.fromhex(PAIRING["answer"]))
    assert repr(exchanging) == "<DeviceExchanging (secret)>"
    assert repr(confirming) == "<DeviceConfirming (secret)>"
