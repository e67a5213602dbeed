"""porttunnel.net.pace"""

from __future__ import annotations

from porttunnel.net.pace import (
    AHEAD_SECONDS,
    MAX_AHEAD_BYTES,
    MEASURE_SECONDS,
    MIN_AHEAD_BYTES,
    LinkPace,
)

FAST = 1 << 30  # bytes a second
MEDIUM = 20 << 20
SLOW = 100_000
STEP_SECONDS = 0.125  # a little more than is measured over, and exact in binary


class Link:
    def __init__(self) -> None:
        self.now = 5.0
        self.pace = LinkPace(self.now)

    def carry(self, rate: float, *, blocked: bool = True) -> bool:
        """As much as a link with this rate takes in one measurement."""
        self.now += STEP_SECONDS
        return self.pace.sent(int(rate * STEP_SECONDS), blocked, self.now)


def test_begins_with_little() -> None:
    assert LinkPace(5.0).ahead_bytes == MIN_AHEAD_BYTES
    assert STEP_SECONDS > MEASURE_SECONDS


def test_follows_a_fast_link_up_to_a_bound() -> None:
    link = Link()
    assert link.carry(FAST)
    assert link.pace.ahead_bytes == MAX_AHEAD_BYTES
    assert not link.carry(FAST)
    assert link.pace.ahead_bytes == MAX_AHEAD_BYTES


def test_measures_over_a_while() -> None:
    pace = LinkPace(5.0)
    assert not pace.sent(FAST, True, 5.0)
    assert not pace.sent(FAST, False, 5.0 + MEASURE_SECONDS / 2)
    assert pace.ahead_bytes == MIN_AHEAD_BYTES
    # That it was blocked once in the while counts for all of it.
    assert pace.sent(0, False, 5.0 + STEP_SECONDS)
    assert pace.ahead_bytes == MAX_AHEAD_BYTES


def test_queues_a_moment_of_the_links_rate() -> None:
    link = Link()
    link.carry(MEDIUM)
    assert AHEAD_SECONDS <= link.pace.ahead_bytes / MEDIUM <= AHEAD_SECONDS * 2
    assert link.pace.ahead_bytes.bit_count() == 1


def test_shrinks_when_a_full_link_slows_down() -> None:
    link = Link()
    link.carry(FAST)
    assert link.carry(SLOW)
    assert link.pace.ahead_bytes == MIN_AHEAD_BYTES


def test_learns_nothing_from_a_link_that_had_little_to_do() -> None:
    link = Link()
    link.carry(FAST)
    assert not link.carry(SLOW, blocked=False)
    assert link.pace.ahead_bytes == MAX_AHEAD_BYTES
    # Nor does what it had to do then count for the next.
    assert link.carry(SLOW)


def test_learns_from_an_unblocked_link_that_was_faster_than_thought() -> None:
    link = Link()
    assert link.carry(FAST, blocked=False)
    assert link.pace.ahead_bytes == MAX_AHEAD_BYTES
