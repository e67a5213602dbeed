"""Rules of topics: what lies within what, and who is meant."""

from __future__ import annotations

from itertools import product

import pytest

from porttunnel.errors import ConfigurationError
from porttunnel.mqtt.topic import matches
from porttunnel.mqtt.topic_rule import TopicRules, covers

LEVELS = ("a", "b", "+", "#")
NAMES = ("a", "b", "c", "")
FILTERS = [
    "/".join(levels)
    for count in (1, 2, 3)
    for levels in product(LEVELS, repeat=count)
    if "#" not in levels[:-1]
]
TOPICS = ["/".join(levels) for count in (1, 2, 3, 4) for levels in product(NAMES, repeat=count)]


def test_a_rule_covers_a_filter_if_it_matches_all_that_the_filter_matches() -> None:
    matched = {
        text: {topic for topic in TOPICS if topic and matches(text, topic)} for text in FILTERS
    }
    for rule, wanted in product(FILTERS, repeat=2):
        assert covers(rule, wanted) == (matched[wanted] <= matched[rule]), (rule, wanted)


@pytest.mark.mqtt5("4.7.2-1")
def test_wildcards_cover_nothing_of_the_servers_own() -> None:
    assert not covers("#", "$SYS/#")
    assert not covers("+/a", "$SYS/a")
    assert covers("$SYS/#", "$SYS/a/+")


def test_names_stand_in_their_places() -> None:
    rules = TopicRules(publish=["users/%u/%c", "all"], subscribe=["users/%u/#", "100%%", "%c%u/+"])
    client = rules.of_client("anna", "phone")
    assert client.allow_publish("users/anna/phone")
    assert client.allow_publish("all")
    assert not client.allow_publish("users/anna/tablet")
    assert not client.allow_publish("users/anna")
    assert client.allow_subscribe("users/anna/+/x")
    assert client.allow_subscribe("$share/group/users/anna/#")
    assert client.allow_subscribe("100%")
    assert client.allow_subscribe("phoneanna/x")
    assert not client.allow_subscribe("users/#")
    assert not client.allow_subscribe("users/+/x")
    assert not client.allow_subscribe("all")


@pytest.mark.parametrize("name", ["#", "+", "a/b", "a\0", "", None])
def test_a_name_that_reaches_beyond_its_place_fits_in_no_rule(name: str | None) -> None:
    rules = TopicRules(publish=["users/%u/x", "devices/%c/x"], subscribe=["users/%u/#", "all"])
    client = rules.of_client(name, "phone")
    assert not client.allow_publish(f"users/{name}/x")
    assert not client.allow_subscribe("users/#")
    assert client.allow_publish("devices/phone/x")
    assert client.allow_subscribe("all")


def test_no_name_makes_a_topic_of_the_servers_own() -> None:
    rules = TopicRules(
        publish=["%u/%c", "a/%c"], subscribe=["%c/#", "%u%c/#", "a/%c/#", "$SYS/%u/#", "%u"]
    )
    client = rules.of_client(None, "$SYS")
    assert not client.allow_subscribe("$SYS/#")
    assert client.allow_subscribe("a/$SYS/#")
    assert client.allow_publish("a/$SYS")
    client = rules.of_client("$S", "YS")
    assert not client.allow_subscribe("$SYS/#")
    assert not client.allow_publish("$S/YS")
    assert client.allow_subscribe("YS/#")
    assert client.allow_subscribe("$SYS/$S/#")


def test_a_name_is_not_looked_into() -> None:
    client = TopicRules(publish=["users/%u"]).of_client("%c", "phone")
    assert client.allow_publish("users/%c")
    assert not client.allow_publish("users/phone")


@pytest.mark.parametrize("rule", ["", "a/#/b", "a+", "%x", "a%", "%%%", "\0"])
def test_what_is_no_rule(rule: str) -> None:
    with pytest.raises(ConfigurationError, match="is no rule"):
        TopicRules(publish=[rule])
    with pytest.raises(ConfigurationError, match="is no rule"):
        TopicRules(subscribe=[rule])
