"""Where `join` has its code from: an argument, the environment, or standard input."""

from __future__ import annotations

import os

import click

from porttunnel.cli import text
from porttunnel.errors import MistypedCode
from porttunnel.session.code import parse_code

__all__ = ["CODE_VARIABLE", "given_code"]

CODE_VARIABLE = "PORTTUNNEL_CODE"


def given_code(number: str | None, code: str | None, as_json: bool) -> str | None:
    """The code that is there already; None if it comes from standard input.

    :param number: the argument.
    :param code: of ``--code``.
    :param as_json: whether a program is at the other end, who can't be prompted.
    :raises click.UsageError: none, two, or a secret on the command line.
    """
    if code is not None and code != "-":
        raise click.UsageError(text.CODE_NOT_MINUS)
    # Taken out: programs that we might start need not inherit it.
    from_environment = os.environ.pop(CODE_VARIABLE, None)
    if (number is not None) + (code is not None) + (from_environment is not None) > 1:
        raise click.UsageError(text.TWO_CODES)
    if number is not None and not _is_session_number(number):
        raise click.UsageError(text.SECRET_ARGUMENT)
    given = number or from_environment
    if given is None and code is None and as_json:
        raise click.UsageError(text.CODE_MISSING)
    return given


def _is_session_number(number: str) -> bool:
    try:
        parsed = parse_code(number)
    except MistypedCode:
        return False
    return not parsed.password
