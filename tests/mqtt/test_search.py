"""How much is looked for at a time."""

from __future__ import annotations

from porttunnel.mqtt.search import STEP_BYTES, STEPS, Search


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
    search = Search(STEPS)
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
    search = Search(STEPS)
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


def test_what_is_looked_at_anyway_is_weighed() -> None:
    search = Search(STEPS)
    seeker = Seeker(search, STEPS)
    search.weigh(STEP_BYTES - 1)
    search.weigh((STEPS - 1) * STEP_BYTES)
    seeker.pump(0.0)
    assert seeker.left == STEPS - 1
    search.weigh(10 * STEPS * STEP_BYTES)
    search.go_on(1.0)
    assert (seeker.left, search.is_waited_for) == (0, False)


def test_who_waits_gets_a_part_of_a_large_budget_at_a_time() -> None:
    search = Search(10 * STEPS)
    large = Seeker(search, 30 * STEPS)
    small = Seeker(search, 10)
    large.pump(0.0)
    small.pump(0.0)
    assert (large.left, small.left) == (20 * STEPS, 10)
    search.go_on(1.0)
    assert (large.left, small.left) == (10 * STEPS + 10, 0)


def test_a_turn_in_which_nobody_waits_begins_with_a_new_budget() -> None:
    search = Search(STEPS)
    Seeker(search, STEPS).pump(0.0)
    search.renew()
    seeker = Seeker(search, STEPS + 1)
    seeker.pump(0.0)
    assert seeker.left == 1
    search.renew()
    assert search.is_waited_for
    assert not search.take_step(seeker)
