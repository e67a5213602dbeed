"""What a broker allows, and how it says no."""

from __future__ import annotations

import pytest

from porttunnel.mqtt.client_limit import (
    PROTOCOL_MAX_PACKET_BYTES,
    PROTOCOL_RECEIVE_MAXIMUM,
    BrokerLimits,
    refusal,
)
from porttunnel.mqtt.packet import Connack, Subscribe, Subscription, Unsubscribe
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.reason import ReasonCode


def limits(**said: object) -> BrokerLimits:
    return BrokerLimits.of(Connack(False, properties=Properties(**said)))  # type: ignore[arg-type]  # by name


def subscribe(text: str, *identifiers: int) -> Subscribe:
    properties = Properties(subscription_identifiers=identifiers)
    return Subscribe(1, (Subscription("a"), Subscription(text)), properties)


def test_what_is_not_said_has_the_default_of_the_norm() -> None:
    assert limits() == BrokerLimits(
        receive_maximum=PROTOCOL_RECEIVE_MAXIMUM,
        max_packet_bytes=PROTOCOL_MAX_PACKET_BYTES,
        maximum_qos=2,
        topic_alias_maximum=0,
        retain=True,
        wildcards=True,
        identifiers=True,
        shared=True,
    )


def test_what_is_said_holds() -> None:
    assert limits(
        receive_maximum=5,
        maximum_packet_size=100,
        maximum_qos=0,
        topic_alias_maximum=7,
        retain_available=False,
        wildcard_subscription_available=False,
        subscription_identifiers_available=False,
        shared_subscription_available=False,
    ) == BrokerLimits(
        receive_maximum=5,
        max_packet_bytes=100,
        maximum_qos=0,
        topic_alias_maximum=7,
        retain=False,
        wildcards=False,
        identifiers=False,
        shared=False,
    )


@pytest.mark.parametrize(("theirs", "ours", "both"), [(None, 7, 7), (5, 7, 5), (9, 7, 7)])
def test_no_more_is_under_way_than_either_wants(theirs: int | None, ours: int, both: int) -> None:
    connack = Connack(False, properties=Properties(receive_maximum=theirs))
    assert BrokerLimits.of(connack, ours).receive_maximum == both


@pytest.mark.mqtt5("3.2.2-11", "3.2.2-14")
def test_messages_that_the_broker_does_not_take() -> None:
    assert limits().check_message(2, retain=True) is None
    error = limits(maximum_qos=1).check_message(2, retain=False)
    assert error is not None
    assert error.reason == ReasonCode.QOS_NOT_SUPPORTED
    error = limits(retain_available=False).check_message(0, retain=True)
    assert error is not None
    assert error.reason == ReasonCode.RETAIN_NOT_SUPPORTED
    assert limits(retain_available=False, maximum_qos=1).check_message(1, retain=False) is None


@pytest.mark.parametrize(
    ("feature", "request_", "reason"),
    [
        (
            "wildcard_subscription_available",
            subscribe("$share/g/a/+"),
            ReasonCode.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
        ),
        (
            "shared_subscription_available",
            subscribe("$share/g/a"),
            ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
        ),
        (
            "subscription_identifiers_available",
            subscribe("b", 1),
            ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
        ),
    ],
)
def test_subscriptions_that_the_broker_does_not_take(
    feature: str, request_: Subscribe, reason: ReasonCode
) -> None:
    assert limits().check_filters(request_) is None
    without = limits(**{feature: False})
    error = without.check_filters(request_)
    assert error is not None
    assert error.reason == reason
    assert without.check_filters(subscribe("b")) is None
    assert without.check_filters(Unsubscribe(1, ("$share/g/#",))) is None


def test_a_refusal_says_what_and_why_and_quotes_the_broker() -> None:
    error = refusal("the message", ReasonCode.NOT_AUTHORIZED, EMPTY)
    assert error.reason == ReasonCode.NOT_AUTHORIZED
    assert str(error).startswith("The broker refused the message: not authorized. ")
    error = refusal(
        "the message", ReasonCode.QUOTA_EXCEEDED, Properties(reason_string="no\x1b[31m")
    )
    assert "quota exceeded ('no\\x1b[31m')" in str(error)


def test_too_large_says_how_much_is_not() -> None:
    error = limits(maximum_packet_size=100).too_large()
    assert error.reason == ReasonCode.PACKET_TOO_LARGE
    assert " 100 bytes " in str(error)
