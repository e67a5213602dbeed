"""What an instance has written outlives ``kill -9`` of its process, and is no restored backup."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

from porttunnel.net.instance.sqlite_store import SQLiteInstanceStore
from porttunnel.net.instance.store import DeviceWritten, IdentityWritten
from tests.net.instance.test_sqlite_store import IDENTITY, row_of

DEVICE = "a" * 32

# Says each counter once it is written, until it is killed.
PROGRAM = """
import sys
from itertools import count
from pathlib import Path
from porttunnel.net.instance.sqlite_store import SQLiteInstanceStore
from porttunnel.net.instance.store import CounterKept

store = SQLiteInstanceStore(Path(sys.argv[1]))
store.load()
store.leave_witness()
for number in count(int(sys.argv[2])):
    store.apply([CounterKept("a" * 32, 1, 2 * number + half, None) for half in (0, 1)])
    if number % 100 == 99:
        store.leave_witness()
    print(number, flush=True)
"""


def test_what_was_said_is_there(tmp_path: Path) -> None:
    path = tmp_path / "instance.sqlite"
    with closing(SQLiteInstanceStore(path)) as store:
        store.apply([IdentityWritten(IDENTITY), DeviceWritten(row_of(DEVICE))])
        store.leave_witness()
    said: set[int] = set()
    for killed_after in (1, 57, 150):
        begin = max(said, default=-1) + 2
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path), str(begin)],
            stdout=subprocess.PIPE,
            text=True,
        ) as running:
            assert running.stdout is not None
            for _ in range(killed_after):
                said.add(int(running.stdout.readline()))
            running.kill()
            # Also what it said before it died.
            said.update(int(line) for line in running.stdout if line.endswith("\n"))
        with closing(SQLiteInstanceStore(path)) as store:
            found = store.load()
        assert not found.is_restored
        kept = set(found.devices[0].counters[1])
        assert kept >= {2 * number + half for number in said for half in (0, 1)}
        assert all(counter ^ 1 in kept for counter in kept), "each writing is there as a whole"
