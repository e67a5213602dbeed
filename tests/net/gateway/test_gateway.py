"""porttunnel.net.gateway.gateway: what ends when an account does, and when the gateway does."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.gateway.event import decode_event
from porttunnel.gateway.part import Failure, decode_part
from porttunnel.mqtt.packet import Connack, Connect, Disconnect, Packet, Publish, Version, Will
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.gateway.gateway import CUT_SECONDS
from porttunnel.net.mqtt_link import GOODBYE_SECONDS
from tests.net.gateway.house import DEVICE, INSTANCE, LIMITS, House
from tests.net.mqtt_line import Peer

SECOND = "db" * 16
GONE = Disconnect(ReasonCode.ADMINISTRATIVE_ACTION)


def told(heard: list[Packet]) -> list[tuple[str, str]]:
    """Names of events and their devices."""
    return [
        (each.topic.rpartition("/")[2], decode_event(each.payload))
        for each in heard
        if isinstance(each, Publish)
    ]


class GatewayTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()
        self.house.accounts.add(SECOND, INSTANCE)
        self.gateway = self.house.gateway

    def assert_revoked(self, peer: Peer) -> None:
        answer, goodbye = peer.heard()
        assert isinstance(answer, Publish)
        self.assertEqual(decode_part(answer.payload), Failure("revoked", from_gateway=True))
        self.assertEqual(goodbye, GONE)
        self.assertEqual(peer.calls, ["end"])

    def test_it_is_the_listener_of_its_accounts(self) -> None:
        self.assertIs(self.house.accounts.listener, self.gateway)

    def test_a_removed_device_is_cut_off_with_all_it_has(self) -> None:
        instance = self.house.log_in(INSTANCE)
        devices = [self.house.log_in(DEVICE, client_id=name) for name in ("one", "two")]
        other = self.house.log_in(SECOND)
        instance.heard()
        self.gateway.device_removed(INSTANCE, DEVICE)
        for device in devices:
            self.assert_revoked(device)
        self.assertEqual(other.heard(), [])
        self.assertEqual(
            told(instance.heard()), [("device-removed", DEVICE), ("device-offline", DEVICE)]
        )

    def test_its_will_is_passed_on_no_more(self) -> None:
        instance = self.house.log_in(INSTANCE)
        device = self.house.log_in(DEVICE, will=Will(f"device/{DEVICE}/request/00000001", b"x"))
        self.gateway.device_removed(INSTANCE, DEVICE)
        self.assert_revoked(device)
        topics = {each.topic for each in instance.heard() if isinstance(each, Publish)}
        self.assertEqual({each.split("/")[2] for each in topics}, {"event"})

    def test_its_socket_is_gone_within_a_second(self) -> None:
        """Whatever its end does, or doesn't."""
        self.assertLess(CUT_SECONDS, 1.0)
        device = self.house.log_in(DEVICE)
        deaf = self.house.log_in(DEVICE, client_id="deaf")
        deaf.room = 0
        self.gateway.device_removed(INSTANCE, DEVICE)
        for _ in range(9):
            self.house.clock.advance(0.1)
        self.assertEqual(device.calls, ["end", "abort"])
        self.assertEqual(deaf.calls, ["abort"])
        self.assertEqual(self.gateway.broker.links, set())

    def test_others_have_longer(self) -> None:
        first = self.house.log_in(INSTANCE)
        self.house.log_in(INSTANCE)
        self.house.clock.advance(GOODBYE_SECONDS - 0.1)
        self.assertEqual(first.calls, ["end"])

    def test_one_that_is_not_there(self) -> None:
        instance = self.house.log_in(INSTANCE)
        self.gateway.device_removed(INSTANCE, DEVICE)
        self.assertEqual(told(instance.heard()), [("device-removed", DEVICE)])

    def test_a_removed_instance_takes_its_devices_with_it(self) -> None:
        instance = self.house.log_in(INSTANCE)
        devices = [self.house.log_in(name) for name in (DEVICE, SECOND)]
        instance.heard()
        self.gateway.instance_removed(INSTANCE)
        for device in devices:
            self.assert_revoked(device)
        self.assertEqual(instance.heard()[-1], GONE)
        self.assertEqual(self.gateway.broker.broker.session_count, 0)

    def test_a_barred_device_is_cut_off_and_does_not_come_again(self) -> None:
        instance, device = self.house.log_in(INSTANCE), self.house.log_in(DEVICE)
        instance.heard()
        self.gateway.device_barred(INSTANCE, DEVICE)
        self.assert_revoked(device)
        self.assertEqual(
            told(instance.heard()), [("device-removed", DEVICE), ("device-offline", DEVICE)]
        )
        self.assertIs(self.house.refusal(DEVICE), ReasonCode.BAD_USER_NAME_OR_PASSWORD)
        self.house.log_in(SECOND)
        self.house.log_in(INSTANCE)
        # Once it is gone for good there is nobody to keep away.
        self.gateway.device_removed(INSTANCE, DEVICE)
        self.house.log_in(DEVICE)

    def test_a_barred_instance_takes_its_devices_with_it(self) -> None:
        instance, device = self.house.log_in(INSTANCE), self.house.log_in(DEVICE)
        foreign = "f0" * 16
        self.house.accounts.add(foreign, foreign)
        self.gateway.device_barred(INSTANCE, SECOND)
        instance.heard()
        self.gateway.instance_barred(INSTANCE)
        self.assert_revoked(device)
        self.assertEqual(instance.heard()[-1], GONE)
        for name in (INSTANCE, DEVICE, SECOND):
            self.assertIs(self.house.refusal(name), ReasonCode.BAD_USER_NAME_OR_PASSWORD)
        self.gateway.instance_removed(foreign)
        self.assertIs(self.house.refusal(DEVICE), ReasonCode.BAD_USER_NAME_OR_PASSWORD)
        self.gateway.instance_removed(INSTANCE)
        self.house.log_in(SECOND)

    def test_who_came_with_a_password_that_is_void_now(self) -> None:
        instance, device = self.house.log_in(INSTANCE), self.house.log_in(DEVICE)
        instance.heard()
        self.gateway.password_changed(INSTANCE)
        self.assertEqual(instance.heard(), [GONE])
        (answer,) = device.heard()
        assert isinstance(answer, Publish)
        self.assertEqual(
            decode_part(answer.payload), Failure("instance-offline", from_gateway=True)
        )

    def test_devices_that_read_nothing_stop_no_other_instance(self) -> None:
        """Together they would take all that may wait for those who read slowly."""
        house = House(replace(LIMITS, queued_bytes=1_000_000))
        strange, stranger = "5e" * 16, "de" * 16
        house.accounts.add(strange, strange)
        house.accounts.add(stranger, strange)
        flood = house.log_in(strange)
        for number in range(3):
            house.log_in(stranger, client_id=str(number))
        topic = f"device/{stranger}/response/00000001"
        reasons = [house.publish(flood, topic, bytes(30_000)) for _ in range(20)]
        self.assertIs(reasons[-1], ReasonCode.QUOTA_EXCEEDED)
        instance, device = house.log_in(INSTANCE), house.log_in(DEVICE)
        reason = house.publish(instance, f"device/{DEVICE}/response/00000001", bytes(30_000))
        self.assertIs(reason, ReasonCode.SUCCESS)
        self.assertEqual([each.topic[-8:] for each in device.heard()], ["00000001"])

    def test_a_race_is_told(self) -> None:
        instance = self.house.log_in(INSTANCE)
        self.gateway.setup_race(INSTANCE, DEVICE)
        self.assertEqual(told(instance.heard()), [("setup-race", DEVICE)])

    def test_draining(self) -> None:
        peers = [self.house.log_in(INSTANCE), self.house.log_in(DEVICE)]
        self.assertTrue(self.gateway.is_ready)
        drained = Deferred.fromCoroutine(self.gateway.drain(4.0))
        self.house.clock.advance(0)
        late = self.house.peer()
        late.say(Connect(Version.V5, "late", user_name=DEVICE, password=b"right"))
        (connack,) = late.heard()
        assert isinstance(connack, Connack)
        self.assertIs(connack.reason, ReasonCode.SERVER_UNAVAILABLE)
        there = []
        for _ in range(5):
            there.append([Disconnect(ReasonCode.USE_ANOTHER_SERVER) in p.heard() for p in peers])
            self.house.clock.advance(1.0)
        self.assertEqual(sorted(map(sum, zip(*there, strict=True))), [1, 1])
        self.assertNotEqual(*(list(each).index(True) for each in zip(*there, strict=True)))
        for peer in (*peers, late):
            peer.lose()
        self.successResultOf(drained)
        self.assertFalse(self.gateway.is_ready)
