"""Starts the processes of :mod:`tests.benchmarks.library_member`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.bulk import Clocks
from tests.benchmarks.our_programs import tunnel_server
from tests.benchmarks.program import Program
from tests.benchmarks.traffic_programs import start_member

__all__ = ["BULK", "CODE_VARIABLE", "PIECE_BYTES", "RECORDS", "LibraryPair", "library_pair"]

BULK = "bulk"
RECORDS = "records"
PIECE_BYTES = {BULK: 65_536, RECORDS: 64}  # of one write, by service
CODE_VARIABLE = "BENCHMARK_CODE"


@dataclass(frozen=True)
class LibraryPair:
    """Two programs with a session between them."""

    share: Program
    server: Program
    join: Program

    def fetching(self, service: str, count: int) -> Callable[[], AbstractContextManager[Program]]:
        """What :func:`tests.benchmarks.bulk.transfer` starts."""

        def start() -> AbstractContextManager[Program]:
            self.join.write_line(f"{service} {count}")
            return nullcontext(self.join)

        return start

    def clocks(self) -> Clocks:
        return {
            "share": [self.share.pid],
            "server": [self.server.pid],
            "join": [self.join.pid],
        }


@contextmanager
def library_pair(folder: Path) -> Iterator[LibraryPair]:
    """A server, a program that shares streams of its own, and one that joins."""
    with (
        tunnel_server(folder) as (server, port),
        start_member("library_member", "share", port, folder=folder) as share,
    ):
        environment = {CODE_VARIABLE: share.read_line()}
        with start_member(
            "library_member", "join", port, folder=folder, environment=environment
        ) as join:
            yield LibraryPair(share, server, join)
