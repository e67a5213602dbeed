"""Slots and the queue of a link."""

from __future__ import annotations

import pytest

from porttunnel.session import outbox as module
from porttunnel.session.outbox import Outbox, SlotPool
from porttunnel.session.packet import MAX_PACKET_BYTES


class TestSlots:
    def test_hold_the_largest_packet_and_are_used_again(self) -> None:
        pool = SlotPool()
        slot = pool.allocate()
        assert len(slot.view) == len(slot.buffer) == MAX_PACKET_BYTES
        slot.view[0] = 7
        assert slot.buffer[0] == 7
        pool.release(slot)
        assert pool.allocate() is slot
        assert pool.allocate() is not slot

    def test_an_idle_process_gives_memory_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_FREE_SLOTS", 2)
        pool = SlotPool()
        slots = [pool.allocate() for _ in range(3)]
        for slot in slots:
            pool.release(slot)
        again = [pool.allocate() for _ in range(3)]
        assert again[:2] == [slots[1], slots[0]]
        assert again[2] not in slots

    def test_an_idle_session_keeps_few(self) -> None:
        pool = SlotPool()
        for slot in [pool.allocate() for _ in range(module.MAX_IDLE_SLOTS + 5)]:
            pool.release(slot)
        pool.trim()
        pool.trim()
        assert len(pool._free) == module.MAX_IDLE_SLOTS

    def test_none_is_kept_once_the_session_is_over(self) -> None:
        pool = SlotPool()
        outbox = Outbox(pool)
        free, sending = pool.allocate(), pool.allocate()
        pool.release(free)
        outbox.append(sending.view[:10], sending)
        pool.release(sending)
        pool.close()
        outbox.sent(10)  # the goodbye
        assert pool._free == []
        assert pool.allocate() not in (free, sending)

    @pytest.mark.parametrize("released_first", [False, True])
    def test_are_never_used_again_while_partly_sent(self, released_first: bool) -> None:
        pool = SlotPool()
        outbox = Outbox(pool)
        slot = pool.allocate()
        outbox.append(slot.view[:100], slot)
        outbox.sent(99)
        if released_first:
            # An acknowledgement over another path, while this one still sends a copy.
            pool.release(slot)
            assert pool.allocate() is not slot
            outbox.sent(1)
        else:
            outbox.sent(1)
            assert pool.allocate() is not slot
            pool.release(slot)
        assert pool.allocate() is slot

    def test_wait_for_every_copy_that_is_queued(self) -> None:
        pool = SlotPool()
        outbox = Outbox(pool)
        slot = pool.allocate()
        outbox.append(slot.view[:10], slot)
        outbox.append(slot.view[:10], slot)
        pool.release(slot)
        outbox.sent(10)
        assert pool.allocate() is not slot
        outbox.sent(10)
        assert pool.allocate() is slot


class TestQueue:
    def test_nothing_waits_at_first(self) -> None:
        outbox = Outbox(SlotPool())
        assert list(outbox.views()) == []
        assert outbox.waiting_bytes == 0

    @pytest.mark.parametrize("step", [1, 2, 3, 4, 7, 12])
    def test_sends_in_order_in_any_steps(self, step: int) -> None:
        outbox = Outbox(SlotPool())
        for packet in (b"abc", memoryview(b"defg"), b"h", b"ijkl"):
            outbox.append(packet)
        sent = b""
        while outbox.waiting_bytes:
            waiting = b"".join(outbox.views())
            assert len(waiting) == outbox.waiting_bytes
            sent += waiting[:step]
            outbox.sent(min(step, len(waiting)))
        assert sent == b"abcdefghijkl"
        assert list(outbox.views()) == []

    def test_what_is_cleared_does_not_go_out_and_its_slots_are_free(self) -> None:
        pool = SlotPool()
        outbox = Outbox(pool)
        kept, released = pool.allocate(), pool.allocate()
        outbox.append(b"abc")
        outbox.append(kept.view[:10], kept)
        outbox.append(released.view[:10], released)
        outbox.append(released.view[:10], released)
        pool.release(released)
        outbox.sent(2)
        outbox.clear()
        assert list(outbox.views()) == []
        assert outbox.waiting_bytes == 0
        # Who keeps a packet sends it again elsewhere; nobody else may write into its slot.
        assert pool.allocate() is released
        assert pool.allocate() is not kept
        assert kept.sending == 0
        outbox.append(b"new")
        assert [bytes(view) for view in outbox.views()] == [b"new"]

    def test_looking_consumes_nothing(self) -> None:
        outbox = Outbox(SlotPool())
        outbox.append(b"abc")
        outbox.sent(1)
        assert [bytes(view) for view in outbox.views()] == [b"bc"]
        assert [bytes(view) for view in outbox.views()] == [b"bc"]
        outbox.append(b"def")
        assert [bytes(view) for view in outbox.views()] == [b"bc", b"def"]

    def test_does_not_list_more_than_a_kernel_takes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_VIEWS_PER_SEND", 2)
        outbox = Outbox(SlotPool())
        for packet in (b"a", b"b", b"c"):
            outbox.append(packet)
        assert b"".join(outbox.views()) == b"ab"
        assert outbox.waiting_bytes == 3
        outbox.sent(2)
        assert b"".join(outbox.views()) == b"c"

    def test_is_blocked_while_the_link_took_less_than_it_was_offered(self) -> None:
        outbox = Outbox(SlotPool())
        outbox.limit_bytes = 10
        outbox.append(b"abcd")
        assert not outbox.is_blocked
        assert outbox.room_bytes == 6
        outbox.sent(1)
        assert outbox.is_blocked
        outbox.sent(3)
        assert not outbox.is_blocked
        outbox.append(b"abcd")
        outbox.sent(0)
        assert outbox.is_blocked
        outbox.clear()
        assert not outbox.is_blocked
