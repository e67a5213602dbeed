"""The tunnel server's book in one SQLite file, for one machine.

Several processes may share the file. It is made for its owner only, and each transaction is on
the disk before anybody is told of it: a number that somebody has heard must never be given out
again, not even after a power cut (docs/session-protocol, section 3).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from porttunnel.errors import ConfigurationError
from porttunnel.session.directory_store import MemberRow, ServerRow, SessionRow

__all__ = ["IN_MEMORY", "SQLiteStore"]

IN_MEMORY = ":memory:"
BUSY_SECONDS = 10.0  # each transaction of another process takes milliseconds
FOLDER_MODE = 0o700
FILE_MODE = 0o600  # SQLite gives the files beside it (-wal, -shm) the same mode

# One entry for each version of the schema: the statements that lead to it from the one before.
_SCHEMA: tuple[tuple[str, ...], ...] = (
    (
        # For ever: what keeps a number from being given out twice.
        "CREATE TABLE numbers (number INTEGER PRIMARY KEY) STRICT",
        "CREATE TABLE number_counts (digits INTEGER PRIMARY KEY, issued INTEGER NOT NULL) STRICT",
        """CREATE TABLE servers (
            server_id BLOB PRIMARY KEY,
            served_since REAL NOT NULL,
            seen_at REAL NOT NULL
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE sessions (
            session_id BLOB PRIMARY KEY,
            number INTEGER NOT NULL UNIQUE REFERENCES numbers,
            ends_at REAL NOT NULL,
            join_until REAL NOT NULL,
            max_clients INTEGER NOT NULL,
            next_member INTEGER NOT NULL,
            locked INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX sessions_by_end ON sessions (ends_at)",
        """CREATE TABLE members (
            session_id BLOB NOT NULL REFERENCES sessions ON DELETE CASCADE,
            member INTEGER NOT NULL,
            token_hash BLOB NOT NULL,
            previous_token_hash BLOB,
            joined_at REAL NOT NULL,
            established INTEGER NOT NULL,
            linked_by BLOB,
            unlinked_since REAL,
            PRIMARY KEY (session_id, member),
            CHECK ((linked_by IS NULL) <> (unlinked_since IS NULL))
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX members_by_server ON members (linked_by) WHERE linked_by IS NOT NULL",
        """CREATE INDEX masters_unlinked ON members (unlinked_since)
            WHERE member = 1 AND unlinked_since IS NOT NULL""",
        """CREATE INDEX clients_unlinked ON members (unlinked_since)
            WHERE member > 1 AND unlinked_since IS NOT NULL""",
        "CREATE INDEX clients_unfinished ON members (joined_at) WHERE established = 0",
    ),
)

_SELECT_SESSION = (
    "SELECT session_id, number, ends_at, join_until, max_clients, next_member, locked "
    "FROM sessions "
)

_ADVICE = {
    sqlite3.SQLITE_BUSY: "another program keeps it locked; stop that program and try again",
    sqlite3.SQLITE_READONLY: "it can't be written; give this user the right to write to the file "
    "and its folder",
    sqlite3.SQLITE_CANTOPEN: "it can't be opened; check that the folder exists and that this user "
    "may read and write there",
    sqlite3.SQLITE_PERM: "this user may not use it; correct its owner",
    sqlite3.SQLITE_ERROR: "it holds something else than a tunnel server's book; name another file",
    sqlite3.SQLITE_NOTADB: "it is not a SQLite file; name another file, or restore it from a "
    "backup",
    sqlite3.SQLITE_CORRUPT: "it is damaged; restore it from a backup",
    sqlite3.SQLITE_FULL: "the disk is full; make room and start again",
    sqlite3.SQLITE_IOERR: "the disk reports an error; check it and restore the file from a backup",
}
_PRIMARY_CODE = 0xFF  # the rest of an extended code only says more about the same


class SQLiteStore:
    """Implements :class:`porttunnel.session.directory_store.DirectoryStore`.

    Used from one thread at a time; it may be opened in one and used in another.

    :param path: the file, made if missing (with its folder); ``":memory:"`` keeps nothing.
    :raises ConfigurationError: from here and every method: the file can't be used, with what to
        do about it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        if self._path != IN_MEMORY:
            _make_private_file(Path(self._path))
        with self._advice():
            self._connection = sqlite3.connect(
                self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Let go of the file. Nothing waits to be written."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._advice():
            # IMMEDIATE: a reader that becomes a writer later could not wait its turn.
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite ends it itself when the disk fails
                    self._connection.execute("ROLLBACK")
                raise

    def issue_number(self, number: int) -> bool:
        if not self._change("INSERT OR IGNORE INTO numbers VALUES (?)", number):
            return False
        self._change(
            "INSERT INTO number_counts VALUES (?, 1) "
            "ON CONFLICT (digits) DO UPDATE SET issued = issued + 1",
            len(str(number)),
        )
        return True

    def issued_numbers(self, digits: int) -> int:
        rows = self._rows("SELECT issued FROM number_counts WHERE digits = ?", digits)
        return rows[0][0] if rows else 0

    def add_session(self, session: SessionRow) -> None:
        self._change(
            "INSERT INTO sessions (session_id, number, ends_at, join_until, max_clients, "
            "next_member, locked) VALUES (?, ?, ?, ?, ?, ?, ?)",
            *_session_values(session),
        )

    def replace_session(self, session: SessionRow) -> None:
        session_id, *values = _session_values(session)
        self._change(
            "UPDATE sessions SET number = ?, ends_at = ?, join_until = ?, max_clients = ?, "
            "next_member = ?, locked = ? WHERE session_id = ?",
            *values,
            session_id,
        )

    def remove_session(self, session_id: bytes) -> bool:
        return bool(self._change("DELETE FROM sessions WHERE session_id = ?", session_id))

    def session(self, session_id: bytes) -> SessionRow | None:
        return _session(self._rows(_SELECT_SESSION + "WHERE session_id = ?", session_id))

    def session_with_number(self, number: int) -> SessionRow | None:
        return _session(self._rows(_SELECT_SESSION + "WHERE number = ?", number))

    def add_member(self, member: MemberRow) -> None:
        self._change(
            "INSERT INTO members (session_id, member, token_hash, previous_token_hash, "
            "joined_at, established, linked_by, unlinked_since) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *_member_values(member),
        )

    def replace_member(self, member: MemberRow) -> None:
        session_id, number, *values = _member_values(member)
        self._change(
            "UPDATE members SET token_hash = ?, previous_token_hash = ?, joined_at = ?, "
            "established = ?, linked_by = ?, unlinked_since = ? "
            "WHERE session_id = ? AND member = ?",
            *values,
            session_id,
            number,
        )

    def remove_member(self, session_id: bytes, member: int) -> bool:
        return bool(
            self._change(
                "DELETE FROM members WHERE session_id = ? AND member = ?", session_id, member
            )
        )

    def member(self, session_id: bytes, member: int) -> MemberRow | None:
        return _member(
            self._rows(
                "SELECT session_id, member, token_hash, previous_token_hash, joined_at, "
                "established, linked_by, unlinked_since "
                "FROM members WHERE session_id = ? AND member = ?",
                session_id,
                member,
            )
        )

    def members(self, session_id: bytes) -> tuple[int, ...]:
        rows = self._rows(
            "SELECT member FROM members WHERE session_id = ? ORDER BY member", session_id
        )
        return tuple(member for (member,) in rows)

    def client_count(self, session_id: bytes) -> int:
        rows = self._rows(
            "SELECT count(*) FROM members WHERE session_id = ? AND member > 1", session_id
        )
        count: int = rows[0][0]
        return count

    def sessions_over(self, now: float, limit: int) -> list[bytes]:
        rows = self._rows(
            "SELECT session_id FROM sessions WHERE ends_at <= ? ORDER BY ends_at LIMIT ?",
            now,
            limit,
        )
        return [session_id for (session_id,) in rows]

    def sessions_without_master(self, since: float, limit: int) -> list[bytes]:
        rows = self._rows(
            "SELECT session_id FROM members WHERE member = 1 AND unlinked_since <= ? "
            "ORDER BY unlinked_since LIMIT ?",
            since,
            limit,
        )
        return [session_id for (session_id,) in rows]

    def clients_without_link(self, since: float, limit: int) -> list[tuple[bytes, int]]:
        return self._rows(
            "SELECT session_id, member FROM members WHERE member > 1 AND unlinked_since <= ? "
            "ORDER BY unlinked_since LIMIT ?",
            since,
            limit,
        )

    def clients_unfinished(self, joined: float, limit: int) -> list[tuple[bytes, int]]:
        return self._rows(
            "SELECT session_id, member FROM members WHERE established = 0 AND joined_at <= ? "
            "ORDER BY joined_at LIMIT ?",
            joined,
            limit,
        )

    def server(self, server_id: bytes) -> ServerRow | None:
        rows = self._rows(
            "SELECT server_id, served_since, seen_at FROM servers WHERE server_id = ?", server_id
        )
        return ServerRow(*rows[0]) if rows else None

    def put_server(self, server: ServerRow) -> None:
        self._change(
            "INSERT OR REPLACE INTO servers (server_id, served_since, seen_at) VALUES (?, ?, ?)",
            server.server_id,
            server.served_since,
            server.seen_at,
        )

    def remove_server(self, server_id: bytes) -> None:
        self._change("DELETE FROM servers WHERE server_id = ?", server_id)

    def served_since(self, seen: float) -> float | None:
        rows = self._rows("SELECT min(served_since) FROM servers WHERE seen_at > ?", seen)
        earliest: float | None = rows[0][0]
        return earliest

    def silent_server(self, seen: float) -> bytes | None:
        rows = self._rows("SELECT server_id FROM servers WHERE seen_at <= ? LIMIT 1", seen)
        return rows[0][0] if rows else None

    def unlink_members(self, server_id: bytes, now: float, limit: int) -> int:
        return self._change(
            "UPDATE members SET linked_by = NULL, unlinked_since = ? "
            "WHERE (session_id, member) IN "
            "(SELECT session_id, member FROM members WHERE linked_by = ? LIMIT ?)",
            now,
            server_id,
            limit,
        )

    def _prepare(self) -> None:
        # WAL: readers and a writer don't wait for each other, and a commit is one sync.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA fullfsync = ON")  # macOS syncs no further than the drive
        self._connection.execute("PRAGMA foreign_keys = ON")
        with self.transaction():
            version = self._rows("PRAGMA user_version")[0][0]
            if version > len(_SCHEMA):
                raise ConfigurationError(
                    f"{self._path} was written by a newer porttunnel (schema {version}, this one "
                    f"knows {len(_SCHEMA)}); install that version, or name another file"
                )
            for statements in _SCHEMA[version:]:
                for statement in statements:
                    self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version = {len(_SCHEMA)}")

    def _rows(self, statement: str, *values: object) -> list[Any]:
        return self._connection.execute(statement, values).fetchall()

    def _change(self, statement: str, *values: object) -> int:
        """Run a statement; how many rows it changed."""
        return self._connection.execute(statement, values).rowcount

    @contextmanager
    def _advice(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            # Errors that the module raises by itself have no code: our mistake, not the file's.
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)
            advice = _ADVICE.get(code & _PRIMARY_CODE)
            if advice is None:
                raise
            raise ConfigurationError(f"{self._path}: {advice}") from error


def _make_private_file(path: Path) -> None:
    """Make the file before SQLite does, which would ask nothing but the umask."""
    try:
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE))
        except FileExistsError:
            # Not opened here: closing it would free the locks that this process holds on it.
            return
        path.chmod(FILE_MODE)  # whatever the umask took away
    except OSError as error:
        raise ConfigurationError(
            f"{path}: it can't be made ({error.strerror}); name a file in a folder where this "
            "user may write"
        ) from error


def _session_values(session: SessionRow) -> tuple[object, ...]:
    return (
        session.session_id,
        session.number,
        session.ends_at,
        session.join_until,
        session.max_clients,
        session.next_member,
        session.locked,
    )


def _session(rows: list[Any]) -> SessionRow | None:
    if not rows:
        return None
    *values, locked = rows[0]
    return SessionRow(*values, locked=bool(locked))


def _member_values(member: MemberRow) -> tuple[object, ...]:
    return (
        member.session_id,
        member.member,
        member.token_hash,
        member.previous_token_hash,
        member.joined_at,
        member.established,
        member.linked_by,
        member.unlinked_since,
    )


def _member(rows: list[Any]) -> MemberRow | None:
    if not rows:
        return None
    *values, established, linked_by, unlinked_since = rows[0]
    return MemberRow(*values, bool(established), linked_by, unlinked_since)
