"""A broadcast beside a model of its members: who is slow is left behind, who is busy is not."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from porttunnel.session.broadcast_window import DAWDLING_SECONDS, BroadcastWindow
from porttunnel.session.record import GroupAck

MIB = 1024 * 1024
PACKET_BYTES = 64 * 1024
PACKET = bytes(PACKET_BYTES)
STEP_SECONDS = 0.01
SLOW = 2  # a member's number

Lags = Mapping[int, float]  # packets that a member has not taken yet
Serve = Callable[[float, Lags], Mapping[int, float]]
"""Which members take how many bytes in a step, at most."""


def broadcast(count: int, seconds: float, serve: Serve) -> tuple[float, list[int]]:
    """Write without end to so many members; MiB that were sent, and who was dropped."""
    events: list[Any] = []
    window = BroadcastWindow(tell=lambda member, message: None, events=events)
    window.begin_epoch()
    taken = dict.fromkeys(range(2, 2 + count), 0.0)
    for member in taken:
        window.add(member)
    now, sent = 1000.0, 0

    def write() -> int:
        written = sent
        while written - sent < 1_000 and window.has_room(now):
            window.append(PACKET, now)
            written += 1
        return written

    while now < 1000.0 + seconds:
        due = window.next_deadline()
        if due is not None and due <= now:
            window.handle_timeout(now)
        sent = write()
        lags = {member: sent - position for member, position in taken.items()}
        for member, most in serve(now, lags).items():
            before, taken[member] = taken[member], min(sent, taken[member] + most / PACKET_BYTES)
            if int(taken[member]) > int(before):
                ack = GroupAck(epoch=1, next=int(taken[member]), missing=False)
                window.receive_ack(member, ack, now)
                sent = write()
        now += STEP_SECONDS
    return sent * PACKET_BYTES / MIB, [event.member for event in events]


def at_rates(*mib_per_second: float) -> Serve:
    each = {
        member: rate * MIB * STEP_SECONDS for member, rate in enumerate(mib_per_second, start=2)
    }
    return lambda now, lags: each


@pytest.mark.parametrize("others", [1, 9])
def test_a_member_that_takes_a_little_all_the_time_holds_nobody_up_for_long(others: int) -> None:
    seconds = 3 * DAWDLING_SECONDS
    sent, dropped = broadcast(1 + others, seconds, at_rates(0.3, *[40.0] * others))
    assert dropped == [SLOW]
    # Ten seconds at its pace, and little more.
    assert sent > 40.0 * (seconds - DAWDLING_SECONDS - 2)


def test_some_of_many_can_be_left_behind() -> None:
    sent, dropped = broadcast(10, 4 * DAWDLING_SECONDS, at_rates(0.3, 0.3, 0.5, *[40.0] * 7))
    assert sorted(dropped) == [2, 3, 4]
    assert sent > 40.0 * DAWDLING_SECONDS


@pytest.mark.parametrize("rates", [(1.0, 2.0, 4.0), (3.0, 4.0, 4.0), (0.3, 0.3, 0.3, 40.0, 40.0)])
def test_whose_pace_is_a_few_times_another_one_or_that_of_most_is_waited_for(
    rates: tuple[float, ...],
) -> None:
    sent, dropped = broadcast(len(rates), 4 * DAWDLING_SECONDS, at_rates(*rates))
    assert dropped == []
    assert sent < 4 * DAWDLING_SECONDS * rates[0] + 10


def on_a_busy_machine(served: int) -> Serve:
    """So few get the processor in a step, by chance."""
    chance = random.Random(served)

    def serve(_now: float, lags: Lags) -> Mapping[int, float]:
        waiting = [member for member, lag in lags.items() if lag]
        chosen = chance.sample(waiting, min(served, len(waiting)))
        return dict.fromkeys(chosen, 0.5 * MIB)

    return serve


def with_stalls(a_second: float) -> Serve:
    """Each one is fast, and stands still for up to 0.8 s now and then."""
    chance = random.Random(7)
    until: dict[int, float] = {}

    def serve(now: float, lags: Lags) -> Mapping[int, float]:
        moving = {}
        for member in lags:
            if until.get(member, 0.0) > now:
                continue
            if chance.random() < a_second * STEP_SECONDS:
                until[member] = now + chance.uniform(0.05, 0.8)
            else:
                moving[member] = 50 * MIB * STEP_SECONDS
        return moving

    return serve


@pytest.mark.parametrize(
    ("count", "serve"),
    [
        (50, on_a_busy_machine(8)),
        (20, on_a_busy_machine(2)),
        (50, with_stalls(1.0)),
        (3, with_stalls(0.2)),
        (3, with_stalls(3.0)),
    ],
)
def test_who_is_healthy_stays(count: int, serve: Serve) -> None:
    sent, dropped = broadcast(count, 2.5 * DAWDLING_SECONDS, serve)
    assert dropped == []
    assert sent > 50
