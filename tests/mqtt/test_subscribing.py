"""What a session is granted, and which retained messages that brings."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from porttunnel.mqtt.broker import Broker
from porttunnel.mqtt.packet import (
    Disconnect,
    RetainHandling,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Version,
)
from porttunnel.mqtt.policy import AllowAll, Bounds, Client, Profile
from porttunnel.mqtt.property import Properties
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.search import STEPS
from tests.mqtt.broker_client import BrokerClient

IDENTIFIED = Properties(subscription_identifiers=(5,))


def client_of(
    policy: AllowAll | None = None, version: Version = Version.V5, **profile: Any
) -> BrokerClient:
    client = BrokerClient(Broker(policy or AllowAll(Profile(**profile)), 0.0), version)
    client.connect()
    return client


class Picky(AllowAll):
    """Knows clients' topics below a prefix, and forbids some."""

    def __init__(self) -> None:
        super().__init__()
        self.prefix = "in/"

    def authorise_publish(self, client: Client, topic: str) -> str | ReasonCode:
        return self.prefix + topic

    def authorise_subscribe(
        self, client: Client, subscription: Subscription
    ) -> Subscription | ReasonCode:
        if subscription.filter == "secret":
            return ReasonCode.NOT_AUTHORIZED
        return Subscription(self.prefix + subscription.filter, 1)

    def delivery_topic(self, client: Client, topic: str) -> str:
        return topic.removeprefix(self.prefix)


class TestSubscribing:
    @pytest.mark.mqtt5("3.8.4-5", "3.8.4-6", "3.8.4-7", "3.9.3-1")
    @pytest.mark.mqtt3("3.8.4-4", "3.8.4-5", "3.9.3-1")
    @pytest.mark.parametrize("version", Version)
    def test_a_reason_for_each_filter(self, version: Version) -> None:
        client = client_of(Picky(), version)
        wanted = [Subscription("a"), Subscription("secret", 1), Subscription("b", 2)]
        client.send(Subscribe(77, tuple(wanted)))
        suback = client.take(Suback)
        refused = ReasonCode.NOT_AUTHORIZED if version == Version.V5 else 0x80
        assert (suback.packet_id, suback.reasons) == (77, (0, refused, 1))
        client.publish("a", b"1")
        client.publish("secret", b"2")
        assert client.payloads() == [b"1"]

    @pytest.mark.mqtt5("3.2.2-10")
    def test_the_qos_is_that_of_the_profile_at_most(self) -> None:
        client = client_of(max_qos=0)
        assert [client.subscribe("a", qos) for qos in range(3)] == [0, 0, 0]

    @pytest.mark.parametrize(
        ("profile", "text", "properties", "reason"),
        [
            ("shared_available", "$share/g/a", None, 0x9E),
            ("wildcards_available", "a/+", None, 0xA2),
            ("wildcards_available", "$share/g/#", None, 0xA2),
            ("identifiers_available", "a", IDENTIFIED, 0xA1),
        ],
    )
    @pytest.mark.mqtt3("3.8.3-2")
    def test_what_is_not_available(
        self, profile: str, text: str, properties: Properties | None, reason: int
    ) -> None:
        client = client_of(**{profile: False})
        assert client.subscribe(text, properties=properties or Properties()) == reason
        assert client.subscribe("a") == 0

    def test_only_so_many(self) -> None:
        client = client_of(max_subscriptions=2)
        assert [client.subscribe(text) for text in "abca"] == [0, 0, 0x97, 0]
        broker = Broker(AllowAll(None, Bounds(max_subscription_bytes=10)), 0.0)
        other = BrokerClient(broker)
        other.connect()
        assert other.subscribe("a") == 0x97
        assert broker.subscription_count == 0

    def test_of_one_packet_only_so_many_are_looked_at(self) -> None:
        client = client_of(max_subscriptions=2)
        wanted = ["a", "b", "a", "no/#/filter"]
        client.send(Subscribe(1, tuple(Subscription(text) for text in wanted)))
        assert client.take(Suback).reasons == (0, 0, 0x97, 0x97)
        assert client.broker.subscription_count == 2

    @pytest.mark.mqtt5("4.7.1-1", "4.8.2-1", "4.8.2-2")
    @pytest.mark.mqtt3("4.7.1-2", "4.8.0-1")
    @pytest.mark.parametrize("text", ["a/#/b", "$share/g", "$share/g/a#"])
    def test_what_is_no_filter(self, text: str) -> None:
        client = client_of()
        client.send(Subscribe(1, (Subscription(text),)))
        assert client.core.is_closed
        (_, ended) = client.core.events()
        assert ended.reason == ended.error.reason == ReasonCode.TOPIC_FILTER_INVALID

    @pytest.mark.parametrize("forget", [True, False])
    def test_nothing_is_granted_to_whom_the_policy_sends_away(self, forget: bool) -> None:
        class Strict(AllowAll):
            def authorise_subscribe(
                self, client: Client, subscription: Subscription
            ) -> Subscription | ReasonCode:
                if subscription.filter == "forbidden":
                    reason = ReasonCode.ADMINISTRATIVE_ACTION
                    broker.disconnect_session(client.session_name, reason, 0.0, forget=forget)
                return subscription

        broker = Broker(Strict(), 0.0)
        client = BrokerClient(broker)
        client.connect(properties=Properties(session_expiry_interval=100))
        wanted = tuple(map(Subscription, ("a", "forbidden", "b")))
        client.send(Subscribe(1, wanted))
        (goodbye,) = client.read()
        assert isinstance(goodbye, Disconnect)
        assert broker.session_count == broker.subscription_count == (0 if forget else 1)

    def test_a_filter_may_come_to_mean_another(self) -> None:
        policy = Picky()
        client = client_of(policy)
        client.subscribe("a")
        policy.prefix = "other/"
        client.broker.forget_routes()
        client.subscribe("a")
        assert client.broker.subscription_count == 1
        client.publish("a", b"x")
        assert client.payloads() == [b"x"]
        client.send(Unsubscribe(1, ("a",)))
        assert client.broker.subscription_count == 0


class TestUnsubscribing:
    @pytest.mark.mqtt5(
        "3.10.4-1", "3.10.4-2", "3.10.4-4", "3.10.4-5", "3.10.4-6", "3.11.3-1", "2.2.1-6"
    )
    @pytest.mark.mqtt3("3.10.4-1", "3.10.4-2", "3.10.4-4", "3.10.4-5", "3.10.4-6", "2.3.1-7")
    @pytest.mark.parametrize("version", Version)
    def test_exactly_what_was_subscribed_to(self, version: Version) -> None:
        client = client_of(version=version)
        for text in ("a", "+", "$share/g/a"):
            client.subscribe(text)
        client.send(Unsubscribe(78, ("a", "b", "$share/g/a")))
        unsuback = client.take(Unsuback)
        assert unsuback.packet_id == 78
        assert unsuback.reasons == ((0, 0x11, 0) if version == Version.V5 else ())
        client.publish("a", b"x")
        assert client.payloads() == [b"x"]
        client.send(Unsubscribe(79, ("+",)))
        client.publish("a", b"y")
        assert client.payloads() == []
        assert client.broker.subscription_count == 0


class TestRetained:
    def ready(self, **profile: Any) -> BrokerClient:
        client = client_of(**profile)
        for topic, payload, qos in (("a", b"1", 0), ("b", b"2", 1), ("b/c", b"3", 2)):
            client.broker.publish(topic, payload, 0.0, qos=qos, retain=True)
        return client

    @pytest.mark.mqtt5("3.3.1-9", "3.8.4-4")
    @pytest.mark.mqtt3("3.3.1-6", "3.3.1-8", "3.8.4-3")
    def test_come_with_each_subscription(self) -> None:
        client = self.ready()
        for _ in range(2):
            client.subscribe("#", 1, properties=IDENTIFIED)
            found = [(each.topic, each.qos, each.retain) for each in self.messages(client)]
            assert found == [("a", 0, True), ("b", 1, True), ("b/c", 1, True)]

    def messages(self, client: BrokerClient) -> list[Any]:
        client.read()
        messages, client.messages = client.messages, []
        for message in messages:
            assert message.properties.subscription_identifiers in ((5,), ())
        return messages

    @pytest.mark.mqtt5("3.3.1-10")
    def test_or_only_with_a_new_one(self) -> None:
        client = self.ready()
        for expected in (3, 0):
            client.subscribe("#", retain_handling=RetainHandling.SEND_IF_NEW)
            assert len(self.messages(client)) == expected

    @pytest.mark.mqtt5("3.3.1-11")
    def test_or_not_at_all(self) -> None:
        client = self.ready()
        client.subscribe("#", retain_handling=RetainHandling.DO_NOT_SEND)
        client.subscribe("$share/g/#")
        client.subscribe("none")
        assert self.messages(client) == []
        other = self.ready(retain_available=False)
        other.subscribe("#")
        assert self.messages(other) == []

    def test_come_once_for_a_filter_that_is_repeated(self) -> None:
        client = self.ready()
        wanted = [Subscription("b", 0), Subscription("a", 0), Subscription("b", 1)]
        client.send(Subscribe(1, tuple(wanted)))
        found = [(each.topic, each.qos) for each in self.messages(client)]
        assert found == [("b", 1), ("a", 0)]

    def test_are_looked_for_a_part_at_a_time(self) -> None:
        client = client_of()
        for number in range(STEPS):
            client.broker.publish(f"{number}", b"x", 0.0, retain=True)
        for number in range(3):
            client.broker.publish(f"last/{number}", b"%d" % number, 0.0, retain=True)
        client.subscribe("+/+")
        assert client.payloads() == []
        client.broker.handle_timeout(0.0)
        assert client.payloads() == [b"0", b"1", b"2"]

    def test_what_is_replaced_while_others_wait_is_gone(self) -> None:
        client = client_of(max_outbox_bytes=100)
        payload = bytes(1_000)
        kept = sys.getrefcount(payload)
        for topic in "abc":
            client.broker.publish(topic, payload, 0.0, retain=True)
        client.send(Subscribe(1, (Subscription("#"),)))
        for topic in "abc":
            client.broker.publish(topic, b"new", 0.0, retain=True)
        client.core.discard()  # what waits to be sent is another matter
        assert sys.getrefcount(payload) == kept

    def test_are_seen_as_other_topics(self) -> None:
        client = client_of(Picky())
        client.broker.publish("in/a", b"x", 0.0, retain=True)
        client.subscribe("a")
        client.read()
        assert client.messages[0].topic == "a"
        assert client.messages[0].properties.subscription_identifiers == ()

    def test_do_not_come_to_whom_the_policy_sends_away(self) -> None:
        class Strict(AllowAll):
            def delivery_topic(self, client: Client, topic: str) -> str:
                broker.disconnect_session("c", ReasonCode.ADMINISTRATIVE_ACTION, 0.0)
                return topic

        broker = Broker(Strict(), 0.0)
        for topic in "ab":
            broker.publish(topic, b"x", 0.0, qos=1, retain=True)
        held = broker.held_bytes
        client = BrokerClient(broker)
        client.connect()
        client.send(Subscribe(1, (Subscription("#", 1),)))
        assert [type(packet) for packet in client.read()] == [Suback, Disconnect]
        assert client.messages == []
        assert broker.held_bytes == held

    def test_but_not_as_one_that_no_packet_can_have(self) -> None:
        policy = Picky()
        client = client_of(policy)
        client.broker.publish("in/", b"no topic is left of it", 0.0, retain=True)
        client.broker.publish("in/a", b"x", 0.0, retain=True)
        client.subscribe("#")
        assert client.payloads() == [b"x"]
