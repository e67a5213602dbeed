"""What `porttunnel instance` shows, and which device is meant."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from porttunnel.cli.instance_choice import choose_device, short_id
from porttunnel.cli.instance_dialogue import InstanceDialogue
from porttunnel.cli.instance_json import JsonInstanceDialogue
from porttunnel.cli.instance_terminal import TerminalInstanceDialogue
from porttunnel.errors import AgentError, ConfigurationError, NotReachable
from porttunnel.net.instance.control_message import DeviceEntry, DeviceList, Invitation
from tests.cli.spoken import SpokenStreams

ANNA = DeviceEntry("3fa91c02" + "0" * 24, "anna", "paired", 1, 86_400, 90_000, True)
BERT = DeviceEntry("3fb91c02" + "0" * 24, "be\x1brt", "waiting", 1)
CODE = "https://gateway.example/pair#" + "A" * 92


class Shown:
    def __init__(self, kind: Any, *, terminal: bool = False) -> None:
        self.streams: Any = SpokenStreams(terminal=terminal)
        self.dialogue: InstanceDialogue = kind(self.streams)

    def take(self) -> str:
        return str(self.streams.take())


def devices(*entries: DeviceEntry, instance_id: str = "1" * 32, up: bool = True) -> DeviceList:
    return DeviceList(instance_id, up, entries)


class TestTheTerminal:
    def test_shows_a_table(self) -> None:
        shown = Shown(TerminalInstanceDialogue)
        shown.dialogue.tell_devices(devices(ANNA, BERT))
        head, first, second = shown.take().splitlines()
        assert head.split() == ["ID", "USER", "STATE", "SINCE", "LAST", "SEEN", "ONLINE"]
        assert first.split()[:3] == ["3fa91c02", "anna", "paired"]
        assert first.split()[-2:] == ["now", "yes"], "seen in this moment, whenever it asked"
        assert second.split()[:4] == ["3fb91c02", "be?rt", "shows", "digits"]
        assert second.split()[-2:] == ["never", "no"]

    def test_says_what_is_not_there(self) -> None:
        shown = Shown(TerminalInstanceDialogue)
        shown.dialogue.tell_devices(devices())
        assert "no devices yet" in shown.take()
        shown.dialogue.tell_devices(devices(instance_id="", up=False))
        assert shown.take() == (
            "The agent is not registered at the gateway yet; its log says why.\n"
        )
        shown.dialogue.tell_devices(devices(ANNA, up=False))
        assert "no connection to the gateway" in shown.take()

    def test_says_what_immediate_means_in_red(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setenv("TERM", "xterm")
        shown = Shown(TerminalInstanceDialogue, terminal=True)
        invitation = Invitation(ANNA.device_id, CODE, 1_800_000_000)
        shown.dialogue.tell_invitation(invitation, "an\nna", [Path("code.png")], immediate=True)
        said = shown.take()
        assert "may do what an?na may" in said
        assert "code.png" in said
        assert "\x1b[31m" in said
        assert "\x1b[1man?na" in said

    def test_draws_for_a_terminal_alone(self) -> None:
        shown = Shown(TerminalInstanceDialogue)
        invitation = Invitation(ANNA.device_id, CODE, 1_800_000_000)
        shown.dialogue.tell_invitation(invitation, "anna", [], immediate=False)
        said = shown.take()
        assert CODE in said
        assert "█" not in said
        assert "\x1b" not in said

    def test_draws_only_what_fits_into_a_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        invitation = Invitation(ANNA.device_id, CODE, 1_800_000_000)
        shown = Shown(TerminalInstanceDialogue, terminal=True)
        monkeypatch.setenv("COLUMNS", "20")
        shown.dialogue.tell_invitation(invitation, "anna", [], immediate=False)
        narrow = shown.take()
        assert "█" not in narrow
        needed = re.search(r"needs a terminal of (\d+) columns, or --png FILE", narrow)
        assert needed is not None
        monkeypatch.setenv("COLUMNS", needed[1])
        shown.dialogue.tell_invitation(invitation, "anna", [], immediate=False)
        wide = shown.take()
        drawn = [line for line in wide.splitlines() if "█" in line]
        assert max(map(len, drawn)) == int(needed[1])
        assert "needs a terminal" not in wide

    def test_ends_a_line_that_nobody_answered(self) -> None:
        shown = Shown(TerminalInstanceDialogue, terminal=True)
        shown.dialogue.ask_digits(ANNA.device_id, 3)
        shown.dialogue.tell_paired(ANNA.device_id, "anna")
        assert shown.take().endswith("shows: \nPaired: device 3fa91c02 of anna.\n")
        shown.streams.say("late")
        assert shown.take() == ""

    def test_ends_a_line_when_the_input_ends(self) -> None:
        shown = Shown(TerminalInstanceDialogue)
        shown.dialogue.ask_digits(ANNA.device_id, None)
        shown.streams.end()
        assert shown.take().endswith("shows: \n")

    def test_says_the_rest(self) -> None:
        shown = Shown(TerminalInstanceDialogue)
        shown.dialogue.tell_revoked(BERT)
        shown.dialogue.tell_error(NotReachable("No\x07 agent."))
        shown.dialogue.tell_done("")
        shown.dialogue.tell_done("Over.")
        assert shown.take() == "Device 3fb91c02 of be?rt is revoked.\nNo? agent.\nOver.\n"


class TestJson:
    def test_lists_devices(self) -> None:
        shown = Shown(JsonInstanceDialogue)
        shown.dialogue.tell_devices(devices(ANNA))
        (event,) = shown.streams.events()
        assert event == {
            "event": "devices",
            "instance_id": "1" * 32,
            "connected": True,
            "devices": [
                {
                    "device_id": ANNA.device_id,
                    "user": "anna",
                    "state": "paired",
                    "invited": 1,
                    "paired": 86_400,
                    "last_seen": 90_000,
                    "online": True,
                }
            ],
        }

    def test_tells_the_rest(self) -> None:
        shown = Shown(JsonInstanceDialogue)
        shown.dialogue.tell_waiting()
        shown.dialogue.tell_left_open(ANNA.device_id)
        shown.dialogue.tell_revoked(ANNA)
        shown.dialogue.tell_error(AgentError("full", "full"))
        assert shown.streams.events() == [
            {"event": "revoked", "device_id": ANNA.device_id, "user": "anna"},
            {"event": "error", "code": "full", "text": "full"},
        ]


class TestWhichDevice:
    def test_by_its_first_digits(self) -> None:
        assert choose_device([ANNA, BERT], "3FA") is ANNA
        assert choose_device([ANNA, BERT], BERT.device_id) is BERT
        assert short_id(ANNA.device_id) == "3fa91c02"

    @pytest.mark.parametrize(
        ("wanted", "why"),
        [
            ("3f", r"Several devices fit '3f': 3fa91c02 \(anna\), 3fb91c02 \(be\?rt\)"),
            ("4", "No device fits '4'"),
            ("", "No device fits ''"),
        ],
    )
    def test_that_is_not_clear(self, wanted: str, why: str) -> None:
        with pytest.raises(ConfigurationError, match=why):
            choose_device([ANNA, BERT], wanted)

    def test_of_none(self) -> None:
        with pytest.raises(ConfigurationError, match="There are no devices yet"):
            choose_device([], "3f")
