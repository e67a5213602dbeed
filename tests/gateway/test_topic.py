"""porttunnel/gateway/topic.py: each topic has one form, and nothing reaches beyond its place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.gateway.topic import (
    DeviceTopic,
    RequestTopic,
    format_event_topic,
    format_push_topic,
    format_request_topic,
    format_response_topic,
    format_routed_topic,
    is_id,
    is_name,
    is_request_id,
    list_device_filters,
    list_instance_filters,
    parse_push_topic,
    parse_request_topic,
    parse_response_topic,
    parse_routed_topic,
)

DEVICE, INSTANCE = "0123456789abcdef" * 2, "fedcba9876543210" * 2
TOPICS = {
    format_request_topic(DEVICE, "12345678"): (parse_request_topic, f"device/{DEVICE}/request/"),
    format_response_topic(DEVICE, "12345678"): (
        parse_response_topic,
        f"device/{DEVICE}/response/",
    ),
    format_push_topic(DEVICE, "12345678"): (parse_push_topic, f"device/{DEVICE}/push/"),
}


@pytest.mark.parametrize("topic", TOPICS)
def test_what_is_formatted_parses(topic: str) -> None:
    parse, before = TOPICS[topic]
    assert topic == before + "12345678"
    assert parse(topic) == DeviceTopic(DEVICE, "12345678")
    others = [other for other, _ in TOPICS.values() if other is not parse]
    assert [other(topic) for other in others] == [None, None]
    for changed in (topic[1:], topic + "/", topic + "\n", topic.upper(), "/" + topic):
        assert parse(changed) is None


def test_requests_at_the_instance() -> None:
    routed = RequestTopic(INSTANCE, DEVICE, "12345678")
    text = format_routed_topic(routed)
    assert text == f"instance/{INSTANCE}/request/{DEVICE}/12345678"
    assert parse_routed_topic(text) == routed
    for changed in (text[:-1], text + "\n", text.replace("f", "g"), text + "/1"):
        assert parse_routed_topic(changed) is None


def test_events_and_filters() -> None:
    assert format_event_topic(INSTANCE, "setup-race") == f"instance/{INSTANCE}/event/setup-race"
    assert list_device_filters(DEVICE) == (
        f"device/{DEVICE}/response/+",
        f"device/{DEVICE}/push/+",
    )
    assert list_instance_filters(INSTANCE) == (
        f"instance/{INSTANCE}/request/+/+",
        f"instance/{INSTANCE}/event/+",
    )


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (is_id, ["0" * 32, DEVICE], ["", "0" * 31, "0" * 33, DEVICE.upper(), "g" * 32]),
        (is_request_id, ["0" * 8, "z" * 32], ["", "0" * 7, "z" * 33, "A" * 8, "1234567-"]),
        (is_name, ["a", "-", "a-1", "x" * 64], ["", "x" * 65, "A", "a/b", "+", "a\n", "ä"]),
    ],
)
def test_forms(check: Callable[[str], bool], right: list[str], wrong: list[str]) -> None:
    assert [check(text) for text in right] == [True] * len(right)
    assert [check(text) for text in wrong] == [False] * len(wrong)


@given(st.text(max_size=40))
def test_no_form_lets_a_sign_of_topics_through(text: str) -> None:
    for check in (is_id, is_request_id, is_name):
        assert not (check(text) and set(text) & set("/+#$\0 \n"))
