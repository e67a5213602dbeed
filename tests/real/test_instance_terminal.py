"""`porttunnel instance invite` as a person sees it, beside a real agent and a real device."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.real.gateway_site import GatewaySite
from tests.real.program import PORTTUNNEL, Start, clean_environment
from tests.real.terminal import CTRL_C, Terminal

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are POSIX"),
]

Sit = Callable[..., Terminal]
NOWHERE = "http://127.0.0.1:9"
ASKED = "Type the six digits that the device shows: "


@pytest.fixture(scope="module")
def site(start_for_module: Start, tmp_path_factory: pytest.TempPathFactory) -> GatewaySite:
    return GatewaySite(start_for_module, tmp_path_factory.mktemp("site"), NOWHERE)


@pytest.fixture
def sit(site: GatewaySite, tmp_path: Path) -> Iterator[Sit]:
    """``sit(*arguments)``: a person who types `porttunnel instance` and the arguments."""
    terminals: list[Terminal] = []

    def sit(*arguments: str) -> Terminal:
        environment = clean_environment(tmp_path)
        environment["PORTTUNNEL_DATA"] = str(site.agent_folder)
        terminal = Terminal((*PORTTUNNEL, "instance", *arguments), environment, tmp_path)
        terminals.append(terminal)
        return terminal

    yield sit
    for terminal in terminals:
        terminal.stop()


def read_code(terminal: Terminal) -> str:
    terminal.wait_for("the same as a text: ")
    return terminal.wait_for("\n").strip()


def test_a_phone_and_its_digits(site: GatewaySite, sit: Sit, start: Start, tmp_path: Path) -> None:
    host = sit("invite", "--user", "Anna")
    assert "█" in host.wait_for("Or ")
    code = read_code(host)
    host.wait_for("Waiting for the device")
    # Typed too early, so it is no answer.
    host.type("000000\n")
    pairing = start(
        *(*PORTTUNNEL, "device", "pair", "--json", "-"),
        environment={"PORTTUNNEL_DATA": str(tmp_path / "phone")},
    )
    pairing.send(code)
    digits = pairing.event("digits")["digits"]
    host.wait_for(ASKED)
    host.type("12345\n")
    host.wait_for("Type the 6 digits")
    host.wait_for(ASKED)
    wrong = f"{(int(digits) + 1) % 1_000_000:06}"
    host.type(f"{wrong}\n")
    host.wait_for("Tries left: 2.")
    host.wait_for(ASKED)
    host.type(f"{digits[:3]} {digits[3:]}\n")
    shown = host.wait_for(" of Anna.\n")
    assert host.wait() == 0
    device_id = pairing.event("paired")["device_id"]
    assert f"Paired: device {device_id[:8]}" in shown
    assert pairing.wait() == 0

    devices = sit("devices")
    table = devices.wait_for("paired")
    assert devices.wait() == 0
    assert re.search(rf"{device_id[:8]} +Anna +paired", table)
    revoking = sit("revoke", device_id[:6])
    revoking.wait_for(f"Device {device_id[:8]} of Anna is revoked.")
    assert revoking.wait() == 0


def test_whoever_leaves_comes_back_with_confirm(sit: Sit, start: Start, tmp_path: Path) -> None:
    host = sit("invite", "--user", "Ben")
    code = read_code(host)
    host.wait_for("Waiting for the device")
    host.type(CTRL_C)
    later = host.wait_for("to take it back.")
    assert host.wait() == 0
    found = re.search("porttunnel instance confirm ([0-9a-f]{8})", later)
    assert found is not None
    pairing = start(
        *(*PORTTUNNEL, "device", "pair", "--json", "-"),
        environment={"PORTTUNNEL_DATA": str(tmp_path / "phone")},
    )
    pairing.send(code)
    digits = pairing.event("digits")["digits"]
    again = sit("confirm", found[1])
    again.wait_for(ASKED)
    again.type(f"{digits}\n")
    again.wait_for(f"Paired: device {found[1]} of Ben.")
    assert again.wait() == 0
    assert pairing.event("paired")["device_id"].startswith(found[1])


def test_an_invitation_that_is_taken_back_ends_the_question(sit: Sit) -> None:
    host = sit("invite", "--user", "Cora")
    host.wait_for("Waiting for the device")
    listing = sit("devices")
    row = re.search("([0-9a-f]{8}) +Cora", listing.wait_for("Cora"))
    assert row is not None
    assert sit("revoke", row[1]).wait() == 0
    host.wait_for("was removed")
    assert host.wait() == 1


def test_immediate_says_what_it_means(sit: Sit, start: Start, tmp_path: Path) -> None:
    host = sit("invite", "--user", "Dora", "--immediate", "--svg", "code.svg")
    code = read_code(host)
    picture = tmp_path / "code.svg"
    host.wait_for("code.svg")
    assert picture.stat().st_mode & 0o777 == 0o600
    host.wait_for("may do what Dora may. Let nobody else see it.")
    pairing = start(
        *(*PORTTUNNEL, "device", "pair", "--json", "-"),
        environment={"PORTTUNNEL_DATA": str(tmp_path / "phone")},
    )
    pairing.send(code)
    host.wait_for(" of Dora.\n")
    assert host.wait() == 0
    assert pairing.event("paired")["device_id"]


def test_no_agent_there(sit: Sit, tmp_path: Path) -> None:
    host = sit("devices", "--data-dir", str(tmp_path / "none"))
    host.wait_for("No agent runs with the data folder")
    assert host.wait() == 4
