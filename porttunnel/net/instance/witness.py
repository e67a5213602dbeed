"""A small file beside an instance's state, by which an older state is noticed.

Each time that a witness is left, a fresh mark is written into the state and then into the file
beside it. A state that was restored from a backup has another mark than the file. So the file must
not be in the backup, and where there is none although the state has a mark, the state is taken for
a restored one: too careful costs each device one change of its secret, too trusting would let old
requests be carried out again. A copy of the whole folder is told by the number of the state's file
in its file system. What nothing here can tell is a machine that was put back as a whole.
"""

from __future__ import annotations

import os
from pathlib import Path

from porttunnel.errors import ConfigurationError
from porttunnel.net.store.sqlite_file import FILE_MODE

__all__ = ["MARK_BYTES", "Witness"]

MARK_BYTES = 16  # random: no two are the same


class Witness:
    """The file.

    :param path: of the state; the file's name is this and ``.witness``.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._state = Path(path)
        self._path = self._state.with_name(self._state.name + ".witness")

    def identify(self) -> bytes:
        """What tells the state's file from a copy of it."""
        return str(self._state.stat().st_ino).encode()

    def read(self) -> bytes:
        """The mark; empty if there is none.

        :raises ConfigurationError: the file can't be read.
        """
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise self._unusable(error) from error

    def write(self, mark: bytes) -> None:
        """Take another mark, for ever: also a power cut leaves the one or the other.

        :raises ConfigurationError: the file can't be written.
        """
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)
            try:
                os.write(descriptor, mark)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            fresh.replace(self._path)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(
            f"{self._path}: it can't be used ({error.strerror}); give this user the right to read "
            "and write it and its folder"
        )
