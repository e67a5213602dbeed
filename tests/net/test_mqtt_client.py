"""porttunnel.net.mqtt_client: Deferreds, reconnecting, back-pressure; the broker is the test."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.errors import (
    BrokerRefused,
    ClientStopped,
    LocalProtocolError,
    NotReachable,
    QueueFull,
)
from porttunnel.mqtt.client_event import (
    Connected,
    ConnectionFailed,
    ConnectionLost,
    ConnectionRefused,
    Disconnected,
    MessageReceived,
    PublishFinished,
)
from porttunnel.mqtt.client_keep_alive import PINGRESP_SECONDS
from porttunnel.mqtt.client_setting import ClientSettings
from porttunnel.mqtt.packet import (
    Auth,
    Connack,
    Disconnect,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
)
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.driver import GOODBYE_SECONDS
from porttunnel.net.mqtt_client import MQTTClient, MQTTClientService
from porttunnel.net.reconnect import MAX_DELAY_SECONDS
from tests.net.mqtt_line import Line, LineConnector

GRANTED = ReasonCode.GRANTED_QOS_1


class ClientTestCase(SynchronousTestCase):
    """A client, a clock and lines in our hands."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.connector = LineConnector()
        self.messages: list[MessageReceived] = []
        self.events: list[Any] = []

    def make_client(self, on_message: Any = None, **settings: Any) -> MQTTClient:
        self.client = MQTTClient(
            self.clock,
            self.connector,
            ClientSettings(**settings),
            on_message=on_message or self.messages.append,
            on_event=self.events.append,
        )
        return self.client

    @property
    def line(self) -> Line:
        """The line that is in use."""
        return self.connector.lines[-1]

    def start(self, on_message: Any = None, **settings: Any) -> MQTTClient:
        """A client that the broker took."""
        client = self.make_client(on_message, **settings)
        client.start()
        self.clock.advance(1)
        self.line.accept()
        self.events.clear()
        return client

    def sent(self) -> list[Any]:
        self.clock.advance(0)
        return list(self.line.sent())

    def run_coroutine(self, running: Any) -> Deferred[Any]:
        started: Deferred[Any] = Deferred.fromCoroutine(running)
        self.clock.advance(0)
        return started

    def come_back(self, *, session_present: bool = False) -> None:
        """The line is cut and the client connects again."""
        self.line.lose()
        self.clock.advance(MAX_DELAY_SECONDS)
        self.line.accept(session_present=session_present)

    def stop(self) -> None:
        stopping = self.run_coroutine(self.client.stop())
        if self.connector.lines:
            self.line.lose()
        self.successResultOf(stopping)


class AskingTests(ClientTestCase):
    """What a program asks for, and its Deferreds."""

    def test_publishes(self) -> None:
        client = self.start()
        at_most = client.publish("a", b"0")
        at_least = client.publish(
            "a", b"1", qos=1, retain=True, properties=Properties(content_type="t")
        )
        self.assertNoResult(at_most)
        self.assertEqual(
            self.sent(),
            [
                Publish("a", b"0"),
                Publish(
                    "a",
                    b"1",
                    1,
                    retain=True,
                    packet_id=1,
                    properties=Properties(content_type="t"),
                ),
            ],
        )
        self.assertIsInstance(self.successResultOf(at_most), PublishFinished)
        self.assertNoResult(at_least)
        self.line.say(Puback(1, ReasonCode.NO_MATCHING_SUBSCRIBERS))
        self.assertEqual(self.successResultOf(at_least).reason, ReasonCode.NO_MATCHING_SUBSCRIBERS)

    def test_a_refused_message_fails(self) -> None:
        refused = self.start().publish("a", b"", qos=1)
        self.sent()
        self.line.say(Puback(1, ReasonCode.NOT_AUTHORIZED))
        error = self.failureResultOf(refused, BrokerRefused).value
        self.assertEqual(error.reason, ReasonCode.NOT_AUTHORIZED)

    def test_what_is_no_message_fails(self) -> None:
        self.failureResultOf(self.start().publish("a/#", b""), LocalProtocolError)

    def test_a_full_queue_fails_at_once_and_tells_when_there_is_room(self) -> None:
        client = self.make_client(max_queued_bytes=10_000)
        first = client.publish("a", bytes(6_000))
        self.failureResultOf(client.publish("a", bytes(6_000)), QueueFull)
        room = client.when_room()
        self.assertNoResult(room)
        client.start()
        self.clock.advance(1)
        self.assertNoResult(room)
        self.line.accept()
        self.successResultOf(first)
        self.successResultOf(room)
        self.successResultOf(client.when_room())

    def test_who_does_not_wait_any_more_is_not_told(self) -> None:
        client = self.start()
        published = client.publish("a", b"", qos=1)
        published.addErrback(lambda _: None)
        published.cancel()
        self.assertEqual(self.sent(), [Publish("a", b"", 1, packet_id=1)])
        self.line.say(Puback(1))
        room = client.when_room()
        self.successResultOf(room)

    def test_subscribes(self) -> None:
        client = self.start()
        options = Subscription("b", 2, no_local=True)
        properties = Properties(subscription_identifiers=(3,))
        subscribing = self.run_coroutine(
            client.subscribe("a", options, qos=1, properties=properties)
        )
        self.assertEqual(self.sent(), [Subscribe(1, (Subscription("a", 1), options), properties)])
        self.line.say(Suback(1, (GRANTED, ReasonCode.GRANTED_QOS_0)))
        self.assertEqual(self.successResultOf(subscribing), (1, 0))

    def test_a_refused_subscription_fails_and_names_it(self) -> None:
        subscribing = self.run_coroutine(self.start().subscribe("a", "b"))
        self.line.say(Suback(1, (GRANTED, ReasonCode.NOT_AUTHORIZED)))
        error = self.failureResultOf(subscribing, BrokerRefused).value
        self.assertEqual(error.reason, ReasonCode.NOT_AUTHORIZED)
        self.assertIn("'b'", str(error))

    def test_unsubscribes(self) -> None:
        client = self.start()
        unsubscribing = self.run_coroutine(client.unsubscribe("a", "b"))
        self.assertEqual(self.sent(), [Unsubscribe(1, ("a", "b"))])
        self.line.say(Unsuback(1, (ReasonCode.SUCCESS,) * 2))
        self.successResultOf(unsubscribing)
        unsubscribing = self.run_coroutine(client.unsubscribe("a"))
        self.line.say(Unsuback(2, (ReasonCode.NOT_AUTHORIZED,)))
        self.failureResultOf(unsubscribing, BrokerRefused)

    def test_authenticates(self) -> None:
        client = self.start(authentication_method="SCRAM")
        client.authenticate(Properties(authentication_data=b"x"))
        (auth,) = self.sent()
        self.assertIsInstance(auth, Auth)


class ReceivingTests(ClientTestCase):
    """Messages, and when they are acknowledged."""

    def test_what_is_taken_is_acknowledged(self) -> None:
        self.start()
        self.line.say(Publish("a", b"x", 1, packet_id=7))
        self.assertEqual([message.payload for message in self.messages], [b"x"])
        self.assertEqual(self.sent(), [Puback(7)])

    def test_what_takes_time_is_acknowledged_then(self) -> None:
        working: Deferred[None] = Deferred()

        async def work() -> None:
            await working

        returned = iter([working, work()])
        self.start(on_message=lambda message: next(returned))
        self.line.say(Publish("a", b"", 1, packet_id=7), Publish("a", b"", 1, packet_id=8))
        self.assertEqual(self.sent(), [])
        working.callback(None)
        self.assertEqual(self.sent(), [Puback(7), Puback(8)])

    def test_what_can_not_be_used_is_logged_and_told(self) -> None:
        async def fail_later() -> None:
            raise ValueError("later")

        def receive(message: MessageReceived) -> Any:
            if message.payload == b"now":
                raise ValueError("now")
            return fail_later()

        self.start(on_message=receive)
        self.line.say(Publish("a", b"now", 1, packet_id=7), Publish("a", b"later", 1, packet_id=8))
        failed = ReasonCode.UNSPECIFIED_ERROR
        self.assertEqual(self.sent(), [Puback(7, failed), Puback(8, failed)])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_nothing_more_is_read_while_too_much_is_unfinished(self) -> None:
        working: list[Deferred[None]] = []

        def receive(message: MessageReceived) -> Deferred[None]:
            working.append(Deferred())
            return working[-1]

        self.start(on_message=receive, max_unfinished_bytes=5_100)
        for _ in range(3):
            self.line.say(Publish("a", bytes(2_000)))
        self.assertEqual(self.line.calls, ["pause"])
        working[0].callback(None)
        self.clock.advance(0)
        self.assertEqual(self.line.calls, ["pause", "resume"])
        for more in working[1:]:
            more.callback(None)
        self.clock.advance(0)
        self.assertEqual(self.line.calls, ["pause", "resume"])

    def test_a_new_connection_is_read_from_until_the_broker_took_us(self) -> None:
        self.start(on_message=lambda message: Deferred(), max_unfinished_bytes=100)
        self.line.say(Publish("a", bytes(2_000)))
        self.assertEqual(self.line.calls, ["pause"])
        self.line.lose()
        self.clock.advance(MAX_DELAY_SECONDS)
        self.assertEqual(self.line.calls, [])
        self.line.accept()
        self.assertEqual(self.line.calls, ["pause"])


class ConnectionTests(ClientTestCase):
    """Coming, going and coming back."""

    def test_is_connected_once_the_broker_took_us(self) -> None:
        client = self.make_client(client_id="ours")
        connected = client.when_connected()
        client.start()
        self.clock.advance(1)
        self.assertFalse(client.is_connected)
        self.assertEqual(self.line.accept().client_id, "ours")
        self.assertTrue(client.is_connected)
        self.successResultOf(connected)
        self.successResultOf(client.when_connected())
        self.assertEqual(self.events, [Connected(False, "ours", EMPTY)])

    def test_who_gives_up_waiting_is_forgotten(self) -> None:
        """As each request of a device that is offline for days."""
        client = self.make_client()
        given_up = client.when_connected()
        lost = weakref.ref(given_up)
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        del given_up
        other, last = client.when_connected(), client.when_connected()
        other.addCallback(lambda _: last.cancel())
        gc.collect()
        self.assertIsNone(lost())
        client.start()
        self.clock.advance(1)
        self.line.accept()
        self.successResultOf(other)
        self.failureResultOf(last, CancelledError)

    def test_to_start_again_changes_nothing(self) -> None:
        client = self.make_client()
        client.start()
        client.start()
        self.clock.advance(1)
        client.start()
        self.line.accept()
        client.start()
        self.clock.advance(MAX_DELAY_SECONDS)
        self.assertTrue(client.is_connected)
        self.assertEqual(len(self.connector.lines), 1)
        self.stop()

    def test_tries_until_somebody_is_there(self) -> None:
        self.connector.reachable = False
        self.make_client().start()
        for _ in range(5):
            self.clock.advance(MAX_DELAY_SECONDS)
        self.assertGreater(self.connector.tries, 3)
        self.assertEqual(len(self.events), self.connector.tries)
        self.assertIsInstance(self.events[0].error, NotReachable)
        self.connector.reachable = True
        self.clock.advance(MAX_DELAY_SECONDS)
        self.assertEqual(len(self.connector.lines), 1)

    def test_what_was_under_way_goes_on_after_a_cut(self) -> None:
        client = self.start(session_expiry_seconds=60)
        published = client.publish("a", b"1", qos=1)
        self.sent()
        self.line.lose()
        self.assertEqual(self.events, [ConnectionLost()])
        later = client.publish("a", b"2")
        self.clock.advance(MAX_DELAY_SECONDS)
        self.line.accept(session_present=True)
        self.assertEqual(
            self.sent(), [Publish("a", b"1", 1, dup=True, packet_id=1), Publish("a", b"2")]
        )
        self.successResultOf(later)
        self.line.say(Puback(1))
        self.successResultOf(published)

    def test_subscriptions_are_asked_for_again_after_a_lost_session(self) -> None:
        subscribing = self.run_coroutine(self.start(session_expiry_seconds=60).subscribe("a"))
        self.line.say(Suback(1, (ReasonCode.GRANTED_QOS_0,)))
        self.successResultOf(subscribing)
        self.come_back(session_present=True)
        self.assertEqual(self.sent(), [])
        self.come_back(session_present=False)
        self.assertEqual(self.sent(), [Subscribe(2, (Subscription("a"),))])

    def test_a_refusal_that_passes_is_tried_again(self) -> None:
        self.make_client().start()
        self.clock.advance(1)
        self.line.sent()
        self.line.say(Connack(False, ReasonCode.SERVER_BUSY))
        self.assertIsInstance(self.events[0], ConnectionRefused)
        self.assertEqual(self.line.calls, ["end"])
        self.line.lose()
        self.clock.advance(MAX_DELAY_SECONDS)
        self.assertEqual(len(self.connector.lines), 2)

    def test_a_refusal_for_good_ends_all(self) -> None:
        client = self.make_client()
        client.start()
        waiting = [client.when_connected(), client.when_ended(), client.publish("a", b"")]
        self.clock.advance(1)
        self.line.say(Connack(False, ReasonCode.BAD_USER_NAME_OR_PASSWORD))
        self.line.lose()
        self.clock.advance(10 * MAX_DELAY_SECONDS)
        self.assertEqual(len(self.connector.lines), 1)
        for deferred in [*waiting, client.publish("a", b""), client.when_room()]:
            error = self.failureResultOf(deferred, BrokerRefused).value
            self.assertEqual(error.reason, ReasonCode.BAD_USER_NAME_OR_PASSWORD)

    def test_who_was_put_out_by_another_does_not_come_back(self) -> None:
        ended = self.start().when_ended()
        self.line.say(Disconnect(ReasonCode.SESSION_TAKEN_OVER))
        self.assertIsInstance(self.events[0], Disconnected)
        self.line.lose()
        self.clock.advance(MAX_DELAY_SECONDS)
        self.assertEqual(len(self.connector.lines), 1)
        self.failureResultOf(ended, BrokerRefused)

    def test_a_broker_that_stops_finds_us_again(self) -> None:
        self.start()
        self.line.say(Disconnect(ReasonCode.SERVER_SHUTTING_DOWN))
        self.assertEqual(self.line.calls, ["end"])
        self.line.lose()
        self.clock.advance(MAX_DELAY_SECONDS)
        self.assertEqual(len(self.connector.lines), 2)

    def test_a_broker_that_breaks_the_protocol_is_told_and_left(self) -> None:
        self.start()
        self.line.say(Connack(False))
        self.assertIsInstance(self.events[0], ConnectionFailed)
        self.assertEqual(self.sent(), [Disconnect(ReasonCode.PROTOCOL_ERROR)])
        self.assertEqual(self.line.calls, ["end"])
        self.clock.advance(GOODBYE_SECONDS)
        self.assertEqual(self.line.calls, ["end", "abort"])

    def test_a_dead_connection_is_dropped(self) -> None:
        self.start(keep_alive_seconds=60)
        self.clock.advance(50)
        self.assertEqual(self.sent(), [Pingreq()])
        self.line.say(Pingresp())
        self.clock.advance(50)
        self.assertEqual(self.sent(), [Pingreq()])
        self.clock.advance(PINGRESP_SECONDS)
        self.assertEqual(self.line.calls, ["abort"])

    def test_a_programs_fault_in_an_event_is_logged(self) -> None:
        client = self.make_client()
        client._on_event = lambda happened: 1 / 0
        client.start()
        self.clock.advance(1)
        self.line.accept()
        self.assertTrue(client.is_connected)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class StoppingTests(ClientTestCase):
    """The end."""

    @pytest.mark.mqtt5("3.14.4-2")
    @pytest.mark.mqtt3("3.14.4-1")
    def test_says_goodbye(self) -> None:
        client = self.start()
        ended = client.when_ended()
        stopping = self.run_coroutine(client.stop())
        self.assertEqual(self.sent(), [Disconnect()])
        self.assertEqual(self.line.calls, ["end"])
        self.assertNoResult(stopping)
        self.line.lose()
        self.successResultOf(stopping)
        self.failureResultOf(ended, ClientStopped)
        self.clock.advance(MAX_DELAY_SECONDS)
        self.assertEqual(len(self.connector.lines), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_waits_for_what_is_not_done_a_while(self) -> None:
        client = self.start()
        done, undone = client.publish("a", b"", qos=1), client.publish("a", b"", qos=1)
        stopping = self.run_coroutine(client.stop(5.0))
        self.line.sent()
        self.line.say(Puback(1))
        self.successResultOf(done)
        self.assertEqual(self.sent(), [])
        self.clock.advance(5)
        self.assertEqual(self.sent(), [Disconnect()])
        self.failureResultOf(undone, ClientStopped)
        self.line.lose()
        self.successResultOf(stopping)

    def test_goes_as_soon_as_all_is_done(self) -> None:
        client = self.start()
        done = client.publish("a", b"", qos=1)
        stopping = self.run_coroutine(client.stop(5.0))
        self.line.sent()
        self.line.say(Puback(1))
        self.successResultOf(done)
        self.assertEqual(self.sent(), [Disconnect()])
        self.line.lose()
        self.successResultOf(stopping)

    def test_a_broker_that_ends_it_for_good_in_between_is_no_fault_of_stopping(self) -> None:
        client = self.start()
        undone = client.publish("a", b"", qos=1)
        stopping = self.run_coroutine(client.stop(5.0))
        self.line.say(Disconnect(ReasonCode.SESSION_TAKEN_OVER))
        self.failureResultOf(undone, BrokerRefused)
        self.line.lose()
        self.successResultOf(stopping)

    def test_twice_at_once_ends_with_the_less_patient_one(self) -> None:
        client = self.start()
        undone = client.publish("a", b"", qos=1)
        stopping = [self.run_coroutine(client.stop(seconds)) for seconds in (5.0, 0)]
        self.failureResultOf(undone, ClientStopped)
        self.line.lose()
        for one in stopping:
            self.successResultOf(one)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_message_is_given_out_after_it(self) -> None:
        def stop_at_the_first(message: MessageReceived) -> None:
            self.messages.append(message)
            stopping.append(self.run_coroutine(self.client.stop(0)))

        stopping: list[Deferred[Any]] = []
        self.start(on_message=stop_at_the_first)
        self.line.say(Publish("a", b"1"), Publish("a", b"2", 1, packet_id=7))
        self.line.lose()
        self.assertEqual([message.payload for message in self.messages], [b"1"])
        self.successResultOf(stopping[0])

    def test_can_stop_before_there_is_a_connection(self) -> None:
        self.connector.reachable = False
        client = self.make_client()
        client.start()
        self.clock.advance(1)
        undone = client.publish("a", b"")
        self.successResultOf(self.run_coroutine(client.stop()))
        self.failureResultOf(undone, ClientStopped)
        self.failureResultOf(client.publish("a", b""), ClientStopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(self.run_coroutine(client.stop()))
        self.assertRaises(ClientStopped, client.start)

    def test_a_late_finish_harms_nobody(self) -> None:
        working: Deferred[None] = Deferred()
        self.start(on_message=lambda message: working)
        self.line.say(Publish("a", b"", 1, packet_id=7))
        self.stop()
        working.callback(None)
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_service_runs_a_client(self) -> None:
        service = MQTTClientService(self.make_client())
        service.startService()
        self.clock.advance(1)
        self.line.accept()
        stopping = service.stopService()
        self.assertEqual(self.sent(), [Disconnect()])
        self.line.lose()
        self.successResultOf(stopping)
