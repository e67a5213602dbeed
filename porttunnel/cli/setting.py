"""The options that all commands share, and where their defaults come from."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import platformdirs

from porttunnel.cli import text
from porttunnel.errors import ConfigurationError, NotReachable, PorttunnelError
from porttunnel.net.server_address import DEFAULT_SERVER

__all__ = [
    "CONFIG_NAME",
    "data_dir_option",
    "default_data_dir",
    "direct_option",
    "explain_unreachable",
    "json_dialogue_option",
    "json_option",
    "name_option",
    "read_server",
    "server_option",
]

CONFIG_NAME = "config.toml"

_Command = Callable[..., Any]


def data_dir_option(command: _Command) -> _Command:
    """``--data-dir``, on every command."""
    return click.option(
        "--data-dir",
        type=click.Path(file_okay=False, readable=False, path_type=Path),
        envvar="PORTTUNNEL_DATA",
        help=text.DATA_DIR_OPTION,
    )(command)


def server_option(command: _Command) -> _Command:
    """``--server``."""
    return click.option(
        "--server", metavar="S", envvar="PORTTUNNEL_SERVER", help=text.SERVER_OPTION
    )(command)


def name_option(command: _Command) -> _Command:
    """``--name``."""
    return click.option("--name", metavar="NAME", help=text.NAME_OPTION)(command)


def direct_option(command: _Command) -> _Command:
    """``--no-direct``."""
    return click.option("--no-direct", is_flag=True, help=text.NO_DIRECT_OPTION)(command)


def json_option(command: _Command) -> _Command:
    """``--json``, of a command that is told nothing once it runs."""
    return click.option("--json", "as_json", is_flag=True, help=text.JSON_OPTION)(command)


def json_dialogue_option(command: _Command) -> _Command:
    """``--json``, of a command that takes JSON on standard input too."""
    return click.option("--json", "as_json", is_flag=True, help=text.JSON_DIALOGUE_OPTION)(command)


def default_data_dir() -> Path:
    """The platform's place for a user's data of this program."""
    return platformdirs.user_data_path("porttunnel", appauthor=False)


def read_server(server: str | None, data_dir: Path | None, default: str) -> str:
    """The tunnel server's address: as given, else the configured one, else the default.

    :param server: of ``--server`` or the environment.
    :param data_dir: where ``config.toml`` may be; the platform's place if None.
    :raises ConfigurationError: ``config.toml`` can't be read.
    """
    if server:
        return server
    path = (data_dir or default_data_dir()) / CONFIG_NAME
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
    except OSError as error:
        raise ConfigurationError(
            text.UNREADABLE.format(path=path, reason=error.strerror)
        ) from None
    except ValueError as error:
        raise ConfigurationError(text.BAD_CONFIG.format(path=path, reason=error)) from None
    configured = config.get("server", default)
    if not isinstance(configured, str):
        raise ConfigurationError(text.BAD_CONFIG.format(path=path, reason="its server is no text"))
    return configured


def explain_unreachable(error: PorttunnelError, server: str) -> PorttunnelError:
    """The error, with what a user may not know: that the default server was meant.

    :param server: the address that was used.
    """
    if isinstance(error, NotReachable) and server == DEFAULT_SERVER:
        return NotReachable(text.NO_SERVER_NAMED.format(text=error))
    return error
