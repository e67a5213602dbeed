"""Who wants the messages of a topic."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import MqttError
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.subscription import Interest, SharedGroup, SubscriptionTree
from porttunnel.mqtt.topic import check_filter, matches

FILTERS = [
    "a",
    "a/b",
    "a/+",
    "+/b",
    "+",
    "+/+",
    "#",
    "a/#",
    "a/b/#",
    "/",
    "+/",
    "$SYS/#",
    "$SYS/a",
    "$SYS/+",
]
NAMES = ["a", "a/b", "a/b/c", "/", "b", "a/", "$SYS/a", "$SYS/a/b", "$SYS"]


def tree_of(max_bytes: int = 1 << 20) -> SubscriptionTree[str]:
    return SubscriptionTree(max_bytes)


def wanting(tree: SubscriptionTree[str], name: str) -> list[str]:
    return sorted(interest.subscriber for interest in tree.match(name)[0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.mqtt5("3.3.2-3", "4.7.2-1")
@pytest.mark.mqtt3("3.3.2-3", "4.7.2-1")
def test_finds_what_matches(name: str) -> None:
    tree = tree_of()
    for text in FILTERS:
        check_filter(text)
        assert not tree.add(None, text, Interest(text))
    assert wanting(tree, name) == sorted(text for text in FILTERS if matches(text, name))
    assert tree.count == len(FILTERS)


LEVELS = st.sampled_from(["", "a", "b", "+"])
PATTERNS = st.tuples(st.lists(LEVELS, min_size=1, max_size=3), st.booleans()).map(
    lambda drawn: "/".join([*drawn[0], "#"] if drawn[1] else drawn[0])
)
GROUPS = st.sampled_from([None, "g"])
CHANGES = st.tuples(st.booleans(), GROUPS, PATTERNS.filter(bool), st.sampled_from("xyz"))


def turns(group: SharedGroup[Any], count: int, arrivals: int = 0) -> list[Any]:
    """Whose turn it is, so often."""
    taken = [group.take_turn(arrivals) for _ in range(count)]
    return [interest.subscriber for interest in taken if interest is not None]


@given(st.lists(CHANGES, max_size=30), st.lists(st.sampled_from(["", "a", "b"]), min_size=2))
def test_is_what_a_list_of_filters_would_be(
    changes: list[tuple[bool, str | None, str, str]], levels: list[str]
) -> None:
    tree = tree_of()
    held: set[tuple[str | None, str, str]] = set()
    for adding, group, pattern, who in changes:
        key = (group, pattern, who)
        if adding:
            assert tree.add(group, pattern, Interest(who)) == (key in held)
            held.add(key)
        else:
            assert tree.remove(group, pattern, who) == (key in held)
            held.discard(key)
    name = "/".join(levels)
    interests, groups = tree.match(name)
    expected = sorted(w for g, p, w in held if g is None and matches(p, name))
    assert sorted(interest.subscriber for interest in interests) == expected
    members = sorted(who for group in groups for who in turns(group, len(group)))
    assert members == sorted(w for g, p, w in held if g and matches(p, name))
    for group, pattern, who in held:
        assert tree.remove(group, pattern, who)
    assert (tree.held_bytes, tree.count) == (0, 0)
    assert tree.match(name) == ([], [])


@pytest.mark.mqtt5("3.8.4-3")
@pytest.mark.mqtt3("3.8.4-3")
def test_a_subscription_replaces_the_one_before() -> None:
    tree = tree_of()
    tree.add(None, "a", Interest("x", qos=2, identifier=7))
    before, held = tree.generation, tree.held_bytes
    assert tree.add(None, "a", Interest("x", qos=1, no_local=True))
    ((found,), _) = tree.match("a")
    assert (found.qos, found.no_local, found.identifier) == (1, True, None)
    assert tree.generation != before
    assert tree.held_bytes == held


def test_each_change_is_another_generation_and_nothing_else_is() -> None:
    tree = tree_of()
    tree.add("g", "a", Interest("x"))
    seen = tree.generation
    tree.match("a")
    for group, pattern, who in (
        (None, "a", "x"),
        ("h", "a", "x"),
        ("g", "b", "x"),
        ("g", "a", "y"),
    ):
        assert not tree.remove(group, pattern, who)
    assert tree.generation == seen
    assert tree.remove("g", "a", "x")
    assert tree.generation == seen + 1


def test_members_of_a_group_take_turns() -> None:
    tree = tree_of()
    for who in "xyz":
        tree.add("g", "a/+", Interest(who))
    (group,) = tree.match("a/b")[1]
    assert len(group) == 3
    taken = turns(group, 6)
    assert sorted(taken) == ["x", "x", "y", "y", "z", "z"]
    assert taken[:3] == taken[3:]


def test_those_who_are_away_have_none_until_somebody_comes() -> None:
    group: SharedGroup[str] = SharedGroup()
    for who in "vwxyz":
        group.add(Interest(who))
    for who in "yv":
        group.put_aside(who)
    assert sorted(turns(group, 6)) == ["w", "w", "x", "x", "z", "z"]
    assert sorted(group.take_any_turn().subscriber for _ in range(10)) == sorted("vwxyz" * 2)
    group.add(Interest("new"))
    assert sorted(turns(group, 4)) == ["new", "w", "x", "z"]
    assert group.remove("v")
    assert group.remove("x")
    assert sorted(turns(group, 3)) == ["new", "w", "z"]
    assert sorted(turns(group, 4, 1)) == ["new", "w", "y", "z"]
    for who in ("new", "w", "y", "z"):
        group.put_aside(who)
    assert group.take_turn(1) is None
    assert group.has("y")


def test_members_leave_in_any_order() -> None:
    group: SharedGroup[int] = SharedGroup()
    for who in range(100):
        group.add(Interest(who))
    for who in range(0, 100, 2):
        group.put_aside(who)
    for who in range(0, 100, 3):
        assert group.remove(who)
    left = [who for who in range(100) if who % 3]
    there = [who for who in left if who % 2]
    assert sorted(turns(group, len(there))) == there
    assert sorted(group.take_any_turn().subscriber for _ in left) == left


def test_a_group_knows_its_members() -> None:
    group: SharedGroup[str] = SharedGroup()
    assert not group.add(Interest("x"))
    assert group.add(Interest("x", qos=1))
    found = group.take_turn(0)
    assert found is not None
    assert found.qos == 1
    assert group.has("x")
    assert group.remove("x")
    assert not group.remove("x")
    assert not group.has("x")
    assert not group


def test_knows_what_was_asked_for_besides_the_qos() -> None:
    assert Interest("x", qos=2).is_simple
    for special in (
        Interest("x", no_local=True),
        Interest("x", retain_as_published=True),
        Interest("x", identifier=1),
    ):
        assert not special.is_simple


def test_is_bounded_in_bytes() -> None:
    tree = tree_of(1_400)
    assert not tree.add(None, "a", Interest("x"))
    assert not tree.add("g", "a", Interest("x"))
    for group, pattern in ((None, "b/c/d"), ("g", "b/c/d"), ("h", "b/c")):
        with pytest.raises(MqttError) as caught:
            tree.add(group, pattern, Interest("x"))
        assert caught.value.reason == ReasonCode.QUOTA_EXCEEDED
    held = tree.held_bytes
    assert held <= 1_400
    # What is there already can be replaced when all is full.
    for group in (None, "g"):
        assert tree.add(group, "a", Interest("x", qos=1))
        with pytest.raises(MqttError):
            tree.add(group, "a", Interest("new"))
    assert tree.held_bytes == held


def test_one_subscriber_of_a_filter_or_several() -> None:
    tree = tree_of()
    assert not tree.add(None, "a", Interest("x"))
    assert not tree.remove(None, "a", "y")
    assert not tree.add(None, "a", Interest("y"))
    assert tree.add(None, "a", Interest("y", qos=1))
    assert wanting(tree, "a") == ["x", "y"]
    assert tree.remove(None, "a", "x")
    assert not tree.remove(None, "a", "x")
    assert not tree.add(None, "a", Interest("z"))
    assert wanting(tree, "a") == ["y", "z"]
    assert tree.remove(None, "a", "y")
    assert tree.remove(None, "a", "z")
    assert tree.match("a") == ([], [])


def test_a_full_tree_knows_each_of_several() -> None:
    tree = tree_of()
    for name in ("x", "y"):
        tree.add(None, "a", Interest(name))
    full = tree_of(tree.held_bytes)
    for name in ("x", "y"):
        full.add(None, "a", Interest(name))
    assert full.add(None, "a", Interest("y"))
    with pytest.raises(MqttError):
        full.add(None, "a", Interest("z"))
