"""The master's side of broadcasts: what is written becomes packets, sealed once for all members.

Source: docs/session-protocol, section 8. Who has what, and who is waited for, stands in
:mod:`porttunnel.session.broadcast_window`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from struct import Struct
from typing import Any

from porttunnel.errors import LocalProtocolError
from porttunnel.keys.primitives import SIGNATURE_BYTES, SigningKey, sha256
from porttunnel.keys.sealing import GroupSealer
from porttunnel.session.broadcast_window import BroadcastWindow
from porttunnel.session.event import BroadcastWritable
from porttunnel.session.packet import (
    ALL_MEMBERS,
    FLAG_GROUP,
    HEADER_BYTES,
    MASTER,
    RECORD_HEADER_BYTES,
    TAG_BYTES,
    PacketType,
    encode_header_into,
)
from porttunnel.session.record import (
    MAX_GROUP_PACKET_BYTES,
    MAX_GROUP_PLAINTEXT_BYTES,
    RECORD_HEADER,
    Epoch,
    GroupAck,
    GroupDropped,
    GroupEnd,
    RecordKind,
    Resent,
)

__all__ = ["LABEL_GROUP_SIGNATURE", "BroadcastSender"]

MAX_WAITING_BYTES = 8 * 1024 * 1024  # written and in no packet: a writer that doesn't pause
MIN_WRITE_COST_BYTES = 256  # tiny writes cost more memory than their bytes
COMPACT_BYTES = MAX_GROUP_PACKET_BYTES // 2  # kept as a copy: so at most half of it is air
MIN_ROOM_BYTES = 1_024  # a packet with less room is full: a smaller record isn't worth its header
MAX_CHANNEL = 0xFFFF_FFFF  # what a record's header can say

LABEL_GROUP_SIGNATURE = b"ptun1 group"

_MAX_RECORDS_BYTES = MAX_GROUP_PLAINTEXT_BYTES - SIGNATURE_BYTES
_RECORDS_START = HEADER_BYTES + SIGNATURE_BYTES
_LENGTH_OFFSET = 5  # of the length in a record's header
_U32 = Struct(">I")


class BroadcastSender:
    """See the module.

    :param session_id: 16 bytes.
    :param signing_key: the master's, whose public half is in WELCOME.
    :param send_group: queues a whole packet on the link to the tunnel server.
    :param tell: puts a control record into a member's pair.
    :param room: whether the link takes another packet.
    :param events: where events are appended.
    """

    def __init__(
        self,
        session_id: bytes,
        signing_key: SigningKey,
        *,
        send_group: Callable[[bytes | memoryview], None],
        tell: Callable[[int, Resent | GroupEnd | GroupDropped], None],
        room: Callable[[], bool],
        events: list[Any],
    ) -> None:
        self._session_id = session_id
        self._signing_key = signing_key
        self._send_group = send_group
        self._room = room
        self._events = events
        self._window = BroadcastWindow(tell=tell, events=events)
        self._sealer: GroupSealer | None = None
        self._buffer = bytearray(MAX_GROUP_PACKET_BYTES)
        self._view = memoryview(self._buffer)
        self._open_bytes = 0  # of records in the buffer
        self._data_channel = 0  # whose DATA record is the last in the buffer; 0: none is
        self._data_start = 0
        self._data_bytes = 0
        self._waiting: deque[tuple[int, memoryview | None]] = deque()  # None: the end
        self._waiting_bytes = 0
        self._paused: dict[int, None] = {}  # in the order in which they paused

    @property
    def settled(self) -> bool:
        """Whether all that was written is acknowledged by all."""
        return not self._open_bytes and not self._waiting and self._window.settled

    @property
    def has_work(self) -> bool:
        """Whether :meth:`flush` may have something to do: somebody writes, or waits to."""
        return self._open_bytes > 0 or bool(self._waiting) or bool(self._paused)

    def close(self) -> None:
        """The session is over; the key goes, and nothing more is sealed."""
        if self._sealer is not None:
            self._sealer.erase()
            self._sealer = None

    # Members and epochs

    def begin_epoch(self, key: bytes) -> Epoch:
        """Seal under a new key from now on: on every join, leave and kick.

        :param key: 32 fresh random bytes.
        :returns: what goes into the pair of every member at once, before anything else. A member
            that comes in now learns epoch and key from its WELCOME instead.
        """
        previous_end = self._window.begin_epoch()
        if self._sealer is not None:
            self._sealer.erase()
        self._sealer = GroupSealer(self._session_id, self._window.epoch, key)
        return Epoch(epoch=self._window.epoch, key=key, previous_end=previous_end)

    def add_member(self, member: int) -> None:
        """A member came in, with the epoch that has just begun; it gets what is sealed from now.

        :raises LocalProtocolError: no epoch was begun for it.
        """
        self._window.add(member)

    def remove_member(self, member: int) -> None:
        """A member left, or was never in; it is waited for no longer."""
        self._window.remove(member)

    def receive_ack(self, member: int, ack: GroupAck, now: float) -> None:
        """Take in a member's report; what waited for it goes on.

        :raises RemoteProtocolError: it has what was never sent.
        """
        self._window.receive_ack(member, ack, now)
        self.advance(now)

    def next_deadline(self) -> float | None:
        """When :meth:`handle_timeout` is due (seconds, absolute)."""
        return self._window.next_deadline()

    def handle_timeout(self, now: float) -> None:
        """Time has passed; what somebody has blocked goes on."""
        self._window.handle_timeout(now)
        self.advance(now)

    # Writing

    def write(self, channel: int, data: bytes | bytearray | memoryview, now: float) -> bool:
        """Broadcast bytes. They are taken in any case; without a member they wait for one.

        :param channel: 1 to 2**32 - 1, chosen by the caller.
        :returns: False: write nothing more before :class:`BroadcastWritable`.
        :raises LocalProtocolError: a channel that can't be, or more than 8 MiB would wait.
        """
        rest = memoryview(data).cast("B")
        self._check_write(channel, len(rest))
        if not self._waiting:
            rest = self._fill(channel, rest, now)
        if len(rest):
            self._wait(channel, memoryview(bytes(rest)))
        return self._is_writable(channel)

    def end(self, channel: int, now: float) -> bool:
        """A broadcast is complete; its channel may be used again. As :meth:`write`."""
        self._check_write(channel, 0)
        if self._waiting or not self._fill_end(channel, now):
            self._wait(channel, None)
        return self._is_writable(channel)

    def advance(self, now: float) -> None:
        """Put what waits into packets: the link has room again, or a member came or left."""
        while self._waiting:
            channel, data = self._waiting[0]
            if data is None:
                if not self._fill_end(channel, now):
                    return
            elif len(rest := self._fill(channel, data, now)):
                self._waiting_bytes -= _cost(len(data)) - _cost(len(rest))
                self._waiting[0] = channel, rest
                return
            self._waiting.popleft()
            self._waiting_bytes -= _cost(len(data or b""))
        self._make_room(now)
        if self._window.has_members:
            self._events.extend(BroadcastWritable(channel=channel) for channel in self._paused)
            self._paused.clear()

    def flush(self, now: float) -> None:
        """As :meth:`advance`, and seal what doesn't fill a packet: the link is idle."""
        self.advance(now)
        if self._open_bytes and (sealer := self._ready_sealer(now)):
            self._seal(sealer, now)

    def _check_write(self, channel: int, count: int) -> None:
        if not 1 <= channel <= MAX_CHANNEL:
            raise LocalProtocolError("a broadcast's channel is a number from 1 to 2**32 - 1")
        if self._waiting_bytes + _cost(count) > MAX_WAITING_BYTES:
            raise LocalProtocolError(
                "too much was written to a broadcast: write at most 8 MiB at a time, and after "
                "a False nothing before BroadcastWritable"
            )

    def _is_writable(self, channel: int) -> bool:
        if self._window.has_members and not self._waiting:
            return True
        self._paused[channel] = None
        return False

    def _wait(self, channel: int, data: memoryview | None) -> None:
        self._waiting.append((channel, data))
        self._waiting_bytes += _cost(len(data or b""))

    def _fill(self, channel: int, data: memoryview, now: float) -> memoryview:
        """Put data into packets as far as that goes; what is left of it."""
        while len(data) and (room := self._make_room(now)):
            end = _RECORDS_START + self._open_bytes
            if channel == self._data_channel:
                count = min(len(data), room)
                self._data_bytes += count
                _U32.pack_into(self._buffer, self._data_start + _LENGTH_OFFSET, self._data_bytes)
            else:
                count = min(len(data), room - RECORD_HEADER_BYTES)
                self._data_channel, self._data_start, self._data_bytes = channel, end, count
                RECORD_HEADER.pack_into(self._buffer, end, RecordKind.DATA, channel, count)
                self._open_bytes += RECORD_HEADER_BYTES
                end += RECORD_HEADER_BYTES
            # Not into the bytearray itself, which would copy the bytes once more.
            self._view[end : end + count] = data[:count]
            self._open_bytes += count
            data = data[count:]
        self._make_room(now)  # a full packet waits for nothing
        return data

    def _fill_end(self, channel: int, now: float) -> bool:
        if not self._make_room(now):
            return False
        end = _RECORDS_START + self._open_bytes
        RECORD_HEADER.pack_into(self._buffer, end, RecordKind.END, channel, 0)
        self._open_bytes += RECORD_HEADER_BYTES
        self._data_channel = 0
        return True

    def _make_room(self, now: float) -> int:
        """Bytes of records that can be added; 0 while a full packet must wait."""
        room = _MAX_RECORDS_BYTES - self._open_bytes
        if room >= MIN_ROOM_BYTES:
            return room
        sealer = self._ready_sealer(now)
        if sealer is None:
            return 0
        self._seal(sealer, now)
        return _MAX_RECORDS_BYTES

    def _ready_sealer(self, now: float) -> GroupSealer | None:
        return self._sealer if self._room() and self._window.has_room(now) else None

    def _seal(self, sealer: GroupSealer, now: float) -> None:
        view = self._view
        number = self._window.next_number
        length = SIGNATURE_BYTES + self._open_bytes
        size = HEADER_BYTES + length + TAG_BYTES
        encode_header_into(
            self._buffer,
            PacketType.DATA,
            MASTER,
            ALL_MEMBERS,
            length + TAG_BYTES,
            number=number,
            epoch=sealer.epoch,
            flags=FLAG_GROUP,
        )
        header = view[:HEADER_BYTES]
        records = view[_RECORDS_START : _RECORDS_START + self._open_bytes]
        view[HEADER_BYTES:_RECORDS_START] = self._signing_key.sign(
            LABEL_GROUP_SIGNATURE, self._session_id, header, sha256(records)
        )
        sealer.seal_group(view, length, number)
        self._open_bytes = 0
        self._data_channel = 0
        packet: bytes | memoryview
        if size <= COMPACT_BYTES:
            packet = bytes(view[:size])
        else:
            packet = view[:size].toreadonly()
            self._buffer = bytearray(MAX_GROUP_PACKET_BYTES)
            self._view = memoryview(self._buffer)
        self._send_group(packet)
        self._window.append(packet, now)


def _cost(count: int) -> int:
    return max(count, MIN_WRITE_COST_BYTES)
