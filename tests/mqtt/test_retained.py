"""Messages that are kept for later subscribers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import MqttError
from porttunnel.mqtt.message import Message
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.retained import RetainedStore
from porttunnel.mqtt.topic import matches

NAMES = ["a", "a/b", "a/b/c", "/", "b", "a/", "$SYS/a", "$SYS/a/b", "$SYS"]
FILTERS = ["a", "a/b", "a/+", "+/b", "+", "+/+", "#", "a/#", "/", "$SYS/#", "$SYS/+", "c", "a/c/+"]


def kept(topic: str, payload: bytes = b"x", expires_at: float | None = None) -> Message:
    return Message(topic, payload, 1, retain=True, expires_at=expires_at)


def topics(store: RetainedStore, pattern: str, now: float = 0.0) -> list[str]:
    return sorted(message.topic for message in store.match(pattern, store.number, now))


@pytest.mark.parametrize("pattern", FILTERS)
@pytest.mark.mqtt5("4.7.2-1")
@pytest.mark.mqtt3("4.7.2-1")
def test_finds_what_matches(pattern: str) -> None:
    store = RetainedStore(1 << 20)
    for name in NAMES:
        store.keep(kept(name))
    assert store.count == len(NAMES)
    assert topics(store, pattern) == sorted(name for name in NAMES if matches(pattern, name))


@pytest.mark.mqtt5("3.3.1-5", "3.3.1-6", "3.3.1-7")
@pytest.mark.mqtt3("3.3.1-5", "3.3.1-10", "3.3.1-11")
def test_the_last_one_counts_and_an_empty_one_removes_it() -> None:
    store = RetainedStore(1 << 20)
    store.keep(kept("a/b", b""))
    assert store.count == 0
    store.keep(kept("a/b", b"1"))
    store.keep(kept("a/b", b"longer"))
    assert [message.payload for message in store.match("a/b", 9, 0.0)] == [b"longer"]
    store.keep(kept("a", b"above"))
    store.keep(kept("a/c", b""))
    store.keep(kept("a/b", b""))
    assert topics(store, "#") == ["a"]
    store.keep(kept("a", b""))
    assert (store.count, store.held_bytes) == (0, 0)


@pytest.mark.mqtt5("3.3.2-5")
def test_what_expired_is_forgotten() -> None:
    store = RetainedStore(1 << 20)
    store.keep(kept("a", expires_at=5.0))
    store.keep(kept("b"))
    assert topics(store, "+", 4.9) == ["a", "b"]
    assert topics(store, "+", 5.0) == ["b"]
    assert store.count == 1


def test_what_was_kept_later_is_passed_over() -> None:
    store = RetainedStore(1 << 20)
    store.keep(kept("a", b"1"))
    store.keep(kept("b", b"2"))
    number = store.number
    store.keep(kept("a", b"3"))
    store.keep(kept("c", b"4"))
    assert [message.payload for message in store.match("#", number, 0.0)] == [b"2"]
    assert len(store.match("+", store.number, 0.0)) == 3


def test_is_bounded_in_bytes() -> None:
    cost = 0
    probe = RetainedStore(1 << 20)
    probe.keep(kept("a", bytes(100)))
    cost = probe.held_bytes
    store = RetainedStore(2 * cost)
    store.keep(kept("a", bytes(100)))
    store.keep(kept("b", bytes(100)))
    for topic in ("c", "d/e"):
        with pytest.raises(MqttError) as caught:
            store.keep(kept(topic, bytes(100)))
        assert caught.value.reason == ReasonCode.QUOTA_EXCEEDED
    with pytest.raises(MqttError):
        store.keep(kept("a", bytes(101)))
    store.keep(kept("a", b"\1" * 100))
    assert [message.payload for message in store.match("a", 99, 0.0)] == [b"\1" * 100]
    store.keep(kept("b", b""))
    store.keep(kept("c", bytes(100)))
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
        store.keep(kept(topic, b"x" if keeping else b""))
        (model.add if keeping else model.discard)(topic)
    assert store.count == len(model)
    for topic in model:
        store.keep(kept(topic, b""))
    assert store.held_bytes == 0
    assert topics(store, "#") == []
