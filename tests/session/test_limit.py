"""porttunnel.session.limit"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.session import limit
from porttunnel.session.limit import ConnectionLimiter, RateLimiter, prefix_of


@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("/run/porttunnel/socket", "/run/porttunnel/socket"),
        ("", ""),
    ],
)
def test_prefix(address: str, prefix: str) -> None:
    assert prefix_of(address) == prefix


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_one_subscriber_has_one_prefix(network: int, one: int, other: int) -> None:
    def address(host: int) -> str:
        text = f"{network << 64 | host:032x}"
        return ":".join(text[index : index + 4] for index in range(0, 32, 4))

    if network:  # the zero network holds IPv4 addresses in IPv6's clothes
        assert prefix_of(address(one)) == prefix_of(address(other))


def happen(limiter: RateLimiter, prefix: str, *times: float) -> None:
    for now in times:
        assert limiter.allows(prefix, now)
        limiter.count(prefix, now)


def make(per_minute: int = 5, per_hour: int = 20, **others: int) -> RateLimiter:
    settings = {"per_second_overall": 1_000, **others}
    return RateLimiter(per_minute=per_minute, per_hour=per_hour, **settings)


def test_a_prefix_is_known_for_an_hour() -> None:
    limiter = make()
    assert not limiter.knows("a", 0.0)
    happen(limiter, "a", 0.0)
    assert limiter.knows("a", 3_599.0)
    assert not limiter.knows("a", 3_600.0)
    assert not limiter.knows("b", 0.0)


def test_five_failures_a_minute() -> None:
    limiter = RateLimiter.for_join_failures()
    happen(limiter, "a", 0.0, 10.0, 20.0, 30.0, 40.0)
    assert not limiter.allows("a", 40.0)
    assert not limiter.allows("a", 59.9)
    assert limiter.allows("b", 59.9)
    happen(limiter, "a", 60.0)
    assert not limiter.allows("a", 69.9)
    assert limiter.allows("a", 70.0)


def test_twenty_failures_an_hour() -> None:
    limiter = RateLimiter.for_join_failures()
    happen(limiter, "a", *(float(60 * index) for index in range(20)))
    assert not limiter.allows("a", 1_300.0)
    assert not limiter.allows("a", 3_599.0)
    assert limiter.allows("a", 3_600.0)


def test_sixty_creates_a_minute() -> None:
    limiter = RateLimiter.for_creates()
    happen(limiter, "a", *(0.5 * index for index in range(60)))
    assert not limiter.allows("a", 59.9)
    assert limiter.allows("b", 59.9)
    assert limiter.allows("a", 60.0)


def test_six_hundred_creates_an_hour() -> None:
    limiter = RateLimiter.for_creates()
    happen(limiter, "a", *(float(2 * index) for index in range(600)))
    assert not limiter.allows("a", 3_599.0)
    assert limiter.allows("a", 3_600.0)


def test_half_of_the_five_digit_numbers_take_one_prefix_three_days() -> None:
    assert 45_000 / limit.CREATES_PER_HOUR / 24 > 3


@pytest.mark.parametrize(
    "limiter", [RateLimiter.for_join_failures(), RateLimiter.for_creates()], ids=["join", "create"]
)
def test_fifty_a_second_over_all_prefixes(limiter: RateLimiter) -> None:
    for index in range(50):
        happen(limiter, f"p{index}", 0.01 * index)
    assert not limiter.allows("fresh", 0.99)
    assert limiter.allows("fresh", 1.0)


def test_the_longest_wait_is_told() -> None:
    limiter = make(per_minute=2, per_hour=3, per_second_overall=2)
    assert limiter.wait_seconds("a", 0.0) == 0.0
    happen(limiter, "a", 0.0, 0.25)
    assert limiter.wait_seconds("a", 0.5) == 59.5
    assert limiter.wait_seconds("b", 0.5) == 0.5
    happen(limiter, "a", 60.0)
    assert limiter.wait_seconds("a", 100.0) == 3_500.0
    assert limiter.wait_seconds("a", 4_000.0) == 0.0


def test_what_is_not_counted_costs_nothing() -> None:
    limiter = make(per_minute=1, per_hour=1, per_second_overall=1)
    assert all(limiter.allows("a", 0.0) for _ in range(100))


def test_forgets_the_prefix_that_was_counted_longest_ago() -> None:
    limiter = make(per_minute=2, max_prefixes=2)
    happen(limiter, "a", 0.0)
    happen(limiter, "b", 1.0, 1.0)
    happen(limiter, "a", 2.0)
    assert not limiter.allows("a", 2.0)
    assert not limiter.allows("b", 2.0)
    happen(limiter, "c", 3.0)
    assert not limiter.allows("a", 3.0)
    assert limiter.allows("b", 3.0)


def test_keeps_nothing_that_no_window_holds() -> None:
    limiter = make()
    happen(limiter, "a", 0.0, 1.0)
    happen(limiter, "b", 2.0, 3_000.0)
    happen(limiter, "c", 3_602.0)
    assert {prefix: list(times) for prefix, times in limiter._counted.items()} == {
        "b": [2.0, 3_000.0],
        "c": [3_602.0],
    }
    happen(limiter, "b", 3_602.0)
    assert list(limiter._counted["b"]) == [3_000.0, 3_602.0]


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 500)), max_size=60),
    st.integers(1, 4),
    st.integers(4, 8),
)
def test_no_window_ever_holds_more_than_its_limit(
    steps: list[tuple[str, float]], per_minute: int, per_hour: int
) -> None:
    limiter = make(per_minute, per_hour)
    counted: dict[str, list[float]] = {"a": [], "b": []}
    now = 0.0
    for prefix, wait in steps:
        now += wait
        times = counted[prefix]
        in_minute = sum(now - time < 60 for time in times)
        in_hour = sum(now - time < 3_600 for time in times)
        may = limiter.allows(prefix, now)
        assert may == (in_minute < per_minute and in_hour < per_hour)
        if may:
            limiter.count(prefix, now)
            times.append(now)


def test_connections_of_one_prefix() -> None:
    limiter = ConnectionLimiter()
    made = [limiter.connection_made("a") for _ in range(limit.MAX_CONNECTIONS_PER_PREFIX + 1)]
    assert made == [True] * 64 + [False]
    assert limiter.connection_made("b")
    limiter.connection_lost("a")
    assert limiter.connection_made("a")
    assert not limiter.connection_made("a")


def test_connections_in_all() -> None:
    limiter = ConnectionLimiter(overall=2)
    assert limiter.connection_made("a")
    assert limiter.connection_made("b")
    assert not limiter.connection_made("c")
    limiter.connection_lost("a")
    assert limiter.connection_made("c")
    assert not limiter.connection_made("a")


def test_connections_whose_prefix_is_known_later() -> None:
    limiter = ConnectionLimiter(per_prefix=1, overall=3)
    assert [limiter.connection_made(None) for _ in range(4)] == [True, True, True, False]
    assert limiter.prefix_known("a")
    assert not limiter.prefix_known("a")
    limiter.connection_lost(None)
    assert not limiter.connection_made("a")
    limiter.connection_lost("a")
    assert limiter.connection_made("a")
    assert limiter.connection_made("b")
    assert not limiter.connection_made("c")


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc"))))
def test_connections_count_like_a_bag(steps: list[tuple[bool, str]]) -> None:
    limiter = ConnectionLimiter(per_prefix=2, overall=4)
    living: list[str] = []
    for made, prefix in steps:
        if made:
            room = living.count(prefix) < 2 and len(living) < 4
            assert limiter.connection_made(prefix) == room
            if room:
                living.append(prefix)
        elif prefix in living:
            limiter.connection_lost(prefix)
            living.remove(prefix)
