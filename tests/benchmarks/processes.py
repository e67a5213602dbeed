"""What a running process has used so far, as Linux counts it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

__all__ = ["cpu_seconds", "family", "peak_resident_bytes", "resident_bytes"]

_PROC = Path("/proc")
_SCHEDULED = 2  # CPUCLOCK_SCHED: time on a processor, user and system, of all threads
_KIB = 1024


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, in nanosecond steps.

    The sum of utime and stime in /proc/PID/stat is the same figure cut to ticks of 10 ms, which
    would be a tenth of what a short transfer takes.
    """
    return time.clock_gettime((~pid << 3) | _SCHEDULED)


def resident_bytes(pid: int) -> int:
    """The memory that a process has in use now."""
    return _status(pid, "VmRSS")


def peak_resident_bytes(pid: int) -> int:
    """The most that it ever had in use."""
    return _status(pid, "VmHWM")


def _status(pid: int, field: str) -> int:
    lines = (_PROC / str(pid) / "status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields[field].split()[0]) * _KIB


def family(roots: Iterable[int]) -> list[int]:
    """Processes and all that descend from them: nginx and sshd fork who does the work."""
    children = defaultdict(list)
    for path in _PROC.glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended since it was listed
        # The name, in parentheses, may hold anything.
        children[int(text.rpartition(")")[2].split()[1])].append(int(path.parent.name))
    found = list(roots)
    for pid in found:
        found += children[pid]
    return found
