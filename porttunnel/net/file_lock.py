"""Locks between processes: they end with the process, however it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["lock_descriptor", "locked"]

_FILE_MODE = 0o600


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of a file while the block runs. The file is made if it isn't there, and stays.

    :param wait: until nobody else has it.
    :returns: whether it is held.
    :raises OSError: the file can't be used for that.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, _FILE_MODE)
    try:
        yield lock_descriptor(descriptor, wait=wait)
    finally:
        os.close(descriptor)


if sys.platform == "win32":
    import msvcrt

    def lock_descriptor(descriptor: int, *, wait: bool) -> bool:
        """Lock an open file until it is closed; see the other one."""
        try:
            # It waits for ten seconds.
            msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True
else:
    import fcntl

    def lock_descriptor(descriptor: int, *, wait: bool) -> bool:
        """Lock an open file until it is closed.

        :param wait: until nobody else has it.
        :returns: whether it is locked now.
        :raises OSError: the file system has no locks.
        """
        try:
            # Not lockf: whose lock ends when any descriptor of the file is closed.
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True
