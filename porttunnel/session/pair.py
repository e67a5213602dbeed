"""A pair: the numbered, sealed, acknowledged packets between a client and the master.

Source: docs/session-protocol, sections 2 and 7. The pair fills slots with records, seals each
once, keeps it until it is acknowledged, and opens what the other side sealed, in order.
"""

from __future__ import annotations

from collections import deque
from struct import Struct

from porttunnel.errors import LimitExceeded, LocalProtocolError, RemoteProtocolError
from porttunnel.keys.sealing import Opener, Sealer
from porttunnel.session.outbox import Outbox, Slot, SlotPool
from porttunnel.session.packet import (
    HEADER_BYTES,
    MAX_PACKET_BYTES,
    MAX_PLAINTEXT_BYTES,
    RECORD_HEADER_BYTES,
    TAG_BYTES,
    Header,
    PacketType,
    encode_header_into,
)
from porttunnel.session.record import RECORD_HEADER, RecordKind

__all__ = ["WINDOW_BYTES", "Pair"]

WINDOW_BYTES = 8 * 1024 * 1024  # sealed and unacknowledged: fills 100 ms at 640 Mbit/s
RESERVED_BYTES = 64 * 1024  # of the window, for what must go out although writers wait
MIN_PACKET_COST_BYTES = 256  # tiny packets cost more memory than their bytes
COMPACT_BYTES = 16 * 1024  # up to this size a sealed packet is copied and its slot used again
MIN_ROOM_BYTES = 1_024  # a packet with less room is full: a smaller record isn't worth its header
ACK_AFTER_BYTES = 256 * 1024  # a 32nd of the window, so the other side never waits for it
ACK_AFTER_PACKETS = 64
ACK_AFTER_SECONDS = 0.025  # unless data went the other way, which carries it for nothing
GAP_SECONDS = 60.0  # a packet missing for so long on a live path will never come

_U32 = Struct(">I")
_LENGTH_OFFSET = 5  # of the length in a record's header


class Pair:
    """One side of a pair on one path.

    :param local_member: our member number.
    :param remote_member: theirs.
    :param sealer: seals our direction.
    :param opener: opens theirs.
    :param pool: where slots come from.
    :param outbox: the queue of the link that carries our packets.
    """

    def __init__(
        self,
        local_member: int,
        remote_member: int,
        *,
        sealer: Sealer,
        opener: Opener,
        pool: SlotPool,
        outbox: Outbox,
    ) -> None:
        self.local_member = local_member
        self.remote_member = remote_member
        self._sealer = sealer
        self._opener = opener
        self._pool = pool
        self._outbox = outbox
        # sending
        self._open: Slot | None = None
        self._open_bytes = 0  # of records in the open slot
        self._data_stream = -1  # whose DATA record is the last in the open slot
        self._data_start = 0
        self._data_bytes = 0
        self._next_number = 0
        self._next_ack_number = 0
        self._unacked: deque[tuple[int, Slot | None, memoryview]] = deque()
        self._unacked_bytes = 0
        # receiving
        self._expected = 0
        self._expected_ack_number = 0
        self._peer_ack = 0
        self._unreported_bytes = 0
        self._unreported_packets = 0
        self._ack_deadline: float | None = None
        self._gap_deadline: float | None = None

    # Sending

    @property
    def unacked_bytes(self) -> int:
        """What is kept until the other side has it."""
        return self._unacked_bytes

    @property
    def has_records(self) -> bool:
        """Whether records wait for their packet to be sealed."""
        return self._open_bytes > 0

    def room(self) -> int:
        """Bytes of records that can be added now; 0 while the window or the link is full."""
        if self._open_bytes:
            room = MAX_PLAINTEXT_BYTES - self._open_bytes
            if room >= MIN_ROOM_BYTES:
                return room
            self.seal()
        if (
            self._unacked_bytes > WINDOW_BYTES - RESERVED_BYTES - MAX_PACKET_BYTES
            or self._outbox.waiting_bytes >= self._outbox.limit_bytes
        ):
            return 0
        if self._open is None:
            self._open = self._pool.allocate()
        return MAX_PLAINTEXT_BYTES

    def append(self, record: bytes) -> bool:
        """Add a whole record; False if it must wait for room.

        :raises LocalProtocolError: no packet can hold it.
        """
        if len(record) > MAX_PLAINTEXT_BYTES:
            raise LocalProtocolError("a record is larger than a packet")
        room = self.room()
        if len(record) > room:
            if room == 0 or self._open_bytes == 0:
                return False
            self.seal()
            if len(record) > self.room():
                return False
        slot = self._open_slot()
        start = HEADER_BYTES + self._open_bytes
        slot.buffer[start : start + len(record)] = record
        self._open_bytes += len(record)
        self._data_stream = -1
        return True

    def lend(self, stream: int, limit: int) -> memoryview | None:
        """Room for the next bytes of a stream, at most ``limit``, or None if there is none.

        What is written to it counts once :meth:`commit` is called, with nothing in between.
        """
        room = self.room()
        if room == 0:
            return None
        start = HEADER_BYTES + self._open_bytes
        if stream != self._data_stream:
            start += RECORD_HEADER_BYTES
            room -= RECORD_HEADER_BYTES
        return self._open_slot().view[start : start + min(room, limit)]

    def commit(self, stream: int, count: int) -> None:
        """The first ``count`` bytes of the last loan are data of this stream."""
        buffer = self._open_slot().buffer
        if stream == self._data_stream:
            # Bytes of one stream that follow each other are one record: no header for each write.
            self._data_bytes += count
            self._open_bytes += count
            _U32.pack_into(buffer, self._data_start + _LENGTH_OFFSET, self._data_bytes)
        else:
            self._data_stream = stream
            self._data_start = HEADER_BYTES + self._open_bytes
            self._data_bytes = count
            self._open_bytes += RECORD_HEADER_BYTES + count
            RECORD_HEADER.pack_into(buffer, self._data_start, RecordKind.DATA, stream, count)

    def flush(self) -> None:
        """Seal what waits, unless the link is busy: then more may join the same packet."""
        if self._open_bytes and not self._outbox.waiting_bytes:
            self.seal()

    def seal_last(self, record: bytes) -> None:
        """Seal a record that nothing follows, also while window or link are full.

        :param record: at most :data:`RESERVED_BYTES`, which the window keeps for it.
        """
        if self._open_bytes + len(record) > MAX_PLAINTEXT_BYTES:
            self.seal()
        if self._open is None:
            self._open = self._pool.allocate()
        start = HEADER_BYTES + self._open_bytes
        self._open.buffer[start : start + len(record)] = record
        self._open_bytes += len(record)
        self.seal()

    def _open_slot(self) -> Slot:
        if self._open is None:
            raise LocalProtocolError("a record was written without asking for room")
        return self._open

    def seal(self) -> None:
        """Seal what waits now, and queue it on the link."""
        slot = self._open_slot()
        if self._sealer.must_advance:
            self._sealer.advance()
        number = self._next_number
        encode_header_into(
            slot.buffer,
            PacketType.DATA,
            self.local_member,
            self.remote_member,
            self._open_bytes + TAG_BYTES,
            number=number,
            ack=self._expected,
            epoch=self._sealer.generation,
        )
        self._sealer.seal_data(slot.view, self._open_bytes, number)
        size = HEADER_BYTES + self._open_bytes + TAG_BYTES
        self._next_number += 1
        self._open_bytes = 0
        self._data_stream = -1
        if size <= COMPACT_BYTES:
            packet = memoryview(bytes(slot.view[:size]))
            cost = max(size, MIN_PACKET_COST_BYTES)
            self._unacked.append((cost, None, packet))
            self._outbox.append(packet)
        else:
            packet = slot.view[:size]
            cost = size
            self._open = None
            self._unacked.append((cost, slot, packet))
            self._outbox.append(packet, slot)
        self._unacked_bytes += cost
        self._reported()

    # Receiving

    def receive_data(self, header: Header, packet: memoryview, now: float) -> memoryview | None:
        """Open a DATA packet; its plaintext (records), or None for one that is dropped.

        :raises RemoteProtocolError: the packet contradicts what was agreed.
        :raises AuthenticationFailed: it doesn't open; on the relay that ends the pair.
        """
        if header.number != self._expected:
            if header.number > self._expected and self._gap_deadline is None:
                self._gap_deadline = now + GAP_SECONDS
            # A duplicate or a gap: tell the other side where we are, soon, but not each time.
            self._schedule_ack(now)
            return None
        plaintext = self._opener.open_data(packet, header.epoch, header.number)
        self._accept_ack(header.ack)
        self._expected += 1
        self._gap_deadline = None
        self._unreported_bytes += len(packet)
        self._unreported_packets += 1
        if (
            self._unreported_bytes >= ACK_AFTER_BYTES
            or self._unreported_packets >= ACK_AFTER_PACKETS
        ):
            self._send_ack(now)
        else:
            self._schedule_ack(now)
        return plaintext

    def receive_ack(self, header: Header, packet: memoryview) -> None:
        """Take in an ACK packet; an old one is dropped.

        :raises RemoteProtocolError: it acknowledges what was never sent.
        :raises AuthenticationFailed: it doesn't open and isn't an old one.
        """
        if header.number < self._expected_ack_number:
            return
        self._opener.open_ack(packet, header.epoch, header.number)
        self._expected_ack_number = header.number + 1
        self._accept_ack(header.ack)

    def _accept_ack(self, ack: int) -> None:
        if ack > self._next_number:
            raise RemoteProtocolError("a packet was acknowledged that was never sent")
        if ack <= self._peer_ack:
            return
        for _ in range(ack - self._peer_ack):
            cost, slot, _packet = self._unacked.popleft()
            self._unacked_bytes -= cost
            if slot is not None:
                self._pool.release(slot)
        self._peer_ack = ack

    def _schedule_ack(self, now: float) -> None:
        if self._ack_deadline is None:
            self._ack_deadline = now + ACK_AFTER_SECONDS

    def _send_ack(self, now: float) -> None:
        if self._outbox.waiting_bytes >= self._outbox.limit_bytes:
            # The link takes nothing: an ACK later says more, and the queue stays bounded.
            self._ack_deadline = now + ACK_AFTER_SECONDS
            return
        if self._sealer.must_advance:
            # An ACK never moves the other side's generation, and it looks only one ahead. So a
            # generation begins with DATA, empty for who only receives; it acknowledges as well.
            if self._open is None:
                self._open = self._pool.allocate()
            self.seal()
            return
        packet = bytearray(HEADER_BYTES + TAG_BYTES)
        number = self._next_ack_number
        encode_header_into(
            packet,
            PacketType.ACK,
            self.local_member,
            self.remote_member,
            TAG_BYTES,
            number=number,
            ack=self._expected,
            epoch=self._sealer.generation,
        )
        self._sealer.seal_ack(memoryview(packet), number)
        self._next_ack_number += 1
        self._outbox.append(memoryview(packet))
        self._reported()

    def _reported(self) -> None:
        self._unreported_bytes = 0
        self._unreported_packets = 0
        self._ack_deadline = None

    # Time

    def next_deadline(self) -> float | None:
        """When :meth:`handle_timeout` is due (seconds, absolute)."""
        if self._gap_deadline is None:
            return self._ack_deadline
        if self._ack_deadline is None:
            return self._gap_deadline
        return min(self._ack_deadline, self._gap_deadline)

    def handle_timeout(self, now: float) -> None:
        """Send the ACK that is due.

        :raises LimitExceeded: a gap was not filled in :data:`GAP_SECONDS`.
        """
        if self._gap_deadline is not None and now >= self._gap_deadline:
            raise LimitExceeded("a packet is missing and did not come again in time")
        if self._ack_deadline is not None and now >= self._ack_deadline:
            self._send_ack(now)

    def close(self) -> None:
        """Give back all slots; what was queued on the link still goes out."""
        while self._unacked:
            _cost, slot, _packet = self._unacked.popleft()
            if slot is not None:
                self._pool.release(slot)
        self._unacked_bytes = 0
        if self._open is not None:
            self._pool.release(self._open)
            self._open = None
            self._open_bytes = 0
