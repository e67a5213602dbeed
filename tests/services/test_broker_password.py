"""From a password to what stands in the broker's file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from porttunnel.keys.credentials import verify_password
from porttunnel.services import broker_password
from porttunnel.services.broker_config import BrokerSettings, UserSettings
from porttunnel.services.broker_policy import UserPolicy

ROOT = Path(__file__).resolve().parents[2]


def run(line: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "porttunnel.services.broker_password", *arguments],
        input=line,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_hashes_a_line() -> None:
    done = run("right\n")
    text = done.stdout.strip()
    assert done.returncode == 0
    assert verify_password(b"right", text)
    UserPolicy(BrokerSettings(users=(UserSettings("anna", text),)), lambda *_: None)  # type: ignore[arg-type,return-value]  # not called


def test_nothing_is_no_password() -> None:
    done = run("\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert "one character" in done.stderr


@pytest.mark.parametrize("argument", ["--help", "my password"])
def test_arguments_are_told_how_it_is_used(argument: str) -> None:
    done = run("right\n", argument)
    assert (done.returncode, done.stdout) == (2, "")
    assert "it takes no arguments" in done.stderr


@pytest.mark.parametrize(("again", "code"), [("right", 0), ("rihgt", 1)])
def test_asks_a_person_twice(
    again: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = iter(["right", again])
    monkeypatch.setattr(sys, "argv", ["broker_password"])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(broker_password, "getpass", lambda prompt: next(typed))
    assert broker_password.main() == code
    assert capsys.readouterr().out.startswith("pbkdf2-") is (code == 0)
