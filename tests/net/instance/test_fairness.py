"""A small answer passes a download of a GiB, and a device that stalls costs nobody anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from porttunnel.gateway.http_head import RequestHead, ResponseHead
from porttunnel.net.instance.backlog import MIN_BACKLOG_BYTES, SHRINK_SECONDS
from porttunnel.net.instance.response_body import HIGH_BYTES
from tests.net.instance.around import Phone, Surroundings

LARGE = RequestHead(b"GET", b"https", b"", b"/large")
PIECE = bytes(65_536)
GIB = 1 << 30


class Endless:
    """Writes a GiB, piece by piece, as it is asked to.

    :ivar written: bytes.
    """

    def __init__(self, writer: Any) -> None:
        self.written = 0
        self._writer = writer
        writer.registerProducer(self, False)

    def resumeProducing(self) -> None:
        if self.written < GIB:
            self.written += len(PIECE)
            self._writer.write(PIECE)

    def stopProducing(self) -> None:
        self.written = GIB


def serve(around: Surroundings) -> list[Endless]:
    """``/large`` is a GiB, all else a page; the downloads that were begun."""
    begun: list[Endless] = []

    def answer(request: Any) -> None:
        writer = request.respond(ResponseHead(200))
        if request.head == LARGE:
            begun.append(Endless(writer))
        else:
            writer.write(b"a page")
            writer.end()

    around.application = answer
    return begun


@pytest.fixture
def around(tmp_path: Path) -> Iterator[Surroundings]:
    surroundings = Surroundings(tmp_path)
    surroundings.start()
    yield surroundings
    surroundings.end()


def release(around: Surroundings) -> list[str]:
    """The gateway takes one message; for which device it was."""
    released = around.client.release(1)
    around.turn(0.001)
    return [topic.split("/")[1] for topic, _ in released]


def test_a_click_passes_a_download(around: Surroundings) -> None:
    begun = serve(around)
    loading, clicking = around.pair("anna"), around.pair("berta")
    around.client.holds = True
    loading.ask(LARGE)
    for _ in range(200):
        release(around)
    assert begun[0].written > 100 * len(PIECE)
    waited = []
    for _ in range(10):
        asked = clicking.ask()
        count = 0
        while asked.end is None:
            release(around)
            count += 1
        waited.append(count)
    under_way = len(around.client.held)
    assert max(waited) <= under_way + 2, "what is on its way, and one part of the download"
    assert under_way <= 1_000 * SHRINK_SECONDS, "each takes a millisecond here"


def test_a_device_that_takes_nothing_costs_nobody_anything(around: Surroundings) -> None:
    begun = serve(around)
    stalled, others = around.pair("anna"), [around.pair(f"user{number}") for number in range(3)]
    for _ in range(20):
        asked = stalled.begin()
        asked.consumes = False
        asked.send_whole(LARGE)
    around.turn()
    written = sum(each.written for each in begun)
    assert written <= 20 * (16 * 65_536 + HIGH_BYTES + len(PIECE)), "a window and what waits here"
    for phone in others:
        assert phone.ask().content == b"a page"
    around.turn(10)
    assert sum(each.written for each in begun) == written
    assert stalled.ask().content == b"a page", "not even itself"


def test_many_downloads_of_one_device_count_as_one_device(around: Surroundings) -> None:
    serve(around)
    greedy, modest = around.pair("anna"), around.pair("berta")
    around.client.holds = True
    for _ in range(10):
        greedy.begin().send_whole(LARGE)
    modest.begin().send_whole(LARGE)
    around.turn()
    for _ in range(50):
        release(around)
    taken = [device for _ in range(100) for device in release(around)]
    assert abs(taken.count(modest.device_id) - taken.count(greedy.device_id)) <= 4


def test_memory_stays_as_it_is_whatever_is_sent(around: Surroundings) -> None:
    """A GiB is asked for and 100 MiB of it are taken: no more waits than at the beginning."""
    begun = serve(around)
    phone: Phone = around.pair("anna")
    asked = phone.begin()
    asked.send_whole(LARGE)
    serving = around.instance._serving
    assert serving is not None
    most = 0
    asked._read = lambda data, last: None  # type: ignore[method-assign]  # a test
    while begun == [] or begun[0].written < 100 << 20:
        around.clock.advance(0.001)
        most = max(most, serving.entrance._place.answered.taken + serving.turns.waiting_bytes)
    assert most <= HIGH_BYTES + 2 * len(PIECE) + 8 * MIN_BACKLOG_BYTES
