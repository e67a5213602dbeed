"""What happened at the gateway, one JSON object a line, without telling to whom.

Instead of an id stands a pseudonym: an HMAC of it, whose key lies beside the log and is made anew
with each file. So an operator can see that it was the same one twice and, while the file is the
current one, look for an id that he knows; who has an old file, or the log alone, learns no id.
Addresses and names aren't written in any form.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import TypeGuard

import msgspec
from twisted.logger import Logger

from porttunnel.errors import ConfigurationError
from porttunnel.net.file_lock import locked
from porttunnel.net.secret_file import write_secret_file

__all__ = ["AUDIT_NAME", "KEY_NAME", "AuditEvent", "AuditLog", "Record"]

AUDIT_NAME = "audit.log"
KEY_NAME = "audit.key"
LOCK_NAME = "audit.lock"
MAX_FILE_BYTES = 10_000_000  # some 80,000 lines
MAX_FILE_SECONDS = 30 * 86_400.0  # a month, also if little happens
MAX_FILES = 10  # besides the one that is written
FILE_MODE = 0o600
FOLDER_MODE = 0o700
KEY_BYTES = 32
PSEUDONYM_BYTES = 8  # no two of a million accounts have the same

Record = Callable[["AuditEvent", str | None, str | None], None]


class AuditEvent(StrEnum):
    """What is written down."""

    INSTANCE_REGISTERED = "instance-registered"
    INSTANCE_REMOVED = "instance-removed"
    PASSWORD_OFFERED = "password-offered"
    PASSWORD_CHANGED = "password-changed"
    DEVICE_INVITED = "device-invited"
    DEVICE_ADDED = "device-added"
    DEVICE_CONFIRMED = "device-confirmed"
    DEVICE_REMOVED = "device-removed"
    SETUP_RACE = "setup-race"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    CUT_OFF = "cut-off"


class AuditLog:
    """The log of one gateway; on the way from an old process to a new one both write into it.

    :param folder: where it and its key are.
    :param unix_time: seconds since 1970.
    :raises ConfigurationError: they can't be made there, or the key is none.
    """

    _log = Logger()

    def __init__(
        self,
        folder: Path,
        *,
        unix_time: Callable[[], float] = time.time,
        max_file_bytes: int = MAX_FILE_BYTES,
    ) -> None:
        self._path = folder / AUDIT_NAME
        self._key_path = folder / KEY_NAME
        self._lock_path = folder / LOCK_NAME
        self._unix_time = unix_time
        self._max_file_bytes = max_file_bytes
        self._fails = False
        try:
            folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            with locked(self._lock_path, wait=True):
                self._open()
        except OSError as error:
            raise ConfigurationError(
                f"The audit log can't be written in {folder} ({error.strerror}). Name a folder "
                "that this program may write to."
            ) from None

    def record(
        self, event: AuditEvent, instance_id: str | None = None, device_id: str | None = None
    ) -> None:
        """Write a line. If the disk doesn't take it, the gateway goes on without, and says so."""
        now = self._unix_time()
        trouble: Exception | None = None
        try:
            self._change_file(now)
        except (OSError, ConfigurationError) as error:
            trouble = error
        line: dict[str, object] = {"time": round(now, 3), "event": event}
        if instance_id is not None:
            line["instance"] = self.pseudonym(instance_id)
        if device_id is not None:
            line["device"] = self.pseudonym(device_id)
        try:
            self._file.write(msgspec.json.encode(line) + b"\n")
        except (OSError, ValueError) as error:  # ValueError: it was closed, and not opened again
            trouble = error
        if trouble is not None and not self._fails:
            self._log.error("the audit log can't be written ({error})", error=trouble)
        self._fails = trouble is not None

    def pseudonym(self, identifier: str) -> str:
        """What stands in the log for an id: 16 hex digits."""
        digest = hmac.digest(self._key, identifier.encode("ascii"), hashlib.sha256)
        return digest[:PSEUDONYM_BYTES].hex()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _change_file(self, now: float) -> None:
        """Begin another file if it is time, or go on in one that another process has begun."""
        found = self._look()
        if (
            self._is_ours(found)
            and found.st_size < self._max_file_bytes
            and now - self._since < MAX_FILE_SECONDS
        ):
            return
        with locked(self._lock_path, wait=False) as is_alone:
            if not is_alone:  # another process is at it; until then ours is as good as it was
                return
            is_ours = self._is_ours(self._look())
            self._file.close()  # Windows renames no file that is open
            try:
                if is_ours:
                    self._move_away()
            finally:
                self._open()

    def _look(self) -> os.stat_result | None:
        try:
            return self._path.stat()
        except FileNotFoundError:
            return None

    def _is_ours(self, found: os.stat_result | None) -> TypeGuard[os.stat_result]:
        is_open = not self._file.closed  # or else another file may have its number by now
        return is_open and found is not None and os.path.samestat(found, self._opened)

    def _move_away(self) -> None:
        names = [f"{self._path}.{number}" for number in range(1, MAX_FILES + 1)]
        names.insert(0, str(self._path))
        for younger, older in reversed(list(pairwise(names))):
            with suppress(FileNotFoundError):
                os.replace(younger, older)

    def _open(self) -> None:
        """The file and its key. To be called while nobody else does, or begins another file."""
        kept = _load_key(self._key_path) if self._key_path.exists() else None
        if kept is None or not self._path.exists():
            # Before the file is there: whoever finds it finds its own key.
            key = secrets.token_bytes(KEY_BYTES)
            write_secret_file(self._key_path, key)
            kept = key, self._unix_time()
        self._key, self._since = kept
        # Each line is appended at once, wherever the end is by then.
        self._file = FileIO(self._path, "ab", opener=_open_private)
        self._opened = os.fstat(self._file.fileno())


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, FILE_MODE)


def _load_key(path: Path) -> tuple[bytes, float]:
    """The key, and since when it is used."""
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ConfigurationError(
            f"{path} is not the key of an audit log. Remove it: another one is made then, and the "
            "lines from now on can't be compared with those before."
        )
    return key, path.stat().st_mtime
