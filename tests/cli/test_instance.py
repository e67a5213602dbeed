"""`porttunnel instance`: its options, and which command the agent gets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from twisted.internet.defer import Deferred

from porttunnel.cli import instance as module
from porttunnel.cli.exit_code import ExitCode
from porttunnel.cli.instance import instance
from porttunnel.errors import NotReachable
from porttunnel.net.instance.control_message import (
    Command,
    DeviceEntry,
    DeviceList,
    Done,
    Invite,
    ListDevices,
    MarkRestored,
    Revoke,
)
from tests.cli.spoken import SpokenStreams

DEVICE = "3fa91c02" + "0" * 24
LISTED = DeviceList("1" * 32, True, (DeviceEntry(DEVICE, "anna", "waiting", 1),))

Run = Callable[..., tuple[Any, str]]


class FakeControl:
    folders: list[Path] = []
    asked: list[Command] = []

    def __init__(self, reactor: Any, folder: Path) -> None:
        self.folders.append(folder)

    async def ask(self, command: Command) -> Any:
        self.asked.append(command)
        if isinstance(command, Invite):
            raise NotReachable("No agent runs.")
        return LISTED if isinstance(command, ListDevices) else Done()

    async def watch(self, device_id: str, tell: Any) -> None:
        raise NotReachable("No agent runs.")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command: what it returns, and what it writes."""
    streams: Any = SpokenStreams()

    def run_program(command: Any) -> ExitCode:
        results: list[ExitCode] = []
        Deferred.fromCoroutine(command(None, streams)).addCallback(results.append)
        return results[0]

    monkeypatch.setattr(module, "run_program", run_program)
    monkeypatch.setattr(module, "ControlClient", FakeControl)
    monkeypatch.setattr(FakeControl, "folders", [])
    monkeypatch.setattr(FakeControl, "asked", [])

    def run(*arguments: str, environment: dict[str, str] | None = None) -> tuple[Any, str]:
        # No person's own data folder.
        variables = {"PORTTUNNEL_DATA": "/environment"} | (environment or {})
        ran = CliRunner().invoke(instance, arguments, env=variables, standalone_mode=False)
        return (ran.return_value if ran.exception is None else ran.exception), streams.take()

    return run


def test_devices(run: Run) -> None:
    code, written = run("devices", "--data-dir", "/agent")
    assert code is ExitCode.DONE
    assert written.splitlines()[1].split()[:2] == ["3fa91c02", "anna"]
    assert FakeControl.folders == [Path("/agent")]
    _, written = run("devices", "--json")
    assert [json.loads(line)["event"] for line in written.splitlines()] == ["devices", "done"]


def test_where_the_agent_s_folder_is(run: Run) -> None:
    run("devices")
    assert FakeControl.folders == [Path("/environment")]


def test_revoke(run: Run) -> None:
    code, written = run("revoke", "3fa9", "--json")
    assert code is ExitCode.DONE
    assert FakeControl.asked == [ListDevices(), Revoke(DEVICE)]
    assert '"revoked"' in written


def test_restored(run: Run) -> None:
    code, written = run("restored")
    assert (code, FakeControl.asked) == (ExitCode.DONE, [MarkRestored()])
    assert "changes its secret" in written


def test_a_device_that_is_none(run: Run) -> None:
    assert run("revoke", "ffff") == (
        ExitCode.USAGE,
        "No device fits 'ffff'. There are: 3fa91c02 (anna).\n",
    )


def test_confirm(run: Run) -> None:
    code, written = run("confirm", "3fa9", "--json")
    assert code is ExitCode.NOT_REACHABLE
    assert '"not-reachable"' in written


def test_invite(run: Run) -> None:
    code, written = run("invite", "--user", "anna", "--expires", "5", "--immediate")
    assert (code, written) == (ExitCode.NOT_REACHABLE, "No agent runs.\n")
    assert FakeControl.asked == [Invite("anna", True, 300)]


@pytest.mark.parametrize(
    "arguments",
    [
        ("invite",),
        ("invite", "--user", "anna", "--expires", "0"),
        ("invite", "--user", ""),
        ("invite", "--user", " anna"),
        ("invite", "--user", "anna\nX-Admin: yes"),
        ("invite", "--user", "ä" * 128),
        ("confirm",),
        ("revoke",),
    ],
)
def test_wrong_use_is_said_as_it_was_asked_for(run: Run, arguments: tuple[str, ...]) -> None:
    error, _ = run(*arguments)
    assert error.exit_code == ExitCode.USAGE
    told, _ = run(*arguments, "--json")
    assert told.exit_code == ExitCode.USAGE
    assert FakeControl.asked == []
