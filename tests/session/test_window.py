"""What is kept until it is acknowledged."""

from __future__ import annotations

import pytest

from porttunnel.session.event import PathKind
from porttunnel.session.outbox import SlotPool
from porttunnel.session.packet import MAX_PACKET_BYTES
from porttunnel.session.path import Path
from porttunnel.session.window import (
    MIN_PACKET_COST_BYTES,
    RESERVED_BYTES,
    REWIND_SECONDS,
    WINDOW_BYTES,
    SendWindow,
)
from tests.session.pairs import drain


@pytest.fixture
def pool() -> SlotPool:
    return SlotPool()


@pytest.fixture
def window(pool: SlotPool) -> SendWindow:
    return SendWindow(pool)


@pytest.fixture
def path(pool: SlotPool) -> Path:
    return Path(PathKind.RELAY, pool)


def keep(window: SendWindow, *packets: bytes) -> None:
    for packet in packets:
        window.keep(memoryview(packet), None)


def test_a_packet_costs_its_bytes_and_a_tiny_one_its_memory(window: SendWindow) -> None:
    keep(window, bytes(10_000))
    assert window.size_bytes == 10_000
    keep(window, b"tiny")
    assert window.size_bytes == 10_000 + MIN_PACKET_COST_BYTES
    assert (window.sealed, window.acknowledged) == (2, 0)
    window.accept(2)
    assert (window.size_bytes, window.sealed, window.acknowledged) == (0, 2, 2)


def test_is_full_while_one_more_packet_leaves_the_reserve(window: SendWindow) -> None:
    keep(window, bytes(WINDOW_BYTES - RESERVED_BYTES - MAX_PACKET_BYTES))
    assert not window.is_full
    keep(window, bytes(MAX_PACKET_BYTES))
    assert window.is_full
    assert window.size_bytes + RESERVED_BYTES == WINDOW_BYTES
    window.accept(1)
    assert not window.is_full


def test_sends_in_order_each_once(window: SendWindow, path: Path) -> None:
    assert not window.is_behind
    keep(window, b"one ", b"two ")
    assert window.is_behind
    window.send_next(path)
    assert window.is_behind
    window.send(path)
    assert not window.is_behind
    assert drain(path.outbox) == b"one two "
    keep(window, b"three")
    window.send(path)
    window.send(path)
    assert drain(path.outbox) == b"three"


def test_sends_as_far_as_the_path_has_room(window: SendWindow, path: Path) -> None:
    path.outbox.limit_bytes = 100
    keep(window, *[bytes([number]) * 60 for number in range(5)])
    window.send(path)
    assert path.outbox.waiting_bytes == 120
    assert window.is_behind
    assert drain(path.outbox) == bytes([0]) * 60 + bytes([1]) * 60
    window.send(path)
    window.send(path)
    assert drain(path.outbox) == bytes([2]) * 60 + bytes([3]) * 60


def test_sends_all_that_is_kept_again(window: SendWindow, path: Path, pool: SlotPool) -> None:
    keep(window, b"has come ", b"lost ")
    window.send(path)
    window.accept(1)
    path.close()
    window.rewind(0.0, new_path=True)
    keep(window, b"new")
    other = Path(PathKind.DIRECT, pool)
    window.send(other)
    assert drain(other.outbox) == b"lost new"


def test_who_asks_all_the_time_is_not_sent_a_window_each_time(
    window: SendWindow, path: Path
) -> None:
    keep(window, b"lost")
    sent = []
    for now in (0.0, 0.01, REWIND_SECONDS - 0.01, REWIND_SECONDS, REWIND_SECONDS + 0.01):
        window.send(path)
        drain(path.outbox)
        window.rewind(now, new_path=False)
        sent.append(window.is_behind)
    assert sent == [True, False, False, True, False]


def test_a_new_path_is_sent_all_at_any_time(window: SendWindow, path: Path) -> None:
    keep(window, b"lost")
    for now in (0.0, 0.01, 0.02):
        window.send(path)
        assert drain(path.outbox) == b"lost"
        window.rewind(now, new_path=True)
    # And from then on the same patience counts there.
    window.send(path)
    window.rewind(0.02 + REWIND_SECONDS / 2, new_path=False)
    assert not window.is_behind


@pytest.mark.parametrize("sent", [0, 1, 2, 3])
@pytest.mark.parametrize("acknowledged", [0, 1, 2, 3])
def test_what_is_acknowledged_is_not_sent(
    window: SendWindow, path: Path, sent: int, acknowledged: int
) -> None:
    keep(window, b"0", b"1", b"2")
    for _ in range(sent):
        window.send_next(path)
    drain(path.outbox)
    # More may be acknowledged than went out since the last rewind: it came on a path before.
    window.accept(acknowledged)
    window.send(path)
    assert drain(path.outbox) == b"012"[max(sent, acknowledged) :]


def test_old_news_change_nothing(window: SendWindow) -> None:
    keep(window, b"0", b"1", b"2")
    window.accept(2)
    for old in (0, 1, 2):
        window.accept(old)
    assert (window.acknowledged, window.size_bytes) == (2, MIN_PACKET_COST_BYTES)


def test_slots_go_back_once_acknowledged_and_sent(
    window: SendWindow, path: Path, pool: SlotPool
) -> None:
    slots = [pool.allocate() for _ in range(3)]
    for slot in slots:
        window.keep(slot.view[:100], slot)
    window.send(path)
    drain(path.outbox)
    window.accept(1)
    assert pool.allocate() is slots[0]
    window.rewind(0.0, new_path=True)
    window.send(path)
    window.accept(2)
    # It is about to be sent again, although it was needless.
    assert pool.allocate() is not slots[1]
    drain(path.outbox)
    assert pool.allocate() is slots[1]


def test_closing_gives_back_slots_but_for_what_is_queued(
    window: SendWindow, path: Path, pool: SlotPool
) -> None:
    queued, kept = pool.allocate(), pool.allocate()
    queued.view[:5] = b"queue"
    window.keep(queued.view[:5], queued)
    window.send(path)
    window.keep(kept.view[:100], kept)
    keep(window, b"without a slot")
    window.close()
    assert window.size_bytes == 0
    assert not window.is_behind
    assert pool.allocate() is kept
    assert pool.allocate() is not queued
    assert drain(path.outbox) == b"queue"
    assert pool.allocate() is queued
