"""The command `porttunnel` and its subcommands."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

import porttunnel
from porttunnel.cli import text

__all__ = ["cli", "main"]

_COMMANDS = ("share", "join", "demo", "device", "instance")


class _LazyGroup(click.Group):
    """Loads a command when it is used: `porttunnel --version` needs no reactor."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "share":
            from porttunnel.cli.share import share

            return share
        if cmd_name == "join":
            from porttunnel.cli.join import join

            return join
        if cmd_name == "demo":
            from porttunnel.cli.demo import demo

            return demo
        if cmd_name == "device":
            from porttunnel.cli.device import device

            return device
        if cmd_name == "instance":
            from porttunnel.cli.instance import instance

            return instance
        return None


@click.group(cls=_LazyGroup, help=text.MAIN_HELP)
@click.version_option(porttunnel.__version__, prog_name="porttunnel")
def cli() -> None:
    """See text.MAIN_HELP."""


def main() -> None:
    """The console script."""
    _open_standard_streams()
    # In standalone mode click would end with 0 whatever a command returns.
    try:
        result: Any = cli.main(prog_name="porttunnel", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(1)
    sys.exit(result if isinstance(result, int) else 0)


def _open_standard_streams() -> None:
    # Where one is closed, the next file that is opened would take its number, and what is meant
    # for the user would be written into that. The lowest free number is the one that is missing.
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
