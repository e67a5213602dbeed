"""A session that is kept open: one after the other, with a code in a file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.errors import ConfigurationError, CutOff, NotReachable
from porttunnel.net.code_file import CodeFile
from porttunnel.services import kept_session
from porttunnel.services.agent_config import SessionSettings
from porttunnel.services.kept_session import (
    CODE_NAME,
    FIRST_PAUSE_SECONDS,
    FIRST_WAIT_SECONDS,
    LEAVE_SECONDS,
    LONGEST_WAIT_SECONDS,
    KeptSession,
)
from porttunnel.session.code import SessionCode
from porttunnel.session.event import (
    ConsentAsked,
    InvitationMade,
    JoiningPaused,
    LinkLost,
    LinkRestored,
    MemberJoined,
    MemberLeft,
)

CODE = SessionCode(48213, pin="604219")


class OpenSession:
    """Stands in for a shared session: the test says what happens in it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.done: Deferred[None] = Deferred()
        self.done.addBoth(self._end)
        self.disconnected: Deferred[None] = succeed(None)
        self.closed = 0
        self.resumed = 0
        self.link_is_up = True
        self._result: Any = None
        self._waiting: list[Deferred[None]] = []

    def when_done(self) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        if self.done.called:
            waiting.callback(self._result)
        else:
            self._waiting.append(waiting)
        return waiting

    def close(self) -> Deferred[None]:
        self.closed += 1
        if self.link_is_up and not self.done.called:
            self.done.callback(None)
        return self.when_done()

    def when_disconnected(self) -> Deferred[None]:
        return self.disconnected

    def allow_joining(self) -> None:
        self.resumed += 1

    def _end(self, result: Any) -> None:
        self._result = result
        for waiting in self._waiting:
            waiting.callback(result)


class KeptSessionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.lines: list[str] = []
        self.sessions: list[OpenSession] = []
        self.refusals: list[Exception] = []
        self.options: dict[str, Any] = {}
        self.patch(kept_session, "share", self.share)
        self.patch(kept_session, "parse_server_address", lambda reactor, address: address)
        self.patch(kept_session.random, "uniform", lambda low, high: high)

    async def share(self, reactor: Any, server: str, offers: Any, **options: Any) -> Any:
        self.options = {"server": server, "offers": offers, **options}
        if self.refusals:
            raise self.refusals.pop(0)
        session = OpenSession(10_000 + len(self.sessions))
        self.sessions.append(session)
        return session

    def keep(self, **settings: Any) -> KeptSession:
        said = SessionSettings(server="tcp:h:1", offers=("web=8000",), **settings)
        kept = KeptSession(self.clock, said, self.folder, self.lines.append)
        kept.start()
        return kept

    def stop(self, kept: KeptSession) -> Any:
        return Deferred.fromCoroutine(kept.stop())

    def tell(self, happened: Any) -> None:
        self.options["on_event"](happened)

    def code(self) -> str:
        return (self.folder / CODE_NAME).read_text()

    def test_a_session_with_a_code_for_each_who_comes(self) -> None:
        kept = self.keep(name="wiki", remember=True)
        self.assertEqual(self.lines, ["session 10000", f"code {self.folder / CODE_NAME}"])
        self.assertEqual(
            (self.options["server"], self.options["offers"], self.options["name"]),
            ("tcp:h:1", ("web=8000",), "wiki"),
        )
        self.assertEqual((self.options["direct"], self.options["remember"]), (False, True))
        self.tell(InvitationMade(CODE, None))
        self.assertEqual(self.code(), "4821 3604 2197\n")
        self.assertEqual((self.folder / CODE_NAME).stat().st_mode & 0o777, 0o600)
        self.assertTrue(kept.is_open)
        self.successResultOf(self.stop(kept))
        self.assertFalse(kept.is_open)
        self.assertEqual(self.sessions[0].closed, 1)
        self.assertEqual(os.listdir(self.folder), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_another_one_when_it_has_ended(self) -> None:
        kept = self.keep()
        self.tell(InvitationMade(CODE, None))
        self.sessions[0].done.errback(CutOff("the server has forgotten it"))
        self.assertEqual(self.code(), "")
        self.clock.advance(FIRST_WAIT_SECONDS)
        self.assertEqual(len(self.sessions), 2)
        self.sessions[1].done.callback(None)
        self.clock.advance(FIRST_WAIT_SECONDS)
        self.assertEqual(self.lines[::2], ["session 10000", "session 10001", "session 10002"])
        self.successResultOf(self.stop(kept))

    def test_a_link_that_is_lost_is_said_once_and_is_no_readiness(self) -> None:
        kept = self.keep()
        with capturedLogs() as logged:
            self.tell(LinkLost(CutOff("the connection ended")))
            self.tell(LinkLost(CutOff("and once more")))
            self.assertFalse(kept.is_open)
            self.tell(LinkRestored())
            self.assertTrue(kept.is_open)
        self.assertEqual([event.get("why") for event in logged], ["the connection ended", None])
        self.tell(LinkLost(CutOff("for good")))
        self.sessions[0].done.errback(CutOff("for good"))
        self.clock.advance(FIRST_WAIT_SECONDS)
        self.assertTrue(kept.is_open)
        self.successResultOf(self.stop(kept))

    def test_a_server_that_is_away_is_asked_ever_more_rarely(self) -> None:
        self.refusals = [NotReachable("no server") for _ in range(9)]
        kept = self.keep()
        waits = [1, 2, 4, 8, 16, 32, LONGEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS]
        for left, wait in zip(range(8, 0, -1), waits, strict=True):
            self.assertEqual(len(self.refusals), left)
            self.clock.advance(wait - 0.5)
            self.assertEqual(len(self.refusals), left)
            self.clock.advance(0.5)
        self.clock.advance(LONGEST_WAIT_SECONDS)
        self.assertEqual(len(self.sessions), 1)
        self.successResultOf(self.stop(kept))

    def test_who_may_come_in(self) -> None:
        asked = ConsentAsked(2, "ben", (), True)
        for accept, answer, warnings in (("all", True, 0), ("nobody", False, 2)):
            with capturedLogs() as logged:
                kept = self.keep(accept=accept)
                self.assertIs(self.options["on_consent"](asked), answer)
            self.assertEqual([each["log_level"] for each in logged], [LogLevel.warn] * warnings)
            self.tell(MemberJoined(2, "ben", True))
            self.tell(MemberLeft(2, "gone", False))
            self.successResultOf(self.stop(kept))

    def test_a_guesser_makes_all_wait_and_puts_nobody_out(self) -> None:
        kept = self.keep()
        (session,) = self.sessions
        pause = FIRST_PAUSE_SECONDS
        for resumed in range(3):
            self.tell(JoiningPaused(10))
            self.tell(JoiningPaused(11))
            self.clock.advance(pause - 1)
            self.assertEqual(session.resumed, resumed)
            self.clock.advance(1)
            self.assertEqual(session.resumed, resumed + 1)
            pause *= 2
        self.tell(JoiningPaused(10))
        self.assertEqual(session.closed, 0)
        # In the next session as well.
        session.done.callback(None)
        self.clock.advance(FIRST_WAIT_SECONDS)
        self.tell(JoiningPaused(10))
        self.clock.advance(2 * pause)
        self.assertEqual((session.resumed, self.sessions[1].resumed), (3, 1))
        self.tell(JoiningPaused(10))
        self.successResultOf(self.stop(kept))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_has_stopped_once_its_goodbye_is_out(self) -> None:
        kept = self.keep()
        goodbye = self.sessions[0].disconnected = Deferred()
        stopping = self.stop(kept)
        self.assertNoResult(stopping)
        goodbye.callback(None)
        self.successResultOf(stopping)

    def test_nobody_waits_for_a_goodbye_that_can_not_be_said(self) -> None:
        kept = self.keep()
        self.sessions[0].link_is_up = False
        stopping = self.stop(kept)
        self.assertNoResult(stopping)
        self.clock.advance(LEAVE_SECONDS)
        self.successResultOf(stopping)

    def test_it_is_stopped_while_it_waits(self) -> None:
        self.refusals = [NotReachable("no server")]
        kept = self.keep()
        self.successResultOf(self.stop(kept))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_is_stopped_before_it_was_started(self) -> None:
        kept = KeptSession(self.clock, SessionSettings(), self.folder, self.lines.append)
        self.successResultOf(self.stop(kept))

    def test_a_folder_that_can_not_be_written(self) -> None:
        self.folder = self.folder / "none"
        with self.assertRaisesRegex(ConfigurationError, "can't be written"):
            self.keep()

    def test_a_code_that_can_not_be_written_any_more_ends_nothing(self) -> None:
        kept = self.keep()
        written = CodeFile.write
        self.patch(CodeFile, "write", self.fail_to_write)
        self.tell(InvitationMade(CODE, None))
        self.patch(CodeFile, "write", written)
        self.assertEqual(self.sessions[0].closed, 0)
        self.successResultOf(self.stop(kept))

    @staticmethod
    def fail_to_write(file: CodeFile, code: Any) -> None:
        raise ConfigurationError("The disk is full.")

    def test_a_fault_of_ours_is_logged(self) -> None:
        self.refusals = [RuntimeError("a fault")]
        kept = self.keep()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.successResultOf(self.stop(kept))
