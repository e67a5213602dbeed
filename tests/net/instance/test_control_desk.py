"""What comes of commands."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.errors import (
    ConfigurationError,
    GatewayRefused,
    GatewayUnreachable,
    LocalProtocolError,
    PairingError,
    PorttunnelError,
)
from porttunnel.gateway.pairing_instance import Waiting
from porttunnel.gateway.pairing_rotation import Paired
from porttunnel.gateway.pairing_step import EndReason, PairingEnded
from porttunnel.net.instance.control_desk import ControlDesk
from porttunnel.net.instance.control_message import (
    Command,
    DeviceEntry,
    DeviceList,
    DigitsChecked,
    Done,
    EnterDigits,
    Invitation,
    Invite,
    ListDevices,
    Login,
    MarkRestored,
    Progress,
    Revoke,
)
from porttunnel.net.instance.device_record import DeviceState
from porttunnel.net.instance.event import (
    DevicePaired,
    DeviceRemoved,
    DigitsWanted,
    GatewayConnected,
    PairingFailed,
    SetupRaced,
)
from tests.net.instance.fake_instance import DEVICE, EXPIRES, INSTANCE, FakeInstance, make_code

ANYTHING: Any = None


class CommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.instance = FakeInstance()
        self.desk = ControlDesk(self.instance)

    def ask(self, command: Command) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(self.desk.answer(command)))

    def test_an_invitation(self) -> None:
        self.assertEqual(
            self.ask(Invite("anna", True, 60)), Invitation(DEVICE, make_code().format(), EXPIRES)
        )
        self.assertEqual(self.instance.asked, [("invite", "anna", True, 60)])

    def test_digits(self) -> None:
        self.instance.answers = [
            Waiting(ANYTHING, ANYTHING, "123456", 2),
            PairingEnded(EndReason.WRONG_DIGITS),
            Paired(ANYTHING, ANYTHING),
        ]
        ended = "The digits were wrong three times. Make a new code."
        self.assertEqual(
            [self.ask(EnterDigits(DEVICE, "1")) for _ in range(3)],
            [
                DigitsChecked("wrong", 2),
                DigitsChecked("ended", reason=ended),
                DigitsChecked("paired"),
            ],
        )

    def test_the_list(self) -> None:
        self.assertEqual(self.ask(ListDevices()), DeviceList(INSTANCE, True, ()))
        self.instance.add(DeviceState.PAIRED)
        at = 1_700_000_100
        entry = DeviceEntry(DEVICE, "anna", "paired", 1_700_000_000, at, at, True)
        self.assertEqual(self.ask(ListDevices()).devices, (entry,))

    def test_a_revocation(self) -> None:
        self.instance.add(DeviceState.PAIRED)
        self.assertEqual(self.ask(Revoke(DEVICE)), Done())
        self.assertEqual(self.instance.asked, [("revoke", DEVICE)])
        other = Deferred.fromCoroutine(self.desk.answer(Revoke("0" * 32)))
        self.failureResultOf(other, PairingError)

    def test_a_state_that_was_put_back(self) -> None:
        self.assertEqual(self.ask(MarkRestored()), Done())
        self.assertEqual(self.instance.asked, [("restored",)])

    def test_what_the_connection_does_itself(self) -> None:
        self.failureResultOf(
            Deferred.fromCoroutine(self.desk.answer(Login("x"))), LocalProtocolError
        )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (GatewayUnreachable("x"), "not-reachable"),
        (GatewayRefused("x", 409, "full"), "full"),
        (GatewayRefused("x", 500), "refused"),
        (PairingError("x"), "pairing-failed"),
        (ConfigurationError("x"), "configuration"),
        (LocalProtocolError("x"), "internal"),
        (PorttunnelError("x"), "failed"),
    ],
)
def test_errors_have_words(error: PorttunnelError, code: str) -> None:
    refused = ControlDesk(FakeInstance()).refuse(error)
    assert (refused.code, refused.text) == (code, str(error))


class WatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.instance = FakeInstance()
        self.desk = ControlDesk(self.instance)
        self.told: list[Progress] = []

    def watch(self, state: DeviceState) -> Any:
        self.instance.add(DeviceState.LEFT, "0" * 32)  # another one, which nobody asks about
        self.instance.add(state)
        return self.desk.watch(DEVICE, self.told.append)

    def test_what_is_so_is_told_at_once(self) -> None:
        for state in DeviceState:
            self.watch(state)()
        removed = "The device was removed."
        self.assertEqual(
            self.told,
            [
                Progress("invited"),
                Progress("invited"),
                Progress("waiting"),
                Progress("paired"),
                Progress("ended", reason=removed),
            ],
        )

    def test_a_device_that_is_none(self) -> None:
        self.desk.watch("0" * 32, self.told.append)
        self.assertEqual(self.told, [Progress("ended", reason="There is no such device.")])

    def test_a_pairing_from_its_beginning_to_its_end(self) -> None:
        stop = self.watch(DeviceState.INVITED)
        other: list[Progress] = []
        stop_other = self.desk.watch(DEVICE, other.append)
        self.desk.receive_event(GatewayConnected())
        self.desk.receive_event(DigitsWanted("0" * 32, "bert", 3))
        self.desk.receive_event(DigitsWanted(DEVICE, "anna", 3))
        stop_other()
        self.desk.receive_event(DevicePaired(DEVICE, "anna"))
        stop()
        self.desk.receive_event(DevicePaired(DEVICE, "anna"))
        self.assertEqual(
            self.told, [Progress("invited"), Progress("waiting", 3), Progress("paired")]
        )
        self.assertEqual(other, self.told[:2])

    def test_each_bad_end_says_why(self) -> None:
        self.watch(DeviceState.INVITED)
        self.told.clear()
        for happened in (
            PairingFailed(DEVICE, "anna", None),
            PairingFailed(DEVICE, "anna", EndReason.RACE),
            SetupRaced(DEVICE, "anna"),
            DeviceRemoved(DEVICE, "anna", revoked=True),
        ):
            self.desk.receive_event(happened)
        self.assertEqual({progress.state for progress in self.told}, {"ended"})
        reasons = [progress.reason.removesuffix(" Make a new code.") for progress in self.told]
        self.assertEqual(
            reasons,
            [
                "The code has expired.",
                "Two devices used one code.",
                "Two devices used one code, so somebody else may have seen it.",
                "The device was removed.",
            ],
        )
