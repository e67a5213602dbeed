"""An outbox that makes others wait."""

from __future__ import annotations

from porttunnel.mqtt.outbox import Outbox
from porttunnel.mqtt.paced_outbox import PacedOutbox
from porttunnel.mqtt.policy import Profile, SlowConsumer
from porttunnel.mqtt.reason import ReasonCode

PAUSE = Profile(slow_consumer=SlowConsumer.PAUSE, stall_seconds=10.0)


class Connection(PacedOutbox):
    def __init__(self, ready: list[Outbox]) -> None:
        super().__init__(ready)
        self.ended: tuple[ReasonCode, float] | None = None

    def cut(self, reason: ReasonCode, now: float, *, with_will: bool = True) -> None:
        self.ended = (reason, now)


def test_publishers_wait_until_it_has_caught_up() -> None:
    ready: list[Outbox] = []
    slow, first, second = (Connection(ready) for _ in range(3))
    slow.overrun(first, PAUSE, 5.0)
    slow.overrun(first, PAUSE, 6.0)
    slow.overrun(second, PAUSE, 7.0)
    assert (first.pauses, second.pauses) == (1, 1)
    assert slow.stalled_at == 15.0
    assert ready == [slow]  # for its deadline
    slow.relieve()
    assert (first.pauses, second.pauses) == (0, 0)
    assert slow.stalled_at is None
    assert set(ready) == {slow, first, second}
    slow.relieve()
    assert slow.ended is None


def test_a_publisher_may_wait_for_several() -> None:
    one, other, publisher = (Connection([]) for _ in range(3))
    one.overrun(publisher, PAUSE, 0.0)
    other.overrun(publisher, PAUSE, 0.0)
    one.relieve()
    assert publisher.pauses == 1


def test_nobody_waits_for_itself_or_because_of_nobody() -> None:
    slow = Connection([])
    slow.overrun(slow, PAUSE, 0.0)
    slow.overrun(None, PAUSE, 0.0)
    assert (slow.pauses, slow.stalled_at) == (0, None)


def test_or_it_is_cut() -> None:
    slow, publisher = Connection([]), Connection([])
    slow.overrun(publisher, Profile(slow_consumer=SlowConsumer.CUT), 3.0)
    assert slow.ended == (ReasonCode.QUOTA_EXCEEDED, 3.0)
    assert publisher.pauses == 0
