"""Numbers, acknowledgements, windows, generations and paths of a pair."""

from __future__ import annotations

from typing import Any

import pytest

from porttunnel.errors import (
    AuthenticationFailed,
    LimitExceeded,
    LocalProtocolError,
    RemoteProtocolError,
)
from porttunnel.keys import sealing
from porttunnel.session import receipt
from porttunnel.session.event import PathKind
from porttunnel.session.outbox import SEND_AHEAD_BYTES, Slot
from porttunnel.session.packet import (
    FLAG_RESYNC,
    FLAG_SYNCED,
    HEADER_BYTES,
    MAX_PACKET_BYTES,
    MAX_PLAINTEXT_BYTES,
    TAG_BYTES,
    Header,
    PacketType,
    decode_header,
)
from porttunnel.session.pair import MIN_ROOM_BYTES, Pair
from porttunnel.session.path import Path
from porttunnel.session.question import MAX_RESYNC_SECONDS, RESYNC_SECONDS
from porttunnel.session.receipt import (
    ACK_AFTER_BYTES,
    ACK_AFTER_PACKETS,
    ACK_AFTER_SECONDS,
    GAP_SECONDS,
)
from porttunnel.session.record import Bye, RecordKind, encode_control, encode_record
from porttunnel.session.window import RESERVED_BYTES, WINDOW_BYTES
from tests.session.pairs import CLIENT, PairOfSides, Side, drain

NOW = 100.0


@pytest.fixture
def two() -> PairOfSides:
    return PairOfSides()


def cut(data: bytes) -> list[bytes]:
    packets = []
    while data:
        end = HEADER_BYTES + decode_header(data).length
        packets.append(data[:end])
        data = data[end:]
    return packets


def fill(pair: Pair, count: int, stream: int = 1) -> None:
    """Write ``count`` bytes of a stream, as far as there is room."""
    while count:
        [room] = pair.lend(stream, count)
        assert room is not None
        room[:] = bytes(len(room))
        pair.commit(stream, len(room))
        count -= len(room)


def one_packet(side: Side, count: int = 10) -> bytes:
    """A packet with ``count`` bytes of stream 1."""
    fill(side.pair, count)
    side.pair.seal()
    return drain(side.outbox)


def receive(side: Side, packet: bytes, now: float = NOW, path: Path | None = None) -> bytes | None:
    """A DATA packet comes, on the first path if nothing else is said; its plaintext."""
    copy = memoryview(bytearray(packet))
    plaintext = side.pair.receive_data(decode_header(packet), copy, path or side.path, now)
    return None if plaintext is None else bytes(plaintext)


def receive_ack(side: Side, packet: bytes, now: float = NOW, path: Path | None = None) -> bool:
    """An ACK comes; whether the packets go another way now."""
    header = decode_header(packet)
    return side.pair.receive_ack(header, memoryview(packet), path or side.path, now)


def ask(side: Side, path: Path, now: float = NOW) -> bytes:
    """The question on a path, as it is sent."""
    side.pair.resync(path, now)
    return drain(path.outbox)


def sent_again(side: Side) -> list[bytes]:
    """What goes out on the path in use by itself."""
    side.pair.send_again()
    assert side.pair.path is not None
    return cut(drain(side.pair.path.outbox))


def relay(side: Side) -> Path:
    """A new link, or another one."""
    return Path(PathKind.RELAY, side.pool)


def direct(side: Side) -> Path:
    return Path(PathKind.DIRECT, side.pool)


def flags_of(packet: bytes) -> int:
    header = decode_header(packet)
    assert header.kind is PacketType.ACK
    return header.flags


def due_ack(side: Side, now: float = NOW) -> bytes:
    """The ACK that is due at the latest."""
    side.pair.handle_timeout(now + ACK_AFTER_SECONDS)
    return drain(side.outbox)


class TestFilling:
    def test_records_wait_together_for_their_packet(self, two: PairOfSides) -> None:
        pair = two.client.pair
        assert not pair.has_work
        assert pair.append(encode_record(RecordKind.END, 3))
        assert pair.append(encode_record(RecordKind.END, 5))
        assert pair.has_work
        pair.flush()
        assert not pair.has_work
        packet = drain(two.client.outbox)
        assert receive(two.master, packet) == encode_record(RecordKind.END, 3) + encode_record(
            RecordKind.END, 5
        )

    def test_a_header_as_specified(self, two: PairOfSides) -> None:
        header = decode_header(one_packet(two.client))
        assert header == Header(PacketType.DATA, 0, 0, CLIENT, 1, 0, 0, 9 + 10 + TAG_BYTES)
        assert decode_header(one_packet(two.client)).number == 1

    def test_bytes_of_one_stream_in_a_row_are_one_record(self, two: PairOfSides) -> None:
        pair = two.client.pair
        for data, stream in ((b"ab", 1), (b"cd", 1), (b"ef", 3), (b"gh", 1)):
            [room] = pair.lend(stream, len(data))
            assert room is not None
            room[:] = data
            pair.commit(stream, len(data))
        pair.append(encode_record(RecordKind.END, 3))
        [room] = pair.lend(1, 2)
        assert room is not None
        room[:] = b"ij"
        pair.commit(1, 2)
        pair.seal()
        data = RecordKind.DATA
        assert receive(two.master, drain(two.client.outbox)) == b"".join(
            (
                encode_record(data, 1, b"abcd"),
                encode_record(data, 3, b"ef"),
                encode_record(data, 1, b"gh"),
                encode_record(RecordKind.END, 3),
                encode_record(data, 1, b"ij"),
            )
        )

    def test_many_small_writes_become_one_packet(self, two: PairOfSides) -> None:
        for _ in range(1000):
            fill(two.client.pair, 20)
        two.client.pair.flush()
        (packet,) = cut(drain(two.client.outbox))
        assert len(receive(two.master, packet) or b"") == 9 + 20_000

    def test_while_the_link_is_busy_more_joins_the_packet(self, two: PairOfSides) -> None:
        client = two.client
        fill(client.pair, 1)
        client.pair.flush()
        client.outbox.sent(0)
        for _ in range(4):
            fill(client.pair, 1)
            client.pair.flush()
        # For a turn and not longer: the link may never be idle.
        lengths = [decode_header(packet).length for packet in cut(drain(client.outbox))]
        assert lengths == [9 + count + TAG_BYTES for count in (1, 2, 2)]

    def test_a_busy_link_holds_a_packet_back_for_who_will_fill_it(self, two: PairOfSides) -> None:
        pair, outbox = two.client.pair, two.client.outbox
        outbox.append(b"busy")
        outbox.sent(0)
        fill(pair, 1)
        for _ in range(3):
            pair.flush(more_comes=True)
        assert outbox.waiting_bytes == len(b"busy")
        pair.flush()
        assert outbox.waiting_bytes > len(b"busy")

    def test_what_was_not_sent_yet_makes_no_link_busy(self, two: PairOfSides) -> None:
        fill(two.client.pair, MAX_PLAINTEXT_BYTES - 9)
        fill(two.client.pair, 1)
        two.client.pair.flush()
        # One send for both.
        assert len(cut(drain(two.client.outbox))) == 2

    def test_a_loan_is_no_longer_than_asked_for(self, two: PairOfSides) -> None:
        [room] = two.client.pair.lend(1, 5)
        assert room is not None
        assert len(room) == 5
        # Nothing was committed: the next loan is at the same place.
        [again] = two.client.pair.lend(1, MAX_PLAINTEXT_BYTES)
        assert again is not None
        assert len(again) == MAX_PLAINTEXT_BYTES - 9

    def test_room_in_several_packets_is_filled_in_order(self, two: PairOfSides) -> None:
        full = MAX_PLAINTEXT_BYTES - 9
        data = bytes(index * 7 % 251 for index in range(2 * full + 5))
        left = data
        views = two.client.pair.lend(1, 10 * full, 4)
        assert [len(view) for view in views] == [full] * 4
        for view in views:
            view[: len(left)] = left[:full]
            left = left[full:]
        two.client.pair.commit(1, len(data))
        two.client.pair.flush()
        received = [receive(two.master, packet) for packet in cut(drain(two.client.outbox))]
        assert [body[9:] for body in received if body] == [
            data[:full],
            data[full : 2 * full],
            data[2 * full :],
        ]

    def test_room_in_several_packets_is_bounded_by_path_and_window(self, two: PairOfSides) -> None:
        pair, outbox = two.client.pair, two.client.outbox

        def lent() -> int:
            views = pair.lend(1, WINDOW_BYTES, 1_000)
            pair.commit(1, 0)
            return len(views)

        outbox.limit_bytes = 3 * MAX_PACKET_BYTES
        assert lent() == 4
        outbox.append(bytes(1))
        assert lent() == 3
        pair.leave(two.client.path)
        # Less what is reserved, and this packet.
        assert lent() == (WINDOW_BYTES - RESERVED_BYTES) // MAX_PACKET_BYTES
        while views := pair.lend(1, WINDOW_BYTES, 7):
            pair.commit(1, sum(map(len, views)))
        assert pair.unacked_bytes <= WINDOW_BYTES - RESERVED_BYTES

    def test_a_full_packet_is_sealed_by_itself(self, two: PairOfSides) -> None:
        fill(two.client.pair, MAX_PLAINTEXT_BYTES - 9)
        assert two.client.pair.room() == MAX_PLAINTEXT_BYTES
        (packet,) = cut(drain(two.client.outbox))
        assert len(packet) == MAX_PACKET_BYTES

    def test_a_nearly_full_packet_counts_as_full(self, two: PairOfSides) -> None:
        fill(two.client.pair, MAX_PLAINTEXT_BYTES - 9 - MIN_ROOM_BYTES)
        assert two.client.pair.room() == MIN_ROOM_BYTES
        fill(two.client.pair, 1)
        assert two.client.pair.room() == MAX_PLAINTEXT_BYTES

    def test_a_record_that_does_not_fit_begins_a_packet(self, two: PairOfSides) -> None:
        pair = two.client.pair
        fill(pair, 60_000)
        assert pair.append(encode_record(RecordKind.CONTROL, 0, bytes(20_000)))
        pair.seal()
        lengths = [decode_header(packet).length for packet in cut(drain(two.client.outbox))]
        assert lengths == [9 + 60_000 + 16, 9 + 20_000 + 16]

    def test_a_record_larger_than_a_packet_never_goes(self, two: PairOfSides) -> None:
        pair = two.client.pair
        record = bytes(MAX_PLAINTEXT_BYTES + 1)
        with pytest.raises(LocalProtocolError):
            pair.append(record)

    def test_nothing_is_committed_without_a_loan(self, two: PairOfSides) -> None:
        with pytest.raises(LocalProtocolError):
            two.client.pair.commit(1, 5)

    def test_nothing_to_flush(self, two: PairOfSides) -> None:
        two.client.pair.flush()
        assert drain(two.client.outbox) == b""


class TestWindow:
    @pytest.mark.parametrize("size", [1, 1_000, 15_000, 17_000, 65_000])
    def test_stops_at_its_bound_whatever_the_packets_size(
        self, two: PairOfSides, size: int
    ) -> None:
        client = two.client
        packets = []
        while client.pair.room():
            packets.append(one_packet(client, size))
        assert client.pair.unacked_bytes <= WINDOW_BYTES - RESERVED_BYTES
        assert client.pair.unacked_bytes > WINDOW_BYTES - RESERVED_BYTES - MAX_PACKET_BYTES
        assert not client.pair.lend(1, 10)
        assert not client.pair.append(encode_record(RecordKind.END, 1))
        for packet in packets:
            receive(two.master, packet)
        receive_ack(client, cut(due_ack(two.master))[-1])
        assert client.pair.unacked_bytes == 0
        assert client.pair.room()

    def test_its_reserve_takes_the_last_word(self, two: PairOfSides) -> None:
        client = two.client
        while client.pair.room():
            fill(client.pair, 60_000)
            client.pair.seal()
            drain(client.outbox)
        bye = encode_control(Bye(reason="x" * 200))
        client.pair.seal_last(bye)
        assert client.pair.unacked_bytes <= WINDOW_BYTES
        assert len(cut(drain(client.outbox))) == 1

    def test_the_last_word_joins_what_waits(self, two: PairOfSides) -> None:
        fill(two.client.pair, 10)
        two.client.pair.seal_last(b"last")
        (packet,) = cut(drain(two.client.outbox))
        assert (receive(two.master, packet) or b"").endswith(b"last")

    def test_the_last_word_finds_room_behind_a_full_packet(self, two: PairOfSides) -> None:
        fill(two.client.pair, MAX_PLAINTEXT_BYTES - 9 - 2)
        two.client.pair.seal_last(b"last")
        first, second = cut(drain(two.client.outbox))
        receive(two.master, first)
        assert receive(two.master, second) == b"last"

    def test_the_last_word_takes_what_is_behind_with_it(self, two: PairOfSides) -> None:
        client, master = two.client, two.master
        first = [one_packet(client, 60_000) for _ in range(20)]
        receive_ack(client, ask(master, master.path))
        drain(client.outbox)
        client.pair.seal_last(b"last")
        assert client.outbox.waiting_bytes > SEND_AHEAD_BYTES + MAX_PACKET_BYTES
        *again, last = cut(drain(client.outbox))
        assert again == first
        assert all(receive(master, packet) for packet in again)
        assert receive(master, last) == b"last"

    def test_the_last_word_waits_for_a_path(self, two: PairOfSides) -> None:
        client, master = two.client, two.master
        client.pair.leave(client.path)
        client.pair.seal_last(b"last")
        assert drain(client.outbox) == b""
        assert client.pair.has_work
        receive_ack(client, ask(master, master.path))
        assert flags_of(drain(client.outbox)) == FLAG_SYNCED
        (packet,) = sent_again(client)
        assert receive(master, packet) == b"last"

    def test_a_link_that_takes_nothing_stops_it_too(self, two: PairOfSides) -> None:
        client = two.client
        while client.pair.room():
            fill(client.pair, 60_000)
            client.pair.seal()
        assert SEND_AHEAD_BYTES <= client.outbox.waiting_bytes < 2 * SEND_AHEAD_BYTES
        drain(client.outbox)
        assert client.pair.room()

    def test_a_record_waits_when_its_packet_filled_the_link(self, two: PairOfSides) -> None:
        client = two.client
        while client.outbox.waiting_bytes < SEND_AHEAD_BYTES - MAX_PACKET_BYTES:
            fill(client.pair, 60_000)
            client.pair.seal()
        fill(client.pair, 60_000)
        # The open packet must go first, and then the link has enough.
        assert not client.pair.append(bytes(40_000))
        assert client.outbox.waiting_bytes >= SEND_AHEAD_BYTES
        assert not client.pair.has_work


class TestSlots:
    def test_large_packets_are_kept_where_they_were_sealed(self, two: PairOfSides) -> None:
        client = two.client
        fill(client.pair, 20_000)
        client.pair.seal()
        (view,) = client.outbox.views()
        sent = bytes(view)
        slot = self.slots_of(client)[0]
        assert view.obj is slot.buffer
        client.outbox.sent(len(sent))
        # Later packets don't touch it: what would be sent again is what was sent.
        for _ in range(5):
            one_packet(client, 30_000)
        assert slot.buffer[: len(sent)] == sent

    def test_small_packets_share_a_slot_and_keep_a_copy(self, two: PairOfSides) -> None:
        client = two.client
        sent = [one_packet(client, 100) for _ in range(10)]
        kept = [bytes(packet) for _cost, _slot, packet in client.pair._window._kept]
        assert kept == sent
        assert self.slots_of(client) == []

    def test_are_used_again_once_acknowledged(self, two: PairOfSides) -> None:
        client = two.client
        seen = set()
        for _ in range(50):
            packet = one_packet(client, 60_000)
            seen.update(id(slot) for slot in self.slots_of(client))
            receive(two.master, packet)
            receive_ack(client, due_ack(two.master))
        assert client.pair.unacked_bytes == 0
        assert len(seen) <= 2

    def test_an_acknowledged_slot_waits_for_its_own_sending(self, two: PairOfSides) -> None:
        client = two.client
        fill(client.pair, 60_000)
        client.pair.seal()
        packet = b"".join(client.outbox.views())
        slot = self.slots_of(client)[0]
        client.outbox.sent(1000)
        receive(two.master, packet)
        receive_ack(client, due_ack(two.master))
        assert client.pool.allocate() is not slot
        assert b"".join(client.outbox.views()) == packet[1000:]
        client.outbox.sent(len(packet) - 1000)
        assert client.pool.allocate() is slot

    def test_closing_gives_all_back_and_sends_what_is_queued(self, two: PairOfSides) -> None:
        client = two.client
        fill(client.pair, 60_000)
        client.pair.seal()
        fill(client.pair, 100)
        client.pair.seal()
        fill(client.pair, 10)
        client.pair.close()
        assert client.pair.unacked_bytes == 0
        assert not client.pair.has_work
        with pytest.raises(LocalProtocolError):
            client.pair.seal()
        first, second = cut(drain(client.outbox))
        assert receive(two.master, first)
        assert receive(two.master, second)
        assert len(client.pool._free) == 2

    def test_a_closed_pair_has_no_keys(self, two: PairOfSides) -> None:
        client, packet = two.client, one_packet(two.master)
        ack = ask(two.master, two.master.path)
        client.pair.close()
        assert client.pair.append(encode_record(RecordKind.END, 1))
        for use in (
            client.pair.seal,
            lambda: client.pair.resync(client.path, NOW),
            lambda: receive(client, packet),
            lambda: receive_ack(client, ack),
        ):
            with pytest.raises(LocalProtocolError, match="erased"):
                use()
        assert drain(client.outbox) == b""

    def test_closing_an_idle_pair(self, two: PairOfSides) -> None:
        two.client.pair.close()
        assert two.client.pair.unacked_bytes == 0

    @staticmethod
    def slots_of(side: Side) -> list[Slot]:
        return [slot for _cost, slot, _packet in side.pair._window._kept if slot is not None]


class TestReceiving:
    def test_delivers_once_and_in_order(self, two: PairOfSides) -> None:
        first, second = one_packet(two.client, 1), one_packet(two.client, 2)
        master = two.master
        assert receive(master, second) is None
        assert receive(master, first) == encode_record(RecordKind.DATA, 1, bytes(1))
        assert receive(master, first) is None
        assert receive(master, second) == encode_record(RecordKind.DATA, 1, bytes(2))
        assert receive(master, second) is None

    def test_a_duplicate_is_dropped_unread_and_answered(self, two: PairOfSides) -> None:
        packet = one_packet(two.client)
        receive(two.master, packet)
        assert due_ack(two.master)
        assert two.master.pair.next_deadline() is None
        # Nothing in it counts: it may even be a forgery.
        forged = packet[:24] + (99).to_bytes(8) + packet[32:-1] + b"?"
        assert receive(two.master, forged, NOW) is None
        assert two.master.pair.next_deadline() == NOW + ACK_AFTER_SECONDS
        assert decode_header(due_ack(two.master)).ack == 1

    @pytest.mark.parametrize("place", range(HEADER_BYTES + 30 + TAG_BYTES))
    def test_every_byte_is_protected(self, two: PairOfSides, place: int) -> None:
        packet = bytearray(one_packet(two.client, 21))
        packet[place] ^= 1
        header = decode_header_or_none(packet)
        if header is None or header.length != len(packet) - HEADER_BYTES:
            return  # never gets past the splitter
        if header.kind is not PacketType.DATA or header.number != 0:
            return  # an ACK or a gap
        with pytest.raises((AuthenticationFailed, RemoteProtocolError)):
            receive(two.master, bytes(packet))

    def test_a_gap_is_answered_and_fatal_after_its_time(self, two: PairOfSides) -> None:
        one_packet(two.client)
        packet, master, other = one_packet(two.client), two.master, relay(two.master)
        assert receive(master, packet, path=other) is None
        assert master.pair.next_deadline() == NOW + ACK_AFTER_SECONDS
        assert decode_header(due_ack(master)).ack == 0
        assert master.pair.next_deadline() == NOW + GAP_SECONDS
        # It is the first sight of the gap that counts.
        assert receive(master, packet, NOW + 50, other) is None
        assert master.pair.next_deadline() == NOW + 50 + ACK_AFTER_SECONDS
        due_ack(master, NOW + 50)
        master.pair.handle_timeout(NOW + GAP_SECONDS - 0.001)
        with pytest.raises(LimitExceeded):
            master.pair.handle_timeout(NOW + GAP_SECONDS)

    def test_a_gap_that_closes_is_forgotten(self, two: PairOfSides) -> None:
        first, second = one_packet(two.client), one_packet(two.client)
        master, other = two.master, relay(two.master)
        receive(master, second, path=other)
        receive(master, first)
        due_ack(master)
        assert master.pair.next_deadline() is None
        master.pair.handle_timeout(NOW + 2 * GAP_SECONDS)
        assert receive(master, second, NOW + 2 * GAP_SECONDS)

    def test_the_earlier_deadline_comes_first(self, two: PairOfSides) -> None:
        one_packet(two.client)
        packet, other = one_packet(two.client), relay(two.master)
        receive(two.master, packet, NOW, other)
        due_ack(two.master)
        late = NOW + GAP_SECONDS - ACK_AFTER_SECONDS / 2
        receive(two.master, packet, late, other)
        assert two.master.pair.next_deadline() == NOW + GAP_SECONDS


def decode_header_or_none(packet: bytes | bytearray) -> Header | None:
    try:
        return decode_header(packet)
    except RemoteProtocolError:
        return None


class TestAcknowledging:
    def test_after_25_ms_at_the_latest(self, two: PairOfSides) -> None:
        receive(two.master, one_packet(two.client))
        receive(two.master, one_packet(two.client), NOW + 0.01)
        assert two.master.pair.next_deadline() == NOW + ACK_AFTER_SECONDS
        two.master.pair.handle_timeout(NOW + ACK_AFTER_SECONDS - 0.001)
        assert drain(two.master.outbox) == b""
        header = decode_header(due_ack(two.master))
        assert (header.kind, header.number, header.ack) == (PacketType.ACK, 0, 2)
        assert two.master.pair.next_deadline() is None

    def test_after_256_kib_at_the_latest(self, two: PairOfSides) -> None:
        count = 0
        while not two.master.outbox.waiting_bytes:
            packet = one_packet(two.client, 60_000)
            receive(two.master, packet)
            count += len(packet)
        assert ACK_AFTER_BYTES <= count < ACK_AFTER_BYTES + MAX_PACKET_BYTES
        assert two.master.pair.next_deadline() is None

    def test_after_64_packets_at_the_latest(self, two: PairOfSides) -> None:
        for count in range(2 * ACK_AFTER_PACKETS):
            assert len(cut(b"".join(two.master.outbox.views()))) == count // ACK_AFTER_PACKETS
            receive(two.master, one_packet(two.client))
        first, second = cut(drain(two.master.outbox))
        assert decode_header(first).ack == ACK_AFTER_PACKETS
        assert decode_header(second)[5:7] == (1, 2 * ACK_AFTER_PACKETS)

    def test_data_carries_it_for_nothing(self, two: PairOfSides) -> None:
        receive(two.master, one_packet(two.client))
        answer = one_packet(two.master)
        assert decode_header(answer).ack == 1
        assert two.master.pair.next_deadline() is None
        receive(two.client, answer)
        assert two.client.pair.unacked_bytes == 0

    def test_waits_for_a_link_that_takes_nothing(self, two: PairOfSides) -> None:
        receive(two.master, one_packet(two.client))
        while two.master.outbox.waiting_bytes < SEND_AHEAD_BYTES:
            two.master.outbox.append(bytes(60_000))
        waiting = two.master.outbox.waiting_bytes
        two.master.pair.handle_timeout(NOW + 1)
        assert two.master.outbox.waiting_bytes == waiting
        assert two.master.pair.next_deadline() == NOW + 1 + ACK_AFTER_SECONDS
        two.master.outbox.sent(waiting)
        two.master.pair.handle_timeout(NOW + 2)
        assert decode_header(drain(two.master.outbox)).ack == 1

    def test_above_what_was_sent_is_fatal(self, two: PairOfSides) -> None:
        receive(two.master, one_packet(two.client))
        # Only a peer that has the keys can say this at all.
        two.master.pair._receipts.expected = 2
        two.master.pair._send_ack(NOW)
        with pytest.raises(RemoteProtocolError, match="never sent"):
            receive_ack(two.client, drain(two.master.outbox))

    def test_below_the_last_is_ignored(self, two: PairOfSides) -> None:
        first, second = one_packet(two.client), one_packet(two.client)
        receive(two.master, first)
        receive(two.master, second)
        receive_ack(two.client, due_ack(two.master))
        assert two.client.pair.unacked_bytes == 0
        one_packet(two.client)
        unacked = two.client.pair.unacked_bytes
        two.master.pair._receipts.expected = 1
        two.master.pair._send_ack(NOW)
        receive_ack(two.client, drain(two.master.outbox))
        assert two.client.pair.unacked_bytes == unacked

    def test_an_old_one_is_dropped_unread(self, two: PairOfSides) -> None:
        acks = []
        for _ in range(2):
            receive(two.master, one_packet(two.client))
            acks.append(due_ack(two.master))
        receive_ack(two.client, acks[1])
        receive_ack(two.client, acks[0])
        receive_ack(two.client, acks[1][:-1] + b"?")
        assert two.client.pair.unacked_bytes == 0

    def test_one_may_be_missing(self, two: PairOfSides) -> None:
        receive(two.master, one_packet(two.client))
        due_ack(two.master)
        receive(two.master, one_packet(two.client))
        receive_ack(two.client, due_ack(two.master))
        assert two.client.pair.unacked_bytes == 0

    @pytest.mark.parametrize("place", [8, 9, 11, 12, 14, 16, 24, 31, 36, 51])
    def test_a_forged_one_changes_nothing(self, two: PairOfSides, place: int) -> None:
        receive(two.master, one_packet(two.client))
        forged = bytearray(due_ack(two.master))
        forged[place] ^= 1
        unacked = two.client.pair.unacked_bytes
        with pytest.raises((AuthenticationFailed, RemoteProtocolError)):
            receive_ack(two.client, bytes(forged))
        assert two.client.pair.unacked_bytes == unacked > 0


class TestGenerations:
    def test_change_after_their_packets(
        self, two: PairOfSides, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sealing, "MAX_GENERATION_PACKETS", 3)
        generations = []
        for _ in range(8):
            packet = one_packet(two.client)
            generations.append(decode_header(packet).epoch)
            assert receive(two.master, packet)
            receive_ack(two.client, due_ack(two.master))
        assert generations == [0, 0, 0, 1, 1, 1, 2, 2]

    def test_change_after_their_bytes(
        self, two: PairOfSides, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sealing, "MAX_GENERATION_BYTES", 1000)
        generations = []
        for _ in range(5):
            packet = one_packet(two.client, 600)
            generations.append(decode_header(packet).epoch)
            assert receive(two.master, packet)
            receive_ack(two.client, due_ack(two.master))
        assert generations == [0, 0, 1, 1, 2]

    def test_one_is_left_only_when_the_other_side_has_begun_it(
        self, two: PairOfSides, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sealing, "MAX_GENERATION_PACKETS", 2)
        packets = [one_packet(two.client) for _ in range(7)]
        # The other side begins with generation 0, so that is left without its word.
        assert [decode_header(packet).epoch for packet in packets] == [0, 0, 1, 1, 1, 1, 1]
        for packet in packets[:2]:
            receive(two.master, packet)
        receive_ack(two.client, due_ack(two.master))
        packets.append(one_packet(two.client))
        assert decode_header(packets[-1]).epoch == 1
        receive(two.master, packets[2])
        receive_ack(two.client, due_ack(two.master))
        packets.append(one_packet(two.client))
        assert decode_header(packets[-1]).epoch == 2
        assert all(receive(two.master, packet) is not None for packet in packets[3:])

    def test_a_hundred_unacknowledged_packets_open_after_any_resend(
        self, two: PairOfSides, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sealing, "MAX_GENERATION_PACKETS", 3)
        client, master = two.client, two.master
        first = [one_packet(client) for _ in range(50)]
        for packet in first[:10]:
            receive(master, packet)  # whose acknowledgement is lost with the link
        due_ack(master)
        client.pair.leave(client.path)
        for _ in range(50):
            fill(client.pair, 10)
            client.pair.seal()
        for _ in range(2):
            link = relay(client)
            receive_ack(master, ask(client, link))
            receive_ack(client, drain(master.outbox), path=link)
            again = sent_again(client)
            client.pair.leave(link)
        assert again[:40] == first[10:]
        assert len(again) == 90
        assert {decode_header(packet).epoch for packet in again} == {1}
        assert all(receive(master, packet) for packet in again)
        client.pair.resync(client.path, NOW)
        receive_ack(master, drain(client.outbox))
        receive_ack(client, cut(drain(master.outbox))[-1])
        assert client.pair.unacked_bytes == 0
        packet = one_packet(client)
        assert decode_header(packet).epoch == 2
        assert receive(master, packet)

    def test_an_acknowledgement_of_an_erased_one_is_dropped(
        self, two: PairOfSides, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sealing, "MAX_GENERATION_PACKETS", 2)
        client, master = two.client, two.master
        receive(master, one_packet(client))
        late = due_ack(master)
        unacked = client.pair.unacked_bytes
        first, second = one_packet(master), one_packet(master)
        assert [decode_header(packet).epoch for packet in (late, first, second)] == [0, 0, 1]
        # The ACK has taken another path, and DATA of the next generation comes before it.
        client.pair._window.rewind(0.0, new_path=True)
        receive(client, first)
        receive(client, second)
        assert client.pair.unacked_bytes == 0 < unacked
        assert receive_ack(client, late) is False
        assert receive_ack(client, late[:-1] + b"?") is False
        right = bytearray(ask(master, master.path))
        right[-1] ^= 1
        assert decode_header(right).epoch == 1
        with pytest.raises(AuthenticationFailed):
            receive_ack(client, bytes(right))

    def test_who_only_receives_waits_for_its_own_acknowledgement(
        self, two: PairOfSides, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sealing, "MAX_GENERATION_PACKETS", 2)
        kinds = []
        for _ in range(8):
            receive(two.master, one_packet(two.client))
            header = decode_header(due_ack(two.master))
            kinds.append((header.kind, header.epoch))
        ack = PacketType.ACK
        assert kinds == [(ack, 0), (ack, 0), (PacketType.DATA, 1), *[(ack, 1)] * 5]

    def test_none_begins_while_packets_are_behind(
        self, two: PairOfSides, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sealing, "MAX_GENERATION_PACKETS", 1)
        one_packet(two.master)
        receive_ack(two.master, ask(two.client, two.client.path))
        drain(two.master.outbox)
        receive(two.master, one_packet(two.client))
        header = decode_header(due_ack(two.master))
        assert (header.kind, header.epoch, header.ack) == (PacketType.ACK, 0, 1)

    def test_who_only_receives_changes_too_and_stays_understood(
        self, two: PairOfSides, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sealing, "MAX_GENERATION_PACKETS", 4)
        answers = []
        for _ in range(20):
            receive(two.master, one_packet(two.client))
            answer = due_ack(two.master)
            header = decode_header(answer)
            answers.append((header.kind, header.epoch))
            if header.kind is PacketType.ACK:
                receive_ack(two.client, answer)
            else:
                # Only DATA moves the other side's generation, so it begins with an empty one.
                assert receive(two.client, answer) == b""
            assert two.client.pair.unacked_bytes == 0
        ack = PacketType.ACK
        one_generation = [(PacketType.DATA, 1), (ack, 1), (ack, 1), (ack, 1)]
        assert answers[:8] == [(ack, 0)] * 4 + one_generation
        assert answers[-1] == (ack, 4)

    def test_an_acknowledging_one_joins_records_that_wait(
        self, two: PairOfSides, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sealing, "MAX_GENERATION_PACKETS", 1)
        one_packet(two.master)
        fill(two.master.pair, 5)
        receive(two.master, one_packet(two.client))
        header = decode_header(due_ack(two.master))
        assert (header.kind, header.epoch, header.ack) == (PacketType.DATA, 1, 1)
        assert not two.master.pair.has_work


class TestWithoutPath:
    def test_packets_are_sealed_up_to_the_window_and_go_on_the_next_path(
        self, two: PairOfSides
    ) -> None:
        client, master = two.client, two.master
        client.pair.leave(client.path)
        assert client.pair.path is None
        while room := client.pair.room():
            fill(client.pair, room - 9)
        assert not client.pair.lend(1, 10)
        assert WINDOW_BYTES - RESERVED_BYTES >= client.pair.unacked_bytes > WINDOW_BYTES // 2
        assert drain(client.outbox) == b""
        client.pair.send_again()
        link = relay(client)
        question = ask(client, link)
        assert flags_of(question) == FLAG_RESYNC
        assert client.pair.path is None
        receive_ack(master, question)
        assert receive_ack(client, drain(master.outbox), path=link)
        assert client.pair.path is link
        numbers = []
        while packets := sent_again(client):
            numbers.extend(decode_header(packet).number for packet in packets)
            assert all(receive(master, packet) for packet in packets)
        assert numbers == list(range(len(numbers)))
        assert drain(client.outbox) == b""
        receive_ack(client, cut(drain(master.outbox))[-1], path=link)
        assert client.pair.acknowledged > 0
        assert client.pair.room()

    def test_records_wait_together_for_the_next_path(self, two: PairOfSides) -> None:
        client, master = two.client, two.master
        client.pair.leave(client.path)
        for _ in range(3):
            fill(client.pair, 10)
            client.pair.flush()
        assert client.pair.has_work
        assert client.pair.unacked_bytes == 0
        link = relay(client)
        receive_ack(master, ask(client, link))
        receive_ack(client, drain(master.outbox), path=link)
        client.pair.flush()
        (packet,) = sent_again(client)
        assert decode_header(packet).length == 9 + 30 + TAG_BYTES

    def test_what_is_new_waits_for_what_is_behind(self, two: PairOfSides) -> None:
        client = two.client
        first = one_packet(client)
        receive_ack(client, ask(two.master, two.master.path))
        drain(client.outbox)
        assert client.pair.room() == 0
        client.pair.flush()
        client.pair.seal_last(b"last")
        again, last = cut(drain(client.outbox))
        assert again == first
        assert decode_header(last).number == 1

    def test_a_packet_that_fills_up_meanwhile_queues_behind(self, two: PairOfSides) -> None:
        client = two.client
        first = one_packet(client)
        fill(client.pair, 60_000)
        receive_ack(client, ask(two.master, two.master.path))
        drain(client.outbox)
        assert not client.pair.append(bytes(30_000))
        assert drain(client.outbox) == b""
        client.pair.flush()
        assert [decode_header(packet).number for packet in sent_again(client)] == [0, 1]
        assert decode_header(first).number == 0

    def test_what_came_is_acknowledged_on_the_next_path(self, two: PairOfSides) -> None:
        client, master = two.client, two.master
        packets = [one_packet(client) for _ in range(ACK_AFTER_PACKETS + 1)]
        master.pair.leave(master.path)
        for packet in packets:
            assert receive(master, packet)
        assert receive(master, packets[0]) is None
        assert due_ack(master) == b""
        assert master.pair.next_deadline() is None
        link = relay(master)
        receive_ack(master, ask(client, client.path), NOW + 1, link)
        answer = drain(link.outbox)
        assert decode_header(answer).ack == len(packets)
        assert master.pair.next_deadline() == NOW + 1 + ACK_AFTER_SECONDS


class TestPaths:
    def test_a_question_is_answered_there_and_leads_there(self, two: PairOfSides) -> None:
        client, master = two.client, two.master
        kept = [one_packet(master, size) for size in (10, 30_000, 500)]
        path, theirs = direct(client), direct(master)
        question = ask(client, path)
        assert flags_of(question) == FLAG_RESYNC
        assert receive_ack(master, question, path=theirs) is True
        assert master.pair.path is theirs
        # The answer goes before all packets.
        assert flags_of(drain(theirs.outbox)) == FLAG_SYNCED
        assert sent_again(master) == kept
        assert drain(master.outbox) == b""
        # The same question at once is answered and costs nothing more.
        assert receive_ack(master, ask(client, path), path=theirs) is False
        assert flags_of(drain(theirs.outbox)) == FLAG_SYNCED
        assert sent_again(master) == []
        # Later, on the same path: nothing moves, and all goes again.
        assert receive_ack(master, ask(client, path), NOW + 1, path=theirs) is False
        assert flags_of(drain(theirs.outbox)) == FLAG_SYNCED
        assert sent_again(master) == kept

    def test_what_the_question_acknowledges_does_not_come_again(self, two: PairOfSides) -> None:
        client, master = two.client, two.master
        for packet in [one_packet(master), one_packet(master)]:
            receive(client, packet)
        lost = one_packet(master)
        receive_ack(master, ask(client, client.path))
        drain(master.outbox)
        assert sent_again(master) == [lost]

    def test_questions_that_cross_lead_both_there(self, two: PairOfSides) -> None:
        client, master = two.client, two.master
        ours, theirs = direct(client), direct(master)
        question, counter = ask(client, ours), ask(master, theirs)
        kept = one_packet(client)
        assert receive_ack(master, question, path=theirs)
        assert receive_ack(client, counter, path=ours)
        answer, counter = drain(theirs.outbox), drain(ours.outbox)
        assert sent_again(client) == [kept]
        # The answers come when nobody waits for one any more.
        assert receive_ack(client, answer, path=ours) is False
        assert receive_ack(master, counter, path=theirs) is False
        assert sent_again(client) == []
        assert (client.pair.path, master.pair.path) == (ours, theirs)
        assert client.pair.next_deadline() is None

    def test_an_answer_that_comes_unasked_is_ignored(self, two: PairOfSides) -> None:
        client, master = two.client, two.master
        receive_ack(master, ask(client, client.path))
        answer = drain(master.outbox)
        one_packet(client)
        assert receive_ack(client, answer, path=direct(client)) is False
        assert client.pair.path is client.path
        assert not client.pair.has_work

    def test_an_answer_that_shows_no_loss_resends_nothing(self, two: PairOfSides) -> None:
        client, master = two.client, two.master
        receive(master, one_packet(client))
        receive_ack(master, ask(client, client.path))
        one_packet(client)  # under way behind the question
        assert receive_ack(client, drain(master.outbox)) is False
        assert not client.pair.has_work
        assert sent_again(client) == []

    def test_an_answer_that_shows_a_loss_resends_everything(self, two: PairOfSides) -> None:
        client, master = two.client, two.master
        receive(master, one_packet(client))
        kept = [one_packet(client, size) for size in (100, 60_000, 5_000)]
        receive_ack(master, ask(client, client.path))
        kept.append(one_packet(client, 20_000))
        assert receive_ack(client, drain(master.outbox)) is False
        assert client.pair.has_work
        assert sent_again(client) == kept
        assert all(receive(master, packet) for packet in kept)

    def test_moving_to_a_direct_path_drops_the_relays_question(self, two: PairOfSides) -> None:
        client, master = two.client, two.master
        ours, theirs = direct(client), direct(master)
        receive_ack(master, ask(client, ours), path=theirs)
        receive_ack(master, ask(client, client.path))
        assert receive_ack(client, drain(theirs.outbox), path=ours) is True
        assert client.pair.path is ours
        assert receive_ack(client, drain(master.outbox)) is False
        assert client.pair.path is ours
        assert client.pair.next_deadline() is None

    def test_moving_to_the_relay_keeps_the_direct_paths_question(self, two: PairOfSides) -> None:
        client, master = two.client, two.master
        client.pair.leave(client.path)
        link, ours, theirs = relay(client), direct(client), direct(master)
        receive_ack(master, ask(client, link))
        receive_ack(master, ask(client, ours), path=theirs)
        assert receive_ack(client, drain(master.outbox), path=link) is True
        assert client.pair.path is link
        assert receive_ack(client, drain(theirs.outbox), path=ours) is True
        assert client.pair.path is ours

    def test_a_direct_path_that_is_gone_leads_back(self, two: PairOfSides) -> None:
        client, master = two.client, two.master
        ours, theirs = direct(client), direct(master)
        receive_ack(master, ask(client, ours), path=theirs)
        receive_ack(client, drain(theirs.outbox), path=ours)
        fill(client.pair, 40_000)
        client.pair.seal()
        sent = drain(ours.outbox)
        client.pair.leave(ours)
        assert client.pair.path is None
        receive_ack(master, ask(client, client.path))
        assert master.pair.path is master.path
        assert receive_ack(client, drain(master.outbox)) is True
        assert sent_again(client) == [sent]

    def test_leaving_another_path_changes_nothing_else(self, two: PairOfSides) -> None:
        client, master = two.client, two.master
        ours, theirs = direct(client), direct(master)
        receive_ack(master, ask(client, ours), path=theirs)
        client.pair.leave(ours)
        assert client.pair.path is client.path
        assert client.pair.next_deadline() is None
        assert receive_ack(client, drain(theirs.outbox), path=ours) is False
        client.pair.handle_timeout(NOW + 100)
        assert drain(ours.outbox) == b""


class TestQuestions:
    def test_are_repeated_with_more_and_more_patience(self, two: PairOfSides) -> None:
        client, now = two.client, NOW
        ask(client, client.path)
        for seconds in (1, 2, 4, 8, 16, 30, 30, 30):
            assert client.pair.next_deadline() == now + seconds
            client.pair.handle_timeout(now + seconds - 0.001)
            assert drain(client.outbox) == b""
            now += seconds
            client.pair.handle_timeout(now)
            assert flags_of(drain(client.outbox)) == FLAG_RESYNC
        assert seconds == MAX_RESYNC_SECONDS
        client.pair.handle_timeout(now + 30)
        receive_ack(two.master, drain(client.outbox))
        assert receive_ack(client, drain(two.master.outbox)) is False
        assert client.pair.next_deadline() is None
        # Who has answered is there: the next question is patient as the first.
        ask(client, client.path, now)
        assert client.pair.next_deadline() == now + RESYNC_SECONDS

    def test_a_late_answer_to_an_earlier_one_shows_no_loss(self, two: PairOfSides) -> None:
        client, master = two.client, two.master
        receive_ack(master, ask(client, client.path))
        late = drain(master.outbox)
        for _ in range(2):
            one_packet(client)
        client.pair.handle_timeout(NOW + RESYNC_SECONDS)
        assert flags_of(drain(client.outbox)) == FLAG_RESYNC
        assert decode_header(late).ack == 0
        assert receive_ack(client, late) is False
        assert sent_again(client) == []

    def test_a_gap_on_the_path_in_use_asks_at_once_and_once(self, two: PairOfSides) -> None:
        client, master = two.client, two.master
        lost = [one_packet(client, 100), one_packet(client, 40_000)]
        later = [one_packet(client) for _ in range(3)]
        assert all(receive(master, packet) is None for packet in later)
        question = drain(master.outbox)
        assert flags_of(question) == FLAG_RESYNC
        receive_ack(client, question)
        answer = drain(client.outbox)
        assert flags_of(answer) == FLAG_SYNCED
        again = sent_again(client)
        assert again == lost + later
        assert receive_ack(master, answer) is False
        assert all(receive(master, packet) is not None for packet in again)

    @pytest.mark.parametrize("left", [False, True])
    def test_a_gap_on_another_path_does_not_ask(self, two: PairOfSides, left: bool) -> None:
        master = two.master
        one_packet(two.client)
        packet, other = one_packet(two.client), direct(master)
        if left:
            master.pair.leave(master.path)
        assert receive(master, packet, path=other) is None
        assert drain(master.outbox) == drain(other.outbox) == b""
        assert master.pair.next_deadline() == NOW + ACK_AFTER_SECONDS

    def test_a_gap_is_not_fatal_while_there_is_no_path(self, two: PairOfSides) -> None:
        client, master = two.client, two.master
        lost, packet = one_packet(client), one_packet(client)
        receive(master, packet)
        master.pair.leave(master.path)
        master.pair.handle_timeout(NOW + GAP_SECONDS)
        assert master.pair.next_deadline() is None
        assert receive(master, lost, NOW + GAP_SECONDS)

    def test_the_next_path_has_its_time_to_fill_a_gap(self, two: PairOfSides) -> None:
        client, master = two.client, two.master
        one_packet(client)
        packet = one_packet(client)
        receive(master, packet)
        drain(master.outbox)
        master.pair.leave(master.path)
        link, back = relay(master), NOW + GAP_SECONDS - 1
        assert receive_ack(master, ask(client, client.path, back), back, link)
        drain(link.outbox)
        master.pair.handle_timeout(NOW + GAP_SECONDS)
        assert receive(master, packet, NOW + GAP_SECONDS, link) is None
        master.pair.handle_timeout(NOW + 2 * GAP_SECONDS - 0.001)
        with pytest.raises(LimitExceeded):
            master.pair.handle_timeout(NOW + 2 * GAP_SECONDS)

    def test_a_flood_of_them_makes_no_queue(self, two: PairOfSides) -> None:
        client, master = two.client, two.master
        master.outbox.limit_bytes = 1_000
        for _ in range(100):
            receive_ack(master, ask(client, client.path))
        answers = cut(drain(master.outbox))
        assert len(answers) == 2 * 1_000 // (HEADER_BYTES + TAG_BYTES) + 1
        receive_ack(master, ask(client, client.path))
        assert flags_of(drain(master.outbox)) == FLAG_SYNCED


def test_each_number_is_sealed_once(two: PairOfSides, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "MAX_GENERATION_PACKETS", 5)
    monkeypatch.setattr(receipt, "ACK_AFTER_PACKETS", 2)
    seen: set[tuple[Any, ...]] = set()
    for index in range(60):
        for side, other in ((two.client, two.master), (two.master, two.client)):
            for _ in range(3):
                fill(side.pair, 1 + index * 500)
                side.pair.seal()
            for packet in cut(drain(side.outbox)):
                header = decode_header(packet)
                key = (header.sender, header.kind, header.number)
                assert key not in seen
                seen.add(key)
                if header.kind is PacketType.ACK:
                    receive_ack(other, packet)
                else:
                    assert receive(other, packet) is not None
    assert len(seen) > 400
