"""porttunnel.net.steady_time: a wall clock that is put back holds nothing up."""

from __future__ import annotations

import time

import pytest
from twisted.internet.base import ReactorBase
from twisted.internet.selectreactor import SelectReactor

from porttunnel.net.steady_time import keep_time_steady


def test_what_waits_when_the_clock_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, monotonic = [1_790_000_000.0], [50.0]
    monkeypatch.setattr(ReactorBase, "seconds", lambda reactor: wall[0])
    monkeypatch.setattr(time, "monotonic", lambda: monotonic[0])
    reactor = SelectReactor()
    keep_time_steady(reactor)
    happened: list[str] = []
    reactor.callLater(10, happened.append, "in time")
    wall[0] -= 3_600
    monotonic[0] += 11
    reactor.runUntilCurrent()
    assert happened == ["in time"]


def test_what_waits_already_goes_on() -> None:
    reactor = SelectReactor()
    waiting = reactor.callLater(10, list)
    keep_time_steady(reactor)
    assert reactor.seconds is not time.monotonic
    waiting.cancel()
    keep_time_steady(reactor)
    assert reactor.seconds is time.monotonic
