"""porttunnel.net.steady_time: a wall clock that is put back holds nothing up."""

from __future__ import annotations

import time

import pytest
from twisted.internet.base import ReactorBase
from twisted.internet.selectreactor import SelectReactor

from porttunnel.net import steady_time
from porttunnel.net.steady_time import keep_time_steady, steady_clock


def test_what_waits_when_the_clock_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, steady = [1_790_000_000.0], [50.0]
    monkeypatch.setattr(ReactorBase, "seconds", lambda reactor: wall[0])
    monkeypatch.setattr(steady_time, "steady_clock", lambda: lambda: steady[0])
    reactor = SelectReactor()
    keep_time_steady(reactor)
    happened: list[str] = []
    reactor.callLater(10, happened.append, "in time")
    wall[0] -= 3_600
    steady[0] += 11
    reactor.runUntilCurrent()
    assert happened == ["in time"]


def test_what_waits_already_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady_time, "steady_clock", lambda: lambda: 50.0)
    reactor = SelectReactor()
    waiting = reactor.callLater(10, list)
    keep_time_steady(reactor)
    assert reactor.seconds() != 50.0
    waiting.cancel()
    keep_time_steady(reactor)
    assert reactor.seconds() == 50.0


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system has no such clock")
def test_a_sleep_counts_where_the_system_can_say_so() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    now = steady_clock()()
    assert before <= now <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_elsewhere_it_is_the_monotonic_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    assert steady_clock() is time.monotonic
