"""porttunnel.net.turn_batch: at once, or with others of the same turn."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.net.turn_batch import QUIET_TURNS, READS_AT_ONCE, TOGETHER_BYTES, TurnBatch


class TurnBatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.settled = 0
        self.batch = TurnBatch(self.clock, self.settle)

    def settle(self) -> None:
        self.settled += 1

    def turn(self, connections: int) -> int:
        """Some connections bring something in one turn; how often it was sent on."""
        before = self.settled
        for _ in range(connections):
            self.batch.took(10)
            self.batch.reading_done()
        self.clock.advance(0)
        return self.settled - before

    def test_what_comes_in_one_turn_is_sent_on_together(self) -> None:
        self.batch.reading_done()
        self.batch.reading_done()
        self.assertEqual(self.settled, 0)
        self.clock.advance(0)
        self.assertEqual(self.settled, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_is_alone_is_not_made_to_wait(self) -> None:
        for _ in range(QUIET_TURNS):
            self.assertEqual(self.turn(1), 1)
        self.batch.reading_done()
        self.assertEqual(self.settled, QUIET_TURNS + 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_from_time_to_time_it_looks_whether_others_have_come(self) -> None:
        for _ in range(QUIET_TURNS):
            self.turn(1)
        for _ in range(READS_AT_ONCE // 4):
            self.assertEqual(self.turn(4), 4)
        for _ in range(10):
            self.assertEqual(self.turn(4), 1)

    def test_who_stays_alone_waits_seldom(self) -> None:
        for _ in range(QUIET_TURNS):
            self.turn(1)
        waited = 0
        for _ in range(10 * READS_AT_ONCE):
            self.batch.reading_done()
            waited += len(self.clock.getDelayedCalls())
            self.clock.advance(0)
        self.assertLess(waited, 12)

    def test_much_does_not_wait_for_the_turns_end(self) -> None:
        self.batch.took(TOGETHER_BYTES - 1)
        self.assertEqual(self.settled, 0)
        self.batch.took(1)
        self.assertEqual(self.settled, 1)
        self.batch.took(1)
        self.assertEqual(self.settled, 1)

    def test_what_moves_otherwise_goes_out_in_the_next_turn_and_says_nothing_of_reads(
        self,
    ) -> None:
        for _ in range(QUIET_TURNS + 1):
            self.batch.soon()
            self.batch.soon()
            self.clock.advance(0)
        self.assertEqual(self.settled, QUIET_TURNS + 1)
        self.batch.reading_done()
        self.assertEqual(self.settled, QUIET_TURNS + 1)

    def test_once_stopped_nothing_waits(self) -> None:
        self.batch.soon()
        self.batch.stop()
        self.batch.stop()
        self.clock.advance(0)
        self.assertEqual(self.settled, 0)

    def test_who_is_told_of_turns_waits_for_their_end(self) -> None:
        self.batch.begin_turn()
        for _ in range(3):
            self.batch.took(10)
            self.batch.reading_done()
        self.batch.soon()
        self.assertEqual((self.settled, self.clock.getDelayedCalls()), (0, []))
        self.batch.end_turn()
        self.assertEqual(self.settled, 1)
        self.batch.soon()
        self.clock.advance(0)
        self.assertEqual(self.settled, 2)
