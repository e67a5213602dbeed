"""Numbers, acknowledgements, windows and generations of a pair."""

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
from porttunnel.session import pair as module
from porttunnel.session.outbox import SEND_AHEAD_BYTES, Slot
from porttunnel.session.packet import (
    HEADER_BYTES,
    MAX_PACKET_BYTES,
    MAX_PLAINTEXT_BYTES,
    TAG_BYTES,
    Header,
    PacketType,
    decode_header,
)
from porttunnel.session.pair import (
    ACK_AFTER_BYTES,
    ACK_AFTER_PACKETS,
    ACK_AFTER_SECONDS,
    GAP_SECONDS,
    MIN_ROOM_BYTES,
    RESERVED_BYTES,
    WINDOW_BYTES,
    Pair,
)
from porttunnel.session.record import Bye, RecordKind, encode_control, encode_record
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
        room = pair.lend(stream, count)
        assert room is not None
        room[:] = bytes(len(room))
        pair.commit(stream, len(room))
        count -= len(room)


def one_packet(side: Side, count: int = 10) -> bytes:
    """A packet with ``count`` bytes of stream 1."""
    fill(side.pair, count)
    side.pair.seal()
    return drain(side.outbox)


def receive(pair: Pair, packet: bytes, now: float = NOW) -> bytes | None:
    plaintext = pair.receive_data(decode_header(packet), memoryview(bytearray(packet)), now)
    return None if plaintext is None else bytes(plaintext)


def receive_ack(pair: Pair, packet: bytes) -> None:
    pair.receive_ack(decode_header(packet), memoryview(packet))


def due_ack(side: Side, now: float = NOW) -> bytes:
    """The ACK that is due at the latest."""
    side.pair.handle_timeout(now + ACK_AFTER_SECONDS)
    return drain(side.outbox)


class TestFilling:
    def test_records_wait_together_for_their_packet(self, two: PairOfSides) -> None:
        pair = two.client.pair
        assert not pair.has_records
        assert pair.append(encode_record(RecordKind.END, 3))
        assert pair.append(encode_record(RecordKind.END, 5))
        assert pair.has_records
        pair.flush()
        assert not pair.has_records
        packet = drain(two.client.outbox)
        assert receive(two.master.pair, packet) == encode_record(
            RecordKind.END, 3
        ) + encode_record(RecordKind.END, 5)

    def test_a_header_as_specified(self, two: PairOfSides) -> None:
        header = decode_header(one_packet(two.client))
        assert header == Header(PacketType.DATA, 0, 0, CLIENT, 1, 0, 0, 9 + 10 + TAG_BYTES)
        assert decode_header(one_packet(two.client)).number == 1

    def test_bytes_of_one_stream_in_a_row_are_one_record(self, two: PairOfSides) -> None:
        pair = two.client.pair
        for data, stream in ((b"ab", 1), (b"cd", 1), (b"ef", 3), (b"gh", 1)):
            room = pair.lend(stream, len(data))
            assert room is not None
            room[:] = data
            pair.commit(stream, len(data))
        pair.append(encode_record(RecordKind.END, 3))
        room = pair.lend(1, 2)
        assert room is not None
        room[:] = b"ij"
        pair.commit(1, 2)
        pair.seal()
        data = RecordKind.DATA
        assert receive(two.master.pair, drain(two.client.outbox)) == b"".join(
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
        assert len(receive(two.master.pair, packet) or b"") == 9 + 20_000

    def test_while_the_link_is_busy_more_joins_the_packet(self, two: PairOfSides) -> None:
        client = two.client
        fill(client.pair, 1)
        client.pair.flush()
        for _ in range(10):
            fill(client.pair, 1)
            client.pair.flush()
        assert len(cut(drain(client.outbox))) == 1
        client.pair.flush()
        (packet,) = cut(drain(client.outbox))
        assert decode_header(packet).length == 9 + 10 + TAG_BYTES

    def test_a_loan_is_no_longer_than_asked_for(self, two: PairOfSides) -> None:
        room = two.client.pair.lend(1, 5)
        assert room is not None
        assert len(room) == 5
        # Nothing was committed: the next loan is at the same place.
        again = two.client.pair.lend(1, MAX_PLAINTEXT_BYTES)
        assert again is not None
        assert len(again) == MAX_PLAINTEXT_BYTES - 9

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
        assert client.pair.lend(1, 10) is None
        assert not client.pair.append(encode_record(RecordKind.END, 1))
        for packet in packets:
            receive(two.master.pair, packet)
        receive_ack(client.pair, cut(due_ack(two.master))[-1])
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
        assert (receive(two.master.pair, packet) or b"").endswith(b"last")

    def test_the_last_word_finds_room_behind_a_full_packet(self, two: PairOfSides) -> None:
        fill(two.client.pair, MAX_PLAINTEXT_BYTES - 9 - 2)
        two.client.pair.seal_last(b"last")
        first, second = cut(drain(two.client.outbox))
        receive(two.master.pair, first)
        assert receive(two.master.pair, second) == b"last"

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
        assert not client.pair.has_records


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
        kept = [bytes(packet) for _cost, _slot, packet in client.pair._unacked]
        assert kept == sent
        assert self.slots_of(client) == []

    def test_are_used_again_once_acknowledged(self, two: PairOfSides) -> None:
        client = two.client
        seen = set()
        for _ in range(50):
            packet = one_packet(client, 60_000)
            seen.update(id(slot) for slot in self.slots_of(client))
            receive(two.master.pair, packet)
            receive_ack(client.pair, due_ack(two.master))
        assert client.pair.unacked_bytes == 0
        assert len(seen) <= 2

    def test_an_acknowledged_slot_waits_for_its_own_sending(self, two: PairOfSides) -> None:
        client = two.client
        fill(client.pair, 60_000)
        client.pair.seal()
        packet = b"".join(client.outbox.views())
        slot = self.slots_of(client)[0]
        client.outbox.sent(1000)
        receive(two.master.pair, packet)
        receive_ack(client.pair, due_ack(two.master))
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
        assert not client.pair.has_records
        first, second = cut(drain(client.outbox))
        assert receive(two.master.pair, first)
        assert receive(two.master.pair, second)
        assert len(client.pool._free) == 2

    def test_closing_an_idle_pair(self, two: PairOfSides) -> None:
        two.client.pair.close()
        assert two.client.pair.unacked_bytes == 0

    @staticmethod
    def slots_of(side: Side) -> list[Slot]:
        return [slot for _cost, slot, _packet in side.pair._unacked if slot is not None]


class TestReceiving:
    def test_delivers_once_and_in_order(self, two: PairOfSides) -> None:
        first, second = one_packet(two.client, 1), one_packet(two.client, 2)
        master = two.master.pair
        assert receive(master, second) is None
        assert receive(master, first) == encode_record(RecordKind.DATA, 1, bytes(1))
        assert receive(master, first) is None
        assert receive(master, second) == encode_record(RecordKind.DATA, 1, bytes(2))
        assert receive(master, second) is None

    def test_a_duplicate_is_dropped_unread_and_answered(self, two: PairOfSides) -> None:
        packet = one_packet(two.client)
        receive(two.master.pair, packet)
        assert due_ack(two.master)
        assert two.master.pair.next_deadline() is None
        # Nothing in it counts: it may even be a forgery.
        forged = packet[:24] + (99).to_bytes(8) + packet[32:-1] + b"?"
        assert receive(two.master.pair, forged, NOW) is None
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
            receive(two.master.pair, bytes(packet))

    def test_a_gap_is_answered_and_fatal_after_its_time(self, two: PairOfSides) -> None:
        lost, packet = one_packet(two.client), one_packet(two.client)
        master = two.master
        assert receive(master.pair, packet) is None
        assert master.pair.next_deadline() == NOW + ACK_AFTER_SECONDS
        assert decode_header(due_ack(master)).ack == 0
        assert master.pair.next_deadline() == NOW + GAP_SECONDS
        # It is the first sight of the gap that counts.
        assert receive(master.pair, packet, NOW + 50) is None
        assert master.pair.next_deadline() == NOW + 50 + ACK_AFTER_SECONDS
        due_ack(master, NOW + 50)
        master.pair.handle_timeout(NOW + GAP_SECONDS - 0.001)
        with pytest.raises(LimitExceeded):
            master.pair.handle_timeout(NOW + GAP_SECONDS)
        del lost

    def test_a_gap_that_closes_is_forgotten(self, two: PairOfSides) -> None:
        first, second = one_packet(two.client), one_packet(two.client)
        master = two.master.pair
        receive(master, second)
        receive(master, first)
        two.master.pair.handle_timeout(NOW + ACK_AFTER_SECONDS)
        assert master.next_deadline() is None
        master.handle_timeout(NOW + 2 * GAP_SECONDS)
        assert receive(master, second, NOW + 2 * GAP_SECONDS)

    def test_the_earlier_deadline_comes_first(self, two: PairOfSides) -> None:
        _, packet = one_packet(two.client), one_packet(two.client)
        receive(two.master.pair, packet, NOW)
        due_ack(two.master)
        late = NOW + GAP_SECONDS - ACK_AFTER_SECONDS / 2
        receive(two.master.pair, packet, late)
        assert two.master.pair.next_deadline() == NOW + GAP_SECONDS


def decode_header_or_none(packet: bytes | bytearray) -> Header | None:
    try:
        return decode_header(packet)
    except RemoteProtocolError:
        return None


class TestAcknowledging:
    def test_after_25_ms_at_the_latest(self, two: PairOfSides) -> None:
        receive(two.master.pair, one_packet(two.client))
        receive(two.master.pair, one_packet(two.client), NOW + 0.01)
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
            receive(two.master.pair, packet)
            count += len(packet)
        assert ACK_AFTER_BYTES <= count < ACK_AFTER_BYTES + MAX_PACKET_BYTES
        assert two.master.pair.next_deadline() is None

    def test_after_64_packets_at_the_latest(self, two: PairOfSides) -> None:
        for count in range(2 * ACK_AFTER_PACKETS):
            assert len(cut(b"".join(two.master.outbox.views()))) == count // ACK_AFTER_PACKETS
            receive(two.master.pair, one_packet(two.client))
        first, second = cut(drain(two.master.outbox))
        assert decode_header(first).ack == ACK_AFTER_PACKETS
        assert decode_header(second)[5:7] == (1, 2 * ACK_AFTER_PACKETS)

    def test_data_carries_it_for_nothing(self, two: PairOfSides) -> None:
        receive(two.master.pair, one_packet(two.client))
        answer = one_packet(two.master)
        assert decode_header(answer).ack == 1
        assert two.master.pair.next_deadline() is None
        receive(two.client.pair, answer)
        assert two.client.pair.unacked_bytes == 0

    def test_waits_for_a_link_that_takes_nothing(self, two: PairOfSides) -> None:
        receive(two.master.pair, one_packet(two.client))
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
        receive(two.master.pair, one_packet(two.client))
        # Only a peer that has the keys can say this at all.
        two.master.pair._expected = 2
        two.master.pair._send_ack(NOW)
        with pytest.raises(RemoteProtocolError, match="never sent"):
            receive_ack(two.client.pair, drain(two.master.outbox))

    def test_below_the_last_is_ignored(self, two: PairOfSides) -> None:
        first, second = one_packet(two.client), one_packet(two.client)
        receive(two.master.pair, first)
        receive(two.master.pair, second)
        receive_ack(two.client.pair, due_ack(two.master))
        assert two.client.pair.unacked_bytes == 0
        one_packet(two.client)
        unacked = two.client.pair.unacked_bytes
        two.master.pair._expected = 1
        two.master.pair._send_ack(NOW)
        receive_ack(two.client.pair, drain(two.master.outbox))
        assert two.client.pair.unacked_bytes == unacked

    def test_an_old_one_is_dropped_unread(self, two: PairOfSides) -> None:
        acks = []
        for _ in range(2):
            receive(two.master.pair, one_packet(two.client))
            acks.append(due_ack(two.master))
        receive_ack(two.client.pair, acks[1])
        receive_ack(two.client.pair, acks[0])
        receive_ack(two.client.pair, acks[1][:-1] + b"?")
        assert two.client.pair.unacked_bytes == 0

    def test_one_may_be_missing(self, two: PairOfSides) -> None:
        receive(two.master.pair, one_packet(two.client))
        due_ack(two.master)
        receive(two.master.pair, one_packet(two.client))
        receive_ack(two.client.pair, due_ack(two.master))
        assert two.client.pair.unacked_bytes == 0

    @pytest.mark.parametrize("place", [8, 9, 11, 12, 14, 16, 24, 31, 36, 51])
    def test_a_forged_one_changes_nothing(self, two: PairOfSides, place: int) -> None:
        receive(two.master.pair, one_packet(two.client))
        forged = bytearray(due_ack(two.master))
        forged[place] ^= 1
        unacked = two.client.pair.unacked_bytes
        with pytest.raises((AuthenticationFailed, RemoteProtocolError)):
            receive_ack(two.client.pair, bytes(forged))
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
            assert receive(two.master.pair, packet)
        assert generations == [0, 0, 0, 1, 1, 1, 2, 2]

    def test_change_after_their_bytes(
        self, two: PairOfSides, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sealing, "MAX_GENERATION_BYTES", 1000)
        packets = [one_packet(two.client, 600) for _ in range(5)]
        assert [decode_header(packet).epoch for packet in packets] == [0, 0, 1, 1, 2]
        assert all(receive(two.master.pair, packet) for packet in packets)

    def test_who_only_receives_changes_too_and_stays_understood(
        self, two: PairOfSides, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sealing, "MAX_GENERATION_PACKETS", 4)
        answers = []
        for _ in range(20):
            receive(two.master.pair, one_packet(two.client))
            answer = due_ack(two.master)
            header = decode_header(answer)
            answers.append((header.kind, header.epoch))
            if header.kind is PacketType.ACK:
                receive_ack(two.client.pair, answer)
            else:
                # Only DATA moves the other side's generation, so it begins with an empty one.
                assert receive(two.client.pair, answer) == b""
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
        receive(two.master.pair, one_packet(two.client))
        header = decode_header(due_ack(two.master))
        assert (header.kind, header.epoch, header.ack) == (PacketType.DATA, 1, 1)
        assert not two.master.pair.has_records


def test_each_number_is_sealed_once(two: PairOfSides, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "MAX_GENERATION_PACKETS", 5)
    monkeypatch.setattr(module, "ACK_AFTER_PACKETS", 2)
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
                    receive_ack(other.pair, packet)
                else:
                    assert receive(other.pair, packet) is not None
    assert len(seen) > 400
