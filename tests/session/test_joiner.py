"""The master's book about a client that it shares keys with."""

from __future__ import annotations

import pytest

from porttunnel.session.joiner import (
    CONSENT_SECONDS,
    DIGITS_SECONDS,
    INTRODUCTION_SECONDS,
    Joiner,
    JoinerState,
)
from tests.session.test_peer import make_peer


@pytest.mark.parametrize(
    ("state", "patience"),
    [
        (JoinerState.COMPARING, DIGITS_SECONDS),
        (JoinerState.INTRODUCING, INTRODUCTION_SECONDS),
        (JoinerState.DECIDING, CONSENT_SECONDS),
        (JoinerState.MEMBER, None),
    ],
)
def test_each_state_has_its_patience(state: JoinerState, patience: float | None) -> None:
    joiner = Joiner(make_peer(1, 2))
    joiner.enter(JoinerState.DECIDING, 5.0)
    joiner.enter(state, 100.0)
    assert joiner.state is state
    assert joiner.deadline == (None if patience is None else 100.0 + patience)


def test_spoken_digits_have_two_minutes() -> None:
    assert DIGITS_SECONDS == 120.0
    # The client's user types too, before the client introduces itself.
    assert INTRODUCTION_SECONDS > DIGITS_SECONDS


def test_shows_who_it_is_and_nothing_else() -> None:
    joiner = Joiner(make_peer(1, 7), name="Ben")
    assert joiner.member == 7
    assert repr(joiner) == "<Joiner 7 COMPARING>"


@pytest.mark.parametrize("sas", [False, True])
@pytest.mark.parametrize("state", JoinerState)
def test_digits_are_compared_until_the_client_introduces_itself(
    sas: bool, state: JoinerState
) -> None:
    joiner = Joiner(make_peer(1, 2), sas=sas, state=state)
    before = (JoinerState.COMPARING, JoinerState.INTRODUCING)
    assert joiner.may_compare == (sas and state in before)
