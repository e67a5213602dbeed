"""A data folder has one program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from porttunnel.errors import ConfigurationError
from porttunnel.net.folder_lock import FolderLock

HOLDER = """
import sys
from pathlib import Path
from porttunnel.net.folder_lock import FolderLock
FolderLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_one_is_refused_until_the_first_has_gone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "agent.lock"
    first, second = FolderLock(path), FolderLock(path)
    first.acquire()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    with pytest.raises(ConfigurationError, match="another program runs with the data folder"):
        second.acquire()
    second.release()
    first.release()
    second.acquire()
    second.release()


def test_a_process_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "agent.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdin
    assert holder.stdout
    with holder.stdin, holder.stdout:
        assert holder.stdout.readline() == b"held\n"
        lock = FolderLock(path)
        with pytest.raises(ConfigurationError):
            lock.acquire()
        holder.kill()
        holder.wait()
    lock.acquire()
    lock.release()


def test_a_folder_that_can_not_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"agent.lock can't be used"):
        FolderLock(tmp_path / "file" / "agent.lock").acquire()
