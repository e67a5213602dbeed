"""porttunnel.net.gateway.audit_log"""

from __future__ import annotations

import errno
import json
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import ILogObserver, LogLevel, globalLogPublisher
from zope.interface import directlyProvides

from porttunnel.errors import ConfigurationError
from porttunnel.net.gateway import audit_log
from porttunnel.net.gateway.audit_log import AUDIT_NAME, KEY_NAME, AuditEvent, AuditLog

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


def open_log(folder: Path, **options: Any) -> closing[AuditLog]:
    return closing(AuditLog(folder, unix_time=lambda: 1_234.5678, **options))


def lines(folder: Path) -> list[dict[str, object]]:
    text = (folder / AUDIT_NAME).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_says_what_happened_and_not_to_whom(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.record(AuditEvent.DEVICE_ADDED, INSTANCE, DEVICE)
        log.record(AuditEvent.INSTANCE_REGISTERED, INSTANCE)
        log.record(AuditEvent.CUT_OFF)
        first, second, third = lines(tmp_path)
        assert first == {
            "time": 1_234.568,
            "event": "device-added",
            "instance": log.pseudonym(INSTANCE),
            "device": log.pseudonym(DEVICE),
        }
        assert second["instance"] == first["instance"] != first["device"]
        assert third == {"time": 1_234.568, "event": "cut-off"}
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
    assert names == {AUDIT_NAME, KEY_NAME} | rotated
    assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_full_disk_is_said_once(tmp_path: Path, logged: list[dict[str, Any]]) -> None:
    class FullDisk:
        is_full = True

        def write(self, _data: bytes) -> None:
            if self.is_full:
                raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            pass

    def errors() -> list[dict[str, Any]]:
        return [event for event in logged if event["log_level"] is LogLevel.error]

    with open_log(tmp_path) as log:
        log._file.close()
        disk = log._file = FullDisk()
        for _ in range(3):
            log.record(AuditEvent.CONNECTED, INSTANCE)
        assert [event["error"] for event in errors()] == ["No space left on device"]
        disk.is_full = False
        log.record(AuditEvent.CONNECTED, INSTANCE)
        disk.is_full = True
        log.record(AuditEvent.CONNECTED, INSTANCE)
        assert len(errors()) == 2


def test_a_key_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / KEY_NAME).write_bytes(b"short")
    with pytest.raises(ConfigurationError, match="Remove it"):
        AuditLog(tmp_path)


def test_a_folder_where_nothing_can_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="can't be written"):
        AuditLog(tmp_path / "file" / "folder")


def test_the_key_of_who_was_faster_stays(tmp_path: Path) -> None:
    path = tmp_path / KEY_NAME
    audit_log._create(path, b"a" * 32)
    audit_log._create(path, b"b" * 32)
    assert path.read_bytes() == b"a" * 32
    assert list(tmp_path.iterdir()) == [path]
