"""What a broker leaves to its owner."""

from __future__ import annotations

from porttunnel.mqtt.message import Message
from porttunnel.mqtt.packet import Connect, Subscription, Version, Will
from porttunnel.mqtt.policy import (
    Admission,
    AllowAll,
    Attempt,
    Bounds,
    Client,
    Decision,
    Policy,
    Profile,
    Refusal,
    checked_topic,
)
from porttunnel.mqtt.property import Properties
from porttunnel.mqtt.reason import ReasonCode

CLIENT = Client("c", "c", None, Version.V5, "192.0.2.1")


def refuse_later(answers: list[Decision]) -> Attempt:
    connect = Connect(
        Version.V5,
        "c",
        properties=Properties(authentication_method="m", authentication_data=b"d"),
    )
    return Attempt(connect, "192.0.2.1", lambda attempt, decision, now: answers.append(decision))


def test_allows_all_but_the_servers_topics() -> None:
    policy: Policy = AllowAll()
    assert policy.bounds == Bounds()
    attempt = Attempt(Connect(Version.V5, "c"), "", lambda *answer: None)
    assert policy.authenticate(attempt, 0.0) == Admission(profile=Profile())
    assert policy.authorise_publish(CLIENT, "a") == "a"
    assert policy.authorise_publish(CLIENT, "$SYS/a") == ReasonCode.NOT_AUTHORIZED
    assert policy.authorise_will(CLIENT, Will("$SYS/a", b"")) == ReasonCode.NOT_AUTHORIZED
    assert policy.authorise_response_topic(CLIENT, "a") == "a"
    wanted = Subscription("$SYS/#")
    assert policy.authorise_subscribe(CLIENT, wanted) is wanted
    assert policy.delivery_topic(CLIENT, "a") == "a"
    policy.connected(CLIENT, False, 0.0)
    policy.reached_nobody(CLIENT, Message("a", b""), 0.0)
    policy.disconnected(CLIENT, ReasonCode.NORMAL_DISCONNECTION, 0.0)


def test_a_topic_that_no_packet_can_have_is_a_refusal() -> None:
    assert checked_topic("a", "a") == "a"
    assert checked_topic("house/a", "a") == "house/a"
    assert checked_topic(ReasonCode.QUOTA_EXCEEDED, "a") is ReasonCode.QUOTA_EXCEEDED
    longest = "house/" + "a" * 65_529
    assert checked_topic(longest, "a") == longest
    for answer in (longest + "a", "", "a/+", "/" * 128):
        assert checked_topic(answer, "a") is ReasonCode.TOPIC_NAME_INVALID


def test_takes_settings() -> None:
    bounds, profile = Bounds(max_sessions=1), Profile(max_qos=0)
    policy = AllowAll(profile, bounds)
    assert (policy.profile, policy.bounds) == (profile, bounds)


def test_knows_no_enhanced_authentication() -> None:
    answers: list[Decision] = []
    attempt = refuse_later(answers)
    assert attempt.authentication_data == b"d"
    assert not attempt.is_again
    refusal = AllowAll().authenticate(attempt, 0.0)
    assert refusal == Refusal(reason=ReasonCode.BAD_AUTHENTICATION_METHOD)
    attempt.answer(refusal, 1.0)
    assert answers == [refusal]
