"""What an instance keeps, in one SQLite file that is its owner's alone.

A secret that was dropped is overwritten in the file, and what the file's journal still has of it
is cut off at once.
"""

from __future__ import annotations

import os
import secrets
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from porttunnel.gateway.message_key import Ends
from porttunnel.keys.credentials import parse_id
from porttunnel.net.instance.phase_record import decode_phase, encode_phase
from porttunnel.net.instance.store import (
    CounterKept,
    DeviceErased,
    DeviceRow,
    DeviceSeen,
    DeviceWritten,
    Identity,
    IdentityWritten,
    PushCounterKept,
    RemovalFinished,
    StoreChange,
    StoredDevice,
    StoredInstance,
)
from porttunnel.net.instance.witness import MARK_BYTES, Witness
from porttunnel.net.store.sqlite_file import IN_MEMORY, SQLiteFile

__all__ = ["IN_MEMORY", "SQLiteInstanceStore"]

# One entry for each version of the schema: the statements that lead to it from the one before.
_SCHEMA: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE identity (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            instance_id TEXT NOT NULL,
            password TEXT NOT NULL
        ) STRICT""",
        """CREATE TABLE witness (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            mark BLOB NOT NULL,
            previous BLOB NOT NULL,
            file BLOB NOT NULL
        ) STRICT""",
        """CREATE TABLE devices (
            device_id TEXT PRIMARY KEY,
            user TEXT NOT NULL,
            phase BLOB NOT NULL,
            invited INTEGER NOT NULL,
            expires INTEGER NOT NULL,
            paired INTEGER,
            is_confirmed INTEGER NOT NULL,
            has_left INTEGER NOT NULL,
            stale_generation INTEGER,
            seen INTEGER,
            push_counter INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE counters (
            device_id TEXT NOT NULL REFERENCES devices ON DELETE CASCADE,
            generation INTEGER NOT NULL,
            counter INTEGER NOT NULL,
            PRIMARY KEY (device_id, generation, counter)
        ) STRICT, WITHOUT ROWID""",
        "CREATE TABLE removals (device_id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID",
    ),
)

_HALF = 2**63  # counters have 64 bits and no sign; SQLite's numbers have one


class SQLiteInstanceStore:
    """An :class:`~porttunnel.net.instance.store.InstanceStore` in a file.

    Used from one thread at a time; it may be opened in one and used in another.

    :param path: the file, made if missing (with its folder); ``":memory:"`` keeps nothing. Beside
        it stands its :class:`~porttunnel.net.instance.witness.Witness`.
    :raises ConfigurationError: from here and every method: the file can't be used.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._witness = None if os.fspath(path) == IN_MEMORY else Witness(path)
        self._file = SQLiteFile(path, _SCHEMA)
        self._file.rows("PRAGMA secure_delete = ON")
        # From the first reading on nobody else may use it: of two instances that accept requests
        # with one state each would carry out what the other has.
        self._file.rows("PRAGMA locking_mode = EXCLUSIVE")

    def close(self) -> None:
        """Let go of the file. Nothing waits to be written."""
        self._file.close()

    def load(self) -> StoredInstance:
        with self._file.transaction():
            identities = self._file.rows("SELECT instance_id, password FROM identity")
            identity = Identity(*identities[0]) if identities else None
            return StoredInstance(
                identity=identity,
                devices=() if identity is None else self._load_devices(identity.instance_id),
                removals=tuple(one for (one,) in self._file.rows("SELECT * FROM removals")),
                is_restored=self._is_restored(),
            )

    def apply(self, changes: Sequence[StoreChange]) -> None:
        if len(changes) == 1 and isinstance(changes[0], CounterKept):
            # Most writes are this one. A statement alone is a transaction, and after each
            # statement the thread waits until the reactor lets go of the interpreter.
            with self._file.single_statements():
                self._keep_counter(changes[0])
            return
        with self._file.transaction():
            for change in changes:
                self._apply(change)
        if any(isinstance(change, DeviceWritten | DeviceErased) for change in changes):
            self._file.checkpoint()

    def leave_witness(self) -> None:
        if self._witness is None:
            return
        mark = secrets.token_bytes(MARK_BYTES)
        # As long as the file could not be written, the mark in it goes on to count.
        previous = self._witness.read() or mark
        with self._file.transaction():
            self._file.change(
                "INSERT OR REPLACE INTO witness VALUES (1, ?, ?, ?)",
                mark,
                previous,
                self._witness.identify(),
            )
        self._witness.write(mark)

    def _is_restored(self) -> bool:
        rows = self._file.rows("SELECT mark, previous, file FROM witness")
        if self._witness is None or not rows:
            return False
        mark, previous, file = rows[0]
        # The previous one: the last writing was cut off between the two places.
        return (
            self._witness.read() not in (mark, previous) or bytes(file) != self._witness.identify()
        )

    def _load_devices(self, instance_id: str) -> list[StoredDevice]:
        rows = self._file.rows(
            "SELECT device_id, user, phase, invited, expires, paired, is_confirmed, has_left, "
            "stale_generation, seen, push_counter FROM devices"
        )
        return [_device(instance_id, row, self._load_counters(row[0])) for row in rows]

    def _load_counters(self, device_id: str) -> dict[int, list[int]]:
        # One device after the other: the rows of all together would be a hundred bytes for each
        # counter of a thousand devices.
        counters: dict[int, list[int]] = defaultdict(list)
        for generation, counter in self._file.rows(
            "SELECT generation, counter FROM counters WHERE device_id = ?", device_id
        ):
            counters[generation].append(counter + _HALF)
        return counters

    def _apply(self, change: StoreChange) -> None:
        match change:
            case CounterKept():
                self._keep_counter(change)
            case DeviceSeen(device_id, seen):
                self._file.change(
                    "UPDATE devices SET seen = ? WHERE device_id = ?", seen, device_id
                )
            case PushCounterKept(device_id, counter):
                self._file.change(
                    "UPDATE devices SET push_counter = ? WHERE device_id = ?",
                    counter - _HALF,
                    device_id,
                )
            case DeviceWritten(row):
                self._write_device(row)
            case DeviceErased(device_id):
                self._file.change("DELETE FROM devices WHERE device_id = ?", device_id)
                self._file.change("INSERT OR IGNORE INTO removals VALUES (?)", device_id)
            case RemovalFinished(device_id):
                self._file.change("DELETE FROM removals WHERE device_id = ?", device_id)
            case IdentityWritten(identity):
                self._file.change("DELETE FROM devices")
                self._file.change("DELETE FROM removals")
                self._file.change("DELETE FROM identity")
                self._file.change(
                    "INSERT INTO identity VALUES (1, ?, ?)",
                    identity.instance_id,
                    identity.password,
                )

    def _keep_counter(self, change: CounterKept) -> None:
        # In the place of the one that need not be kept; which is not there if it could not be
        # written then.
        if change.forgotten is not None and self._file.change(
            "UPDATE counters SET counter = ? "
            "WHERE device_id = ? AND generation = ? AND counter = ?",
            change.counter - _HALF,
            change.device_id,
            change.generation,
            change.forgotten - _HALF,
        ):
            return
        # Of a device that was erased meanwhile nothing comes back.
        self._file.change(
            "INSERT INTO counters SELECT device_id, ?, ? FROM devices WHERE device_id = ?",
            change.generation,
            change.counter - _HALF,
            change.device_id,
        )

    def _write_device(self, row: DeviceRow) -> None:
        self._file.change(
            "INSERT INTO devices VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?) "
            "ON CONFLICT (device_id) DO UPDATE SET user = excluded.user, phase = excluded.phase, "
            "invited = excluded.invited, expires = excluded.expires, paired = excluded.paired, "
            "is_confirmed = excluded.is_confirmed, has_left = excluded.has_left, "
            "stale_generation = excluded.stale_generation",
            row.device_id,
            row.user,
            encode_phase(row.phase),
            row.invited,
            row.expires,
            row.paired,
            row.is_confirmed,
            row.has_left,
            row.stale_generation,
            -_HALF,
        )
        # One secret, or two.
        generations = [secret.generation for secret in row.phase.secrets]
        self._file.change(
            "DELETE FROM counters WHERE device_id = ? AND generation NOT IN (?, ?)",
            row.device_id,
            generations[0],
            generations[-1],
        )


def _device(instance_id: str, values: Any, counters: dict[int, list[int]]) -> StoredDevice:
    device_id, user, phase, invited, expires, paired, *rest = values
    is_confirmed, has_left, stale_generation, seen, push_counter = rest
    row = DeviceRow(
        device_id=device_id,
        user=user,
        phase=decode_phase(Ends(parse_id(instance_id), parse_id(device_id)), phase),
        invited=invited,
        expires=expires,
        paired=paired,
        is_confirmed=bool(is_confirmed),
        has_left=bool(has_left),
        stale_generation=stale_generation,
    )
    return StoredDevice(row, seen, push_counter + _HALF, counters)
