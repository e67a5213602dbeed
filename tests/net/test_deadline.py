"""porttunnel.net.deadline: many deadlines, one timer."""

from __future__ import annotations

from math import inf

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.net.deadline import TICK_SECONDS, Deadlines


class Caller:
    """Notes when it is called; asks to be called again after ``again`` seconds."""

    def __init__(self, again: float | None = None) -> None:
        self.due = inf
        self.calls: list[float] = []
        self.again = again

    def deadline_came(self, now: float) -> float | None:
        self.calls.append(now)
        return None if self.again is None else now + self.again


class Faulty(Caller):
    """Can't be called."""

    def deadline_came(self, now: float) -> float | None:
        raise ValueError


class DeadlinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)

    def expect(self, due: float, caller: Caller | None = None) -> Caller:
        caller = caller or Caller()
        self.deadlines.expect(caller, due)
        return caller

    def test_calls_each_once_at_its_time(self) -> None:
        late, early = self.expect(2.0), self.expect(1.0)
        self.clock.advance(0.9)
        self.assertEqual(early.calls, [])
        self.clock.advance(0.1)
        self.assertEqual((early.calls, late.calls), ([1.0], []))
        self.clock.advance(1.0)
        self.assertEqual((early.calls, late.calls), ([1.0], [2.0]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_has_one_timer_for_all(self) -> None:
        for number in range(100):
            self.expect(10.0 - number / 100)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_an_earlier_time_counts_and_a_later_one_does_not(self) -> None:
        caller = self.expect(5.0)
        self.expect(9.0, caller)
        self.expect(1.0, caller)
        self.clock.advance(1.0)
        self.assertEqual(caller.calls, [1.0])
        self.clock.advance(20.0)
        self.assertEqual(caller.calls, [1.0])

    def test_calls_again_who_asks_for_it_but_not_without_end(self) -> None:
        caller = self.expect(1.0, Caller(again=0.0))
        self.clock.advance(1.0)
        self.assertEqual(caller.calls, [1.0])
        self.clock.advance(TICK_SECONDS)
        self.assertEqual(caller.calls, [1.0, 1.0 + TICK_SECONDS])

    def test_calls_together_what_is_due_within_a_moment(self) -> None:
        callers = [self.expect(1.0 + number / 1_000) for number in range(10)]
        self.clock.advance(1.0)
        self.clock.advance(TICK_SECONDS)
        times = {caller.calls[0] for caller in callers}
        self.assertEqual(times, {1.0, 1.0 + TICK_SECONDS})

    def test_what_is_forgotten_is_not_called(self) -> None:
        caller = self.expect(1.0)
        self.deadlines.forget(caller)
        self.clock.advance(2.0)
        self.assertEqual(caller.calls, [])
        self.expect(3.0, caller)
        self.clock.advance(1.0)
        self.assertEqual(caller.calls, [3.0])

    def test_who_fails_does_not_keep_others_from_being_called(self) -> None:
        self.expect(1.0, Faulty())
        caller = self.expect(1.0)
        self.clock.advance(1.0)
        self.assertEqual(caller.calls, [1.0])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_once_stopped_nobody_is_called(self) -> None:
        caller = self.expect(1.0)
        self.deadlines.stop()
        self.deadlines.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(2.0)
        self.assertEqual(caller.calls, [])

    def test_keeps_no_timer_for_nobody(self) -> None:
        first, second = self.expect(5.0), self.expect(6.0)
        self.expect(2.0, first)
        self.deadlines.forget(first)
        self.deadlines.forget(first)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.deadlines.forget(second)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.expect(3.0, second)
        self.clock.advance(10.0)
        self.assertEqual((first.calls, second.calls), ([], [10.0]))
