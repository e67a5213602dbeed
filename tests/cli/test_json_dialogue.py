"""What a program reads and says."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from porttunnel.cli.json_dialogue import JsonDialogue
from porttunnel.cli.member_list import MemberState
from porttunnel.errors import (
    AuthenticationFailed,
    LocalProtocolError,
    StreamCode,
    StreamRefused,
    StreamReset,
)
from porttunnel.session.code import SessionCode
from porttunnel.session.event import PathKind
from porttunnel.session.record import Service
from tests.cli.spoken import SpokenStreams

LINK = SessionCode(48213, link_secret="ABCDEFGHIJKLMNOPQRSTUVWXYA")


class Commands:
    def __init__(self) -> None:
        self.kicked: list[int] = []
        self.locked: list[bool] = []
        self.listed = 0
        self.closed = 0

    def kick(self, member: int) -> None:
        if member != 2:
            raise LocalProtocolError("nobody has this number")
        self.kicked.append(member)

    def lock(self, locked: bool) -> None:
        self.locked.append(locked)

    def list_members(self) -> None:
        if self.listed:
            raise LocalProtocolError("Only who shares can do that.")
        self.listed += 1

    def close(self) -> None:
        self.closed += 1


class Conversation:
    """A dialogue that has begun, and its two ends."""

    def __init__(self) -> None:
        self.streams = SpokenStreams()
        streams: Any = self.streams
        self.dialogue = JsonDialogue(streams)
        self.commands = Commands()
        self.dialogue.begin(self.commands)

    def last_error(self) -> str:
        (event,) = self.streams.events()
        assert event["event"] == "error"
        code: str = event["code"]
        return code


@pytest.fixture
def talk() -> Conversation:
    return Conversation()


def result_of(answer: Deferred[Any]) -> Any:
    results: list[Any] = []
    answer.addCallback(results.append)
    return results[0] if results else "no answer yet"


class TestEvents:
    def test_have_the_fields_that_programs_know(self, talk: Conversation) -> None:
        talk.dialogue.tell_session(SessionCode(48213, pin="604219"), LINK)
        talk.dialogue.tell_session(SessionCode(48213), None)
        talk.dialogue.show_digits(2, "123456", first=False)
        talk.dialogue.tell_joined(2, "Ben")
        talk.dialogue.tell_welcome(3, "Anna", [])
        talk.dialogue.tell_left(2, "Ben", "closed", cut_off=False)
        talk.dialogue.tell_listening(Service(name="web", kind="tcp"), "127.0.0.1", 80)
        talk.dialogue.tell_listening(Service(name="db", kind="tcp"), "::1", 5432)
        talk.dialogue.tell_refused("web", StreamRefused("Down.", StreamCode.UNREACHABLE))
        talk.dialogue.tell_error(AuthenticationFailed())
        talk.dialogue.tell_done("closed")
        reason = "at first all goes through the tunnel server"
        assert talk.streams.events() == [
            {
                "event": "session",
                "number": 48213,
                "code": "4821 3604 2197",
                "link": "porttunnel:48213#ABCDEFGHIJKLMNOPQRSTUVWXYA",
            },
            {"event": "session", "number": 48213, "code": "48213", "link": None},
            {"event": "sas", "member": 2, "digits": "123456"},
            {"event": "joined", "member": 2, "name": "Ben", "verified": True, "path": "relay"},
            {"event": "path", "member": 2, "path": "relay", "reason": reason},
            {"event": "joined", "member": 3, "name": "Anna", "verified": True, "path": "relay"},
            {"event": "path", "member": 1, "path": "relay", "reason": reason},
            {"event": "left", "member": 2, "name": "Ben", "reason": "closed", "cut_off": False},
            {
                "event": "listening",
                "service": "web",
                "address": "127.0.0.1:80",
                "url": "http://127.0.0.1:80/",
            },
            {"event": "listening", "service": "db", "address": "[::1]:5432", "url": None},
            {"event": "error", "code": "unreachable", "text": "Down.", "service": "web"},
            {
                "event": "error",
                "code": "authentication-failed",
                "text": AuthenticationFailed.MESSAGE,
            },
            {"event": "done", "reason": "closed"},
        ]

    def test_that_only_people_need_are_not_told(self, talk: Conversation) -> None:
        talk.dialogue.tell_decided("Ben", once=True)
        talk.dialogue.tell_verified("Anna")
        talk.dialogue.tell_not_forwarded(Service(name="socks", kind="socks"))
        assert talk.streams.events() == []


class TestConsent:
    def test_is_said_by_member(self, talk: Conversation) -> None:
        first, second = talk.dialogue.ask_consent(2, "Ann"), talk.dialogue.ask_consent(3, "Ben")
        asked = talk.streams.events()
        assert [(event["event"], event["member"]) for event in asked] == [
            ("consent", 2),
            ("consent", 3),
        ]
        talk.streams.say({"accept": 3})
        talk.streams.say({"refuse": 2})
        assert (result_of(first), result_of(second)) == (False, True)

    def test_of_nobody_is_an_error(self, talk: Conversation) -> None:
        talk.streams.say({"accept": 2})
        assert talk.last_error() == "usage"

    def test_is_no_when_the_input_ends_and_ever_after(self, talk: Conversation) -> None:
        waiting = talk.dialogue.ask_consent(2, "Ben")
        talk.streams.end()
        assert result_of(waiting) is False
        assert result_of(talk.dialogue.ask_consent(3, "Ann")) is False
        assert result_of(talk.dialogue.ask_digits(3, first=True)) is None
        assert result_of(talk.dialogue.ask_code("", None)) is None

    def test_of_who_has_gone_is_void(self, talk: Conversation) -> None:
        waiting = talk.dialogue.ask_consent(2, "Ben")
        talk.dialogue.forget(2)
        assert result_of(waiting) is False
        talk.streams.take()
        talk.streams.say({"accept": 2})
        assert talk.last_error() == "usage"

    def test_to_go_on_after_many_wrong_tries(self, talk: Conversation) -> None:
        talk.dialogue.tell_failed_run(2)
        assert talk.last_error() == "join-failed"
        answer = talk.dialogue.ask_resume(10)
        assert talk.last_error() == "joining-paused"
        talk.streams.say({"resume": True})
        assert result_of(answer) is True


class TestDigits:
    def test_are_asked_for_before_ours_are_shown(self, talk: Conversation) -> None:
        answer = talk.dialogue.ask_digits(2, first=True)
        assert talk.streams.events() == [{"event": "sas", "member": 2, "digits": None}]
        talk.streams.say({"sas": "123 456", "member": 2})
        assert result_of(answer) == "123456"

    def test_are_the_masters_if_nobody_is_named(self, talk: Conversation) -> None:
        answer = talk.dialogue.ask_digits(1, first=False)
        assert talk.streams.events() == []
        talk.streams.say({"sas": "123456"})
        assert result_of(answer) == "123456"

    def test_that_are_wrong_say_how_often_one_may_try(self, talk: Conversation) -> None:
        talk.dialogue.tell_wrong_digits(2, 1)
        (event,) = talk.streams.events()
        assert (event["code"], event["member"], event["tries_left"]) == ("wrong-digits", 2, 1)

    def test_of_who_has_gone_are_void(self, talk: Conversation) -> None:
        answer = talk.dialogue.ask_digits(2, first=True)
        talk.dialogue.forget(2)
        assert result_of(answer) is None


class TestCodes:
    def test_are_lines_of_their_own(self, talk: Conversation) -> None:
        answer = talk.dialogue.ask_code("", None)
        talk.streams.say("")
        talk.streams.say({"close": True})
        talk.streams.say(" 4821 3604 2197 ")
        assert result_of(answer) == "4821 3604 2197"
        assert talk.commands.closed == 1

    def test_are_asked_for_again_with_the_tries_that_are_left(self, talk: Conversation) -> None:
        answer = talk.dialogue.ask_code("Not verified.", 2)
        (event,) = talk.streams.events()
        assert (event["code"], event["tries_left"]) == ("authentication-failed", 2)
        talk.streams.end()
        assert result_of(answer) is None


class TestCommands:
    def test_are_carried_out(self, talk: Conversation) -> None:
        talk.streams.say({"kick": 2})
        talk.streams.say({"close": True})
        assert (talk.commands.kicked, talk.commands.closed) == ([2], 1)
        assert talk.streams.events() == []

    def test_on_nobody_are_errors(self, talk: Conversation) -> None:
        talk.streams.say({"kick": 3})
        assert talk.last_error() == "usage"

    @pytest.mark.parametrize(
        "line",
        ["{", "[]", "hello", '{"acept": 2}', '{"accept": "2"}', '{"accept": 0}', '{"kick": 1e9}'],
    )
    def test_that_are_none_are_errors_and_no_end(self, talk: Conversation, line: str) -> None:
        talk.streams.say(line)
        assert talk.last_error() == "usage"
        talk.streams.say({"close": True})
        assert talk.commands.closed == 1

    def test_wait_for_the_session(self) -> None:
        streams: Any = SpokenStreams()
        dialogue = JsonDialogue(streams)
        dialogue.ask_code("", None)
        streams.say({"close": True})
        assert streams.events() == []


def test_members_and_locks(talk: Conversation) -> None:
    talk.streams.say({"members": True})
    talk.streams.say({"lock": True})
    talk.streams.say({"lock": False})
    assert (talk.commands.listed, talk.commands.locked) == (1, [True, False])
    assert talk.streams.events() == []
    talk.streams.say({"members": True})
    assert talk.streams.events() == [
        {"event": "error", "code": "usage", "text": "Only who shares can do that."}
    ]
    talk.dialogue.tell_members([MemberState(2, "Ben", away=True, sent_bytes=5)], locked=False)
    talk.dialogue.tell_locked(True)
    listed, locked = talk.streams.events()
    assert listed == {
        "event": "members",
        "locked": False,
        "members": [
            {
                "member": 2,
                "name": "Ben",
                "path": "relay",
                "away": True,
                "sent_bytes": 5,
                "received_bytes": 0,
            }
        ],
    }
    assert locked == {"event": "locked", "locked": True}


def test_news_of_links_paths_and_broadcasts(talk: Conversation) -> None:
    talk.dialogue.tell_link(up=False, reason="It was cut.")
    talk.dialogue.tell_link(up=True, reason="")
    talk.dialogue.tell_away(2, "Ben", away=True)
    talk.dialogue.tell_away(2, "Ben", away=False)
    talk.dialogue.tell_path(2, "Ben", PathKind.DIRECT, "one network")
    talk.dialogue.tell_too_slow(2, "Ben", StreamReset("Too slow.", StreamCode.TIMED_OUT))
    talk.dialogue.tell_broadcast(ended=True)
    talk.dialogue.tell_way(48213, rejoin=True)
    talk.dialogue.tell_way(48213, rejoin=False)
    assert talk.streams.events() == [
        {"event": "link", "up": False, "reason": "It was cut."},
        {"event": "link", "up": True},
        {"event": "member-away", "member": 2},
        {"event": "member-back", "member": 2},
        {"event": "path", "member": 2, "path": "direct", "reason": "one network"},
        {"event": "error", "code": "timed-out", "text": "Too slow.", "member": 2},
        {"event": "broadcast", "ended": True},
        {"event": "joining", "number": 48213, "mode": "rejoin"},
        {"event": "joining", "number": 48213, "mode": "sas"},
    ]
