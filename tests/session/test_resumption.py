"""How a member comes back after its link was lost."""

from __future__ import annotations

import pytest

from porttunnel.errors import CutOff, LocalProtocolError
from porttunnel.session import request
from porttunnel.session.resumption import Resumption

SESSION_ID = bytes(range(16))
FIRST, SECOND = b"first token nobody may ever see.", b"other token nobody may ever see."


@pytest.fixture
def resumption() -> Resumption:
    made = Resumption(600.0)
    made.allow(SESSION_ID, FIRST)
    return made


def test_needs_a_token() -> None:
    resumption = Resumption(600.0)
    assert not resumption.possible
    assert not resumption.under_way
    assert resumption.deadline is None
    resumption.allow(SESSION_ID, FIRST)
    assert resumption.possible


def test_asks_with_the_token_and_goes_on_with_the_next(resumption: Resumption) -> None:
    resumption.begin(100.0)
    assert resumption.under_way
    assert resumption.ask(7) == request.Resume(session_id=SESSION_ID, member=7, token=FIRST)
    # The answer may have been lost: until it comes, the token stays.
    assert resumption.ask(7).token == FIRST
    resumption.succeed(SECOND)
    assert not resumption.under_way
    assert resumption.deadline is None
    assert resumption.ask(7).token == SECOND


def test_patience_counts_from_the_first_loss(resumption: Resumption) -> None:
    resumption.handle_timeout(1e9)
    resumption.begin(100.0)
    resumption.begin(500.0)
    assert resumption.deadline == 700.0
    resumption.handle_timeout(699.9)
    with pytest.raises(CutOff, match="Start again"):
        resumption.handle_timeout(700.0)


def test_patience_is_new_after_success(resumption: Resumption) -> None:
    resumption.begin(100.0)
    resumption.succeed(SECOND)
    resumption.handle_timeout(700.0)
    resumption.begin(1_000.0)
    assert resumption.deadline == 1_600.0


def test_shows_no_token_and_forgets_it(resumption: Resumption) -> None:
    assert "nobody" not in repr(resumption)
    resumption.begin(100.0)
    resumption.erase()
    assert resumption.deadline == 700.0
    with pytest.raises(LocalProtocolError):
        resumption.ask(7)
