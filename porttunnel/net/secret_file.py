"""Files that only their owner can read, replaced as a whole."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["demand_replaceable", "write_secret_file"]


def demand_replaceable(path: Path) -> None:
    """A file would take the place of what is there: for root also of ``/dev/stdout``.

    :raises OSError: that is no file.
    """
    with suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        # The system itself says what is wrong with a folder.
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise OSError(errno.EINVAL, "it is no file, and would be replaced")


def write_secret_file(path: Path, content: bytes) -> None:
    """Write a file with mode 0600: a reader sees what was there before, or all of this.

    :raises OSError: it can't be written; then nothing has changed.
    """
    demand_replaceable(path)
    # mkstemp makes files with mode 0600; in the same folder, so that a rename will do.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            # Power may fail as well as processes do.
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
