"""A page that curl fetches while the test is watching, and no faster than the test allows."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tests.real.needed import needed_program

__all__ = ["MEBIBYTE", "Download"]

MEBIBYTE = 1 << 20
READ_BYTES = 1 << 18
DOWNLOAD_SECONDS = 600  # a deadline: a gibibyte with a hundred cuts on a busy machine
EVERYTHING = 1 << 62


class Download:
    """Page ``number`` of a :class:`tests.real.web_site.WebSite`, by way of a joined port.

    What it may take no further than :meth:`allow` says waits in pipes and sockets, and so do the
    tunnel and the site: whatever a test does then happens in the middle of the transfer.

    :param prefix: stands before the command, as ``ip netns exec ...``.
    :param allowed: bytes that may be read until :meth:`allow` says more.
    """

    def __init__(
        self,
        port: int,
        number: int,
        size: int,
        *,
        prefix: Sequence[str] = (),
        allowed: int = EVERYTHING,
    ) -> None:
        self.count = 0
        self._size = size
        self._allowed = allowed
        self._content = hashlib.sha256()
        self._ended = False
        self._changed = threading.Condition()
        url = f"http://127.0.0.1:{port}/{number}/{size}"
        curl = needed_program("curl", "curl")
        self._process = subprocess.Popen(
            [*prefix, curl, "-sS", "--fail", "--max-time", str(DOWNLOAD_SECONDS), url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self.allow(EVERYTHING)
        self._thread.join(DOWNLOAD_SECONDS)
        self._process.communicate()

    def allow(self, count: int) -> None:
        """Let it read so many bytes in all."""
        with self._changed:
            self._allowed = count
            self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        """Until so many bytes have come."""
        with self._changed:
            self._changed.wait_for(lambda: self.count >= count or self._ended, DOWNLOAD_SECONDS)
        assert self.count >= count, f"only {self.count} of {self._size} bytes came"

    def finish(self) -> str:
        """Read the rest; the hash of the whole page, which has come without an error."""
        self.allow(EVERYTHING)
        self._thread.join(DOWNLOAD_SECONDS)
        assert not self._thread.is_alive(), f"only {self.count} of {self._size} bytes came"
        _, errors = self._process.communicate(timeout=DOWNLOAD_SECONDS)
        assert (self._process.returncode, self.count) == (0, self._size), errors.decode()
        return self._content.hexdigest()

    def _read(self) -> None:
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        while self._may_read() and (data := os.read(output, READ_BYTES)):
            self._content.update(data)
            with self._changed:
                self.count += len(data)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _may_read(self) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.count < self._allowed, DOWNLOAD_SECONDS)
