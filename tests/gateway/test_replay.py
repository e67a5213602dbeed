"""porttunnel/gateway/replay.py: nothing is admitted twice, and nothing that is old."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porttunnel.errors import LocalProtocolError
from porttunnel.gateway import replay
from porttunnel.gateway.message_head import MessageHead
from porttunnel.gateway.refusal import Refusal, RefusalReason
from porttunnel.gateway.replay import (
    Admitted,
    PushGate,
    ReplayWindow,
    RequestClock,
    RisingCounter,
    judge_time,
)

NOW = 1_790_000_000_000


def head(counter: int, unix_ms: int = NOW) -> MessageHead:
    return MessageHead(1, counter, unix_ms)


def counter_refusal(highest: int) -> Refusal:
    return Refusal(RefusalReason.COUNTER, highest)


class TestReplayWindow:
    def test_takes_each_once_in_any_order(self) -> None:
        window = ReplayWindow()
        assert window.highest == 0
        for counter in (5, 3, 9, 0, 4):
            assert window.admit(counter) == Admitted(counter, None)
        for counter in (5, 3, 9, 0, 4):
            assert window.admit(counter) == counter_refusal(9)
        assert window.highest == 9

    def test_forgets_the_lowest_when_it_is_full_and_takes_nothing_below(self) -> None:
        window = ReplayWindow(range(10, 10 + 2 * 1_024, 2))
        assert window.admit(9) == counter_refusal(2_056)
        assert window.admit(11) == Admitted(11, 10)
        for counter in (10, 11, 12, 2_056):
            assert window.admit(counter) == counter_refusal(2_056)
        assert window.admit(2**64 - 1) == Admitted(2**64 - 1, 11)
        assert window.highest == 2**64 - 1

    def test_what_was_written_down_comes_in_any_order(self) -> None:
        window = ReplayWindow([7, 1, 3])
        assert window.admit(3) == counter_refusal(7)
        assert window.admit(2) == Admitted(2, None)

    @settings(max_examples=60)
    @given(st.lists(st.integers(0, 12), max_size=40))
    def test_like_one_that_is_slow_and_simple(self, counters: list[int]) -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(replay, "WINDOW_COUNTERS", 4)
            window = ReplayWindow()
            kept: set[int] = set()
            admitted: list[int] = []
            for counter in counters:
                new = counter not in kept and not (len(kept) == 4 and counter < min(kept))
                decision = window.admit(counter)
                assert isinstance(decision, Admitted) == new
                if isinstance(decision, Admitted):
                    admitted.append(counter)
                    kept.add(counter)
                    if len(kept) > 4:
                        assert decision.forgotten == min(kept)
                    kept = set(sorted(kept)[-4:])
            assert len(set(admitted)) == len(admitted)
            assert window.highest == max(kept, default=0)

    def test_the_limits_are_the_specifications(self) -> None:
        assert (replay.WINDOW_COUNTERS, replay.MAX_CLOCK_DIFFERENCE_MS) == (1_024, 300_000)


class TestTime:
    @pytest.mark.parametrize("ahead", [-300_000, 0, 300_000])
    def test_clocks_may_differ(self, ahead: int) -> None:
        assert judge_time(head(1, NOW + ahead), NOW) is None

    @pytest.mark.parametrize("ahead", [-300_001, 300_001, 2**62])
    def test_but_not_much(self, ahead: int) -> None:
        assert judge_time(head(1, NOW + ahead), NOW) == Refusal(RefusalReason.TIME, NOW)


class TestRisingCounter:
    def test_follows_the_clock_and_never_goes_back(self) -> None:
        counter = RisingCounter()
        drawn = [counter.draw(now) for now in (NOW, NOW, NOW - 50, NOW + 1, NOW + 9)]
        assert drawn == [NOW, NOW + 1, NOW + 2, NOW + 3, NOW + 9]
        assert counter.last == NOW + 9

    def test_ends(self) -> None:
        counter = RisingCounter(2**64 - 2)
        assert counter.draw(NOW) == 2**64 - 1
        with pytest.raises(LocalProtocolError, match="rotate"):
            counter.draw(NOW)


class TestRequestClock:
    def test_heads(self) -> None:
        clock = RequestClock(last=NOW + 5, offset_ms=1_000)
        assert clock.draw(3, NOW) == MessageHead(3, NOW + 1_000, NOW + 1_000)
        assert clock.draw(0, NOW, about_keys=True) == MessageHead(
            0, NOW + 1_001, NOW + 1_000, True
        )
        assert clock.last == NOW + 1_001

    def test_learns_the_counter(self) -> None:
        clock, window = RequestClock(), ReplayWindow([NOW + 77])
        window.admit(NOW)
        refusal = window.admit(clock.draw(1, NOW).counter)
        assert isinstance(refusal, Refusal)
        assert clock.correct(refusal, NOW)
        assert window.admit(clock.draw(1, NOW).counter) == Admitted(NOW + 78, None)
        assert clock.correct(counter_refusal(1), NOW)
        assert clock.last == NOW + 78

    @pytest.mark.parametrize("wrong_by", [-3_600_000, 3_600_000])
    def test_learns_the_time(self, wrong_by: int) -> None:
        clock = RequestClock()
        refusal = judge_time(clock.draw(1, NOW + wrong_by), NOW)
        assert isinstance(refusal, Refusal)
        assert clock.correct(refusal, NOW + wrong_by)
        assert clock.offset_ms == -wrong_by
        assert judge_time(clock.draw(1, NOW + wrong_by), NOW) is None

    @pytest.mark.parametrize(
        "reason", [RefusalReason.NOT_EXECUTED, RefusalReason.WAITING, RefusalReason.ROTATE]
    )
    def test_learns_nothing_from_others(self, reason: RefusalReason) -> None:
        clock = RequestClock(5, 6)
        assert not clock.correct(Refusal(reason, 9), NOW)
        assert (clock.last, clock.offset_ms) == (5, 6)

    def test_a_clock_that_is_put_right_later_is_corrected_again(self) -> None:
        century = 100 * 365 * 86_400_000
        clock = RequestClock()
        assert clock.correct(Refusal(RefusalReason.TIME, NOW), NOW + century)
        wrong = MessageHead.decode(clock.draw(1, NOW).encode())
        refusal = judge_time(wrong, NOW)
        assert refusal is not None
        assert clock.correct(refusal, NOW)
        assert judge_time(clock.draw(1, NOW), NOW) is None


class TestPushGate:
    def test_takes_only_higher_ones(self) -> None:
        gate = PushGate(5)
        assert [gate.admit(head(counter), NOW) for counter in (5, 4, 7, 6, 7, 8)] == [
            False,
            False,
            True,
            False,
            False,
            True,
        ]
        assert gate.highest == 8

    def test_none_that_is_old(self) -> None:
        gate = PushGate()
        assert not gate.admit(head(1, NOW - 300_001), NOW)
        assert gate.highest == 0
        assert gate.admit(head(1, NOW - 300_000), NOW)
        assert gate.admit(head(2, NOW + 3_600_000), NOW)
