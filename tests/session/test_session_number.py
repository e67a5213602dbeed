"""porttunnel.session.session_number"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from porttunnel.errors import ConfigurationError
from porttunnel.net.store.sqlite import IN_MEMORY, SQLiteStore
from porttunnel.session.session_number import MAX_DRAWS, NUMBER_DIGITS, issue_number


@pytest.fixture
def store() -> Iterator[SQLiteStore]:
    store = SQLiteStore(IN_MEMORY)
    yield store
    store.close()


def issue(store: SQLiteStore, count: int, digits: tuple[int, ...], seed: int = 1) -> list[int]:
    random = Random(seed)
    with store.transaction():
        return [issue_number(store, random.randrange, digits) for _ in range(count)]


def test_lengths() -> None:
    assert NUMBER_DIGITS == (5, 6, 7, 8)


def test_first_number_has_five_digits(store: SQLiteStore) -> None:
    with store.transaction():
        assert issue_number(store, lambda count: 0) == 10_000
        assert issue_number(store, lambda count: count - 1) == 99_999


def test_next_length_begins_when_half_is_used(store: SQLiteStore) -> None:
    numbers = issue(store, 45, (2, 3))
    assert all(10 <= number <= 99 for number in numbers)
    assert len(set(numbers)) == 45
    longer = issue(store, 450, (2, 3))
    assert all(100 <= number <= 999 for number in longer)
    assert len(set(longer)) == 450


def test_half_of_the_last_length_is_the_end(store: SQLiteStore) -> None:
    issue(store, 4 + 1 + 45, (1, 2))  # five of nine one-digit numbers are more than half
    with pytest.raises(ConfigurationError, match="never used twice"):
        issue(store, 1, (1, 2))


def test_draws_again_what_is_used(store: SQLiteStore) -> None:
    drawn = iter([0, 0, 1, 1, 0, 2])
    with store.transaction():
        issued = [issue_number(store, lambda count: next(drawn), (2,)) for _ in range(3)]
    assert issued == [10, 11, 12]


def test_a_broken_source_of_randomness_does_not_hang(store: SQLiteStore) -> None:
    draws = []

    def stuck(count: int) -> int:
        draws.append(count)
        return 0

    with store.transaction():
        assert issue_number(store, stuck, (2, 3)) == 10
        assert issue_number(store, stuck, (2, 3)) == 100
    assert draws == [90] + [90] * MAX_DRAWS + [900]
