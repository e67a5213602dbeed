"""How often something may happen."""

from __future__ import annotations

from porttunnel.mqtt.token_bucket import TokenBucket


def test_a_burst_and_then_the_rate() -> None:
    bucket = TokenBucket(2.0, 3, now=10.0)
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(10.4)
    assert bucket.take(10.5)
    assert not bucket.take(10.9)


def test_holds_no_more_than_a_burst() -> None:
    bucket = TokenBucket(2.0, 3, now=0.0)
    assert [bucket.take(1e6) for _ in range(4)] == [True, True, True, False]


def test_a_debt_says_when_it_is_paid() -> None:
    bucket = TokenBucket(10.0, 5, now=0.0)
    assert bucket.charge(5, 0.0) is None
    assert bucket.charge(20, 0.0) == 2.0
    assert bucket.charge(1, 1.0) == 2.1
    assert not bucket.take(2.0)
    assert bucket.take(2.25)
