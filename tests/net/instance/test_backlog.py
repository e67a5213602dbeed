"""porttunnel.net.instance.backlog: how much is on its way follows what the line does."""

from __future__ import annotations

import random

from porttunnel.net.instance.backlog import (
    FASTEST_SECONDS,
    MAX_BACKLOG_BYTES,
    MIN_BACKLOG_BYTES,
    Backlog,
)

PART = 65_536


class Line:
    """A line with a delay and a rate; what is sent faster than the rate waits in it."""

    def __init__(self, delay: float, rate: float) -> None:
        self.backlog = Backlog()
        self.now = 0.0
        self.delay = delay
        self.rate = rate
        self._free_at = 0.0
        self._under_way: list[tuple[float, float]] = []

    def run(self, messages: int) -> float:
        """Send so many as fast as allowed; bytes for each second."""
        began = self.now
        left = messages
        while left or self._under_way:
            if left and self.backlog.has_room:
                self.backlog.send(PART)
                left -= 1
                self._free_at = max(self._free_at, self.now) + PART / self.rate
                self._under_way.append((self._free_at + self.delay, self.now))
                continue
            done_at, sent_at = self._under_way.pop(0)
            self.now = max(self.now, done_at)
            self.backlog.finish(PART, sent_at, self.now)
        return messages * PART / (self.now - began)


def test_begins_small() -> None:
    backlog = Backlog()
    assert backlog.limit_bytes == MIN_BACKLOG_BYTES
    backlog.send(MIN_BACKLOG_BYTES)
    assert not backlog.has_room


def test_fills_a_long_fast_line() -> None:
    line = Line(delay=0.05, rate=40e6)
    line.run(200)
    assert line.run(2_000) > 0.8 * 40e6


def test_fills_a_long_line_that_is_not_regular() -> None:
    line = Line(delay=0.05, rate=40e6)
    chance = random.Random(1)
    for _ in range(300):
        line.delay = 0.05 + 0.01 * chance.random()
        line.run(20)
    assert line.run(2_000) > 0.6 * 40e6


def test_stays_small_on_a_slow_line() -> None:
    line = Line(delay=0.01, rate=1e6)
    line.run(500)
    assert line.backlog.limit_bytes == MIN_BACKLOG_BYTES


def test_shrinks_when_the_line_gets_slow() -> None:
    line = Line(delay=0.05, rate=400e6)
    line.run(500)
    assert line.backlog.limit_bytes == MAX_BACKLOG_BYTES
    line.rate = 5e6
    line.run(500)
    assert line.backlog.limit_bytes < MAX_BACKLOG_BYTES // 4


def test_a_way_that_got_longer_is_learned() -> None:
    line = Line(delay=0.001, rate=400e6)
    line.run(500)
    line.delay = 0.1
    line.run(200)
    small = line.backlog.limit_bytes
    line.now += FASTEST_SECONDS
    line.run(2_000)
    assert line.backlog.limit_bytes > small


def test_what_goes_slowly_says_nothing_about_speed() -> None:
    line = Line(delay=0.05, rate=400e6)
    for _ in range(200):
        line.run(1)
    assert line.backlog.limit_bytes == MIN_BACKLOG_BYTES
