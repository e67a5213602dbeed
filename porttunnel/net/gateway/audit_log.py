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
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
from twisted.logger import Logger
from twisted.python.logfile import LogFile

from porttunnel.errors import ConfigurationError

__all__ = ["AUDIT_NAME", "KEY_NAME", "AuditEvent", "AuditLog", "Record"]

AUDIT_NAME = "audit.log"
KEY_NAME = "audit.key"
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
    """The log of one gateway, in one process.

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
        self._unix_time = unix_time
        self._fails = False
        try:
            self._key_path = folder / KEY_NAME
            self._key_path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            if self._key_path.exists():
                self._key, self._since = _load_key(self._key_path)
            else:
                self._make_key()
            self._file: Any = LogFile(
                AUDIT_NAME,
                os.fspath(folder),
                rotateLength=max_file_bytes,
                defaultMode=FILE_MODE,
                maxRotatedFiles=MAX_FILES,
            )
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
        try:
            if self._file.shouldRotate() or now - self._since >= MAX_FILE_SECONDS:
                self._file.rotate()
                self._make_key()
            line: dict[str, object] = {"time": round(now, 3), "event": event}
            if instance_id is not None:
                line["instance"] = self.pseudonym(instance_id)
            if device_id is not None:
                line["device"] = self.pseudonym(device_id)
            self._file.write(msgspec.json.encode(line) + b"\n")
        except (OSError, ValueError) as error:  # ValueError: it was closed, and not opened again
            if not self._fails:
                self._log.error("the audit log can't be written ({error})", error=error)
            self._fails = True
        else:
            self._fails = False

    def pseudonym(self, identifier: str) -> str:
        """What stands in the log for an id: 16 hex digits."""
        digest = hmac.digest(self._key, identifier.encode("ascii"), hashlib.sha256)
        return digest[:PSEUDONYM_BYTES].hex()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _make_key(self) -> None:
        key = secrets.token_bytes(KEY_BYTES)
        _replace(self._key_path, key)
        self._key, self._since = key, self._unix_time()


def _load_key(path: Path) -> tuple[bytes, float]:
    """The key, and since when it is used."""
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ConfigurationError(
            f"{path} is not the key of an audit log. Remove it: another one is made then, and the "
            "lines from now on can't be compared with those before."
        )
    return key, path.stat().st_mtime


def _replace(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    # mkstemp makes files with mode 0600.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
