"""One process at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from porttunnel.net.file_lock import locked

HOLDER = """
import sys
from pathlib import Path
from porttunnel.net.file_lock import locked
with locked(Path(sys.argv[1]), wait=False):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_who_does_not_wait_is_told(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, wait=False) as first, locked(path, wait=False) as second:
        assert (first, second) == (True, False)
    with locked(path, wait=False) as again:
        assert again
    assert path.stat().st_mode & 0o777 == 0o600


def test_who_waits_gets_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdin
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with locked(path, wait=False) as is_held:
            assert not is_held
        holder.stdin.write(b"\n")
        holder.stdin.flush()
        with locked(path, wait=True) as is_held:
            assert is_held


def test_a_file_that_can_not_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError), locked(tmp_path / "file" / "lock", wait=True):
        pytest.fail("nothing was locked")
