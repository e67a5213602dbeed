"""porttunnel.net.place_pace"""

from __future__ import annotations

import pytest

from porttunnel.net import place_pace
from porttunnel.net.place_pace import PlacePace


def test_each_place_has_its_own_pace() -> None:
    pace = PlacePace(2.0, 3)
    assert [pace.take("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert pace.take("b", 0.0)
    assert [pace.take("a", 1.0) for _ in range(3)] == [True, True, False]


def test_or_none() -> None:
    pace = PlacePace(None, 0)
    assert all(pace.take("a", 0.0) for _ in range(10))


def test_who_came_longest_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place_pace, "MAX_PLACES", 2)
    pace = PlacePace(1.0, 1)
    assert [pace.take(place, 0.0) for place in "abac"] == [True, True, False, True]
    assert [pace.take(place, 0.0) for place in "ba"] == [True, True]
