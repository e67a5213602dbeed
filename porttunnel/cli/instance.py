"""`porttunnel instance`: its commands and their options."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click

from porttunnel.cli import instance_text as text
from porttunnel.cli.exit_code import ExitCode, exit_code_of
from porttunnel.cli.instance_choice import choose_device
from porttunnel.cli.instance_dialogue import InstanceDialogue
from porttunnel.cli.instance_json import JsonInstanceDialogue
from porttunnel.cli.instance_pairing import Pairing
from porttunnel.cli.instance_terminal import TerminalInstanceDialogue
from porttunnel.cli.program import run_program
from porttunnel.cli.setting import default_data_dir, json_dialogue_option, json_option
from porttunnel.cli.standard_streams import StandardStreams
from porttunnel.cli.wrong_use import CommandWithJson
from porttunnel.errors import PorttunnelError
from porttunnel.gateway.forward_identity import MAX_USER_BYTES
from porttunnel.net.instance.control_client import ControlClient
from porttunnel.net.instance.control_message import (
    DeviceEntry,
    ListDevices,
    MarkRestored,
    Revoke,
)

__all__ = ["instance"]

MAX_EXPIRES_MINUTES = 1_440  # a day, as the gateway has it

_Command = Callable[..., Any]
_Run = Callable[[InstanceDialogue, ControlClient], Awaitable[ExitCode]]


def _data_dir_option(command: _Command) -> _Command:
    return click.option(
        "--data-dir",
        type=click.Path(file_okay=False, readable=False, path_type=Path),
        envvar="PORTTUNNEL_DATA",
        help=text.DATA_DIR_OPTION,
    )(command)


def _picture_option(kind: str, explained: str) -> Callable[[_Command], _Command]:
    return click.option(
        f"--{kind}",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help=explained,
    )


@click.group(help=text.INSTANCE_HELP, short_help=text.INSTANCE_SHORT)
def instance() -> None:
    """See instance_text.INSTANCE_HELP."""


@instance.command(cls=CommandWithJson, help=text.INVITE_HELP)
@click.option("--user", required=True, metavar="NAME", help=text.USER_OPTION)
@click.option("--immediate", is_flag=True, help=text.IMMEDIATE_OPTION)
@click.option(
    "--expires",
    type=click.IntRange(1, MAX_EXPIRES_MINUTES),
    default=10,
    show_default=True,
    metavar="MINUTES",
    help=text.EXPIRES_OPTION,
)
@_picture_option("png", text.PNG_OPTION)
@_picture_option("svg", text.SVG_OPTION)
@json_dialogue_option
@_data_dir_option
def invite(
    *,
    user: str,
    immediate: bool,
    expires: int,
    png: Path | None,
    svg: Path | None,
    as_json: bool,
    data_dir: Path | None,
) -> int:
    """See instance_text.INVITE_HELP."""
    if (
        not user.isprintable()
        or user != user.strip()
        or not 0 < len(user.encode()) <= MAX_USER_BYTES
    ):
        raise click.UsageError(text.BAD_USER.format(user=user))
    pictures = {kind: path for kind, path in (("png", png), ("svg", svg)) if path is not None}

    async def run(dialogue: InstanceDialogue, control: ControlClient) -> ExitCode:
        pairing = Pairing(dialogue, control)
        return await pairing.invite(user, expires * 60, pictures, immediate=immediate)

    return _run(run, as_json=as_json, data_dir=data_dir)


@instance.command(cls=CommandWithJson, help=text.CONFIRM_HELP)
@click.argument("device")
@json_dialogue_option
@_data_dir_option
def confirm(*, device: str, as_json: bool, data_dir: Path | None) -> int:
    """See instance_text.CONFIRM_HELP."""

    async def run(dialogue: InstanceDialogue, control: ControlClient) -> ExitCode:
        meant = await _find(control, device)
        return await Pairing(dialogue, control).confirm(meant)

    return _run(run, as_json=as_json, data_dir=data_dir)


@instance.command(cls=CommandWithJson, help=text.DEVICES_HELP)
@json_option
@_data_dir_option
def devices(*, as_json: bool, data_dir: Path | None) -> int:
    """See instance_text.DEVICES_HELP."""

    async def run(dialogue: InstanceDialogue, control: ControlClient) -> ExitCode:
        listed: Any = await control.ask(ListDevices())
        dialogue.tell_devices(listed)
        dialogue.tell_done("")
        return ExitCode.DONE

    return _run(run, as_json=as_json, data_dir=data_dir)


@instance.command(cls=CommandWithJson, help=text.REVOKE_HELP)
@click.argument("device")
@json_option
@_data_dir_option
def revoke(*, device: str, as_json: bool, data_dir: Path | None) -> int:
    """See instance_text.REVOKE_HELP."""

    async def run(dialogue: InstanceDialogue, control: ControlClient) -> ExitCode:
        meant = await _find(control, device)
        await control.ask(Revoke(meant.device_id))
        dialogue.tell_revoked(meant)
        dialogue.tell_done("")
        return ExitCode.DONE

    return _run(run, as_json=as_json, data_dir=data_dir)


@instance.command(cls=CommandWithJson, help=text.RESTORED_HELP)
@json_option
@_data_dir_option
def restored(*, as_json: bool, data_dir: Path | None) -> int:
    """See instance_text.RESTORED_HELP."""

    async def run(dialogue: InstanceDialogue, control: ControlClient) -> ExitCode:
        await control.ask(MarkRestored())
        dialogue.tell_done(text.RESTORED)
        return ExitCode.DONE

    return _run(run, as_json=as_json, data_dir=data_dir)


async def _find(control: ControlClient, wanted: str) -> DeviceEntry:
    listed: Any = await control.ask(ListDevices())
    return choose_device(listed.devices, wanted)


def _run(command: _Run, *, as_json: bool, data_dir: Path | None) -> ExitCode:
    """Run a command with the agent; its errors are told."""

    async def run(reactor: Any, streams: StandardStreams) -> ExitCode:
        dialogue: InstanceDialogue = (
            JsonInstanceDialogue(streams) if as_json else TerminalInstanceDialogue(streams)
        )
        try:
            return await command(dialogue, ControlClient(reactor, data_dir or default_data_dir()))
        except PorttunnelError as error:
            dialogue.tell_error(error)
            return exit_code_of(error)

    return run_program(run)
