"""porttunnel.net.client: after which failures the user is asked for the code once more."""

from __future__ import annotations

from typing import Any

from twisted.internet import defer
from twisted.internet.error import ConnectError

from porttunnel.errors import AuthenticationFailed, ConsentRefused, CutOff
from porttunnel.net.master import SharedSession
from porttunnel.session import event
from porttunnel.session.code import SessionCode
from tests.net.in_memory import InMemoryTestCase


class VerifiedTests(InMemoryTestCase):
    """The code was right: to type it again would help nobody."""

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[AuthenticationFailed] = []
        self.decided: defer.Deferred[bool] = defer.Deferred()

    async def consent(self, _asked: event.ConsentAsked) -> bool:
        return await self.decided

    async def ask_again(self, error: AuthenticationFailed, _left: int) -> SessionCode | None:
        self.asked.append(error)
        return None

    def wait_for_consent(self, **options: Any) -> tuple[SharedSession, defer.Deferred[Any]]:
        shared = self.share(on_consent=self.consent)
        joining = self.begin_join(shared, ask_again=self.ask_again, **options)
        self.assertEqual(len(self.happened(event.Verified)), 1)
        self.assertNoResult(joining)
        return shared, joining

    def test_a_session_that_ends_during_consent_is_no_wrong_code(self) -> None:
        shared, joining = self.wait_for_consent()
        shared.close()
        self.run_lines()
        failed = self.failureResultOf(joining, CutOff)
        self.assertIn("session ended", str(failed.value))
        self.assertEqual(self.asked, [])

    def test_a_link_that_is_lost_during_consent_is_no_wrong_code(self) -> None:
        _shared, joining = self.wait_for_consent(give_up_seconds=5.0)
        self.endpoint.failure = ConnectError()
        self.cut(1)
        self.pass_time(6.0)
        self.failureResultOf(joining, CutOff)
        self.assertEqual(self.asked, [])

    def test_a_link_that_comes_back_during_consent_changes_nothing(self) -> None:
        _shared, joining = self.wait_for_consent()
        self.cut(1)
        self.pass_time(1.0)
        self.assertNoResult(joining)
        self.decided.callback(True)
        self.run_lines()
        self.successResultOf(joining)
        self.assertEqual(self.asked, [])

    def test_a_no_is_no_wrong_code(self) -> None:
        _shared, joining = self.wait_for_consent()
        self.decided.callback(False)
        self.run_lines()
        self.failureResultOf(joining, ConsentRefused)
        self.assertEqual(self.asked, [])

    def test_a_packet_that_does_not_open_is_no_wrong_code(self) -> None:
        _shared, joining = self.wait_for_consent()
        line = self.endpoint.pumps[1]
        self.decided.callback(True)
        # WELCOME, with its last bit flipped on the way.
        self.assertEqual(line.serverIO.stream, [])
        self.endpoint.pumps[0].pump(advanceClock=False)
        self.clock.advance(0)
        sent = bytearray(b"".join(line.serverIO.stream))
        sent[-1] ^= 1
        line.serverIO.stream[:] = [bytes(sent)]
        self.run_lines()
        self.failureResultOf(joining, AuthenticationFailed)
        self.assertEqual(self.asked, [])
