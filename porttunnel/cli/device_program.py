"""What all commands of `porttunnel device` have in common: the store, the dialogue, the end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from porttunnel.cli.device_dialogue import DeviceDialogue
from porttunnel.cli.device_json import JsonDeviceDialogue
from porttunnel.cli.device_terminal import TerminalDeviceDialogue
from porttunnel.cli.exit_code import ExitCode, exit_code_of
from porttunnel.cli.program import run_program
from porttunnel.cli.setting import default_data_dir
from porttunnel.cli.standard_streams import StandardStreams
from porttunnel.errors import PorttunnelError
from porttunnel.net.device.store import DeviceStore

__all__ = ["DeviceCommand", "run_device_program"]

DeviceCommand = Callable[[Any, StandardStreams, DeviceDialogue, DeviceStore], Awaitable[ExitCode]]
"""A command: gets the reactor, the streams, a dialogue on them, and the user's devices."""


def run_device_program(
    command: DeviceCommand, *, as_json: bool, data_dir: Path | None
) -> ExitCode:
    """Run a command until it ends or is told to; its errors are told.

    :param data_dir: the user's data folder; the platform's place if None.
    """

    async def run(reactor: Any, streams: StandardStreams) -> ExitCode:
        dialogue: DeviceDialogue = (
            JsonDeviceDialogue(streams) if as_json else TerminalDeviceDialogue(reactor, streams)
        )
        try:
            store = await deferToThread(DeviceStore, data_dir or default_data_dir())
            try:
                return await command(reactor, streams, dialogue, store)
            finally:
                await deferToThread(store.close)
        except PorttunnelError as error:
            dialogue.tell_error(error)
            return exit_code_of(error)

    return run_program(run)
