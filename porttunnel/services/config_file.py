"""What the settings of all services have in common: a TOML file, and where data is kept."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from porttunnel.errors import ConfigurationError

__all__ = ["ADMIN_OFF", "DATA_DIR_VARIABLE", "find_data_path", "read_config"]

ADMIN_OFF = ("", "off")
DATA_DIR_VARIABLE = "PORTTUNNEL_DATA"


def read_config(path: str | None) -> dict[str, Any]:
    """What a file says; nothing if there is none.

    :raises ConfigurationError: it can't be read, or is not TOML.
    """
    if path is None:
        return {}
    try:
        with Path(path).open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigurationError(
            f"{path} can't be read ({error.strerror}); name the right file with --config"
        ) from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigurationError(f"{path} is not TOML: {error}; correct the file") from error


def find_data_path(data_dir: str) -> Path:
    """The data folder: as set, from ``$PORTTUNNEL_DATA``, or the platform's.

    :param data_dir: the setting; empty if there is none.
    """
    chosen = data_dir or os.environ.get(DATA_DIR_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return user_data_path("porttunnel", appauthor=False)
