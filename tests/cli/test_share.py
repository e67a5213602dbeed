"""porttunnel.cli.share: who comes in."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.cli import share as share_module
from porttunnel.cli.exit_code import ExitCode
from porttunnel.cli.json_dialogue import JsonDialogue
from porttunnel.cli.share import Sharing
from porttunnel.session.event import ConsentAsked, MemberJoined, MemberLeft
from tests.cli.spoken import SpokenStreams


class OpenSession:
    """Stands in for a shared session: the test says what happens in it."""

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    def when_done(self) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self.ended.chainDeferred(done)
        return done

    def close(self) -> Deferred[None]:
        if not self.ended.called:
            self.ended.callback(None)
        return self.when_done()

    def at_events_end(self, call: Any) -> None:
        call()

    def when_disconnected(self) -> Deferred[None]:
        return self.when_done()


class OnceTests(SynchronousTestCase):
    """`--once`: one comes in, whatever happens in the same moment."""

    def begin(self, *, yes: bool) -> None:
        session = OpenSession()

        async def open_session(*_: Any, on_consent: Any, on_event: Any, **__: Any) -> Any:
            self.decide, self.tell = on_consent, on_event
            return session

        self.patch(share_module, "open_session", open_session)
        self.streams = SpokenStreams()
        streams: Any = self.streams
        sharing = Sharing(JsonDialogue(streams), yes=yes, once=True)
        self.running = ensureDeferred(sharing.run(None, "", []))
        self.addCleanup(self.streams.end)
        self.addCleanup(session.close)

    def ask(self, member: int) -> Any:
        answer = self.decide(ConsentAsked(member, f"client {member}", (), True))
        return answer if isinstance(answer, bool) else ensureDeferred(answer)

    def test_two_who_ask_in_the_same_moment(self) -> None:
        self.begin(yes=True)
        self.assertEqual([self.ask(2), self.ask(3)], [True, False])

    def test_who_goes_before_it_is_in_takes_no_place(self) -> None:
        self.begin(yes=True)
        self.assertIs(self.ask(2), True)
        self.tell(MemberLeft(2, "cut", True))
        self.assertNoResult(self.running)
        self.assertEqual([self.ask(3), self.ask(4)], [True, False])

    def test_another_who_goes_frees_nothing(self) -> None:
        self.begin(yes=True)
        self.assertEqual([self.ask(2), self.ask(3)], [True, False])
        self.tell(MemberLeft(3, "cut", True))
        self.assertIs(self.ask(4), False)

    def test_ends_when_the_one_leaves(self) -> None:
        self.begin(yes=True)
        self.assertIs(self.ask(2), True)
        self.tell(MemberJoined(2, "client 2", True))
        self.assertIs(self.ask(3), False)
        self.tell(MemberLeft(2, "bye", False))
        self.assertEqual(self.successResultOf(self.running), ExitCode.DONE)

    def test_two_questions_of_which_the_first_was_answered(self) -> None:
        self.begin(yes=False)
        first, second = self.ask(2), self.ask(3)
        self.streams.say({"accept": 2})
        self.assertIs(self.successResultOf(first), True)
        self.tell(MemberJoined(2, "client 2", True))
        self.streams.say({"accept": 3})
        self.assertIs(self.successResultOf(second), False)
        self.assertIs(self.ask(4), False)
