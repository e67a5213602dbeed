"""Streams of a pair: records, credit, turns."""

from __future__ import annotations

import gc
import sys
import traceback
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import (
    LimitExceeded,
    LocalProtocolError,
    RemoteProtocolError,
    StreamCode,
)
from porttunnel.session import multiplex as module
from porttunnel.session.credit import MAX_STREAMS, MAX_WINDOW_BYTES, MIN_WINDOW_BYTES
from porttunnel.session.event import (
    StreamAccepted,
    StreamClosed,
    StreamDataReceived,
    StreamEnded,
    StreamOffered,
    StreamRefusedRemotely,
    StreamResetRemotely,
    StreamWritable,
)
from porttunnel.session.packet import MASTER
from porttunnel.session.record import (
    RECORD_HEADER,
    Bye,
    RecordKind,
    encode_control,
    encode_open,
    encode_record,
    encode_refuse,
    encode_reset,
    encode_u32,
)
from porttunnel.session.stream import TRANSITIONS, StreamEvent, StreamState
from tests.session.pairs import CLIENT, PairOfSides, Side, drain


@pytest.fixture
def two() -> PairOfSides:
    return PairOfSides()


def taken(side: Side) -> bytes:
    """The data that came, all consumed."""
    data = b""
    for event in side.taken_events():
        if isinstance(event, StreamDataReceived):
            data += bytes(event.data)
            side.streams.consumed(event.stream, len(event.data))
    return data


def write_all(two: PairOfSides, side: Side, stream: int, data: bytes) -> bytes:
    """Write, with a reader that keeps up; what arrives."""
    side.streams.write(stream, data)
    arrived = b""
    other = two.other(side)
    while True:
        moved = two.carry(side)
        arrived += taken(other)
        moved += two.carry(other)
        if not moved:
            return arrived


class TestOpening:
    def test_is_offered_and_accepted(self, two: PairOfSides) -> None:
        stream = two.client.streams.open("web")
        assert two.client.turns == 1
        two.settle()
        assert two.master.taken_events() == [StreamOffered(CLIENT, stream, "web")]
        two.master.streams.accept(stream)
        two.settle()
        assert two.client.taken_events() == [StreamAccepted(MASTER, stream)]

    def test_both_sides_can_open(self, two: PairOfSides) -> None:
        assert [two.client.streams.open("a"), two.client.streams.open("b")] == [1, 3]
        assert [two.master.streams.open("c"), two.master.streams.open("d")] == [2, 4]
        two.settle()
        offered = [e.stream for e in two.client.events if isinstance(e, StreamOffered)]
        assert offered == [2, 4]

    def test_is_refused(self, two: PairOfSides) -> None:
        stream = two.client.streams.open("web")
        two.settle()
        two.master.streams.refuse(stream, StreamCode.UNREACHABLE, "nobody there")
        two.settle()
        assert two.client.taken_events() == [
            StreamRefusedRemotely(MASTER, stream, StreamCode.UNREACHABLE, "nobody there")
        ]
        for side in (two.client, two.master):
            with pytest.raises(LocalProtocolError):
                side.streams.write(stream, b"x")
            assert side.streams.writable_views(stream) == ()

    def test_what_is_gone_is_neither_accepted_nor_refused(self, two: PairOfSides) -> None:
        stream = two.client.streams.open("web")
        two.settle()
        two.client.streams.reset(stream, StreamCode.ABORTED)
        two.settle()
        with pytest.raises(LocalProtocolError):
            two.master.streams.accept(stream)
        with pytest.raises(LocalProtocolError):
            two.master.streams.refuse(stream, StreamCode.ABORTED, "")

    def test_nothing_is_written_before_the_answer(self, two: PairOfSides) -> None:
        stream = two.client.streams.open("web")
        with pytest.raises(LocalProtocolError, match="not open"):
            two.client.streams.write(stream, b"x")
        assert two.client.streams.writable_views(stream) == ()

    def test_what_is_possible_can_be_asked(self, two: PairOfSides) -> None:
        client, master = two.client.streams, two.master.streams
        stream = client.open("web")
        assert not client.may_write(stream)
        assert not client.may_accept(stream)
        assert not master.may_accept(stream)
        two.settle()
        assert master.may_accept(stream)
        assert not master.may_write(stream)
        master.accept(stream)
        assert not master.may_accept(stream)
        assert master.may_write(stream)
        master.end(stream)
        assert not master.may_write(stream)

    def test_our_own_streams_have_a_number_limit(self, two: PairOfSides) -> None:
        for _ in range(MAX_STREAMS):
            two.client.streams.open("web")
        with pytest.raises(LocalProtocolError, match=str(MAX_STREAMS)):
            two.client.streams.open("web")

    def test_the_other_sides_streams_have_a_number_limit(self, two: PairOfSides) -> None:
        two.master.streams.open("web")
        for _ in range(MAX_STREAMS):
            two.client.streams.open("web")
        two.settle()
        refused = [e for e in two.client.events if isinstance(e, StreamRefusedRemotely)]
        assert [event.code for event in refused] == [StreamCode.TOO_MANY_STREAMS]
        assert refused[0].stream == 2 * MAX_STREAMS - 1

    def test_an_accept_precedes_its_data(self, two: PairOfSides) -> None:
        stream = two.client.streams.open("web")
        two.settle()
        two.master.streams.accept(stream)
        two.master.streams.write(stream, b"hello")
        two.settle()
        assert [type(event) for event in two.client.events] == [
            StreamAccepted,
            StreamDataReceived,
        ]


class TestData:
    @pytest.mark.parametrize("count", [1, 100, 65_527, 65_528, 1_000_000, 5_000_000])
    def test_arrives_as_it_was_sent(self, two: PairOfSides, count: int) -> None:
        stream = two.open()
        data = bytes(range(256)) * (count // 256) + bytes(count % 256)
        assert write_all(two, two.client, stream, data) == data
        assert write_all(two, two.master, stream, data) == data

    def test_is_counted_on_both_sides(self, two: PairOfSides) -> None:
        stream = two.open()
        write_all(two, two.client, stream, bytes(100_000))
        write_all(two, two.master, stream, bytes(300))
        for side, sent, received in ((two.client, 100_000, 300), (two.master, 300, 100_000)):
            assert (side.streams.sent_bytes, side.streams.received_bytes) == (sent, received)

    def test_a_write_tells_whether_to_pause(self, two: PairOfSides) -> None:
        stream = two.open()
        assert two.client.streams.write(stream, b"")
        assert two.client.streams.write(stream, bytes(MIN_WINDOW_BYTES))
        assert not two.client.streams.write(stream, b"x")
        two.settle()
        assert two.client.taken_events() == []
        taken(two.master)
        two.settle()
        assert two.client.taken_events() == [StreamWritable(MASTER, stream)]
        assert two.client.streams.write(stream, b"y")

    def test_what_has_to_wait_is_copied(self, two: PairOfSides) -> None:
        stream = two.open()
        two.client.streams.write(stream, bytes(MIN_WINDOW_BYTES))
        data = bytearray(b"abc")
        two.client.streams.write(stream, data)
        data[:] = b"???"
        two.settle()
        assert taken(two.master)[MIN_WINDOW_BYTES:] == b""
        two.settle()
        assert taken(two.master) == b"abc"

    def test_a_writer_that_never_pauses_meets_an_end(
        self, two: PairOfSides, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MAX_PENDING_BYTES", 1000)
        stream = two.open()
        while two.client.streams.write(stream, bytes(600)):
            pass
        pending = two.client.streams._streams[stream].pending_bytes
        assert 0 < pending <= 600
        with pytest.raises(LocalProtocolError, match="producer"):
            two.client.streams.write(stream, bytes(1001 - pending))
        assert two.client.streams._streams[stream].pending_bytes == pending

    def test_a_forwarder_fills_the_packet_itself(self, two: PairOfSides) -> None:
        stream = two.open()
        [view] = two.client.streams.writable_views(stream)
        assert view is not None
        assert len(view) == MIN_WINDOW_BYTES
        view[:5] = b"hello"
        two.client.streams.written(stream, 5)
        [view] = two.client.streams.writable_views(stream)
        assert view is not None
        assert len(view) == MIN_WINDOW_BYTES - 5
        view[:4] = b" you"
        two.client.streams.written(stream, 4)
        two.settle()
        assert taken(two.master) == b"hello you"

    def test_no_room_without_credit_until_it_comes(self, two: PairOfSides) -> None:
        stream = two.open()
        two.client.streams.write(stream, bytes(MIN_WINDOW_BYTES))
        two.settle()
        assert two.client.streams.writable_views(stream) == ()
        assert two.client.streams.writable_views(stream) == ()
        assert two.client.streams.has_work
        two.settle()
        assert not two.client.streams.has_work
        taken(two.master)
        two.settle()
        assert two.client.taken_events() == [StreamWritable(MASTER, stream)]
        assert two.client.streams.writable_views(stream) != ()

    def test_who_finds_the_link_full_gets_a_turn(self, two: PairOfSides) -> None:
        stream = two.open()
        two.client.outbox.append(bytes(600_000))
        turns = two.client.turns
        assert two.client.streams.writable_views(stream) == ()
        # Nothing of this pair is on its way whose acknowledgement would bring one.
        assert two.client.turns > turns
        two.client.streams.advance()
        assert two.client.taken_events() == []
        two.client.outbox.sent(600_000)
        two.client.streams.advance()
        assert two.client.taken_events() == [StreamWritable(MASTER, stream)]

    def test_one_is_told_of_room_at_a_time(self, two: PairOfSides) -> None:
        first, second = two.open(), two.open()
        two.client.outbox.append(bytes(600_000))
        for stream in (first, second):
            assert two.client.streams.writable_views(stream) == ()
        two.client.outbox.sent(600_000)
        two.client.streams.advance()
        two.client.streams.advance()
        assert two.client.taken_events() == [StreamWritable(MASTER, first)]
        # Who comes unasked waits like the other.
        assert two.client.streams.writable_views(second) == ()
        assert two.client.streams.writable_views(first) != ()
        two.client.streams.written(first, 0)
        two.client.streams.advance()
        assert two.client.taken_events() == [StreamWritable(MASTER, second)]
        # Nobody waits for one that has gone.
        assert two.client.streams.writable_views(first) == ()
        two.client.streams.reset(second, StreamCode.ABORTED)
        two.client.streams.advance()
        assert two.client.taken_events() == [StreamWritable(MASTER, first)]

    def test_a_write_that_finds_the_link_full_waits(self, two: PairOfSides) -> None:
        stream = two.open()
        two.client.outbox.append(bytes(600_000))
        assert not two.client.streams.write(stream, b"hello")
        two.client.outbox.sent(600_000)
        two.settle()
        assert taken(two.master) == b"hello"

    def test_room_that_ends_in_the_middle_of_a_turn(self, two: PairOfSides) -> None:
        stream = two.open()
        while two.client.streams._streams[stream].send_credit < 500_000:
            write_all(two, two.client, stream, bytes(100_000))
        data = bytes(range(256)) * 1500
        two.client.outbox.append(bytes(500_000))
        two.client.streams.write(stream, b"first")
        assert not two.client.streams.write(stream, data)
        two.client.streams.advance()
        assert two.client.streams.has_work
        two.client.outbox.sent(500_000)
        assert write_all(two, two.client, stream, b"") == b"first" + data

    def test_records_wait_for_room_before_data_does(self, two: PairOfSides) -> None:
        stream = two.open()
        two.client.outbox.append(bytes(600_000))
        two.client.streams.open("other")
        assert two.client.streams.writable_views(stream) == ()
        two.client.streams.advance()
        assert two.client.streams.has_work
        two.client.outbox.sent(600_000)
        two.settle()
        assert [type(event) for event in two.master.events] == [StreamOffered]


class TestCredit:
    def test_a_stream_stops_at_its_window(self, two: PairOfSides) -> None:
        stream = two.open()
        two.client.streams.write(stream, bytes(10 * MIN_WINDOW_BYTES))
        two.settle()
        received = sum(len(event.data) for event in two.master.events)
        assert received == MIN_WINDOW_BYTES

    def test_consuming_grants_more_and_grows_the_window(self, two: PairOfSides) -> None:
        stream = two.open()
        write_all(two, two.client, stream, bytes(2_000_000))
        window = two.master.streams._streams[stream].window
        assert MIN_WINDOW_BYTES < window <= MAX_WINDOW_BYTES
        two.client.streams.write(stream, bytes(2 * MAX_WINDOW_BYTES))
        two.settle()
        assert sum(len(event.data) for event in two.master.events) <= window

    def test_consuming_after_the_end_says_nothing(self, two: PairOfSides) -> None:
        stream = two.open()
        two.client.streams.write(stream, bytes(MIN_WINDOW_BYTES))
        two.client.streams.reset(stream, StreamCode.ABORTED)
        two.settle()
        turns = two.master.turns
        two.master.streams.consumed(stream, MIN_WINDOW_BYTES)
        assert two.master.turns == turns

    def test_nobody_consumes_more_than_came(self, two: PairOfSides) -> None:
        stream = two.open()
        with pytest.raises(LocalProtocolError):
            two.master.streams.consumed(stream, 1)

    def test_a_stalled_stream_stops_no_other(self, two: PairOfSides) -> None:
        stalled, running = two.open(), two.open()
        two.client.streams.write(stalled, bytes(1_000_000))
        two.client.streams.write(running, bytes(1_000_000))
        arrived = 0
        for _ in range(200):
            two.carry(two.client)
            for event in two.master.taken_events():
                if event.stream == running:
                    arrived += len(event.data)
                    two.master.streams.consumed(running, len(event.data))
            two.carry(two.master)
        assert arrived == 1_000_000
        assert two.master.streams._streams[stalled].unconsumed == MIN_WINDOW_BYTES

    def test_waiting_streams_are_served_in_turn(self, two: PairOfSides) -> None:
        streams = [two.open() for _ in range(4)]
        for stream in streams:
            while two.client.streams._streams[stream].send_credit < 1_000_000:
                write_all(two, two.client, stream, bytes(200_000))
        two.client.outbox.append(bytes(600_000))
        for stream in streams:
            two.client.streams.write(stream, bytes(300_000))
        two.client.outbox.sent(600_000)
        two.settle()
        order = [event.stream for event in two.master.events]
        first_round = list(dict.fromkeys(order))
        assert first_round == streams
        # Nobody has two turns before all have had one.
        assert order[:4] == streams or order.index(streams[3]) <= 8

    def test_credit_of_nobody_is_waited_for_twice(self, two: PairOfSides) -> None:
        stream = two.open()
        two.client.streams.write(stream, bytes(MIN_WINDOW_BYTES + 1))
        two.settle()
        assert not two.client.streams.has_work
        taken(two.master)
        two.settle()
        assert taken(two.master) == b"\0"


class TestEnding:
    def test_half_closes_follow_what_was_written(self, two: PairOfSides) -> None:
        stream = two.open()
        two.client.streams.write(stream, bytes(3 * MIN_WINDOW_BYTES))
        two.client.streams.end(stream)
        with pytest.raises(LocalProtocolError):
            two.client.streams.write(stream, b"more")
        arrived = 0
        ended = False
        for _ in range(50):
            two.carry(two.client)
            for event in two.master.taken_events():
                assert not ended
                if isinstance(event, StreamEnded):
                    ended = True
                else:
                    arrived += len(event.data)
                    two.master.streams.consumed(stream, len(event.data))
            two.carry(two.master)
        assert ended
        assert arrived == 3 * MIN_WINDOW_BYTES
        assert write_all(two, two.master, stream, b"still talking") == b"still talking"
        two.master.streams.end(stream)
        two.settle()
        assert two.client.events[-2:] == [
            StreamEnded(MASTER, stream),
            StreamClosed(MASTER, stream),
        ]
        assert StreamClosed(CLIENT, stream) in two.master.events

    def test_both_ends_may_cross(self, two: PairOfSides) -> None:
        stream = two.open()
        two.client.streams.end(stream)
        two.master.streams.end(stream)
        two.settle()
        for side, member in ((two.client, MASTER), (two.master, CLIENT)):
            assert side.events == [StreamEnded(member, stream), StreamClosed(member, stream)]

    def test_ending_twice_or_nothing_is_nothing(self, two: PairOfSides) -> None:
        stream = two.open()
        two.client.streams.end(stream)
        two.client.streams.end(stream)
        two.client.streams.end(99)
        two.settle()
        assert two.master.events == [StreamEnded(CLIENT, stream)]

    def test_while_waiting_for_room(self, two: PairOfSides) -> None:
        stream = two.open()
        two.client.outbox.append(bytes(600_000))
        assert two.client.streams.writable_views(stream) == ()
        two.client.streams.end(stream)
        two.client.outbox.sent(600_000)
        two.settle()
        assert two.master.events == [StreamEnded(CLIENT, stream)]
        assert two.client.events == []

    def test_while_waiting_for_credit(self, two: PairOfSides) -> None:
        stream = two.open()
        two.client.streams.write(stream, bytes(MIN_WINDOW_BYTES))
        assert two.client.streams.writable_views(stream) == ()
        two.settle()
        two.client.streams.end(stream)
        two.settle()
        taken(two.master)
        two.settle()
        assert two.client.events == []
        two.master.streams.end(stream)
        two.settle()
        assert two.client.events == [StreamEnded(MASTER, stream), StreamClosed(MASTER, stream)]

    def test_a_reset_breaks_off_whatever_waits(self, two: PairOfSides) -> None:
        stream = two.open()
        two.client.streams.write(stream, bytes(10 * MIN_WINDOW_BYTES))
        two.settle()
        two.client.streams.reset(stream, StreamCode.ABORTED)
        two.client.streams.reset(stream, StreamCode.ABORTED)
        two.settle()
        assert two.master.events[-1] == StreamResetRemotely(CLIENT, stream, StreamCode.ABORTED)
        assert not two.client.streams.has_work

    def test_what_crosses_a_reset_is_dropped(self, two: PairOfSides) -> None:
        stream = two.open()
        two.master.streams.write(stream, b"too late")
        two.master.streams.end(stream)
        two.client.streams.reset(stream, StreamCode.ABORTED)
        two.carry(two.master)
        assert two.client.events == []
        two.settle()
        assert two.master.events == [StreamResetRemotely(CLIENT, stream, StreamCode.ABORTED)]

    def test_many_in_one_turn_nest_no_calls(self, two: PairOfSides) -> None:
        streams = [two.open() for _ in range(MAX_STREAMS)]
        two.client.outbox.append(bytes(600_000))
        for stream in streams:
            two.client.streams.write(stream, b"x")
            two.client.streams.end(stream)
        two.client.outbox.sent(600_000)
        limit = sys.getrecursionlimit()
        # Room for the calls of one stream, not for a stack of 256.
        sys.setrecursionlimit(len(traceback.extract_stack()) + 60)
        try:
            two.client.streams.advance()
        finally:
            sys.setrecursionlimit(limit)
        two.settle()
        assert sum(isinstance(event, StreamEnded) for event in two.master.events) == MAX_STREAMS

    def test_closing_ends_all(self, two: PairOfSides) -> None:
        stream = two.open()
        two.client.streams.write(stream, bytes(10 * MIN_WINDOW_BYTES))
        two.client.streams.close()
        assert not two.client.streams._streams
        assert two.client.streams.writable_views(stream) == ()
        # Records behind the one that closed it are not looked at.
        two.client.streams.receive(memoryview(b"rubbish"), lambda _: None)
        assert two.client.events == []


class TestControl:
    def test_goes_before_streams_and_comes_in_its_place(self, two: PairOfSides) -> None:
        stream = two.open()
        bye = encode_control(Bye(reason="closed"))
        two.client.outbox.append(bytes(600_000))
        two.client.streams.write(stream, b"data")
        two.client.streams.send_control(bye)
        two.client.outbox.sent(600_000)
        (packet,) = two.client.packets()
        plaintext = two.master.receive(*packet, two.now)
        assert plaintext == bye + encode_record(RecordKind.DATA, stream, b"data")
        assert two.master.control == [bye[RECORD_HEADER.size :]]

    def test_the_last_word_goes_though_link_and_streams_wait(self, two: PairOfSides) -> None:
        stream = two.open()
        two.client.outbox.append(bytes(600_000))
        two.client.streams.write(stream, b"data")
        two.client.streams.open("other")
        bye = encode_control(Bye(reason="closed"))
        two.client.streams.send_last(bye)
        two.client.outbox.sent(600_000)
        first = two.client.packets()[0]
        assert two.master.receive(*first, two.now) == bye

    def test_streams_must_wait_for_admission(self, two: PairOfSides) -> None:
        two.master.streams.admitted = False
        two.client.streams.open("web")
        with pytest.raises(RemoteProtocolError, match="admitted"):
            two.carry(two.client)

    def test_a_flood_of_opens_meets_an_end(
        self, two: PairOfSides, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MAX_CONTROL_BYTES", 1000)
        two.master.outbox.append(bytes(600_000))
        flood = b"".join(encode_open(number, "x", 0) for number in range(1, 4 * MAX_STREAMS, 2))
        with pytest.raises(LimitExceeded):
            feed(two.master, flood)
        assert two.master.streams.control_bytes < 2000


def feed(side: Side, data: bytes) -> None:
    side.streams.receive(memoryview(data), lambda payload: side.control.append(bytes(payload)))


class TestStrictness:
    @pytest.mark.parametrize("kind", RecordKind)
    def test_a_record_ends_with_its_packet(self, two: PairOfSides, kind: RecordKind) -> None:
        stream = two.open()
        whole = encode_record(kind, stream, b"1234")
        for count in range(1, len(whole)):
            with pytest.raises(RemoteProtocolError):
                feed(two.master, whole[:count])

    @pytest.mark.parametrize(
        "record",
        [
            encode_record(RecordKind.CONTROL, 1, b"x"),
            encode_record(RecordKind.DATA, 1),
            encode_record(RecordKind.DATA, 1, bytes(MIN_WINDOW_BYTES + 1)),
            encode_record(RecordKind.DATA, 0, b"x"),
            encode_record(RecordKind.DATA, 3, b"x"),
            encode_record(RecordKind.DATA, 2, b"x"),
            encode_record(RecordKind.CREDIT, 3, encode_u32(1)),
            encode_record(RecordKind.CREDIT, 1, b"123"),
            encode_record(RecordKind.CREDIT, 1, encode_u32(MAX_WINDOW_BYTES)),
            encode_record(RecordKind.ACCEPT, 1, encode_u32(1)),
            encode_record(RecordKind.END, 1, b"x"),
            encode_record(RecordKind.RESET, 1),
            encode_record(RecordKind.RESET, 1, b"\xff"),
            encode_refuse(1, StreamCode.ABORTED, ""),
            encode_open(1, "again", 1),
            encode_open(5, "too far", 1),
            encode_open(2, "ours", 1),
            encode_open(3, "", 1),
            encode_open(3, "web", MAX_WINDOW_BYTES + 1),
            b"\x08" + encode_record(RecordKind.DATA, 1, b"x")[1:],
            b"\xff" + encode_record(RecordKind.DATA, 1, b"x")[1:],
        ],
    )
    def test_what_state_or_form_forbid_is_fatal(self, two: PairOfSides, record: bytes) -> None:
        assert two.open() == 1
        with pytest.raises(RemoteProtocolError):
            feed(two.master, record)

    def test_data_after_the_end_is_fatal(self, two: PairOfSides) -> None:
        stream = two.open()
        feed(two.master, encode_record(RecordKind.END, stream))
        for record in (
            encode_record(RecordKind.DATA, stream, b"x"),
            encode_record(RecordKind.END, stream),
        ):
            with pytest.raises(RemoteProtocolError):
                feed(two.master, record)

    def test_an_unknown_kind_is_fatal_on_a_stream_that_is_gone(self, two: PairOfSides) -> None:
        stream = two.open()
        two.master.streams.reset(stream, StreamCode.ABORTED)
        feed(two.master, encode_record(RecordKind.CREDIT, stream, b"dropped unread"))
        with pytest.raises(RemoteProtocolError, match="kind"):
            feed(two.master, b"\x08" + encode_record(RecordKind.DATA, stream)[1:])

    @given(st.binary(max_size=80))
    def test_any_bytes_are_records_or_refused(self, data: bytes) -> None:
        two = PairOfSides()
        two.open()
        with suppress(RemoteProtocolError):
            feed(two.master, data)
        assert all(isinstance(event, _FROM_PEER) for event in two.master.events)

    @given(st.data())
    def test_mutated_records_are_records_or_refused(self, data: st.DataObject) -> None:
        two = PairOfSides()
        stream = two.open()
        body = bytearray(
            encode_record(RecordKind.DATA, stream, b"hello")
            + encode_open(3, "web", 100)
            + encode_record(RecordKind.CREDIT, stream, encode_u32(5))
            + encode_control(Bye(reason=""))
            + encode_record(RecordKind.END, stream)
            + encode_reset(3, StreamCode.ABORTED)
        )
        for _ in range(data.draw(st.integers(1, 3))):
            body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
        with suppress(RemoteProtocolError):
            feed(two.master, bytes(body))
        assert all(isinstance(event, _FROM_PEER) for event in two.master.events)


_FROM_PEER = (
    StreamAccepted,
    StreamClosed,
    StreamDataReceived,
    StreamEnded,
    StreamOffered,
    StreamRefusedRemotely,
    StreamResetRemotely,
)

# What the other side can send for each event, on stream 1 (its own) or 2 (ours).
_RECORDS = {
    StreamEvent.ACCEPTED_REMOTELY: lambda n: encode_record(RecordKind.ACCEPT, n, encode_u32(9)),
    StreamEvent.REFUSED_REMOTELY: lambda n: encode_refuse(n, StreamCode.ABORTED, "no"),
    StreamEvent.ENDED_REMOTELY: lambda n: encode_record(RecordKind.END, n),
    StreamEvent.RESET_REMOTELY: lambda n: encode_reset(n, StreamCode.ABORTED),
}
_PATHS: dict[StreamState, list[StreamEvent]] = {
    StreamState.OPENING: [],
    StreamState.OFFERED: [],
    StreamState.OPEN: [StreamEvent.ACCEPTED_REMOTELY],
    StreamState.LOCAL_ENDED: [StreamEvent.ACCEPTED_REMOTELY, StreamEvent.ENDED_LOCALLY],
    StreamState.REMOTE_ENDED: [StreamEvent.ACCEPTED_REMOTELY, StreamEvent.ENDED_REMOTELY],
}


def cause(side: Side, number: int, event: StreamEvent) -> None:
    """Make a stream of the master's go through an event, from outside."""
    streams = side.streams
    if event in _RECORDS:
        feed(side, _RECORDS[event](number))
    elif event is StreamEvent.ACCEPTED_LOCALLY:
        streams.accept(number)
    elif event is StreamEvent.REFUSED_LOCALLY:
        streams.refuse(number, StreamCode.ABORTED, "")
    elif event is StreamEvent.ENDED_LOCALLY:
        streams.end(number)
    else:
        streams.reset(number, StreamCode.ABORTED)


@pytest.mark.parametrize("event", StreamEvent)
@pytest.mark.parametrize("state", _PATHS)
def test_the_table_is_what_the_streams_do(
    two: PairOfSides, state: StreamState, event: StreamEvent
) -> None:
    side = two.master
    if state is StreamState.OFFERED:
        number = 1
        feed(side, encode_open(number, "web", 100))
    else:
        number = side.streams.open("web")
    for step in _PATHS[state]:
        cause(side, number, step)
    stream = side.streams._streams[number]
    assert stream.state is state
    side.events.clear()

    after = TRANSITIONS.get((state, event))
    if after is None:
        if event is StreamEvent.ENDED_LOCALLY:
            cause(side, number, event)  # nothing to end is no error
        else:
            wanted = RemoteProtocolError if event in _RECORDS else LocalProtocolError
            with pytest.raises(wanted):
                cause(side, number, event)
        assert stream.state is state
        assert side.events == []
        return
    cause(side, number, event)
    assert stream.state is after
    assert (number in side.streams._streams) == (after is not StreamState.CLOSED)
    if after is StreamState.CLOSED:
        # Its number stays known: what comes late is dropped.
        feed(side, encode_record(RecordKind.DATA, number, b"late"))
        # And nothing of it is kept.
        assert not side.streams.turns
        assert not side.streams._credit.due
    reported = {type(each) for each in side.events}
    assert (StreamClosed in reported) == (
        after is StreamState.CLOSED
        and event in (StreamEvent.ENDED_LOCALLY, StreamEvent.ENDED_REMOTELY)
    )


def test_what_a_slow_reader_holds_counts_after_the_stream_has_closed(two: PairOfSides) -> None:
    def open_and_close() -> int:
        stream = two.open()
        two.client.streams.write(stream, b"x")
        two.client.streams.end(stream)
        two.master.streams.end(stream)
        two.settle()
        return stream

    held = [open_and_close() for _ in range(MAX_STREAMS)]
    refused = two.client.streams.open("web")
    two.settle()
    assert two.client.events[-1] == StreamRefusedRemotely(
        MASTER, refused, StreamCode.TOO_MANY_STREAMS, two.client.events[-1].text
    )
    two.master.streams.consumed(held[0], 1)
    open_and_close()
    assert two.master.streams._credit.streams == MAX_STREAMS


def test_a_stream_leaves_nothing_behind(two: PairOfSides) -> None:
    for _ in range(300):
        stream = two.open()
        two.client.streams.write(stream, b"x")
        two.client.streams.end(stream)
        two.master.streams.end(stream)
        two.settle()
        two.master.streams.consumed(stream, 1)
        two.client.events.clear()
        two.master.events.clear()
    gc.collect()
    for side in (two.client, two.master):
        assert not side.streams._streams
        assert not side.streams.has_work
        assert side.streams._credit._window_bytes == 0
        assert drain(side.outbox) == b""
