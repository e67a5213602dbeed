"""porttunnel.net.mqtt_broker: connections of a broker, on carriers and a clock in our hands."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.errors import ConfigurationError
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.packet import (
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Version,
    Will,
)
from porttunnel.mqtt.policy import (
    Admission,
    AllowAll,
    Attempt,
    Bounds,
    Client,
    Decision,
    Profile,
    SlowConsumer,
)
from porttunnel.mqtt.property import Properties
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.mqtt_broker import LAST_SECONDS, MQTTBrokerFactory
from porttunnel.net.mqtt_link import GOODBYE_SECONDS, LOOK_SECONDS
from porttunnel.websocket.close import CloseCode
from porttunnel.websocket.handshake import Accepted, Refused, Request
from tests.net.mqtt_line import PEER, Peer

UPGRADE = (
    b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: mqtt\r\n\r\n"
)


def in_frame(data: bytes) -> bytes:
    """A short binary message, masked with zeros."""
    return bytes((0x82, 0x80 | len(data))) + bytes(4) + data


class LaterPolicy(AllowAll):
    """Answers when it is told to; notes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts: list[Attempt] = []
        self.gone: list[str] = []

    def authenticate(self, attempt: Attempt, now: float) -> Decision | None:
        self.attempts.append(attempt)
        return None

    def disconnected(self, client: Client, reason: ReasonCode, now: float) -> None:
        self.gone.append(client.client_id)


class BrokerTestCase(SynchronousTestCase):
    policy: Any = None

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000)
        self.factory = self.make()

    def make(self, policy: Any = None) -> MQTTBrokerFactory:
        return MQTTBrokerFactory(policy or self.policy or AllowAll(), reactor=self.clock)

    def peer(self, **options: Any) -> Peer:
        return Peer(self.factory, self.clock, **options)

    def client(self, client_id: str = "c", **fields: Any) -> Peer:
        """One that was let in."""
        peer = self.peer()
        self.assertEqual(peer.connect(client_id, **fields).reason, ReasonCode.SUCCESS)
        return peer

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds * 10)):
            self.clock.advance(0.1)

    def start(self, running: Any) -> Deferred[Any]:
        started: Deferred[Any] = Deferred.fromCoroutine(running)
        self.clock.advance(0)
        return started


class MessageTests(BrokerTestCase):
    """From one to others."""

    def test_passes_messages_on(self) -> None:
        one, other = self.client("one"), self.client("other")
        other.subscribe("a/#", 1)
        one.say(Publish("a/b", b"x", 1, packet_id=7))
        self.assertEqual(one.heard(), [Puback(7)])
        self.assertEqual(other.heard(), [Publish("a/b", b"x", 1, packet_id=1)])

    def test_what_many_send_in_one_turn_is_one_write(self) -> None:
        senders = [self.client(f"s{number}") for number in range(10)]
        receiver = self.client("r")
        receiver.subscribe("a")
        writes = []
        for _ in range(10):  # at first each comes alone; that many come together shows later on
            before = receiver.writes
            for sender in senders:
                sender.say(Publish("a", b"1"), Publish("a", b"2"))
            self.assertEqual(len(receiver.heard()), 20)
            writes.append(receiver.writes - before)
        self.assertEqual(writes[-1], 1)

    def test_an_owner_may_publish(self) -> None:
        client = self.client()
        client.subscribe("news")
        reach = self.factory.publish(
            "news", b"x", retain=True, properties=Properties(content_type="t")
        )
        self.assertEqual(reach.taken, 1)
        self.assertEqual(
            client.heard(), [Publish("news", b"x", properties=Properties(content_type="t"))]
        )
        self.assertEqual(self.factory.broker.retained_count, 1)

    def test_a_client_without_a_name_gets_one(self) -> None:
        names = {self.peer().connect("").properties.assigned_client_identifier for _ in range(2)}
        self.assertEqual(len(names), 2)
        for name in names:
            self.assertRegex(name or "", "^auto[0-9a-f]{18}$")


class PeerTests(BrokerTestCase):
    """Who it is that comes."""

    def reasons(self, *hosts: str) -> list[bool]:
        """Whether each of those who come from there is let in."""
        peers = [self.peer(peer=IPv4Address("TCP", host, 1)) for host in hosts]
        self.came = peers
        for number, peer in enumerate(peers):
            peer.say(Connect(Version.V5, f"c{number}"))
        return [any(isinstance(packet, Connack) for packet in peer.heard()) for peer in peers]

    def test_one_place_has_so_many_connections_at_most(self) -> None:
        self.factory = self.make(AllowAll(None, Bounds(max_connections_per_prefix=2)))
        one, other = "2001:db8:1:2::1", "2001:db8:1:2:3::4"
        self.assertEqual(self.reasons(one, other, one, "192.0.2.1"), [True, True, False, True])
        self.assertEqual(self.came[2].calls, ["end"])
        self.came[2].lose()
        self.assertEqual(self.reasons(other), [False])
        self.came[0].lose()
        self.factory = self.make(AllowAll(None, Bounds(max_connections_per_prefix=1)))
        self.assertEqual(self.reasons(one, other), [True, False])
        self.came[0].lose()
        self.assertEqual(self.reasons(other, one), [True, False])

    def test_from_one_place_so_many_come_in_a_second(self) -> None:
        bounds = Bounds(connects_per_second_per_prefix=1.0, connect_burst_per_prefix=2)
        self.factory = self.make(AllowAll(None, bounds))
        one, other = "192.0.2.1", "192.0.2.2"
        self.assertEqual(self.reasons(one, one, one, other), [True, True, False, True])
        for peer in self.came:
            peer.lose()
        self.assertEqual(self.reasons(one, "127.0.0.1"), [False, True])
        self.clock.advance(1.0)
        self.assertEqual(self.reasons(one, one), [True, False])

    def test_but_not_this_machine(self) -> None:
        self.factory = self.make(AllowAll(None, Bounds(max_connections_per_prefix=1)))
        hosts = ("127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1", "")
        self.assertEqual(self.reasons(*hosts, *hosts), [True] * 10)

    def test_who_is_refused_as_one_of_all_is_not_counted_as_a_places(self) -> None:
        self.factory = self.make(AllowAll(None, Bounds(max_connections=1)))
        self.assertEqual(self.reasons("192.0.2.1", "192.0.2.2"), [True, False])
        self.came[1].lose()
        self.came[0].lose()
        self.assertEqual(self.reasons("192.0.2.2"), [True])

    policy = LaterPolicy()

    def test_the_policy_is_told_where_a_client_comes_from_and_may_answer_later(self) -> None:
        peer = self.peer()
        peer.say(Connect(Version.V5, "c"))
        self.assertEqual(peer.heard(), [])
        attempt = self.policy.attempts.pop()
        self.assertEqual(attempt.peer, "192.0.2.7")
        self.factory.answer(attempt, Admission(profile=Profile()))
        (connack,) = peer.heard()
        self.assertIsInstance(connack, Connack)
        peer.lose()
        self.assertEqual(self.policy.gone, ["c"])

    def test_what_has_no_host_comes_from_nowhere(self) -> None:
        self.peer(peer=UNIXAddress("/run/mqtt")).say(Connect(Version.V5, "c"))
        self.assertEqual(self.policy.attempts.pop().peer, "")


class BackPressureTests(BrokerTestCase):
    """Who doesn't read, and who writes too much."""

    policy = AllowAll(Profile(slow_consumer=SlowConsumer.PAUSE, max_outbox_bytes=10_000))

    def test_a_full_carrier_is_written_to_when_it_has_room(self) -> None:
        sender, receiver = self.client("s"), self.client("r")
        receiver.subscribe("a")
        receiver.room = 3
        sender.say(Publish("a", b"12345"))
        writes = receiver.writes
        sender.say(Publish("a", b"6"))
        self.clock.advance(0)
        self.assertEqual(receiver.writes, writes + 1)
        receiver.take(1 << 20)
        self.assertEqual([p.payload for p in receiver.heard()], [b"12345", b"6"])

    def test_who_writes_to_a_slow_one_is_not_read_from_until_it_has_caught_up(self) -> None:
        sender, receiver = self.client("s"), self.client("r")
        receiver.subscribe("a", 1)
        receiver.room = 0
        for number in range(1, 20):
            sender.say(Publish("a", bytes(1_000), 1, packet_id=number))
        self.clock.advance(0)
        self.assertEqual(sender.calls, ["pause"])
        self.assertEqual(receiver.calls, ["pause"])  # its answers would wait too
        receiver.take(1 << 20)
        numbers = [p.packet_id for p in receiver.heard() if isinstance(p, Publish)]
        self.assertEqual(numbers, list(range(1, 20)))
        self.clock.advance(0)
        self.assertEqual(sender.calls, ["pause", "resume"])

    def test_who_keeps_others_waiting_is_cut_in_time(self) -> None:
        sender, receiver = self.client("s"), self.client("r")
        receiver.subscribe("a", 1)
        receiver.room = 0
        for number in range(1, 20):
            sender.say(Publish("a", bytes(1_000), 1, packet_id=number))
        self.clock.advance(0)
        self.pass_time(Profile().stall_seconds + LOOK_SECONDS + GOODBYE_SECONDS)
        self.assertEqual(receiver.calls, ["pause", "resume", "abort"])
        self.assertEqual(sender.calls, ["pause", "resume"])


class RateTests(BrokerTestCase):
    """More messages than a client may send."""

    policy = AllowAll(Profile(messages_per_second=10, message_burst=5))

    def test_who_sends_too_much_is_read_from_later(self) -> None:
        client = self.client()
        client.say(*[Publish("a", b"")] * 7)
        self.assertEqual(client.calls, ["pause"])
        self.pass_time(1)
        self.assertEqual(client.calls, ["pause", "resume"])


class EndTests(BrokerTestCase):
    """How a connection ends."""

    policy = AllowAll(bounds=Bounds(connect_seconds=3, max_connections=2))

    def test_a_goodbye(self) -> None:
        client = self.client()
        client.say(Disconnect())
        self.clock.advance(0)
        self.assertEqual(client.calls, ["end"])
        client.link.carrier_ended()
        self.assertEqual(client.calls, ["end", "close"])
        client.lose()
        self.assertEqual(self.factory.links, set())
        self.pass_time(LOOK_SECONDS + 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_just_ends_is_closed(self) -> None:
        client = self.client()
        client.link.carrier_ended()
        self.assertEqual(client.calls, ["close"])

    def test_who_ends_before_anything_came_is_closed(self) -> None:
        peer = self.peer()
        peer.link.carrier_ended()
        self.assertEqual(peer.calls, ["close"])

    def test_a_peer_that_does_not_close_is_cut_off(self) -> None:
        client = self.client()
        client.say(Disconnect())
        self.clock.advance(0)
        client.say(Pingreq())
        self.pass_time(GOODBYE_SECONDS - 1)
        self.assertEqual(client.calls, ["end"])
        self.pass_time(2)
        self.assertEqual(client.calls, ["end", "abort"])

    @pytest.mark.mqtt5("3.1.0-2", "3.14.4-2", "4.13.1-1", "4.13.2-1")
    def test_a_broken_protocol_is_told_before_the_end(self) -> None:
        client = self.client()
        client.say(Connect(Version.V5, "c"))
        self.assertEqual(client.heard(), [Disconnect(ReasonCode.PROTOCOL_ERROR)])
        self.assertEqual(client.calls, ["end"])

    def test_the_last_words_wait_for_room(self) -> None:
        client = self.client()
        client.room = 0
        client.say(Connect(Version.V5, "c"))
        self.clock.advance(0)
        self.assertEqual(client.calls, [])
        client.take(100)
        self.assertEqual(client.heard(), [Disconnect(ReasonCode.PROTOCOL_ERROR)])
        self.assertEqual(client.calls, ["end"])

    def test_a_lost_connection_lets_the_will_speak(self) -> None:
        watcher = self.client("w")
        watcher.subscribe("gone")
        self.client(will=Will("gone", b"bye")).lose()
        self.assertEqual(watcher.heard(), [Publish("gone", b"bye")])

    @pytest.mark.mqtt5("3.1.2-8")
    def test_a_will_may_wait(self) -> None:
        watcher = self.client("w")
        watcher.subscribe("gone")
        will = Will("gone", b"bye", properties=Properties(will_delay_interval=7))
        self.client(will=will, properties=Properties(session_expiry_interval=100)).lose()
        self.pass_time(6)
        self.assertEqual(watcher.heard(), [])
        self.pass_time(2)
        self.assertEqual(len(watcher.heard()), 1)

    @pytest.mark.mqtt5("3.1.2-22")
    def test_silence_is_noticed(self) -> None:
        client = self.client(keep_alive_seconds=2)
        for _ in range(3):
            self.pass_time(2)
            client.say(Pingreq())
        self.assertEqual(client.heard(), [Pingresp()] * 3)
        self.pass_time(3.3)
        self.assertEqual(client.heard(), [Disconnect(ReasonCode.KEEP_ALIVE_TIMEOUT)])

    def test_who_says_nothing_at_all_is_sent_away(self) -> None:
        peer = self.peer()
        self.pass_time(LOOK_SECONDS + 4)
        self.assertEqual(peer.calls, ["end"])

    def test_one_too_many_is_closed(self) -> None:
        self.client("one"), self.client("two")
        third = self.peer()
        third.say(Connect(Version.V5, "c"))
        self.clock.advance(0)
        self.assertEqual(third.calls, ["end"])

    def test_an_owner_may_disconnect(self) -> None:
        one = self.client("one", user_name="anna", password=b"")
        other = self.client("other")
        reason = ReasonCode.ADMINISTRATIVE_ACTION
        self.assertEqual(self.factory.disconnect_user("anna", reason), 1)
        self.assertTrue(self.factory.disconnect_session("other", reason))
        self.assertFalse(self.factory.disconnect_session("nobody", reason))
        for client in (one, other):
            self.assertEqual(client.heard(), [Disconnect(reason)])

    def test_a_late_deadline_of_a_lost_connection_means_nothing(self) -> None:
        client = self.client()
        client.lose()
        self.assertIsNone(client.link.deadline_came(self.clock.seconds()))
        client.link.flush()
        client.link.abort()
        self.assertEqual(client.calls, [])


class FaultTests(BrokerTestCase):
    """What fails at one connection."""

    def test_others_are_served_nevertheless(self) -> None:
        sender = self.client("s")
        first, second = self.client("first"), self.client("second")
        for receiver in (first, second):
            receiver.subscribe("a")
            receiver.fault = ValueError()
        second.fault = None
        sender.say(Publish("a", b""))
        self.assertEqual(len(second.heard()), 1)
        self.assertEqual(first.calls, ["abort"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class DrainTests(BrokerTestCase):
    """The broker's own end."""

    def test_all_are_sent_away_one_after_the_other(self) -> None:
        clients = [self.client(f"c{number}") for number in range(4)]
        draining = self.start(
            self.factory.drain(
                seconds=4.0, reason=ReasonCode.USE_ANOTHER_SERVER, server_reference="b.example"
            )
        )
        told: list[Packet] = []
        for _ in range(4):
            told += [packet for client in clients for packet in client.heard()]
            self.pass_time(1)
        self.assertEqual(len(told), 4)
        self.assertEqual(
            told[0],
            Disconnect(ReasonCode.USE_ANOTHER_SERVER, Properties(server_reference="b.example")),
        )
        for client in clients:
            self.assertEqual(client.calls, ["end"])
            self.assertNoResult(draining)
            client.lose()
        self.successResultOf(draining)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_does_not_go_is_not_waited_for_without_end(self) -> None:
        client = self.client()
        client.lose = lambda: None  # type: ignore[method-assign]  # a transport that hangs
        draining = self.start(self.factory.drain(seconds=1.0))
        self.pass_time(1.0 + LAST_SECONDS)
        self.assertEqual(client.calls, ["end", "abort", "abort"])
        self.successResultOf(draining)

    def test_nor_who_came_last(self) -> None:
        client = self.client()
        client.lose = lambda: None  # type: ignore[method-assign]  # a transport that hangs
        draining = self.start(self.factory.drain())
        self.pass_time(LAST_SECONDS - LOOK_SECONDS + 1)
        late = self.peer()  # of a listener that is not closed yet
        self.pass_time(LOOK_SECONDS - 1)
        self.successResultOf(draining)
        self.assertEqual(late.calls, ["abort"])

    def test_wills_are_published_unless_somebody_goes_on_elsewhere(self) -> None:
        for with_wills, expected in ((True, 1), (False, 0)):
            self.factory = self.make()
            client = self.client(will=Will("gone", b"x", retain=True))
            draining = self.start(self.factory.drain(with_wills=with_wills))
            client.lose()
            self.successResultOf(draining)
            self.assertEqual(self.factory.broker.retained_count, expected)

    def test_nobody_is_let_in_any_more(self) -> None:
        silent = self.peer()
        self.successResultOf(self.start(self.factory.drain()))
        self.assertEqual(silent.calls, ["abort"])
        self.assertIsNone(self.factory.buildProtocol(None))
        request = Request("GET", "/", 1, {})
        refused = self.factory._build_receiver(Accepted(request, "mqtt"), PEER)
        self.assertIsInstance(refused, Refused)

    def test_a_websocket_is_told_that_the_service_comes_back(self) -> None:
        for drains, code in ((True, CloseCode.SERVICE_RESTART), (False, CloseCode.NORMAL)):
            self.factory = self.make()
            protocol: Any = self.factory.websocket_factory().buildProtocol(PEER)
            transport = StringTransport(peerAddress=PEER)
            protocol.makeConnection(transport)
            protocol.dataReceived(UPGRADE + in_frame(encode(Connect(Version.V5, "c"), Version.V5)))
            self.clock.advance(0)
            if drains:
                draining = self.start(self.factory.drain())
            else:
                self.factory.disconnect_session("c", ReasonCode.ADMINISTRATIVE_ACTION)
            self.clock.advance(0)
            self.assertEqual(transport.value()[-4:], b"\x88\x02" + code.to_bytes(2, "big"))
            protocol.connectionLost(Failure(ConnectionDone()))
            if drains:
                self.successResultOf(draining)

    def test_ends_though_nobody_is_there(self) -> None:
        self.factory.batch.soon()
        self.successResultOf(self.start(self.factory.drain()))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ListenerTests(BrokerTestCase):
    """What listeners are made of."""

    def test_a_wrong_origin_is_refused(self) -> None:
        with self.assertRaises(ConfigurationError):
            self.factory.websocket_factory(origins=["example.org"])
        with self.assertRaises(ConfigurationError):
            self.factory.websocket_resource(origins=["example.org"])
        with self.assertRaises(ConfigurationError):
            self.factory.websocket_factory(path="mqtt")

    def test_without_a_reactor_it_takes_the_processs(self) -> None:
        from twisted.internet import reactor

        self.assertIs(MQTTBrokerFactory(AllowAll())._reactor, reactor)
