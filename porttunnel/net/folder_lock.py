"""One program at a time in a data folder: two with the same counters would repeat each other."""

from __future__ import annotations

import os
from pathlib import Path

from porttunnel.errors import ConfigurationError
from porttunnel.net.file_lock import lock_descriptor

__all__ = ["FolderLock"]

_FILE_MODE = 0o600
_FOLDER_MODE = 0o700


class FolderLock:
    """A lock that ends with the process, however it ends.

    :param path: of a file that stays when the lock is gone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take it; the folder is made if it isn't there.

        :raises ConfigurationError: another program has it, or the folder can't be used.
        """
        try:
            self._path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, _FILE_MODE)
            taken = lock_descriptor(descriptor, wait=False)
        except OSError as error:
            raise ConfigurationError(
                f"{self._path} can't be used ({error.strerror}); give this user the right to "
                "read and write there, or name another data folder"
            ) from error
        if not taken:
            os.close(descriptor)
            raise ConfigurationError(
                f"another program runs with the data folder {self._path.parent}; stop it, or "
                "name another data folder"
            )
        self._descriptor = descriptor

    def release(self) -> None:
        """Give it back, if it was taken."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
