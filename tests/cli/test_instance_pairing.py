"""`porttunnel instance invite` and `confirm`: what an agent says, what is asked, how it ends."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.cli.exit_code import ExitCode
from porttunnel.cli.instance_json import JsonInstanceDialogue
from porttunnel.cli.instance_pairing import Pairing
from porttunnel.cli.instance_terminal import TerminalInstanceDialogue
from porttunnel.errors import AgentError, ConfigurationError, NotReachable
from porttunnel.net.instance.control_message import (
    Command,
    DeviceEntry,
    DigitsChecked,
    Done,
    EnterDigits,
    Invitation,
    Invite,
    Progress,
    Revoke,
)
from tests.cli.spoken import SpokenStreams

DEVICE = "3fa91c02" + "0" * 24
CODE = "https://gateway.example/pair#" + "A" * 92
INVITATION = Invitation(DEVICE, CODE, 1_800_000_000)


class FakeControl:
    """An agent: the test says what it answers and tells."""

    def __init__(self) -> None:
        self.asked: list[Command] = []
        self.answers: list[Any] = []
        self.tell: Callable[[Progress], None] = lambda progress: None
        self.watched: Deferred[None] = Deferred()
        self.stopped = False

    async def ask(self, command: Command) -> Any:
        self.asked.append(command)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def watch(self, device_id: str, tell: Callable[[Progress], None]) -> None:
        assert device_id == DEVICE
        self.tell = tell
        try:
            await self.watched
        finally:
            self.stopped = True


class PairingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.control = FakeControl()
        self.control.answers = [INVITATION]
        self.streams = SpokenStreams()
        self.addCleanup(self.streams.end)
        self.dialogue: Any = JsonInstanceDialogue(self.given(self.streams))

    @staticmethod
    def given(value: Any) -> Any:
        return value

    def invite(self, *, immediate: bool = False, **pictures: Path) -> Deferred[ExitCode]:
        pairing = Pairing(self.dialogue, self.given(self.control))
        running = Deferred.fromCoroutine(
            pairing.invite("anna", 600, pictures, immediate=immediate)
        )
        return running

    def confirm(self) -> Deferred[ExitCode]:
        pairing = Pairing(self.dialogue, self.given(self.control))
        device = DeviceEntry(DEVICE, "anna", "waiting", 1)
        return Deferred.fromCoroutine(pairing.confirm(device))

    def events(self) -> list[str]:
        return [event["event"] for event in self.streams.events()]

    def test_the_right_digits(self) -> None:
        running = self.invite()
        self.assertEqual(
            self.streams.events(),
            [
                {
                    "event": "invitation",
                    "device_id": DEVICE,
                    "user": "anna",
                    "code": CODE,
                    "expires": 1_800_000_000,
                    "immediate": False,
                }
            ],
        )
        self.control.tell(Progress("invited"))
        self.assertFalse(self.streams.reading)
        self.control.tell(Progress("waiting", 3))
        self.assertEqual(
            self.streams.events(),
            [{"event": "digits-asked", "device_id": DEVICE, "tries_left": 3}],
        )
        self.control.answers = [DigitsChecked("paired")]
        self.streams.say({"digits": "123456"})
        self.assertEqual(self.successResultOf(running), ExitCode.DONE)
        self.assertEqual(
            self.streams.events(),
            [
                {"event": "paired", "device_id": DEVICE, "user": "anna"},
                {"event": "done", "reason": ""},
            ],
        )
        self.assertEqual(
            self.control.asked, [Invite("anna", False, 600), EnterDigits(DEVICE, "123456")]
        )
        self.assertTrue(self.control.stopped)

    def test_wrong_digits_are_asked_again(self) -> None:
        running = self.invite()
        self.control.tell(Progress("waiting"))
        self.control.answers = [
            DigitsChecked("wrong", 2),
            AgentError("Type the 6 digits that the device shows.", "pairing-failed"),
            DigitsChecked("ended", reason="The digits were wrong three times."),
        ]
        self.streams.take()
        self.streams.say({"digits": "111111"})
        # The agent tells all who watch as well.
        self.control.tell(Progress("waiting", 2))
        wrong, again = self.streams.events()
        self.assertEqual((wrong["code"], wrong["tries_left"]), ("wrong-digits", 2))
        self.assertEqual((again["event"], again["tries_left"]), ("digits-asked", 2))
        self.streams.say({"digits": "x"})
        self.assertEqual(self.events(), ["error", "digits-asked"])
        self.streams.say({"digits": "222222"})
        error = self.failureResultOf(running, AgentError).value
        self.assertEqual(str(error), "The digits were wrong three times.")

    def test_other_refusals_of_digits_end_it(self) -> None:
        running = self.invite()
        self.control.tell(Progress("waiting"))
        self.control.answers = [AgentError("too late", "timed-out")]
        self.streams.say({"digits": "111111"})
        self.failureResultOf(running, AgentError)

    def test_digits_that_are_typed_elsewhere(self) -> None:
        running = self.invite()
        self.control.tell(Progress("waiting"))
        self.control.tell(Progress("paired"))
        self.assertEqual(self.successResultOf(running), ExitCode.DONE)
        self.assertEqual(self.events(), ["invitation", "digits-asked", "paired", "done"])

    def test_lines_that_are_no_digits(self) -> None:
        running = self.invite()
        self.control.tell(Progress("waiting"))
        self.streams.take()
        for line in ("", "123456", '{"digits": 1}', '{"colour": "red"}', "{}"):
            self.streams.say(line)
            self.assertTrue(self.streams.reading)
        errors = self.streams.events()
        self.assertEqual([error["code"] for error in errors], ["usage"] * 3)
        self.streams.say({"close": True})
        self.assertEqual(self.successResultOf(running), ExitCode.DONE)
        self.assertEqual(self.events(), ["done"])

    def test_nobody_who_could_type(self) -> None:
        running = self.invite()
        self.streams.end()
        self.assertNoResult(running)
        self.control.tell(Progress("waiting"))
        self.assertEqual(self.successResultOf(running), ExitCode.DONE)
        self.assertEqual(self.events(), ["invitation", "digits-asked", "done"])

    def test_whoever_leaves_leaves_the_code_open(self) -> None:
        running = self.invite()
        running.cancel()
        self.assertEqual(self.successResultOf(running), ExitCode.DONE)
        self.assertEqual(self.events(), ["invitation", "done"])
        self.assertTrue(self.control.stopped)

    def test_immediate_asks_nothing(self) -> None:
        running = self.invite(immediate=True)
        self.control.tell(Progress("waiting"))
        self.assertFalse(self.streams.reading)
        self.control.tell(Progress("paired"))
        self.assertEqual(self.successResultOf(running), ExitCode.DONE)
        self.assertEqual(self.events(), ["invitation", "paired", "done"])

    def test_a_bad_end_says_why(self) -> None:
        running = self.invite()
        self.control.tell(Progress("ended", reason="The code has expired. Make a new code."))
        error = self.failureResultOf(running, AgentError).value
        self.assertEqual(
            (error.code, str(error)),
            ("pairing-failed", "The code has expired. Make a new code."),
        )

    def test_an_agent_that_ends(self) -> None:
        running = self.invite()
        self.control.watched.errback(NotReachable("The agent has closed the connection."))
        self.failureResultOf(running, NotReachable)

    def test_an_invitation_that_is_refused(self) -> None:
        self.control.answers = [AgentError("There are as many as there may be.", "full")]
        self.failureResultOf(self.invite(), AgentError)

    def test_digits_later(self) -> None:
        running = self.confirm()
        self.control.tell(Progress("invited"))
        self.control.tell(Progress("waiting"))
        self.control.answers = [DigitsChecked("paired")]
        self.streams.say({"digits": "123456"})
        self.assertEqual(self.successResultOf(running), ExitCode.DONE)

    def test_pictures_are_for_their_owner(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            png, svg = Path(name) / "code.png", Path(name) / "code.svg"
            running = self.invite(png=png, svg=svg)
            self.assertEqual(png.stat().st_mode & 0o777, 0o600)
            self.assertEqual(svg.stat().st_mode & 0o777, 0o600)
            self.assertTrue(png.read_bytes().startswith(b"\x89PNG"))
            self.assertIn(b"<svg", svg.read_bytes())
        running.cancel()

    def test_a_picture_takes_the_place_of_a_file_only(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            file, link = Path(name) / "code.png", Path(name) / "stdout"
            link.symlink_to(file)
            file.write_text("the last one")
            self.control.answers.append(Done())
            error = self.failureResultOf(self.invite(png=link), ConfigurationError).value
            self.assertIn("would be replaced", str(error))
            self.assertEqual((link.is_symlink(), file.read_text()), (True, "the last one"))
            self.control.answers.append(INVITATION)
            self.invite(png=file).cancel()
            self.assertTrue(file.read_bytes().startswith(b"\x89PNG"))

    def test_a_picture_that_can_not_be_written_takes_the_code_back(self) -> None:
        self.control.answers.append(Done())
        running = self.invite(png=Path("/none/code.png"))
        error = self.failureResultOf(running, ConfigurationError).value
        self.assertIn("/none/code.png can't be written", str(error))
        self.assertEqual(self.control.asked[1], Revoke(DEVICE))
        self.assertEqual(self.streams.take(), "")

    def test_a_person_at_a_terminal(self) -> None:
        self.streams = SpokenStreams(terminal=True)
        self.addCleanup(self.streams.end)
        self.dialogue = TerminalInstanceDialogue(self.given(self.streams))
        running = self.invite()
        self.control.tell(Progress("invited"))
        shown = self.streams.take()
        self.assertIn("█", shown)
        self.assertIn(CODE, shown)
        self.assertIn("anna", shown)
        self.assertIn("Waiting for the device", shown)
        self.control.tell(Progress("waiting", 3))
        self.assertEqual(self.streams.take(), "Type the six digits that the device shows: ")
        self.assertEqual(self.streams.discarded, 1)
        self.control.answers = [DigitsChecked("wrong", 1), AgentError("no", "pairing-failed")]
        self.streams.say("111 111")
        self.assertIn("Tries left: 1", self.streams.take())
        self.streams.say("x")
        self.assertIn("no", self.streams.take())
        running.cancel()
        self.assertEqual(self.successResultOf(running), ExitCode.DONE)
        self.assertIn("porttunnel instance confirm 3fa91c02", self.streams.take())
