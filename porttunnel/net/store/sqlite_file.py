"""A SQLite file that is its owner's alone, and safe on the disk after each transaction.

Several processes may share it. Every error of the file says what to do about it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from porttunnel.errors import ConfigurationError

__all__ = ["IN_MEMORY", "SQLiteFile"]

IN_MEMORY = ":memory:"
BUSY_SECONDS = 10.0  # each transaction of another process takes milliseconds
WAL_ATTEMPTS = 100  # far more than processes that begin at the same moment
FOLDER_MODE = 0o700
OTHERS_MODE = 0o077  # nobody but the owner
FILE_MODE = 0o600  # SQLite gives the files beside it (-wal, -shm) the same mode

_ADVICE = {
    sqlite3.SQLITE_BUSY: "another program keeps it locked; stop that program and try again",
    sqlite3.SQLITE_READONLY: "it can't be written; give this user the right to write to the file "
    "and its folder",
    sqlite3.SQLITE_CANTOPEN: "it can't be opened; check that the folder exists and that this user "
    "may read and write there",
    sqlite3.SQLITE_PERM: "this user may not use it; correct its owner",
    sqlite3.SQLITE_ERROR: "it holds other tables than this program's; name another file",
    sqlite3.SQLITE_NOTADB: "it is not a SQLite file; name another file, or restore it from a "
    "backup",
    sqlite3.SQLITE_CORRUPT: "it is damaged; restore it from a backup",
    sqlite3.SQLITE_FULL: "the disk is full; make room and try again",
    sqlite3.SQLITE_IOERR: "the disk reports an error; check it and restore the file from a backup",
}
_PRIMARY_CODE = 0xFF  # the rest of an extended code only says more about the same


class SQLiteFile:
    """Transactions and statements on one file.

    Used from one thread at a time; it may be opened in one and used in another.

    :param path: the file, made if missing (with its folder); ``":memory:"`` keeps nothing.
    :param schema: for each version of the tables the statements that lead to it from the one
        before; what is missing is done at once.
    :raises ConfigurationError: from here and every method: the file can't be used.
    """

    def __init__(self, path: str | os.PathLike[str], schema: Sequence[Sequence[str]]) -> None:
        self._path = os.fspath(path)
        if self._path != IN_MEMORY:
            _make_private_file(Path(self._path))
        with self._advice():
            self._connection = sqlite3.connect(
                self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(schema)
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Let go of the file. Nothing waits to be written."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that happens inside happens at once and for ever, or, on an error, not at all."""
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

    @contextmanager
    def single_statements(self) -> Iterator[None]:
        """Each :meth:`change` inside is a transaction by itself."""
        with self._advice():
            yield

    def read(self, statement: str, *values: object) -> list[Any]:
        """What one query finds, outside of a transaction: it waits for nobody who writes."""
        with self._advice():
            return self.rows(statement, *values)

    def rows(self, statement: str, *values: object) -> list[Any]:
        """What a query finds, as a list of tuples."""
        return self._connection.execute(statement, values).fetchall()

    def change(self, statement: str, *values: object) -> int:
        """Run a statement; how many rows it changed."""
        return self._connection.execute(statement, values).rowcount

    def checkpoint(self) -> None:
        """Let the journal hold nothing any more, so that what was overwritten is gone from it.

        While another process reads or writes it stays there, until the next time.
        """
        with self._advice():
            self.rows("PRAGMA busy_timeout = 0")  # a long backup would keep us from all else
            try:
                self.rows("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                self.rows(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1_000)}")

    def probe(self) -> None:
        """Write what stands there already: nothing, if the file and its disk take it."""
        with self.transaction():
            version = self.rows("PRAGMA user_version")[0][0]
            self.rows(f"PRAGMA user_version = {version}")

    def _prepare(self, schema: Sequence[Sequence[str]]) -> None:
        self._enter_wal()
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA fullfsync = ON")  # macOS syncs no further than the drive
        self._connection.execute("PRAGMA foreign_keys = ON")
        with self.transaction():
            version = self.rows("PRAGMA user_version")[0][0]
            if version > len(schema):
                raise ConfigurationError(
                    f"{self._path} was written by a newer porttunnel (schema {version}, this one "
                    f"knows {len(schema)}); install that version, or name another file"
                )
            for next_version, statements in enumerate(schema[version:], version + 1):
                for statement in (*statements, f"PRAGMA user_version = {next_version}"):
                    self._connection.execute(statement)

    def _enter_wal(self) -> None:
        """A commit is one sync then, and what reads does not wait for what writes."""
        for _ in range(WAL_ATTEMPTS):
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY:
                    raise
                # Another process makes the same new file. Unlike transactions, this change does
                # not wait its turn, so wait with one and try again.
                with self.transaction():
                    pass
            else:
                return

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
            if path.stat().st_mode & OTHERS_MODE:
                # Copied back from a backup, say. What is another user's stays as it is.
                with suppress(PermissionError):
                    path.chmod(FILE_MODE)
            return
        path.chmod(FILE_MODE)  # whatever the umask took away
    except OSError as error:
        raise ConfigurationError(
            f"{path}: it can't be made ({error.strerror}); name a file in a folder where this "
            "user may write"
        ) from error
