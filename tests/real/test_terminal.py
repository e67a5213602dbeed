"""`porttunnel` as a person sees it, in a terminal."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from porttunnel.session.code import SessionCode, format_code, parse_code
from tests.real.mortal_server import MortalServer
from tests.real.program import PORTTUNNEL, Start, TunnelServer, clean_environment
from tests.real.terminal import CTRL_C, Terminal

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are POSIX"),
]

Sit = Callable[..., Terminal]


@pytest.fixture
def sit(tmp_path: Path, tunnel_server: TunnelServer) -> Iterator[Sit]:
    """``sit(*arguments)``: a person who types `porttunnel` and the arguments."""
    terminals: list[Terminal] = []

    def sit(*arguments: str) -> Terminal:
        environment = clean_environment(tmp_path) | {"PORTTUNNEL_SERVER": tunnel_server.address}
        command, *rest = arguments
        no_direct = () if command == "demo" else ("--no-direct",)
        terminal = Terminal((*PORTTUNNEL, command, *no_direct, *rest), environment, tmp_path)
        terminals.append(terminal)
        return terminal

    yield sit
    for terminal in terminals:
        terminal.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "pages"
    found.mkdir()
    return found


def code_of(shown: str) -> str:
    """The digits in the box."""
    boxed = shown.rpartition("│  ")[2] if "│  " in shown else shown
    return boxed.replace("\x1b[1m", "").replace("\x1b[0m", "").strip(" │\n")


def test_two_people(sit: Sit, folder: Path) -> None:
    anna = sit("share", f"web=dir:{folder}", "--name", "Anna")
    anna.wait_for("│  ")
    code = code_of(anna.wait_for("│\n"))
    assert "█" in anna.wait_for("Ctrl-C ends the session.")
    ben = sit("join", "--name", "Ben")
    ben.wait_for("Code: ")
    mistyped = code[:-1] + str((int(code[-1]) + 1) % 10)
    ben.type(f"{mistyped}\n")
    # Found here, before anything was sent; a person just types again.
    ben.wait_for("a digit is wrong")
    ben.wait_for("Code: ")
    ben.type(f"{code}\n")
    ben.wait_for("Waiting for their yes")
    anna.wait_for("Ben\x1b[0m wants to join (code verified). Allow? [y/N] ")
    anna.type("y\n")
    ben.wait_for("You are in.")
    ben.wait_for("http://127.0.0.1:")
    anna.wait_for("Ben has joined.")
    ben.type(CTRL_C)
    assert ben.wait() == 0
    assert "You have left the session." in ben.shown
    anna.wait_for("Ben has left.")
    anna.type(CTRL_C)
    assert anna.wait() == 0
    assert "The session has ended." in anna.shown


def test_who_shares_types_commands(sit: Sit, join: Start, folder: Path) -> None:
    anna = sit("share", f"web=dir:{folder}", "--yes")
    anna.wait_for("│  ")
    code = code_of(anna.wait_for("│\n"))
    anna.wait_for("You can type: members, kick N, lock, unlock, help.")
    anna.type("members\n")
    anna.wait_for("Nobody is in.")
    ben = join("--json", "--name", "Ben", code=code)
    ben.event("listening")
    anna.type("members\n")
    anna.wait_for("2  Ben  through the tunnel server  0 B sent, 0 B received")
    anna.type("lock\n")
    anna.wait_for("Locked: nobody new comes in.")
    anna.type("kick 3\n")
    anna.wait_for("Member 3 is not in the session.")
    anna.type("kick 2\n")
    anna.wait_for("Ben has left.")
    assert ben.wait() == 3
    anna.type("unlock\n")
    anna.wait_for("Unlocked")
    anna.type("who?\n")
    anna.wait_for("'who?' is no command.")
    anna.type(CTRL_C)
    assert anna.wait() == 0


def test_a_share_in_the_background_does_not_read_what_the_shell_is_told(
    tmp_path: Path, tunnel_server: TunnelServer, folder: Path
) -> None:
    environment = clean_environment(tmp_path) | {"PORTTUNNEL_SERVER": tunnel_server.address}
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    shell = Terminal((bash, "--norc", "--noediting", "-i"), environment, tmp_path)
    try:
        shell.type(f"{shlex.join((*PORTTUNNEL, 'share', '--no-direct', f'dir:{folder}'))} &\n")
        shell.wait_for("You can type")
        shell.type("jobs\n")
        shell.wait_for("Running")
        shell.type("kill %1\n")
        shell.wait_for("The session has ended.")
        # A shell at a terminal ends by its own command only: SIGTERM is nothing to it.
        shell.type("exit\n")
        shell.wait()
    finally:
        shell.stop()


def test_a_yes_that_was_typed_before_the_question_is_none(
    sit: Sit, join: Start, folder: Path
) -> None:
    anna = sit("share", f"web=dir:{folder}")
    anna.wait_for("│  ")
    code = code_of(anna.wait_for("│\n"))
    anna.wait_for("Ctrl-C ends the session.")
    anna.type("y\n")
    ben = join("--json", "--name", "Ben", code=code)
    anna.wait_for("Allow? [y/N] ")
    anna.type("\n")
    assert ben.wait() == 3


def test_a_wrong_code_is_typed_again_by_the_person(sit: Sit, share: Start, folder: Path) -> None:
    master = share(f"dir:{folder}", "--json", "--yes")
    code = master.event("session")["code"]
    right = parse_code(code)
    assert right.pin is not None
    wrong = format_code(SessionCode(right.number, pin=f"{(int(right.pin) + 1) % 10**6:06}"))
    ben = sit("join")
    ben.wait_for("Code: ")
    ben.type(f"{wrong}\n")
    ben.wait_for("Tries left with this code: 2.")
    ben.wait_for("Code: ")
    ben.type(f"{code}\n")
    ben.wait_for("You are in.")


def test_half_a_code_costs_no_try(sit: Sit, share: Start, folder: Path) -> None:
    code = share(f"dir:{folder}", "--json", "--yes").event("session")["code"]
    ben = sit("join")
    ben.wait_for("Code: ")
    ben.type(f"{parse_code(code).number}\n")
    ben.wait_for("Type the whole code")
    ben.wait_for("Code: ")
    ben.type(f"{code}\n")
    ben.wait_for("You are in.")


def test_ctrl_c_at_the_question_for_the_code_ends(sit: Sit) -> None:
    ben = sit("join")
    ben.wait_for("Code: ")
    ben.type(CTRL_C)
    assert ben.wait() == 1
    assert "Traceback" not in ben.shown
    assert ben.shown.endswith("\n"), "the shell's prompt would stand behind the question"


def test_a_goodbye_that_takes_long_is_told(sit: Sit, start: Start, folder: Path) -> None:
    server = MortalServer(start)
    anna = sit("share", f"dir:{folder}", "--server", server.address)
    anna.wait_for("You can type")
    os.kill(server.program.pid, signal.SIGSTOP)
    try:
        anna.type(CTRL_C)
        anna.wait_for("Saying goodbye to the tunnel server")
        anna.type(CTRL_C)
        assert anna.wait() == -signal.SIGINT
    finally:
        os.kill(server.program.pid, signal.SIGCONT)


def test_ctrl_c_ends_the_demo_and_all_that_it_started(sit: Sit) -> None:
    demo = sit("demo")
    demo.wait_for("Ctrl-C ends it.")
    demo.type(CTRL_C)
    demo.wait_for("Everything has been stopped and removed.")
    assert demo.wait() == 0
    assert "ended by itself" not in demo.shown
