"""porttunnel.net.gateway.audit_log"""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from io import FileIO
from pathlib import Path
from typing import Any
from unittest.mock import ANY, Mock

import pytest
from twisted.logger import ILogObserver, LogLevel, globalLogPublisher
from zope.interface import directlyProvides

from porttunnel.errors import ConfigurationError
from porttunnel.net.file_lock import locked
from porttunnel.net.gateway import audit_log
from porttunnel.net.gateway.audit_log import AUDIT_NAME, KEY_NAME, LOCK_NAME, AuditEvent, AuditLog

INSTANCE, DEVICE = "1" * 32, "d" * 32


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []

    def observe(event: dict[str, Any]) -> None:
        events.append(event)

    directlyProvides(observe, ILogObserver)
    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)


WRITER = """
import sys
from pathlib import Path
from porttunnel.net.gateway.audit_log import AuditEvent, AuditLog
log = AuditLog(Path(sys.argv[1]), max_file_bytes=4_000)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(150):
    log.record(AuditEvent.CONNECTED, sys.argv[2])
"""


def open_log(folder: Path, **options: Any) -> closing[AuditLog]:
    now = time.time() // 1 + 0.5678
    return closing(AuditLog(folder, unix_time=lambda: now, **options))


def lines(folder: Path, name: str = AUDIT_NAME) -> list[dict[str, object]]:
    text = (folder / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_says_what_happened_and_not_to_whom(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.record(AuditEvent.DEVICE_ADDED, INSTANCE, DEVICE)
        log.record(AuditEvent.INSTANCE_REGISTERED, INSTANCE)
        log.record(AuditEvent.CUT_OFF)
        first, second, third = lines(tmp_path)
        assert str(first["time"]).endswith(".568")
        assert first == {
            "time": ANY,
            "event": "device-added",
            "instance": log.pseudonym(INSTANCE),
            "device": log.pseudonym(DEVICE),
        }
        assert second["instance"] == first["instance"] != first["device"]
        assert third == {"time": ANY, "event": "cut-off"}
    text = (tmp_path / AUDIT_NAME).read_text(encoding="utf-8")
    assert INSTANCE not in text
    assert DEVICE not in text


def test_a_pseudonym_stays_the_same_and_is_another_elsewhere(tmp_path: Path) -> None:
    with open_log(tmp_path / "a") as log, open_log(tmp_path / "b") as other:
        pseudonym = log.pseudonym(INSTANCE)
        assert other.pseudonym(INSTANCE) != pseudonym
        assert len(pseudonym) == 16
    with open_log(tmp_path / "a") as log:
        assert log.pseudonym(INSTANCE) == pseudonym


def test_a_log_goes_on_where_it_was(tmp_path: Path) -> None:
    for _ in range(2):
        with open_log(tmp_path) as log:
            log.record(AuditEvent.CONNECTED, INSTANCE)
    assert len(lines(tmp_path)) == 2


def test_all_files_are_their_owners_alone_and_old_ones_go(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with open_log(folder, max_file_bytes=100) as log:
        for _ in range(60):
            log.record(AuditEvent.CONNECTED, INSTANCE)
    names = {each.name for each in folder.iterdir()}
    rotated = {f"{AUDIT_NAME}.{number}" for number in range(1, audit_log.MAX_FILES + 1)}
    assert names == {AUDIT_NAME, KEY_NAME, LOCK_NAME} | rotated
    assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_each_file_has_its_own_pseudonyms(tmp_path: Path) -> None:
    with open_log(tmp_path, max_file_bytes=150) as log:
        for _ in range(4):
            log.record(AuditEvent.CONNECTED, INSTANCE)
        current = log.pseudonym(INSTANCE)
    by_file = [
        {line["instance"] for line in lines(tmp_path, name)}
        for name in (f"{AUDIT_NAME}.1", AUDIT_NAME)
    ]
    assert [len(each) for each in by_file] == [1, 1]
    assert by_file[0] != by_file[1] == {current}


def test_a_file_ends_after_a_month(tmp_path: Path) -> None:
    now = 1_000_000.0
    with closing(AuditLog(tmp_path, unix_time=lambda: now)) as log:
        log.record(AuditEvent.CONNECTED, INSTANCE)
        now += audit_log.MAX_FILE_SECONDS - 1
        log.record(AuditEvent.CONNECTED, INSTANCE)
        now += 1
        log.record(AuditEvent.CONNECTED, INSTANCE)
    assert len(lines(tmp_path, f"{AUDIT_NAME}.1")) == 2
    os.utime(tmp_path / KEY_NAME, (now, now))
    with closing(AuditLog(tmp_path, unix_time=lambda: now)) as log:
        log.record(AuditEvent.CONNECTED, INSTANCE)
        assert len(lines(tmp_path)) == 2
        now += audit_log.MAX_FILE_SECONDS
        log.record(AuditEvent.CONNECTED, INSTANCE)
    assert len(lines(tmp_path)) == 1


def pseudonyms(folder: Path) -> list[list[object]]:
    """The instances of each file's lines, the latest file first."""
    names = [AUDIT_NAME, *(f"{AUDIT_NAME}.{number}" for number in range(1, 20))]
    return [
        [line["instance"] for line in lines(folder, name)]
        for name in names
        if (folder / name).exists()
    ]


def test_processes_write_one_after_the_other(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), INSTANCE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdout
        assert writer.stdout.readline() == b"ready\n"
    for writer in writers:
        assert writer.stdin
        writer.stdin.write(b"\n")
        writer.stdin.flush()
    for writer in writers:
        with writer:
            assert writer.wait(60) == 0
    found = pseudonyms(tmp_path)
    assert sum(map(len, found)) == 300
    assert len(found) > 1
    assert [len(set(each)) for each in found] == [1] * len(found)
    assert len({each[0] for each in found}) == len(found)


def test_what_another_process_has_begun_is_gone_on_with(tmp_path: Path) -> None:
    with (
        open_log(tmp_path, max_file_bytes=140) as log,
        open_log(tmp_path, max_file_bytes=140) as other,
    ):
        for _ in range(2):
            log.record(AuditEvent.CONNECTED, INSTANCE)
            other.record(AuditEvent.CONNECTED, INSTANCE)
            assert log.pseudonym(INSTANCE) == other.pseudonym(INSTANCE)
    assert [len(each) for each in pseudonyms(tmp_path)] == [2, 2]


def test_nobody_waits_for_one_who_begins_a_file(tmp_path: Path) -> None:
    with open_log(tmp_path, max_file_bytes=50) as log:
        log.record(AuditEvent.CONNECTED, INSTANCE)
        with locked(tmp_path / LOCK_NAME, wait=False) as is_alone:
            assert is_alone
            log.record(AuditEvent.CONNECTED, INSTANCE)
        log.record(AuditEvent.CONNECTED, INSTANCE)
    assert [len(each) for each in pseudonyms(tmp_path)] == [1, 2]


def test_a_file_that_somebody_took_away_is_missed(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.record(AuditEvent.CONNECTED, INSTANCE)
        before = log.pseudonym(INSTANCE)
        (tmp_path / AUDIT_NAME).rename(tmp_path / "taken")
        log.record(AuditEvent.CONNECTED, INSTANCE)
        assert log.pseudonym(INSTANCE) != before
    assert [len(lines(tmp_path, name)) for name in ("taken", AUDIT_NAME)] == [1, 1]


def test_a_full_disk_is_said_once(tmp_path: Path, logged: list[dict[str, Any]]) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")

    def errors() -> list[str]:
        return [str(event["error"]) for event in logged if event["log_level"] is LogLevel.error]

    with open_log(tmp_path) as log:
        log._file.close()
        disk = log._file = Mock(spec=FileIO, closed=False)
        disk.write.side_effect = full
        for _ in range(3):
            log.record(AuditEvent.CONNECTED, INSTANCE)
        assert errors() == [str(full)]
        disk.write.side_effect = None
        log.record(AuditEvent.CONNECTED, INSTANCE)
        disk.write.side_effect = full
        log.record(AuditEvent.CONNECTED, INSTANCE)
        assert errors() == [str(full)] * 2


def test_a_file_that_cannot_be_turned_over_stops_nobody(
    tmp_path: Path, logged: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    with open_log(tmp_path, max_file_bytes=50) as log:
        log.record(AuditEvent.CONNECTED, INSTANCE)
        monkeypatch.setattr(os, "replace", fail)
        for _ in range(3):
            log.record(AuditEvent.CONNECTED, INSTANCE)
        assert [event["log_level"] for event in logged] == [LogLevel.error]
        assert len(lines(tmp_path)) == 4
        monkeypatch.undo()
        log.record(AuditEvent.CONNECTED, INSTANCE)
    assert (len(lines(tmp_path)), len(lines(tmp_path, f"{AUDIT_NAME}.1"))) == (1, 4)


def test_a_file_that_cannot_be_opened_again_is_tried_each_time(
    tmp_path: Path, logged: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with open_log(tmp_path, max_file_bytes=50) as log:
        log.record(AuditEvent.CONNECTED, INSTANCE)
        monkeypatch.setattr(audit_log, "_open_private", fail)
        for _ in range(2):
            log.record(AuditEvent.CONNECTED, INSTANCE)
        monkeypatch.undo()
        log.record(AuditEvent.CONNECTED, INSTANCE)
    assert [event["log_level"] for event in logged] == [LogLevel.error]
    assert [len(each) for each in pseudonyms(tmp_path)] == [1, 1]


def test_a_key_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / KEY_NAME).write_bytes(b"short")
    with pytest.raises(ConfigurationError, match="Remove it"):
        AuditLog(tmp_path)


def test_a_folder_where_nothing_can_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="can't be written"):
        AuditLog(tmp_path / "file" / "folder")


def test_a_key_that_cannot_be_kept_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ConfigurationError, match="No space left"):
        AuditLog(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == [LOCK_NAME]
