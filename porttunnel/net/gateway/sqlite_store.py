"""The gateway's accounts in one SQLite file, for one machine.

Each verb is on the disk before anybody is told of it: whom an answer has reached must not find
its account gone after a power cut.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from porttunnel.gateway.setup_claim import ClaimOutcome, SetupOffer, judge_claim
from porttunnel.net.gateway.store import (
    Addition,
    Claim,
    Counts,
    Credential,
    DeviceRow,
    DeviceState,
    GatewayStore,
    OfferRow,
    Revocation,
)
from porttunnel.net.store.sqlite_file import SQLiteFile

__all__ = ["SCHEMA", "SQLiteGatewayStore"]

CONFIRM_SECONDS = 86_400.0  # after its key has expired: nobody compares digits the day after

# One entry for each version of the schema: the statements that lead to it from the one before.
# docs/security says what each column tells; a test compares the two.
SCHEMA: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE instances (
            instance_id TEXT PRIMARY KEY,
            password_hash TEXT NOT NULL,
            next_password_hash TEXT
        ) STRICT, WITHOUT ROWID""",
        # Without a password_hash: nobody has used its setup key yet. Without unconfirmed_until:
        # its instance is content with it.
        """CREATE TABLE devices (
            device_id TEXT PRIMARY KEY,
            instance_id TEXT NOT NULL REFERENCES instances ON DELETE CASCADE,
            password_hash TEXT,
            unconfirmed_until REAL
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX devices_by_instance ON devices (instance_id)",
        """CREATE INDEX devices_unconfirmed ON devices (unconfirmed_until)
            WHERE unconfirmed_until IS NOT NULL""",
        """CREATE TABLE setup_keys (
            key_hash BLOB PRIMARY KEY,
            device_id TEXT NOT NULL UNIQUE REFERENCES devices ON DELETE CASCADE,
            expires REAL NOT NULL,
            nonce_hash BLOB
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX setup_keys_by_end ON setup_keys (expires)",
    ),
    (
        # What other processes have to hear of. By triggers, so that nothing is left out: neither
        # the devices of an instance that goes, nor what somebody removes by hand. No number is
        # used again, so that each process knows what is new.
        """CREATE TABLE revocations (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            user_name TEXT NOT NULL,
            instance_id TEXT NOT NULL
        ) STRICT""",
        """CREATE TRIGGER device_removed AFTER DELETE ON devices BEGIN
            INSERT INTO revocations (user_name, instance_id)
            VALUES (OLD.device_id, OLD.instance_id);
        END""",
        """CREATE TRIGGER instance_removed AFTER DELETE ON instances BEGIN
            INSERT INTO revocations (user_name, instance_id)
            VALUES (OLD.instance_id, OLD.instance_id);
        END""",
        """CREATE TRIGGER password_changed AFTER UPDATE OF password_hash ON instances BEGIN
            INSERT INTO revocations (user_name, instance_id)
            VALUES (OLD.instance_id, OLD.instance_id);
        END""",
    ),
)

_SELECT_DEVICE = "SELECT device_id, instance_id, password_hash, unconfirmed_until FROM devices "
_SELECT_OFFER = (
    "SELECT device_id, instance_id, expires, nonce_hash, unconfirmed_until IS NULL "
    "FROM setup_keys JOIN devices USING (device_id) WHERE key_hash = ?"
)
# Devices that nobody became in time; then those that were not confirmed in time.
_SELECT_LATE = (
    "SELECT instance_id, device_id FROM setup_keys JOIN devices USING (device_id) "
    "WHERE expires <= ? AND password_hash IS NULL LIMIT ?",
    "SELECT instance_id, device_id FROM devices WHERE unconfirmed_until <= ? LIMIT ?",
)
_SELECT_REVOKED = (
    "SELECT number, user_name, instance_id, EXISTS (SELECT 1 FROM instances "
    "WHERE instances.instance_id = revocations.instance_id) "
    "FROM revocations WHERE number > ? ORDER BY number"
)
_LAST_REVOKED = "SELECT coalesce(max(number), 0) FROM revocations"


class SQLiteGatewayStore(GatewayStore):
    """The gateway's rows in one file.

    Used from one thread at a time; it may be opened in one and used in another, and several
    processes may have it open.

    :param path: the file, made if missing (with its folder); ``":memory:"`` keeps nothing.
    :raises ConfigurationError: from here and every method: the file can't be used.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = SQLiteFile(path, SCHEMA)
        # What is removed is overwritten, not only forgotten.
        self._file.rows("PRAGMA secure_delete = ON")
        self._seen: int = self._file.read(_LAST_REVOKED)[0][0]  # of the revocations
        self._unheard: list[Revocation] = []  # of other processes, that nobody asked for yet
        self._swept = 0  # those up to here were there already at the sweep before

    def close(self) -> None:
        self._file.close()

    def probe(self) -> None:
        self._file.probe()

    def revocations(self) -> list[Revocation]:
        rows = self._file.read(_SELECT_REVOKED, self._seen)
        heard, self._unheard = self._unheard + _revocations(rows), []
        if rows:
            self._seen = rows[-1][0]
        return heard

    def counts(self) -> Counts:
        with self._file.transaction():
            (row,) = self._file.rows(
                "SELECT (SELECT count(*) FROM instances), count(password_hash), "
                "count(*) - count(password_hash) FROM devices"
            )
        return Counts(*row)

    def add_instance(self, instance_id: str, password_hash: str, limit: int) -> Addition:
        with self._file.transaction():
            if self._count("SELECT count(*) FROM instances") >= limit:
                return Addition.FULL
            self._file.change(
                "INSERT INTO instances (instance_id, password_hash) VALUES (?, ?)",
                instance_id,
                password_hash,
            )
        return Addition.ADDED

    def remove_instance(self, instance_id: str) -> list[str] | None:
        with self._revoking():
            devices = self._file.rows(
                "SELECT device_id FROM devices WHERE instance_id = ? ORDER BY device_id",
                instance_id,
            )
            if not self._file.change("DELETE FROM instances WHERE instance_id = ?", instance_id):
                return None
        return [device_id for (device_id,) in devices]

    def credential(self, user_name: str) -> Credential | None:
        rows = self._file.read(
            "SELECT instance_id, password_hash, next_password_hash FROM instances "
            "WHERE instance_id = ? UNION ALL "
            "SELECT instance_id, password_hash, NULL FROM devices "
            "WHERE device_id = ? AND password_hash IS NOT NULL",
            user_name,
            user_name,
        )
        return Credential(user_name, *rows[0]) if rows else None

    def set_next_password(self, instance_id: str, password_hash: str) -> bool:
        with self._file.transaction():
            changed = self._file.change(
                "UPDATE instances SET next_password_hash = ? WHERE instance_id = ?",
                password_hash,
                instance_id,
            )
        return bool(changed)

    def promote_password(self, instance_id: str, password_hash: str) -> bool:
        with self._revoking():
            changed = self._file.change(
                "UPDATE instances SET password_hash = next_password_hash, "
                "next_password_hash = NULL WHERE instance_id = ? AND next_password_hash = ?",
                instance_id,
                password_hash,
            )
        return bool(changed)

    def add_device(
        self, device_id: str, instance_id: str, key_hash: bytes, expires: float, limit: int
    ) -> Addition:
        with self._file.transaction():
            if not self._count(
                "SELECT count(*) FROM instances WHERE instance_id = ?", instance_id
            ):
                return Addition.NO_INSTANCE
            if (
                self._count("SELECT count(*) FROM devices WHERE instance_id = ?", instance_id)
                >= limit
            ):
                return Addition.FULL
            self._file.change(
                "INSERT INTO devices (device_id, instance_id, unconfirmed_until) VALUES (?, ?, ?)",
                device_id,
                instance_id,
                expires + CONFIRM_SECONDS,
            )
            self._file.change(
                "INSERT INTO setup_keys (key_hash, device_id, expires) VALUES (?, ?, ?)",
                key_hash,
                device_id,
                expires,
            )
        return Addition.ADDED

    def device(self, device_id: str) -> DeviceRow | None:
        rows = self._file.read(_SELECT_DEVICE + "WHERE device_id = ?", device_id)
        return _device(*rows[0]) if rows else None

    def devices(self, instance_id: str) -> list[DeviceRow]:
        rows = self._file.read(
            _SELECT_DEVICE + "WHERE instance_id = ? ORDER BY device_id", instance_id
        )
        return [_device(*row) for row in rows]

    def confirm_device(self, device_id: str, instance_id: str) -> DeviceState | None:
        with self._file.transaction():
            self._file.change(
                "UPDATE devices SET unconfirmed_until = NULL "
                "WHERE device_id = ? AND instance_id = ? AND password_hash IS NOT NULL",
                device_id,
                instance_id,
            )
            rows = self._file.rows(
                _SELECT_DEVICE + "WHERE device_id = ? AND instance_id = ?", device_id, instance_id
            )
        return _device(*rows[0]).state if rows else None

    def remove_device(self, device_id: str, instance_id: str) -> bool:
        with self._revoking():
            removed = self._file.change(
                "DELETE FROM devices WHERE device_id = ? AND instance_id = ?",
                device_id,
                instance_id,
            )
        return bool(removed)

    def offer(self, key_hash: bytes) -> OfferRow | None:
        return _offer(self._file.read(_SELECT_OFFER, key_hash))

    def claim(
        self, key_hash: bytes, nonce_hash: bytes, password_hash: str, now: float
    ) -> Claim | None:
        with self._revoking():
            row = _offer(self._file.rows(_SELECT_OFFER, key_hash))
            if row is None:
                return None
            outcome = judge_claim(row.offer, nonce_hash, now)
            if outcome is ClaimOutcome.TAKEN:
                self._file.change(
                    "UPDATE setup_keys SET nonce_hash = ? WHERE key_hash = ?", nonce_hash, key_hash
                )
                self._file.change(
                    "UPDATE devices SET password_hash = ? WHERE device_id = ?",
                    password_hash,
                    row.device_id,
                )
            elif outcome is ClaimOutcome.RACE:
                self._remove_devices([row.device_id])
        return Claim(outcome, row.device_id, row.instance_id)

    def sweep(self, now: float, limit: int) -> list[tuple[str, str]]:
        with self._revoking():
            late: list[tuple[str, str]] = []
            for statement in _SELECT_LATE:
                found = self._file.rows(statement, now, limit)
                self._remove_devices([device_id for _, device_id in found])
                late += found
            self._file.change(
                "DELETE FROM setup_keys WHERE key_hash IN (SELECT key_hash FROM setup_keys "
                "JOIN devices USING (device_id) "
                "WHERE expires <= ? AND password_hash IS NOT NULL LIMIT ?)",
                now,
                limit,
            )
            # Other processes ask more often than they sweep, so by now all have heard of these.
            self._file.change("DELETE FROM revocations WHERE number <= ?", self._swept)
            self._swept = self._file.rows(_LAST_REVOKED)[0][0]
        return late

    def erase(self) -> None:
        self._file.checkpoint()

    @contextmanager
    def _revoking(self) -> Iterator[None]:
        """A transaction whose revocations are this process's own: it need not be told of them."""
        with self._file.transaction():
            others = self._file.rows(_SELECT_REVOKED, self._seen)
            yield
            seen = self._file.rows(_LAST_REVOKED)[0][0]
        self._unheard += _revocations(others)
        self._seen = max(seen, self._seen)

    def _remove_devices(self, device_ids: list[str]) -> None:
        for device_id in device_ids:
            self._file.change("DELETE FROM devices WHERE device_id = ?", device_id)

    def _count(self, statement: str, *values: object) -> int:
        count: int = self._file.rows(statement, *values)[0][0]
        return count


def _revocations(rows: list[Any]) -> list[Revocation]:
    return [Revocation(user, instance, bool(is_there)) for _, user, instance, is_there in rows]


def _offer(rows: list[Any]) -> OfferRow | None:
    if not rows:
        return None
    device_id, instance_id, expires, nonce_hash, confirmed = rows[0]
    return OfferRow(device_id, instance_id, SetupOffer(expires, nonce_hash, bool(confirmed)))


def _device(
    device_id: str, instance_id: str, password_hash: str | None, unconfirmed_until: Any
) -> DeviceRow:
    if password_hash is None:
        state = DeviceState.INVITED
    elif unconfirmed_until is not None:
        state = DeviceState.CLAIMED
    else:
        state = DeviceState.CONFIRMED
    return DeviceRow(device_id, instance_id, state)
