"""One is told of room at a time, and the others wait for it."""

from __future__ import annotations

import pytest

from porttunnel.session.event import PathKind, StreamWritable
from porttunnel.session.multiplex import Multiplex
from porttunnel.session.packet import MAX_PACKET_BYTES
from porttunnel.session.path import Path
from porttunnel.session.stream_turns import StreamTurns
from tests.session.pairs import PairOfSides, drain


@pytest.fixture
def turns() -> StreamTurns:
    return StreamTurns(PairOfSides().client.pair)


def test_who_is_told_may_come_and_the_others_wait(turns: StreamTurns) -> None:
    assert not turns
    assert not turns.expects_more
    assert not turns.must_yield(1)
    turns.wait(1)
    turns.wait(3)
    assert turns
    assert turns.expects_more
    assert turns.first == 1
    # Room is for those who wait, also from whom comes anew.
    assert turns.must_yield(5)
    assert turns.may_tell()
    turns.tell(1)
    assert turns.first == 3
    assert not turns.may_tell()
    assert not turns.must_yield(1)
    assert turns.must_yield(3)
    turns.came(3)
    assert turns.must_yield(3)
    turns.came(1)
    assert turns.may_tell()


def test_who_was_told_and_finds_none_stays_before_the_others() -> None:
    pair = PairOfSides().client.pair
    path = pair.path
    assert path is not None
    path.turns.wait(7)
    turns = StreamTurns(pair)
    turns.wait(1)
    turns.tell(1)
    turns.found_no_room(3)
    turns.found_no_room(1)
    assert turns.first == 1
    assert turns.may_tell()
    # In the pair and on its path.
    assert list(path.turns) == [pair.remote_member, 7]
    # Without a path nobody is before it.
    pair.leave(path)
    turns.tell(1)
    turns.found_no_room(1)
    assert turns.first == 1


def test_who_leaves_is_not_waited_for(turns: StreamTurns) -> None:
    turns.wait(3)
    turns.tell(1)
    turns.leave(1)
    assert turns.may_tell()
    turns.leave(3)
    assert not turns
    turns.tell(5)
    assert turns.expects_more


def test_who_does_not_come_for_long_is_given_up(turns: StreamTurns) -> None:
    assert not turns.give_up_on_told()
    turns.wait(3)
    turns.tell(1)
    assert not turns.give_up_on_told()
    assert turns.must_yield(3)
    assert turns.give_up_on_told()
    assert turns.may_tell()
    assert not turns.give_up_on_told()
    # Another one has its own time.
    turns.tell(3)
    assert not turns.give_up_on_told()
    turns.came(3)
    turns.tell(5)
    assert not turns.give_up_on_told()
    assert turns.give_up_on_told()


def test_a_path_is_promised_to_one_pair_at_a_time() -> None:
    pairs = [PairOfSides().client.pair for _ in range(2)]
    path = pairs[0].path
    assert path is not None
    pairs[1].leave(pairs[1].path or path)
    ours, theirs = (StreamTurns(pair) for pair in pairs)
    # Without a path nobody else is on it.
    theirs.tell(1)
    assert not theirs.must_yield(1)
    theirs.came(1)
    pairs[1]._path = path
    theirs.tell(1)
    assert path.is_promised
    assert theirs.is_expected_on(path)
    assert ours.must_yield(7)
    assert not ours.may_tell()
    theirs.came(1)
    assert not path.is_promised
    assert not ours.must_yield(7)
    # One that goes another way is not expected here any more.
    theirs.tell(1)
    pairs[1]._path = Path(PathKind.DIRECT, PairOfSides().client.pool)
    assert not path.is_promised
    assert ours.may_tell()


def test_all_who_fill_packets_get_as_much_in_whatever_order_they_are_read() -> None:
    two = PairOfSides()
    streams: Multiplex = two.client.streams
    numbers = [two.open() for _ in range(4)]
    two.client.outbox.limit_bytes = 3 * MAX_PACKET_BYTES
    sent = dict.fromkeys(numbers, 0)
    reading = set(numbers)
    for _ in range(400):
        # The reactor reads whoever has bytes, always in this order.
        for number in sorted(reading):
            # Who wins comes once more in the same breath, and so waits before all others.
            while views := streams.writable_views(number, 12):
                count = sum(map(len, views))
                streams.written(number, count)
                sent[number] += count
            reading.discard(number)
            streams.advance()
            two.client.pair.flush()
            reading |= {
                event.stream
                for event in two.client.taken_events()
                if isinstance(event, StreamWritable)
            }
        if two.client.outbox.room_bytes <= 0:
            two.carry(two.client)
            for event in two.master.taken_events():
                two.master.streams.consumed(event.stream, len(event.data))
            two.settle()
            reading |= {
                event.stream
                for event in two.client.taken_events()
                if isinstance(event, StreamWritable)
            }
    assert min(sent.values()) > 0
    assert max(sent.values()) < 2 * min(sent.values())
    drain(two.client.outbox)
