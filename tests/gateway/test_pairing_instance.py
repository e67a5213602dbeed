"""porttunnel/gateway/pairing_instance.py: one code, one device, and the user says which."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from porttunnel.errors import PairingError, RemoteProtocolError
from porttunnel.gateway.pairing_instance import Exchanged, Invited, PairingPolicy, Waiting
from porttunnel.gateway.pairing_message import CONFIRMED, Confirm
from porttunnel.gateway.pairing_rotation import Paired
from porttunnel.gateway.pairing_step import EndReason, PairingEnded
from porttunnel.gateway.refusal import Refusal, RefusalReason
from tests.gateway.pairings import (
    ANSWERING,
    CONFIRM,
    ENDS,
    PAIRING,
    REQUEST,
    SETUP,
    each,
    plaintext_of,
)

OTHER = replace(REQUEST, commit=bytes(32))
NOT_EXECUTED = Refusal(RefusalReason.NOT_EXECUTED)
WAITING = Refusal(RefusalReason.WAITING)
DIGITS: str = PAIRING["digits"]
WRONG = f"{(int(DIGITS) + 1) % 10**6:06}"


def make_invited(policy: PairingPolicy = PairingPolicy.CONFIRM) -> Invited:
    return Invited(ENDS, policy, SETUP)


def make_exchanged(policy: PairingPolicy = PairingPolicy.CONFIRM) -> Exchanged:
    step = make_invited(policy).receive_exchange(0, 7, REQUEST, ANSWERING)
    assert isinstance(step.phase, Exchanged)
    assert step.reply == bytes.fromhex(PAIRING["answer"])
    return step.phase


def make_waiting() -> Waiting:
    step = make_exchanged().receive_confirm(1, CONFIRM)
    assert isinstance(step.phase, Waiting)
    assert step.reply == WAITING
    return step.phase


def reason_of(phase: object) -> EndReason | None:
    return phase.reason if isinstance(phase, PairingEnded) else None


class TestInvited:
    def test_answers_the_first_device(self) -> None:
        exchanged = make_exchanged()
        assert exchanged.pending.secret.secret.hex() == PAIRING["secret"]

    def test_knows_the_setup_secret_and_carries_out_nothing(self) -> None:
        invited = make_invited()
        assert invited.secrets == (SETUP,)
        assert invited.serving_generation is None

    def test_nothing_else_is_answered(self) -> None:
        invited = make_invited()
        with pytest.raises(RemoteProtocolError, match="under a generation"):
            invited.receive_exchange(1, 7, REQUEST, ANSWERING)
        with pytest.raises(RemoteProtocolError, match="isn't next"):
            invited.receive_exchange(0, 7, replace(REQUEST, generation=2), ANSWERING)
        with pytest.raises(RemoteProtocolError, match="never exchanged"):
            invited.receive_confirm(0, CONFIRM)


class TestExchanged:
    def test_knows_both_secrets_and_carries_out_nothing(self) -> None:
        exchanged = make_exchanged()
        assert exchanged.secrets == (SETUP, exchanged.pending.secret)
        assert exchanged.serving_generation is None

    def test_the_same_request_gets_the_same_answer(self) -> None:
        exchanged = make_exchanged()
        drawn_again = ANSWERING._replace(nonce=bytes(32))
        step = exchanged.receive_exchange(0, 8, REQUEST, drawn_again)
        assert step.phase is exchanged
        assert step.reply == bytes.fromhex(PAIRING["answer"])

    def test_another_request_ends_it(self) -> None:
        step = make_exchanged().receive_exchange(0, 8, OTHER, ANSWERING)
        assert reason_of(step.phase) is EndReason.RACE
        assert step.reply == NOT_EXECUTED

    def test_a_confirmation_asks_for_the_digits(self) -> None:
        assert make_waiting().tries_left == 3

    def test_or_not(self) -> None:
        step = make_exchanged(PairingPolicy.IMMEDIATE).receive_confirm(1, CONFIRM)
        assert isinstance(step.phase, Paired)
        assert step.phase.secret.secret.hex() == PAIRING["secret"]
        assert step.reply == CONFIRMED

    @pytest.mark.parametrize("policy", PairingPolicy)
    @each("failed_confirms")
    def test_a_false_confirmation_ends_it(self, case: Any, policy: PairingPolicy) -> None:
        step = make_exchanged(policy).receive_confirm(1, Confirm(plaintext_of(case)))
        assert reason_of(step.phase) is EndReason.FALSE_CONFIRMATION
        assert step.reply == NOT_EXECUTED

    def test_under_another_generation_nothing_counts(self) -> None:
        exchanged = make_exchanged()
        with pytest.raises(RemoteProtocolError, match="under a generation"):
            exchanged.receive_exchange(1, 8, REQUEST, ANSWERING)
        with pytest.raises(RemoteProtocolError, match="under a generation"):
            exchanged.receive_confirm(0, CONFIRM)


class TestWaiting:
    def test_carries_out_nothing(self) -> None:
        waiting = make_waiting()
        assert waiting.serving_generation is None
        assert waiting.secrets == waiting.exchanged.secrets

    def test_who_asks_again_waits_on(self) -> None:
        waiting = make_waiting()
        step = waiting.receive_confirm(1, CONFIRM)
        assert (step.phase, step.reply) == (waiting, WAITING)
        step = waiting.receive_exchange(0, 9, REQUEST, ANSWERING)
        assert (step.phase, step.reply) == (waiting, bytes.fromhex(PAIRING["answer"]))

    def test_another_device_ends_it(self) -> None:
        step = make_waiting().receive_exchange(0, 9, OTHER, ANSWERING)
        assert reason_of(step.phase) is EndReason.RACE
        step = make_waiting().receive_confirm(1, Confirm(bytes(32)))
        assert reason_of(step.phase) is EndReason.FALSE_CONFIRMATION

    @pytest.mark.parametrize(
        "text", [DIGITS, f" {DIGITS[:3]} {DIGITS[3:]}", f"{DIGITS[:3]}-{DIGITS[3:]}"]
    )
    def test_right_digits_pair(self, text: str) -> None:
        phase = make_waiting().enter_digits(text)
        assert isinstance(phase, Paired)
        assert phase.secret.secret.hex() == PAIRING["secret"]
        assert phase.receive_confirm(1, CONFIRM).reply == CONFIRMED

    def test_wrong_digits_end_it_at_the_third_time(self) -> None:
        phase: object = make_waiting()
        for left in (2, 1):
            assert isinstance(phase, Waiting)
            phase = phase.enter_digits(WRONG)
            assert isinstance(phase, Waiting)
            assert phase.tries_left == left
        assert reason_of(phase.enter_digits(WRONG)) is EndReason.WRONG_DIGITS
        assert isinstance(phase.enter_digits(DIGITS), Paired)

    @pytest.mark.parametrize("text", ["", "12345", "1234567", "12345a", "１２３４５６", "²²²²²²"])
    def test_what_are_no_six_digits_costs_no_try(self, text: str) -> None:
        waiting = make_waiting()
        with pytest.raises(PairingError, match="Type the 6 digits"):
            waiting.enter_digits(text)
        assert waiting.tries_left == 3

    def test_goes_on_from_what_was_written_down(self) -> None:
        waiting = make_waiting()
        pending = waiting.exchanged.pending
        exchanged = Exchanged(ENDS, PairingPolicy.CONFIRM, SETUP, pending)
        again = Waiting(ENDS, exchanged, pending.digits(ENDS, CONFIRM), tries_left=1)
        assert reason_of(again.enter_digits(WRONG)) is EndReason.WRONG_DIGITS
        assert isinstance(again.enter_digits(DIGITS), Paired)


def test_the_secrets_stay_inside() -> None:
    for phase in (make_invited(), make_exchanged(), make_waiting()):
        assert repr(phase) == f"<{type(phase).__name__} (secret)>"
