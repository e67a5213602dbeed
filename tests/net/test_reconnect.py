"""porttunnel.net.reconnect"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from twisted.internet import defer
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from porttunnel.errors import NotReachable
from porttunnel.net.reconnect import (
    FIRST_DELAY_SECONDS,
    LIVING_SECONDS,
    MAX_DELAY_SECONDS,
    MAX_FAILURES_AFTER_SUCCESS,
    Reconnector,
    draw_delay,
)


@pytest.mark.parametrize("failures", range(40))
def test_all_of_a_delay_is_drawn(failures: int) -> None:
    longest = draw_delay(failures, lambda: 1.0)
    assert draw_delay(failures, lambda: 0.0) == 0.0
    assert draw_delay(failures, lambda: 0.25) == longest / 4
    assert longest == min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2**failures)


def test_patience_has_an_end_for_any_number_of_failures() -> None:
    assert draw_delay(1_000_000, lambda: 1.0) == MAX_DELAY_SECONDS


class ReconnectorTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.drawn = 1.0
        self.tries: list[float] = []
        self.attempt: Callable[[], Awaitable[None]] = self.fail_at_once
        self.reconnector = Reconnector(self.clock, self.connect, lambda: self.drawn)

    async def connect(self) -> None:
        self.tries.append(self.clock.seconds())
        await self.attempt()

    async def fail_at_once(self) -> None:
        raise NotReachable("nobody there")

    async def succeed(self) -> None:
        """Connected."""

    def hang(self) -> defer.Deferred[None]:
        """A try that the test ends."""
        trying: defer.Deferred[None] = defer.Deferred()

        async def attempt() -> None:
            await trying

        self.attempt = attempt
        return trying

    def pass_delays(self, count: int) -> list[float]:
        """How long each of the next waits is."""
        delays = []
        for _ in range(count):
            (call,) = self.clock.getDelayedCalls()
            delays.append(call.getTime() - self.clock.seconds())
            self.clock.advance(delays[-1])
        return delays

    def assert_quiet(self) -> None:
        """It does nothing any more."""
        tries = len(self.tries)
        self.clock.advance(1_000.0)
        self.assertEqual(len(self.tries), tries)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_tries_less_and_less_often(self) -> None:
        self.reconnector.begin()
        self.assertEqual(self.tries, [])
        delays = self.pass_delays(12)
        for number, delay in enumerate(delays):
            expected = min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2**number)
            self.assertAlmostEqual(delay, expected)
        self.assertEqual(delays[-1], MAX_DELAY_SECONDS)
        self.assertEqual(len(self.tries), 12)
        self.reconnector.stop()
        self.assert_quiet()

    def test_draws_each_delay(self) -> None:
        self.drawn = 0.5
        self.reconnector.begin()
        self.assertAlmostEqual(self.pass_delays(1)[0], FIRST_DELAY_SECONDS / 2)
        self.drawn = 0.25
        self.pass_delays(1)
        self.assertAlmostEqual(self.pass_delays(1)[0], FIRST_DELAY_SECONDS)
        self.reconnector.stop()
        self.assert_quiet()

    def test_stops_once_connected(self) -> None:
        self.reconnector.begin()
        self.pass_delays(2)
        self.attempt = self.succeed
        self.pass_delays(1)
        self.assertEqual(len(self.tries), 3)
        self.assert_quiet()

    def test_stops_in_a_delay(self) -> None:
        self.reconnector.begin()
        self.pass_delays(3)
        self.reconnector.stop()
        self.assertEqual(len(self.tries), 3)
        self.assert_quiet()
        self.reconnector.stop()

    def test_stops_in_a_try(self) -> None:
        trying = self.hang()
        self.reconnector.begin()
        self.pass_delays(1)
        self.assertFalse(trying.called)
        self.reconnector.stop()
        self.assertTrue(trying.called)
        self.assert_quiet()

    def test_begins_again_in_a_delay(self) -> None:
        self.reconnector.begin()
        self.pass_delays(1)
        self.reconnector.begin()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.pass_delays(1)
        self.assertEqual(len(self.tries), 2)
        self.reconnector.stop()
        self.assert_quiet()

    def test_begins_again_in_a_try(self) -> None:
        first = self.hang()
        self.reconnector.begin()
        self.pass_delays(1)
        second = self.hang()
        self.reconnector.begin()
        self.assertTrue(first.called)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.pass_delays(1)
        self.assertEqual(len(self.tries), 2)
        second.callback(None)
        self.assert_quiet()

    def test_waits_as_long_as_the_server_asked(self) -> None:
        self.reconnector.begin(20.0)
        self.assertAlmostEqual(self.pass_delays(1)[0], 20.0 + FIRST_DELAY_SECONDS)
        # That was for the first try alone.
        self.assertAlmostEqual(self.pass_delays(1)[0], 2 * FIRST_DELAY_SECONDS)
        self.reconnector.stop()
        self.assert_quiet()

    def test_is_as_patient_as_before_until_a_connection_is_of_use(self) -> None:
        self.reconnector.begin()
        self.pass_delays(3)
        self.attempt = self.succeed
        self.pass_delays(1)
        # Connected, and lost again before the server had taken it.
        self.attempt = self.fail_at_once
        self.reconnector.begin()
        self.assertAlmostEqual(self.pass_delays(1)[0], FIRST_DELAY_SECONDS * 2**4)
        self.attempt = self.succeed
        self.pass_delays(1)
        self.reconnector.succeed()
        self.clock.advance(LIVING_SECONDS)
        self.reconnector.begin()
        self.assertAlmostEqual(self.pass_delays(1)[0], FIRST_DELAY_SECONDS)
        self.assert_quiet()

    def test_keeps_some_patience_after_a_connection_that_did_not_live(self) -> None:
        self.reconnector.begin()
        self.pass_delays(8)
        self.attempt = self.succeed
        self.pass_delays(1)
        for _ in range(3):
            self.reconnector.succeed()
            self.clock.advance(LIVING_SECONDS * 0.9)
            self.reconnector.begin()
            delay = FIRST_DELAY_SECONDS * 2**MAX_FAILURES_AFTER_SUCCESS
            self.assertAlmostEqual(self.pass_delays(1)[0], delay)
        self.assert_quiet()

    def test_learns_to_be_patient_with_who_ends_each_connection(self) -> None:
        self.attempt = self.succeed
        delays = []
        for _ in range(6):
            self.reconnector.begin()
            delays += self.pass_delays(1)
            self.reconnector.succeed()
        longest = FIRST_DELAY_SECONDS * 2**MAX_FAILURES_AFTER_SUCCESS
        expected = [min(longest, FIRST_DELAY_SECONDS * 2**number) for number in range(6)]
        for delay, wanted in zip(delays, expected, strict=True):
            self.assertAlmostEqual(delay, wanted)
        self.assert_quiet()

    def test_learns_to_be_patient_with_who_takes_connections_in_vain(self) -> None:
        self.clock.advance(1_000.0)
        self.attempt = self.succeed
        delays = []
        for _ in range(6):
            self.reconnector.begin()
            delays += self.pass_delays(1)
            self.clock.advance(2 * LIVING_SECONDS)
        for number, delay in enumerate(delays):
            self.assertAlmostEqual(delay, FIRST_DELAY_SECONDS * 2**number)
        self.assert_quiet()

    def test_a_fault_is_logged_and_ends_it(self) -> None:
        async def attempt() -> None:
            raise ZeroDivisionError

        self.attempt = attempt
        self.reconnector.begin()
        self.pass_delays(1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assert_quiet()
