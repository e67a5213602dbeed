"""porttunnel/gateway/pairing_rotation.py: the old secret counts until the new one is shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from porttunnel.errors import RemoteProtocolError
from porttunnel.gateway.pairing_message import CONFIRMED, Confirm
from porttunnel.gateway.pairing_rotation import Paired, Rotating
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.gateway.refusal import Refusal, RefusalReason
from tests.gateway.pairings import ANSWERING, CONFIRM, ENDS, ROTATION, request_of

REQUEST = request_of(bytes.fromhex(ROTATION["request"]))
CURRENT = DeviceSecret(ROTATION["generation"] - 1, bytes.fromhex(ROTATION["current"]))
NOW, NEXT = ROTATION["generation"] - 1, ROTATION["generation"]
OTHER = replace(REQUEST, commit=bytes(32))
NOT_EXECUTED = Refusal(RefusalReason.NOT_EXECUTED)


def make_rotating() -> Rotating:
    step = Paired(ENDS, CURRENT).receive_exchange(NOW, 50, REQUEST, ANSWERING)
    assert isinstance(step.phase, Rotating)
    assert step.reply == bytes.fromhex(ROTATION["answer"])
    return step.phase


class TestPaired:
    def test_serves_its_generation(self) -> None:
        paired = Paired(ENDS, CURRENT)
        assert paired.serving_generation == NOW
        assert paired.secrets == (CURRENT,)

    def test_a_late_confirmation_is_answered_again(self) -> None:
        paired = Paired(ENDS, CURRENT)
        step = paired.receive_confirm(NOW, CONFIRM)
        assert (step.phase, step.reply) == (paired, CONFIRMED)
        with pytest.raises(RemoteProtocolError, match="under a generation"):
            paired.receive_confirm(NEXT, CONFIRM)

    def test_an_exchange_is_about_the_next_generation(self) -> None:
        paired = Paired(ENDS, CURRENT)
        with pytest.raises(RemoteProtocolError, match="under a generation"):
            paired.receive_exchange(NEXT, 50, REQUEST, ANSWERING)
        with pytest.raises(RemoteProtocolError, match="isn't next"):
            paired.receive_exchange(NOW, 50, replace(REQUEST, generation=NOW), ANSWERING)


class TestRotating:
    def test_serves_the_old_generation(self) -> None:
        rotating = make_rotating()
        assert rotating.serving_generation == NOW
        assert rotating.secrets == (CURRENT, rotating.pending.secret)

    def test_the_new_secret_takes_its_place_once_it_is_shown(self) -> None:
        step = make_rotating().receive_confirm(NEXT, CONFIRM)
        assert isinstance(step.phase, Paired)
        assert step.phase.secret.secret.hex() == ROTATION["secret"]
        assert step.phase.serving_generation == NEXT
        assert step.reply == CONFIRMED

    def test_a_false_confirmation_changes_nothing(self) -> None:
        rotating = make_rotating()
        step = rotating.receive_confirm(NEXT, Confirm(bytes(32)))
        assert (step.phase, step.reply) == (rotating, NOT_EXECUTED)
        with pytest.raises(RemoteProtocolError, match="under a generation"):
            rotating.receive_confirm(NEXT + 1, CONFIRM)

    def test_a_late_confirmation_of_the_old_one_is_answered_again(self) -> None:
        rotating = make_rotating()
        step = rotating.receive_confirm(NOW, CONFIRM)
        assert (step.phase, step.reply) == (rotating, CONFIRMED)

    def test_the_same_request_gets_the_same_answer(self) -> None:
        rotating = make_rotating()
        for counter in (49, 50, 51):
            step = rotating.receive_exchange(NOW, counter, REQUEST, ANSWERING)
            assert step.phase is rotating
            assert step.reply == bytes.fromhex(ROTATION["answer"])

    def test_a_later_one_takes_its_place_and_an_earlier_does_not(self) -> None:
        rotating = make_rotating()
        for counter in (49, 50):
            step = rotating.receive_exchange(NOW, counter, OTHER, ANSWERING)
            assert (step.phase, step.reply) == (rotating, NOT_EXECUTED)
        step = rotating.receive_exchange(NOW, 51, OTHER, ANSWERING)
        assert isinstance(step.phase, Rotating)
        assert step.phase.pending.request == OTHER.encode()
        assert step.phase.pending.secret.secret != rotating.pending.secret.secret
        assert step.phase.serving_generation == NOW

    def test_an_exchange_comes_under_the_old_generation(self) -> None:
        with pytest.raises(RemoteProtocolError, match="under a generation"):
            make_rotating().receive_exchange(NEXT, 51, OTHER, ANSWERING)


def test_the_secrets_stay_inside() -> None:
    for phase in (Paired(ENDS, CURRENT), make_rotating()):
        assert repr(phase) == f"<{type(phase).__name__} (secret)>"
