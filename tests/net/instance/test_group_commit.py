"""porttunnel.net.instance.group_commit: in order, together, each told of its own writing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from porttunnel.errors import ConfigurationError
from porttunnel.net.instance import group_commit
from porttunnel.net.instance.group_commit import GroupCommit
from porttunnel.net.instance.store import DeviceSeen, StoreChange


class Disk:
    """Finishes when it is told to."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.written: list[list[int]] = []
        self.working: Deferred[None] | None = None
        self.commit = GroupCommit(self.write, lambda begin: self.clock.callLater(0, begin))
        self.told: list[Any] = []

    def write(self, changes: Sequence[StoreChange]) -> Deferred[None]:
        assert self.working is None, "one at a time"
        self.written.append([change.seen for change in changes if isinstance(change, DeviceSeen)])
        self.working = Deferred()
        return self.working

    def finish(self, result: Any = None) -> None:
        working, self.working = self.working, None
        assert working is not None
        working.callback(result) if result is None else working.errback(result)

    def keep(self, *numbers: int) -> None:
        kept = self.commit.keep(*(DeviceSeen("a", number) for number in numbers))
        kept.addCallbacks(
            lambda _: self.told.append(numbers), lambda failure: self.told.append(failure.value)
        )


def test_what_comes_while_the_disk_works_goes_together() -> None:
    disk = Disk()
    disk.keep(1)
    disk.keep(2, 3)
    assert disk.written == []
    disk.clock.advance(0)
    disk.keep(4)
    disk.keep(5)
    assert (disk.written, disk.told) == ([[1, 2, 3]], [])
    disk.finish()
    assert (disk.written, disk.told) == ([[1, 2, 3], [4, 5]], [(1,), (2, 3)])
    disk.finish()
    assert disk.told == [(1,), (2, 3), (4,), (5,)]
    assert disk.commit.writes == 2
    disk.keep(6)
    disk.clock.advance(0)
    assert disk.written[-1] == [6]


def test_each_is_told_of_its_own_failure() -> None:
    disk = Disk()
    disk.keep(1)
    disk.clock.advance(0)
    disk.keep(2)
    error = ConfigurationError("the disk is full")
    disk.finish(error)
    disk.finish()
    assert disk.told == [error, (2,)]


def test_one_writing_is_not_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MAX_CHANGES", 3)
    disk = Disk()
    for numbers in ((1, 2), (3, 4), (5, 6, 7, 8), (9,)):
        disk.keep(*numbers)
    disk.clock.advance(0)
    for _ in range(4):
        disk.finish()
    assert disk.written == [[1, 2], [3, 4], [5, 6, 7, 8], [9]]


def test_idle() -> None:
    disk = Disk()
    told: list[str] = []
    disk.commit.when_idle().addCallback(lambda _: told.append("at once"))
    disk.keep(1)
    disk.commit.when_idle().addCallback(lambda _: told.append("later"))
    disk.clock.advance(0)
    disk.keep(2)
    disk.finish()
    assert told == ["at once"]
    disk.finish()
    assert told == ["at once", "later"]


def test_who_does_not_wait_any_more() -> None:
    disk = Disk()
    kept = disk.commit.keep(DeviceSeen("a", 1))
    kept.addErrback(lambda failure: None)
    kept.cancel()
    disk.clock.advance(0)
    disk.finish()
    assert disk.written == [[1]]
