"""Who has what of a broadcast, who sets the pace, and who is dropped."""

from __future__ import annotations

from typing import Any

import pytest

from porttunnel.errors import LocalProtocolError, RemoteProtocolError, StreamCode, StreamReset
from porttunnel.session.broadcast_window import (
    DAWDLING_SECONDS,
    DAWDLING_SHARE,
    DROP_SECONDS,
    LAGGARD_SECONDS,
    MAX_KEPT_BYTES,
    MAX_SILENCE_SECONDS,
    MIN_PACKET_COST_BYTES,
    RESENT_AHEAD_BYTES,
    SILENCE_SECONDS,
    STILL_SECONDS,
    WINDOW_BYTES,
    BroadcastWindow,
)
from porttunnel.session.event import BroadcastDropped
from porttunnel.session.record import GroupAck, GroupDropped, GroupEnd, Resent

NOW = 100.0
PACKET_BYTES = 256 * 1024
PER_WINDOW = WINDOW_BYTES // PACKET_BYTES


def packet(number: int) -> bytes:
    return number.to_bytes(4) * (PACKET_BYTES // 4)


class Master:
    def __init__(self, *members: int) -> None:
        self.told: list[tuple[int, Resent | GroupEnd | GroupDropped]] = []
        self.events: list[Any] = []
        self.window = BroadcastWindow(
            tell=lambda member, message: self.told.append((member, message)), events=self.events
        )
        self.window.begin_epoch()
        for member in members:
            self.window.add(member)
        self.sent = 0

    def send(self, count: int = 1, now: float = NOW) -> None:
        for _ in range(count):
            assert self.window.has_room(now)
            self.window.append(packet(self.sent), now)
            self.sent += 1

    def ack(
        self,
        member: int,
        number: int,
        now: float = NOW,
        *,
        epoch: int = 1,
        missing: bool = False,
    ) -> None:
        self.window.receive_ack(member, GroupAck(epoch=epoch, next=number, missing=missing), now)

    def taken(self) -> list[tuple[int, Any]]:
        """What was told, resent packets by their content's number."""
        told = [
            (member, int.from_bytes(m.packet[:4]) if isinstance(m, Resent) else m)
            for member, m in self.told
        ]
        self.told.clear()
        return told

    def dropped(self) -> list[int]:
        for event in self.events:
            assert isinstance(event, BroadcastDropped)
            assert isinstance(event.error, StreamReset)
            assert event.error.code is StreamCode.TIMED_OUT
            assert "join again" in str(event.error)
        told = [member for member, message in self.told if isinstance(message, GroupDropped)]
        assert told == [event.member for event in self.events]
        return told


def test_keeps_what_somebody_lacks() -> None:
    master = Master(2, 3)
    assert master.window.settled
    assert master.window.has_members
    master.send(3)
    assert master.window.next_number == 3
    assert master.window.kept_bytes == 3 * PACKET_BYTES
    master.ack(2, 3)
    assert not master.window.settled
    assert master.window.kept_bytes == 3 * PACKET_BYTES
    master.ack(3, 2)
    assert master.window.kept_bytes == PACKET_BYTES
    master.ack(3, 3)
    assert master.window.kept_bytes == 0
    assert master.window.settled


def test_keeps_nothing_for_nobody() -> None:
    master = Master(2, 3)
    master.send(2)
    master.window.remove(2)
    assert master.window.kept_bytes == 2 * PACKET_BYTES
    master.window.remove(3)
    master.window.remove(3)
    assert master.window.kept_bytes == 0
    assert master.window.settled
    assert not master.window.has_members
    assert not master.window.has_room(NOW)


def test_tiny_packets_cost_more_than_their_bytes() -> None:
    master = Master(2)
    master.window.append(b"tiny", NOW)
    assert master.window.kept_bytes == MIN_PACKET_COST_BYTES


def test_a_member_comes_in_with_an_epoch_of_its_own() -> None:
    with pytest.raises(LocalProtocolError, match="begin an epoch"):
        BroadcastWindow(tell=lambda *_: None, events=[]).add(2)
    master = Master(2)
    master.send()
    with pytest.raises(LocalProtocolError, match="begin an epoch"):
        master.window.add(3)
    assert master.window.begin_epoch() == 1
    master.window.add(3)
    master.send()
    master.ack(3, 1, epoch=2)
    master.ack(2, 1, epoch=1)
    assert not master.window.settled
    master.ack(2, 1, epoch=2)
    assert master.window.settled


def test_the_end_of_an_epoch_is_the_beginning_of_the_next() -> None:
    master = Master(2)
    master.send(2)
    assert master.window.begin_epoch() == 2
    assert master.window.begin_epoch() == 0
    master.send()
    master.ack(2, 2, epoch=1, missing=True)
    assert master.taken() == [(2, 2)]
    master.ack(2, 0, epoch=3)
    assert master.window.kept_bytes == PACKET_BYTES
    # What is older than any member's last word is forgotten, and no longer listened to.
    master.window.begin_epoch()
    master.ack(2, 1, epoch=1)
    assert master.window.kept_bytes == PACKET_BYTES


@pytest.mark.parametrize(("epoch", "number"), [(1, 3), (2, 2), (3, 0), (9, 0)])
def test_nobody_has_what_was_never_sent(epoch: int, number: int) -> None:
    master = Master(2)
    master.send(2)
    master.window.begin_epoch()
    master.send(1)
    with pytest.raises(RemoteProtocolError, match="never sent"):
        master.ack(2, number, epoch=epoch)


def test_reports_of_strangers_and_old_ones_are_ignored() -> None:
    master = Master(2)
    master.send(3)
    master.ack(9, 3)
    master.ack(2, 2)
    master.ack(2, 1, missing=True)
    assert master.window.kept_bytes == PACKET_BYTES
    assert master.taken() == []


# What is missing


def test_resends_each_packet_once() -> None:
    master = Master(2, 3)
    master.send(3)
    master.ack(2, 1, missing=True)
    assert master.taken() == [(2, 1), (2, 2)]
    master.ack(2, 1, missing=True)
    assert master.taken() == []
    master.send()
    master.ack(2, 1, missing=True)
    assert master.taken() == [(2, 3)]
    master.ack(2, 4)
    master.send()
    master.ack(2, 4)
    assert master.taken() == []
    master.ack(2, 4, missing=True)
    assert master.taken() == [(2, 4)]


def test_resends_only_a_little_ahead() -> None:
    master = Master(2)
    ahead = RESENT_AHEAD_BYTES // PACKET_BYTES
    master.send(10)
    master.ack(2, 0, missing=True)
    assert master.taken() == [(2, n) for n in range(ahead)]
    master.ack(2, 1)
    assert master.taken() == [(2, ahead)]
    master.ack(2, 8)
    assert master.taken() == [(2, 8), (2, 9)]
    master.send()
    master.ack(2, 10)
    assert master.taken() == []


# Who sets the pace


def test_the_slowest_sets_the_pace() -> None:
    master = Master(2, 3)
    master.send(PER_WINDOW)
    assert not master.window.has_room(NOW)
    master.ack(2, PER_WINDOW)
    assert not master.window.has_room(NOW)
    master.ack(3, 1)
    master.send()
    assert not master.window.has_room(NOW)


def stall(master: Master, now: float = NOW) -> None:
    """Member 2 has everything, the others have nothing, and the window is full."""
    master.send(PER_WINDOW, now)
    master.ack(2, PER_WINDOW, now)
    assert not master.window.has_room(now)


def test_who_has_stalled_doesnt_count() -> None:
    master = Master(2, 3, 4)
    stall(master)
    assert master.window.next_deadline() == NOW + LAGGARD_SECONDS
    master.window.handle_timeout(NOW + LAGGARD_SECONDS / 2)
    assert not master.window.has_room(NOW)
    master.window.handle_timeout(NOW + LAGGARD_SECONDS)
    master.send(PER_WINDOW)
    assert not master.window.has_room(NOW)
    # It still gets what it asks for, and counts again once it is near.
    master.ack(3, 0, missing=True)
    assert master.taken()[0] == (3, 0)
    master.ack(2, 2 * PER_WINDOW)
    master.ack(3, PER_WINDOW)
    assert master.window.has_room(NOW)
    master.ack(3, PER_WINDOW + 1)
    master.send()
    assert not master.window.has_room(NOW)


def test_who_moves_is_waited_for() -> None:
    master = Master(2, 3)
    stall(master)
    for number in range(1, int(DAWDLING_SECONDS / LAGGARD_SECONDS)):
        now = NOW + number * LAGGARD_SECONDS
        master.ack(3, number, now)
        master.window.handle_timeout(now)
        master.send(1, now)
        master.ack(2, PER_WINDOW + number, now)
        assert not master.window.has_room(now)
    assert master.window.next_deadline() == now + LAGGARD_SECONDS


def test_if_all_stall_nobody_is_left_behind() -> None:
    master = Master(2, 3)
    master.send(PER_WINDOW)
    assert not master.window.has_room(NOW)
    assert not master.window.has_room(NOW + 1)
    master.window.handle_timeout(NOW + SILENCE_SECONDS)
    assert master.window.next_deadline() == NOW + SILENCE_SECONDS * 3
    master.window.handle_timeout(NOW + DROP_SECONDS)
    master.window.handle_timeout(NOW + 1000)
    assert master.dropped() == []
    assert not master.window.has_room(NOW + 1000)
    # They come back together, as after a cut of our own link.
    later = NOW + 2000
    master.ack(2, PER_WINDOW, later)
    master.ack(3, PER_WINDOW, later)
    assert master.window.has_room(later)
    assert master.window.settled


def test_if_only_laggards_are_left_they_count() -> None:
    master = Master(2, 3)
    stall(master)
    master.window.handle_timeout(NOW + LAGGARD_SECONDS)
    master.send()
    master.window.remove(2)
    assert not master.window.has_room(NOW)
    master.ack(3, 2)
    assert master.window.has_room(NOW)


def keep_moving(master: Master, start: float, end: float) -> None:
    """Member 2 takes everything, as it comes."""
    now = start
    while now < end:
        master.window.handle_timeout(now)
        if master.window.has_room(now):
            master.window.append(b"x", now)
            master.sent += 1
        master.ack(2, master.sent, now)
        now += STILL_SECONDS / 2


def test_who_stays_behind_is_dropped() -> None:
    master = Master(2, 3)
    stall(master)
    keep_moving(master, NOW, NOW + DROP_SECONDS)
    assert master.dropped() == []
    assert master.window.kept_bytes >= WINDOW_BYTES
    keep_moving(master, NOW + DROP_SECONDS, NOW + DROP_SECONDS + 1)
    assert master.dropped() == [3]
    assert master.window.kept_bytes == 0
    master.ack(3, 0, missing=True)
    assert master.dropped() == [3]


def test_whom_it_judges_it_judges_by_others_that_move() -> None:
    master = Master(2, 3)
    stall(master)
    master.window.handle_timeout(NOW + LAGGARD_SECONDS)
    master.send()
    # Our own link is cut for longer than anybody may stay behind.
    back = NOW + DROP_SECONDS + 5
    master.window.handle_timeout(back)
    assert master.dropped() == []
    master.ack(2, PER_WINDOW + 1, back)
    assert master.window.next_deadline() == back + 2 * SILENCE_SECONDS
    master.window.handle_timeout(back + 1)
    keep_moving(master, back + 1, back + DROP_SECONDS)
    assert master.dropped() == []
    keep_moving(master, back + DROP_SECONDS, back + DROP_SECONDS + 1)
    assert master.dropped() == [3]


def test_what_is_kept_for_laggards_has_a_bound() -> None:
    master = Master(2, 3, 4)
    stall(master)
    master.window.handle_timeout(NOW + LAGGARD_SECONDS)
    while not master.events:
        assert master.window.kept_bytes <= MAX_KEPT_BYTES
        master.send()
        if not master.events:
            master.ack(4, 1)
        master.ack(2, master.sent)
    assert master.dropped() == [3]
    assert MAX_KEPT_BYTES - PACKET_BYTES <= master.window.kept_bytes <= MAX_KEPT_BYTES
    master.send()
    assert master.dropped() == [3, 4]
    assert master.window.kept_bytes == PACKET_BYTES


# Who dawdles


def dawdle(
    master: Master,
    seconds: float,
    *,
    start: float = NOW,
    idle: tuple[int, ...] = (2,),
    share: float = 1.0,
) -> float:
    """Member 3 takes a packet each 0.2 s; the others take it for a part of that time.

    :param idle: who has everything after it.
    :param share: of the time in which those wait.
    :returns: when member 3 does not set the pace any more, or the end.
    """
    now = start
    while now < start + seconds:
        master.window.handle_timeout(now)
        if master.window.has_room(now):
            master.send(1, now)
            if master.window.has_room(now):
                return now
        for member in idle:
            master.ack(member, master.sent, now + (1 - share) * 0.2)
        now += 0.2
        master.ack(3, master.sent - PER_WINDOW + 1, now)
    return now


def test_who_only_has_the_others_wait_does_not_set_the_pace_for_long() -> None:
    master = Master(2, 3)
    stall(master)
    gone_on = dawdle(master, 3 * DAWDLING_SECONDS)
    # The time before the first packet was counted from the beginning of the world.
    assert DAWDLING_SECONDS < gone_on - NOW < DAWDLING_SECONDS + LAGGARD_SECONDS
    # It is no reason to drop it yet: it may catch up, and then counts again.
    assert master.dropped() == []
    master.ack(2, master.sent, gone_on)
    master.ack(3, master.sent, gone_on)
    master.send(PER_WINDOW, gone_on)
    assert not master.window.has_room(gone_on)


def test_who_dawdles_on_is_dropped() -> None:
    master = Master(2, 3)
    stall(master)
    now = dawdle(master, 3 * DAWDLING_SECONDS)
    master.send(PER_WINDOW // 2, now)
    keep_moving(master, now, now + DROP_SECONDS)
    assert master.dropped() == []
    keep_moving(master, now + DROP_SECONDS, now + DROP_SECONDS + 1)
    assert master.dropped() == [3]


def test_who_is_not_five_times_as_slow_is_waited_for() -> None:
    master = Master(2, 3)
    stall(master)
    end = dawdle(master, 5 * DAWDLING_SECONDS, share=DAWDLING_SHARE - 0.05)
    assert end >= NOW + 5 * DAWDLING_SECONDS
    master.send(1, end)
    assert not master.window.has_room(end)


def test_if_most_are_slow_nobody_dawdles() -> None:
    master = Master(2, 3, 4, 5, 6)
    stall(master)
    for other in (4, 5, 6):
        master.ack(other, PER_WINDOW - 1)
    end = dawdle(master, 3 * DAWDLING_SECONDS)
    assert end >= NOW + 3 * DAWDLING_SECONDS
    # Half of them is enough: here those that left were at fault.
    for other in (5, 6):
        master.window.remove(other)
    assert dawdle(master, 3 * DAWDLING_SECONDS, start=end) < end + 3 * DAWDLING_SECONDS


def test_who_has_everything_and_leaves_waits_for_nobody() -> None:
    master = Master(2, 3, 4)
    stall(master)
    master.ack(4, PER_WINDOW)
    # Two of three wait; then one of two; then nobody.
    dawdle(master, DAWDLING_SECONDS / 2, idle=(2, 4))
    master.window.remove(4)
    assert master.window._idle_since is not None
    master.window.remove(2)
    assert master.window._idle_since is None


# The end


def test_tells_the_end_to_who_lacks_something() -> None:
    master = Master(2, 3)
    master.send(2, NOW)
    master.ack(2, 2)
    assert master.window.next_deadline() == NOW + SILENCE_SECONDS
    master.window.handle_timeout(NOW + SILENCE_SECONDS / 2)
    assert master.taken() == []
    expected = NOW
    wait = SILENCE_SECONDS
    for _ in range(8):
        expected += wait
        assert master.window.next_deadline() == expected
        master.window.handle_timeout(expected)
        assert master.taken() == [(3, GroupEnd(epoch=1, next=2))]
        wait = min(2 * wait, MAX_SILENCE_SECONDS)
    assert wait == MAX_SILENCE_SECONDS
    master.ack(3, 2, expected)
    master.window.handle_timeout(expected + wait)
    assert master.taken() == []
    assert master.window.next_deadline() is None
    master.send(1, expected)
    assert master.window.next_deadline() == expected + SILENCE_SECONDS
