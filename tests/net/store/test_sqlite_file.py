"""porttunnel.net.store.sqlite_file"""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from porttunnel.errors import ConfigurationError
from porttunnel.net.store import sqlite_file
from porttunnel.net.store.sqlite_file import BUSY_SECONDS, SQLiteFile

ONE = ["CREATE TABLE one (a ANY) STRICT"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "book.sqlite"


def test_a_new_folder_is_its_owners_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        SQLiteFile(path, [ONE]).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_that_others_could_read_is_its_owners_again(path: Path) -> None:
    """As one that was copied back from a backup."""
    SQLiteFile(path, [ONE]).close()
    path.chmod(0o644)
    SQLiteFile(path, [ONE]).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_durable_settings(path: Path) -> None:
    with closing(SQLiteFile(path, [])) as file:
        assert file.rows("PRAGMA journal_mode") == [("wal",)]
        assert file.rows("PRAGMA synchronous") == [(2,)]
        assert file.rows("PRAGMA fullfsync") == [(1,)]
        assert file.rows("PRAGMA foreign_keys") == [(1,)]
        assert file.rows("PRAGMA busy_timeout") == [(10_000,)]


def test_older_schema_gets_what_is_missing(path: Path) -> None:
    second = ["CREATE TABLE two (b INTEGER) STRICT", "INSERT INTO two SELECT a FROM one"]
    with closing(SQLiteFile(path, [ONE])) as file, file.transaction():
        assert file.change("INSERT INTO one VALUES (?)", 7) == 1
    with closing(SQLiteFile(path, [ONE, second])) as file:
        assert file.rows("SELECT b FROM two") == [(7,)]
        assert file.rows("PRAGMA user_version") == [(2,)]
    SQLiteFile(path, [ONE, second]).close()


def test_a_step_that_fails_leaves_the_old_schema(path: Path) -> None:
    SQLiteFile(path, [ONE]).close()
    with pytest.raises(ConfigurationError):
        SQLiteFile(path, [ONE, ["CREATE TABLE two (b INTEGER)", "CREATE TABLE one (c)"]])
    with closing(SQLiteFile(path, [ONE])) as file:
        assert file.rows("SELECT name FROM sqlite_schema") == [("one",)]
        assert file.rows("PRAGMA user_version") == [(1,)]


def test_newer_schema(path: Path) -> None:
    SQLiteFile(path, [ONE]).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigurationError, match=r"newer porttunnel \(schema 99"):
        SQLiteFile(path, [ONE])


def test_tables_of_another_program(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE one (cookie)")
    with pytest.raises(ConfigurationError, match="name another file"):
        SQLiteFile(path, [ONE])


def test_not_a_database(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is a letter to my aunt. " * 100)
    with pytest.raises(ConfigurationError, match="not a SQLite file"):
        SQLiteFile(path, [ONE])


def test_locked_before_it_was_ever_prepared(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.01)
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigurationError, match="stop that program"):
            SQLiteFile(path, [ONE])


def test_read_only(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE one (a)")
    connect = sqlite3.connect
    # Root may write to any file, so its mode alone would prove nothing.
    monkeypatch.setattr(
        sqlite3,
        "connect",
        lambda name, **settings: connect(f"file:{name}?mode=ro", uri=True, **settings),
    )
    with pytest.raises(ConfigurationError, match="the right to write"):
        SQLiteFile(path, [ONE])


def test_what_is_read_or_written_elsewhere_is_not_waited_for(path: Path) -> None:
    journal = path.with_name(f"{path.name}-wal")
    with closing(SQLiteFile(path, [ONE])) as file, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM one").fetchall()
        with file.transaction():
            file.change("INSERT INTO one VALUES (1)")
        file.checkpoint()
        assert journal.stat().st_size
        other.execute("COMMIT")
        other.execute("BEGIN IMMEDIATE")
        assert file.read("SELECT * FROM one") == [(1,)]
        file.checkpoint()
        assert journal.stat().st_size
        other.execute("ROLLBACK")
        file.checkpoint()
        assert not journal.stat().st_size
        assert file.rows("PRAGMA busy_timeout") == [(BUSY_SECONDS * 1_000,)]


def test_disk_full(path: Path) -> None:
    with closing(SQLiteFile(path, [ONE])) as file:
        pages = file.rows("PRAGMA page_count")[0][0]
        file.rows(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(ConfigurationError, match="make room"), file.transaction():
            file.change("INSERT INTO one VALUES (zeroblob(100000))")
        with file.transaction():
            assert file.rows("SELECT * FROM one") == []


def test_a_folder_in_place_of_the_file(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="can't be opened"):
        SQLiteFile(path, [ONE])


def test_a_file_in_place_of_the_folder(path: Path) -> None:
    path.parent.write_bytes(b"")
    with pytest.raises(ConfigurationError, match="can't be made"):
        SQLiteFile(path, [ONE])


def test_our_own_mistakes_are_not_the_files(path: Path) -> None:
    file = SQLiteFile(path, [ONE])
    with pytest.raises(sqlite3.ProgrammingError), file.transaction():
        file.rows("SELECT ?")
    file.close()
    with pytest.raises(sqlite3.ProgrammingError), file.transaction():
        file.rows("SELECT 1")


def test_two_that_make_the_file_at_the_same_time_wait_for_each_other(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir()
    other = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    seen: list[str] = []

    class Connection(sqlite3.Connection):
        """Lets go of the lock as soon as the first attempt has failed at it."""

        def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
            seen.append(statement)
            if statement == "BEGIN IMMEDIATE" and other.in_transaction:
                other.execute("COMMIT")
            return super().execute(statement, *values)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.01)
    monkeypatch.setattr(
        sqlite3,
        "connect",
        lambda *args, **settings: connect(*args, factory=Connection, **settings),
    )
    with closing(other), closing(SQLiteFile(path, [ONE])) as file:
        assert seen[:4] == [
            "PRAGMA journal_mode = WAL",
            "BEGIN IMMEDIATE",
            "COMMIT",
            "PRAGMA journal_mode = WAL",
        ]
        assert file.rows("PRAGMA journal_mode") == [("wal",)]
