"""Names, filters, and which filter matches which name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import MqttError
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.topic import (
    MAX_TOPIC_BYTES,
    check_depth,
    check_filter,
    check_name,
    has_wildcard,
    matches,
    split_shared,
)

LONG = "€" * (MAX_TOPIC_BYTES // 3)


@pytest.mark.parametrize(
    "name",
    ["a", "/", "a/b", "//", " ", "$SYS/x", "Ä/\ufeff", "a" * MAX_TOPIC_BYTES, LONG, "/" * 127],
)
def test_names(name: str) -> None:
    check_name(name)
    check_filter(name)
    check_depth(name)


@pytest.mark.parametrize(
    "name", ["", "a/+", "#", "a#", "a\0b", "a" * (MAX_TOPIC_BYTES + 1), LONG + "a", "/" * 128]
)
@pytest.mark.mqtt5("3.3.2-2", "4.7.0-1", "4.7.3-1", "4.7.3-2", "4.7.3-3")
@pytest.mark.mqtt3("3.3.2-2", "4.7.1-1", "4.7.3-1", "4.7.3-2", "4.7.3-3")
def test_no_names(name: str) -> None:
    with pytest.raises(MqttError) as caught:
        check_name(name)
    assert caught.value.reason == ReasonCode.TOPIC_NAME_INVALID


def test_only_so_many_levels() -> None:
    check_depth("/" * 127)
    with pytest.raises(MqttError) as caught:
        check_depth("/" * 128)
    assert caught.value.reason == ReasonCode.TOPIC_NAME_INVALID


@pytest.mark.parametrize("text", ["#", "+", "a/#", "+/a/+", "/+", "+/#", "sport/tennis/#", "a//#"])
def test_filters(text: str) -> None:
    check_filter(text)
    assert has_wildcard(text)


@pytest.mark.parametrize(
    "text",
    ["", "a\0", "a#", "#/a", "a/#/b", "a+", "+a", "a/b+/c", "##", "++", "x" * 65_536, "/" * 128],
)
@pytest.mark.mqtt5("4.7.1-1", "4.7.1-2", "4.7.3-1", "4.7.3-2", "4.7.3-3")
@pytest.mark.mqtt3("4.7.1-2", "4.7.1-3", "4.7.3-1", "4.7.3-2", "4.7.3-3")
def test_no_filters(text: str) -> None:
    with pytest.raises(MqttError) as caught:
        check_filter(text)
    assert caught.value.reason == ReasonCode.TOPIC_FILTER_INVALID


@pytest.mark.mqtt5("4.8.2-1", "4.8.2-2")
def test_shared() -> None:
    assert split_shared("a/b") == (None, "a/b")
    assert split_shared("$shared/a") == (None, "$shared/a")
    assert split_shared("$share/g/a/#") == ("g", "a/#")
    assert split_shared("$share/g//") == ("g", "/")
    for wrong in ("$share/", "$share//a", "$share/g", "$share/g/", "$share/+/a", "$share/g#/a"):
        with pytest.raises(MqttError) as caught:
            split_shared(wrong)
        assert caught.value.reason == ReasonCode.TOPIC_FILTER_INVALID


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/B", False),
        ("a/b", "a", False),
        ("a", "a/b", False),
        ("a", "/a", False),
        ("+", "a", True),
        ("+", "/a", False),
        ("+/+", "/a", True),
        ("/+", "/a", True),
        ("a/+", "a", False),
        ("a/+", "a/", True),
        ("a/+/c", "a/b/c", True),
        ("a/+/c", "a/b/d", False),
        ("#", "a/b/c", True),
        ("#", "/", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "ab", False),
        ("a/b/#", "a", False),
        ("#", "$SYS/a", False),
        ("+/a", "$SYS/a", False),
        ("$SYS/#", "$SYS/a", True),
        ("$SYS/+", "$SYS/a", True),
    ],
)
@pytest.mark.mqtt5("4.7.2-1", "4.7.3-4")
@pytest.mark.mqtt3("4.7.2-1", "4.7.3-4")
def test_matching(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name) == expected


LEVELS = st.lists(st.sampled_from(["", "a", "b", "ä"]), min_size=1, max_size=4)


@given(LEVELS.filter(lambda levels: levels != [""]), st.data())
def test_a_level_becomes_a_wildcard_and_matches_still(
    levels: list[str], data: st.DataObject
) -> None:
    name = "/".join(levels)
    wanted = [data.draw(st.sampled_from([level, "+"])) for level in levels]
    cut = data.draw(st.integers(0, len(wanted)))
    for pattern in ("/".join(wanted), "/".join([*wanted[:cut], "#"])):
        if pattern:
            check_filter(pattern)
            assert matches(pattern, name)
