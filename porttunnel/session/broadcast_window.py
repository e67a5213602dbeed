"""Where each member of a broadcast stands: what is kept for whom, who sets the pace, who is out.

Source: docs/session-protocol, section 8. Group packets may get lost between the tunnel server
and a member; what a member lacks goes to it again, bit-identical, in its pair. A member that
stands still makes nobody wait as long as another one moves, and one that dawdles not for long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from porttunnel.errors import LocalProtocolError, RemoteProtocolError, StreamCode, StreamReset
from porttunnel.session.event import BroadcastDropped
from porttunnel.session.record import GroupAck, GroupDropped, GroupEnd, Resent

__all__ = ["BroadcastWindow"]

WINDOW_BYTES = 8 * 1024 * 1024  # between the head and the slowest that counts; as a pair's
LAGGARD_SECONDS = 0.9  # who blocks so long has stalled; on a busy machine half of it is usual
DROP_SECONDS = 10.0  # a whole window behind for so long, while others move
DAWDLING_SECONDS = 10.0  # over so long it is judged whether the others only wait for a member
# Of that time: they are five times as fast, or more, as their reports come 25 ms late. On a busy
# machine all are slow.
DAWDLING_SHARE = 0.8
STILL_SECONDS = 1.0  # nobody moves for so long: it's our own link, and no member's fault
MAX_KEPT_BYTES = 32 * 1024 * 1024  # for laggards, over all: ten seconds at 25 Mbit/s
RESENT_AHEAD_BYTES = 1024 * 1024  # in a member's pair at a time, so that it has room for others
SILENCE_SECONDS = 1.0  # without a new packet: then a lost last one would not be noticed
MAX_SILENCE_SECONDS = 30.0  # doubled up to this while a member doesn't answer
MIN_PACKET_COST_BYTES = 256  # tiny packets cost more memory than their bytes


class _Slowest:
    """Where the last of many members stands; looked for anew only when nobody is left there."""

    __slots__ = ("_count", "lowest", "positions")

    def __init__(self) -> None:
        self.positions: dict[int, int] = {}
        self.lowest = 0
        self._count = 0  # of members at the lowest position

    def add(self, member: int, position: int) -> None:
        self.positions[member] = position
        self._find()

    def move(self, member: int, position: int) -> None:
        """``position`` is above the member's last one."""
        former = self.positions[member]
        self.positions[member] = position
        if former == self.lowest:
            self._count -= 1
            if self._count == 0:
                self._find()

    def remove(self, member: int) -> None:
        if self.positions.pop(member, None) is not None:
            self._find()

    def _find(self) -> None:
        self.lowest = min(self.positions.values(), default=0)
        self._count = list(self.positions.values()).count(self.lowest)


class _Member:
    """What is known of a member, but for its position."""

    __slots__ = ("epoch", "is_catching_up", "judged_from", "resent", "waited_seconds")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch  # of its last acknowledgement
        self.resent = 0  # all before went into its pair, or was acknowledged
        self.is_catching_up = False  # it asked, and more must go into its pair
        self.judged_from = 0.0  # since when it is counted,
        self.waited_seconds = 0.0  # how long others had everything and waited for it


class BroadcastWindow:
    """See the module. A position counts packets over all epochs.

    :param tell: puts a control record into a member's pair.
    :param events: where events are appended.
    :ivar epoch: the present one; 0 before the first.
    """

    def __init__(
        self,
        *,
        tell: Callable[[int, Resent | GroupEnd | GroupDropped], None],
        events: list[Any],
    ) -> None:
        self._tell = tell
        self._events = events
        self.epoch = 0
        # Position of an epoch's first packet. Bounded: a session has 65,533 member numbers, and
        # each begins two epochs at most.
        self._starts = {0: 0}
        self._head = 0
        self._head_bytes = 0  # all that was ever appended
        self._first = 0  # position of the oldest packet that is kept
        self._first_bytes = 0
        self._kept: dict[int, tuple[bytes | memoryview, int]] = {}  # packet, all bytes up to it
        self._members: dict[int, _Member] = {}
        self._all = _Slowest()
        self._paced = _Slowest()  # of those that count
        self._is_blocked = False
        self._complete = 0  # members that have everything
        self._idle_since: float | None = None  # since when they are half of all
        self._behind: dict[int, float] = {}  # by a window or more, since when; oldest first
        self._blockers: dict[int, float] = {}  # those of them that count
        self._moved_at = 0.0  # when a member that isn't behind acknowledged something
        self._is_judging = True
        self._silence_seconds = SILENCE_SECONDS
        self._end_deadline: float | None = None

    @property
    def has_members(self) -> bool:
        """Whether anybody is in the broadcast."""
        return bool(self._members)

    @property
    def settled(self) -> bool:
        """Whether all members have acknowledged everything."""
        return not self._members or self._all.lowest == self._head

    @property
    def kept_bytes(self) -> int:
        """What is kept for members that may lack it."""
        return self._head_bytes - self._first_bytes

    @property
    def next_number(self) -> int:
        """The next packet's number in its epoch."""
        return self._head - self._starts[self.epoch]

    def begin_epoch(self) -> int:
        """Numbers begin anew; how many packets the last epoch had."""
        previous_end = self.next_number
        self.epoch += 1
        oldest = min((member.epoch for member in self._members.values()), default=self.epoch)
        self._starts = {e: start for e, start in self._starts.items() if e >= oldest}
        self._starts[self.epoch] = self._head
        return previous_end

    def add(self, member: int) -> None:
        """A member came in; it expects packet 0 of the present epoch.

        :raises LocalProtocolError: the epoch was not begun for it.
        """
        if not self.epoch or self.next_number:
            raise LocalProtocolError("begin an epoch before a member comes into the broadcast")
        self._members[member] = _Member(self.epoch)
        self._complete += 1
        self._all.add(member, self._head)
        self._paced.add(member, self._head)

    def remove(self, member: int) -> None:
        """A member left, or was never in; it is waited for no longer."""
        if self._members.pop(member, None) is None:
            return
        if self._all.positions[member] == self._head:
            self._complete -= 1
            if 2 * self._complete < len(self._members):
                self._idle_since = None
        self._all.remove(member)
        self._paced.remove(member)
        self._behind.pop(member, None)
        self._blockers.pop(member, None)
        if not self._paced.positions:
            # Only laggards are left: their pace is better than none.
            for left, position in self._all.positions.items():
                self._paced.add(left, position)
            self._blockers = dict(self._behind)
        self._release()

    def has_room(self, now: float) -> bool:
        """Whether a packet may be appended: somebody is there, and the slowest isn't too far."""
        if not self._members:
            return False
        if not self._is_far(self._paced.lowest):
            return True
        if not self._is_blocked:
            # Once for each block: while the head stands, nobody else comes to be far behind.
            self._is_blocked = True
            for member, position in self._paced.positions.items():
                if self._is_far(position) and member not in self._behind:
                    self._behind[member] = self._blockers[member] = now
        return False

    def append(self, packet: bytes | memoryview, now: float) -> None:
        """Keep a packet that goes to all now, until all have it."""
        self._head_bytes += max(len(packet), MIN_PACKET_COST_BYTES)
        self._kept[self._head] = packet, self._head_bytes
        self._head += 1
        self._is_blocked = False
        self._complete = 0
        self._idle_since = None
        self._silence_seconds = SILENCE_SECONDS
        self._end_deadline = now + SILENCE_SECONDS
        while self.kept_bytes > MAX_KEPT_BYTES:
            lowest = self._all.lowest
            for member in [m for m, at in self._all.positions.items() if at == lowest]:
                self._drop(member)

    def receive_ack(self, member: int, ack: GroupAck, now: float) -> None:
        """Take in a member's report; what it asks for goes into its pair.

        :raises RemoteProtocolError: it has what was never sent.
        """
        known = self._members.get(member)
        if known is None or ack.epoch < known.epoch:
            return  # it left, was dropped, or repeats itself
        end = self._starts.get(ack.epoch + 1, self._head)
        if ack.epoch > self.epoch or ack.next > end - self._starts[ack.epoch]:
            raise RemoteProtocolError("a group packet was acknowledged that was never sent")
        known.epoch = ack.epoch
        position = self._starts[ack.epoch] + ack.next
        former = self._all.positions[member]
        if position > former:
            self._move(member, position, now)
        if position >= former and (ack.missing or known.is_catching_up):
            self._resend(member, known, position)

    def _move(self, member: int, position: int, now: float) -> None:
        if member not in self._behind:
            self._others_move(now)
        self._all.move(member, position)
        if member in self._paced.positions:
            self._paced.move(member, position)
        elif not self._is_far(position):
            self._paced.add(member, position)
        if member in self._behind and not self._is_far(position):
            del self._behind[member]
            if (blocked_since := self._blockers.pop(member, None)) is not None:
                self._judge(member, blocked_since, now)
        if position == self._head:
            self._complete += 1
            if self._idle_since is None and 2 * self._complete >= len(self._members):
                self._idle_since = now
        self._release()

    def _judge(self, member: int, blocked_since: float, now: float) -> None:
        """A member that moves a little all the time blocks nobody for long, and yet all the time.

        By its own rate it can't be told from the others: they get no more than it lets through.
        So it's counted how long at least half of all have everything and wait for it.
        """
        known = self._members[member]
        if self._idle_since is not None:
            known.waited_seconds += now - max(blocked_since, self._idle_since)
        counted_seconds = now - known.judged_from
        if counted_seconds < DAWDLING_SECONDS:
            return
        if known.waited_seconds >= DAWDLING_SHARE * counted_seconds:
            self._paced.remove(member)
            self._behind[member] = now
        known.judged_from, known.waited_seconds = now, 0.0

    def _others_move(self, now: float) -> None:
        if now - self._moved_at > STILL_SECONDS:
            # All stood still together, most likely because of our own link.
            self._behind = dict.fromkeys(self._behind, now)
            self._blockers = dict.fromkeys(self._blockers, now)
        self._moved_at = now
        self._is_judging = True

    def _resend(self, member: int, known: _Member, position: int) -> None:
        # A pair loses nothing: what is in it already isn't put there again.
        known.resent = max(known.resent, position)
        limit = self._bytes_before(position) + RESENT_AHEAD_BYTES
        while known.resent < self._head and self._bytes_before(known.resent) < limit:
            self._tell(member, Resent(packet=bytes(self._kept[known.resent][0])))
            known.resent += 1
        known.is_catching_up = known.resent < self._head

    def _drop(self, member: int) -> None:
        self._tell(member, GroupDropped(reason="too slow for the broadcast"))
        error = StreamReset(
            "A member was too slow for the broadcast and gets nothing more of it. The session "
            "goes on; let the member join again, or broadcast less at a time.",
            StreamCode.TIMED_OUT,
        )
        self._events.append(BroadcastDropped(member=member, error=error))
        self.remove(member)

    def _release(self) -> None:
        end = self._all.lowest if self._members else self._head
        while self._first < end:
            self._first_bytes = self._kept.pop(self._first)[1]
            self._first += 1

    def _bytes_before(self, position: int) -> int:
        return self._first_bytes if position == self._first else self._kept[position - 1][1]

    def _is_far(self, position: int) -> bool:
        return self._head_bytes - self._bytes_before(position) >= WINDOW_BYTES

    # Time

    def next_deadline(self) -> float | None:
        """When :meth:`handle_timeout` is due (seconds, absolute)."""
        deadlines = [] if self._end_deadline is None else [self._end_deadline]
        if self._behind and self._is_judging:
            deadlines.append(next(iter(self._behind.values())) + DROP_SECONDS)
        if 0 < len(self._blockers) < len(self._paced.positions):
            deadlines.append(next(iter(self._blockers.values())) + LAGGARD_SECONDS)
        return min(deadlines, default=None)

    def handle_timeout(self, now: float) -> None:
        """Go on without who has stalled, drop who stays behind, say where the end is."""
        if len(self._blockers) < len(self._paced.positions):
            # Some that count aren't behind: they needn't wait for the others.
            for member, since in list(self._blockers.items()):
                if since + LAGGARD_SECONDS <= now:
                    del self._blockers[member]
                    self._paced.remove(member)
        due = [m for m, since in self._behind.items() if since + DROP_SECONDS <= now]
        if due and now - self._moved_at > STILL_SECONDS:
            self._is_judging = False
        else:
            for member in due:
                self._drop(member)
        if self._end_deadline is not None and self._end_deadline <= now:
            self._announce_end(now)

    def _announce_end(self, now: float) -> None:
        if self.settled:
            self._end_deadline = None
            return
        end = GroupEnd(epoch=self.epoch, next=self.next_number)
        for member, position in self._all.positions.items():
            if position < self._head:
                self._tell(member, end)
        self._silence_seconds = min(2 * self._silence_seconds, MAX_SILENCE_SECONDS)
        self._end_deadline = now + self._silence_seconds
