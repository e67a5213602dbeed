"""The packet that is being written: records in a slot, until it is sealed.

Source: docs/session-protocol, sections 2 and 6.
"""

from __future__ import annotations

from struct import Struct

from porttunnel.errors import LocalProtocolError
from porttunnel.session.outbox import Slot, SlotPool
from porttunnel.session.packet import HEADER_BYTES, MAX_PLAINTEXT_BYTES, RECORD_HEADER_BYTES
from porttunnel.session.record import RECORD_HEADER, RecordKind

__all__ = ["PacketDraft"]

_U32 = Struct(">I")
_LENGTH_OFFSET = 5  # of the length in a record's header


class PacketDraft:
    """Records of one packet to be.

    :param pool: where its slot comes from.
    :ivar size_bytes: of the records.
    """

    __slots__ = ("_data_bytes", "_data_start", "_data_stream", "_pool", "_slot", "size_bytes")

    def __init__(self, pool: SlotPool) -> None:
        self._pool = pool
        self._slot: Slot | None = None
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

    def lend(self, stream: int, limit: int) -> memoryview:
        """Room for the next bytes of a stream, at most ``limit``."""
        start = HEADER_BYTES + self.size_bytes
        room = MAX_PLAINTEXT_BYTES - self.size_bytes
        if stream != self._data_stream:
            start += RECORD_HEADER_BYTES
            room -= RECORD_HEADER_BYTES
        return self.slot.view[start : start + min(room, limit)]

    def commit(self, stream: int, count: int) -> None:
        """The first ``count`` bytes of the last loan are data of this stream."""
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

    def empty(self, *, keep_slot: bool) -> None:
        """The packet is sealed: begin the next, in the same slot unless somebody keeps it."""
        self.size_bytes = 0
        self._data_stream = -1
        if not keep_slot:
            self._slot = None

    def discard(self) -> None:
        """Nothing of this will be sent."""
        if self._slot is not None:
            self._pool.release(self._slot)
        self.empty(keep_slot=False)
