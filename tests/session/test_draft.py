"""Records that wait for their packet to be sealed."""

from __future__ import annotations

import pytest

from porttunnel.errors import LocalProtocolError
from porttunnel.session.draft import PacketDraft
from porttunnel.session.outbox import SlotPool
from porttunnel.session.packet import HEADER_BYTES, MAX_PLAINTEXT_BYTES, RECORD_HEADER_BYTES
from porttunnel.session.record import RecordKind, encode_record


@pytest.fixture
def draft() -> PacketDraft:
    made = PacketDraft(SlotPool())
    made.begin()
    return made


def write(draft: PacketDraft, stream: int, data: bytes) -> None:
    [room] = draft.lend(stream, len(data))
    room[:] = data
    draft.commit(stream, len(data))


def lent(draft: PacketDraft, stream: int, limit: int, most: int = 1) -> list[int]:
    return [len(view) for view in draft.lend(stream, limit, most)]


def records(draft: PacketDraft) -> bytes:
    return bytes(draft.slot.view[HEADER_BYTES : HEADER_BYTES + draft.size_bytes])


def test_records_lie_behind_room_for_the_header(draft: PacketDraft) -> None:
    first = encode_record(RecordKind.END, 1)
    second = encode_record(RecordKind.OPEN, 3, b"....web")
    assert (draft.size_bytes, draft.room_bytes) == (0, MAX_PLAINTEXT_BYTES)
    draft.append(first)
    draft.append(second)
    assert records(draft) == first + second
    assert draft.room_bytes == MAX_PLAINTEXT_BYTES - len(first + second)


def test_bytes_of_one_stream_in_a_row_are_one_record(draft: PacketDraft) -> None:
    write(draft, 1, b"ab")
    write(draft, 1, b"cd")
    write(draft, 3, b"ef")
    write(draft, 1, b"gh")
    draft.append(encode_record(RecordKind.END, 3))
    write(draft, 1, b"ij")
    assert records(draft) == b"".join(
        (
            encode_record(RecordKind.DATA, 1, b"abcd"),
            encode_record(RecordKind.DATA, 3, b"ef"),
            encode_record(RecordKind.DATA, 1, b"gh"),
            encode_record(RecordKind.END, 3),
            encode_record(RecordKind.DATA, 1, b"ij"),
        )
    )


def test_a_loan_is_what_fits(draft: PacketDraft) -> None:
    assert lent(draft, 1, 5) == [5]
    assert lent(draft, 1, 2 * MAX_PLAINTEXT_BYTES) == [MAX_PLAINTEXT_BYTES - RECORD_HEADER_BYTES]
    write(draft, 1, b"x")
    # The record is there already, so its header costs nothing any more.
    rest = MAX_PLAINTEXT_BYTES - RECORD_HEADER_BYTES - 1
    assert lent(draft, 1, 2 * MAX_PLAINTEXT_BYTES) == [rest]
    assert lent(draft, 3, 2 * MAX_PLAINTEXT_BYTES) == [rest - RECORD_HEADER_BYTES]
    write(draft, 1, bytes(rest))
    assert draft.room_bytes == 0
    assert records(draft) == encode_record(RecordKind.DATA, 1, b"x" + bytes(rest))


def test_less_may_be_committed_than_was_lent(draft: PacketDraft) -> None:
    draft.lend(1, 100)[0][:3] = b"abc"
    assert draft.commit(1, 3) == 0
    assert records(draft) == encode_record(RecordKind.DATA, 1, b"abc")


def test_nothing_may_be_committed_of_what_was_lent(draft: PacketDraft) -> None:
    draft.lend(1, 100)
    assert draft.commit(1, 0) == 0
    assert draft.size_bytes == 0


FULL = MAX_PLAINTEXT_BYTES - RECORD_HEADER_BYTES


def test_packets_that_follow_can_be_lent_too(draft: PacketDraft) -> None:
    write(draft, 1, b"x")
    assert lent(draft, 1, 10 * FULL, most=3) == [FULL - 1, FULL, FULL]
    assert draft.commit(1, 0) == 0
    # Not more than the stream may send.
    assert lent(draft, 1, FULL - 1 + FULL + 7, most=5) == [FULL - 1, FULL, 7]
    assert draft.commit(1, 0) == 0
    assert lent(draft, 1, FULL - 1, most=5) == [FULL - 1]


@pytest.mark.parametrize("size", [1, FULL - 1, FULL, FULL + 1, 2 * FULL, 2 * FULL + 1, 3 * FULL])
def test_what_was_lent_is_filled_in_order(size: int) -> None:
    pool = SlotPool()
    draft = PacketDraft(pool)
    draft.begin()
    data = bytes(index * 7 % 251 for index in range(size))
    left = data
    for view in draft.lend(1, 10 * FULL, 3):
        view[: len(left)] = left[: len(view)]
        left = left[len(view) :]
    packets = []
    beyond = draft.commit(1, size)
    while beyond:
        packets.append(records(draft))
        draft.empty(keep_slot=False)
        beyond = draft.commit_next(1, beyond)
    packets.append(records(draft))
    assert packets == [
        encode_record(RecordKind.DATA, 1, data[start : start + FULL])
        for start in range(0, size, FULL)
    ]
    # What was not needed is free again.
    assert len(pool._free) == 3 - len(packets)


def test_what_was_lent_is_free_when_nothing_is_sent_any_more() -> None:
    pool = SlotPool()
    draft = PacketDraft(pool)
    draft.begin()
    draft.lend(1, 10 * FULL, 3)
    draft.discard()
    assert len(pool._free) == 3


def test_nothing_is_written_without_room() -> None:
    draft = PacketDraft(SlotPool())
    for write_one in (
        lambda: draft.slot,
        lambda: draft.append(b"record"),
        lambda: draft.lend(1, 1),
        lambda: draft.commit(1, 1),
    ):
        with pytest.raises(LocalProtocolError, match="asking for room"):
            write_one()
    assert draft.size_bytes == 0


@pytest.mark.parametrize("keep_slot", [True, False])
def test_the_next_packet_begins_in_the_same_slot_unless_somebody_keeps_it(
    draft: PacketDraft, keep_slot: bool
) -> None:
    slot = draft.slot
    draft.begin()
    assert draft.slot is slot
    write(draft, 1, b"abc")
    draft.empty(keep_slot=keep_slot)
    assert draft.size_bytes == 0
    draft.begin()
    assert (draft.slot is slot) == keep_slot
    # The stream's record was in the former packet.
    write(draft, 1, b"def")
    assert records(draft) == encode_record(RecordKind.DATA, 1, b"def")


def test_discarding_gives_the_slot_back() -> None:
    pool = SlotPool()
    draft = PacketDraft(pool)
    draft.discard()
    draft.begin()
    slot = draft.slot
    draft.append(b"record")
    draft.discard()
    assert draft.size_bytes == 0
    assert pool.allocate() is slot
    draft.discard()
    assert pool.allocate() is not slot
