"""Topic aliases both ways."""

from __future__ import annotations

import pytest

from porttunnel.errors import MqttError
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.topic_alias import IncomingAliases, OutgoingAliases


@pytest.mark.mqtt5("3.2.2-17", "3.3.2-8", "3.3.2-9")
def test_the_first_topics_get_aliases_and_no_more_than_allowed() -> None:
    aliases = OutgoingAliases(2)
    assert aliases.shorten(b"a") == (b"a", 1)
    aliases.remember(b"a", 1)
    assert aliases.shorten(b"a") == (b"", 1)
    assert aliases.shorten(b"b") == (b"b", 2)
    aliases.remember(b"b", 2)
    assert aliases.shorten(b"c") == (b"c", None)
    assert aliases.shorten(b"b") == (b"", 2)


def test_an_alias_that_was_not_sent_is_not_known() -> None:
    aliases = OutgoingAliases(1)
    assert aliases.shorten(b"a") == (b"a", 1)
    assert aliases.shorten(b"b") == (b"b", 1)


@pytest.mark.mqtt5("3.2.2-18")
def test_without_a_maximum_there_are_none() -> None:
    assert OutgoingAliases(0).shorten(b"a") == (b"a", None)


@pytest.mark.mqtt5("3.3.2-10")
def test_an_alias_stands_for_the_last_topic_that_came_with_it() -> None:
    aliases = IncomingAliases(2)
    assert aliases.resolve("a", 2) == "a"
    assert aliases.resolve("", 2) == "a"
    assert aliases.resolve("b", 2) == "b"
    assert aliases.resolve("", 2) == "b"


@pytest.mark.parametrize("alias", [0, 3, 0xFFFF])
def test_an_alias_above_the_maximum_is_invalid(alias: int) -> None:
    with pytest.raises(MqttError, match="not one that we take") as caught:
        IncomingAliases(2).resolve("a", alias)
    assert caught.value.reason == ReasonCode.TOPIC_ALIAS_INVALID


def test_an_alias_that_stands_for_nothing_breaks_the_protocol() -> None:
    with pytest.raises(MqttError, match="no topic yet") as caught:
        IncomingAliases(2).resolve("", 1)
    assert caught.value.reason == ReasonCode.PROTOCOL_ERROR
