"""Packet ids: taken in turn, never twice at a time."""

from __future__ import annotations

import pytest

from porttunnel.mqtt.packet_id import MAX_PACKET_ID, PacketIds


@pytest.mark.mqtt5("2.2.1-3")
@pytest.mark.mqtt3("2.3.1-2")
def test_ids_are_taken_in_turn_and_not_used_twice() -> None:
    ids = PacketIds()
    assert [ids.allocate() for _ in range(3)] == [1, 2, 3]
    ids.release(1)
    assert ids.allocate() == 4


def test_after_the_last_comes_the_first_that_is_free() -> None:
    ids = PacketIds()
    for _ in range(MAX_PACKET_ID - 1):
        ids.allocate()
    ids.release(2)
    assert ids.allocate() == MAX_PACKET_ID
    assert ids.allocate() == 2
    assert ids.allocate() is None
    ids.release(7)
    assert ids.allocate() == 7


def test_only_what_is_in_use_can_be_released() -> None:
    with pytest.raises(KeyError):
        PacketIds().release(1)
