"""Receive windows in one budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import LocalProtocolError
from porttunnel.session.credit import (
    CREDIT_BUDGET_BYTES,
    MAX_STREAMS,
    MAX_WINDOW_BYTES,
    MIN_WINDOW_BYTES,
    CreditBook,
)
from porttunnel.session.stream import Stream, StreamState

HALF = MIN_WINDOW_BYTES // 2


def make_stream(book: CreditBook, number: int = 1) -> Stream:
    stream = Stream(number, "web", StreamState.OPEN, MIN_WINDOW_BYTES)
    book.add(stream)
    return stream


def arrive(stream: Stream, count: int) -> None:
    stream.receive_credit -= count
    stream.unconsumed += count


def test_credit_is_due_after_half_a_window() -> None:
    book = CreditBook()
    stream = make_stream(book)
    arrive(stream, HALF)
    assert not book.consume(stream, HALF - 1)
    assert not book.due
    assert book.consume(stream, 1)
    assert list(book.due) == [1]


def test_a_grant_fills_the_window_and_doubles_it() -> None:
    book = CreditBook()
    stream = make_stream(book)
    arrive(stream, HALF + 10)
    book.consume(stream, HALF)
    assert book.take_grant() == (1, HALF + MIN_WINDOW_BYTES)
    assert stream.window == 2 * MIN_WINDOW_BYTES
    # Ten bytes are still with the application.
    assert stream.receive_credit == stream.window - 10
    assert not book.due


def test_a_stream_that_ended_gets_no_more() -> None:
    book = CreditBook()
    stream = make_stream(book)
    arrive(stream, MIN_WINDOW_BYTES)
    stream.state = StreamState.REMOTE_ENDED
    assert not book.consume(stream, MIN_WINDOW_BYTES)
    assert not book.due


def test_what_was_not_taken_counts_after_the_end() -> None:
    book = CreditBook()
    stream, other = make_stream(book), make_stream(book, 3)
    for each in (stream, other):
        arrive(each, HALF + 2)
    assert book.consume(stream, HALF)
    for each in (stream, other):
        each.state = StreamState.CLOSED
    book.retire(stream)
    assert not book.due
    book.consume_rest(1, 1)
    assert book.streams == 2
    book.consume_rest(1, 1)
    assert book.streams == 1
    book.consume_rest(1, 1)
    other.unconsumed = 0
    book.retire(other)
    assert (book.streams, book._window_bytes) == (0, 0)


def test_who_is_due_first_gets_first() -> None:
    book = CreditBook()
    streams = [make_stream(book, number) for number in (1, 3, 5)]
    for stream in reversed(streams):
        arrive(stream, HALF)
        assert book.consume(stream, HALF)
    book.remove(streams[1])
    assert [book.take_grant()[0] for _ in range(2)] == [5, 1]


@pytest.mark.parametrize("count", [-1, 11])
def test_nobody_consumes_what_did_not_come(count: int) -> None:
    book = CreditBook()
    stream = make_stream(book)
    arrive(stream, 10)
    with pytest.raises(LocalProtocolError):
        book.consume(stream, count)
    assert stream.unconsumed == 10


def test_no_window_grows_beyond_its_bound() -> None:
    book = CreditBook()
    stream = make_stream(book)
    for _ in range(12):
        count = stream.receive_credit
        arrive(stream, count)
        book.consume(stream, count)
        book.take_grant()
    assert stream.window == stream.receive_credit == MAX_WINDOW_BYTES


def test_all_streams_that_may_still_come_have_theirs_within_the_budget() -> None:
    book = CreditBook()
    streams = [make_stream(book, number) for number in range(4)]
    for stream in streams * 12:
        count = stream.receive_credit
        arrive(stream, count)
        book.consume(stream, count)
        book.take_grant()
    streams += [make_stream(book, number) for number in range(4, MAX_STREAMS)]
    assert sum(stream.window for stream in streams) == CREDIT_BUDGET_BYTES


@given(st.lists(st.tuples(st.integers(0, MAX_STREAMS - 1), st.booleans()), max_size=400))
def test_windows_never_exceed_the_budget(steps: list[tuple[int, bool]]) -> None:
    book = CreditBook()
    streams: dict[int, Stream] = {}
    for number, goes_on in steps:
        stream = streams.get(number)
        if stream is None:
            streams[number] = make_stream(book, number)
        elif goes_on:
            count = stream.receive_credit
            arrive(stream, count)
            book.consume(stream, count)
            book.take_grant()
        else:
            book.remove(streams.pop(number))
        windows = sum(stream.window for stream in streams.values())
        # Whoever still comes finds the smallest window free.
        to_come = (MAX_STREAMS - len(streams)) * MIN_WINDOW_BYTES
        assert windows + to_come <= CREDIT_BUDGET_BYTES
        assert all(s.receive_credit + s.unconsumed <= s.window for s in streams.values())
