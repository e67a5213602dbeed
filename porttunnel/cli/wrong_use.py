"""Wrong use of a command: told in words, and with ``--json`` as an event like all else."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

import click

from porttunnel.cli.exit_code import ExitCode, word_of
from porttunnel.cli.json_dialogue import format_event
from porttunnel.errors import PorttunnelError

__all__ = ["CommandWithJson", "WrongUse"]

CODE = "usage"  # what wrong use is called in JSON, where no error of ours says it better


class WrongUse(click.UsageError):
    """What was given can't be right.

    :param error: why.
    """

    def __init__(self, error: PorttunnelError) -> None:
        super().__init__(str(error))
        self.code = word_of(error)


class CommandWithJson(click.Command):
    """A command with the option ``--json``: wrong use is told in the form that was asked for."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        # Looked for by hand: what can't be read as options is what this is about.
        as_json = "--json" in takewhile(lambda argument: argument != "--", args)
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            raise (_ToldAsEvent(error) if as_json else error) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise (_ToldAsEvent(error) if ctx.params["as_json"] else error) from None


class _ToldAsEvent(click.ClickException):
    exit_code = ExitCode.USAGE

    def __init__(self, error: click.UsageError) -> None:
        super().__init__(error.format_message())
        self._code = error.code if isinstance(error, WrongUse) else CODE

    def show(self, file: Any = None) -> None:
        click.echo(format_event("error", code=self._code, text=self.message), file, nl=False)
