"""Nothing lost, nothing twice, no nonce twice: members under any order of cuts and switches.

A master and two clients write to each other while links break, the server crashes, answers get
lost, direct paths come and go, and the relay and the direct path get ahead of each other. Each
step is checked as :mod:`tests.session.two_paths` says; in the end everything that was written has
come.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from porttunnel.keys import sealing
from porttunnel.session import receipt, window
from porttunnel.session.event import PathKind
from porttunnel.session.packet import MASTER, MAX_PACKET_BYTES
from tests.session.two_paths import MAX_DIRECTS, TwoPaths

# Small enough that a short run meets them.
WINDOW_BYTES = 300 * 1024
GENERATION_PACKETS = 5
ACK_AFTER_BYTES = 20 * 1024
ACK_AFTER_PACKETS = 5
MAX_STREAMS = 4  # of a pair
LONG_OPERATIONS = 500_000  # of each machine

WRITES = (1, 30, 200, 3_000, 20_000, 66_000, 100_000, 1)  # bytes
PORTIONS = (1 << 20, 1, 35, 52, 400, 1_500, 9_000, 70_000)  # bytes
SECONDS = (0.01, 0.03, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0)
TOLD = ((True, True), (True, False), (False, True), (False, False))

# How often each comes, in a walk where nothing much would happen if all came as often.
ACTIONS = {
    "write": 14,
    "carry": 5,
    "deliver": 10,
    "send": 6,
    "carry_some": 14,
    "pass_time": 6,
    "resume": 8,
    "come_back": 6,
    "heal": 1,
    "connect_direct": 3,
    "cut": 2,
    "cut_direct": 3,
    "consume": 3,
    "stall": 3,
    "hold_news": 2,
    "release_news": 2,
    "drop_news": 1,
    "swallow": 1,
    "say_again": 2,
    "lose_answer": 1,
    "stop_server": 1,
    "end": 1,
    "open": 1,
}
# Each can be missing from a whole run: what one of them brings about another would hide.
TROUBLES = (
    *("connect_direct", "cut", "cut_direct", "stall", "hold_news", "swallow", "say_again"),
    *("stop_server", "heal", "end", "pass_time", "carry"),
)
NAMES = [name for name, times in ACTIONS.items() for _ in range(times)]
ACTION = st.tuples(st.sampled_from(NAMES), st.integers(0, 15), st.integers(0, 7))


class Resuming(RuleBasedStateMachine):
    generation_packets = sealing.MAX_GENERATION_PACKETS
    operations = 0

    def __init__(self) -> None:
        super().__init__()
        self.patches = [
            mock.patch.object(window, "WINDOW_BYTES", WINDOW_BYTES),
            mock.patch.object(receipt, "ACK_AFTER_BYTES", ACK_AFTER_BYTES),
            mock.patch.object(receipt, "ACK_AFTER_PACKETS", ACK_AFTER_PACKETS),
            mock.patch.object(sealing, "MAX_GENERATION_PACKETS", self.generation_packets),
        ]
        for patch in self.patches:
            patch.start()
        self.two = TwoPaths()

    @initialize(
        openers=st.lists(st.tuples(st.integers(2, 3), st.integers(0, 1)), min_size=1, max_size=4),
        ahead=st.sampled_from([5_000, 100_000, 512 * 1024]),
        greedy=st.booleans(),
        absent=st.sets(st.sampled_from(TROUBLES)),
    )
    def begin(
        self, openers: list[tuple[int, int]], ahead: int, greedy: bool, absent: set[str]
    ) -> None:
        """Most of what can go wrong needs streams that are open."""
        for member, index in openers:
            self.two.open(member, index)
        self.two.settle()
        self.two.greedy = greedy
        self.absent = absent
        for core in self.two.cores.values():
            core.limit_ahead(ahead)

    @rule(actions=st.lists(ACTION, min_size=1, max_size=30))
    def walk(self, actions: list[tuple[str, int, int]]) -> None:
        """One thing after the other: by name, which of those that there are, how."""
        for name, which, how in actions:
            type(self).operations += 1
            if name in self.absent:
                name = "carry_some"
            getattr(self, name)(which, how)
            self.check()

    # What the applications do

    def half(self, which: int) -> tuple[int, int, int] | None:
        """A client, a side of its pair (0: its own), and a stream."""
        member, index = 2 + which % 2, which // 2 % 2
        numbers = list(self.two.streams[member].halves)
        return (member, index, numbers[which // 4 % len(numbers)]) if numbers else None

    def write(self, which: int, how: int) -> None:
        half = self.half(which)
        if half is not None:
            self.two.write(*half, WRITES[how])

    def end(self, which: int, how: int) -> None:
        half = self.half(which)
        if half is not None:
            self.two.end(*half)

    def open(self, which: int, how: int) -> None:
        member, index = 2 + which % 2, which // 2 % 2
        if len(self.two.streams[member].halves) < MAX_STREAMS:
            self.two.open(member, index)

    def consume(self, which: int, how: int) -> None:
        self.two.consume(2 + which % 2, which // 2 % 2)

    # What goes on the paths

    def carry(self, which: int, how: int) -> None:
        """All that can go, goes."""
        self.two.settle()

    def send(self, which: int, how: int) -> None:
        due = [(member, side) for member, side in self.two.sides() if side.due]
        if due:
            self.two.send(*due[which % len(due)], PORTIONS[how])

    def deliver(self, which: int, how: int) -> None:
        """Some of what is in one pipe."""
        waiting = [pipe for pipe in self.two.pipes if pipe.holds_something]
        if waiting:
            pipe = waiting[which % len(waiting)]
            for _ in range(3):
                if pipe.holds_something:
                    self.two.deliver(pipe, PORTIONS[how])

    def carry_some(self, which: int, how: int) -> None:
        """One side of some connections sends, and what is in some pipes comes out."""
        for place, (member, side) in enumerate(self.two.sides()):
            if side.due and which >> place % 4 & 1:
                self.two.send(member, side)
        for place, pipe in enumerate(list(self.two.pipes)):
            if pipe.flows and how >> place % 3 & 1:
                self.two.deliver(pipe)
        if self.two.server.asked and how % 3:
            self.two.server.answer()

    def stall(self, which: int, how: int) -> None:
        """A pipe lets nothing out by itself, or does again."""
        if self.two.pipes:
            pipe = self.two.pipes[which % len(self.two.pipes)]
            pipe.stalled = not pipe.stalled

    def swallow(self, which: int, how: int) -> None:
        self.two.server.to_swallow = how

    def say_again(self, which: int, how: int) -> None:
        self.two.server.say_again(which + 16 * how)

    # What breaks

    def cut(self, which: int, how: int) -> None:
        self.two.cut(1 + which % 3, told=TOLD[how % 4])

    def stop_server(self, which: int, how: int) -> None:
        if how == 0:
            self.two.server.drain()
        elif how < 4:
            self.two.server.crash(told=bool(how % 2))

    def heal(self, which: int, how: int) -> None:
        self.two.heal()

    def resume(self, which: int, how: int) -> None:
        away = [member for member, side in self.two.links.items() if side.over]
        if away:
            self.two.resume(away[which % len(away)])

    def come_back(self, which: int, how: int) -> None:
        """All who are away, and the server hears of it; then nothing moves again."""
        for member in [member for member, side in self.two.links.items() if side.over]:
            self.two.resume(member)
            self.two.settle_link(member)

    def lose_answer(self, which: int, how: int) -> None:
        self.two.server.lose_answer(1 + which % 3)

    def connect_direct(self, which: int, how: int) -> None:
        member = 2 + which % 2
        if sum(direct.member == member for direct in self.two.directs) < MAX_DIRECTS:
            self.two.connect_direct(member)
            if how % 2:
                self.two.settle_direct()

    def cut_direct(self, which: int, how: int) -> None:
        if self.two.directs:
            direct = self.two.directs[which % len(self.two.directs)]
            self.two.cut_direct(direct, told=TOLD[how % 4])

    def pass_time(self, which: int, how: int) -> None:
        self.two.pass_time(SECONDS[how])

    def hold_news(self, which: int, how: int) -> None:
        self.two.server.holds_news = True

    def release_news(self, which: int, how: int) -> None:
        self.two.server.holds_news = False
        self.two.server.release_news()

    def drop_news(self, which: int, how: int) -> None:
        self.two.server.held.clear()

    # What must hold

    @invariant()
    def check(self) -> None:
        self.windows_are_bounded()
        self.who_has_to_send_was_woken()
        self.the_way_that_was_told_is_the_way()

    def windows_are_bounded(self) -> None:
        for _, *pairs in self.two.pairs():
            for each in pairs:
                assert each.unacked_bytes <= WINDOW_BYTES

    def who_has_to_send_was_woken(self) -> None:
        for member, side in self.two.sides():
            path: Any = side.machine
            if side.machine is self.two.cores[member]:
                path = side.machine.link
            assert path.outbox.waiting_bytes <= path.outbox.limit_bytes + 3 * MAX_PACKET_BYTES
            is_idle = not path.turns and not path.outbox.waiting_bytes
            if path.closed and path.kind is PathKind.RELAY:
                assert is_idle
            if not side.due and not side.over:
                assert is_idle, (member, path.kind)

    def the_way_that_was_told_is_the_way(self) -> None:
        for member in self.two.streams:
            for peer in (self.two.cores[member].peers[MASTER], self.two.master.peers[member]):
                assert peer.pair.path is None or peer.pair.path.kind is peer.path_kind

    def teardown(self) -> None:
        try:
            if hasattr(self, "two"):
                self.two.heal()
        finally:
            if hasattr(self, "two"):
                self.two.close()
            for patch in self.patches:
                patch.stop()


class ResumingWithShortGenerations(Resuming):
    generation_packets = GENERATION_PACKETS


def _for_ci() -> settings:
    return settings(deadline=None, max_examples=20, stateful_step_count=20)


TestResuming = Resuming.TestCase
TestResuming.settings = _for_ci()
TestResumingWithShortGenerations = ResumingWithShortGenerations.TestCase
TestResumingWithShortGenerations.settings = _for_ci()


@pytest.mark.long
@pytest.mark.parametrize("machine", [Resuming, ResumingWithShortGenerations])
def test_resuming_for_long(machine: type[Resuming], capsys: pytest.CaptureFixture[str]) -> None:
    machine.operations = 0
    while machine.operations < LONG_OPERATIONS:
        run_state_machine_as_test(
            machine, settings=settings(deadline=None, max_examples=500, stateful_step_count=50)
        )
        with capsys.disabled():
            print(f"{machine.__name__}: {machine.operations} operations")
    assert machine.operations >= LONG_OPERATIONS
