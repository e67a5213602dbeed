"""What came, and what the other side is told of it."""

from __future__ import annotations

import pytest

from porttunnel.session.receipt import (
    ACK_AFTER_BYTES,
    ACK_AFTER_PACKETS,
    ACK_AFTER_SECONDS,
    GAP_SECONDS,
    Receipts,
)

NOW = 100.0


def test_the_other_side_is_told_a_little_later() -> None:
    receipts = Receipts()
    assert receipts.ack_deadline is None
    assert receipts.received(1, NOW) is False
    assert receipts.received(1, NOW + 0.01) is False
    assert receipts.ack_deadline == NOW + ACK_AFTER_SECONDS
    assert (receipts.expected, receipts.unreported_packets) == (2, 2)
    receipts.reported()
    assert receipts.ack_deadline is None
    assert (receipts.expected, receipts.unreported_packets) == (2, 0)


@pytest.mark.parametrize(
    ("size", "packets"),
    [(0, ACK_AFTER_PACKETS), (ACK_AFTER_BYTES // 4, 4), (ACK_AFTER_BYTES, 1)],
)
def test_the_other_side_is_told_at_once_when_much_has_come(size: int, packets: int) -> None:
    receipts = Receipts()
    for _ in range(2):
        assert [receipts.received(size, NOW) for _ in range(packets)] == [
            *[False] * (packets - 1),
            True,
        ]
        receipts.reported()


def test_a_gap_has_until_its_deadline() -> None:
    receipts = Receipts()
    receipts.missed(NOW)
    receipts.missed(NOW + 1)
    assert receipts.gap_deadline == NOW + GAP_SECONDS
    receipts.received(1, NOW + 2)
    assert receipts.gap_deadline is None


def test_what_is_scheduled_stays_unless_it_is_postponed() -> None:
    receipts = Receipts()
    receipts.schedule(NOW)
    receipts.schedule(NOW + 0.01)
    assert receipts.ack_deadline == NOW + ACK_AFTER_SECONDS
    receipts.postpone(NOW + 0.01)
    assert receipts.ack_deadline == NOW + 0.01 + ACK_AFTER_SECONDS
