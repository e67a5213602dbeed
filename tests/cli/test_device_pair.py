"""porttunnel.cli.device_pair: from a code to a device."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.cli import device_pair as pair_module
from porttunnel.cli.device_json import JsonDeviceDialogue
from porttunnel.cli.device_pair import Pairing
from porttunnel.cli.device_terminal import TerminalDeviceDialogue
from porttunnel.cli.exit_code import ExitCode
from porttunnel.errors import ConfigurationError, PairingError
from porttunnel.gateway.pairing_code import WEB_PKI, PairingCode
from tests.cli.device_records import make_record
from tests.cli.spoken import SpokenStreams

RECORD = make_record()
CODE = PairingCode(RECORD.address.url, bytes(16), bytes(32), WEB_PKI, expires=9).format()


class OneDevice:
    device_id = RECORD.device_id


class KnowingStore:
    def __init__(self) -> None:
        self.named: list[str] = []

    def name_device(self, device_id: str, name: str) -> None:
        assert device_id == RECORD.device_id
        self.named.append(name)

    def read_device(self, device_id: str) -> Any:
        assert device_id == RECORD.device_id
        return RECORD


class PairingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.paired: Deferred[Any] = Deferred()
        self.codes: list[str] = []

        async def pair(reactor: Any, store: Any, code: str, *, on_digits: Any) -> Any:
            self.codes.append(code)
            on_digits("012345")
            return await self.paired

        self.patch(pair_module, "pair", pair)
        self.patch(pair_module, "deferToThread", maybeDeferred)

    def begin(
        self, *, given: str | None = None, terminal: bool = False, name: str = ""
    ) -> Deferred[ExitCode]:
        self.streams: Any = SpokenStreams(terminal=terminal)
        dialogue = (
            TerminalDeviceDialogue(None, self.streams)
            if terminal
            else JsonDeviceDialogue(self.streams)
        )
        pairing = Pairing(dialogue, given=given, name=name, interactive=terminal)
        self.store: Any = KnowingStore()
        return ensureDeferred(pairing.run(None, self.store))

    def test_a_picture_needs_no_question(self) -> None:
        running = self.begin(given=CODE)
        self.assertFalse(self.streams.reading)
        self.paired.callback(OneDevice())
        self.assertEqual(self.successResultOf(running), ExitCode.DONE)
        self.assertEqual(self.codes, [CODE])
        events = self.streams.events()
        self.assertEqual([each["event"] for each in events], ["digits", "paired", "done"])
        self.assertNotIn(CODE[-92:], str(events))

    def test_the_web_system_may_have_a_name(self) -> None:
        for name in ("wiki", ""):
            self.paired = Deferred()
            running = self.begin(given=CODE, name=name)
            self.assertEqual(self.store.named, [])
            self.paired.callback(OneDevice())
            self.successResultOf(running)
            self.assertEqual(self.store.named, [name] if name else [])

    def test_a_program_gives_the_text(self) -> None:
        running = self.begin()
        self.streams.say(CODE)
        self.assertEqual(self.codes, [CODE])
        self.paired.errback(PairingError("It came to nothing."))
        self.failureResultOf(running, PairingError)

    def test_a_program_that_gives_something_else_is_told_at_once(self) -> None:
        running = self.begin()
        self.streams.say("nonsense")
        self.failureResultOf(running, PairingError)
        self.assertEqual(self.codes, [])

    def test_a_person_may_type_again(self) -> None:
        self.begin(terminal=True)
        self.streams.say("nonsense")
        self.assertIn("This is no pairing code", self.streams.take())
        self.streams.say(CODE)
        self.assertIn("Pairing by https://wiki.example.com", self.streams.take())

    def test_no_text_at_all(self) -> None:
        running = self.begin()
        self.streams.end()
        self.failureResultOf(running, ConfigurationError)
