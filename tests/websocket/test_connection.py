"""One connection: streams and messages, pings and silence, and every way to its end."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from porttunnel.errors import CutOff, LocalProtocolError, WebSocketError
from porttunnel.websocket.connection import (
    CLOSE_SECONDS,
    MAX_PINGS_PER_SECOND,
    MAX_PONGS_WAITING,
    PING_SECONDS,
    PONG_SECONDS,
    Limits,
    ServerConnection,
)
from porttunnel.websocket.cut import MAX_SENT_FRAME_BYTES
from porttunnel.websocket.event import BytesReceived, CloseReceived, ConnectionFailed, TextReceived
from porttunnel.websocket.frame_head import Opcode
from porttunnel.websocket.frame_limit import FrameLimits
from porttunnel.websocket.mask import unmask
from porttunnel.websocket.state import ConnectionState
from tests.websocket.client import Frame, cuts, frame, read_frames

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = Opcode
NEVER_PINGED = Limits(ping_seconds=None)


class Line:
    """Where a connection's bytes go, as fast as a test wants."""

    def __init__(self, room: int | None = None) -> None:
        self.room = room  # bytes that are taken before it is full; None for any number
        self.sent = b""

    def send(self, views: Sequence[memoryview]) -> int:
        data = b"".join(views)[: self.room]
        self.sent += data
        if self.room is not None:
            self.room -= len(data)
        return len(data)


class Stream:
    """A connection that is a stream of bytes, and what came of it."""

    def __init__(self, **options: object) -> None:
        self.received: list[bytes] = []
        self.connection = ServerConnection(0.0, deliver=self.take, **options)  # type: ignore[arg-type]  # as they are

    def take(self, payload: memoryview) -> None:
        self.received.append(bytes(payload))


def messages(limits: Limits = NEVER_PINGED) -> ServerConnection:
    return ServerConnection(0.0, limits=limits)


def receive(connection: ServerConnection, data: bytes, now: float = 0.0) -> list[object]:
    """What happened; views are copied, as their bytes may be gone soon."""
    connection.receive_data(memoryview(bytearray(data)), now)
    return [
        bytes(event.payload) if isinstance(event, BytesReceived) else event
        for event in connection.events()
    ]


def taken(connection: ServerConnection) -> list[Frame]:
    """Everything that waits goes out."""
    data = b"".join(connection.data_to_send())
    connection.data_sent(len(data))
    assert connection.data_to_send() == []
    return read_frames(data)


def failure(events: list[object], text: str) -> WebSocketError | CutOff:
    (event,) = events
    assert isinstance(event, ConnectionFailed)
    assert text in str(event.error)
    return event.error


class TestMessages:
    def test_come_whole_however_they_are_cut(self) -> None:
        sent = (
            frame(TEXT, "Grü".encode()[:-1], final=False)
            + frame(CONTINUATION, "ü".encode()[1:] + b"e")
            + frame(BINARY, b"ab", final=False)
            + frame(PING, b"p")
            + frame(CONTINUATION, b"c")
            + frame(BINARY, b"")
            + frame(PONG, b"nobody asked")
        )
        for cut in cuts(sent):
            connection = messages()
            assert [event for data in cut for event in receive(connection, data)] == [
                TextReceived("Grüe"),
                b"abc",
                b"",
            ]
            assert taken(connection) == [Frame(0x8A, b"p")]
            assert connection.state is ConnectionState.OPEN

    def test_are_sent_in_one_frame_each(self) -> None:
        connection = messages()
        connection.send_message("Grüße")
        connection.send_message(b"ab")
        connection.send_message(memoryview(b"c" * 200))
        connection.send_message(bytearray())
        assert connection.waiting_bytes == (2 + 7) + (2 + 2) + (4 + 200) + 2
        assert taken(connection) == [
            Frame(0x81, "Grüße".encode()),
            Frame(0x82, b"ab"),
            Frame(0x82, b"c" * 200),
            Frame(0x82, b""),
        ]
        assert connection.waiting_bytes == 0

    def test_go_out_in_any_pieces(self) -> None:
        connection = messages()
        for text in ("ab", "", "c" * 126):
            connection.send_message(text)
        everything = b"".join(connection.data_to_send())
        for byte in everything:
            assert b"".join(connection.data_to_send())[:1] == bytes([byte])
            connection.data_sent(1)
        assert connection.data_to_send() == []
        connection.data_sent(0)

    def test_none_after_the_end(self) -> None:
        connection = messages()
        connection.close(0.0)
        with pytest.raises(LocalProtocolError, match="closed"):
            connection.send_message("late")

    def test_what_is_no_text(self) -> None:
        connection = messages()
        error = failure(receive(connection, frame(TEXT, b"\xff") + frame(TEXT)), "UTF-8")
        assert isinstance(error, WebSocketError)
        assert taken(connection) == [Frame(0x88, b"\x03\xefa text is not UTF-8")]


class TestStreams:
    def test_frames_that_came_together_are_one_call(self) -> None:
        stream = Stream(answer=b"HTTP")
        receive(stream.connection, frame(BINARY, b"a") + frame(BINARY, b"b" * 126))
        assert stream.received == [b"a" + b"b" * 126]
        receive(stream.connection, frame(BINARY, b"c")[:-1] + b"")
        assert len(stream.received) == 1

    def test_what_one_read_brought_is_given_out_in_order(self) -> None:
        stream = Stream()
        sent = frame(BINARY, b"a") + frame(PING, b"1") + frame(BINARY, b"b") + frame(PING, b"2")
        receive(stream.connection, sent)
        assert stream.received == [b"a", b"b"]
        assert taken(stream.connection) == [Frame(0x8A, b"1"), Frame(0x8A, b"2")]

    @pytest.mark.mqtt5("6.0.0-1")
    @pytest.mark.mqtt3("6.0.0-1")
    def test_no_text_and_no_messages(self) -> None:
        stream = Stream()
        with pytest.raises(LocalProtocolError, match="transmit"):
            stream.connection.send_message(b"x")
        error = failure(receive(stream.connection, frame(TEXT, b"a")), "binary")
        assert isinstance(error, WebSocketError)
        assert error.close_code == 1003

    def test_the_payloads_may_be_written_to(self) -> None:
        found: list[bool] = []
        connection = ServerConnection(0.0, deliver=lambda payload: found.append(payload.readonly))
        connection.receive_data(memoryview(frame(BINARY, b"abc")), 0.0)
        assert found == [False]

    def test_a_mask_of_ones_own(self) -> None:
        sizes: list[int] = []

        def unmask_and_note(payload: memoryview, mask: bytes) -> None:
            sizes.append(len(payload))
            unmask(payload, mask)

        stream = Stream(unmask=unmask_and_note)
        receive(stream.connection, frame(BINARY, b"a" * 200))
        assert (stream.received, sizes) == ([b"a" * 200], [200])

    def test_what_is_not_gathered_may_be_long(self) -> None:
        long = frame(BINARY, bytes(1 << 20) + b"x")
        stream = Stream()
        receive(stream.connection, long)
        assert sum(map(len, stream.received)) == (1 << 20) + 1
        error = failure(receive(messages(), long), "longer")
        assert isinstance(error, WebSocketError)
        assert error.close_code == 1009

    def test_the_answer_goes_first(self) -> None:
        stream = Stream(answer=b"HTTP/1.1 101 ")
        receive(stream.connection, frame(PING, b"1"))
        assert b"".join(stream.connection.data_to_send()) == b"HTTP/1.1 101 \x8a\x011"
        assert stream.connection.unsettled


class TestTransmitting:
    def test_what_waits_shares_a_frame(self) -> None:
        line, stream = Line(), Stream()
        views = [memoryview(b"ab"), memoryview(b""), memoryview(b"cde")]
        assert stream.connection.transmit(views, line.send) == 5
        assert stream.connection.transmit([memoryview(b"x" * 126)], line.send) == 126
        assert read_frames(line.sent) == [Frame(0x82, b"abcde"), Frame(0x82, b"x" * 126)]

    def test_nothing_is_no_frame(self) -> None:
        line, stream = Line(), Stream()
        assert stream.connection.transmit([], line.send) == 0
        assert stream.connection.transmit([memoryview(b"")], line.send) == 0
        assert line.sent == b""

    def test_much_is_several_frames(self) -> None:
        line, stream = Line(), Stream()
        parts = [b"a" * 60_000, b"b" * 5_536, b"c" * 200_000, b"d"]
        total = sum(map(len, parts))
        assert stream.connection.transmit([memoryview(part) for part in parts], line.send) == total
        frames = read_frames(line.sent)
        assert b"".join(sent.payload for sent in frames) == b"".join(parts)
        sizes = [len(sent.payload) for sent in frames]
        assert sizes[:-1] == [MAX_SENT_FRAME_BYTES] * 4
        assert sum(sizes) == total

    @pytest.mark.parametrize("size", [1, 125, 126, MAX_SENT_FRAME_BYTES, MAX_SENT_FRAME_BYTES + 9])
    def test_a_line_that_is_full_at_any_byte(self, size: int) -> None:
        data = bytes(number % 251 for number in range(size))
        whole = size + (2 if size < 126 else 4 if size < 65_536 else 10)
        for room in sorted({0, 1, 2, 3, 4, 9, 10, 11, whole - 1, whole}):
            line, stream = Line(room), Stream()
            sent = 0
            for _ in range(5):
                sent += stream.connection.transmit([memoryview(data)[sent:]], line.send)
                # All of a frame that has begun is taken, as it can't be taken back.
                assert sent in (0, min(size, MAX_SENT_FRAME_BYTES), size)
                waiting = stream.connection.data_to_send()
                stream.connection.data_sent(line.send(waiting))
                if line.room == 0:
                    line.room = None
            frames = read_frames(line.sent)
            assert b"".join(part.payload for part in frames) == data
            assert sent == size

    def test_the_rest_is_a_copy(self) -> None:
        line, stream = Line(room=4), Stream()
        data = bytearray(b"abcdef")
        assert stream.connection.transmit([memoryview(data)], line.send) == 6
        data[:] = b"......"
        assert taken_after(line, stream.connection) == [Frame(0x82, b"abcdef")]

    def test_not_before_what_waits(self) -> None:
        line, stream = Line(room=1), Stream(answer=b"HTTP")
        assert stream.connection.transmit([memoryview(b"a")], line.send) == 0
        assert (line.sent, b"".join(stream.connection.data_to_send())) == (b"H", b"TTP")
        line.room = None
        assert stream.connection.transmit([memoryview(b"a")], line.send) == 1
        assert line.sent == b"HTTP\x82\x01a"

    def test_a_line_that_fills_between_two_frames(self) -> None:
        line, stream = Line(room=MAX_SENT_FRAME_BYTES + 10), Stream()
        data = memoryview(bytes(MAX_SENT_FRAME_BYTES * 2))
        assert stream.connection.transmit([data], line.send) == MAX_SENT_FRAME_BYTES
        assert stream.connection.data_to_send() == []
        line.room = 3
        assert stream.connection.transmit([data, data], line.send) == MAX_SENT_FRAME_BYTES
        assert len(b"".join(stream.connection.data_to_send())) == MAX_SENT_FRAME_BYTES + 7

    def test_control_frames_stand_between_frames(self) -> None:
        line, stream = Line(room=3), Stream()
        assert stream.connection.transmit([memoryview(b"abc")], line.send) == 3
        receive(stream.connection, frame(PING, b"1"))
        stream.connection.close(0.0)
        assert taken_after(line, stream.connection) == [
            Frame(0x82, b"abc"),
            Frame(0x8A, b"1"),
            Frame(0x88, b"\x03\xe8"),
        ]

    def test_nothing_after_close(self) -> None:
        line, stream = Line(), Stream()
        stream.connection.end(0.0)
        assert stream.connection.transmit([memoryview(b"a")], line.send) == 0
        assert line.sent == b""


def taken_after(line: Line, connection: ServerConnection) -> list[Frame]:
    """What the line got, with what waited."""
    line.room = None
    connection.data_sent(line.send(connection.data_to_send()))
    return read_frames(line.sent)


class TestPingsOfThePeer:
    def refused(self, events: list[object], text: str) -> None:
        error = failure(events, text)
        assert isinstance(error, WebSocketError)
        assert error.close_code == 1008

    def test_so_many_in_a_second(self) -> None:
        connection = messages()
        for second in (0.0, 1.0, 2.5):
            assert receive(connection, frame(PING) * MAX_PINGS_PER_SECOND, second) == []
            assert taken(connection) == [Frame(0x8A, b"")] * MAX_PINGS_PER_SECOND
        self.refused(receive(connection, frame(PING), 3.4), "second")

    def test_pongs_that_nobody_asked_for_count_too(self) -> None:
        for sign in (PING, PONG):
            connection = messages()
            assert receive(connection, frame(PONG) * (MAX_PINGS_PER_SECOND - 1)) == []
            assert receive(connection, frame(sign)) == []
            self.refused(receive(connection, frame(PONG), 0.9), "second")

    def test_also_after_our_close(self) -> None:
        connection = messages()
        connection.end(0.0)
        assert receive(connection, frame(PING) * MAX_PINGS_PER_SECOND) == []
        self.refused(receive(connection, frame(PING)), "second")

    def test_as_many_as_it_reads_the_answers_of(self) -> None:
        connection = messages()
        assert receive(connection, frame(PING) * MAX_PONGS_WAITING) == []
        self.refused(receive(connection, frame(PING), 1.0), "not taken")

    def test_those_behind_a_long_message_count_as_long_as_they_wait(self) -> None:
        connection = messages()
        receive(connection, frame(PING) * MAX_PONGS_WAITING)
        connection.send_message("long")
        # All the answers go out, and the message's end does not.
        connection.data_sent(2 * MAX_PONGS_WAITING + 1)
        assert receive(connection, frame(PING) * MAX_PONGS_WAITING, 1.0) == []
        self.refused(receive(connection, frame(PING), 2.0), "not taken")

    def test_none_is_answered_after_close(self) -> None:
        connection = messages()
        connection.end(0.0)
        receive(connection, frame(PING))
        assert taken(connection) == [Frame(0x88, b"\x03\xe8")]


class TestSilence:
    def test_is_broken_by_a_ping_and_ended_without_an_answer(self) -> None:
        connection = ServerConnection(5.0)
        assert connection.next_deadline() == 5.0 + PING_SECONDS
        connection.handle_timeout(5.0 + PING_SECONDS - 0.1)
        assert taken(connection) == []
        connection.handle_timeout(5.0 + PING_SECONDS)
        assert taken(connection) == [Frame(0x89, b"")]
        assert connection.next_deadline() == 5.0 + PING_SECONDS + PONG_SECONDS
        connection.handle_timeout(5.0 + PING_SECONDS + PONG_SECONDS)
        assert isinstance(failure(list(connection.events()), "no pong"), CutOff)
        assert (taken(connection), connection.next_deadline()) == ([], None)
        assert connection.state is ConnectionState.CLOSED

    @pytest.mark.parametrize("sign", [frame(PONG), frame(BINARY, b"x" * 100)[:5], frame(TEXT)])
    def test_any_byte_breaks_it(self, sign: bytes) -> None:
        connection = ServerConnection(0.0)
        connection.handle_timeout(PING_SECONDS)
        receive(connection, sign, PING_SECONDS + 1)
        connection.handle_timeout(PING_SECONDS + PONG_SECONDS)
        assert connection.state is ConnectionState.OPEN
        assert connection.next_deadline() == PING_SECONDS + 1 + PING_SECONDS
        taken(connection)
        connection.handle_timeout(PING_SECONDS + 1 + PING_SECONDS)
        assert taken(connection) == [Frame(0x89, b"")]

    def test_so_does_a_slow_line_that_moves(self) -> None:
        connection = ServerConnection(0.0)
        connection.handle_timeout(PING_SECONDS)
        connection.line_moved(PING_SECONDS + 1)
        connection.handle_timeout(PING_SECONDS + PONG_SECONDS)
        assert connection.state is ConnectionState.OPEN
        assert connection.next_deadline() == PING_SECONDS + 1 + PING_SECONDS

    def test_who_talks_is_not_pinged(self) -> None:
        connection = ServerConnection(0.0)
        for second in range(0, 300, 10):
            receive(connection, frame(BINARY, b"x"), float(second))
            connection.handle_timeout(float(second))
        assert taken(connection) == []

    def test_an_answer_longer_ago_than_the_interval_is_one(self) -> None:
        connection = ServerConnection(0.0, limits=Limits(ping_seconds=1.0, pong_seconds=10.0))
        connection.handle_timeout(1.0)
        receive(connection, frame(PONG), 2.0)
        connection.handle_timeout(11.0)
        assert connection.state is ConnectionState.OPEN
        assert taken(connection) == [Frame(0x89, b"")] * 2

    def test_may_be_allowed(self) -> None:
        connection = messages()
        assert connection.next_deadline() is None
        connection.handle_timeout(1e9)
        assert (taken(connection), list(connection.events())) == ([], [])

    def test_means_nothing_while_nobody_listens(self) -> None:
        connection = ServerConnection(0.0)
        connection.handle_timeout(PING_SECONDS)
        connection.pause()
        connection.handle_timeout(PING_SECONDS + PONG_SECONDS)
        assert (connection.state, connection.next_deadline()) == (ConnectionState.OPEN, None)
        connection.unsettled = False
        connection.resume(1_000.0)
        assert connection.unsettled
        assert connection.next_deadline() == 1_000.0 + PING_SECONDS
        connection.handle_timeout(1_000.0 + PING_SECONDS)
        assert connection.state is ConnectionState.OPEN

    def test_of_who_has_to_answer_close_means_nothing_then_either(self) -> None:
        connection = ServerConnection(0.0)
        connection.end(0.0)
        connection.pause()
        for time in range(1, 100):
            connection.handle_timeout(float(time))
        assert connection.state is ConnectionState.CLOSING
        connection.unsettled = False
        connection.resume(100.0)
        assert connection.unsettled
        assert connection.next_deadline() == 100.0 + CLOSE_SECONDS
        connection.handle_timeout(100.0 + CLOSE_SECONDS)
        assert isinstance(failure(list(connection.events()), "Close"), CutOff)
        connection.resume(200.0)
        assert connection.next_deadline() is None


class TestTheEnd:
    def test_by_the_peer(self) -> None:
        connection = messages()
        sent = frame(TEXT, b"a") + frame(CLOSE, b"\x03\xe9bye") + frame(TEXT, b"b")
        assert receive(connection, sent) == [TextReceived("a"), CloseReceived(1001, "bye")]
        assert taken(connection) == [Frame(0x88, b"\x03\xe9")]
        assert (connection.state, connection.next_deadline()) == (ConnectionState.CLOSED, None)
        assert receive(connection, frame(TEXT, b"c")) == []

    def test_by_the_peer_without_a_word(self) -> None:
        stream = Stream()
        data = frame(BINARY, b"a") + frame(CLOSE) + frame(BINARY, b"b")
        assert receive(stream.connection, data) == [CloseReceived(None, "")]
        assert stream.received == [b"a"]
        assert taken(stream.connection) == [Frame(0x88, b"")]

    def test_by_the_peer_is_answered_after_what_we_have_to_say(self) -> None:
        connection = messages()
        receive(connection, frame(PING, b"1") + frame(CLOSE, b"\x03\xe8") + frame(PING, b"2"))
        assert connection.state is ConnectionState.PARTING
        connection.send_message("late")
        assert receive(connection, frame(TEXT, b"c")) == []
        assert taken(connection) == [
            Frame(0x8A, b"1"),
            Frame(0x81, b"late"),
            Frame(0x88, b"\x03\xe8"),
        ]
        with pytest.raises(LocalProtocolError, match="closed"):
            connection.send_message("too late")
        line, stream = Line(), Stream()
        receive(stream.connection, frame(CLOSE))
        assert stream.connection.transmit([memoryview(b"late")], line.send) == 4
        stream.connection.end(0.0)
        assert stream.connection.transmit([memoryview(b"too late")], line.send) == 0
        assert taken_after(line, stream.connection) == [Frame(0x82, b"late"), Frame(0x88, b"")]

    def test_by_the_peer_who_is_gone_before_the_answer(self) -> None:
        connection = messages()
        receive(connection, frame(CLOSE))
        connection.receive_eof(0.0)
        assert isinstance(failure(list(connection.events()), "without a Close"), CutOff)
        assert connection.data_to_send() == []

    def test_by_us(self) -> None:
        connection = messages()
        connection.end(1.0, 1001, "restart")
        connection.end(2.0, 1000, "twice")
        assert (connection.state, connection.next_deadline()) == (
            ConnectionState.CLOSING,
            1.0 + CLOSE_SECONDS,
        )
        assert taken(connection) == [Frame(0x88, b"\x03\xe9restart")]
        # What was under way still comes, then the answer, which is not answered.
        assert receive(connection, frame(TEXT, b"a") + frame(CLOSE, b"\x03\xe9")) == [
            TextReceived("a"),
            CloseReceived(1001, ""),
        ]
        assert (taken(connection), connection.state) == ([], ConnectionState.CLOSED)
        connection.end(3.0)
        assert taken(connection) == []

    def test_by_us_for_good(self) -> None:
        stream = Stream()

        def close(payload: memoryview) -> None:
            stream.take(payload)
            connection.close(0.0)

        connection = ServerConnection(0.0, deliver=close)
        sent = frame(BINARY, b"a") + frame(PING) + frame(BINARY, b"b")
        receive(connection, sent)
        receive(connection, frame(BINARY, b"c"))
        assert stream.received == [b"a"]
        assert taken(connection) == [Frame(0x88, b"\x03\xe8")]
        assert receive(connection, frame(CLOSE, b"\x03\xe8")) == [CloseReceived(1000, "")]

    def test_of_interest(self) -> None:
        stream = Stream()
        receive(stream.connection, frame(BINARY, b"a"))
        stream.connection.discard()
        assert receive(stream.connection, frame(BINARY, b"b") + frame(CLOSE)) == [
            CloseReceived(None, "")
        ]
        assert stream.received == [b"a"]

    def test_messages_are_thrown_away_then_too(self) -> None:
        connection = messages()
        assert receive(connection, frame(TEXT, b"a", final=False)) == []
        connection.close(0.0)
        sent = frame(CONTINUATION, b"a") + frame(BINARY, b"a") + frame(CLOSE)
        assert receive(connection, sent) == [CloseReceived(None, "")]

    def test_an_end_can_become_for_good(self) -> None:
        connection = messages()
        connection.end(0.0)
        connection.close(1.0)
        assert receive(connection, frame(BINARY, b"a")) == []
        assert connection.next_deadline() == CLOSE_SECONDS

    def test_our_close_is_not_answered(self) -> None:
        connection = messages()
        connection.close(0.0)
        connection.handle_timeout(CLOSE_SECONDS - 0.1)
        assert connection.state is ConnectionState.CLOSING
        connection.handle_timeout(CLOSE_SECONDS)
        assert isinstance(failure(list(connection.events()), "did not answer"), CutOff)
        assert connection.data_to_send() == []
        connection.handle_timeout(1e9)

    def test_no_code_that_may_not_be_sent(self) -> None:
        connection = messages()
        with pytest.raises(ValueError, match="1006"):
            connection.close(0.0, 1006)
        assert connection.state is ConnectionState.OPEN

    @pytest.mark.parametrize("closing", [False, True])
    def test_without_a_close_frame(self, closing: bool) -> None:
        connection = messages()
        connection.send_message("a")
        if closing:
            connection.end(0.0)
        connection.receive_eof(0.0)
        assert isinstance(failure(list(connection.events()), "without a Close"), CutOff)
        assert connection.data_to_send() == []
        connection.receive_eof(0.0)
        assert list(connection.events()) == []

    @pytest.mark.parametrize("closing", [False, True])
    def test_by_a_fault_of_the_peer(self, closing: bool) -> None:
        stream = Stream(limits=Limits(FrameLimits(frame_bytes=125)))
        if closing:
            stream.connection.end(0.0)
            taken(stream.connection)
        data = frame(BINARY, b"a") + frame(BINARY, bytes(126)) + frame(BINARY, b"b")
        error = failure(receive(stream.connection, data), "smaller")
        assert isinstance(error, WebSocketError)
        assert error.close_code == 1009
        assert stream.received == [b"a"]
        assert [sent.payload[:2] for sent in taken(stream.connection)] == (
            [] if closing else [b"\x03\xf1"]
        )
        assert receive(stream.connection, frame(BINARY, b"c")) == []
        assert stream.received == [b"a"]

    def test_by_a_fault_is_told_after_what_we_have_to_say(self) -> None:
        connection = messages()
        receive(connection, frame(TEXT, b"a") + frame(3))
        connection.send_message("a")
        text, close = taken(connection)
        assert (text, close.payload[:2]) == (Frame(0x81, b"a"), b"\x03\xea")
        with pytest.raises(LocalProtocolError, match="closed"):
            connection.send_message("b")

    def test_by_a_close_frame_that_is_none(self) -> None:
        connection = messages()
        error = failure(receive(connection, frame(CLOSE, b"\x03")), "half a code")
        assert isinstance(error, WebSocketError)
        assert taken(connection)[0].payload.startswith(b"\x03\xea")


def test_whoever_runs_it_sees_when_it_has_to_do_something() -> None:
    stream = Stream()
    connection = stream.connection
    connection.unsettled = False
    receive(connection, frame(BINARY, b"a") + frame(PONG))
    connection.limit_ahead(1)
    assert not connection.unsettled
    receive(connection, frame(PING))
    assert connection.unsettled
    for step in (lambda: connection.end(0.0), lambda: connection.receive_eof(0.0)):
        connection.unsettled = False
        step()
        assert connection.unsettled
