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
    room = draft.lend(stream, len(data))
    room[:] = data
    draft.commit(stream, len(data))


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
    assert len(draft.lend(1, 5)) == 5
    assert len(draft.lend(1, 2 * MAX_PLAINTEXT_BYTES)) == MAX_PLAINTEXT_BYTES - RECORD_HEADER_BYTES
    write(draft, 1, b"x")
    # The record is there already, so its header costs nothing any more.
    rest = MAX_PLAINTEXT_BYTES - RECORD_HEADER_BYTES - 1
    assert len(draft.lend(1, 2 * MAX_PLAINTEXT_BYTES)) == rest
    assert len(draft.lend(3, 2 * MAX_PLAINTEXT_BYTES)) == rest - RECORD_HEADER_BYTES
    write(draft, 1, bytes(rest))
    assert draft.room_bytes == 0
    assert records(draft) == encode_record(RecordKind.DATA, 1, b"x" + bytes(rest))


def test_less_may_be_committed_than_was_lent(draft: PacketDraft) -> None:
    draft.lend(1, 100)[:3] = b"abc"
    draft.commit(1, 3)
    assert records(draft) == encode_record(RecordKind.DATA, 1, b"abc")


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
