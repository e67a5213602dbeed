"""What a person reads and is asked."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from porttunnel.cli.member_list import MemberState
from porttunnel.cli.terminal_dialogue import TerminalDialogue
from porttunnel.cli.wording import printable
from porttunnel.errors import (
    LocalProtocolError,
    NotReachable,
    StreamCode,
    StreamRefused,
    StreamReset,
)
from porttunnel.session.code import SessionCode
from porttunnel.session.event import PathKind
from porttunnel.session.record import Service
from tests.cli.spoken import SpokenStreams

CODE = SessionCode(48213, pin="604219")
LINK = SessionCode(48213, link_secret="ABCDEFGHIJKLMNOPQRSTUVWXYA")


@pytest.fixture(autouse=True)
def _colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def dialogue_with(
    *, terminal: bool = False, server: str | None = None
) -> tuple[TerminalDialogue, SpokenStreams]:
    streams: Any = SpokenStreams(terminal=terminal)
    return TerminalDialogue(Clock(), streams, server, "web, db"), streams


def result_of(answer: Deferred[Any]) -> Any:
    results: list[Any] = []
    answer.addCallback(results.append)
    return results[0] if results else "no answer yet"


class TestInvitations:
    def test_show_the_code_and_how_to_use_it(self) -> None:
        dialogue, streams = dialogue_with(server="ptuns://tunnel.example.com")
        dialogue.tell_session(CODE, LINK)
        shown = streams.take()
        assert "Session 48213 is open. Shared: web, db." in shown
        assert "│  4821 3604 2197  │" in shown
        assert "porttunnel join --server ptuns://tunnel.example.com\n" in shown
        assert "porttunnel:48213#ABCDEFGHIJKLMNOPQRSTUVWXYA" in shown
        assert "█" not in shown, "a QR code is for a screen"

    def test_show_a_qr_code_on_a_screen(self) -> None:
        dialogue, streams = dialogue_with(terminal=True)
        dialogue.tell_session(CODE, LINK)
        assert "█" in streams.take()

    def test_that_follow_are_short(self) -> None:
        dialogue, streams = dialogue_with()
        dialogue.tell_session(CODE, LINK)
        streams.take()
        dialogue.tell_session(SessionCode(48213, pin="000000"), None)
        shown = streams.take()
        assert "next person" in shown
        assert "│  4821 3000 0" in shown
        assert "is open" not in shown

    def test_without_a_secret_show_the_number_once(self) -> None:
        dialogue, streams = dialogue_with()
        dialogue.tell_session(SessionCode(48213), None)
        shown = streams.take()
        assert "│  4821 3  │" in shown
        assert "porttunnel join 48213\n" in shown
        dialogue.tell_session(SessionCode(48213), None)
        assert streams.take() == ""


class TestColours:
    def test_are_for_screens(self) -> None:
        dialogue, streams = dialogue_with(terminal=True)
        dialogue.tell_error(NotReachable("No."))
        assert streams.take() == "\x1b[31mNo.\x1b[0m\n"
        dialogue, streams = dialogue_with()
        dialogue.tell_error(NotReachable("No."))
        assert streams.take() == "No.\n"

    @pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
    def test_can_be_switched_off(
        self, monkeypatch: pytest.MonkeyPatch, name: str, value: str
    ) -> None:
        monkeypatch.setenv(name, value)
        dialogue, streams = dialogue_with(terminal=True)
        dialogue.tell_error(NotReachable("No."))
        assert streams.take() == "No.\n"


class TestConsent:
    @pytest.mark.parametrize(
        ("line", "allowed"),
        [("y", True), (" YES ", True), ("", False), ("n", False), ("yess", False)],
    )
    def test_is_yes_only_if_said(self, line: str, allowed: bool) -> None:
        dialogue, streams = dialogue_with(terminal=True)
        answer = dialogue.ask_consent(2, "Ben@laptop")
        assert "Ben@laptop" in streams.take()
        streams.say(line)
        assert result_of(answer) is allowed
        assert ("Ben@laptop was refused." in streams.take()) is not allowed

    def test_is_no_when_the_input_ends(self) -> None:
        dialogue, streams = dialogue_with()
        answer = dialogue.ask_consent(2, "Ben")
        streams.take()
        streams.end()
        assert result_of(answer) is False
        assert "Add --yes" in streams.take()

    def test_of_who_has_gone_is_no_refusal(self) -> None:
        dialogue, streams = dialogue_with(terminal=True)
        dialogue.ask_consent(2, "Ben")
        dialogue.forget(2)
        assert "refused" not in streams.take()

    def test_is_not_what_was_typed_before_the_question(self) -> None:
        dialogue, streams = dialogue_with(terminal=True)
        dialogue.ask_consent(2, "Ben")
        assert streams.discarded == 1

    def test_is_asked_for_one_after_the_other(self) -> None:
        dialogue, streams = dialogue_with(terminal=True)
        first, second = dialogue.ask_consent(2, "Ann"), dialogue.ask_consent(3, "Ben")
        assert "Ben" not in streams.take()
        streams.say("n")
        assert "Ben" in streams.take()
        streams.say("y")
        assert (result_of(first), result_of(second)) == (False, True)
        assert not streams.reading

    def test_of_who_has_gone_is_void(self) -> None:
        dialogue, streams = dialogue_with(terminal=True)
        first, second = dialogue.ask_consent(2, "Ann"), dialogue.ask_consent(3, "Ben")
        third = dialogue.ask_consent(4, "Cem")
        dialogue.forget(3)
        assert result_of(second) is False
        streams.take()
        dialogue.forget(2)
        assert result_of(first) is False
        assert "Cem" in streams.take()
        streams.say("y")
        assert result_of(third) is True

    def test_that_came_too_late_answers_nothing(self) -> None:
        dialogue, streams = dialogue_with(terminal=True)
        dialogue.ask_consent(2, "Ann")
        dialogue.forget(2)
        streams.say("y")
        assert not streams.reading

    def test_stays_on_the_last_line(self) -> None:
        dialogue, streams = dialogue_with()
        dialogue.ask_consent(2, "Ben")
        prompt = streams.take()
        dialogue.tell_left(3, "Ann", "closed", cut_off=False)
        assert streams.take() == f"\nAnn has left.\n{prompt}"


class TestWordsOfTheOtherSide:
    def test_move_no_cursor_and_forge_no_line(self) -> None:
        assert printable("Ben\x1b[2J\n\u202eAnn é") == "Ben?[2J??Ann é"

    @pytest.mark.parametrize(
        "tell",
        [
            lambda dialogue: dialogue.ask_consent(2, "\x1b]"),
            lambda dialogue: dialogue.tell_decided("\x1b]", once=False),
            lambda dialogue: dialogue.tell_decided("\x1b]", once=True),
            lambda dialogue: dialogue.tell_joined(2, "\x1b]"),
            lambda dialogue: dialogue.tell_left(2, "\x1b]", "\x1b]", cut_off=True),
            lambda dialogue: dialogue.tell_left(2, None, "\x1b]", cut_off=True),
            lambda dialogue: dialogue.tell_verified("\x1b]"),
            lambda dialogue: dialogue.tell_welcome(2, "\x1b]", [SERVICE]),
            lambda dialogue: dialogue.tell_listening(SERVICE, "127.0.0.1", 80),
            lambda dialogue: dialogue.tell_not_forwarded(SERVICE),
            lambda dialogue: dialogue.tell_refused("\x1b]", REFUSED),
            lambda dialogue: dialogue.tell_error(REFUSED),
            lambda dialogue: dialogue.tell_done("\x1b]"),
        ],
    )
    def test_are_made_harmless_wherever_they_stand(self, tell: Any) -> None:
        dialogue, streams = dialogue_with()
        tell(dialogue)
        shown = streams.take()
        assert "?]" in shown
        assert "\x1b" not in shown


SERVICE = Service(name="\x1b]", kind="tcp")
REFUSED = StreamRefused("\x1b]", StreamCode.ABORTED)


class TestDigits:
    def test_are_asked_for_and_shown(self) -> None:
        dialogue, streams = dialogue_with(terminal=True)
        answer = dialogue.ask_digits(2, first=True)
        assert "Somebody asks to join" in streams.take()
        streams.say("123 456")
        assert result_of(answer) == "123456"
        dialogue.show_digits(2, "654321", first=False)
        assert "654 321" in streams.take()
        dialogue.tell_wrong_digits(2, 1)
        assert "Tries left: 1" in streams.take()

    def test_that_nobody_can_type_are_none(self) -> None:
        dialogue, streams = dialogue_with()
        answer = dialogue.ask_digits(1, first=False)
        streams.end()
        assert result_of(answer) is None


class TestCodes:
    def test_are_asked_for(self) -> None:
        dialogue, streams = dialogue_with(terminal=True)
        answer = dialogue.ask_code("", None)
        assert streams.take() == "Code: "
        streams.say("4821 3604 2197")
        assert result_of(answer) == "4821 3604 2197"

    def test_are_asked_for_again_with_the_reason(self) -> None:
        dialogue, streams = dialogue_with(terminal=True)
        dialogue.ask_code("A digit is wrong.", None)
        assert streams.take() == "A digit is wrong.\nCode: "
        streams.say("x")
        dialogue.ask_code("Not verified.", 2)
        assert streams.take() == "Not verified. Tries left with this code: 2.\nCode: "

    def test_from_a_pipe_need_no_prompt(self) -> None:
        dialogue, streams = dialogue_with()
        dialogue.ask_code("", None)
        assert streams.take() == ""


class TestServices:
    def test_have_addresses(self) -> None:
        dialogue, streams = dialogue_with()
        dialogue.tell_listening(Service(name="db", kind="tcp"), "127.0.0.1", 5432)
        dialogue.tell_listening(Service(name="files", kind="dir"), "127.0.0.1", 80)
        assert streams.take() == "db: 127.0.0.1:5432\nfiles: http://127.0.0.1:80/\n"

    def test_that_are_down_say_why(self) -> None:
        dialogue, streams = dialogue_with()
        dialogue.tell_refused("web", StreamRefused("Nothing listens.", StreamCode.ABORTED))
        assert streams.take() == "web: Nothing listens.\n"


def test_too_many_wrong_tries_are_a_question() -> None:
    dialogue, streams = dialogue_with(terminal=True)
    dialogue.tell_failed_run(2)
    answer = dialogue.ask_resume(10)
    assert "10 tries" in streams.take()
    streams.say("y")
    assert result_of(answer) is True


class Obedient:
    """Does what is typed, and writes it down."""

    def __init__(self) -> None:
        self.obeyed: list[Any] = []

    def kick(self, member: int) -> None:
        if member != 2:
            raise LocalProtocolError("nobody has this number")
        self.obeyed.append(("kick", member))

    def lock(self, locked: bool) -> None:
        self.obeyed.append(("lock", locked))

    def list_members(self) -> None:
        self.obeyed.append("members")

    def close(self) -> None:
        self.obeyed.append("close")


class TestCommands:
    def begin(self) -> tuple[TerminalDialogue, SpokenStreams, Obedient]:
        dialogue, streams = dialogue_with(terminal=True)
        commands = Obedient()
        dialogue.begin(commands)
        return dialogue, streams, commands

    def test_are_named_once_and_obeyed(self) -> None:
        _, streams, commands = self.begin()
        assert streams.take() == (
            "\x1b[2mYou can type: members, kick N, lock, unlock, help.\x1b[0m\n"
        )
        for line in ("members", " Kick 2 ", "lock", "UNLOCK", ""):
            streams.say(line)
        assert commands.obeyed == ["members", ("kick", 2), ("lock", True), ("lock", False)]
        assert streams.take() == ""

    @pytest.mark.parametrize(
        ("line", "answer"),
        [
            ("help", "kick N    put member N out"),
            ("kick 3", "Member 3 is not in the session."),
            ("kick", "'kick' is no command."),
            ("kick \x1b", "'kick ?' is no command."),
            ("y", "'y' is no command. You can type: members"),
        ],
    )
    def test_are_answered_in_words(self, line: str, answer: str) -> None:
        _, streams, commands = self.begin()
        streams.say(line)
        assert answer in streams.take()
        assert commands.obeyed == []
        assert streams.reading

    def test_give_way_to_a_question(self) -> None:
        dialogue, streams, commands = self.begin()
        assert streams.patient
        answer = dialogue.ask_consent(2, "Ben")
        assert not streams.patient
        streams.say("members")
        assert result_of(answer) is False
        assert commands.obeyed == []
        assert streams.patient
        streams.say("members")
        assert commands.obeyed == ["members"]

    def test_end_with_the_input(self) -> None:
        dialogue, streams, _ = self.begin()
        streams.end()
        assert not streams.reading
        assert result_of(dialogue.ask_consent(2, "Ben")) is False

    def test_are_not_read_from_a_pipe(self) -> None:
        dialogue, streams = dialogue_with()
        dialogue.begin(Obedient())
        assert not streams.reading
        assert streams.take() == ""

    def test_are_not_for_who_joins(self) -> None:
        streams: Any = SpokenStreams(terminal=True)
        TerminalDialogue(Clock(), streams).begin(Obedient())
        assert not streams.reading


class TestMembers:
    def test_are_listed_with_their_path_and_bytes(self) -> None:
        dialogue, streams = dialogue_with()
        ben = MemberState(2, "Ben\n", PathKind.DIRECT, sent_bytes=3 << 20, received_bytes=12)
        eve = MemberState(3, "Eve", away=True, sent_bytes=1 << 50, received_bytes=1536)
        dialogue.tell_members([ben, eve], locked=True)
        assert streams.take().splitlines() == [
            "    2  Ben?  direct  3.0 MiB sent, 12 B received",
            "    3  Eve  through the tunnel server  1024.0 TiB sent, 1.5 KiB received  (away)",
            "Locked: nobody new comes in.",
        ]
        dialogue.tell_members([], locked=False)
        assert streams.take() == "Nobody is in.\n"

    def test_are_let_in_or_not(self) -> None:
        dialogue, streams = dialogue_with()
        dialogue.tell_locked(True)
        dialogue.tell_locked(False)
        locked, unlocked = streams.take().splitlines()
        assert locked.startswith("Locked")
        assert unlocked.startswith("Unlocked")

    def test_that_are_too_slow_for_a_broadcast_are_named(self) -> None:
        dialogue, streams = dialogue_with()
        dialogue.tell_too_slow(2, "Ben", StreamReset("Too slow.", StreamCode.TIMED_OUT))
        assert streams.take() == "Ben: Too slow.\n"


class TestPaths:
    def test_are_told_with_the_reason(self) -> None:
        dialogue, streams = dialogue_with()
        dialogue.tell_path(2, "Ben", PathKind.DIRECT, "both are on one network")
        dialogue.tell_path(2, "Ben", PathKind.RELAY, "it was cut\x07")
        assert streams.take().splitlines() == [
            "Ben: now directly, without the tunnel server: both are on one network.",
            "Ben: now through the tunnel server: it was cut?.",
        ]


class TestInterruptions:
    def begin(self) -> tuple[TerminalDialogue, SpokenStreams, Clock]:
        streams: Any = SpokenStreams()
        clock = Clock()
        return TerminalDialogue(clock, streams, None, ""), streams, clock

    def test_of_a_moment_are_not_told(self) -> None:
        dialogue, streams, clock = self.begin()
        dialogue.tell_link(up=False, reason="It was cut.")
        dialogue.tell_away(2, "Ben", away=True)
        clock.advance(0.9)
        dialogue.tell_link(up=True, reason="")
        dialogue.tell_away(2, "Ben", away=False)
        clock.advance(9)
        assert streams.take() == ""

    def test_that_last_are_told_and_their_end_too(self) -> None:
        dialogue, streams, clock = self.begin()
        for _ in range(2):
            dialogue.tell_link(up=False, reason="It was cut.")
        dialogue.tell_away(2, "Ben", away=True)
        clock.advance(1)
        dialogue.tell_link(up=False, reason="It was cut again.")
        clock.advance(1)
        dialogue.tell_away(2, "Ben", away=False)
        dialogue.tell_link(up=True, reason="")
        dialogue.tell_link(up=True, reason="")
        assert streams.take().splitlines() == [
            "It was cut. Reconnecting ... nothing is lost.",
            "Ben is away: the connection is interrupted, and may come back.",
            "Ben is back.",
            "Back.",
        ]

    def test_are_no_news_once_it_is_over(self) -> None:
        dialogue, streams, clock = self.begin()
        dialogue.tell_away(2, "Ben", away=True)
        dialogue.tell_left(2, "Ben", "cut", cut_off=True)
        dialogue.tell_link(up=False, reason="It was cut.")
        dialogue.tell_done("Over.")
        dialogue.tell_link(up=False, reason="It was cut.")
        dialogue.tell_error(NotReachable("No."))
        streams.take()
        clock.advance(9)
        assert streams.take() == ""


def test_what_else_is_told() -> None:
    dialogue, streams = dialogue_with()
    dialogue.tell_broadcast(ended=False)
    dialogue.tell_broadcast(ended=True)
    dialogue.tell_way(48213, rejoin=True)
    dialogue.tell_way(48213, rejoin=False)
    shown = streams.take().splitlines()
    assert [line.split()[0] for line in shown] == ["Broadcasting", "The", "Coming", "Joining"]


def test_who_was_verified_by_digits_has_no_name_yet() -> None:
    dialogue, streams = dialogue_with()
    dialogue.tell_verified("")
    dialogue.tell_verified("Anna")
    assert [line.partition(" is ")[0] for line in streams.take().splitlines()] == [
        "The other side",
        "Anna",
    ]


class TestConnecting:
    """Nobody looks at a dark screen for longer than a second."""

    def begin(self) -> tuple[TerminalDialogue, SpokenStreams, Clock]:
        clock, streams = Clock(), SpokenStreams(terminal=True)
        spoken: Any = streams
        dialogue = TerminalDialogue(clock, spoken, None, "web")
        dialogue.tell_connecting("ptun://\x1b[2Jslow")
        return dialogue, streams, clock

    def test_is_told_after_a_second(self) -> None:
        _, streams, clock = self.begin()
        clock.advance(0.9)
        assert streams.take() == ""
        clock.advance(0.2)
        assert streams.take() == "Connecting by ptun://?[2Jslow ...\n"

    @pytest.mark.parametrize(
        "answer",
        [
            lambda dialogue: dialogue.tell_session(SessionCode(48213), None),
            lambda dialogue: dialogue.ask_code("", None),
            lambda dialogue: dialogue.show_digits(1, "123456", first=True),
            lambda dialogue: dialogue.tell_verified("Anna"),
            lambda dialogue: dialogue.tell_welcome(2, "Anna", []),
            lambda dialogue: dialogue.tell_error(NotReachable("No.")),
        ],
    )
    def test_is_over_with_an_answer(self, answer: Any) -> None:
        dialogue, streams, clock = self.begin()
        answer(dialogue)
        streams.take()
        clock.advance(2.0)
        assert streams.take() == ""
