"""Who waits, in which order."""

from __future__ import annotations

from porttunnel.session.turn_queue import TurnQueue


def test_turns_come_in_order_and_each_stands_once() -> None:
    queue = TurnQueue()
    assert not queue
    for number in (5, 1, 3, 5):
        queue.wait(number)
    assert queue
    assert len(queue) == 3
    assert queue.first == 5
    queue.leave(5)
    queue.leave(5)
    queue.wait(5)
    assert list(queue) == [1, 3, 5]


def test_one_may_stand_before_the_others() -> None:
    queue = TurnQueue()
    for number in (1, 3, 5):
        queue.wait(number)
    queue.wait_first(5)
    queue.wait_first(7)
    assert list(queue) == [7, 5, 1, 3]
    queue.clear()
    assert not queue
