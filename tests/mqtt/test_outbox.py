"""What waits to be sent on one connection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.mqtt.outbox import BLOCK_BYTES, MAX_GATHERED, MAX_PIECES, SHARED_BYTES, Outbox


def sizes(outbox: Outbox) -> list[int]:
    return [len(view) for view in outbox.data_to_send()]


def test_small_packets_go_out_as_one() -> None:
    ready: list[Outbox] = []
    outbox = Outbox(ready)
    outbox.send(b"abc")
    outbox.send(b"de")
    assert ready == [outbox]
    assert outbox.waiting_bytes == 5
    assert [bytes(view) for view in outbox.data_to_send()] == [b"abcde"]
    assert [bytes(view) for view in outbox.data_to_send()] == [b"abcde"]
    outbox.data_sent(2)
    outbox.send(b"f")
    assert b"".join(outbox.data_to_send()) == b"cdef"
    outbox.data_sent(4)
    assert outbox.waiting_bytes == 0
    assert sizes(outbox) == []


def test_large_packets_are_not_copied() -> None:
    outbox = Outbox([])
    large = bytes(SHARED_BYTES)
    for packet in (b"a", b"b", large, b"c", large, large, bytes(SHARED_BYTES - 1), b"d"):
        outbox.send(packet)
    assert sizes(outbox) == [2, SHARED_BYTES, 1, SHARED_BYTES, SHARED_BYTES, SHARED_BYTES]
    assert [view.obj is large for view in outbox.data_to_send()] == [0, 1, 0, 1, 1, 0]


def test_blocks_have_a_size() -> None:
    outbox = Outbox([])
    for _ in range(200):
        outbox.send(bytes(1_000))
    found = sizes(outbox)
    assert sum(found) == 200_000
    assert max(found) <= BLOCK_BYTES


def test_what_nobody_takes_is_joined_now_and_then() -> None:
    ready: list[Outbox] = []
    outbox = Outbox(ready)
    for _ in range(5):
        for _ in range(MAX_PIECES):
            outbox.send(b"x")
        ready.clear()
        outbox.is_ready = False
        outbox.touch()
        outbox.touch()
        assert ready == [outbox]
        assert len(outbox.pieces) <= MAX_PIECES
    # The second time it had become too many: the first piece is a joined one.
    assert len(outbox.pieces[0]) > MAX_PIECES
    assert sum(sizes(outbox)) == 5 * MAX_PIECES


def test_no_more_is_gathered_while_much_waits() -> None:
    outbox = Outbox([])
    for _ in range(MAX_GATHERED + 5):
        outbox.send(b"abc")
        outbox.data_to_send()
    assert sizes(outbox) == [3] * MAX_GATHERED
    outbox.data_sent(4)
    assert sizes(outbox) == [2, *[3] * (MAX_GATHERED - 2), 15]


def test_forgets_all() -> None:
    outbox = Outbox([])
    outbox.send(b"a")
    outbox.data_to_send()
    outbox.send(b"b")
    outbox.limit_ahead(1)
    outbox.discard()
    assert (outbox.waiting_bytes, sizes(outbox)) == (0, [])


@given(
    st.lists(st.one_of(st.binary(max_size=10), st.integers(1, 40_000).map(bytes)), max_size=20),
    st.data(),
)
def test_all_bytes_go_out_in_order(packets: list[bytes], data: st.DataObject) -> None:
    outbox = Outbox([])
    sent = bytearray()
    for packet in packets:
        outbox.send(packet)
        waiting = b"".join(outbox.data_to_send())
        count = data.draw(st.integers(0, len(waiting)))
        sent += waiting[:count]
        outbox.data_sent(count)
    assert outbox.waiting_bytes == sum(map(len, packets)) - len(sent)
    while waiting := b"".join(outbox.data_to_send()):
        sent += waiting
        outbox.data_sent(len(waiting))
    assert sent == b"".join(packets)
    with pytest.raises(IndexError):
        outbox.data_sent(1)
