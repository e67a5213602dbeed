"""A folder as web pages, and nothing that is not in it."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from twisted.web.resource import IResource

with warnings.catch_warnings():
    # The module uses what Twisted itself has deprecated; where warnings are errors it could not
    # even be imported.
    warnings.simplefilter("ignore", DeprecationWarning)
    from twisted.web.static import File

__all__ = ["Folder"]

HIDDEN = "."  # what begins so: settings, passwords and histories, which nobody means to share


class Folder(File):
    """Serves the regular files and the folders that are really inside; all else is not found.

    Where a symbolic link leads counts, not where it lies: one that leads out of the folder would
    share more than its owner said. A FIFO or a device is not opened, because that could wait for
    ever, and with it everything on this reactor.

    :param path: the folder.
    :param similar: as of ``File``, which makes its children so.
    """

    def __init__(self, path: str, *similar: Any) -> None:
        super().__init__(path, *similar)
        self._root = Path(os.path.realpath(path))

    def getChild(self, path: bytes, request: Any) -> IResource:
        # No system has names with a zero byte; asked for one, Python would raise.
        if path.startswith(HIDDEN.encode()) or b"\0" in path:
            return self.childNotFound
        child: IResource = File.getChild(self, path, request)
        return child

    def createSimilarFile(self, path: str) -> IResource:
        if not self._is_shared(path):
            return self.childNotFound
        similar: Folder = File.createSimilarFile(self, path)
        similar._root = self._root
        return similar

    def listNames(self) -> list[str]:
        names: list[str] = File.listNames(self)
        return [
            name
            for name in names
            if not name.startswith(HIDDEN) and self._is_shared(os.path.join(self.path, name))
        ]

    def _is_shared(self, path: str) -> bool:
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(self._root):
            return False
        if any(name.startswith(HIDDEN) for name in real.relative_to(self._root).parts):
            return False
        return os.path.isfile(real) or os.path.isdir(real)
