"""porttunnel.net.open_files, with a system that has the limits of the test."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.logger import globalLogPublisher

from porttunnel.net.open_files import allow_open_files

resource: Any = pytest.importorskip("resource")
ENDLESS = resource.RLIM_INFINITY


class System:
    def __init__(self, soft: int, hard: int, most: int) -> None:
        self.limits = soft, hard
        self.most = most

    def getrlimit(self, _kind: int) -> tuple[int, int]:
        return self.limits

    def setrlimit(self, _kind: int, limits: tuple[int, int]) -> None:
        if limits[0] > self.most:
            raise ValueError("current limit exceeds maximum limit")
        self.limits = limits


@pytest.mark.parametrize(
    ("soft", "hard", "most", "allowed"),
    [
        (256, 9_000, 9_000, 5_000),
        (256, ENDLESS, 9_000, 5_000),
        (256, 4_000, 9_000, 4_000),
        # As macOS: what the hard limit promises is not kept.
        (256, ENDLESS, 1_000, 256),
        (5_000, 9_000, 9_000, 5_000),
        (ENDLESS, ENDLESS, 0, ENDLESS),
    ],
)
def test_a_process_gets_what_it_may_have(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, most: int, allowed: int
) -> None:
    system = System(soft, hard, most)
    monkeypatch.setattr(resource, "getrlimit", system.getrlimit)
    monkeypatch.setattr(resource, "setrlimit", system.setrlimit)
    logged: list[Any] = []
    globalLogPublisher.addObserver(logged.append)
    try:
        allow_open_files(5_000)
    finally:
        globalLogPublisher.removeObserver(logged.append)
    assert system.limits == (allowed, hard)
    is_less = 0 <= allowed < 5_000
    assert [line["allowed"] for line in logged] == [allowed] * is_less
