"""Messages that are kept for later subscribers."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import MqttError
from porttunnel.mqtt.message import Message
from porttunnel.mqtt.packet import Version
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.retained import SPARE_DATES, RetainedStore
from porttunnel.mqtt.topic import matches

NAMES = ["a", "a/b", "a/b/c", "/", "b", "a/", "$SYS/a", "$SYS/a/b", "$SYS"]
FILTERS = ["a", "a/b", "a/+", "+/b", "+", "+/+", "#", "a/#", "/", "$SYS/#", "$SYS/+", "c", "a/c/+"]


def kept(topic: str, payload: bytes = b"x", expires_at: float | None = None) -> Message:
    return Message(topic, payload, 1, retain=True, expires_at=expires_at)


def found(
    store: RetainedStore, pattern: str, number: int | None = None, now: float = 0.0
) -> list[Message]:
    steps = store.look_for(pattern, store.number if number is None else number, now)
    return [message for message in steps if message is not None]


def topics(store: RetainedStore, pattern: str, now: float = 0.0) -> list[str]:
    return sorted(message.topic for message in found(store, pattern, now=now))


@pytest.mark.parametrize("pattern", FILTERS)
@pytest.mark.mqtt5("4.7.2-1")
@pytest.mark.mqtt3("4.7.2-1")
def test_finds_what_matches(pattern: str) -> None:
    store = RetainedStore(1 << 20)
    for name in NAMES:
        store.keep(kept(name), 0.0)
    assert store.count == len(NAMES)
    assert topics(store, pattern) == sorted(name for name in NAMES if matches(pattern, name))


@pytest.mark.mqtt5("3.3.1-5", "3.3.1-6", "3.3.1-7")
@pytest.mark.mqtt3("3.3.1-5", "3.3.1-10", "3.3.1-11")
def test_the_last_one_counts_and_an_empty_one_removes_it() -> None:
    store = RetainedStore(1 << 20)
    store.keep(kept("a/b", b""), 0.0)
    assert store.count == 0
    store.keep(kept("a/b", b"1"), 0.0)
    store.keep(kept("a/b", b"longer"), 0.0)
    assert [message.payload for message in found(store, "a/b")] == [b"longer"]
    store.keep(kept("a", b"above"), 0.0)
    store.keep(kept("a/c", b""), 0.0)
    store.keep(kept("a/b", b""), 0.0)
    assert topics(store, "#") == ["a"]
    store.keep(kept("a", b""), 0.0)
    assert (store.count, store.held_bytes) == (0, 0)


@pytest.mark.mqtt5("3.3.2-5")
def test_what_expired_is_forgotten() -> None:
    store = RetainedStore(1 << 20)
    store.keep(kept("a", expires_at=5.0), 0.0)
    store.keep(kept("b"), 0.0)
    assert topics(store, "+", 4.9) == ["a", "b"]
    assert topics(store, "+", 5.0) == ["b"]
    store.keep(kept("b"), 5.0)
    assert store.count == 1


def test_makes_room_for_what_is_not() -> None:
    probe = RetainedStore(1 << 20)
    probe.keep(kept("a/b"), 0.0)
    store = RetainedStore(3 * probe.held_bytes)
    for topic, expires_at in (("a/b", 5.0), ("a/c", 9.0), ("a/d", 6.0)):
        store.keep(kept(topic, expires_at=expires_at), 0.0)
    store.keep(kept("a/d", expires_at=None), 1.0)
    with pytest.raises(MqttError):
        store.keep(kept("a/e"), 4.9)
    store.keep(kept("a/e"), 8.0)
    with pytest.raises(MqttError):
        store.keep(kept("a/f"), 8.0)
    assert topics(store, "#") == ["a/c", "a/d", "a/e"]


def test_dates_of_what_is_gone_are_forgotten() -> None:
    store = RetainedStore(1 << 20)
    store.keep(kept("b", expires_at=7.0), 0.0)
    for number in range(10 * SPARE_DATES):
        store.keep(kept("a", b"%d" % number, expires_at=5.0 + number), 0.0)
        if number == 5:
            store.keep(kept("c", expires_at=9.0), 0.0)
            store.keep(kept("c", b""), 0.0)
    assert len(store._dates) <= 2 * 2 + SPARE_DATES
    assert sorted(message.topic for message in found(store, "#")) == ["a", "b"]
    store.keep(kept("d"), 8.0)
    assert topics(store, "#") == ["a", "d"]


def test_each_step_is_told() -> None:
    store = RetainedStore(1 << 20)
    for number in range(100):
        store.keep(kept(str(number)), 0.0)
    assert list(store.look_for("+/z", store.number, 0.0)) == [None] * 100
    assert list(store.look_for("7/z", store.number, 0.0)) == [None]


def test_changes_meanwhile_are_minded() -> None:
    store = RetainedStore(1 << 20)
    for number in range(10):
        store.keep(kept(f"a/{number}"), 0.0)
    steps = store.look_for("a/+", store.number, 0.0)
    assert next(steps) is None
    assert [next(steps).topic for _ in range(4)] == [f"a/{number}" for number in range(4)]
    for number in (0, 1, 2, 5, 6, 8, 9):
        store.keep(kept(f"a/{number}", b""), 0.0)
    store.keep(kept("a/new"), 0.0)
    store.keep(kept("a/5"), 0.0)
    assert [step.topic for step in steps if step is not None] == ["a/4", "a/7"]
    steps = store.look_for("a/#", store.number, 0.0)
    next(steps)
    for topic in ("a/3", "a/4", "a/7", "a/new", "a/5"):
        store.keep(kept(topic, b""), 0.0)
    assert [step for step in steps if step is not None] == []
    assert store.held_bytes == 0


def test_does_not_keep_packets_made_of_its_messages() -> None:
    store = RetainedStore(1 << 20)
    message = kept("a")
    message.packet(Version.V5, retain=False)
    store.keep(message, 0.0)
    (own,) = found(store, "a")
    assert own is not message
    assert own.payload is message.payload
    assert own.cost == message.cost


def test_what_was_kept_later_is_passed_over() -> None:
    store = RetainedStore(1 << 20)
    store.keep(kept("a", b"1"), 0.0)
    store.keep(kept("b", b"2"), 0.0)
    number = store.number
    store.keep(kept("a", b"3"), 0.0)
    store.keep(kept("c", b"4"), 0.0)
    assert [message.payload for message in found(store, "#", number)] == [b"2"]
    assert len(found(store, "+")) == 3


def test_is_bounded_in_bytes() -> None:
    cost = 0
    probe = RetainedStore(1 << 20)
    probe.keep(kept("a", bytes(100)), 0.0)
    cost = probe.held_bytes
    store = RetainedStore(2 * cost)
    store.keep(kept("a", bytes(100)), 0.0)
    store.keep(kept("b", bytes(100)), 0.0)
    for topic in ("c", "d/e"):
        with pytest.raises(MqttError) as caught:
            store.keep(kept(topic, bytes(100)), 0.0)
        assert caught.value.reason == ReasonCode.QUOTA_EXCEEDED
    with pytest.raises(MqttError):
        store.keep(kept("a", bytes(101)), 0.0)
    store.keep(kept("a", b"\1" * 100), 0.0)
    assert [message.payload for message in found(store, "a")] == [b"\1" * 100]
    store.keep(kept("b", b""), 0.0)
    store.keep(kept("c", bytes(100)), 0.0)
    assert store.held_bytes == 2 * cost


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(["", "a", "$b"]), min_size=1, max_size=3)
            .map("/".join)
            .filter(bool),
            st.booleans(),
        )
    )
)
def test_costs_nothing_once_all_is_gone(changes: list[tuple[str, bool]]) -> None:
    store = RetainedStore(1 << 20)
    model: set[str] = set()
    for topic, keeping in changes:
        store.keep(kept(topic, b"x" if keeping else b""), 0.0)
        (model.add if keeping else model.discard)(topic)
    assert store.count == len(model)
    for topic in model:
        store.keep(kept(topic, b""), 0.0)
    assert store.held_bytes == 0
    assert topics(store, "#") == []


TOPICS = st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=1, max_size=3).map("/".join)
CHANGES = st.lists(st.tuples(TOPICS.filter(bool), st.booleans(), st.integers(0, 3)), max_size=40)


@given(
    st.sets(TOPICS.filter(bool)),
    st.sampled_from(["#", "+", "+/#", "a/#", "+/a", "+/+/b", "a/+/#"]),
    CHANGES,
)
def test_what_nobody_touches_is_found_once_whatever_else_happens(
    names: set[str], pattern: str, changes: list[tuple[str, bool, int]]
) -> None:
    store = RetainedStore(1 << 20)
    for name in names:
        store.keep(kept(name), 0.0)
    steps = store.look_for(pattern, store.number, 0.0)
    seen: list[str] = []
    touched: set[str] = set()
    for topic, keeping, count in changes:
        seen += [step.topic for step in islice(steps, count) if step is not None]
        store.keep(kept(topic, b"x" if keeping else b""), 0.0)
        touched.add(topic)
    seen += [step.topic for step in steps if step is not None]
    matching = {name for name in names if matches(pattern, name)}
    assert len(seen) == len(set(seen))
    assert matching - touched <= set(seen) <= matching
