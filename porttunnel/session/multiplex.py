"""The streams of a pair: records in and out, credit, and whose turn it is.

Source: docs/session-protocol, section 6. A stream that nobody reads holds up only itself: it
runs out of credit, while the others go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from porttunnel.errors import LimitExceeded, LocalProtocolError, RemoteProtocolError, StreamCode
from porttunnel.session.credit import MAX_STREAMS, MAX_WINDOW_BYTES, MIN_WINDOW_BYTES, CreditBook
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
from porttunnel.session.packet import RECORD_HEADER_BYTES
from porttunnel.session.pair import Pair
from porttunnel.session.record import (
    CONTROL_STREAM,
    RECORD_HEADER,
    RecordKind,
    decode_open,
    decode_refuse,
    decode_reset,
    decode_u32,
    encode_open,
    encode_record,
    encode_refuse,
    encode_reset,
    encode_u32,
)
from porttunnel.session.stream import Stream, StreamEvent, StreamNumbers, StreamState
from porttunnel.session.stream_turns import StreamTurns

__all__ = ["MAX_CONTROL_BYTES", "Multiplex"]

MAX_PENDING_BYTES = 256 * 1024 * 1024  # a writer that never pauses: its own memory, yet an end
MAX_CONTROL_BYTES = 1024 * 1024  # records that wait for room; only floods reach it
TURN_BYTES = 64 * 1024  # of one stream before the next gets its turn


class Multiplex:
    """One side of all streams of a pair.

    :param pair: carries the records.
    :param is_client: clients open odd ids, the master even ones.
    :param events: where what happens is appended.
    :param wants_turn: called when there is something to send.
    :ivar turns: the streams that wait for theirs.
    :ivar sent_bytes: of all streams so far, without what still waits; likewise ``received_bytes``.
    """

    def __init__(
        self, pair: Pair, is_client: bool, events: list[Any], wants_turn: Callable[[], None]
    ) -> None:
        self._pair = pair
        self._member = pair.remote_member
        self._events = events
        self._wants_turn = wants_turn
        self._streams: dict[int, Stream] = {}
        self._numbers = StreamNumbers(is_client)
        self.turns = StreamTurns(pair)
        self._credit = CreditBook()
        self._control: deque[bytes] = deque()
        self.control_bytes = self.sent_bytes = self.received_bytes = 0
        self._closed = self.admitted = False  # before admission only control records may come

    @property
    def has_work(self) -> bool:
        """Whether a turn would bring something onto the link."""
        return bool(self._control or self._credit.due or self.turns)

    # What the application does

    def open(self, service: str) -> int:
        """Ask the other side for a stream to one of its services; its id.

        :raises LocalProtocolError: :data:`MAX_STREAMS` are open already.
        """
        if len(self._streams) >= MAX_STREAMS:
            raise LocalProtocolError(f"{MAX_STREAMS} streams are open here; close one first")
        number = self._numbers.draw_local()
        stream = self._add(number, service, StreamState.OPENING)
        self.send_control(encode_open(number, service, stream.window))
        return number

    def accept(self, number: int) -> None:
        """Let a stream in that was offered.

        :raises LocalProtocolError: it does not wait for that; it may be gone already.
        """
        stream = self._find(number)
        stream.apply(StreamEvent.ACCEPTED_LOCALLY)
        self.send_control(encode_record(RecordKind.ACCEPT, number, encode_u32(stream.window)))

    def refuse(self, number: int, code: StreamCode, text: str) -> None:
        """Don't let a stream in that was offered; errors as :meth:`accept`."""
        self._find(number).apply(StreamEvent.REFUSED_LOCALLY)
        self._forget(number)
        self.send_control(encode_refuse(number, code, text))

    def may_write(self, number: int) -> bool:
        """Whether our half is open: an end may count here before its event was given out."""
        stream = self._streams.get(number)
        return stream is not None and stream.may_send

    def may_accept(self, number: int) -> bool:
        """Whether a stream still waits to be accepted or refused; see :meth:`may_write`."""
        stream = self._streams.get(number)
        return stream is not None and stream.state is StreamState.OFFERED

    def write(self, number: int, data: bytes | bytearray | memoryview) -> bool:
        """Send bytes on a stream; what can't go yet is copied and kept.

        :returns: False if the writer should pause until ``StreamWritable``.
        :raises LocalProtocolError: our half is not open, or more than
            :data:`MAX_PENDING_BYTES` would wait. Nothing of ``data`` was taken.
        """
        stream = self._streams.get(number)
        if stream is None or not stream.may_send:
            raise LocalProtocolError("a write on a stream whose half is not open")
        if stream.pending_bytes + len(data) > MAX_PENDING_BYTES:
            raise LocalProtocolError("too many bytes would wait: use a producer")
        if not stream.pending and not self.turns.must_yield(number):
            view = memoryview(data)
            while view and (rooms := self._lend(stream)):
                room = rooms[0]
                count = min(len(room), len(view))
                room[:count] = view[:count]
                self._commit(stream, count)
                view = view[count:]
            data = view
        if len(data):
            stream.keep(memoryview(data))
            self.turns.wait(number)
        self._wants_turn()
        return not stream.pending

    def writable_views(self, number: int, most: int = 1) -> Sequence[memoryview]:
        """Room in packets that will be sealed, or none: then ``StreamWritable`` follows.

        The next call on this pair must be :meth:`written`, also when no bytes came.

        :param most: in so many packets at most, to be filled in their order.
        """
        stream = self._streams.get(number)
        if stream is None or not stream.may_send:
            return ()
        if not self.turns.must_yield(number) and (rooms := self._lend(stream, most)):
            return rooms
        self.turns.found_no_room(number)
        # Nothing of this pair may be on its way that would bring the turn by itself.
        self._wants_turn()
        return ()

    def written(self, number: int, count: int) -> None:
        """The first ``count`` bytes of the views are there."""
        self._commit(self._streams[number], count)
        self._wants_turn()

    def consumed(self, number: int, count: int) -> None:
        """The application has taken ``count`` bytes; the other side may send more.

        :raises LocalProtocolError: more than came.
        """
        stream = self._streams.get(number)
        if stream is None:
            self._credit.consume_rest(number, count)
        elif self._credit.consume(stream, count):
            self._wants_turn()

    def end(self, number: int) -> None:
        """Half-close: END follows what was written."""
        stream = self._streams.get(number)
        if stream is None or stream.end_wanted or not stream.may_send:
            return
        stream.end_wanted = True
        if not stream.pending:
            self._end_now(stream)
        self._wants_turn()

    def reset(self, number: int, code: StreamCode) -> None:
        """Break a stream off, both halves, whatever waits."""
        stream = self._streams.get(number)
        if stream is not None:
            stream.apply(StreamEvent.RESET_LOCALLY)
            self._forget(number)
            self.send_control(encode_reset(number, code))

    # What the link does

    def send_control(self, record: bytes) -> None:
        """Queue a whole record, before all data that waits."""
        self._control.append(record)
        self.control_bytes += len(record)
        self._wants_turn()

    def send_last(self, record: bytes) -> None:
        """Send a control record that nothing follows: now, whatever waits."""
        self.advance()
        self._pair.seal_last(record)

    def advance(self) -> None:
        """Bring what waits into packets, in turn, as far as there is room."""
        if not self._send_control():
            return
        while self._credit.due and self._pair.room():
            number, grant = self._credit.take_grant()
            self._pair.append(encode_record(RecordKind.CREDIT, number, encode_u32(grant)))
        while self.turns and self._pair.room():
            stream = self._streams[number := self.turns.first]
            if stream.pending or not stream.send_credit:
                self.turns.leave(number)
                self._send_pending(stream)
            elif self.turns.may_tell():
                self.turns.tell(number)
                self._events.append(StreamWritable(self._member, number))
            else:
                break

    def receive(self, plaintext: memoryview, control: Callable[[memoryview], None]) -> None:
        """Take in a packet's records.

        :param plaintext: an opened body.
        :param control: gets the payload of each control record, in its place.
        :raises RemoteProtocolError: a record that the state or its form does not allow.
        """
        end, stop = len(plaintext), 0
        while stop < end and not self._closed:
            if end - stop < RECORD_HEADER_BYTES:
                raise RemoteProtocolError("a packet ends inside a record")
            kind, number, length = RECORD_HEADER.unpack_from(plaintext, stop)
            start, stop = stop + RECORD_HEADER_BYTES, stop + RECORD_HEADER_BYTES + length
            if stop > end:
                raise RemoteProtocolError("a record is longer than its packet")
            payload = plaintext[start:stop]
            if kind == RecordKind.CONTROL:
                if number != CONTROL_STREAM:
                    raise RemoteProtocolError("a control record on a stream")
                control(payload)
            elif not self.admitted:
                raise RemoteProtocolError("a stream's record before the member was admitted")
            elif kind == RecordKind.DATA:
                self._receive_data(number, payload)
            else:
                self._receive_stream_record(kind, number, payload)

    def close(self) -> None:
        """The pair is over, and its streams with it."""
        self._closed = True
        for number in list(self._streams):
            self._forget(number)

    # Sending

    def _send_control(self) -> bool:
        while self._control:
            if not self._pair.append(self._control[0]):
                return False
            self.control_bytes -= len(self._control.popleft())
        return True

    def _lend(self, stream: Stream, most: int = 1) -> Sequence[memoryview]:
        # Records that were queued before must stay before: an ACCEPT precedes its data.
        if (self._control and not self._send_control()) or not stream.send_credit:
            return ()
        return self._pair.lend(stream.number, stream.send_credit, most)

    def _commit(self, stream: Stream, count: int) -> None:
        self.turns.came(stream.number)
        stream.send_credit -= count
        self.sent_bytes += count
        self._pair.commit(stream.number, count)

    def _send_pending(self, stream: Stream) -> None:
        if not stream.send_credit:
            stream.starved = True  # CREDIT brings it back
            return
        left = TURN_BYTES
        while left and stream.pending and (rooms := self._lend(stream)):
            count = stream.move_kept(rooms[0][:left])
            self._commit(stream, count)
            left -= count
        if stream.pending:
            self.turns.wait(stream.number)
        elif stream.end_wanted:
            self._end_now(stream)
        else:
            self._events.append(StreamWritable(self._member, stream.number))

    def _end_now(self, stream: Stream) -> None:
        stream.apply(StreamEvent.ENDED_LOCALLY)
        self.turns.leave(stream.number)
        stream.starved = False
        self.send_control(encode_record(RecordKind.END, stream.number))
        self._close_if_done(stream)

    # Receiving

    def _receive_data(self, number: int, payload: memoryview) -> None:
        stream = self._streams.get(number)
        if stream is None:
            self._numbers.check_known(number)
            return
        length = len(payload)
        if not stream.may_receive:
            raise RemoteProtocolError("data on a stream whose half is not open")
        if not 0 < length <= stream.receive_credit:
            raise RemoteProtocolError("an empty record, or more data than credit was given for")
        stream.receive_credit -= length
        stream.unconsumed += length
        self.received_bytes += length
        self._events.append(StreamDataReceived(self._member, number, payload))

    def _receive_stream_record(self, kind: int, number: int, payload: memoryview) -> None:
        if kind == RecordKind.OPEN:
            self._receive_open(number, payload)
            return
        stream = self._streams.get(number)
        if kind > RecordKind.RESET:
            raise RemoteProtocolError("a record of a kind that this version lacks")
        if stream is None:
            self._numbers.check_known(number)
        elif kind == RecordKind.ACCEPT:
            stream.apply(StreamEvent.ACCEPTED_REMOTELY)
            self._add_send_credit(stream, decode_u32(payload))
            self._events.append(StreamAccepted(self._member, number))
        elif kind == RecordKind.REFUSE:
            refused = StreamRefusedRemotely(self._member, number, *decode_refuse(payload))
            stream.apply(StreamEvent.REFUSED_REMOTELY)
            self._forget(number)
            self._events.append(refused)
        elif kind == RecordKind.CREDIT:
            self._add_send_credit(stream, decode_u32(payload))
        elif kind == RecordKind.END:
            if payload:
                raise RemoteProtocolError("an END with a payload")
            stream.apply(StreamEvent.ENDED_REMOTELY)
            self._events.append(StreamEnded(self._member, number))
            self._close_if_done(stream)
        else:
            code = decode_reset(payload)
            stream.apply(StreamEvent.RESET_REMOTELY)
            self._forget(number)
            self._events.append(StreamResetRemotely(self._member, number, code))

    def _receive_open(self, number: int, payload: memoryview) -> None:
        self._numbers.take_remote(number)
        service, window = decode_open(payload)
        if self.control_bytes > MAX_CONTROL_BYTES:
            raise LimitExceeded("streams are opened faster than the answers are read")
        if self._credit.streams >= MAX_STREAMS:
            text = f"{MAX_STREAMS} streams are open already: close one and try again"
            self.send_control(encode_refuse(number, StreamCode.TOO_MANY_STREAMS, text))
            return
        stream = self._add(number, service, StreamState.OFFERED)
        self._add_send_credit(stream, window)
        self._events.append(StreamOffered(self._member, number, service))

    def _add_send_credit(self, stream: Stream, grant: int) -> None:
        stream.send_credit += grant
        if stream.send_credit > MAX_WINDOW_BYTES:
            raise RemoteProtocolError("more credit than a stream may have")
        if stream.starved:
            stream.starved = False
            self.turns.wait(stream.number)
            self._wants_turn()

    def _find(self, number: int) -> Stream:
        stream = self._streams.get(number)
        if stream is None:
            raise LocalProtocolError(f"there is no stream {number} any more")
        return stream

    def _add(self, number: int, service: str, state: StreamState) -> Stream:
        stream = Stream(number, service, state, MIN_WINDOW_BYTES)
        self._streams[number] = stream
        self._credit.add(stream)
        return stream

    def _forget(self, number: int) -> None:
        stream = self._streams.pop(number)
        self._credit.remove(stream)
        self.turns.leave(number)
        stream.pending.clear()

    def _close_if_done(self, stream: Stream) -> None:
        if stream.state is StreamState.CLOSED:
            del self._streams[stream.number]
            self._credit.retire(stream)
            self._events.append(StreamClosed(self._member, stream.number))
