"""porttunnel.net.store.sqlite"""

from __future__ import annotations

import os
import secrets
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest

from porttunnel.errors import ConfigurationError
from porttunnel.net.store import sqlite, sqlite_file
from porttunnel.net.store.sqlite import IN_MEMORY, SQLiteStore
from porttunnel.session.directory import Directory
from porttunnel.session.directory_store import MemberRow, NoticeRow, ServerRow, SessionRow

# What other server processes do with the file; each prints a number only when it has it.
CREATE = """
import secrets, sys
from porttunnel.net.store.sqlite import SQLiteStore
from porttunnel.session.directory import Directory
sys.stdin.readline()
directory = Directory(
    SQLiteStore(sys.argv[1]), randbelow=secrets.randbelow, token_bytes=secrets.token_bytes
)
directory.start(0.0)
for _ in range(int(sys.argv[2])):
    print(directory.create(3600, 5, 3600, 0.0).number, flush=True)
"""


INDEX_ENDINGS = ("_by_end", "_by_server", "_by_time", "_unlinked", "_unfinished")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "directory.sqlite"


def open_directory(store: SQLiteStore) -> Directory:
    directory = Directory(store, randbelow=secrets.randbelow, token_bytes=secrets.token_bytes)
    directory.start(0.0)
    return directory


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def start_creating(
    processes: list[subprocess.Popen[str]], path: Path, count: int
) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", CREATE, str(path), str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    processes.append(process)
    return process


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# Rows


def test_rows_come_back_as_they_were_put() -> None:
    session = SessionRow(b"s" * 16, 12_345, 10.5, 5.25, 3, 2, False)
    member = MemberRow(b"s" * 16, 2, b"h" * 32, None, b"salt", 1.5, False, b"p" * 16, None)
    server = ServerRow(b"p" * 16, 0.5, 1.5)
    with closing(SQLiteStore(IN_MEMORY)) as store, store.transaction():
        assert store.issue_number(12_345)
        store.add_session(session)
        store.add_member(member)
        store.put_server(server)
        assert store.session(session.session_id) == session
        assert store.session_with_number(12_345) == session
        assert store.member(session.session_id, 2) == member
        assert store.server(server.server_id) == server
        changed = SessionRow(b"s" * 16, 12_345, 11.5, 6.25, 4, 3, True)
        store.replace_session(changed)
        assert store.session(session.session_id) == changed
        unlinked = MemberRow(b"s" * 16, 2, b"i" * 32, b"h" * 32, b"salt", 2.5, True, None, 7.5)
        store.replace_member(unlinked)
        assert store.member(session.session_id, 2) == unlinked
        later = ServerRow(b"p" * 16, 0.5, 9.5)
        store.put_server(later)
        assert store.server(server.server_id) == later


def test_what_is_not_there() -> None:
    with closing(SQLiteStore(IN_MEMORY)) as store, store.transaction():
        assert store.session(b"s" * 16) is None
        assert store.session_with_number(12_345) is None
        assert store.member(b"s" * 16, 1) is None
        assert store.members(b"s" * 16) == ()
        assert store.client_count(b"s" * 16) == 0
        assert store.server(b"p" * 16) is None
        assert store.served_since(0.0) is None
        assert store.silent_server(0.0) is None
        assert store.issued_numbers(5) == 0
        assert not store.remove_session(b"s" * 16)
        store.remove_member(b"s" * 16, 1)


def test_members_go_with_their_session_and_its_number_stays() -> None:
    with closing(SQLiteStore(IN_MEMORY)) as store, store.transaction():
        store.issue_number(12_345)
        store.add_session(SessionRow(b"s" * 16, 12_345, 10.0, 5.0, 3, 2, False))
        store.add_member(
            MemberRow(b"s" * 16, 1, b"h" * 32, None, b"salt", 0.0, True, b"p" * 16, None)
        )
        assert store.remove_session(b"s" * 16)
        assert store.member(b"s" * 16, 1) is None
        assert not store.issue_number(12_345)
        assert store.issued_numbers(5) == 1


def test_notices_keep_their_places() -> None:
    first = NoticeRow(b"p" * 16, 1.0, b"s" * 16, 2, "it left")
    own = NoticeRow(b"q" * 16, 2.0, b"s" * 16, 3, "it left")
    last = NoticeRow(b"p" * 16, 3.0, b"s" * 16, 4, None)
    with closing(SQLiteStore(IN_MEMORY)) as store, store.transaction():
        assert store.last_notice() == 0
        assert store.notices(0, b"q" * 16, 9) == []
        for notice in (first, own, last):
            store.add_notice(notice)
        assert store.last_notice() == 3
        assert store.notices(0, b"q" * 16, 9) == [(1, first), (3, last)]
        assert store.notices(0, b"q" * 16, 1) == [(1, first)]
        assert store.notices(1, b"q" * 16, 9) == [(3, last)]
        store.forget_notices(2.0, 1)
        assert store.notices(0, b"x" * 16, 9) == [(2, own), (3, last)]
        store.forget_notices(3.0, 9)
        assert store.notices(0, b"x" * 16, 9) == []
        # Whoever has read as far as the third one must see the next.
        store.add_notice(first)
        assert store.last_notice() == 4
        assert store.notices(3, b"x" * 16, 9) == [(4, first)]


def test_a_book_of_the_first_version_is_taken_over(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sqlite, "_SCHEMA", sqlite._SCHEMA[:1])
        with closing(SQLiteStore(path)) as store, store.transaction():
            store.issue_number(12_345)
            store.add_session(SessionRow(b"s" * 16, 12_345, 10.0, 5.0, 3, 2, False))
    with closing(SQLiteStore(path)) as store, store.transaction():
        assert store.session_with_number(12_345) is not None
        assert store.notices(0, b"q" * 16, 9) == []


def test_rows_that_contradict_themselves_are_refused() -> None:
    with closing(SQLiteStore(IN_MEMORY)) as store:
        with pytest.raises(sqlite3.IntegrityError), store.transaction():
            store.add_session(SessionRow(b"s" * 16, 12_345, 10.0, 5.0, 3, 2, False))  # no number
        with store.transaction():
            store.issue_number(12_345)
            store.add_session(SessionRow(b"s" * 16, 12_345, 10.0, 5.0, 3, 2, False))
        both = MemberRow(b"s" * 16, 1, b"h" * 32, None, b"salt", 0.0, True, b"p" * 16, 0.0)
        with pytest.raises(sqlite3.IntegrityError), store.transaction():
            store.add_member(both)


def test_expiry_reads_indices_only(monkeypatch: pytest.MonkeyPatch) -> None:
    connections = []
    connect = sqlite3.connect

    def remember(*arguments: object, **settings: object) -> sqlite3.Connection:
        connections.append(connect(*arguments, **settings))
        return connections[-1]

    monkeypatch.setattr(sqlite3, "connect", remember)
    statements: list[str] = []
    with closing(SQLiteStore(IN_MEMORY)) as store:
        directory = Directory(
            store,
            randbelow=secrets.randbelow,
            token_bytes=secrets.token_bytes,
            master_grace_seconds=60.0,
            client_grace_seconds=60.0,
        )
        open_directory(store)  # another process, silent since
        directory.start(1_000_000.0)
        master = directory.create(3_600, 5, 3_600, 1_000_000.0)
        directory.join(master.number, 1_000_000.0)
        connections[0].set_trace_callback(statements.append)
        directory.expire(1_000_060.0)
        connections[0].set_trace_callback(None)
        plans = [
            row[3]
            for statement in statements
            if statement.startswith(("SELECT", "UPDATE", "DELETE FROM notices"))
            for row in connections[0].execute(f"EXPLAIN QUERY PLAN {statement}")
        ]
    used = {name for plan in plans for name in plan.split() if name.endswith(INDEX_ENDINGS)}
    assert used == {
        "sessions_by_end",
        "masters_unlinked",
        "clients_unfinished",
        "clients_unlinked",
        "members_by_server",
        "notices_by_time",
    }
    # There is one row in it for each living process.
    scans = [plan for plan in plans if plan.startswith("SCAN") and "servers" not in plan]
    assert scans == []
    assert not [plan for plan in plans if "TEMP B-TREE" in plan]


# The file


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_the_file_is_its_owners_alone(path: Path, umask: int) -> None:
    path.parent.mkdir(mode=0o700)
    before = os.umask(umask)
    try:
        with closing(SQLiteStore(path)) as store:
            open_directory(store).create(60, 5, 60, 0.0)
            files = sorted(path.parent.iterdir())
            modes = {file.name: mode_of(file) for file in files}
    finally:
        os.umask(before)
    assert modes == {
        "directory.sqlite": 0o600,
        "directory.sqlite-shm": 0o600,
        "directory.sqlite-wal": 0o600,
    }


def test_no_token_in_the_files(path: Path) -> None:
    with closing(SQLiteStore(path)) as store:
        directory = open_directory(store)
        master = directory.create(3_600, 5, 3_600, 0.0)
        client = directory.join(master.number, 0.0)
        again = directory.resume(client.session_id, client.member, client.token, 1.0)
        files = list(path.parent.iterdir())
        content = b"".join(file.read_bytes() for file in files)
    content += path.read_bytes()
    assert len(files) == 3
    for admission in (master, client, again):
        assert admission.session_id in content  # what is looked for would be found
        assert admission.token not in content
        assert admission.token.hex().encode() not in content.lower()


# Several processes and crashes


def test_a_new_start_knows_all_sessions_and_all_numbers(path: Path) -> None:
    with closing(SQLiteStore(path)) as store:
        directory = open_directory(store)
        master = directory.create(3_600, 5, 3_600, 0.0)
        ended = directory.create(3_600, 5, 3_600, 0.0)
        client = directory.join(master.number, 0.0)
        directory.close(ended.session_id, "the master closed it", 0.0)
    with closing(SQLiteStore(path)) as store:
        directory = open_directory(store)
        assert directory.status(master.session_id, 1.0).members == (1, 2)
        assert directory.resume(client.session_id, 2, client.token, 1.0).member == 2
        with store.transaction():
            assert not store.issue_number(master.number)
            assert not store.issue_number(ended.number)
            assert store.issued_numbers(5) == 2


def test_processes_that_create_at_the_same_time(
    path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    count = 150
    for _ in range(3):
        start_creating(processes, path, count)
    # They also make the file at the same time.
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    results = [process.communicate(timeout=120) for process in processes]
    assert [error for _, error in results] == ["", "", ""]
    numbers = [number for output, _ in results for number in output.split()]
    assert len(numbers) == len(set(numbers)) == 3 * count
    with closing(SQLiteStore(path)) as store, store.transaction():
        assert store.issued_numbers(5) == 3 * count


def test_a_killed_process_loses_no_number_that_it_told(
    path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    told: list[int] = []
    for round_number in range(3):
        process = start_creating(processes, path, 1_000_000)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        for _ in range(20 + round_number):
            told.append(int(process.stdout.readline()))
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        told.extend(int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n"))
    assert len(told) == len(set(told)) > 60
    with closing(sqlite3.connect(path)) as connection:

        def rows(statement: str) -> list[tuple[object, ...]]:
            return connection.execute(statement).fetchall()

        assert rows("PRAGMA integrity_check") == [("ok",)]
        assert rows("PRAGMA foreign_key_check") == []
        sessions = rows("SELECT number FROM sessions")
        assert set(told) <= {number for (number,) in sessions}
        assert rows("SELECT count(*) FROM members") == [(len(sessions),)]
        assert rows("SELECT issued FROM number_counts") == [(len(sessions),)]
    with closing(SQLiteStore(path)) as store:
        assert open_directory(store).create(60, 5, 60, 0.0).number not in told


def test_opened_in_one_thread_and_used_in_another(path: Path) -> None:
    numbers = []
    with closing(SQLiteStore(path)) as store:
        directory = open_directory(store)
        thread = Thread(target=lambda: numbers.append(directory.create(60, 5, 60, 0.0).number))
        thread.start()
        thread.join()
        assert directory.join(numbers[0], 0.0).member == 2


# What can be wrong with a file


def test_damaged(path: Path) -> None:
    with closing(SQLiteStore(path)) as store:
        directory = open_directory(store)
        for _ in range(200):
            directory.create(3_600, 5, 3_600, 0.0)
    content = bytearray(path.read_bytes())
    content[4_096:] = b"\xff" * (len(content) - 4_096)
    path.write_bytes(content)
    with closing(SQLiteStore(path)) as store, pytest.raises(ConfigurationError, match="damaged"):
        open_directory(store).create(60, 5, 60, 0.0)


def test_locked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.01)
    with closing(SQLiteStore(path)) as store, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ConfigurationError, match="stop that program"):
            open_directory(store)
        with pytest.raises(ConfigurationError, match="stop that program"):
            SQLiteStore(path)
        other.rollback()
        assert open_directory(store).create(60, 5, 60, 0.0).member == 1
