"""porttunnel.net.gateway.attempt_limit"""

from __future__ import annotations

import pytest

from porttunnel.errors import GatewayBusy
from porttunnel.net.gateway.attempt_limit import AttemptLimit
from porttunnel.session.limit import RateLimiter


def make_limit(*, waits_for_all: bool = False, overall: int = 100) -> AttemptLimit:
    rate = RateLimiter(per_minute=2, per_hour=3, per_second_overall=overall)
    return AttemptLimit(
        rate, max_under_way=3, max_under_way_per_prefix=2, waits_for_all=waits_for_all
    )


def attempt(limit: AttemptLimit, prefix: str, now: float, *, counts: bool = True) -> None:
    limit.enter(prefix, now)
    limit.leave(prefix, now, counts=counts)


def test_what_is_right_may_be_repeated() -> None:
    limit = make_limit()
    for _ in range(10):
        attempt(limit, "a", 0.0, counts=False)
    limit.enter("a", 0.0)


def test_what_was_counted_may_not_be_repeated_often() -> None:
    limit = make_limit()
    attempt(limit, "a", 0.0)
    attempt(limit, "a", 20.0)
    with pytest.raises(GatewayBusy) as caught:
        limit.enter("a", 30.0)
    assert caught.value.too_many
    assert caught.value.retry_seconds == 30.0
    attempt(limit, "b", 30.0)
    attempt(limit, "a", 60.0)


def test_a_place_is_there_whatever_was_counted() -> None:
    limit = make_limit()
    for now in (0.0, 20.0):
        assert limit.wait_seconds("a", now) == 0.0
        attempt(limit, "a", now)
    assert limit.wait_seconds("a", 30.0) == 30.0
    limit.take_place("a")
    limit.take_place("a")
    with pytest.raises(GatewayBusy) as caught:
        limit.take_place("a")
    assert not caught.value.too_many


def test_only_so_many_are_under_way_for_one() -> None:
    limit = make_limit()
    limit.enter("a", 0.0)
    limit.enter("a", 0.0)
    with pytest.raises(GatewayBusy) as caught:
        limit.enter("a", 0.0)
    assert not caught.value.too_many
    assert caught.value.retry_seconds > 0
    limit.leave("a", 0.0, counts=False)
    limit.enter("a", 0.0)


def test_only_so_many_are_under_way_in_all() -> None:
    limit = make_limit()
    for prefix in "abc":
        limit.enter(prefix, 0.0)
    with pytest.raises(GatewayBusy):
        limit.enter("d", 0.0)
    limit.leave("b", 0.0, counts=False)
    limit.enter("d", 0.0)


def test_who_was_refused_leaves_nothing_behind() -> None:
    limit = make_limit()
    for prefix in "abc":
        limit.enter(prefix, 0.0)
    for number in range(100):
        with pytest.raises(GatewayBusy):
            limit.enter(f"stranger {number}", 0.0)
    assert set(limit._under_way) == set("abc")


def test_many_wrong_ones_keep_out_only_who_had_one() -> None:
    limit = make_limit(overall=2)
    attempt(limit, "a", 0.0)
    attempt(limit, "b", 0.0)
    with pytest.raises(GatewayBusy) as caught:
        limit.enter("a", 0.5)
    assert caught.value.too_many
    limit.enter("c", 0.5)


def test_what_costs_for_ever_waits_for_all() -> None:
    limit = make_limit(overall=2, waits_for_all=True)
    attempt(limit, "a", 0.0)
    attempt(limit, "b", 0.0)
    with pytest.raises(GatewayBusy) as caught:
        limit.enter("c", 0.5)
    assert caught.value.too_many
    limit.enter("c", 1.0)


def test_what_is_counted_counts_whatever_comes_of_it() -> None:
    limit = make_limit()
    with limit.counted("a", 0.0):
        pass
    with pytest.raises(ZeroDivisionError), limit.counted("a", 0.0):
        raise ZeroDivisionError
    with pytest.raises(GatewayBusy) as caught, limit.counted("a", 0.0):
        pass
    assert caught.value.too_many
    assert limit._under_way == {}
