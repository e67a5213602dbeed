"""Files that only their owner can read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from porttunnel.net.secret_file import write_secret_file


def test_a_file_is_replaced_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"old")
    path.chmod(0o644)
    write_secret_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["secret"]


def test_what_can_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_secret_file(tmp_path / "folder", b"new")
    assert os.listdir(tmp_path) == ["folder"]


def test_what_is_no_file_keeps_its_place(tmp_path: Path) -> None:
    link = tmp_path / "stdout"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="no file, and would be replaced"):
        write_secret_file(link, b"new")
    assert link.is_symlink()
    assert os.listdir(tmp_path) == ["stdout"]
