"""What waits is counted to the byte, and comes out as it went in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from porttunnel.net.waiting import CHUNK_BYTES, MAX_VIEWS, WaitingBytes, WaitingTotal


def front(waiting: WaitingBytes) -> bytes:
    return b"".join(waiting.views())


def test_it_begins_empty() -> None:
    waiting = WaitingBytes(WaitingTotal())
    assert waiting.count == waiting.of_flow(1) == 0
    assert waiting.views() == []


def test_what_is_kept_is_a_copy() -> None:
    waiting = WaitingBytes(WaitingTotal())
    data = bytearray(b"before")
    waiting.append(1, [memoryview(data)])
    data[:] = b"after!"
    assert front(waiting) == b"before"


def test_small_packets_share_a_chunk_and_flows_do_not() -> None:
    waiting = WaitingBytes(WaitingTotal())
    for flow in (1, 1, 2, 2, 1):
        waiting.append(flow, [memoryview(b"abc")])
    assert [bytes(view) for view in waiting.views()] == [b"abcabc", b"abcabc", b"abc"]
    assert (waiting.of_flow(1), waiting.of_flow(2), waiting.count) == (9, 6, 15)


def test_no_chunk_is_so_large_that_it_would_be_mapped() -> None:
    waiting = WaitingBytes(WaitingTotal())
    data = bytes(range(256)) * 1_024
    waiting.append(1, [memoryview(data[:10]), memoryview(data[10:])])
    assert front(waiting) == data
    assert {len(view) for view in waiting.views()} == {CHUNK_BYTES}


def test_one_send_gets_no_more_views_than_it_can_use() -> None:
    waiting = WaitingBytes(WaitingTotal())
    for flow in range(3 * MAX_VIEWS):
        waiting.append(flow, [memoryview(b"x")])
    assert len(waiting.views()) == MAX_VIEWS
    waiting.sent(MAX_VIEWS)
    assert waiting.count == 2 * MAX_VIEWS


def test_after_a_partial_send_the_rest_comes_and_more_may_follow() -> None:
    total = WaitingTotal()
    waiting = WaitingBytes(total)
    waiting.append(1, [memoryview(b"abcdef")])
    waiting.sent(2)
    assert front(waiting) == b"cdef"
    waiting.append(1, [memoryview(b"ghi")])
    assert front(waiting) == b"cdefghi"
    assert total.count == waiting.count == waiting.of_flow(1) == 7


def test_clearing_gives_everything_back() -> None:
    total = WaitingTotal()
    waiting, other = WaitingBytes(total), WaitingBytes(total)
    waiting.append(1, [memoryview(b"abcdef")])
    other.append(1, [memoryview(b"xy")])
    waiting.sent(1)
    waiting.clear()
    assert (total.count, waiting.count, waiting.of_flow(1)) == (2, 0, 0)
    waiting.append(1, [memoryview(b"new")])
    assert front(waiting) == b"new"


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2), st.lists(st.binary(max_size=40), max_size=3), st.integers(0, 60)
        )
    )
)
def test_a_queue_is_a_queue(steps: list[tuple[int, list[bytes], int]]) -> None:
    total = WaitingTotal()
    waiting = WaitingBytes(total)
    expected: list[tuple[int, int]] = []  # flow and value of each byte
    for flow, pieces, count in steps:
        waiting.append(flow, [memoryview(piece) for piece in pieces])
        expected += [(flow, value) for piece in pieces for value in piece]
        assert front(waiting) == bytes(value for _, value in expected)[: len(front(waiting))]
        sent = min(count, len(front(waiting)))
        waiting.sent(sent)
        del expected[:sent]
        assert waiting.count == total.count == len(expected)
        for number in range(3):
            assert waiting.of_flow(number) == sum(number == owner for owner, _ in expected)
