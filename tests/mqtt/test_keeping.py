"""How much all sessions may keep."""

from __future__ import annotations

from porttunnel.mqtt.keeping import HeldBytes, Outcome


def test_there_is_room_up_to_the_limit() -> None:
    held = HeldBytes(10)
    held.held = 4
    assert held.has_room(6, own=0)
    assert not held.has_room(7, own=0)


def test_nobody_gets_more_than_is_left_then() -> None:
    held = HeldBytes(10)
    held.held = 6
    assert held.has_room(2, own=2)
    assert not held.has_room(3, own=2)


def test_a_message_has_one_of_four_fates() -> None:
    assert len(Outcome) == 4
