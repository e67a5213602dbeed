"""porttunnel.net.driver: one core that says what it is told to, on a carrier in our hands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.net.driver import GOODBYE_SECONDS, MachineDriver
from porttunnel.net.pace import MAX_AHEAD_BYTES, MIN_AHEAD_BYTES


class Core:
    """Sends what is in ``out``, reports what is in ``reports``."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.reports: list[Any] = []
        self.received = bytearray()
        self.ended = 0
        self.deadline: float | None = None
        self.timeouts: list[float] = []
        self.ahead: list[int] = []
        self.on_asked: Callable[[], None] = lambda: None

    def receive_data(self, data: memoryview, now: float) -> None:
        self.received += data

    def receive_eof(self, now: float) -> None:
        self.ended += 1

    def events(self) -> Iterator[Any]:
        while self.reports:
            yield self.reports.pop(0)

    def data_to_send(self) -> Sequence[memoryview]:
        self.on_asked()
        return (memoryview(bytes(self.out)),) if self.out else ()

    def data_sent(self, count: int) -> None:
        del self.out[:count]

    def limit_ahead(self, count: int) -> None:
        self.ahead.append(count)

    def next_deadline(self) -> float | None:
        return self.deadline

    def handle_timeout(self, now: float) -> None:
        self.timeouts.append(now)
        self.deadline = None


class Line:
    """A carrier that takes ``room`` bytes."""

    def __init__(self) -> None:
        self.room = 1 << 40
        self.sent = bytearray()
        self.sends = 0
        self.calls: list[str] = []
        self.unsent: list[int] = []
        self.peer = IPv4Address("TCP", "192.0.2.1", 1)

    def send(self, views: Sequence[memoryview]) -> int:
        self.sends += 1
        data = b"".join(views)[: self.room]
        self.room -= len(data)
        self.sent += data
        return len(data)

    def limit_unsent(self, count: int) -> None:
        self.unsent.append(count)

    def end(self) -> None:
        self.calls.append("end")

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def pause_receiving(self) -> None:
        raise AssertionError("a link is never paused: that would stop every stream")

    resume_receiving = pause_receiving


class DriverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(100.0)
        self.core = Core()
        self.line = Line()
        self.seen: list[Any] = []
        self.reports = 0
        self.gone = 0
        self.on_event: Callable[[Any], None] = self.seen.append
        self.driver = MachineDriver(self.clock, self.core, self.report, self.end)

    def report(self) -> None:
        self.reports += 1
        for event in self.core.events():
            self.on_event(event)

    def end(self) -> None:
        self.assertIsNone(self.driver.carrier)
        self.gone += 1

    def connect(self) -> None:
        self.driver.carrier_made(self.line)

    # Bytes and events

    def test_brings_bytes_in_and_out(self) -> None:
        self.core.out += b"hello"
        self.assertIsNone(self.driver.carrier)
        self.connect()
        self.assertIs(self.driver.carrier, self.line)
        self.assertEqual(self.line.sent, b"hello")
        self.core.reports += ["one", "two"]
        self.driver.carrier_received(memoryview(b"answer"))
        self.driver.reading_done()
        self.assertEqual(self.core.received, b"answer")
        self.assertEqual(self.seen, ["one", "two"])

    def test_gives_events_out_without_a_carrier(self) -> None:
        self.core.reports += ["early"]
        self.core.out += b"waits"
        self.driver.flush()
        self.assertEqual(self.seen, ["early"])
        self.assertEqual(self.core.out, b"waits")

    def test_sends_what_an_event_causes_before_it_returns(self) -> None:
        def answer(event: str) -> None:
            self.core.out += b"answer to " + event.encode()
            self.driver.flush()
            self.driver.flush_soon()

        self.on_event = answer
        self.connect()
        self.core.reports += ["this"]
        self.driver.carrier_received(memoryview(b"x"))
        self.driver.reading_done()
        self.assertEqual(self.line.sent, b"answer to this")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_asks_for_a_report_while_it_reports(self) -> None:
        # Whoever reports sees to the order; the driver must neither loop nor forget the rest.
        depths: list[int] = []

        def report() -> None:
            if not depths:
                depths.append(len(depths))
                self.driver.flush()
                self.core.out += b"said in between"
                self.driver.carrier_received(memoryview(b"more"))
                self.driver.reading_done()
                self.driver.carrier_writable()

        self.driver = MachineDriver(self.clock, self.core, report)
        self.connect()
        self.assertEqual(depths, [0])
        self.assertEqual(self.line.sent, b"said in between")
        self.assertEqual(self.core.received, b"more")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_reports_what_asking_for_bytes_causes(self) -> None:
        # A core gives writers their turn when it is asked for what to send.
        def wake() -> None:
            self.core.on_asked = lambda: None
            self.core.reports.append("writable")

        self.core.on_asked = wake
        self.connect()
        self.assertEqual(self.seen, ["writable"])

    def test_several_writes_of_a_turn_go_out_together(self) -> None:
        self.connect()
        sends = self.line.sends
        for piece in (b"one ", b"two ", b"three"):
            self.core.out += piece
            self.driver.flush_soon()
        self.assertEqual(self.line.sent, b"")
        self.clock.advance(0)
        self.assertEqual(self.line.sent, b"one two three")
        self.assertEqual(self.line.sends, sends + 1)

    def test_a_fault_of_a_receiver_does_not_stop_the_driver(self) -> None:
        def fail(event: Any) -> None:
            raise ZeroDivisionError

        self.connect()
        self.on_event = fail
        self.core.reports += ["bad"]
        with self.assertRaises(ZeroDivisionError):
            self.driver.carrier_received(memoryview(b"x"))
            self.driver.reading_done()
        self.on_event = self.seen.append
        self.core.reports += ["good"]
        self.core.out += b"more"
        self.driver.flush()
        self.assertEqual(self.seen, ["good"])
        self.assertEqual(self.line.sent, b"more")

    # Back-pressure

    def test_keeps_what_the_carrier_does_not_take(self) -> None:
        self.line.room = 3
        self.core.out += b"abcdef"
        self.connect()
        self.assertEqual((bytes(self.line.sent), bytes(self.core.out)), (b"abc", b"def"))
        self.assertEqual(self.line.sends, 1)
        self.line.room = 2
        self.driver.carrier_writable()
        self.assertEqual((bytes(self.line.sent), bytes(self.core.out)), (b"abcde", b"f"))

    def test_tells_core_and_carrier_how_far_they_may_be_ahead(self) -> None:
        self.connect()
        self.assertEqual(self.core.ahead, [MIN_AHEAD_BYTES])
        self.assertEqual(self.line.unsent, [MIN_AHEAD_BYTES // 2])
        self.clock.advance(1.0)
        self.core.out += bytes(200 << 20)
        self.driver.flush()
        self.assertEqual(self.core.ahead[-1], MAX_AHEAD_BYTES)
        self.assertEqual(self.line.unsent[-1], MAX_AHEAD_BYTES // 2)

    # Deadlines

    def test_calls_at_the_deadline(self) -> None:
        self.core.deadline = 107.5
        self.connect()
        self.clock.advance(7.0)
        self.assertEqual(self.core.timeouts, [])
        self.core.reports += ["due"]
        self.clock.advance(0.5)
        self.assertEqual(self.core.timeouts, [107.5])
        self.assertEqual(self.seen, ["due"])

    def test_a_deadline_in_the_past_is_due_in_the_next_turn(self) -> None:
        self.core.deadline = 1.0
        self.connect()
        self.assertEqual(self.core.timeouts, [])
        self.clock.advance(0)
        self.assertEqual(self.core.timeouts, [100.0])

    def test_an_earlier_deadline_moves_the_timer(self) -> None:
        self.core.deadline = 110.0
        self.connect()
        self.core.deadline = 102.0
        self.driver.flush()
        self.clock.advance(2.0)
        self.assertEqual(self.core.timeouts, [102.0])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_later_deadline_is_met_when_it_is_due(self) -> None:
        self.core.deadline = 102.0
        self.connect()
        self.core.deadline = 110.0
        self.driver.flush()
        self.clock.advance(2.0)
        self.assertEqual(self.core.timeouts, [])
        self.clock.advance(8.0)
        self.assertEqual(self.core.timeouts, [110.0])

    def test_a_deadline_that_is_gone_calls_nobody(self) -> None:
        self.core.deadline = 102.0
        self.connect()
        self.core.deadline = None
        self.driver.flush()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.core.deadline = 103.0
        self.driver.flush()
        self.core.deadline = None
        self.clock.advance(3.0)
        self.assertEqual(self.core.timeouts, [])

    # The end

    def test_half_closes_after_the_last_bytes_and_waits_for_the_peer(self) -> None:
        self.line.room = 3
        self.connect()
        self.core.out += b"goodbye"
        self.driver.close()
        self.assertEqual(self.line.calls, [])
        self.line.room = 100
        self.driver.carrier_writable()
        self.assertEqual(self.line.sent, b"goodbye")
        self.assertEqual(self.line.calls, ["end"])
        self.driver.close()
        self.assertEqual(self.line.calls, ["end"])
        self.driver.carrier_ended()
        self.assertEqual(self.line.calls[:2], ["end", "close"])
        self.assertEqual(self.core.ended, 1)

    def test_a_peer_that_does_not_take_the_last_bytes_is_cut_off(self) -> None:
        self.line.room = 0
        self.connect()
        self.core.out += b"goodbye"
        self.driver.close()
        self.clock.advance(GOODBYE_SECONDS)
        self.assertEqual(self.line.calls, ["abort"])

    def test_a_peer_that_does_not_end_is_cut_off(self) -> None:
        self.connect()
        self.driver.close()
        self.clock.advance(GOODBYE_SECONDS)
        self.assertEqual(self.line.calls, ["end", "abort"])
        self.driver.carrier_lost(Failure(ConnectionDone()))
        self.successResultOf(self.driver.when_gone())

    def test_the_peers_end_is_the_links_end(self) -> None:
        self.connect()
        self.core.out += b"last words"
        self.driver.carrier_ended()
        self.assertEqual(self.core.ended, 1)
        self.assertEqual(self.line.sent, b"last words")
        self.assertIn("close", self.line.calls)

    def test_a_loss_is_told_and_nothing_is_left_on_the_clock(self) -> None:
        self.connect()
        gone = self.driver.when_gone()
        self.core.deadline = 200.0
        self.driver.flush()
        self.driver.flush_soon()
        self.driver.close()
        self.core.reports += ["lost"]
        self.core.deadline = None
        self.driver.carrier_lost(Failure(ConnectionDone()))
        self.assertEqual(self.seen, ["lost"])
        self.assertEqual(self.core.ended, 1)
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(gone)
        self.successResultOf(self.driver.when_gone())
        self.assertIsNone(self.driver.carrier)

    # Another carrier

    def test_goes_on_with_another_carrier(self) -> None:
        self.line.room = 3
        self.connect()
        self.core.out += b"abcdef"
        self.driver.flush()
        reason = Failure(ConnectionDone())
        self.assertEqual(self.gone, 0)
        self.driver.carrier_lost(reason)
        self.assertEqual((self.gone, self.core.ended), (1, 1))
        self.assertIs(self.driver.lost_reason, reason)
        self.successResultOf(self.driver.when_gone())
        self.line = Line()
        self.connect()
        self.assertEqual(self.line.sent, b"def")
        self.assertIs(self.driver.carrier, self.line)
        self.assertIsNone(self.driver.lost_reason)
        self.assertNoResult(self.driver.when_gone())
        # It starts with the same care as the first one.
        self.assertEqual(self.core.ahead, [MIN_AHEAD_BYTES] * 2)
        self.assertEqual(self.line.unsent, [MIN_AHEAD_BYTES // 2])
        self.core.reports += ["answer"]
        self.driver.carrier_received(memoryview(b"more"))
        self.driver.reading_done()
        self.assertEqual((self.seen, bytes(self.core.received)), (["answer"], b"more"))
        self.driver.carrier_lost(Failure(ConnectionDone()))
        self.assertEqual((self.gone, self.core.ended), (2, 2))

    def test_another_carrier_is_not_closed_because_the_last_one_was(self) -> None:
        self.connect()
        self.driver.close()
        self.driver.carrier_ended()
        self.driver.carrier_lost(Failure(ConnectionDone()))
        self.line = Line()
        self.connect()
        self.clock.advance(10 * GOODBYE_SECONDS)
        self.assertEqual(self.line.calls, [])
        self.core.out += b"goodbye"
        self.driver.close()
        self.assertEqual((bytes(self.line.sent), self.line.calls), (b"goodbye", ["end"]))
        self.clock.advance(GOODBYE_SECONDS)
        self.assertEqual(self.line.calls, ["end", "abort"])

    def test_no_goodbye_outlives_its_carrier(self) -> None:
        first = self.line
        self.line.room = 0
        self.core.out += b"goodbye"
        self.connect()
        self.driver.close()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.driver.carrier_lost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.line = Line()
        self.connect()
        self.clock.advance(10 * GOODBYE_SECONDS)
        self.assertEqual((first.calls, self.line.calls), ([], []))

    def test_deadlines_run_on_without_a_carrier(self) -> None:
        self.connect()
        self.core.deadline = 107.0
        self.driver.flush()
        self.driver.carrier_lost(Failure(ConnectionDone()))
        self.core.reports += ["given up"]
        self.clock.advance(7.0)
        self.assertEqual((self.core.timeouts, self.seen), ([107.0], ["given up"]))
        # One that comes up meanwhile is met too.
        self.core.deadline = 108.0
        self.driver.flush()
        self.clock.advance(1.0)
        self.assertEqual(self.core.timeouts, [107.0, 108.0])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_hears_of_a_loss_may_bring_the_next_carrier(self) -> None:
        second = Line()
        self.driver = MachineDriver(
            self.clock, self.core, self.report, lambda: self.driver.carrier_made(second)
        )
        self.connect()
        gone = self.driver.when_gone()
        self.core.out += b"waits"
        self.driver.carrier_lost(Failure(ConnectionDone()))
        self.successResultOf(gone)
        self.assertIs(self.driver.carrier, second)
        self.assertEqual(second.sent, self.core.out + b"waits")

    def test_aborts(self) -> None:
        self.driver.abort()
        self.line.room = 0
        self.core.out += b"does not matter any more"
        self.connect()
        self.driver.abort()
        self.assertEqual(self.line.calls, ["abort"])
        self.driver.carrier_lost(Failure(ConnectionDone()))
        self.driver.abort()
        self.assertEqual(self.line.calls, ["abort"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closing_without_a_carrier_is_no_fault(self) -> None:
        self.driver.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(self.driver.when_gone())
