"""What a person reads and is asked."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from porttunnel.cli.terminal_dialogue import TerminalDialogue, printable
from porttunnel.errors import NotReachable, StreamCode, StreamRefused
from porttunnel.session.code import SessionCode
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
    return TerminalDialogue(streams, server, "web, db"), streams


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

    def test_is_no_when_the_input_ends(self) -> None:
        dialogue, streams = dialogue_with()
        answer = dialogue.ask_consent(2, "Ben")
        streams.end()
        assert result_of(answer) is False

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
