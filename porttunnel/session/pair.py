"""A pair: the numbered, sealed, acknowledged packets between a client and the master.

Source: docs/session-protocol, sections 2 and 7. The pair fills slots with records, seals each
once, keeps it until it is acknowledged, and opens what the other side sealed, in order.

**Paths.** Packets come on any path and go on one. Before a side uses a path it asks there what the
other side has (an ACK with RESYNC); once it has been told, by the answer (SYNCED) or by the other
side's own question, it sends all that the other side lacks, in order, and then what is new. Each
path keeps the order, so nothing is skipped; what comes twice is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

from porttunnel.errors import LimitExceeded, LocalProtocolError, RemoteProtocolError
from porttunnel.keys.sealing import Opener, Sealer
from porttunnel.session.draft import PacketDraft
from porttunnel.session.event import PathKind
from porttunnel.session.outbox import SlotPool
from porttunnel.session.packet import (
    DATA_WORDS,
    FLAG_RESYNC,
    FLAG_SYNCED,
    HEADER,
    HEADER_BYTES,
    MAX_PACKET_BYTES,
    MAX_PLAINTEXT_BYTES,
    TAG_BYTES,
    Header,
    PacketType,
    encode_header_into,
)
from porttunnel.session.path import Path
from porttunnel.session.question import Questions
from porttunnel.session.receipt import Receipts
from porttunnel.session.window import SendWindow

__all__ = ["Pair"]

COMPACT_BYTES = 16 * 1024  # up to this size a sealed packet is copied and its slot used again
MIN_ROOM_BYTES = 1_024  # a packet with less room is full: a smaller record isn't worth its header


class Pair:
    """One side of a pair.

    :param local_member: our member number.
    :param remote_member: theirs.
    :param sealer: seals our direction.
    :param opener: opens theirs.
    :param pool: where slots come from.
    :param path: carries our packets at first.
    """

    def __init__(
        self,
        local_member: int,
        remote_member: int,
        *,
        sealer: Sealer,
        opener: Opener,
        pool: SlotPool,
        path: Path,
    ) -> None:
        self.local_member = local_member
        self.remote_member = remote_member
        self._sealer = sealer
        self._opener = opener
        self._path: Path | None = path
        self._questions = Questions()
        # sending
        self._draft = PacketDraft(pool)
        self._held_back = False  # the draft, by a busy path, in the last turn
        self._window = SendWindow(pool)
        self._next_ack_number = 0
        self._generation_began = -1  # the first packet of the key generation in use
        # receiving
        self._receipts = Receipts()
        self._expected_ack_number = 0

    # Sending

    @property
    def unacked_bytes(self) -> int:
        """What is kept until the other side has it."""
        return self._window.size_bytes

    @property
    def path(self) -> Path | None:
        """Where packets go; None while no path is known to reach the other side."""
        return self._path

    @property
    def acknowledged(self) -> int:
        """How many packets the other side has."""
        return self._window.acknowledged

    @property
    def has_work(self) -> bool:
        """Whether records wait for their packet to be sealed, or packets to be sent again."""
        return self._draft.size_bytes > 0 or self._window.is_behind

    def room(self) -> int:
        """Bytes of records that can be added now; 0 while the window or the path is full."""
        draft = self._draft
        if draft.size_bytes:
            room = draft.room_bytes
            if room >= MIN_ROOM_BYTES:
                return room
            self.seal()
        if self._window.is_full:
            return 0
        # Without a path the window fills: what is written then goes out first when one is there.
        if self._path is not None:
            outbox = self._path.outbox
            if outbox.waiting_bytes >= outbox.limit_bytes or self._window.is_behind:
                return 0
        draft.begin()
        return MAX_PLAINTEXT_BYTES

    def append(self, record: bytes) -> bool:
        """Add a whole record; False if it must wait for room.

        :raises LocalProtocolError: no packet can hold it.
        """
        if len(record) > MAX_PLAINTEXT_BYTES:
            raise LocalProtocolError("a record is larger than a packet")
        room = self.room()
        if len(record) > room:
            if room == 0 or self._draft.size_bytes == 0:
                return False
            self.seal()
            if len(record) > self.room():
                return False
        self._draft.append(record)
        return True

    def lend(self, stream: int, limit: int, most: int = 1) -> Sequence[memoryview]:
        """Room for the next bytes of a stream, at most ``limit``; empty if there is none.

        What is written to it counts once :meth:`commit` is called, with nothing in between.

        :param most: so many views at most, one in each packet, to be filled in their order.
        """
        if not self.room():
            return ()
        if most > 1:
            spare_bytes = self._window.room_bytes
            if self._path is not None:
                spare_bytes = min(spare_bytes, self._path.outbox.room_bytes)
            most = min(most, 1 + max(0, spare_bytes) // MAX_PACKET_BYTES)
        return self._draft.lend(stream, limit, most)

    def commit(self, stream: int, count: int) -> None:
        """The first ``count`` bytes of the last loan are data of this stream."""
        draft = self._draft
        count = draft.commit(stream, count)
        while count:
            self.seal()
            count = draft.commit_next(stream, count)

    def send_again(self) -> None:
        """Queue what the other side lacks, as far as the path has room."""
        if self._path is not None:
            self._window.send(self._path)

    def flush(self, more_comes: bool = False) -> None:
        """Seal what waits; on a busy path a turn later, or when somebody has filled the packet."""
        path = self._path
        if not self._draft.size_bytes or path is None or self._window.is_behind:
            return
        if path.outbox.is_blocked and (more_comes or not self._held_back):
            self._held_back = True  # not longer: a path can be busy for ever
        else:
            self.seal()

    def seal_last(self, record: bytes) -> None:
        """Seal a record that nothing follows, also while window or path are full.

        :param record: at most 64 KiB, which the window keeps for it.
        """
        draft = self._draft
        if len(record) > draft.room_bytes:
            self.seal()
        draft.begin()
        draft.append(record)
        self.seal()
        while self._path is not None and self._window.is_behind:
            self._window.send_next(self._path)

    def seal(self) -> None:
        """Seal what waits now, and queue it on the path, if nothing must go before it."""
        draft, window, sealer = self._draft, self._window, self._sealer
        slot, length, number = draft.slot, draft.size_bytes, window.sealed
        if sealer.must_advance and self._must_advance():
            sealer.advance()
            self._generation_began = number
        HEADER.pack_into(
            slot.buffer,
            0,
            *DATA_WORDS,
            sealer.generation,
            self.local_member,
            self.remote_member,
            number,
            self._receipts.expected,
            length + TAG_BYTES,
        )
        sealer.seal_data(slot.view, length, number)
        size = HEADER_BYTES + length + TAG_BYTES
        behind = window.is_behind
        compact = size <= COMPACT_BYTES
        if compact:
            window.keep(memoryview(bytes(slot.view[:size])), None)
        else:
            window.keep(slot.view[:size], slot)
        draft.empty(keep_slot=compact)
        self._held_back = False
        if self._path is not None and not behind:
            window.send_next(self._path)
            self._receipts.reported()

    def _must_advance(self) -> bool:
        # The other side looks one generation ahead only, so it must have begun this one; and
        # an ACK, which may overtake DATA, must not be two ahead of what it has.
        return self._sealer.must_advance and self._window.acknowledged > self._generation_began

    # Receiving

    def receive_data(
        self, header: Header, packet: memoryview, path: Path, now: float
    ) -> memoryview | None:
        """Open a DATA packet; its plaintext (records), or None for one that is dropped.

        :param path: where it came.
        :raises RemoteProtocolError: the packet contradicts what was agreed.
        :raises AuthenticationFailed: it doesn't open; on the relay that ends the pair.
        """
        receipts = self._receipts
        if header.number != receipts.expected:
            if header.number > receipts.expected:
                receipts.missed(now)
                if path is self._path and path not in self._questions:
                    # Each path keeps the order, so something was lost on this one.
                    self.resync(path, now)
            receipts.schedule(now)
            return None
        plaintext = self._opener.open_data(packet, header.epoch, header.number)
        self._accept_ack(header.ack)
        if receipts.received(len(packet), now):
            self._send_ack(now)
        return plaintext

    def receive_ack(self, header: Header, packet: memoryview, path: Path, now: float) -> bool:
        """Take in an ACK packet; an old one is dropped.

        :param path: where it came.
        :returns: whether our packets go another way from now on.
        :raises RemoteProtocolError: it acknowledges what was never sent.
        :raises AuthenticationFailed: it doesn't open and isn't an old one.
        """
        # Its key may be erased: DATA of the next generation came first, on another path.
        if header.number < self._expected_ack_number or header.epoch < self._opener.generation:
            return False
        self._opener.open_ack(packet, header.epoch, header.number)
        self._expected_ack_number = header.number + 1
        self._accept_ack(header.ack)
        if header.flags & FLAG_RESYNC:
            return self._answer(path, now)
        return bool(header.flags & FLAG_SYNCED) and self._receive_answer(path, header.ack, now)

    def _accept_ack(self, ack: int) -> None:
        if ack > self._window.sealed:
            raise RemoteProtocolError("a packet was acknowledged that was never sent")
        self._window.accept(ack)

    # Paths

    def resync(self, path: Path, now: float) -> None:
        """Ask on a path what the other side has; its answer makes the path ours to use.

        To be called for each new path, and when the other side has one again.
        """
        self._questions.note(path, self._window.sealed, now)
        self._send_ack_packet(path, FLAG_RESYNC)

    def leave(self, path: Path) -> None:
        """The path is gone; what went there may be lost, and is kept."""
        self._questions.forget(path)
        if self._path is path:
            self._path = None

    def _answer(self, path: Path, now: float) -> bool:
        """The other side has asked, and with that told what it has: it will use this path."""
        self._questions.succeed(path)
        self._send_ack_packet(path, FLAG_SYNCED)
        return self._use(path, now)

    def _receive_answer(self, path: Path, ack: int, now: float) -> bool:
        sealed_then = self._questions.sealed_at(path)
        if sealed_then is None:
            return False  # its own question came before, or we have gone elsewhere meanwhile
        self._questions.succeed(path)
        # What went here before our question has come before it. The rest may be under way.
        if self._path is path and ack >= sealed_then:
            return False
        return self._use(path, now)

    def _use(self, path: Path, now: float) -> bool:
        changed = self._path is not path
        if changed and path.kind is PathKind.DIRECT:
            # An answer of the relay, where a question may be under way, must not lead back.
            self._questions.clear()
        if changed:
            self._receipts.gap_deadline = None  # it ran while perhaps nothing could fill the gap
        self._path = path
        self._window.rewind(now, new_path=changed)
        if self._receipts.unreported_packets:
            self._receipts.schedule(now)
        return changed

    # Acknowledging

    def _send_ack(self, now: float) -> None:
        path = self._path
        if path is None:
            # The first word on the next path acknowledges all.
            self._receipts.ack_deadline = None
            return
        if path.outbox.waiting_bytes >= path.outbox.limit_bytes:
            # The path takes nothing: an ACK later says more, and the queue stays bounded.
            self._receipts.postpone(now)
            return
        if self._must_advance() and not self._window.is_behind:
            # An ACK never moves the other side's generation, and it looks only one ahead. So a
            # generation begins with DATA, empty for who only receives; it acknowledges as well.
            self._draft.begin()
            self.seal()
            return
        self._send_ack_packet(path, 0)
        self._receipts.reported()

    def _send_ack_packet(self, path: Path, flags: int) -> None:
        if path.outbox.waiting_bytes >= 2 * path.outbox.limit_bytes:
            return  # who asks without end and reads nothing makes no queue; it asks again
        packet = bytearray(HEADER_BYTES + TAG_BYTES)
        number = self._next_ack_number
        encode_header_into(
            packet,
            PacketType.ACK,
            self.local_member,
            self.remote_member,
            TAG_BYTES,
            number=number,
            ack=self._receipts.expected,
            epoch=self._sealer.generation,
            flags=flags,
        )
        self._sealer.seal_ack(memoryview(packet), number)
        self._next_ack_number += 1
        path.outbox.append(memoryview(packet))

    # Time

    def next_deadline(self) -> float | None:
        """When :meth:`handle_timeout` is due (seconds, absolute)."""
        if self._receipts.gap_deadline is None and self._questions.deadline is None:
            return self._receipts.ack_deadline
        deadlines = (
            self._receipts.ack_deadline,
            self._receipts.gap_deadline,
            self._questions.deadline,
        )
        return min(due for due in deadlines if due is not None)

    def handle_timeout(self, now: float) -> None:
        """Send the ACK that is due, or ask again.

        :raises LimitExceeded: a gap was not filled in ``receipt.GAP_SECONDS``.
        """
        if self._receipts.gap_deadline is not None and now >= self._receipts.gap_deadline:
            if self._path is not None:
                raise LimitExceeded("a packet is missing and did not come again in time")
            self._receipts.gap_deadline = (
                None  # a dead path says nothing about who is missing what
            )
        if self._receipts.ack_deadline is not None and now >= self._receipts.ack_deadline:
            self._send_ack(now)
        for path in self._questions.repeat(now):
            # Not noted anew: an answer to the first question would seem to tell of a loss.
            self._send_ack_packet(path, FLAG_RESYNC)

    def close(self) -> None:
        """Forget the keys and give back all slots; what was queued on a path still goes out."""
        self._sealer.erase()
        self._opener.erase()
        self._window.close()
        self._draft.discard()
