"""porttunnel.net.device.pairing: from a code to a device, with a stop at each step, and races."""

from __future__ import annotations

import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from porttunnel.errors import (
    GatewayRefused,
    GatewayUnreachable,
    PairingError,
    PorttunnelError,
)
from porttunnel.gateway.pairing_code import PairingCode
from porttunnel.gateway.pairing_instance import PairingPolicy, Waiting
from porttunnel.gateway.pairing_rotation import Paired
from porttunnel.gateway.pairing_step import PairingEnded
from porttunnel.gateway.refusal import Refusal, RefusalReason
from porttunnel.net.device import pairing as pairing_module
from porttunnel.net.device.device import Device
from porttunnel.net.device.pairing import go_on_pairing, pair
from porttunnel.net.device.record import PairingStage
from porttunnel.net.device.store import DeviceStore
from tests.net.device.pairing_case import Crash, DeviceTestCase, Stopped

NOT_EXECUTED = Refusal(RefusalReason.NOT_EXECUTED)


class PairingTestCase(DeviceTestCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.patch(pairing_module, "RETRY_SECONDS", 0.01)
        self.patch(pairing_module, "POLL_SECONDS", 0.01)
        self.digits: list[str] = []

    def begin(self, code: str, store: DeviceStore | None = None, **options: Any) -> Deferred[Any]:
        options.setdefault("on_digits", self.digits.append)
        return self.soon(pair(reactor, store or self.store, code, **options))

    async def works(self, device: Device) -> None:
        device.start()
        self.addCleanup(self.wrap(device.stop))
        self.assertEqual((await device.fetch("GET", "/")).data, b"hello ")


class StraightTests(PairingTestCase):
    async def test_with_digits(self) -> None:
        device_id, code = self.instance.invite()
        pairing = self.begin(code)
        await self.until(lambda: self.digits)
        asked = self.instance.key_messages
        await self.until(lambda: self.instance.key_messages >= asked + 3)
        self.assertNoResult(pairing)
        self.assertEqual(self.store.list_devices(), [])
        (waiting,) = self.store.list_pairings()
        self.assertIs(waiting.stage, PairingStage.CONFIRMING)
        self.instance.enter_digits(device_id, self.digits[0])
        device = await pairing
        self.assertEqual(device.device_id, device_id)
        self.assertEqual(device.instance_id, self.instance.instance_id)
        self.assertEqual(self.store.list_pairings(), [])
        self.assertEqual(len(self.digits), 1)
        await self.works(device)

    async def test_without(self) -> None:
        _, code = self.instance.invite(PairingPolicy.IMMEDIATE)
        await self.works(await self.begin(f"  {code}\n"))
        self.assertEqual(self.digits, [])

    async def test_what_the_code_knew_is_forgotten(self) -> None:
        _, code = self.instance.invite(PairingPolicy.IMMEDIATE)
        await self.begin(code)
        self.store.close()
        kept = b"".join(one.read_bytes() for one in self.folder.iterdir())
        parsed = PairingCode.parse(code)
        self.assertNotIn(parsed.setup_secret, kept)
        self.store = DeviceStore(self.folder)
        self.addCleanup(self.store.close)

    async def test_no_code(self) -> None:
        with self.assertRaisesRegex(PairingError, "no pairing code"):
            await self.begin("https://gateway.example")

    async def test_an_expired_code(self) -> None:
        _, code = self.instance.invite()
        with self.assertRaisesRegex(PairingError, "has expired"):
            await self.begin(code, unix_seconds=lambda: time.time() + 601)
        self.assertEqual(self.gateway.claims, 0)

    async def test_a_code_that_the_gateway_does_not_know(self) -> None:
        _, code = self.instance.invite()
        self.gateway.offers.clear()
        with self.assertRaisesRegex(PairingError, "Ask for a new code"):
            await self.begin(code)
        self.assertEqual(self.store.list_pairings(), [])


class LossTests(PairingTestCase):
    """What is lost on the way is said again, and means the same."""

    async def test_lost_answers(self) -> None:
        device_id, code = self.instance.invite()
        self.gateway.lose_claims = 2
        self.instance.lost = 3
        pairing = self.begin(code)
        await self.until(lambda: self.digits)
        self.instance.lost = 2
        self.instance.enter_digits(device_id, self.digits[0])
        await self.works(await pairing)
        self.assertEqual(self.gateway.claims, 3)

    async def test_no_gateway(self) -> None:
        _, code = self.instance.invite(PairingPolicy.IMMEDIATE)
        await self.gateway.stop()
        with self.assertRaises(GatewayUnreachable):
            await self.begin(code)
        await self.gateway.start(self.gateway.port)
        await self.works(await self.begin(code))

    async def test_a_gateway_that_is_busy(self) -> None:
        _, code = self.instance.invite(PairingPolicy.IMMEDIATE)
        self.gateway.busy = 2
        await self.works(await self.begin(code))
        self.gateway.busy = 1_000
        _, code = self.instance.invite(PairingPolicy.IMMEDIATE)
        with self.assertRaisesRegex(PairingError, "not finished in time"):
            await self.begin(code, patience_seconds=0.05)
        self.gateway.busy = 0
        await self.works(await self.begin(code))

    async def test_a_gateway_that_has_a_fault(self) -> None:
        _, code = self.instance.invite(PairingPolicy.IMMEDIATE)
        self.gateway.busy, self.gateway.busy_status = 1_000, 502
        with self.assertRaises(GatewayRefused):
            await self.begin(code)
        self.gateway.busy = 1
        await self.works(await self.begin(code))

    async def test_an_instance_that_is_away_for_a_while(self) -> None:
        _, code = self.instance.invite(PairingPolicy.IMMEDIATE)
        await self.instance.stop()
        pairing = self.begin(code)
        await self.until(
            lambda: [one.stage for one in self.store.list_pairings()] == [PairingStage.EXCHANGING]
        )
        await self.instance.start()
        await self.works(await pairing)

    async def test_not_in_time(self) -> None:
        device_id, code = self.instance.invite()
        with self.assertRaisesRegex(PairingError, "not finished in time"):
            await self.begin(code, patience_seconds=0.1)
        self.instance.enter_digits(device_id, self.digits[0])
        (kept,) = self.store.list_pairings()
        await self.works(await go_on_pairing(reactor, self.store, kept))

    async def test_an_instance_that_knows_no_such_pairing(self) -> None:
        device_id, code = self.instance.invite()
        del self.instance.phases[device_id]
        with self.assertRaisesRegex(PairingError, "Ask for a new code"):
            await self.begin(code)
        self.assertEqual(len(self.store.list_pairings()), 1, "nothing proves it")

    async def test_an_instance_that_can_not_just_now(self) -> None:
        _, code = self.instance.invite(PairingPolicy.IMMEDIATE)
        self.instance.key_refusals = [NOT_EXECUTED] * 2
        await self.works(await self.begin(code))

    async def test_a_wrong_clock(self) -> None:
        _, code = self.instance.invite(PairingPolicy.IMMEDIATE)
        self.instance.clock_ms = 3_600_000
        await self.works(await self.begin(code))


class StopTests(PairingTestCase):
    """A program that stops at any step goes on with the same code."""

    async def test_a_stop_at_each_step(self) -> None:
        for name in ("begin_pairing", "begin_exchange", "begin_confirming", "finish_pairing"):
            for before in (True, False):
                _, code = self.instance.invite(PairingPolicy.IMMEDIATE)
                crash = Crash(self.store, name, before=before)
                with self.assertRaises(Stopped):
                    await self.begin(code)
                crash.undo()
                again = DeviceStore(self.folder)
                devices = again.list_devices()
                if name == "finish_pairing" and not before:
                    device = Device(reactor, again, devices[-1])
                else:
                    device = await self.begin(code, again)
                await self.works(device)
                await device.stop()
                again.close()
        self.assertEqual(len(self.store.list_devices()), 8)
        self.assertEqual(self.store.list_pairings(), [])

    async def test_a_stop_while_an_answer_is_on_its_way(self) -> None:
        """The instance has done it, and the device does not know."""
        device_id, code = self.instance.invite()
        for messages in (1, 2):
            self.instance.lost = 1_000
            pairing = self.begin(code)
            await self.until(lambda n=messages: self.instance.key_messages >= n)
            pairing.cancel()
            with self.assertRaises(CancelledError):
                await pairing
            self.instance.lost = 0
            self.instance.key_messages = 1
        pairing = self.begin(code)
        await self.until(lambda: self.digits)
        pairing.cancel()
        with self.assertRaises(CancelledError):
            await pairing
        self.instance.enter_digits(device_id, self.digits[0])
        await self.works(await self.begin(code))
        self.assertEqual(set(self.digits), {self.digits[0]})


class RaceTests(PairingTestCase):
    """Two phones, one code: never a silent wrong pairing."""

    async def test_a_second_phone(self) -> None:
        device_id, code = self.instance.invite()
        first = self.begin(code)
        await self.until(lambda: self.digits)
        other = DeviceStore(self.folder / "other")
        self.addCleanup(other.close)
        with self.assertRaises(PairingError):
            await self.begin(code, other)
        self.assertEqual(other.list_pairings(), [])
        self.instance.enter_digits(device_id, self.digits[0])
        await self.works(await first)

    async def test_a_second_phone_whose_gateway_lies(self) -> None:
        """It lets both in: the instance sees another request, and ends it for both."""
        device_id, code = self.instance.invite()
        first = self.begin(code)
        await self.until(lambda: self.digits)
        self.gateway.offers[PairingCode.parse(code).setup_key][2] = None
        other = DeviceStore(self.folder / "other")
        self.addCleanup(other.close)
        second = self.begin(code, other)
        for pairing in (first, second):
            with self.assertRaises(PairingError):
                await pairing
        self.assertIsInstance(self.instance.phases[device_id], PairingEnded)
        self.assertEqual(self.store.list_devices() + other.list_devices(), [])

    async def test_wrong_digits(self) -> None:
        device_id, code = self.instance.invite()
        pairing = self.begin(code)
        await self.until(lambda: self.digits)
        wrong = "000000" if self.digits[0] != "000000" else "000001"
        for _ in range(3):
            self.assertIsInstance(self.instance.phases[device_id], Waiting)
            self.instance.enter_digits(device_id, wrong)
        self.gateway.revoke(device_id)
        with self.assertRaisesRegex(PairingError, "digits were wrong"):
            await pairing
        self.assertEqual(self.store.list_pairings(), [])

    async def test_a_sealed_no_while_it_waits(self) -> None:
        _, code = self.instance.invite()
        pairing = self.begin(code)
        await self.until(lambda: self.digits)
        self.instance.key_refusals = [NOT_EXECUTED] * 3
        with self.assertRaisesRegex(PairingError, "ended this pairing"):
            await pairing

    async def test_two_programs_of_one_user(self) -> None:
        """They are one phone."""
        device_id, code = self.instance.invite()
        other = DeviceStore(self.folder)
        self.addCleanup(other.close)
        both = [self.begin(code), self.begin(code, other)]
        await self.until(lambda: len(self.digits) == 2)
        self.assertEqual(len(set(self.digits)), 1)
        self.instance.enter_digits(device_id, self.digits[0])
        ended = []
        for pairing in both:
            try:
                ended.append(await pairing)
            except PorttunnelError as error:
                ended.append(error)
        self.assertIsInstance(self.instance.phases[device_id], Paired)
        self.assertEqual(len(self.store.list_devices()), 1)
        await self.works(next(one for one in ended if isinstance(one, Device)))
