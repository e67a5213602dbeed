"""The packet that is being written: records in a slot, until it is sealed.

Source: docs/session-protocol, sections 2 and 6.
"""

from __future__ import annotations

from collections import deque
from struct import Struct

from porttunnel.errors import LocalProtocolError
from porttunnel.session.outbox import Slot, SlotPool
from porttunnel.session.packet import HEADER_BYTES, MAX_PLAINTEXT_BYTES, RECORD_HEADER_BYTES
from porttunnel.session.record import RECORD_HEADER, RecordKind

__all__ = ["PacketDraft"]

_U32 = Struct(">I")
_DATA_OFFSET = HEADER_BYTES + RECORD_HEADER_BYTES  # of the first record's payload
_FULL_DATA_BYTES = MAX_PLAINTEXT_BYTES - RECORD_HEADER_BYTES  # one record that fills a packet
_LENGTH_OFFSET = 5  # of the length in a record's header


class PacketDraft:
    """Records of one packet to be.

    :param pool: where its slot comes from.
    :ivar size_bytes: of the records.
    """

    __slots__ = (
        "_data_bytes",
        "_data_start",
        "_data_stream",
        "_lent_bytes",
        "_loans",
        "_pool",
        "_slot",
        "size_bytes",
    )

    def __init__(self, pool: SlotPool) -> None:
        self._pool = pool
        self._slot: Slot | None = None
        self._lent_bytes = 0  # of this packet, when others are lent that follow it
        self._loans: deque[Slot] = deque()  # those others
        self._data_stream = -1  # whose DATA record is the last one
        self._data_start = 0
        self._data_bytes = 0
        self.size_bytes = 0

    @property
    def room_bytes(self) -> int:
        """How much fits in yet."""
        return MAX_PLAINTEXT_BYTES - self.size_bytes

    @property
    def slot(self) -> Slot:
        """Where the records lie, behind room for the header.

        :raises LocalProtocolError: nobody called :meth:`begin`.
        """
        if self._slot is None:
            raise LocalProtocolError("a record was written without asking for room")
        return self._slot

    def begin(self) -> None:
        """Have a slot."""
        if self._slot is None:
            self._slot = self._pool.allocate()

    def append(self, record: bytes) -> None:
        """Add a whole record, for which there is room."""
        start = HEADER_BYTES + self.size_bytes
        self.slot.buffer[start : start + len(record)] = record
        self.size_bytes += len(record)
        self._data_stream = -1

    def lend(self, stream: int, limit: int, most: int = 1) -> list[memoryview]:
        """Room for the next bytes of a stream, at most ``limit``: the rest of this packet, and
        packets that follow it, ``most`` in all.
        """
        start = HEADER_BYTES + self.size_bytes
        room = MAX_PLAINTEXT_BYTES - self.size_bytes
        if stream != self._data_stream:
            start += RECORD_HEADER_BYTES
            room -= RECORD_HEADER_BYTES
        first = self.slot.view[start : start + min(room, limit)]
        if most == 1:
            return [first]
        views = [first]
        self._lent_bytes = len(first)
        limit -= self._lent_bytes
        while limit > 0 and len(views) < most:
            slot = self._pool.allocate()
            self._loans.append(slot)
            views.append(slot.view[_DATA_OFFSET : _DATA_OFFSET + min(_FULL_DATA_BYTES, limit)])
            limit -= _FULL_DATA_BYTES
        return views

    def commit(self, stream: int, count: int) -> int:
        """The first ``count`` bytes of the last loan are data of this stream.

        :returns: how many of them are beyond this packet: seal it, then :meth:`commit_next`.
        """
        beyond = 0
        if self._loans:
            beyond = max(0, count - self._lent_bytes)
            count -= beyond
            if not beyond:
                self._return_loans()
        if count:
            self._add(stream, count)
        return beyond

    def commit_next(self, stream: int, count: int) -> int:
        """Go on in the next packet that was lent, which has so many bytes of this stream.

        :returns: as :meth:`commit`.
        """
        self._slot = self._loans.popleft()
        beyond = max(0, count - _FULL_DATA_BYTES)
        if not beyond:
            self._return_loans()
        self._add(stream, count - beyond)
        return beyond

    def _add(self, stream: int, count: int) -> None:
        buffer = self.slot.buffer
        if stream == self._data_stream:
            # Bytes of one stream that follow each other are one record: no header for each write.
            self._data_bytes += count
            self.size_bytes += count
            _U32.pack_into(buffer, self._data_start + _LENGTH_OFFSET, self._data_bytes)
        else:
            self._data_stream = stream
            self._data_start = HEADER_BYTES + self.size_bytes
            self._data_bytes = count
            self.size_bytes += RECORD_HEADER_BYTES + count
            RECORD_HEADER.pack_into(buffer, self._data_start, RecordKind.DATA, stream, count)

    def _return_loans(self) -> None:
        while self._loans:
            self._pool.release(self._loans.pop())

    def empty(self, *, keep_slot: bool) -> None:
        """The packet is sealed: begin the next, in the same slot unless somebody keeps it."""
        self.size_bytes = 0
        self._data_stream = -1
        if not keep_slot:
            self._slot = None

    def discard(self) -> None:
        """Nothing of this will be sent."""
        self._return_loans()
        if self._slot is not None:
            self._pool.release(self._slot)
        self.empty(keep_slot=False)
