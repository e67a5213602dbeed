"""A broadcast to three members under any order of writes, losses, joins, leaves and stalls.

What a member delivers is always a contiguous part of what was sealed, from where it came in; no
number is sealed twice under one key; what is resent is what was sent first; bounds hold; and a
member that has stalled makes no other wait.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from porttunnel.keys.primitives import SigningKey
from porttunnel.keys.sealing import GroupOpener
from porttunnel.session import broadcast_window
from porttunnel.session.broadcast_receiver import OLD_KEY_SECONDS, BroadcastReceiver
from porttunnel.session.broadcast_sender import BroadcastSender
from porttunnel.session.event import (
    BroadcastDropped,
    BroadcastEnded,
    BroadcastLost,
    BroadcastReceived,
    BroadcastWritable,
)
from porttunnel.session.packet import HEADER_BYTES, decode_header
from porttunnel.session.record import (
    MAX_GROUP_PACKET_BYTES,
    RECORD_HEADER,
    Epoch,
    GroupAck,
    GroupDropped,
    GroupEnd,
    RecordKind,
    Resent,
)

SESSION = bytes(range(16))
SIGNING = SigningKey.generate()
MAX_MEMBERS = 3
# Small enough that a short run meets them.
WINDOW_BYTES = 200_000
MAX_KEPT_BYTES = 600_000
RESENT_AHEAD_BYTES = 80_000
TINY_PACKET_BYTES = 4_000

SIZES = st.one_of(st.integers(1, 200), st.integers(1, 20_000), st.integers(30_000, 250_000))
CHANNELS = st.integers(1, 3)
COUNTS = st.one_of(st.integers(1, 3), st.just(1000))


def key_of(epoch: int) -> bytes:
    return epoch.to_bytes(32)


@dataclass
class Member:
    """A client, what is under way to it and from it, and what it should deliver next."""

    receiver: BroadcastReceiver
    position: int  # of the next record it should deliver, among all that were sealed
    events: list[Any]
    reports: deque[GroupAck]
    pair: deque[Epoch | Resent | GroupEnd | GroupDropped] = field(default_factory=deque)
    relay: deque[bytes] = field(default_factory=deque)
    epoch_times: list[float] = field(default_factory=list)
    is_dropped: bool = False  # by the master
    is_lost: bool = False


class Broadcast(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patches = [
            mock.patch.object(broadcast_window, name, value)
            for name, value in (
                ("WINDOW_BYTES", WINDOW_BYTES),
                ("MAX_KEPT_BYTES", MAX_KEPT_BYTES),
                ("RESENT_AHEAD_BYTES", RESENT_AHEAD_BYTES),
                ("MIN_PACKET_COST_BYTES", TINY_PACKET_BYTES),
            )
        ]
        for patch in self.patches:
            patch.start()
        self.now = 1000.0
        self.room = True
        self.events: list[Any] = []
        self.sender = BroadcastSender(
            SESSION,
            SIGNING,
            send_group=self.sealed_one,
            tell=self.tell,
            room=lambda: self.room,
            events=self.events,
        )
        self.epoch = 0
        self.members: dict[int, Member] = {}
        self.next_member = 2
        self.paused: set[int] = set()
        self.written: deque[tuple[int, bytes | None]] = deque()  # and not yet sealed
        self.count = 0
        self.sealed: dict[tuple[int, int], bytes] = {}
        self.records: list[tuple[int, bytes | None]] = []

    # The world of the sender

    def sealed_one(self, packet: bytes | memoryview) -> None:
        """A packet goes to the tunnel server, which passes it on to all."""
        content = bytes(packet)
        header = decode_header(content)
        assert (header.epoch, header.number) not in self.sealed, "one nonce twice under one key"
        assert header.epoch == self.epoch
        self.sealed[header.epoch, header.number] = content
        opener = GroupOpener(SESSION, header.epoch, key_of(header.epoch))
        rest = bytes(opener.open_group(memoryview(content), header.number))[64:]
        while rest:
            kind, channel, length = RECORD_HEADER.unpack_from(rest)
            payload = rest[RECORD_HEADER.size : RECORD_HEADER.size + length]
            rest = rest[RECORD_HEADER.size + length :]
            self.records.append((channel, payload if kind == RecordKind.DATA else None))
            self.was_written(channel, None if kind == RecordKind.END else payload)
        for member in self.members.values():
            member.relay.append(content)

    def was_written(self, channel: int, payload: bytes | None) -> None:
        """What is sealed is what was written, in its order."""
        if payload is None:
            assert self.written.popleft() == (channel, None)
            return
        while payload:
            expected_channel, expected = self.written[0]
            assert expected is not None
            size = min(len(expected), len(payload))
            assert (channel, payload[:size]) == (expected_channel, expected[:size])
            payload = payload[size:]
            self.written.popleft()
            if size < len(expected):
                self.written.appendleft((channel, expected[size:]))

    def tell(self, number: int, message: Resent | GroupEnd | GroupDropped) -> None:
        member = self.members[number]
        assert not member.is_dropped
        if isinstance(message, Resent):
            header = decode_header(message.packet)
            assert message.packet == self.sealed[header.epoch, header.number]
        elif isinstance(message, GroupDropped):
            member.is_dropped = True
        member.pair.append(message)

    def look(self) -> None:
        """What sender and receivers have reported: is it right?"""
        for event in self.events:
            if isinstance(event, BroadcastWritable):
                self.paused.remove(event.channel)
            else:
                assert isinstance(event, BroadcastDropped)
                assert self.members[event.member].is_dropped
        self.events.clear()
        for member in self.members.values():
            for event in member.events:
                self.look_at(member, event)
            member.events.clear()

    def look_at(self, member: Member, event: Any) -> None:
        assert not member.is_lost
        if isinstance(event, BroadcastLost):
            waited = member.epoch_times and self.now - member.epoch_times[0] >= OLD_KEY_SECONDS
            assert waited or member.is_dropped
            member.is_lost = True
            return
        channel, payload = self.records[member.position]
        member.position += 1
        if isinstance(event, BroadcastEnded):
            assert (channel, payload) == (event.channel, None)
        else:
            assert isinstance(event, BroadcastReceived)
            assert (channel, payload) == (event.channel, bytes(event.data))

    # What the master's program does

    @initialize(count=st.integers(1, MAX_MEMBERS))
    def begin(self, count: int) -> None:
        for _ in range(count):
            self.join()

    @rule(channel=CHANNELS, size=SIZES)
    def write(self, channel: int, size: int) -> None:
        if channel in self.paused:
            return
        self.count += 1
        data = (self.count.to_bytes(4) * (size // 4 + 1))[:size]
        self.written.append((channel, data))
        if not self.sender.write(channel, data, self.now):
            self.paused.add(channel)
        self.look()

    @rule(channel=CHANNELS)
    def end(self, channel: int) -> None:
        if channel in self.paused:
            return
        self.written.append((channel, None))
        if not self.sender.end(channel, self.now):
            self.paused.add(channel)
        self.look()

    @rule()
    def flush(self) -> None:
        self.sender.flush(self.now)
        self.look()

    @rule(room=st.booleans())
    def link(self, room: bool) -> None:
        """The link is full, or takes more again."""
        self.room = room
        self.sender.advance(self.now)
        self.look()

    def begin_epoch(self) -> None:
        self.epoch += 1
        message = self.sender.begin_epoch(key_of(self.epoch))
        assert message.epoch == self.epoch
        for member in self.members.values():
            if not member.is_dropped:
                member.pair.append(message)

    @precondition(lambda self: len(self.members) < MAX_MEMBERS)
    @rule()
    def join(self) -> None:
        self.begin_epoch()
        self.sender.add_member(self.next_member)
        events: list[Any] = []
        reports: deque[GroupAck] = deque()
        receiver = BroadcastReceiver(
            SESSION,
            SIGNING.public,
            self.epoch,
            key_of(self.epoch),
            tell=reports.append,
            events=events,
        )
        self.members[self.next_member] = Member(receiver, len(self.records), events, reports)
        self.next_member += 1
        self.sender.advance(self.now)
        self.look()

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.part(self.choose(data))

    def part(self, number: int) -> None:
        del self.members[number]
        self.sender.remove_member(number)
        self.begin_epoch()
        self.sender.advance(self.now)
        self.look()

    def choose(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(sorted(self.members)))

    # What happens on the way

    @precondition(lambda self: self.members)
    @rule(data=st.data(), count=COUNTS)
    def relay(self, data: st.DataObject, count: int) -> None:
        self.bring_relayed(self.members[self.choose(data)], count)

    def bring_relayed(self, member: Member, count: int) -> None:
        while member.relay and count:
            count -= 1
            packet = bytearray(member.relay.popleft())
            header = decode_header(packet)
            member.receiver.receive_group(header, memoryview(packet), self.now)
            self.look()

    @precondition(lambda self: self.members)
    @rule(data=st.data(), count=COUNTS)
    def pair(self, data: st.DataObject, count: int) -> None:
        self.bring_told(self.members[self.choose(data)], count)

    def bring_told(self, member: Member, count: int) -> None:
        while member.pair and count:
            count -= 1
            message = member.pair.popleft()
            if isinstance(message, Epoch):
                member.epoch_times.append(self.now)
                member.receiver.receive_epoch(message, self.now)
            elif isinstance(message, Resent):
                member.receiver.receive_resent(message, self.now)
            elif isinstance(message, GroupEnd):
                member.receiver.receive_end(message, self.now)
            else:
                member.receiver.receive_dropped()
            self.look()

    @precondition(lambda self: self.members)
    @rule(data=st.data(), count=COUNTS)
    def report(self, data: st.DataObject, count: int) -> None:
        self.bring_reports(self.choose(data), count)

    def bring_reports(self, number: int, count: int) -> None:
        reports = self.members[number].reports
        while reports and count:
            count -= 1
            self.sender.receive_ack(number, reports.popleft(), self.now)
            self.look()

    @precondition(lambda self: any(member.relay for member in self.members.values()))
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        relay = self.members[self.choose(data)].relay
        for _ in range(data.draw(st.integers(0, len(relay)))):
            del relay[data.draw(st.integers(0, len(relay) - 1))]

    @precondition(lambda self: any(member.relay for member in self.members.values()))
    @rule(data=st.data(), what=st.sampled_from(("swap", "repeat", "spoil")))
    def meddle(self, data: st.DataObject, what: str) -> None:
        """What the tunnel server could do, if it wanted."""
        relay = self.members[self.choose(data)].relay
        if not relay:
            return
        place = data.draw(st.integers(0, len(relay) - 1))
        if what == "swap":
            relay[place], relay[0] = relay[0], relay[place]
        elif what == "repeat":
            relay.append(relay[place])
        else:
            spoilt = bytearray(relay[place])
            # Epoch, number, ack or body: what lies between is checked when it is cut.
            fields = [*range(8, 12), *range(16, 32), *range(HEADER_BYTES, len(spoilt))]
            spoilt[data.draw(st.sampled_from(fields))] ^= 1 << data.draw(st.integers(0, 7))
            relay.insert(place, bytes(spoilt))

    @rule(seconds=st.sampled_from((0.001, 0.025, 0.1, 0.25, 1.0, 5.0, 10.0, 61.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for machine in (self.sender, *(member.receiver for member in self.members.values())):
            deadline = machine.next_deadline()
            if deadline is not None and deadline <= self.now:
                machine.handle_timeout(self.now)
                # Else the driver would turn in circles.
                later = machine.next_deadline()
                assert later is None or later > self.now
        self.look()

    # What always holds

    @invariant()
    def bounds_hold(self) -> None:
        assert self.sender._window.kept_bytes <= MAX_KEPT_BYTES
        for member in self.members.values():
            resent = sum(len(m.packet) for m in member.pair if isinstance(m, Resent))
            assert resent < RESENT_AHEAD_BYTES + MAX_GROUP_PACKET_BYTES

    def turn(self, stalled: int | None = None) -> None:
        """A little time, in which everything arrives but at one member."""
        self.sender.flush(self.now)
        for number, member in self.members.items():
            if number != stalled:
                self.bring_told(member, 1000)
                self.bring_relayed(member, 1000)
                self.bring_reports(number, 1000)
        self.wait(0.05)

    def finish(self) -> None:
        """A stalled member stops no other, and in the end everybody has everything."""
        self.room = True
        for number, member in list(self.members.items()):
            if member.is_lost or member.is_dropped:
                self.part(number)
        for _ in range(100):
            self.turn()
        for number in [n for n, m in self.members.items() if m.is_lost or m.is_dropped]:
            self.part(number)
        if not self.members:
            return
        stalled = min(self.members)
        others = [member for number, member in self.members.items() if number != stalled]
        sealed = len(self.sealed)
        for _ in range(40):
            self.write(1, 100_000)
            self.turn(stalled)
        self.turn(stalled)
        if others:
            assert not self.written
            assert len(self.sealed) > sealed + 25
        for member in others:
            assert not member.is_lost
            assert member.position == len(self.records)
        for _ in range(100):
            self.turn()
        for member in self.members.values():
            assert member.is_dropped or member.position == len(self.records)
        if not self.members[stalled].is_dropped:
            assert self.sender.settled

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            for patch in self.patches:
                patch.stop()


def test_a_broadcast_keeps_its_promises() -> None:
    run_state_machine_as_test(
        Broadcast, settings=settings(max_examples=25, stateful_step_count=30, deadline=None)
    )


@pytest.mark.long
def test_a_broadcast_keeps_its_promises_for_long() -> None:
    run_state_machine_as_test(
        Broadcast, settings=settings(max_examples=1000, stateful_step_count=80, deadline=None)
    )
