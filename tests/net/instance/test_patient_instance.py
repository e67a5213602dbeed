"""An instance that waits for its gateway."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.errors import (
    ConfigurationError,
    GatewayError,
    GatewayRefused,
    GatewayUnreachable,
)
from porttunnel.net.instance import patient_instance
from porttunnel.net.instance.device_record import DeviceState, Invitation, PushReport
from porttunnel.net.instance.patient_instance import (
    FIRST_WAIT_SECONDS,
    LONGEST_WAIT_SECONDS,
    PatientInstance,
)
from tests.net.instance.fake_instance import DEVICE, INSTANCE, FakeInstance


class StartingInstance(FakeInstance):
    """One that is started once: :ivar answers: what comes of it first."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answers = [answer]

    async def start(self) -> None:
        await self._answer("start")

    async def stop(self) -> None:
        await self._answer("stop")


class PatientInstanceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.outcomes: list[Any] = []
        self.made: list[StartingInstance] = []
        self.patient = PatientInstance(self.clock, self.make)
        self.patch(patient_instance.random, "uniform", lambda low, high: high)

    def make(self) -> Any:
        instance = StartingInstance(self.outcomes.pop(0) if self.outcomes else None)
        self.made.append(instance)
        return instance

    def run_call(self, call: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(call))

    def test_a_gateway_that_comes_late(self) -> None:
        self.outcomes = [
            GatewayUnreachable("The gateway can't be reached."),
            GatewayRefused("busy", 503, "busy"),
            GatewayRefused("bad gateway", 502),
        ]
        started = self.patient.start()
        self.assertEqual((self.patient.instance_id, self.patient.is_connected), ("", False))
        self.assertEqual(list(self.patient.devices()), [])
        inviting = Deferred.fromCoroutine(self.patient.invite("anna"))
        self.assertIn("can't be reached", str(self.failureResultOf(inviting, GatewayError).value))
        for wait in (1, 2, 4):
            self.clock.advance((wait - 0.5) * FIRST_WAIT_SECONDS)
            self.assertNoResult(started)
            self.clock.advance(0.5 * FIRST_WAIT_SECONDS)
        self.assertIsNone(self.successResultOf(started))
        self.assertEqual((self.patient.instance_id, self.patient.is_connected), (INSTANCE, True))
        self.assertEqual(len(self.made), 4)

    def test_a_gateway_that_says_when(self) -> None:
        self.outcomes = [GatewayRefused("too many", 429, "too-many-attempts", 20.0)]
        started = self.patient.start()
        self.clock.advance(20.0 - 0.001)
        self.assertNoResult(started)
        self.clock.advance(FIRST_WAIT_SECONDS + 0.001)
        self.successResultOf(started)

    def test_no_gateway_makes_it_wait_for_ever(self) -> None:
        self.outcomes = [GatewayRefused("busy", 503, "busy", 1e9)]
        started = self.patient.start()
        self.clock.advance(LONGEST_WAIT_SECONDS + FIRST_WAIT_SECONDS)
        self.successResultOf(started)

    def test_what_waiting_does_not_mend(self) -> None:
        for error in (GatewayRefused("wrong token", 401), ConfigurationError("no store")):
            self.outcomes = [error]
            self.assertIs(self.failureResultOf(self.patient.start()).value, error)
        self.run_call(self.patient.stop())

    def test_a_running_one_is_asked(self) -> None:
        self.patient.start()
        self.assertIsInstance(
            self.run_call(self.patient.invite("anna", immediate=True, expires_seconds=60)),
            Invitation,
        )
        self.made[0].add(DeviceState.PAIRED)
        self.assertEqual(len(self.patient.devices()), 1)
        self.run_call(self.patient.enter_digits(DEVICE, "123456"))
        self.run_call(self.patient.revoke(DEVICE))
        self.run_call(self.patient.mark_restored())
        report = self.run_call(self.patient.push("news", b"x", user="anna"))
        self.assertEqual(report, PushReport((DEVICE,), ()))
        self.run_call(self.patient.stop())
        self.assertEqual(
            self.made[0].asked,
            [
                ("start",),
                ("invite", "anna", True, 60),
                ("digits", DEVICE, "123456"),
                ("revoke", DEVICE),
                ("restored",),
                ("push", "news", b"x", None, "anna"),
                ("stop",),
            ],
        )
        self.failureResultOf(Deferred.fromCoroutine(self.patient.invite("anna")), GatewayError)

    def test_it_is_stopped_while_it_waits(self) -> None:
        for outcome in (GatewayUnreachable("x"), Deferred()):
            self.outcomes = [outcome]
            self.patient = PatientInstance(self.clock, self.make)
            started = self.patient.start()
            self.run_call(self.patient.stop())
            self.successResultOf(started)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_has_stopped_once_what_was_begun_is_undone(self) -> None:
        closed: Deferred[None] = Deferred()
        starting: Deferred[None] = Deferred()
        starting.addErrback(lambda failure: closed.addCallback(lambda _: failure))
        self.outcomes = [starting]
        self.patient.start()
        stopping = Deferred.fromCoroutine(self.patient.stop())
        self.assertNoResult(stopping)
        closed.callback(None)
        self.successResultOf(stopping)

    def test_it_is_stopped_before_it_was_started(self) -> None:
        self.run_call(self.patient.stop())
        self.successResultOf(self.patient.start())
        self.assertEqual(self.made, [])
