"""A file with the code for the next client, for programs that have nobody to show it to."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from porttunnel.errors import ConfigurationError
from porttunnel.net.secret_file import demand_replaceable
from porttunnel.session.code import SessionCode, format_code, parse_code

__all__ = ["CodeFile"]

MAX_FILE_BYTES = 1_024  # a code or a link has 46 characters: a larger file is something else


class CodeFile:
    """One code in one file that only its owner can read.

    :param path: where.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, code: SessionCode | None) -> None:
        """Replace the file's content at once: a reader sees the former code or this one.

        :param code: None: an empty file, as long as there is no code.
        :raises ConfigurationError: it can't be written.
        """
        line = "" if code is None else f"{format_code(code)}\n"
        try:
            demand_replaceable(self.path)
            # mkstemp makes files with mode 0600; in the same folder, so that a rename will do.
            descriptor, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
            try:
                with os.fdopen(descriptor, "w", encoding="ascii") as file:
                    file.write(line)
                os.replace(name, self.path)
            except BaseException:
                with suppress(OSError):
                    os.unlink(name)
                raise
        except OSError as error:
            raise ConfigurationError(
                f"The code can't be written to {self.path} ({error.strerror}). Name a file in a "
                "folder that this program may write to."
            ) from None

    def read(self) -> SessionCode:
        """The code.

        :raises ConfigurationError: there is no file, or nothing in it yet.
        :raises MistypedCode: its content is no code.
        """
        try:
            with self.path.open(encoding="utf-8", errors="replace") as file:
                line = file.read(MAX_FILE_BYTES).strip()
        except OSError as error:
            raise ConfigurationError(
                f"There is no code in {self.path} ({error.strerror}). Whoever shares writes it "
                "there; is that program running?"
            ) from None
        if not line:
            raise ConfigurationError(
                f"{self.path} is still empty: whoever shares has no session yet. Try again."
            )
        return parse_code(line)

    def remove(self) -> None:
        """The code is void."""
        with suppress(OSError):
            self.path.unlink()
