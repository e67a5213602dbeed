"""A client's side of broadcasts: opens what the master sends to all, in order, without a gap.

Source: docs/session-protocol, section 8. All members hold the group key and the tunnel server
passes packets on, so a group packet proves nothing before the master's signature in it is
verified; what isn't right is dropped and asked for. What comes in the pair is the master's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from porttunnel.errors import AuthenticationFailed, RemoteProtocolError, StreamCode, StreamReset
from porttunnel.keys.primitives import SIGNATURE_BYTES, VerifyKey, sha256
from porttunnel.keys.sealing import GroupOpener
from porttunnel.session.broadcast_sender import LABEL_GROUP_SIGNATURE
from porttunnel.session.event import BroadcastEnded, BroadcastLost, BroadcastReceived
from porttunnel.session.packet import (
    ALL_MEMBERS,
    FLAG_GROUP,
    HEADER_BYTES,
    MASTER,
    RECORD_HEADER_BYTES,
    Header,
    decode_header,
)
from porttunnel.session.record import (
    MAX_GROUP_PACKET_BYTES,
    RECORD_HEADER,
    Control,
    Epoch,
    GroupAck,
    GroupDropped,
    GroupEnd,
    RecordKind,
    Resent,
)

__all__ = ["GROUP_CONTROL", "BroadcastReceiver"]

GROUP_CONTROL = (Epoch, GroupEnd, Resent, GroupDropped)

ACK_AFTER_BYTES = 256 * 1024  # a 32nd of what the sender keeps, which is what it has for all
ACK_AFTER_PACKETS = 64
ACK_AFTER_SECONDS = 0.025
ASK_SECONDS = 0.1  # about a round trip: before that an answer can't have come
OLD_KEY_SECONDS = 60.0  # a key that lives longer opens more than it must, should it leak
MAX_EPOCHS = 1_024  # keys that wait for one gap to close, 2 MiB: a thousand come and go in 60 s


class _KnownEpoch:
    """One group epoch's key, and where it ends once the next one is known."""

    __slots__ = ("deadline", "end", "number", "opener")

    def __init__(self, session_id: bytes, number: int, key: bytes) -> None:
        self.number = number
        self.opener = GroupOpener(session_id, number, key)
        self.end: int | None = None
        self.deadline = 0.0  # of an epoch that has an end


class BroadcastReceiver:
    """See the module. Its methods raise only on what the master itself has done wrong.

    :param session_id: 16 bytes.
    :param signing_key: the master's public Ed25519 key, from WELCOME.
    :param epoch: from WELCOME: the broadcast begins with its packet 0.
    :param key: the epoch's, from WELCOME.
    :param tell: puts a control record into the pair.
    :param events: where events are appended; their views are valid until the next packet.
    :raises RemoteProtocolError: the signing key isn't one.
    """

    def __init__(
        self,
        session_id: bytes,
        signing_key: bytes,
        epoch: int,
        key: bytes,
        *,
        tell: Callable[[GroupAck], None],
        events: list[Any],
    ) -> None:
        self._session_id = session_id
        self._verify_key = VerifyKey(signing_key)
        self._tell = tell
        self._events = events
        # The first is the one that packets are taken of; the others wait until it is complete.
        self._epochs = deque([_KnownEpoch(session_id, epoch, key)])
        self._next = 0
        self._is_lost = False
        self._is_counting = False
        self._received_bytes = 0  # of data, all that ever came
        self._consumed_bytes = 0
        # Of packets that are not consumed: epoch, number, received bytes behind it, size.
        self._unconsumed: deque[tuple[int, int, int, int]] = deque()
        self._unreported_bytes = 0
        self._unreported_packets = 0
        self._ack_deadline: float | None = None
        self._ask_deadline: float | None = None
        self._no_ask_before = 0.0

    # Packets

    def receive_group(self, header: Header, packet: memoryview, now: float) -> None:
        """Take in a packet with FLAG_GROUP whose sender the link gave as the master.

        :param header: the packet's own.
        :param packet: header and body; opened in place if writable.
        :raises RemoteProtocolError: the master has signed something malformed.
        """
        if self._is_lost:
            return
        order = self._compare(header)
        if order < 0:
            return
        records = None if order else self._open(header, packet)
        if records is None:
            self._want(now)
        else:
            self._accept(records, len(packet), now)
            self._ask_deadline = None  # these come in order: up to here nothing is missing

    def receive_control(self, message: Control, now: float) -> None:
        """Take in one of :data:`GROUP_CONTROL`, from the pair.

        :raises RemoteProtocolError: the master contradicts itself.
        """
        if isinstance(message, Epoch):
            self.receive_epoch(message, now)
        elif isinstance(message, GroupEnd):
            self.receive_end(message, now)
        elif isinstance(message, Resent):
            self.receive_resent(message, now)
        else:
            self.receive_dropped()

    def receive_resent(self, resent: Resent, now: float) -> None:
        """Take in a packet that was lost, from the pair.

        :raises RemoteProtocolError: it isn't the master's group packet that comes next.
        """
        if self._is_lost:
            return
        header = decode_header(resent.packet) if len(resent.packet) >= HEADER_BYTES else None
        if (
            header is None
            or header.flags != FLAG_GROUP
            or header.sender != MASTER
            or HEADER_BYTES + header.length != len(resent.packet)
        ):
            raise RemoteProtocolError("something else than a group packet was resent")
        order = self._compare(header)
        if order < 0:
            return
        records = None if order else self._open(header, memoryview(resent.packet))
        if records is None:
            # A pair keeps the order and nobody else speaks in it: no accident explains this.
            raise RemoteProtocolError(
                "a group packet was resent that is false, or comes too early"
            )
        self._accept(records, len(resent.packet), now)

    def _compare(self, header: Header) -> int:
        """Below 0: a packet that was here already; above: one that is too early."""
        current = self._epochs[0].number
        if header.epoch != current:
            return header.epoch - current
        return header.number - self._next

    def _open(self, header: Header, packet: memoryview) -> memoryview | None:
        """The records of the packet that is expected; None if it isn't what the master sent."""
        if header.target != ALL_MEMBERS or header.ack or len(packet) > MAX_GROUP_PACKET_BYTES:
            return None
        try:
            plaintext = self._epochs[0].opener.open_group(packet, header.number)
            records = plaintext[SIGNATURE_BYTES:]
            self._verify_key.verify(
                plaintext[:SIGNATURE_BYTES],
                LABEL_GROUP_SIGNATURE,
                self._session_id,
                packet[:HEADER_BYTES],
                sha256(records),
            )
        except (AuthenticationFailed, RemoteProtocolError):
            return None
        return records

    def _accept(self, records: memoryview, size: int, now: float) -> None:
        position = self._epochs[0].number, self._next
        offset, end = 0, len(records)
        while offset < end:
            if end - offset < RECORD_HEADER_BYTES:
                raise RemoteProtocolError("a group packet ends within a record")
            kind, channel, length = RECORD_HEADER.unpack_from(records, offset)
            offset += RECORD_HEADER_BYTES
            stop = offset + length
            if kind == RecordKind.DATA and channel and length and stop <= end:
                self._events.append(BroadcastReceived(channel=channel, data=records[offset:stop]))
                self._received_bytes += length
            elif kind == RecordKind.END and channel and not length:
                self._events.append(BroadcastEnded(channel=channel))
            else:
                raise RemoteProtocolError("a group packet holds a record that it can't hold")
            offset = stop
        self._next += 1
        self._turn_epochs()
        if self._is_counting:
            self._unconsumed.append((*position, self._received_bytes, size))
            self._report_consumed(now)
        else:
            self._count(size, now)

    # What the master says in the pair

    def receive_epoch(self, epoch: Epoch, now: float) -> None:
        """Take in the next epoch's key.

        :raises RemoteProtocolError: another epoch than the next, or the last one ends before
            what came of it.
        """
        if self._is_lost:
            return
        newest = self._epochs[-1]
        if epoch.epoch != newest.number + 1:
            raise RemoteProtocolError("a group epoch was left out or came again")
        if len(self._epochs) >= MAX_EPOCHS:
            self._lose("More members came and left than a broadcast with a gap can follow.")
            return
        newest.end = epoch.previous_end
        newest.deadline = now + OLD_KEY_SECONDS
        self._epochs.append(_KnownEpoch(self._session_id, epoch.epoch, epoch.key))
        self._turn_epochs()
        # So that the master may forget where older epochs began.
        self._schedule_report(now)

    def receive_end(self, end: GroupEnd, now: float) -> None:
        """Say what came of all that the master has sent.

        :raises RemoteProtocolError: it is of an epoch that isn't the newest.
        """
        if self._is_lost:
            return
        if end.epoch != self._epochs[-1].number:
            raise RemoteProtocolError("the end of a group epoch was told that isn't the newest")
        if len(self._epochs) > 1 or end.next > self._next:
            self._want(now)
        else:
            self._report(missing=False)

    def receive_dropped(self) -> None:
        """The master has given this member up."""
        if not self._is_lost:
            self._lose("This member was too slow for the broadcast.")

    def _turn_epochs(self) -> None:
        """Go on to the next epoch if all of this one is here."""
        while (end := self._epochs[0].end) is not None and self._next >= end:
            if self._next > end:
                raise RemoteProtocolError("a group epoch ended before its last packet")
            self._epochs.popleft().opener.erase()
            self._next = 0

    def _lose(self, text: str) -> None:
        self._is_lost = True
        for epoch in self._epochs:
            epoch.opener.erase()
        self._epochs.clear()
        self._ack_deadline = self._ask_deadline = None
        error = StreamReset(
            f"{text} Nothing more of it will come; the session goes on. Join again to get what "
            "is broadcast from then on.",
            StreamCode.TIMED_OUT,
        )
        self._events.append(BroadcastLost(error=error))

    # Reports and time

    def count_consumed(self) -> None:
        """Acknowledge only what :meth:`consumed` was said of, from now on: whose application is
        slow is then slow for the master too, which waits for it, or drops it from the broadcast
        before much is in its memory.
        """
        self._is_counting = True
        self._consumed_bytes = self._received_bytes

    def consumed(self, count: int, now: float) -> None:
        """The application has taken ``count`` more bytes of data."""
        self._consumed_bytes += count
        if not self._is_lost:
            self._report_consumed(now)

    def _report_consumed(self, now: float) -> None:
        while self._unconsumed and self._unconsumed[0][2] <= self._consumed_bytes:
            self._count(self._unconsumed.popleft()[3], now)

    def _count(self, size: int, now: float) -> None:
        self._unreported_bytes += size
        self._unreported_packets += 1
        if (
            self._unreported_bytes >= ACK_AFTER_BYTES
            or self._unreported_packets >= ACK_AFTER_PACKETS
        ):
            self._report(missing=False)
        else:
            self._schedule_report(now)

    def _want(self, now: float) -> None:
        """Ask for what is missing, once in a while: each lost packet shows in all that follow."""
        if now >= self._no_ask_before:
            self._ask(now)
        elif self._ask_deadline is None:
            self._ask_deadline = self._no_ask_before

    def _ask(self, now: float) -> None:
        self._no_ask_before = now + ASK_SECONDS
        self._ask_deadline = None
        self._report(missing=True)

    def _schedule_report(self, now: float) -> None:
        if self._ack_deadline is None:
            self._ack_deadline = now + ACK_AFTER_SECONDS

    def _report(self, *, missing: bool) -> None:
        self._unreported_bytes = 0
        self._unreported_packets = 0
        self._ack_deadline = None
        epoch, number = self._epochs[0].number, self._next
        if self._unconsumed and not missing:
            epoch, number, *_ = self._unconsumed[0]
        self._tell(GroupAck(epoch=epoch, next=number, missing=missing))

    def next_deadline(self) -> float | None:
        """When :meth:`handle_timeout` is due (seconds, absolute)."""
        deadlines = [at for at in (self._ack_deadline, self._ask_deadline) if at is not None]
        if len(self._epochs) > 1:
            deadlines.append(self._epochs[0].deadline)
        return min(deadlines, default=None)

    def handle_timeout(self, now: float) -> None:
        """Send the report that is due; give up what didn't come in time."""
        if len(self._epochs) > 1 and now >= self._epochs[0].deadline:
            self._lose("A part of the broadcast did not come in time.")
            return
        if self._ask_deadline is not None and now >= self._ask_deadline:
            self._ask(now)
        elif self._ack_deadline is not None and now >= self._ack_deadline:
            self._report(missing=False)
