"""How what is written to a broadcast becomes signed, sealed packets."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from porttunnel.errors import LocalProtocolError, RemoteProtocolError
from porttunnel.keys.primitives import SigningKey, VerifyKey
from porttunnel.keys.sealing import GroupOpener
from porttunnel.session.broadcast_sender import (
    COMPACT_BYTES,
    MAX_CHANNEL,
    MAX_WAITING_BYTES,
    MIN_ROOM_BYTES,
    MIN_WRITE_COST_BYTES,
    BroadcastSender,
)
from porttunnel.session.broadcast_window import LAGGARD_SECONDS, SILENCE_SECONDS, WINDOW_BYTES
from porttunnel.session.event import BroadcastWritable
from porttunnel.session.packet import (
    ALL_MEMBERS,
    FLAG_GROUP,
    HEADER_BYTES,
    MASTER,
    PacketType,
    decode_header,
)
from porttunnel.session.record import (
    MAX_GROUP_PACKET_BYTES,
    RECORD_HEADER,
    GroupAck,
    GroupDropped,
    GroupEnd,
    RecordKind,
    Resent,
)

SESSION = bytes(range(16))
NOW = 100.0
CHANNEL = 7
MAX_RECORDS_BYTES = 61_440 - 64


class Master:
    def __init__(self, *members: int) -> None:
        self.signing = SigningKey.generate()
        self.packets: list[bytes | memoryview] = []
        self.told: list[tuple[int, Resent | GroupEnd | GroupDropped]] = []
        self.events: list[Any] = []
        self.room = True
        self.sender = BroadcastSender(
            SESSION,
            self.signing,
            send_group=self.packets.append,
            tell=lambda member, message: self.told.append((member, message)),
            room=lambda: self.room,
            events=self.events,
        )
        if members:
            self.begin()
        for member in members:
            self.sender.add_member(member)

    def begin(self) -> int:
        """How many packets the epoch before had."""
        message = self.sender.begin_epoch(bytes(32))
        assert message.key == bytes(32)
        return message.previous_end

    def opened(self, packet: bytes | memoryview) -> list[tuple[RecordKind, int, bytes]]:
        """The records, by docs/session-protocol and without our receiver."""
        header = decode_header(packet)
        assert header.kind is PacketType.DATA
        assert (header.flags, header.sender, header.target) == (FLAG_GROUP, MASTER, ALL_MEMBERS)
        assert header.ack == 0
        assert len(packet) == HEADER_BYTES + header.length <= MAX_GROUP_PACKET_BYTES
        opener = GroupOpener(SESSION, header.epoch, bytes(32))
        plain = bytes(opener.open_group(memoryview(bytes(packet)), header.number))
        digest = hashlib.sha256(plain[64:]).digest()
        signed = b"ptun1 group" + SESSION + bytes(packet[:HEADER_BYTES]) + digest
        VerifyKey(self.signing.public).verify(plain[:64], signed)
        records = []
        rest = plain[64:]
        while rest:
            kind, channel, length = RECORD_HEADER.unpack_from(rest)
            records.append((RecordKind(kind), channel, rest[9 : 9 + length]))
            rest = rest[9 + length :]
        return records

    def all_records(self) -> list[tuple[RecordKind, int, bytes]]:
        return [record for packet in self.packets for record in self.opened(packet)]

    def content(self) -> bytes:
        return b"".join(payload for _kind, _channel, payload in self.all_records())

    def ack(self, member: int, number: int, *, missing: bool = False) -> None:
        epoch = decode_header(self.packets[-1]).epoch
        self.sender.receive_ack(member, GroupAck(epoch=epoch, next=number, missing=missing), NOW)


def pattern(count: int) -> bytes:
    return (bytes(range(251)) * (count // 251 + 1))[:count]


def test_what_waits_shares_a_packet() -> None:
    master = Master(2)
    assert master.sender.write(7, b"one ", NOW)
    assert master.sender.write(7, bytearray(b"two"), NOW)
    assert master.sender.write(8, memoryview(b"other"), NOW)
    assert master.sender.write(7, b"three", NOW)
    assert master.sender.end(7, NOW)
    assert master.sender.write(7, b"again", NOW)
    assert not master.sender.settled
    assert master.packets == []
    master.sender.flush(NOW)
    (packet,) = master.packets
    assert master.opened(packet) == [
        (RecordKind.DATA, 7, b"one two"),
        (RecordKind.DATA, 8, b"other"),
        (RecordKind.DATA, 7, b"three"),
        (RecordKind.END, 7, b""),
        (RecordKind.DATA, 7, b"again"),
    ]
    assert not master.sender.settled
    master.ack(2, 1)
    assert master.sender.settled


def test_has_work_while_somebody_writes_or_waits_to() -> None:
    master = Master(2)
    assert not master.sender.has_work
    assert master.sender.write(7, b"x", NOW)
    assert master.sender.has_work
    master.sender.flush(NOW)
    # What is sealed waits for reports only, and they come by themselves.
    assert not master.sender.settled
    assert not master.sender.has_work
    master.room = False
    assert not master.sender.write(7, bytes(2 * MAX_RECORDS_BYTES), NOW)
    assert master.sender.has_work
    master.room = True
    master.sender.flush(NOW)
    assert not master.sender.has_work
    master.sender.remove_member(2)
    # A writer wants to know when somebody comes.
    assert not master.sender.write(8, b"", NOW)
    assert master.sender.has_work


def test_there_is_nothing_to_flush() -> None:
    master = Master(2)
    master.sender.flush(NOW)
    assert master.sender.write(7, b"", NOW)
    master.sender.flush(NOW)
    assert master.packets == []
    assert master.sender.settled
    assert master.sender.next_deadline() is None


def test_a_full_packet_goes_out_at_once() -> None:
    master = Master(2)
    content = pattern(3 * MAX_RECORDS_BYTES)
    master.sender.write(7, content, NOW)
    assert [len(packet) for packet in master.packets] == [MAX_GROUP_PACKET_BYTES] * 3
    master.sender.flush(NOW)
    assert master.content() == content
    assert [decode_header(packet).number for packet in master.packets] == [0, 1, 2, 3]


def test_little_room_is_none() -> None:
    master = Master(2)
    master.sender.write(7, bytes(MAX_RECORDS_BYTES - 9 - MIN_ROOM_BYTES), NOW)
    assert master.packets == []
    master.sender.write(7, b"x", NOW)
    (packet,) = master.packets
    assert len(packet) == MAX_GROUP_PACKET_BYTES - MIN_ROOM_BYTES + 1


@pytest.mark.parametrize("size", [COMPACT_BYTES - 1_000, COMPACT_BYTES + 1_000])
def test_a_packet_stays_as_it_is_when_the_next_is_written(size: int) -> None:
    master = Master(2)
    master.sender.write(7, pattern(size), NOW)
    master.sender.flush(NOW)
    first = bytes(master.packets[0])
    master.sender.write(7, bytes(60_000), NOW)
    master.sender.flush(NOW)
    assert bytes(master.packets[0]) == first
    assert memoryview(master.packets[0]).readonly
    master.ack(2, 0, missing=True)
    assert master.told[0] == (2, Resent(packet=first))


def test_numbers_begin_anew_with_each_epoch() -> None:
    master = Master(2)
    for _ in range(2):
        master.sender.write(7, b"x", NOW)
        master.sender.flush(NOW)
    master.sender.write(7, b"written before", NOW)
    assert master.begin() == 2
    assert master.begin() == 0
    master.sender.add_member(3)
    master.sender.flush(NOW)
    headers = [decode_header(packet) for packet in master.packets]
    assert [(h.epoch, h.number) for h in headers] == [(1, 0), (1, 1), (3, 0)]
    assert master.all_records()[-1][2] == b"written before"


def test_an_old_key_is_gone() -> None:
    master = Master(2)
    old = master.sender._sealer
    assert old is not None
    master.begin()
    with pytest.raises(LocalProtocolError, match="erased"):
        old.seal_group(memoryview(bytearray(100)), 10, 0)


def test_without_a_member_writers_wait_for_one() -> None:
    master = Master()
    assert not master.sender.write(7, b"early", NOW)
    assert not master.sender.end(7, NOW)
    master.sender.flush(NOW)
    assert master.packets == []
    assert master.events == []
    assert not master.sender.settled
    master.begin()
    master.sender.flush(NOW)
    assert master.packets == []
    master.sender.add_member(2)
    master.sender.flush(NOW)
    assert master.events == [BroadcastWritable(channel=7)]
    assert master.all_records() == [(RecordKind.DATA, 7, b"early"), (RecordKind.END, 7, b"")]
    master.sender.remove_member(2)
    assert not master.sender.write(7, b"late", NOW)


def test_a_full_link_makes_writers_wait() -> None:
    master = Master(2)
    master.room = False
    content = pattern(200_000)
    assert not master.sender.write(7, content, NOW)
    assert not master.sender.write(8, b"", NOW)
    assert not master.sender.end(7, NOW)
    assert not master.sender.write(8, b"after", NOW)
    master.sender.flush(NOW)
    assert master.packets == []
    assert master.events == []
    master.room = True
    master.sender.advance(NOW)
    assert master.events == [BroadcastWritable(channel=7), BroadcastWritable(channel=8)]
    assert len(master.packets) == 3
    master.sender.flush(NOW)
    assert master.content() == content + b"after"
    assert master.all_records()[-2:] == [(RecordKind.END, 7, b""), (RecordKind.DATA, 8, b"after")]


def test_what_waits_goes_on_bit_by_bit() -> None:
    master = Master(2)
    master.room = False
    content = pattern(5 * MAX_RECORDS_BYTES)
    master.sender.write(7, content, NOW)
    master.sender.end(7, NOW)
    for count in range(1, 5):
        rooms = iter([True])
        master.sender._room = lambda rooms=rooms: next(rooms, False)
        master.sender.advance(NOW)
        assert len(master.packets) == count
        assert master.events == []
    master.sender._room = lambda: True
    master.sender.flush(NOW)
    assert master.content() == content
    assert master.events == [BroadcastWritable(channel=7)]
    assert master.sender._waiting_bytes == 0


def test_an_end_waits_for_room_too() -> None:
    master = Master(2)
    master.room = False
    master.sender.write(7, bytes(MAX_RECORDS_BYTES - 9), NOW)
    assert not master.sender.end(7, NOW)
    master.sender.advance(NOW)
    assert master.events == []
    master.room = True
    master.sender.advance(NOW)
    master.sender.flush(NOW)
    assert master.all_records()[-1] == (RecordKind.END, 7, b"")


def test_a_writer_that_doesnt_pause_is_stopped() -> None:
    master = Master()
    assert not master.sender.write(7, bytes(MAX_WAITING_BYTES), NOW)
    left = MAX_RECORDS_BYTES - 9  # is in the open packet already
    for _ in range(left // MIN_WRITE_COST_BYTES):
        assert not master.sender.write(7, b"x", NOW)
    for wrong in (
        lambda: master.sender.write(7, b"x", NOW),
        lambda: master.sender.end(7, NOW),
        lambda: Master(2).sender.write(7, bytes(MAX_WAITING_BYTES + 1), NOW),
    ):
        with pytest.raises(LocalProtocolError, match="BroadcastWritable"):
            wrong()


@pytest.mark.parametrize("channel", [-1, 0, MAX_CHANNEL + 1])
def test_a_channel_is_a_number_that_a_record_can_hold(channel: int) -> None:
    master = Master(2)
    with pytest.raises(LocalProtocolError, match="channel"):
        master.sender.write(channel, b"x", NOW)
    with pytest.raises(LocalProtocolError, match="channel"):
        master.sender.end(channel, NOW)
    assert master.sender.write(MAX_CHANNEL, b"x", NOW)


def test_a_full_window_makes_writers_wait_until_reports_come() -> None:
    master = Master(2, 3)
    assert master.sender.write(7, bytes(MAX_WAITING_BYTES), NOW)
    assert not master.sender.write(7, bytes(MAX_RECORDS_BYTES * 6), NOW)
    count = len(master.packets)
    assert 0 <= sum(map(len, master.packets)) - WINDOW_BYTES < MAX_GROUP_PACKET_BYTES
    master.ack(3, count)
    assert len(master.packets) == count
    master.ack(2, 2)
    assert len(master.packets) == count + 2
    with pytest.raises(RemoteProtocolError):
        master.ack(2, count + 3)
    # 2 stalls; 3 goes on without it.
    assert master.sender.next_deadline() == NOW + LAGGARD_SECONDS
    master.sender.handle_timeout(NOW + LAGGARD_SECONDS)
    assert len(master.packets) > count + 2
    assert master.events == [BroadcastWritable(channel=7)]


def test_tells_the_end_after_a_while() -> None:
    master = Master(2)
    master.sender.write(7, b"x", NOW)
    master.sender.flush(NOW)
    assert master.sender.next_deadline() == NOW + SILENCE_SECONDS
    master.sender.handle_timeout(NOW + SILENCE_SECONDS)
    assert master.told == [(2, GroupEnd(epoch=1, next=1))]


def test_the_end_of_the_session_takes_the_key() -> None:
    master = Master(2)
    assert master.sender.write(CHANNEL, b"not sealed yet", NOW)
    sealer = master.sender._sealer
    assert sealer is not None
    for _ in range(2):
        master.sender.close()
    with pytest.raises(LocalProtocolError, match="erased"):
        sealer.seal_group(memoryview(bytearray(100)), 10, 0)
    # Nothing more is sealed, whoever still writes; it is not silently dropped either.
    assert not master.sender.write(CHANNEL, bytes(100_000), NOW)
    master.sender.flush(NOW)
    master.sender.handle_timeout(NOW + SILENCE_SECONDS)
    assert master.packets == []
    assert not master.sender.settled
