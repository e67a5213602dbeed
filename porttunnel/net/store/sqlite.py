"""The tunnel server's book in one SQLite file, for one machine.

Each transaction is on the disk before anybody is told of it: a number that somebody has heard
must never be given out again, not even after a power cut (docs/session-protocol, section 3).
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import Any

from porttunnel.net.store.sqlite_file import IN_MEMORY, SQLiteFile
from porttunnel.session.directory_store import (
    DirectoryStore,
    MemberRow,
    NoticeRow,
    ServerRow,
    SessionRow,
)

__all__ = ["IN_MEMORY", "SQLiteStore"]

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
    (
        # AUTOINCREMENT: who has read up to a place must not find another notice there later.
        """CREATE TABLE notices (
            place INTEGER PRIMARY KEY AUTOINCREMENT,
            written_by BLOB NOT NULL,
            written_at REAL NOT NULL,
            session_id BLOB NOT NULL,
            member INTEGER NOT NULL,
            reason TEXT
        ) STRICT""",
        "CREATE INDEX notices_by_time ON notices (written_at)",
        "ALTER TABLE members ADD COLUMN token_salt BLOB NOT NULL DEFAULT x''",
    ),
)

_SELECT_SESSION = (
    "SELECT session_id, number, ends_at, join_until, max_clients, next_member, locked "
    "FROM sessions "
)


class SQLiteStore(DirectoryStore):
    """The directory's rows in one file.

    Used from one thread at a time; it may be opened in one and used in another.

    :param path: the file, made if missing (with its folder); ``":memory:"`` keeps nothing.
    :raises ConfigurationError: from here and every method: the file can't be used.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = SQLiteFile(path, _SCHEMA)

    def close(self) -> None:
        """Let go of the file. Nothing waits to be written."""
        self._file.close()

    def transaction(self) -> AbstractContextManager[None]:
        return self._file.transaction()

    def issue_number(self, number: int) -> bool:
        if not self._file.change("INSERT OR IGNORE INTO numbers VALUES (?)", number):
            return False
        self._file.change(
            "INSERT INTO number_counts VALUES (?, 1) "
            "ON CONFLICT (digits) DO UPDATE SET issued = issued + 1",
            len(str(number)),
        )
        return True

    def issued_numbers(self, digits: int) -> int:
        rows = self._file.rows("SELECT issued FROM number_counts WHERE digits = ?", digits)
        return rows[0][0] if rows else 0

    def add_session(self, session: SessionRow) -> None:
        self._file.change(
            "INSERT INTO sessions (session_id, number, ends_at, join_until, max_clients, "
            "next_member, locked) VALUES (?, ?, ?, ?, ?, ?, ?)",
            *_session_values(session),
        )

    def replace_session(self, session: SessionRow) -> None:
        session_id, *values = _session_values(session)
        self._file.change(
            "UPDATE sessions SET number = ?, ends_at = ?, join_until = ?, max_clients = ?, "
            "next_member = ?, locked = ? WHERE session_id = ?",
            *values,
            session_id,
        )

    def remove_session(self, session_id: bytes) -> bool:
        return bool(self._file.change("DELETE FROM sessions WHERE session_id = ?", session_id))

    def session(self, session_id: bytes) -> SessionRow | None:
        return _session(self._file.rows(_SELECT_SESSION + "WHERE session_id = ?", session_id))

    def session_with_number(self, number: int) -> SessionRow | None:
        return _session(self._file.rows(_SELECT_SESSION + "WHERE number = ?", number))

    def add_member(self, member: MemberRow) -> None:
        self._file.change(
            "INSERT INTO members (session_id, member, token_hash, previous_token_hash, "
            "token_salt, joined_at, established, linked_by, unlinked_since) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *_member_values(member),
        )

    def replace_member(self, member: MemberRow) -> None:
        session_id, number, *values = _member_values(member)
        self._file.change(
            "UPDATE members SET token_hash = ?, previous_token_hash = ?, token_salt = ?, "
            "joined_at = ?, established = ?, linked_by = ?, unlinked_since = ? "
            "WHERE session_id = ? AND member = ?",
            *values,
            session_id,
            number,
        )

    def remove_member(self, session_id: bytes, member: int) -> None:
        self._file.change(
            "DELETE FROM members WHERE session_id = ? AND member = ?", session_id, member
        )

    def member(self, session_id: bytes, member: int) -> MemberRow | None:
        return _member(
            self._file.rows(
                "SELECT session_id, member, token_hash, previous_token_hash, token_salt, "
                "joined_at, established, linked_by, unlinked_since "
                "FROM members WHERE session_id = ? AND member = ?",
                session_id,
                member,
            )
        )

    def members(self, session_id: bytes) -> tuple[int, ...]:
        rows = self._file.rows(
            "SELECT member FROM members WHERE session_id = ? ORDER BY member", session_id
        )
        return tuple(member for (member,) in rows)

    def client_count(self, session_id: bytes) -> int:
        rows = self._file.rows(
            "SELECT count(*) FROM members WHERE session_id = ? AND member > 1", session_id
        )
        count: int = rows[0][0]
        return count

    def sessions_over(self, now: float, limit: int) -> list[bytes]:
        rows = self._file.rows(
            "SELECT session_id FROM sessions WHERE ends_at <= ? ORDER BY ends_at LIMIT ?",
            now,
            limit,
        )
        return [session_id for (session_id,) in rows]

    def sessions_without_master(self, since: float, limit: int) -> list[bytes]:
        rows = self._file.rows(
            "SELECT session_id FROM members WHERE member = 1 AND unlinked_since <= ? "
            "ORDER BY unlinked_since LIMIT ?",
            since,
            limit,
        )
        return [session_id for (session_id,) in rows]

    def clients_without_link(self, since: float, limit: int) -> list[tuple[bytes, int]]:
        return self._file.rows(
            "SELECT session_id, member FROM members WHERE member > 1 AND unlinked_since <= ? "
            "ORDER BY unlinked_since LIMIT ?",
            since,
            limit,
        )

    def clients_unfinished(self, joined: float, limit: int) -> list[tuple[bytes, int]]:
        return self._file.rows(
            "SELECT session_id, member FROM members WHERE established = 0 AND joined_at <= ? "
            "ORDER BY joined_at LIMIT ?",
            joined,
            limit,
        )

    def server(self, server_id: bytes) -> ServerRow | None:
        rows = self._file.rows(
            "SELECT server_id, served_since, seen_at FROM servers WHERE server_id = ?", server_id
        )
        return ServerRow(*rows[0]) if rows else None

    def put_server(self, server: ServerRow) -> None:
        self._file.change(
            "INSERT OR REPLACE INTO servers (server_id, served_since, seen_at) VALUES (?, ?, ?)",
            server.server_id,
            server.served_since,
            server.seen_at,
        )

    def remove_server(self, server_id: bytes) -> None:
        self._file.change("DELETE FROM servers WHERE server_id = ?", server_id)

    def served_since(self, seen: float) -> float | None:
        rows = self._file.rows("SELECT min(served_since) FROM servers WHERE seen_at > ?", seen)
        earliest: float | None = rows[0][0]
        return earliest

    def silent_server(self, seen: float) -> bytes | None:
        rows = self._file.rows("SELECT server_id FROM servers WHERE seen_at <= ? LIMIT 1", seen)
        return rows[0][0] if rows else None

    def unlink_members(self, server_id: bytes, now: float, limit: int) -> int:
        return self._file.change(
            "UPDATE members SET linked_by = NULL, unlinked_since = ? "
            "WHERE (session_id, member) IN "
            "(SELECT session_id, member FROM members WHERE linked_by = ? LIMIT ?)",
            now,
            server_id,
            limit,
        )

    def add_notice(self, notice: NoticeRow) -> None:
        self._file.change(
            "INSERT INTO notices (written_by, written_at, session_id, member, reason) "
            "VALUES (?, ?, ?, ?, ?)",
            notice.written_by,
            notice.written_at,
            notice.session_id,
            notice.member,
            notice.reason,
        )

    def last_notice(self) -> int:
        rows = self._file.rows("SELECT seq FROM sqlite_sequence WHERE name = 'notices'")
        return rows[0][0] if rows else 0

    def notices(self, after: int, reader: bytes, limit: int) -> list[tuple[int, NoticeRow]]:
        rows = self._file.rows(
            "SELECT place, written_by, written_at, session_id, member, reason FROM notices "
            "WHERE place > ? AND written_by <> ? ORDER BY place LIMIT ?",
            after,
            reader,
            limit,
        )
        return [(place, NoticeRow(*values)) for place, *values in rows]

    def forget_notices(self, written_at: float, limit: int) -> None:
        self._file.change(
            "DELETE FROM notices WHERE place IN "
            "(SELECT place FROM notices WHERE written_at <= ? ORDER BY written_at LIMIT ?)",
            written_at,
            limit,
        )


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
    session_id, number, ends_at, join_until, max_clients, next_member, locked = rows[0]
    return SessionRow(
        session_id, number, ends_at, join_until, max_clients, next_member, bool(locked)
    )


def _member_values(member: MemberRow) -> tuple[object, ...]:
    return (
        member.session_id,
        member.member,
        member.token_hash,
        member.previous_token_hash,
        member.token_salt,
        member.joined_at,
        member.established,
        member.linked_by,
        member.unlinked_since,
    )


def _member(rows: list[Any]) -> MemberRow | None:
    if not rows:
        return None
    session_id, member, token_hash, previous, salt, joined_at, established, *link = rows[0]
    linked_by, unlinked_since = link
    return MemberRow(
        session_id,
        member,
        token_hash,
        previous,
        salt,
        joined_at,
        bool(established),
        linked_by,
        unlinked_since,
    )
