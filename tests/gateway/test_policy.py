"""porttunnel/gateway/policy.py: devices and instances see only those that belong to them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from porttunnel.gateway.part import Failure, FailureCode, decode_part
from porttunnel.gateway.policy import (
    DeviceRules,
    GatewayAnswer,
    InstanceRules,
    make_unreached_answer,
)
from tests.independent.topic import PLACE, build

VECTORS: Any = json.loads(PLACE.read_text(encoding="utf-8"))
DEVICE: str = VECTORS["device"]
INSTANCE: str = VECTORS["instance"]
RULES = {
    "device": DeviceRules(DEVICE, INSTANCE),
    "instance": InstanceRules(INSTANCE, {DEVICE}.__contains__),
    "stranger": InstanceRules(
        VECTORS["stranger"], {VECTORS["device of the stranger"]}.__contains__
    ),
}


class TestVectors:
    """tests/vectors/topic.json, made by tests/independent/topic.py."""

    def test_are_what_the_independent_implementation_makes(self) -> None:
        assert build() == VECTORS

    @pytest.mark.parametrize("who", RULES)
    def test_publishing(self, who: str) -> None:
        expected = {case["topic"]: case[who] for case in VECTORS["publish"]}
        assert {topic: RULES[who].route_publish(topic) for topic in expected} == expected
        assert sum(routed is not None for routed in expected.values()) >= 2

    @pytest.mark.parametrize("who", RULES)
    def test_subscribing(self, who: str) -> None:
        expected = {case["topic"]: case[who] for case in VECTORS["subscribe"]}
        assert {topic: RULES[who].allow_subscribe(topic) for topic in expected} == expected
        assert sum(expected.values()) >= 2

    @pytest.mark.parametrize("who", RULES)
    def test_nothing_else(self, who: str) -> None:
        rules = RULES[who]
        open_ones = [
            topic
            for topic in VECTORS["nothing"]
            if rules.route_publish(topic) is not None or rules.allow_subscribe(topic)
        ]
        assert open_ones == []
        # What may only be subscribed to may not be published to, and the reverse.
        published = {case["topic"] for case in VECTORS["publish"]}
        subscribed = {case["topic"] for case in VECTORS["subscribe"]}
        assert [t for t in subscribed - published if rules.route_publish(t) is not None] == []
        assert [t for t in published - subscribed if rules.allow_subscribe(t)] == []


def test_answers_go_to_the_device_itself() -> None:
    device = RULES["device"]
    assert device.allow_response_topic(f"device/{DEVICE}/response/12345678")
    for topic in (
        f"device/{VECTORS['device of the stranger']}/response/12345678",
        f"device/{DEVICE}/request/12345678",
        f"device/{DEVICE}/response/+",
        f"instance/{INSTANCE}/request/{DEVICE}/12345678",
        "",
    ):
        assert not device.allow_response_topic(topic)
    assert not RULES["instance"].allow_response_topic(f"device/{DEVICE}/response/12345678")


@pytest.mark.parametrize("code", [FailureCode.INSTANCE_OFFLINE, FailureCode.BUSY])
def test_a_request_that_reached_nobody_is_answered(code: FailureCode) -> None:
    routed = RULES["device"].route_publish(f"device/{DEVICE}/request/12345678")
    assert routed is not None
    answer = make_unreached_answer(routed, code)
    assert answer is not None
    assert answer.topic == f"device/{DEVICE}/response/12345678"
    assert decode_part(answer.payload) == Failure(code, from_gateway=True)


def test_it_is_offline_if_nothing_else_is_said() -> None:
    answer = make_unreached_answer(f"instance/{INSTANCE}/request/{DEVICE}/12345678")
    expected = Failure("instance-offline", from_gateway=True).encode()
    assert answer == GatewayAnswer(f"device/{DEVICE}/response/12345678", expected)


@pytest.mark.parametrize("topic", [f"device/{DEVICE}/response/12345678", "x", ""])
def test_nothing_else_is_answered(topic: str) -> None:
    assert make_unreached_answer(topic) is None
