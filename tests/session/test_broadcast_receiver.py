"""What a client takes of a broadcast, what it drops, asks for and reports."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from porttunnel.errors import PorttunnelError, RemoteProtocolError, StreamCode, StreamReset
from porttunnel.keys.primitives import SigningKey
from porttunnel.keys.sealing import GroupSealer
from porttunnel.session import broadcast_receiver as module
from porttunnel.session.broadcast_receiver import (
    ACK_AFTER_BYTES,
    ACK_AFTER_PACKETS,
    ACK_AFTER_SECONDS,
    ASK_SECONDS,
    OLD_KEY_SECONDS,
    BroadcastReceiver,
)
from porttunnel.session.event import BroadcastEnded, BroadcastLost, BroadcastReceived
from porttunnel.session.packet import (
    ALL_MEMBERS,
    FLAG_GROUP,
    HEADER_BYTES,
    MASTER,
    TAG_BYTES,
    PacketType,
    decode_header,
    encode_header_into,
)
from porttunnel.session.record import (
    MAX_GROUP_PLAINTEXT_BYTES,
    Epoch,
    GroupAck,
    GroupDropped,
    GroupEnd,
    RecordKind,
    Resent,
    encode_record,
)

SESSION = bytes(range(16))
SIGNING = SigningKey.generate()
FIRST_EPOCH = 4
NOW = 100.0


def key_of(epoch: int) -> bytes:
    return bytes([epoch]) * 32


def data(content: bytes = b"x", channel: int = 7) -> bytes:
    return encode_record(RecordKind.DATA, channel, content)


def group_packet(
    number: int,
    records: bytes = data(),
    *,
    epoch: int = FIRST_EPOCH,
    signing: SigningKey = SIGNING,
    session_id: bytes = SESSION,
    cut_signature: int = 0,
    target: int = ALL_MEMBERS,
    sender: int = MASTER,
    ack: int = 0,
    flags: int = FLAG_GROUP,
) -> bytes:
    """As docs/session-protocol says it, without our sender."""
    length = 64 - cut_signature + len(records)
    packet = bytearray(HEADER_BYTES + length + TAG_BYTES)
    encode_header_into(
        packet,
        PacketType.DATA,
        sender,
        target,
        length + TAG_BYTES,
        number=number,
        ack=ack,
        epoch=epoch,
        flags=flags,
    )
    header = bytes(packet[:HEADER_BYTES])
    signature = signing.sign(
        b"ptun1 group" + session_id + header + hashlib.sha256(records).digest()
    )
    packet[HEADER_BYTES : HEADER_BYTES + length] = signature[cut_signature:] + records
    GroupSealer(SESSION, epoch, key_of(epoch)).seal_group(memoryview(packet), length, number)
    return bytes(packet)


class Client:
    def __init__(self) -> None:
        self.told: list[GroupAck] = []
        self.events: list[Any] = []
        self.receiver = BroadcastReceiver(
            SESSION,
            SIGNING.public,
            FIRST_EPOCH,
            key_of(FIRST_EPOCH),
            tell=self.told.append,
            events=self.events,
        )

    def group(self, packet: bytes, now: float = NOW) -> None:
        self.receiver.receive_group(decode_header(packet), memoryview(bytearray(packet)), now)

    def resent(self, packet: bytes, now: float = NOW) -> None:
        self.receiver.receive_resent(Resent(packet=packet), now)

    def epoch(self, number: int, previous_end: int, now: float = NOW) -> None:
        message = Epoch(epoch=number, key=key_of(number), previous_end=previous_end)
        self.receiver.receive_epoch(message, now)

    def report(self, now: float = NOW + 1) -> GroupAck:
        """What it says when its time has come, and nothing else."""
        self.told.clear()
        self.receiver.handle_timeout(now)
        (ack,) = self.told
        return ack


def position(number: int, *, epoch: int = FIRST_EPOCH, missing: bool = False) -> GroupAck:
    return GroupAck(epoch=epoch, next=number, missing=missing)


def lost(events: list[Any]) -> StreamReset:
    (event,) = events
    assert isinstance(event, BroadcastLost)
    assert isinstance(event.error, StreamReset)
    assert event.error.code is StreamCode.TIMED_OUT
    assert "Join again" in str(event.error)
    return event.error


@pytest.fixture
def client() -> Client:
    return Client()


def test_delivers_the_records_of_a_packet_in_place_and_in_order(client: Client) -> None:
    sealed = group_packet(
        0, data(b"one") + data(b"two", 8) + encode_record(RecordKind.END, 7) + data(b"three", 8)
    )
    packet = bytearray(sealed)
    client.receiver.receive_group(decode_header(packet), memoryview(packet), NOW)
    first, second, end, third = client.events
    assert (first.channel, bytes(first.data)) == (7, b"one")
    assert first.data.obj is packet
    assert (second.channel, bytes(second.data)) == (8, b"two")
    assert end == BroadcastEnded(channel=7)
    assert bytes(third.data) == b"three"


def test_a_packet_may_be_read_only_and_hold_nothing(client: Client) -> None:
    sealed = group_packet(0, b"")
    client.receiver.receive_group(decode_header(sealed), memoryview(sealed), NOW)
    assert client.events == []
    assert client.report() == position(1)


def test_reports_after_a_while(client: Client) -> None:
    assert client.receiver.next_deadline() is None
    client.group(group_packet(0), NOW)
    client.group(group_packet(1), NOW + 0.01)
    assert client.receiver.next_deadline() == NOW + ACK_AFTER_SECONDS
    client.receiver.handle_timeout(NOW + 0.02)
    assert client.told == []
    assert client.report(NOW + ACK_AFTER_SECONDS) == position(2)
    assert client.receiver.next_deadline() is None


def test_reports_after_some_packets_at_once(client: Client) -> None:
    for number in range(ACK_AFTER_PACKETS):
        assert client.told == []
        client.group(group_packet(number))
    assert client.told == [position(ACK_AFTER_PACKETS)]
    assert client.receiver.next_deadline() is None


def test_reports_after_some_bytes_at_once(client: Client) -> None:
    number = 0
    size = len(group_packet(0, data(bytes(60_000))))
    while number * size < ACK_AFTER_BYTES:
        assert client.told == []
        client.group(group_packet(number, data(bytes(60_000))))
        number += 1
    assert client.told == [position(number)]


def test_a_duplicate_is_dropped_without_a_word(client: Client) -> None:
    client.group(group_packet(0))
    client.report()
    client.told.clear()
    client.events.clear()
    client.group(group_packet(0))
    client.group(group_packet(5, epoch=FIRST_EPOCH - 1))
    client.resent(group_packet(0))
    assert client.events == []
    assert client.told == []
    assert client.receiver.next_deadline() is None


@pytest.mark.parametrize(
    "early",
    [group_packet(1), group_packet(0, epoch=FIRST_EPOCH + 1)],
    ids=["above the next", "unknown epoch"],
)
def test_what_comes_too_early_is_dropped_and_asked_for_once_in_a_while(
    client: Client, early: bytes
) -> None:
    for tick in range(5):
        client.group(early, NOW + tick / 1000)
    assert client.events == []
    assert client.told == [position(0, missing=True)]
    assert client.receiver.next_deadline() == NOW + ASK_SECONDS
    client.receiver.handle_timeout(NOW + ASK_SECONDS / 2)
    assert len(client.told) == 1
    assert client.report(NOW + ASK_SECONDS) == position(0, missing=True)
    # Only what comes makes it ask again: a dead link must not fill the pair with questions.
    assert client.receiver.next_deadline() is None


def test_doesnt_ask_again_once_packets_come_in_order(client: Client) -> None:
    client.group(group_packet(1))
    client.group(group_packet(2))
    client.told.clear()
    client.resent(group_packet(0))
    assert client.receiver.next_deadline() == NOW + ACK_AFTER_SECONDS
    client.group(group_packet(1))
    assert client.report() == position(2)
    assert client.receiver.next_deadline() is None


FALSE = {
    "another key": group_packet(0, signing=SigningKey.generate()),
    "another session": group_packet(0, session_id=bytes(16)),
    "no room for a signature": group_packet(0, b"", cut_signature=1),
    "to one": group_packet(0, target=2),
    "with an ack": group_packet(0, ack=1),
    "too large": group_packet(0, data(bytes(MAX_GROUP_PLAINTEXT_BYTES - 64 - 9 + 1))),
    "shorter than its tag": group_packet(0)[: HEADER_BYTES + 4],
    "a bit of the body": bytes(b ^ (i == 120) for i, b in enumerate(group_packet(0, data(b"12")))),
}


@pytest.mark.parametrize("packet", FALSE.values(), ids=FALSE.keys())
def test_what_isnt_the_masters_is_dropped_and_asked_for(client: Client, packet: bytes) -> None:
    client.receiver.receive_group(decode_header(packet), memoryview(bytearray(packet)), NOW)
    assert client.events == []
    assert client.told == [position(0, missing=True)]
    client.group(group_packet(0))
    assert len(client.events) == 1


def test_the_largest_packet_is_taken(client: Client) -> None:
    client.group(group_packet(0, data(bytes(MAX_GROUP_PLAINTEXT_BYTES - 64 - 9))))
    assert len(client.events) == 1


NOT_RESENT = {
    **FALSE,
    "empty": b"",
    "no packet": bytes(HEADER_BYTES),
    "of a pair": group_packet(0, flags=0),
    "of another sender": group_packet(0, sender=2),
    "with bytes trailing": group_packet(0) + b"x",
    "too early": group_packet(1),
    "of a later epoch": group_packet(0, epoch=FIRST_EPOCH + 1),
}


@pytest.mark.parametrize("packet", NOT_RESENT.values(), ids=NOT_RESENT.keys())
def test_a_false_packet_in_the_pair_is_fatal(client: Client, packet: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        client.resent(packet)
    assert client.events == []


@pytest.mark.parametrize(
    "records",
    [
        data()[:8],
        data()[:9],
        data(b"long")[:-1],
        data(b""),
        data(channel=0),
        encode_record(RecordKind.END, 7, b"x"),
        encode_record(RecordKind.END, 0),
        encode_record(RecordKind.CONTROL, 0, b"x"),
        encode_record(RecordKind.RESET, 7, b"\x01"),
        data()[:1] + b"\xff" * 8,
    ],
)
def test_signed_rubbish_is_the_masters_fault(client: Client, records: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        client.group(group_packet(0, records))


def test_lost_packets_come_in_the_pair(client: Client) -> None:
    client.group(group_packet(2))
    for number in range(2):
        client.resent(group_packet(number, data(bytes([number]))))
    client.group(group_packet(2, data(b"\x02")))
    assert [bytes(event.data) for event in client.events] == [b"\x00", b"\x01", b"\x02"]
    assert client.report() == position(3)


def test_goes_on_with_the_next_epoch(client: Client) -> None:
    client.group(group_packet(0))
    client.epoch(FIRST_EPOCH + 1, previous_end=1)
    client.group(group_packet(0, epoch=FIRST_EPOCH + 1))
    client.group(group_packet(1))  # late
    assert len(client.events) == 2
    assert client.report() == position(1, epoch=FIRST_EPOCH + 1)


def test_an_epoch_alone_is_reported_too(client: Client) -> None:
    client.epoch(FIRST_EPOCH + 1, previous_end=0)
    assert client.report() == position(0, epoch=FIRST_EPOCH + 1)


def test_an_epoch_is_finished_before_the_next_begins(client: Client) -> None:
    client.epoch(FIRST_EPOCH + 1, previous_end=2)
    client.epoch(FIRST_EPOCH + 2, previous_end=0)
    client.group(group_packet(0, epoch=FIRST_EPOCH + 2))
    assert client.told == [position(0, missing=True)]
    client.resent(group_packet(0, data(b"0")))
    assert client.receiver.next_deadline() == NOW + ACK_AFTER_SECONDS
    client.resent(group_packet(1, data(b"1")))
    client.resent(group_packet(0, data(b"2"), epoch=FIRST_EPOCH + 2))
    assert [bytes(event.data) for event in client.events] == [b"0", b"1", b"2"]
    assert client.report() == position(1, epoch=FIRST_EPOCH + 2)


@pytest.mark.parametrize("number", [FIRST_EPOCH - 1, FIRST_EPOCH, FIRST_EPOCH + 2])
def test_epochs_rise_by_one(client: Client, number: int) -> None:
    with pytest.raises(RemoteProtocolError, match="epoch"):
        client.epoch(number, previous_end=0)


def test_an_epoch_cant_end_before_what_came_of_it(client: Client) -> None:
    client.group(group_packet(0))
    with pytest.raises(RemoteProtocolError, match="before its last packet"):
        client.epoch(FIRST_EPOCH + 1, previous_end=0)


def test_an_old_key_is_kept_for_a_while_only(client: Client) -> None:
    client.epoch(FIRST_EPOCH + 1, previous_end=1)
    client.report(NOW + 1)
    assert client.receiver.next_deadline() == NOW + OLD_KEY_SECONDS
    client.receiver.handle_timeout(NOW + OLD_KEY_SECONDS - 1)
    assert client.events == []
    client.receiver.handle_timeout(NOW + OLD_KEY_SECONDS)
    assert "in time" in str(lost(client.events))


def test_keys_dont_pile_up_without_end(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EPOCHS", 3)
    for step in range(1, 3):
        client.epoch(FIRST_EPOCH + step, previous_end=1)
    assert client.events == []
    client.epoch(FIRST_EPOCH + 3, previous_end=0)
    assert "came and left" in str(lost(client.events))


def test_says_at_the_end_what_came(client: Client) -> None:
    client.group(group_packet(0))
    end = GroupEnd(epoch=FIRST_EPOCH, next=1)
    client.receiver.receive_end(end, NOW)
    assert client.told == [position(1)]
    # One that waited in the pair while packets overtook it.
    client.receiver.receive_end(GroupEnd(epoch=FIRST_EPOCH, next=0), NOW)
    assert client.told == [position(1)] * 2


def test_asks_at_the_end_for_what_is_missing(client: Client) -> None:
    client.receiver.receive_end(GroupEnd(epoch=FIRST_EPOCH, next=1), NOW)
    assert client.told == [position(0, missing=True)]
    client.epoch(FIRST_EPOCH + 1, previous_end=1)
    client.receiver.receive_end(GroupEnd(epoch=FIRST_EPOCH + 1, next=0), NOW + 1)
    assert client.told[1:] == [position(0, missing=True)]


@pytest.mark.parametrize("epoch", [FIRST_EPOCH - 1, FIRST_EPOCH + 1])
def test_the_end_is_of_the_newest_epoch(client: Client, epoch: int) -> None:
    with pytest.raises(RemoteProtocolError, match="newest"):
        client.receiver.receive_end(GroupEnd(epoch=epoch, next=0), NOW)


def test_once_dropped_it_hears_nothing(client: Client) -> None:
    client.group(group_packet(0))
    client.events.clear()
    client.receiver.receive_dropped()
    assert "too slow" in str(lost(client.events))
    assert client.receiver.next_deadline() is None
    calls: list[Callable[[], None]] = [
        lambda: client.group(group_packet(1)),
        lambda: client.resent(b"rubbish"),
        lambda: client.epoch(99, previous_end=99),
        lambda: client.receiver.receive_end(GroupEnd(epoch=99, next=9), NOW),
        client.receiver.receive_dropped,
        lambda: client.receiver.handle_timeout(NOW + 100),
    ]
    for call in calls:
        call()
    assert len(client.events) == 1
    assert client.told == []


def test_a_signing_key_has_its_length() -> None:
    with pytest.raises(PorttunnelError):
        BroadcastReceiver(SESSION, b"short", 1, bytes(32), tell=print, events=[])


def test_data_of_an_event_is_what_was_sent(client: Client) -> None:
    content = bytes(range(256)) * 200
    client.group(group_packet(0, data(content)))
    (event,) = client.events
    assert event == BroadcastReceived(channel=7, data=memoryview(content))


class TestConsumption:
    def test_is_what_is_acknowledged(self) -> None:
        client = Client()
        client.group(group_packet(0))
        client.receiver.count_consumed()
        for number in range(1, 5):
            client.group(group_packet(number, data(b"abc") + data(b"d")))
        client.receiver.handle_timeout(NOW + ACK_AFTER_SECONDS)
        assert client.told == [ack(1)]
        client.receiver.consumed(3, NOW)
        assert client.receiver.next_deadline() is None
        # Packets count as a whole.
        client.receiver.consumed(6, NOW)
        client.receiver.handle_timeout(NOW + ACK_AFTER_SECONDS)
        assert client.told == [ack(1), ack(3)]
        client.receiver.receive_end(GroupEnd(epoch=FIRST_EPOCH, next=5), NOW)
        assert client.told[2:] == [ack(3)]
        client.receiver.consumed(7, NOW)
        client.receiver.handle_timeout(NOW + ACK_AFTER_SECONDS)
        assert client.told[3:] == [ack(5)]

    def test_of_much_is_acknowledged_at_once(self) -> None:
        client = Client()
        client.receiver.count_consumed()
        for number in range(ACK_AFTER_PACKETS):
            client.group(group_packet(number))
        assert client.told == []
        client.receiver.consumed(ACK_AFTER_PACKETS, NOW)
        assert client.told == [ack(ACK_AFTER_PACKETS)]

    def test_of_an_end_needs_nobody(self) -> None:
        client = Client()
        client.receiver.count_consumed()
        client.group(group_packet(0, encode_record(RecordKind.END, 7)))
        client.receiver.handle_timeout(NOW + ACK_AFTER_SECONDS)
        assert client.told == [ack(1)]

    def test_lags_behind_an_epoch(self) -> None:
        client = Client()
        client.receiver.count_consumed()
        client.group(group_packet(0))
        epoch = Epoch(epoch=FIRST_EPOCH + 1, key=key_of(FIRST_EPOCH + 1), previous_end=1)
        client.receiver.receive_epoch(epoch, NOW)
        client.receiver.handle_timeout(NOW + ACK_AFTER_SECONDS)
        assert client.told == [ack(0)]
        client.receiver.consumed(1, NOW)
        client.receiver.handle_timeout(NOW + ACK_AFTER_SECONDS)
        assert client.told[1:] == [GroupAck(epoch=FIRST_EPOCH + 1, next=0, missing=False)]

    def test_holds_up_no_question_for_what_is_missing(self) -> None:
        client = Client()
        client.receiver.count_consumed()
        client.group(group_packet(0))
        client.group(group_packet(2))
        assert client.told == [GroupAck(epoch=FIRST_EPOCH, next=1, missing=True)]

    def test_after_the_loss_is_told_nobody(self) -> None:
        client = Client()
        client.receiver.count_consumed()
        client.group(group_packet(0))
        client.receiver.receive_dropped()
        client.receiver.consumed(1, NOW)
        assert client.told == []


def ack(number: int) -> GroupAck:
    return GroupAck(epoch=FIRST_EPOCH, next=number, missing=False)


def test_each_message_in_the_pair_has_its_meaning() -> None:
    client = Client()
    receive = client.receiver.receive_control
    receive(Resent(packet=group_packet(0, data(b"again"))), NOW)
    (came,) = client.events
    assert bytes(came.data) == b"again"
    client.events.clear()
    receive(Epoch(epoch=5, key=key_of(5), previous_end=1), NOW)
    client.group(group_packet(0, data(b"new key"), epoch=5))
    (came,) = client.events
    assert bytes(came.data) == b"new key"
    client.events.clear()
    receive(GroupEnd(epoch=5, next=2), NOW)
    # One is missing, as that has told.
    assert client.told[-1] == GroupAck(epoch=5, next=1, missing=True)
    receive(GroupDropped(reason="slow"), NOW)
    assert "too slow" in str(lost(client.events))
