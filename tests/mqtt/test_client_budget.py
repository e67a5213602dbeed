"""How much may wait."""

from __future__ import annotations

import pytest

from porttunnel.errors import QueueFull
from porttunnel.mqtt.client_budget import QueueBudget


def test_takes_until_it_is_full_and_again_when_something_is_given_back() -> None:
    budget = QueueBudget(100)
    budget.take(60)
    budget.take(40)
    with pytest.raises(QueueFull, match="max_queued_bytes"):
        budget.take(1)
    assert budget.used == 100
    budget.give_back(60)
    budget.take(60)


def test_a_single_entry_may_be_larger_than_all() -> None:
    budget = QueueBudget(100)
    budget.take(1_000)
    with pytest.raises(QueueFull):
        budget.take(1)


def test_there_is_room_when_half_is_free() -> None:
    budget = QueueBudget(100)
    budget.take(51)
    assert not budget.has_room
    budget.give_back(1)
    assert budget.has_room
