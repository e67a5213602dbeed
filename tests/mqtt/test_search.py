"""How much is looked for at a time."""

from __future__ import annotations

from porttunnel.mqtt.search import STEPS, Search


class Seeker:
    """Looks for so much."""

    def __init__(self, search: Search, steps: int) -> None:
        self.search = search
        self.left = steps
        self.times: list[float] = []

    def pump(self, now: float) -> None:
        self.times.append(now)
        while self.left and self.search.take_step(self):
            self.left -= 1


def test_only_so_much_is_looked_for_at_a_time() -> None:
    search = Search()
    seeker = Seeker(search, 2 * STEPS + 1)
    seeker.pump(0.0)
    assert seeker.left == STEPS + 1
    assert search.is_waited_for
    search.go_on(1.0)
    assert (seeker.left, search.is_waited_for) == (1, True)
    search.go_on(2.0)
    assert (seeker.left, search.is_waited_for) == (0, False)
    assert seeker.times == [0.0, 1.0, 2.0]


def test_all_have_their_turn() -> None:
    search = Search()
    large, small = Seeker(search, 3 * STEPS), Seeker(search, 10)
    for now in (0.0, 0.5):
        large.pump(now)
        small.pump(now)
    assert (large.left, small.left) == (2 * STEPS, 10)
    search.go_on(1.0)
    assert (large.left, small.left) == (STEPS, 10)
    search.go_on(2.0)
    assert (large.left, small.left) == (10, 0)
    search.go_on(3.0)
    assert large.left == 0
    assert not search.is_waited_for
