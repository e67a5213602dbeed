"""porttunnel/gateway/pairing_step.py: what the instance keeps of an exchange it has answered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from porttunnel.errors import RemoteProtocolError
from porttunnel.gateway.pairing_message import Confirm
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.gateway.pairing_step import (
    EndReason,
    PairingEnded,
    Pending,
    Step,
    demand_generation,
)
from tests.gateway.pairings import (
    ANSWERING,
    CONFIRM,
    ENDS,
    PAIRING,
    REQUEST,
    ROTATION,
    SETUP,
    each,
    plaintext_of,
    request_of,
)


def make_pending() -> Pending:
    return Pending.make(ENDS, SETUP, 7, REQUEST, ANSWERING)


@pytest.mark.parametrize("run", [PAIRING, ROTATION], ids=["pairing", "rotation"])
def test_vectors(run: Any) -> None:
    current = DeviceSecret(run["generation"] - 1, bytes.fromhex(run["current"]))
    request = request_of(bytes.fromhex(run["request"]))
    pending = Pending.make(ENDS, current, 7, request, ANSWERING)
    assert pending.answer.hex() == run["answer"]
    assert pending.request.hex() == run["request"]
    assert pending.secret.secret.hex() == run["secret"]
    assert (pending.secret.generation, pending.counter) == (run["generation"], 7)
    assert pending.is_confirmed_by(CONFIRM)
    assert pending.digits(ENDS, CONFIRM) == run["digits"]


@each("failed_confirms")
def test_another_nonce_confirms_nothing(case: Any) -> None:
    assert not make_pending().is_confirmed_by(Confirm(plaintext_of(case)))


@pytest.mark.parametrize("generation", [0, 2, 2**32 - 1])
def test_only_the_next_generation_is_made(generation: int) -> None:
    with pytest.raises(RemoteProtocolError, match="isn't next"):
        Pending.make(ENDS, SETUP, 7, replace(REQUEST, generation=generation), ANSWERING)


def test_goes_on_from_what_was_written_down() -> None:
    pending = make_pending()
    again = Pending(7, pending.request, pending.answer, pending.secret)
    assert again.digits(ENDS, CONFIRM) == PAIRING["digits"]
    assert repr(again) == "<Pending (secret)>"


def test_a_generation_is_demanded() -> None:
    demand_generation(0, SETUP)
    with pytest.raises(RemoteProtocolError, match="under a generation"):
        demand_generation(1, SETUP)


def test_what_has_ended_says_why() -> None:
    step = Step(PairingEnded(EndReason.RACE), b"")
    assert isinstance(step.phase, PairingEnded)
    assert step.phase.reason is EndReason.RACE
