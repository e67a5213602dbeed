"""porttunnel.cli.device_terminal: what a person reads and is asked."""

from __future__ import annotations

import time
from typing import Any

import pytest
from twisted.internet.task import Clock

from porttunnel.cli.device_terminal import TerminalDeviceDialogue
from porttunnel.cli.interruption import NOTICE_SECONDS
from porttunnel.errors import PairingError
from porttunnel.gateway.http_head import ResponseHead
from tests.cli.device_records import OTHER_ID, make_record
from tests.cli.spoken import SpokenStreams

RECORD = make_record()
OTHER = make_record(OTHER_ID, "http://localhost:8080", paired=86_400.0, name="wiki")


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(time, "localtime", time.gmtime)


class Told:
    def __init__(self, *, terminal: bool = False) -> None:
        self.clock = Clock()
        self.streams: Any = SpokenStreams(terminal=terminal)
        self.dialogue = TerminalDeviceDialogue(self.clock, self.streams)

    def take(self) -> str:
        taken: str = self.streams.take()
        return taken


class TestPairing:
    def test_asks_for_the_code_and_says_why_again(self) -> None:
        told = Told()
        answers: list[Any] = []
        told.dialogue.ask_code("").addCallback(answers.append)
        assert told.take() == "Text of the QR code: "
        told.streams.say("something")
        told.dialogue.ask_code("This is no pairing code.").addCallback(answers.append)
        assert told.take() == "\nThis is no pairing code.\nText of the QR code: "
        told.streams.end()
        assert answers == ["something", None]

    def test_what_a_person_typed_ends_its_line_itself(self) -> None:
        told = Told(terminal=True)
        told.dialogue.ask_code("")
        told.take()
        told.streams.say("something")
        assert told.take() == ""

    def test_digits_are_large_on_a_screen_and_always_in_plain(self) -> None:
        told = Told(terminal=True)
        told.dialogue.show_digits("012345")
        shown = told.take()
        assert "██████" in shown
        assert "    012 345\n" in shown
        plain = Told()
        plain.dialogue.show_digits("012345")
        shown = plain.take()
        assert "█" not in shown
        assert "    012 345\n" in shown

    def test_says_how_it_goes(self) -> None:
        told = Told()
        told.dialogue.tell_pairing("https://gw.example.com")
        told.dialogue.tell_paired(RECORD)
        told.dialogue.tell_done("")
        assert told.take() == (
            "Pairing by https://gw.example.com ...\n"
            "Paired. This machine is device 3fa91c02 at wiki.example.com.\n"
            "Browse: porttunnel device serve\n"
        )


class TestLists:
    def test_are_tables(self) -> None:
        told = Told()
        told.dialogue.tell_devices([RECORD, OTHER])
        assert told.take() == (
            "ID        NAME  GATEWAY           PAIRED\n"
            "3fa91c02        wiki.example.com  1970-01-01 00:00\n"
            "3fb00000  wiki  localhost:8080    1970-01-02 00:00\n"
        )

    def test_an_empty_one_says_what_to_do(self) -> None:
        told = Told()
        told.dialogue.tell_devices([])
        assert "porttunnel device pair" in told.take()


class TestServing:
    def test_says_where(self) -> None:
        told = Told(terminal=True)
        told.dialogue.tell_listening(RECORD, 20_001)
        assert told.take() == (
            "listening \x1b[1mhttp://127.0.0.1:20001/\x1b[0m  "
            "(wiki.example.com, device 3fa91c02)\n"
        )

    def test_a_lost_link_is_told_if_it_lasts(self) -> None:
        told = Told()
        told.dialogue.tell_link(RECORD, up=True, reason="")
        told.dialogue.tell_link(RECORD, up=False, reason="")
        told.dialogue.tell_link(RECORD, up=True, reason="")
        assert told.take() == ""
        told.dialogue.tell_link(RECORD, up=False, reason="It is\x1b gone.")
        told.dialogue.tell_link(OTHER, up=False, reason="")
        told.clock.advance(NOTICE_SECONDS)
        told.dialogue.tell_link(RECORD, up=True, reason="")
        assert told.take() == (
            "wiki.example.com: It is? gone. Trying again ...\n"
            "wiki: no connection. Trying again ...\n"
            "wiki.example.com: connected again.\n"
        )

    def test_the_end_says_nothing_of_links(self) -> None:
        told = Told()
        told.dialogue.tell_link(RECORD, up=False, reason="")
        told.dialogue.tell_done("Ended.")
        told.clock.advance(NOTICE_SECONDS)
        assert told.take() == "Ended.\n"


class TestWaiting:
    def test_what_is_waited_for_longer_than_a_second_is_told(self) -> None:
        told = Told(terminal=True)
        told.dialogue.tell_waiting(RECORD, connected=False)
        told.clock.advance(NOTICE_SECONDS - 0.1)
        assert told.take() == ""
        told.clock.advance(0.1)
        assert told.take() == "Connecting to wiki.example.com ...\n"
        told.dialogue.tell_waiting(RECORD, connected=True)
        told.clock.advance(NOTICE_SECONDS)
        assert told.take() == "Waiting for wiki.example.com ...\n"

    def test_a_failure_says_more(self) -> None:
        told = Told(terminal=True)
        told.dialogue.tell_waiting(RECORD, connected=False)
        told.dialogue.tell_link(RECORD, up=False, reason="It is gone.")
        told.clock.advance(NOTICE_SECONDS)
        assert told.take() == "wiki.example.com: It is gone. Trying again ...\n"

    def test_what_came_in_time_needs_no_words(self) -> None:
        told = Told(terminal=True)
        told.dialogue.tell_waiting(RECORD, connected=False)
        told.dialogue.tell_waiting(RECORD, connected=True)
        told.dialogue.tell_response(ResponseHead(204), wanted=False)
        told.clock.advance(NOTICE_SECONDS)
        assert told.take() == ""

    def test_who_reads_later_needs_none_either(self) -> None:
        told = Told()
        told.dialogue.tell_waiting(RECORD, connected=False)
        told.clock.advance(NOTICE_SECONDS)
        assert told.take() == ""


class TestRequests:
    def test_a_success_needs_no_words(self) -> None:
        told = Told()
        told.dialogue.tell_response(ResponseHead(204), wanted=False)
        assert told.take() == ""

    def test_everything_else_is_told(self) -> None:
        told = Told()
        for head in (
            ResponseHead(404),
            ResponseHead(599),
            ResponseHead(304),
            ResponseHead(302, ((b"location", b"/new\x1b"),)),
        ):
            told.dialogue.tell_response(head, wanted=False)
        assert told.take() == (
            "The web system answers 404 Not Found.\n"
            "The web system answers 599 .\n"
            "The web system answers 304 Not Modified.\n"
            "The web system answers 302 Found: it is at /new?.\n"
        )

    def test_fields_if_wanted(self) -> None:
        told = Told()
        told.dialogue.tell_response(ResponseHead(200, ((b"a", b"\xe9\x1b"),)), wanted=True)
        assert told.take() == "200 OK\na: é?\n\n"

    def test_progress_stands_on_one_line_of_a_screen(self) -> None:
        told = Told(terminal=True)
        told.dialogue.tell_progress("f", 1_536, None)
        told.dialogue.tell_progress("f", 2_048, 4_096)
        told.dialogue.tell_done("f: 4.0 KiB")
        assert told.take() == ("\r\x1b[K1.5 KiB\r\x1b[K2.0 KiB of 4.0 KiB\r\x1b[Kf: 4.0 KiB\n")
        plain = Told()
        plain.dialogue.tell_progress("f", 1_536, None)
        assert plain.take() == ""


class TestRevoking:
    @pytest.mark.parametrize(("typed", "yes"), [("y", True), ("n", False), ("", False)])
    def test_asks_first(self, typed: str, yes: bool) -> None:
        told = Told(terminal=True)
        answers: list[bool] = []
        told.dialogue.ask_revoke(RECORD).addCallback(answers.append)
        assert told.take() == "Revoke device 3fa91c02 at wiki.example.com? [y/N] "
        told.streams.say(typed)
        assert (answers, told.streams.discarded) == ([yes], 1)

    def test_says_what_was_done(self) -> None:
        told = Told()
        told.dialogue.tell_revoked(RECORD, offline=False)
        told.dialogue.tell_revoked(RECORD, offline=True)
        assert told.take() == (
            "Device 3fa91c02 is revoked, and its keys are erased here.\n"
            "The keys of device 3fa91c02 are erased here.\n"
        )


def test_errors_are_red() -> None:
    told = Told(terminal=True)
    told.dialogue.tell_error(PairingError("It \x1bfailed."))
    assert told.take() == "\x1b[31mIt ?failed.\x1b[0m\n"
