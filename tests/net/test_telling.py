"""porttunnel.net.telling"""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import EventLoggingObserver
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.net.telling import tell
from porttunnel.session.event import DigitsShown

HAPPENED = DigitsShown(2, "4711")


class TellTests(SynchronousTestCase):
    def test_what_happened_is_told(self) -> None:
        told: list[Any] = []
        tell(told.append, HAPPENED)
        self.assertEqual(told, [HAPPENED])

    def test_a_fault_is_logged_with_the_events_name_only(self) -> None:
        logged = EventLoggingObserver()
        globalLogPublisher.addObserver(logged)
        self.addCleanup(globalLogPublisher.removeObserver, logged)

        def fail(_happened: Any) -> None:
            raise ZeroDivisionError

        tell(fail, HAPPENED)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        (each,) = [each for each in logged if "log_failure" in each]
        self.assertEqual(formatEvent(each), "DigitsShown could not be told")
        self.assertNotIn("4711", str(dict(each)))

    def test_what_is_no_fault_of_the_program_goes_on(self) -> None:
        def interrupt(_happened: Any) -> None:
            raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            tell(interrupt, HAPPENED)
