"""A whole broker, and its owner."""

from __future__ import annotations

from typing import Any

import pytest

from porttunnel.errors import LocalProtocolError, MqttError
from porttunnel.mqtt.broker import Broker
from porttunnel.mqtt.message import Message
from porttunnel.mqtt.packet import Connect, Disconnect, Publish, Version, Will
from porttunnel.mqtt.policy import AllowAll, Bounds, Client, Profile, SlowConsumer
from porttunnel.mqtt.property import Properties
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.route import Reach
from porttunnel.mqtt.search import STEPS
from tests.mqtt.broker_client import BrokerClient, NotingPolicy

ADMINISTRATIVE = ReasonCode.ADMINISTRATIVE_ACTION
KEPT = Properties(session_expiry_interval=100)


def clients_of(count: int, broker: Broker | None = None, **fields: Any) -> list[BrokerClient]:
    broker = broker or Broker(AllowAll(), 0.0)
    clients = [BrokerClient(broker) for _ in range(count)]
    for number, client in enumerate(clients):
        client.connect(str(number), user_name=f"user{number % 2}", **fields)
    return clients


class TestConnections:
    def test_are_counted(self) -> None:
        broker = Broker(AllowAll(), 0.0)
        first, second = clients_of(2, broker)
        first.subscribe("a")
        broker.publish("a", b"x", 0.0, retain=True)
        assert (broker.connection_count, broker.session_count) == (2, 2)
        assert (broker.subscription_count, broker.retained_count) == (1, 1)
        assert broker.held_bytes > 0
        assert {client.client_id for client in broker.clients()} == {"0", "1"}
        second.drop()
        assert (broker.connection_count, broker.session_count) == (1, 1)
        assert broker.counters.connects == 2

    def test_that_are_too_many_are_closed(self) -> None:
        broker = Broker(AllowAll(None, Bounds(max_connections=1)), 0.0)
        first, second = BrokerClient(broker), BrokerClient(broker)
        assert not first.core.is_closed
        assert second.core.is_closed
        assert broker.take_ready() == [second.core]

    def test_that_need_something_are_named_once(self) -> None:
        broker = Broker(AllowAll(), 0.0)
        one, other = clients_of(2, broker)
        assert set(broker.take_ready()) == {one.core, other.core}
        assert broker.take_ready() == []
        other.subscribe("a")
        broker.take_ready()
        one.send(Publish("a", b"1"), Publish("a", b"2"))
        assert broker.take_ready() == [other.core]
        one.send(Publish("a", b"3"))
        assert broker.take_ready() == [other.core]
        assert other.payloads() == [b"1", b"2", b"3"]


class TestPublishing:
    def test_reaches_whom_it_may_concern(self) -> None:
        policy = NotingPolicy()
        broker = Broker(policy, 0.0)
        (client,) = clients_of(1, broker)
        client.subscribe("a/+", 1)
        properties = Properties(message_expiry_interval=10, content_type="t")
        reach = broker.publish("a/b", b"x", 0.0, qos=2, properties=properties)
        assert reach == Reach(1)
        client.read()
        (message,) = client.messages
        assert (message.qos, message.properties) == (1, properties)
        assert broker.publish("b", b"x", 0.0) == Reach()
        assert policy.told()[-1] == ("nobody", None, "b", b"x")

    def test_wants_a_topic(self) -> None:
        broker = Broker(AllowAll(None, Bounds(max_retained_bytes=0)), 0.0)
        for topic in ("", "+", "a\0"):
            with pytest.raises(MqttError):
                broker.publish(topic, b"", 0.0)
        with pytest.raises(MqttError):
            broker.publish("a", b"x", 0.0, retain=True)

    def test_cuts_who_can_not_follow(self) -> None:
        profile = Profile(slow_consumer=SlowConsumer.CUT, max_outbox_bytes=10)
        broker = Broker(AllowAll(profile), 0.0)
        (client,) = clients_of(1, broker)
        client.subscribe("a")
        broker.publish("a", bytes(10), 0.0)
        broker.publish("a", bytes(10), 0.0)
        assert client.core.is_closed

    def test_a_policy_may_answer_for_who_is_absent(self) -> None:
        class Gateway(AllowAll):
            broker: Broker

            def reached_nobody(self, client: Client | None, message: Message, now: float) -> None:
                if client is not None:
                    self.broker.publish(f"answer/{client.client_id}", b"offline", now)

        policy = Gateway()
        policy.broker = Broker(policy, 0.0)
        (client,) = clients_of(1, policy.broker)
        client.subscribe("answer/0")
        client.publish("question", b"?", 1)
        (puback,) = client.read()
        assert puback.reason is ReasonCode.NO_MATCHING_SUBSCRIBERS
        assert client.payloads() == [b"offline"]

    @pytest.mark.parametrize(
        "wrong",
        [
            Properties(message_expiry_interval=1 << 32),
            Properties(content_type="x" * 65_536),
            Properties(response_topic="a/#"),
        ],
    )
    def test_what_no_packet_can_say_reaches_nobody(self, wrong: Properties) -> None:
        broker = Broker(AllowAll(), 0.0)
        client = BrokerClient(broker)
        client.connect()
        client.subscribe("a", 1)
        held = broker.held_bytes
        with pytest.raises(LocalProtocolError):
            broker.publish("a", b"1", 0.0, qos=1, properties=wrong)
        assert broker.held_bytes == held
        broker.publish("a", b"2", 0.0, qos=1)
        assert client.payloads() == [b"2"]


class TestDisconnecting:
    def test_a_user(self) -> None:
        broker = Broker(AllowAll(), 0.0)
        zero, one, two = clients_of(3, broker, properties=KEPT)
        assert broker.disconnect_user("user0", ADMINISTRATIVE, 0.0) == 2
        assert [each.core.is_closed for each in (zero, one, two)] == [True, False, True]
        assert zero.read() == [Disconnect(ADMINISTRATIVE)]
        assert broker.session_count == 3
        assert broker.disconnect_user("user0", ADMINISTRATIVE, 0.0, forget=True) == 2
        assert broker.session_count == 1
        assert broker.disconnect_user("nobody", ADMINISTRATIVE, 0.0) == 0

    def test_a_session(self) -> None:
        broker = Broker(AllowAll(), 0.0)
        zero, _ = clients_of(2, broker, properties=KEPT)
        assert broker.connection("0") is zero.core
        assert broker.disconnect_session("0", ADMINISTRATIVE, 0.0)
        assert zero.core.is_closed
        assert broker.connection("0") is None
        assert broker.session_count == 2
        assert [client.client_id for client in broker.clients()] == ["1"]
        assert broker.disconnect_session("0", ADMINISTRATIVE, 0.0, forget=True)
        assert not broker.disconnect_session("0", ADMINISTRATIVE, 0.0)
        assert broker.connection("0") is None
        assert broker.disconnect_session("1", ADMINISTRATIVE, 0.0, forget=True)
        assert broker.session_count == 0

    def test_changes_of_rights_hold_at_once(self) -> None:
        class Changing(AllowAll):
            target = "a"

            def authorise_publish(self, client: Client, topic: str) -> str | ReasonCode:
                return self.target

        policy = Changing()
        broker = Broker(policy, 0.0)
        (client,) = clients_of(1, broker)
        client.subscribe("b")
        client.publish("a")
        policy.target = "b"
        broker.forget_routes()
        client.publish("a", b"now")
        assert client.payloads() == [b"now"]


class TestDraining:
    def test_all_at_once(self) -> None:
        broker = Broker(AllowAll(), 0.0)
        clients = clients_of(3, broker)
        broker.drain(5.0)
        assert all(
            client.read() == [Disconnect(ReasonCode.SERVER_SHUTTING_DOWN)] for client in clients
        )
        assert broker.connection_count == 0
        assert broker.next_deadline() is None

    def test_one_after_the_other_to_another_server(self) -> None:
        broker = Broker(AllowAll(), 0.0)
        clients = clients_of(4, broker)
        older = BrokerClient(broker, Version.V3_1_1)
        older.connect("older")
        clients[0].drop()
        broker.drain(
            10.0, seconds=8.0, reason=ReasonCode.USE_ANOTHER_SERVER, server_reference="other"
        )
        left = broker.connection_count
        assert left == 3
        assert broker.next_deadline() == 12.0
        broker.handle_timeout(11.9)
        assert broker.connection_count == left
        for now in (12.0, 14.0, 16.0):
            broker.handle_timeout(now)
            left -= 1
            assert broker.connection_count == left
        assert broker.next_deadline() is None
        goodbyes = [packet for client in clients[1:] for packet in client.read()]
        where = Properties(server_reference="other")
        assert goodbyes == [Disconnect(ReasonCode.USE_ANOTHER_SERVER, where)] * 3
        assert older.core.is_closed

    def test_nobody_is_there(self) -> None:
        broker = Broker(AllowAll(), 0.0)
        broker.drain(0.0, seconds=10.0)
        late = BrokerClient(broker)
        assert late.connect().reason is ReasonCode.SERVER_UNAVAILABLE


class TestWills:
    """Of those whom the broker's owner sends away."""

    def watched(self, **fields: Any) -> tuple[Broker, BrokerClient]:
        broker = Broker(AllowAll(), 0.0)
        watcher = BrokerClient(broker)
        watcher.connect("w")
        watcher.subscribe("gone")
        clients_of(1, broker, will=Will("gone", b"0"), **fields)
        return broker, watcher

    @pytest.mark.parametrize("with_will", [False, True])
    def test_are_published_or_forgotten(self, with_will: bool) -> None:
        expected = [b"0"] if with_will else []
        broker, watcher = self.watched()
        broker.disconnect_user("user0", ADMINISTRATIVE, 0.0, with_wills=with_will)
        assert watcher.payloads() == expected
        broker, watcher = self.watched()
        broker.disconnect_session("0", ADMINISTRATIVE, 0.0, with_will=with_will)
        assert watcher.payloads() == expected

    @pytest.mark.parametrize("with_wills", [False, True])
    def test_so_are_those_of_all(self, with_wills: bool) -> None:
        policy = NotingPolicy()
        broker = Broker(policy, 0.0)
        clients_of(1, broker, will=Will("gone", b"0"))
        broker.drain(0.0, with_wills=with_wills)
        assert (("nobody", None, "gone", b"0") in policy.told()) == with_wills

    @pytest.mark.parametrize("with_will", [False, True])
    def test_that_wait_for_their_time(self, with_will: bool) -> None:
        broker = Broker(AllowAll(), 0.0)
        watcher = BrokerClient(broker)
        watcher.connect("w")
        watcher.subscribe("gone")
        will = Will("gone", b"0", properties=Properties(will_delay_interval=10))
        (client,) = clients_of(1, broker, will=will, properties=KEPT)
        client.drop()
        broker.disconnect_session("0", ADMINISTRATIVE, 0.0, forget=True, with_will=with_will)
        assert watcher.payloads() == ([b"0"] if with_will else [])


class TestTime:
    def test_sessions_and_wills_are_minded(self) -> None:
        broker = Broker(AllowAll(), 0.0)
        watcher = BrokerClient(broker)
        watcher.connect("w")
        watcher.subscribe("gone")
        will = Will("gone", b"c", properties=Properties(will_delay_interval=10))
        client = BrokerClient(broker)
        client.connect("c", will=will, properties=KEPT)
        assert broker.next_deadline() is None
        client.drop()
        assert broker.next_deadline() == 10.0
        broker.handle_timeout(10.0)
        assert watcher.payloads() == [b"c"]
        assert broker.next_deadline() == 100.0
        broker.drain(20.0, seconds=1.0)
        assert broker.next_deadline() == 100.0
        more = clients_of(0, broker)
        assert more == []
        broker.handle_timeout(100.0)
        assert broker.session_count == 0

    def test_the_earliest_counts(self) -> None:
        broker = Broker(AllowAll(), 0.0)
        first, *_ = clients_of(3, broker, properties=KEPT)
        first.drop()
        broker.drain(0.0, seconds=8.0)
        assert broker.next_deadline() == 4.0
        broker.handle_timeout(4.0)
        assert broker.next_deadline() == 100.0

    def test_who_never_said_who_it_is_is_sent_away_too(self) -> None:
        broker = Broker(AllowAll(), 0.0)
        stranger = BrokerClient(broker)
        broker.drain(0.0)
        assert stranger.core.is_closed
        stranger.send(Connect(Version.V5, "c"))
        assert stranger.read() == []


def test_retained_messages_are_looked_for_a_part_at_a_time() -> None:
    broker = Broker(AllowAll(), 0.0)
    for number in range(2 * STEPS + 1):
        broker.publish(f"{number}", b"x", 0.0, retain=True)
    broker.publish("found/z", b"there", 0.0, retain=True)
    client = BrokerClient(broker, now=5.0)
    client.connect()
    assert broker.next_deadline() is None
    client.subscribe("+/z")
    for now in (6.0, 7.0):
        assert client.payloads() == []
        deadline = broker.next_deadline()
        assert deadline is not None
        assert deadline < now  # that is: at once
        broker.handle_timeout(now)
    assert client.payloads() == [b"there"]
    assert broker.next_deadline() is None
