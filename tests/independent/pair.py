"""A pair with keys: numbers, acknowledgements, generations, streams. Sections 2, 6 and 7."""

from __future__ import annotations

import struct
from collections import deque
from typing import Any

from tests.independent import msgpack
from tests.independent.handshake import Keys
from tests.independent.link import Link, Packet
from tests.independent.packet import (
    RESYNC,
    SYNCED,
    Generation,
    Header,
    PacketError,
    Record,
    decode_records,
    encode_record,
    open_packet,
    seal_packet,
)

__all__ = ["Goodbye", "Pair", "Stream", "StreamRefused", "StreamReset"]

MAX_UNACKNOWLEDGED_BYTES = 4 << 20
ACK_PACKETS = 32
WINDOW_BYTES = 1 << 20
MAX_RECORD_BYTES = 65_536 - 9


class Goodbye(Exception):
    """BYE came while something else was waited for."""


class StreamRefused(Exception):
    """REFUSE came.

    :ivar code: its code.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text


class StreamReset(Exception):
    """RESET came.

    :ivar code: its code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


class Pair:
    """What both ends of a finished handshake speak.

    :param remote: the other member's number.
    :param is_client: which end this is.

    :ivar control: control messages that came and that nobody has taken yet.
    """

    def __init__(self, link: Link, remote: int, keys: Keys, is_client: bool) -> None:
        self.link = link
        self.remote = remote
        self.sas = keys.sas
        self.control: deque[dict[str, Any]] = deque()
        self.streams: dict[int, Stream] = {}
        self.window_bytes = WINDOW_BYTES
        directions = keys.client_to_master, keys.master_to_client
        self._sending, self._receiving = directions if is_client else directions[::-1]
        self._sent = self._acks_sent = self._next = self._acked = 0
        self._next_ack_number = 0
        self._in_flight: deque[int] = deque()
        self._unacknowledged = 0
        self._next_stream = 1 if is_client else 2
        self._next_remote_stream = 2 if is_client else 1
        self._opened: deque[Stream] = deque()

    # Sending

    def send_record(self, kind: str, stream: int = 0, payload: bytes = b"") -> None:
        """Seal and send one record in a packet of its own."""
        self.send_plaintext(encode_record(kind, stream, payload))

    def send_plaintext(self, plaintext: bytes) -> None:
        """Seal and send what need not be records."""
        while sum(self._in_flight) > MAX_UNACKNOWLEDGED_BYTES:
            self.receive_packet()
        header = Header(
            "DATA", self.link.member, self.remote, self._sent, self._next, self._sending.number
        )
        packet = seal_packet(self._sending.data, header, plaintext)
        self._sent += 1
        self._in_flight.append(len(packet))
        self._unacknowledged = 0
        self.link.send_bytes(packet)

    def send_control(self, kind: str, **fields: Any) -> None:
        """A control message."""
        self.send_record("CONTROL", 0, msgpack.encode({"type": kind, **fields}))

    def send_ack(self, flags: int = 0) -> None:
        """Say what came."""
        numbers = self._acks_sent, self._next, self._sending.number
        header = Header("ACK", self.link.member, self.remote, *numbers, flags)
        self._acks_sent += 1
        self._unacknowledged = 0
        self.link.send_bytes(seal_packet(self._sending.ack, header, b""))

    def next_generation(self) -> None:
        """What is sent from here on has the next generation's key."""
        self._sending = self._sending.following()

    def wait_until_acknowledged(self) -> None:
        """Everything sent has arrived."""
        while self._in_flight:
            self.receive_packet()

    # Receiving

    def receive_packet(self) -> None:
        """Take in one packet and all its records."""
        packet = self.link.receive()
        header = packet.header
        if header.sender != self.remote or header.type not in ("DATA", "ACK"):
            raise PacketError(f"{header.type} from {header.sender}")
        if header.type == "ACK":
            self._receive_ack(packet)
            return
        if header.number < self._next:
            return
        if header.number > self._next:
            self.send_ack()
            return
        keys = self._keys_of(header.epoch)
        records = decode_records(open_packet(keys.data, packet.whole))
        self._receiving = keys
        self._next += 1
        self._take_ack(header.ack)
        self._unacknowledged += 1
        for record in records:
            self._take(record)
        if self._unacknowledged and (
            self._unacknowledged >= ACK_PACKETS or not self.link.has_more()
        ):
            self.send_ack()

    def _keys_of(self, epoch: int) -> Generation:
        if epoch == self._receiving.number:
            return self._receiving
        if epoch == self._receiving.number + 1:
            return self._receiving.following()
        raise PacketError("a generation that is neither this one nor the next")

    def _receive_ack(self, packet: Packet) -> None:
        if packet.header.number < self._next_ack_number:
            return
        if packet.header.epoch < self._receiving.number:
            return
        open_packet(self._keys_of(packet.header.epoch).ack, packet.whole)
        self._next_ack_number = packet.header.number + 1
        self._take_ack(packet.header.ack)
        if packet.header.flags == RESYNC:
            # This end has one link, which loses nothing: there is nothing to send again.
            self.send_ack(SYNCED)

    def _take_ack(self, ack: int) -> None:
        if ack > self._sent:
            raise PacketError("an ack above what was sent")
        while self._acked < ack:
            self._acked += 1
            self._in_flight.popleft()

    def _take(self, record: Record) -> None:
        kind, stream, payload = record
        if kind == "CONTROL":
            self.control.append(msgpack.decode(payload))
        elif kind == "OPEN":
            if stream != self._next_remote_stream:
                raise PacketError("a stream out of turn")
            self._next_remote_stream += 2
            opened = Stream(self, stream, payload[4:].decode())
            opened.credit = struct.unpack(">I", payload[:4])[0]
            self.streams[stream] = opened
            self._opened.append(opened)
        elif stream not in self.streams:
            raise PacketError("a stream that never was")
        else:
            self.streams[stream].take(record)

    def take_control(self, kind: str) -> dict[str, Any]:
        """The next control message, which must be of this type.

        :raises Goodbye: it is BYE.
        """
        while not self.control:
            self.receive_packet()
        message = self.control.popleft()
        if message["type"] == "bye" != kind:
            raise Goodbye(message["reason"])
        assert message["type"] == kind, message
        return message

    # Streams

    def open(self, service: str) -> Stream:
        """Open a stream and wait for its ACCEPT.

        :raises StreamRefused: REFUSE came.
        """
        stream = Stream(self, self._next_stream, service)
        self._next_stream += 2
        self.streams[stream.id] = stream
        stream.granted = self.window_bytes
        payload = struct.pack(">I", stream.granted) + service.encode()
        self.send_record("OPEN", stream.id, payload)
        stream.wait(lambda: stream.is_accepted)
        return stream

    def next_stream(self) -> Stream:
        """The next stream that the other side opens; to be accepted or refused."""
        while not self._opened:
            self.receive_packet()
            if any(message["type"] == "bye" for message in self.control):
                raise Goodbye(self.take_control("bye")["reason"])
        return self._opened.popleft()


class Stream:
    """A stream of a pair. What comes is kept without bound, and credit given at once.

    :ivar credit: bytes that may still be sent.
    :ivar granted: bytes that the other side may still send.
    """

    def __init__(self, pair: Pair, number: int, service: str) -> None:
        self.pair = pair
        self.id = number
        self.service = service
        self.credit = self.granted = 0
        self.gives_credit = True
        self.is_accepted = self.has_ended = False
        self.received = bytearray()
        self.error: StreamRefused | StreamReset | None = None

    def take(self, record: Record) -> None:
        """One record of this stream."""
        kind, _, payload = record
        if kind == "ACCEPT":
            self.is_accepted = True
            self.credit += struct.unpack(">I", payload)[0]
        elif kind == "CREDIT":
            self.credit += struct.unpack(">I", payload)[0]
        elif kind == "REFUSE":
            self.error = StreamRefused(payload[0], payload[1:].decode())
        elif kind == "RESET":
            self.error = StreamReset(payload[0])
        elif kind == "END":
            self.has_ended = True
        else:
            self._take_data(payload)

    def _take_data(self, data: bytes) -> None:
        if len(data) > self.granted or self.has_ended:
            raise PacketError("DATA beyond the credit or the end")
        self.granted -= len(data)
        self.received += data
        if self.gives_credit and self.granted < self.pair.window_bytes // 2:
            self.give_credit(self.pair.window_bytes - self.granted)

    def give_credit(self, count: int) -> None:
        """Let the other side send so many bytes more."""
        self.granted += count
        self.pair.send_record("CREDIT", self.id, struct.pack(">I", count))

    def wait(self, is_done: Any) -> None:
        """Receive until something is so.

        :raises StreamRefused, StreamReset: the stream failed before.
        """
        while not is_done():
            if self.error is not None:
                raise self.error
            if any(message["type"] == "bye" for message in self.pair.control):
                raise Goodbye(self.pair.take_control("bye")["reason"])
            self.pair.receive_packet()

    def accept(self) -> None:
        """Take a stream that the other side opened."""
        self.granted = self.pair.window_bytes
        self.pair.send_record("ACCEPT", self.id, struct.pack(">I", self.granted))

    def refuse(self, code: int, text: str) -> None:
        """Or don't."""
        self.pair.send_record("REFUSE", self.id, bytes([code]) + text.encode())

    def send(self, data: bytes) -> None:
        """All of it, as credit comes."""
        rest = memoryview(data)
        while rest:
            self.wait(lambda: self.credit > 0)
            count = min(len(rest), self.credit, MAX_RECORD_BYTES)
            self.credit -= count
            self.pair.send_record("DATA", self.id, bytes(rest[:count]))
            rest = rest[count:]

    def end(self) -> None:
        """Half-close."""
        self.pair.send_record("END", self.id)

    def reset(self, code: int) -> None:
        """Break off."""
        self.pair.send_record("RESET", self.id, bytes([code]))

    def read(self, count: int | None = None) -> bytes:
        """So many bytes, or all to the end."""
        self.wait(lambda: self.has_ended or (count is not None and len(self.received) >= count))
        taken = bytes(self.received[:count])
        del self.received[: len(taken)]
        return taken

    def read_some(self) -> bytes:
        """What is there, at least a byte; nothing at the end."""
        self.wait(lambda: self.has_ended or self.received)
        taken = bytes(self.received)
        self.received.clear()
        return taken
