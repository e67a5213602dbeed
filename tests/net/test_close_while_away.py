"""Closing while the link is away: back for a goodbye if that is soon possible, else without."""

from __future__ import annotations

from typing import Any

from twisted.internet import defer
from twisted.internet.error import ConnectError

from porttunnel.errors import CutOff, NoSuchNumber
from porttunnel.net.client import JoinedSession
from porttunnel.net.driver import GOODBYE_SECONDS
from porttunnel.net.master import SharedSession
from porttunnel.net.session import CLOSE_SECONDS, Session
from porttunnel.session import event
from tests.conformance import End, factory_of
from tests.net.in_memory import InMemoryTestCase

STILL_SECONDS = 2 * GOODBYE_SECONDS


class CloseWhileAwayTests(InMemoryTestCase):
    shared: SharedSession
    joined: JoinedSession

    def lose(self, member: int, **options: Any) -> tuple[Session, End]:
        """A pair with a stream; one of them is away, and the server can't be reached.

        :returns: who is away, and its end of the stream.
        """
        first_line = len(self.endpoint.pumps)
        self.shared = self.share(**options)
        self.joined = self.join(self.shared, **options)
        ends = End(), End()
        self.successResultOf(self.shared.listen("web").listen(factory_of(ends[0])))
        opening = self.joined.endpoint("web").connect(factory_of(ends[1]))
        self.run_lines()
        self.successResultOf(opening)
        self.endpoint.failure = ConnectError()
        self.cut(first_line + member - 1)
        self.events.clear()
        return (self.shared, self.joined)[member - 1], ends[member - 1]

    def finished(self) -> list[str]:
        return [each.reason for each in self.happened(event.SessionFinished)]

    def timers_of(self, session: Session) -> list[Any]:
        """What the session has yet to do at some time."""
        return [
            call
            for call in self.clock.getDelayedCalls()
            if getattr(call.func, "__self__", None) in (session, session._reconnector)
        ]

    def assert_gone(self, session: Session, closing: defer.Deferred[None], end: End) -> None:
        self.successResultOf(closing)
        self.assertIsNone(session.carrier)
        self.assertEqual(self.timers_of(session), [])
        assert end.reason is not None
        self.assertIs(end.reason.type, CutOff)
        lines = len(self.endpoint.pumps)
        self.endpoint.failure = None
        self.pass_time(30.0)
        self.assertEqual(len(self.endpoint.pumps), lines)

    def test_a_client_that_comes_back_leaves(self) -> None:
        session, end = self.lose(2)
        closing = session.close("enough")
        self.pass_time(1.0)
        self.assertNoResult(closing)
        self.assertFalse(end.lost)
        self.endpoint.failure = None
        self.pass_time(CLOSE_SECONDS - 1.5)
        (left,) = self.happened(event.MemberLeft)
        self.assertEqual((left.member, left.reason), (2, "it left"))
        self.assertEqual(self.finished(), ["enough"])
        self.pass_time(STILL_SECONDS)
        self.assert_gone(session, closing, end)
        self.assertNoResult(self.shared.when_done())

    def test_a_master_that_comes_back_ends_the_session(self) -> None:
        session, end = self.lose(1)
        code = self.shared.code
        closing = session.close("enough")
        self.pass_time(1.0)
        self.assertNoResult(closing)
        self.endpoint.failure = None
        self.pass_time(CLOSE_SECONDS - 1.5)
        self.assertEqual(self.server.sessions, {})
        self.assertEqual(len(self.finished()), 1)
        self.assertTrue(self.joined._finished)
        self.pass_time(STILL_SECONDS)
        joining = self.begin_join(self.shared, code=code)
        self.pass_time(1.0)
        self.failureResultOf(joining, NoSuchNumber)
        self.assert_gone(session, closing, end)

    def test_who_can_not_come_back_closes_all_the_same(self) -> None:
        for member in (1, 2):
            session, end = self.lose(member)
            closing = session.close("enough")
            self.pass_time(CLOSE_SECONDS - 0.5)
            self.assertNoResult(closing)
            self.assertEqual(self.finished(), [])
            self.pass_time(0.5)
            self.assertEqual(self.finished(), ["enough"])
            self.assert_gone(session, closing, end)

    def test_once_is_as_good_as_twice(self) -> None:
        for member in (1, 2):
            for comes_back in (False, True):
                session, end = self.lose(member)
                closings = [session.close("enough")]
                self.pass_time(2.0)
                closings.append(session.close("really"))
                self.assertEqual(len(self.close_timers(session)), 1)
                if comes_back:
                    self.endpoint.failure = None
                # The second does not begin the patience of the first anew.
                self.pass_time(CLOSE_SECONDS - 2.0)
                self.assertIn("enough", self.finished())
                self.assertNotIn("really", self.finished())
                self.assertEqual(self.timers_of(session), [])
                self.pass_time(STILL_SECONDS)
                closings.append(session.close("yes"))
                for closing in closings:
                    self.assert_gone(session, closing, end)

    def close_timers(self, session: Session) -> list[Any]:
        return [call for call in self.timers_of(session) if call.func == session._close_now]

    def test_who_gives_up_before_is_cut_off(self) -> None:
        session, _end = self.lose(2, give_up_seconds=2.0)
        closing = session.close()
        self.pass_time(3.0)
        self.failureResultOf(closing, CutOff)
        self.assertEqual(self.timers_of(session), [])
