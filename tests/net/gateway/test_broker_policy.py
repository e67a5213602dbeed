"""porttunnel.net.gateway.broker_policy: who may come to the gateway, and say what to whom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.errors import ConfigurationError, GatewayBusy
from porttunnel.gateway.part import Failure, decode_part
from porttunnel.mqtt.packet import (
    Connack,
    Connect,
    Disconnect,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Version,
    Will,
)
from porttunnel.mqtt.property import Properties
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.gateway.audit_log import AuditEvent
from porttunnel.net.gateway.broker_policy import INTRODUCTION_SECONDS, MAX_SESSIONS_PER_DEVICE
from tests.net.gateway.house import DEVICE, INSTANCE, LIMITS, House

OTHER, FOREIGN = "1b" * 16, "dc" * 16
REQUEST = f"device/{DEVICE}/request/12345678"
ROUTED = f"instance/{INSTANCE}/request/{DEVICE}/12345678"
RESPONSE = f"device/{DEVICE}/response/12345678"
NO = ReasonCode.NOT_AUTHORIZED
WRONG = ReasonCode.BAD_USER_NAME_OR_PASSWORD


class PolicyTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()
        self.accounts = self.house.accounts
        self.accounts.add(OTHER, OTHER)
        self.accounts.add(FOREIGN, OTHER)
        self.logins = self.house.gateway.policy.logins


class LoginTests(PolicyTestCase):
    """Who may come."""

    def test_a_password_is_checked_once(self) -> None:
        self.house.log_in(DEVICE)
        self.house.log_in(DEVICE, client_id="another")
        self.assertEqual(self.accounts.checks, [(DEVICE, "192.0.2.7")])
        self.assertEqual(self.logins, {"device": 2})

    def test_ipv6_counts_by_its_network(self) -> None:
        peer = self.house.peer(peer=IPv4Address("TCP", "2001:db8:1:2:3::4", 1))
        peer.say(Connect(Version.V5, "c", user_name=DEVICE, password=b"wrong"))
        self.assertEqual(self.accounts.checks, [(DEVICE, "2001:db8:1:2::/64")])

    def test_one_place_does_not_use_up_what_all_may(self) -> None:
        house = House(replace(LIMITS, connects_per_second=40))
        for _ in range(300):
            stranger = house.peer()
            stranger.say(Connect(Version.V5, "c", user_name=DEVICE, password=b"wrong"))
            stranger.lose()
        peer = house.peer(peer=IPv4Address("TCP", "198.51.100.1", 1))
        peer.say(Connect(Version.V5, "c", user_name=DEVICE, password=b"right"))
        (connack,) = peer.heard()
        assert isinstance(connack, Connack)
        self.assertIs(connack.reason, ReasonCode.SUCCESS)

    def test_who_is_refused(self) -> None:
        self.assertIs(self.house.refusal(DEVICE, b"wrong"), WRONG)
        self.assertIs(self.house.refusal("nobody"), WRONG)
        self.assertIs(self.house.refusal(None, None), WRONG)
        self.assertIs(self.house.refusal(DEVICE, None), WRONG)
        self.assertEqual(self.logins, {"wrong": 2, "malformed": 2})

    def test_no_other_way_to_prove_it(self) -> None:
        properties = Properties(authentication_method="x")
        reason = self.house.refusal(DEVICE, properties=properties)
        self.assertIs(reason, ReasonCode.BAD_AUTHENTICATION_METHOD)

    def test_a_busy_gateway_says_so(self) -> None:
        self.accounts.failure = GatewayBusy(1.0)
        _, (connack,) = self.house.try_login(DEVICE)
        assert isinstance(connack, Connack)
        self.assertIs(connack.reason, ReasonCode.SERVER_BUSY)
        self.assertEqual(connack.properties.reason_string, str(GatewayBusy(1.0)))
        self.assertEqual(self.logins, {"busy": 1})

    def test_a_store_that_fails(self) -> None:
        self.accounts.failure = ConfigurationError("the disk is full")
        with capturedLogs() as logged:
            for _ in range(3):
                self.assertIs(self.house.refusal(INSTANCE), ReasonCode.SERVER_UNAVAILABLE)
        self.assertEqual([each["error"] for each in logged], [self.accounts.failure])

    def test_an_instance_that_is_removed_while_its_devices_are_looked_up(self) -> None:
        self.accounts.waiting = []
        peer, heard = self.house.try_login(INSTANCE)
        self.assertEqual(heard, [])
        self.accounts.answer_next()
        self.accounts.remove(INSTANCE)
        self.accounts.answer_next()
        (connack,) = peer.heard()
        assert isinstance(connack, Connack)
        self.assertIs(connack.reason, WRONG)

    def test_who_has_gone_by_then(self) -> None:
        self.accounts.waiting = []
        peer, _ = self.house.try_login(INSTANCE)
        peer.lose()
        self.accounts.answer_next()
        self.accounts.answer_next()
        self.house.gateway.device_added(INSTANCE, "dd" * 16)
        self.assertEqual(self.house.gateway.presence.instance_count, 0)

    def test_sessions_of_a_device_are_counted(self) -> None:
        for number in range(MAX_SESSIONS_PER_DEVICE):
            peer = self.house.log_in(DEVICE, client_id=f"c{number}")
        reason = self.house.refusal(DEVICE, client_id="one too many")
        self.assertIs(reason, ReasonCode.QUOTA_EXCEEDED)
        self.house.log_in(DEVICE, client_id="c0")
        peer.lose()
        self.house.log_in(DEVICE, client_id="one more")

    def test_what_is_written_down(self) -> None:
        device, instance = self.house.log_in(DEVICE), self.house.log_in(INSTANCE)
        device.lose()
        self.house.gateway.instance_removed(INSTANCE)
        self.assertEqual(
            self.house.audit,
            [
                (AuditEvent.CONNECTED, INSTANCE, DEVICE),
                (AuditEvent.CONNECTED, INSTANCE, None),
                (AuditEvent.DISCONNECTED, INSTANCE, DEVICE),
                (AuditEvent.CUT_OFF, INSTANCE, None),
            ],
        )
        self.assertIn(Disconnect(ReasonCode.ADMINISTRATIVE_ACTION), instance.heard())

    def test_without_an_audit_log(self) -> None:
        self.house.gateway.policy._record = None
        self.house.log_in(DEVICE).lose()
        self.assertEqual(self.house.audit, [])


class TopicTests(PolicyTestCase):
    """Who may say what to whom."""

    def test_requests_go_to_the_instance_and_back(self) -> None:
        device, instance = self.house.log_in(DEVICE), self.house.log_in(INSTANCE)
        instance.heard()
        self.assertEqual(self.house.publish(device, REQUEST), 0)
        (request,) = instance.heard()
        self.assertEqual(request, Publish(ROUTED, b"x", 1, packet_id=2))
        self.assertEqual(self.house.publish(instance, RESPONSE), 0)
        (response,) = device.heard()
        self.assertEqual(response, Publish(RESPONSE, b"x", 1, packet_id=1))

    def test_a_request_that_reaches_nobody(self) -> None:
        device = self.house.log_in(DEVICE)
        reason = self.house.publish(device, REQUEST)
        self.assertIs(reason, ReasonCode.NO_MATCHING_SUBSCRIBERS)
        (answer,) = self.house.rest
        self.assertEqual(answer.topic, RESPONSE)
        self.assertEqual(
            decode_part(answer.payload), Failure("instance-offline", from_gateway=True)
        )
        self.assertEqual(self.house.gateway.policy.unreached, 1)

    def test_what_an_instance_says_to_nobody_is_not_answered(self) -> None:
        instance = self.house.log_in(INSTANCE)
        reason = self.house.publish(instance, RESPONSE)
        self.assertIs(reason, ReasonCode.NO_MATCHING_SUBSCRIBERS)
        self.assertEqual(self.house.rest, [])
        self.assertEqual(self.house.gateway.policy.unreached, 0)

    def test_nothing_else(self) -> None:
        device, instance = self.house.log_in(DEVICE), self.house.log_in(INSTANCE)
        for topic in (RESPONSE, ROUTED, f"device/{FOREIGN}/request/12345678", "x"):
            self.assertIs(self.house.publish(device, topic), NO)
        for topic in (f"device/{FOREIGN}/response/12345678", ROUTED, REQUEST):
            self.assertIs(self.house.publish(instance, topic), NO)

    def test_response_topics(self) -> None:
        device, _ = self.house.log_in(DEVICE), self.house.log_in(INSTANCE)
        own = Properties(response_topic=RESPONSE)
        self.assertEqual(self.house.publish(device, REQUEST, properties=own), 0)
        foreign = Properties(response_topic=f"device/{FOREIGN}/response/12345678")
        self.assertIs(self.house.publish(device, REQUEST, properties=foreign), NO)

    def test_wills(self) -> None:
        will = Will(REQUEST, b"gone", 1)
        device = self.house.log_in(DEVICE, will=will)
        instance = self.house.log_in(INSTANCE)
        instance.heard()
        device.lose()
        published = [each for each in instance.heard() if isinstance(each, Publish)]
        self.assertEqual(published[0].topic, ROUTED)
        self.assertEqual(self.house.refusal(DEVICE, will=Will("x", b"", 0)), NO)

    def test_a_will_that_reaches_nobody_is_not_answered(self) -> None:
        first = self.house.log_in(DEVICE, will=Will(REQUEST, b"gone", 1))
        second = self.house.log_in(DEVICE, client_id="second")
        first.lose()
        self.assertEqual(second.heard(), [])

    def test_filters(self) -> None:
        device = self.house.log_in(DEVICE, listen=False)
        wanted = {
            f"device/{DEVICE}/response/+": 1,
            RESPONSE: 1,
            f"device/{DEVICE}/push/news": 1,
            "#": NO,
            "+/+/response/+": NO,
            REQUEST: NO,
            f"device/{FOREIGN}/response/+": NO,
            f"$share/g/device/{DEVICE}/response/+": 0x9E,
        }
        device.say(Subscribe(1, tuple(Subscription(text, 1) for text in wanted)))
        (suback,) = device.heard()
        assert isinstance(suback, Suback)
        self.assertEqual(suback.reasons, tuple(wanted.values()))

    def test_an_instance_that_subscribes_is_told_who_is_there(self) -> None:
        """Not again for each time that it says so: that costs us more than it costs others."""
        instance = self.house.log_in(INSTANCE, listen=False)
        self.house.log_in(DEVICE)

        def told(*names: str, seconds: float = 0.0) -> int:
            self.house.clock.advance(seconds)
            filters = [f"instance/{INSTANCE}/event/{name}" for name in names]
            instance.say(Subscribe(1, tuple(Subscription(text, 1) for text in filters)))
            self.house.clock.advance(0)
            return sum(isinstance(each, Publish) for each in instance.heard())

        self.assertEqual(told("device-offline"), 0)
        self.assertEqual(told("device-online"), 1)
        self.assertEqual(told(*(["+", "device-online"] * 10)), 0)
        self.assertEqual(told("+", seconds=INTRODUCTION_SECONDS), 1)

    def test_devices_that_come_later_and_go(self) -> None:
        new = "dd" * 16
        instance = self.house.log_in(INSTANCE)
        push = f"device/{new}/push/news"
        self.assertIs(self.house.publish(instance, push), NO)
        self.house.gateway.device_added(INSTANCE, new)
        self.assertIs(self.house.publish(instance, push), ReasonCode.NO_MATCHING_SUBSCRIBERS)
        self.house.gateway.device_removed(INSTANCE, new)
        self.assertIs(self.house.publish(instance, push), NO)

    def test_of_an_instance_that_is_gone_nothing_is_kept(self) -> None:
        policy = self.house.gateway.policy
        peer = self.house.log_in(INSTANCE)
        self.assertEqual(list(policy._owned), [INSTANCE])
        peer.lose()
        self.assertEqual(policy._owned, {})

    def test_changes_at_who_is_not_there(self) -> None:
        self.house.gateway.device_added(INSTANCE, FOREIGN)
        self.house.gateway.device_removed(INSTANCE, FOREIGN)
        instance = self.house.log_in(INSTANCE)
        self.assertIs(self.house.publish(instance, f"device/{FOREIGN}/push/news"), NO)


class SessionTests(PolicyTestCase):
    """Whose session is whose."""

    def test_an_instance_has_one(self) -> None:
        first = self.house.log_in(INSTANCE, client_id="first")
        second = self.house.log_in(INSTANCE, client_id="second")
        self.assertEqual(first.heard(), [Disconnect(ReasonCode.SESSION_TAKEN_OVER)])
        self.assertEqual(self.house.gateway.presence.sessions(INSTANCE), (INSTANCE,))
        # And the second one still knows its devices.
        reason = self.house.publish(second, RESPONSE)
        self.assertIs(reason, ReasonCode.NO_MATCHING_SUBSCRIBERS)

    def test_users_have_their_own(self) -> None:
        one, other = self.house.log_in(DEVICE), self.house.log_in(FOREIGN)
        self.assertEqual((one.heard(), other.heard()), ([], []))
        self.house.log_in(DEVICE)
        self.assertEqual(one.heard(), [Disconnect(ReasonCode.SESSION_TAKEN_OVER)])
        self.assertEqual(other.heard(), [])

    def test_they_end_with_their_connections(self) -> None:
        kept: Any = {"properties": Properties(session_expiry_interval=60), "clean_start": False}
        peer, (connack,) = self.house.try_login(DEVICE, **kept)
        assert isinstance(connack, Connack)
        told = connack.properties
        self.assertEqual(told.session_expiry_interval, 0)
        self.assertEqual(told.server_keep_alive, 60)
        self.assertIs(told.retain_available, False)
        self.assertIs(told.shared_subscription_available, False)
        peer.lose()
        self.assertEqual(self.house.gateway.broker.broker.session_count, 0)
        _, (connack,) = self.house.try_login(DEVICE, **kept)
        assert isinstance(connack, Connack)
        self.assertFalse(connack.session_present)

    def test_who_writes_too_fast_is_read_from_more_slowly(self) -> None:
        device = self.house.log_in(DEVICE)
        for number in range(1, 2_100):
            device.say(Publish(REQUEST, b"x", 1, packet_id=number))
        self.assertIn("pause", device.calls)
