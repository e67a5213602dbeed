"""porttunnel.net.master"""

from __future__ import annotations

import getpass
import tempfile
from typing import Any

from twisted.internet import defer

from porttunnel.errors import (
    ConfigurationError,
    ConsentRefused,
    CutOff,
    LocalProtocolError,
    NoSuchNumber,
    NotReachable,
    StreamCode,
    StreamRefused,
)
from porttunnel.net.client import join
from porttunnel.net.master import (
    SharedSession,
    choose_name,
    default_name,
    refuse_everybody,
    share,
)
from porttunnel.net.offer import Offer
from porttunnel.session import event
from porttunnel.session.code import SessionCode
from porttunnel.session.master import MasterMachine
from tests.conformance import End, factory_of
from tests.net.in_memory import InMemoryTestCase


class SharingTests(InMemoryTestCase):
    def test_a_session_has_a_number_and_a_code_for_each_client(self) -> None:
        shared = self.share("web=8000", name="Anna")
        first = shared.code
        self.assertEqual((first.number, len(first.pin or "")), (shared.number, 6))
        joined = self.join(shared, name="Ben")
        self.assertEqual(joined.master_name, "Anna")
        self.assertEqual([service.name for service in joined.services], ["web"])
        self.assertNotEqual(shared.code, first)
        (came,) = self.happened(event.MemberJoined)
        self.assertEqual((came.member, came.name, came.verified), (2, "Ben", True))

    def test_has_no_code_before_it_is_open(self) -> None:
        asked: list[Any] = []

        def on_event(happened: Any) -> None:
            if isinstance(happened, event.SessionOpened):
                asked.append(happened)

        self.assertTrue(self.share(on_event=on_event).code)
        self.assertEqual(len(asked), 1)
        self.server.draining = True
        unopened: list[SharedSession] = []
        real = SharedSession.open

        async def remember(session: SharedSession, endpoint: Any) -> None:
            unopened.append(session)
            await real(session, endpoint)

        self.patch(SharedSession, "open", remember)
        self.failureResultOf(self.start(share(self.clock, self.endpoint, [])), NotReachable)
        with self.assertRaisesRegex(NotReachable, "not open yet"):
            _ = unopened[0].code

    def test_what_cannot_be_shared_is_found_before_connecting(self) -> None:
        for offers, reason in (
            (["nothing"], "nothing to share"),
            (["dir:/no/such/folder"], "is no folder"),
        ):
            failed = self.start(share(self.clock, self.endpoint, offers))
            self.assertIn(reason, str(self.failureResultOf(failed, ConfigurationError).value))
        failed = self.start(share(self.clock, "ftp://host", []))
        self.failureResultOf(failed, ConfigurationError)
        failed = self.start(share(self.clock, self.endpoint, ["web=8000", "web=8001"]))
        self.failureResultOf(failed, LocalProtocolError)
        self.assertEqual(self.endpoint.pumps, [])

    def test_the_server_that_ends_the_link_ends_the_wait(self) -> None:
        sharing = defer.Deferred.fromCoroutine(share(self.clock, self.endpoint, []))
        for link in list(self.server.links):
            link.close()
        self.run_lines()
        self.pass_time(10.0)
        self.failureResultOf(sharing, CutOff)

    def test_a_cancelled_share_leaves(self) -> None:
        sharing = defer.Deferred.fromCoroutine(share(self.clock, self.endpoint, []))
        sharing.cancel()
        self.run_lines()
        self.pass_time(10.0)
        self.failureResultOf(sharing, defer.CancelledError)
        self.assertEqual(self.server.links, set())

    def test_offers_more_to_who_comes_later(self) -> None:
        shared, first = self.pair("web=8000")
        with tempfile.TemporaryDirectory() as folder:
            shared.offer(Offer("files", "dir", folder))
        shared.offer(Offer("chat", "listen"))
        second = self.join(shared)
        self.assertEqual([service.name for service in first.services], ["web"])
        self.assertEqual(
            [(service.name, service.kind) for service in second.services],
            [("web", "tcp"), ("files", "dir"), ("chat", "listen")],
        )
        server = End()
        self.successResultOf(shared.listen("talk").listen(factory_of(server)))
        opening = first.endpoint("talk").connect(factory_of(End()))
        self.run_lines()
        self.successResultOf(opening)
        opening = first.endpoint("chat").connect(factory_of(End()))
        self.run_lines()
        refused = self.failureResultOf(opening, StreamRefused).value
        self.assertIs(refused.code, StreamCode.UNKNOWN_SERVICE)

    def test_closing_ends_it_for_all(self) -> None:
        shared, joined = self.pair()
        closing = shared.close()
        self.run_lines()
        self.pass_time(10.0)
        self.successResultOf(closing)
        self.successResultOf(joined.when_done())
        late = self.begin_join(shared, code=SessionCode(shared.number, pin="123456"))
        self.failureResultOf(late, NoSuchNumber)


class ConsentTests(InMemoryTestCase):
    def test_without_somebody_to_ask_nobody_comes_in(self) -> None:
        shared = self.share(on_consent=refuse_everybody)
        self.failureResultOf(self.begin_join(shared), ConsentRefused)

    def test_is_asked_with_what_is_known(self) -> None:
        asked: list[event.ConsentAsked] = []

        def consent(about: event.ConsentAsked) -> bool:
            asked.append(about)
            return True

        self.join(self.share(on_consent=consent), name="Ben")
        self.assertEqual([(a.member, a.name, a.verified) for a in asked], [(2, "Ben", True)])

    def test_may_take_its_time(self) -> None:
        answers: list[defer.Deferred[bool]] = []

        async def consent(_about: event.ConsentAsked) -> bool:
            answer: defer.Deferred[bool] = defer.Deferred()
            answers.append(answer)
            return await answer

        shared = self.share(on_consent=consent)
        first, second = self.begin_join(shared), self.begin_join(shared)
        self.assertNoResult(first)
        answers[1].callback(False)
        answers[0].callback(True)
        self.run_lines()
        self.successResultOf(first)
        self.failureResultOf(second, ConsentRefused)

    def test_that_comes_too_late_changes_nothing(self) -> None:
        for late in (True, False):
            answer: defer.Deferred[bool] = defer.Deferred()

            async def consent(
                _about: event.ConsentAsked, answer: defer.Deferred[bool] = answer
            ) -> bool:
                return await answer

            shared = self.share(on_consent=consent)
            joining = self.begin_join(shared)
            joining.cancel()
            self.run_lines()
            self.failureResultOf(joining, defer.CancelledError)
            answer.callback(late)
            self.run_lines()
            self.assertEqual(self.happened(event.MemberJoined), [])
            self.assertNoResult(shared.when_done())

    def test_that_fails_is_a_no(self) -> None:
        async def consent(_about: event.ConsentAsked) -> bool:
            raise ZeroDivisionError

        shared = self.share(on_consent=consent)
        self.failureResultOf(self.begin_join(shared), ConsentRefused)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_that_fails_too_late_is_logged_only(self) -> None:
        answer: defer.Deferred[bool] = defer.Deferred()

        async def consent(_about: event.ConsentAsked) -> bool:
            return await answer

        shared = self.share(on_consent=consent)
        joining = self.begin_join(shared)
        joining.cancel()
        self.run_lines()
        self.failureResultOf(joining, defer.CancelledError)
        answer.errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertNoResult(shared.when_done())

    def test_can_be_given_by_command_instead(self) -> None:
        never: defer.Deferred[bool] = defer.Deferred()

        async def consent(_about: event.ConsentAsked) -> bool:
            return await never

        shared = self.share(on_consent=consent)
        first, second = self.begin_join(shared), self.begin_join(shared)
        shared.admit(2)
        shared.refuse(3, "not today")
        self.run_lines()
        self.successResultOf(first)
        self.assertIn("not today", str(self.failureResultOf(second, ConsentRefused).value))
        never.callback(True)
        self.assertEqual(len(self.happened(event.MemberJoined)), 1)


class MembersTests(InMemoryTestCase):
    def test_digits_are_typed_on_both_sides(self) -> None:
        shared = self.share(sas=True)
        self.assertEqual(shared.code, SessionCode(shared.number))
        sessions: list[Any] = []

        def on_event(session: Any, happened: Any) -> None:
            sessions.append(session)
            self.events.append(happened)

        joining = self.begin_join(shared, on_event=on_event)
        shared.enter_digits(2, self.happened(event.DigitsShown)[0].digits)
        self.run_lines()
        self.assertNoResult(joining)
        sessions[0].enter_digits(self.happened(event.DigitsShown)[1].digits)
        self.run_lines()
        self.assertTrue(self.successResultOf(joining))

    def test_a_member_is_put_out(self) -> None:
        shared, joined = self.pair()
        other = self.join(shared)
        shared.kick(joined.local_member)
        self.run_lines()
        self.successResultOf(joined.when_done())
        self.assertNoResult(other.when_done())
        self.assertEqual([member.member for member in other.members], [1, 3])

    def test_joining_pauses_after_too_many_wrong_tries(self) -> None:
        shared = self.share()
        tries = 0
        while not self.happened(event.JoiningPaused):
            wrong = SessionCode(shared.number, pin=f"{(int(shared.code.pin or 0) + 1) % 10**6:06}")
            self.failureResultOf(self.begin_join(shared, code=wrong))
            self.pass_time(61.0)  # the server, too, slows down who tries
            tries += 1
        self.assertEqual(tries, self.happened(event.JoiningPaused)[0].wrong_tries)
        shared.allow_joining()
        self.run_lines()
        self.join(shared)


class DefaultNameTests(InMemoryTestCase):
    def test_is_user_and_machine(self) -> None:
        name = default_name()
        self.assertIn("@", name)
        self.assertLessEqual(len(name), 64)

    def test_of_a_user_that_the_system_does_not_know(self) -> None:
        def getuser() -> str:
            raise KeyError("uid not found")

        self.patch(getpass, "getuser", getuser)
        self.assertTrue(default_name().startswith("somebody@"))

    def test_what_the_other_side_could_not_read_is_refused(self) -> None:
        server: Any = object()
        for name in ("x" * 65, "a\nb", "\udcff"):
            with self.assertRaisesRegex(ConfigurationError, "at most 64 characters"):
                choose_name(name)
            shared = defer.Deferred.fromCoroutine(share(self.clock, server, ["1"], name=name))
            self.failureResultOf(shared, ConfigurationError)
            joined = defer.Deferred.fromCoroutine(
                join(self.clock, server, "4821 3604 2197", name=name)
            )
            self.failureResultOf(joined, ConfigurationError)
        self.assertEqual(choose_name("ä" * 64), "ä" * 64)

    def test_is_told_when_no_other_is(self) -> None:
        names: list[str] = []
        real = MasterMachine.__init__

        def remember(machine: Any, *arguments: Any, **options: Any) -> None:
            names.append(options["name"])
            real(machine, *arguments, **options)

        self.patch(MasterMachine, "__init__", remember)
        self.share()
        self.assertEqual(names, [default_name()])
