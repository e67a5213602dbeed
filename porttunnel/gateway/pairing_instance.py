"""The instance's side of a pairing.

Source: docs/gateway-protocol, section 2. Each phase is a type of its own::

    Invited --exchange--> Exchanged --confirm--> Waiting --right digits--> Paired
                                    --confirm, if no digits are asked for--> Paired

and from each of them but Paired, PairingEnded. What follows is in ``pairing_rotation``.
"""

from __future__ import annotations

from enum import Enum

from porttunnel.errors import PairingError, RemoteProtocolError
from porttunnel.gateway.message_key import Ends
from porttunnel.gateway.pairing_message import CONFIRMED, Confirm, ExchangeRequest
from porttunnel.gateway.pairing_rotation import Paired
from porttunnel.gateway.pairing_schedule import DIGITS, DeviceSecret
from porttunnel.gateway.pairing_step import (
    Answering,
    EndReason,
    PairingEnded,
    Pending,
    Step,
    demand_generation,
)
from porttunnel.gateway.refusal import Refusal, RefusalReason
from porttunnel.keys.primitives import constant_time_equal
from porttunnel.keys.secret_holder import SecretHolder

__all__ = ["MAX_DIGIT_TRIES", "Exchanged", "Invited", "PairingPolicy", "Waiting"]

MAX_DIGIT_TRIES = 3  # somebody who mistypes; a guesser has three chances in a million

_NOT_EXECUTED = Refusal(RefusalReason.NOT_EXECUTED)
_WAITING = Refusal(RefusalReason.WAITING)
_IGNORED = {ord(" "): None, ord("-"): None}


class PairingPolicy(Enum):
    """What an instance asks before it believes that the right device came."""

    CONFIRM = "the user types the digits that the phone shows"
    IMMEDIATE = "nothing: whoever sees the QR in time and works with the gateway gets the device"


class Invited(SecretHolder):
    """The QR is shown; no device has come.

    :param setup: generation 0, the secret in the QR.
    """

    __slots__ = ("_ends", "policy", "setup")
    OPEN_SLOTS = frozenset({"_ends", "policy"})
    serving_generation = None

    def __init__(self, ends: Ends, policy: PairingPolicy, setup: DeviceSecret) -> None:
        self._ends = ends
        self.policy = policy
        self.setup = setup

    @property
    def secrets(self) -> tuple[DeviceSecret, ...]:
        """What a device may seal with."""
        return (self.setup,)

    def receive_exchange(
        self, generation: int, counter: int, request: ExchangeRequest, answering: Answering
    ) -> Step:
        """A device asks for a secret.

        :param generation: of the head under which it opened.
        :param counter: of that head.
        :raises RemoteProtocolError: it can't be asked so.
        """
        demand_generation(generation, self.setup)
        pending = Pending.make(self._ends, self.setup, counter, request, answering)
        return Step(Exchanged(self._ends, self.policy, self.setup, pending), pending.answer)

    def receive_confirm(self, generation: int, confirm: Confirm) -> Step:
        """Nothing was exchanged that could be confirmed."""
        raise RemoteProtocolError("a device confirms what was never exchanged")


class Exchanged(SecretHolder):
    """A device has its answer and has not confirmed.

    :param setup: generation 0.
    :param pending: generation 1.
    """

    __slots__ = ("_ends", "pending", "policy", "setup")
    OPEN_SLOTS = frozenset({"_ends", "policy"})
    serving_generation = None

    def __init__(
        self, ends: Ends, policy: PairingPolicy, setup: DeviceSecret, pending: Pending
    ) -> None:
        self._ends = ends
        self.policy = policy
        self.setup = setup
        self.pending = pending

    @property
    def secrets(self) -> tuple[DeviceSecret, ...]:
        """What a device may seal with."""
        return (self.setup, self.pending.secret)

    def receive_exchange(
        self, generation: int, counter: int, request: ExchangeRequest, answering: Answering
    ) -> Step:
        """The same request gets the same answer; another one comes of another device."""
        demand_generation(generation, self.setup)
        if request.encode() == self.pending.request:
            return Step(self, self.pending.answer)
        return Step(PairingEnded(EndReason.RACE), _NOT_EXECUTED)

    def receive_confirm(self, generation: int, confirm: Confirm) -> Step:
        """The device has the new secret.

        :raises RemoteProtocolError: it doesn't show that.
        """
        demand_generation(generation, self.pending.secret)
        if not self.pending.is_confirmed_by(confirm):
            return Step(PairingEnded(EndReason.FALSE_CONFIRMATION), _NOT_EXECUTED)
        if self.policy is PairingPolicy.IMMEDIATE:
            return Step(Paired(self._ends, self.pending.secret), CONFIRMED)
        digits = self.pending.digits(self._ends, confirm)
        return Step(Waiting(self._ends, self, digits), _WAITING)


class Waiting(SecretHolder):
    """A device has confirmed; whether it is the user's is for the user to say.

    :param exchanged: how it came to this.
    :param digits: what the user's device shows, if it is this one. Written down with the secrets
        and shown nowhere here.
    :ivar tries_left: before the pairing ends.
    """

    __slots__ = ("_ends", "digits", "exchanged", "tries_left")
    OPEN_SLOTS = frozenset({"_ends", "tries_left"})
    serving_generation = None

    def __init__(
        self, ends: Ends, exchanged: Exchanged, digits: str, tries_left: int = MAX_DIGIT_TRIES
    ) -> None:
        self._ends = ends
        self.digits = digits
        self.exchanged = exchanged
        self.tries_left = tries_left

    @property
    def secrets(self) -> tuple[DeviceSecret, ...]:
        """What a device may seal with."""
        return self.exchanged.secrets

    def receive_exchange(
        self, generation: int, counter: int, request: ExchangeRequest, answering: Answering
    ) -> Step:
        """As :meth:`Exchanged.receive_exchange`."""
        return self._stay(self.exchanged.receive_exchange(generation, counter, request, answering))

    def receive_confirm(self, generation: int, confirm: Confirm) -> Step:
        """The device asks whether the digits were typed; they were not."""
        return self._stay(self.exchanged.receive_confirm(generation, confirm))

    def enter_digits(self, text: str) -> Paired | Waiting | PairingEnded:
        """The user has typed what the phone shows.

        :param text: blanks and dashes in it don't matter.
        :raises PairingError: not six digits; that costs no try.
        """
        typed = text.translate(_IGNORED)
        if len(typed) != DIGITS or not (typed.isascii() and typed.isdigit()):
            raise PairingError(f"Type the {DIGITS} digits that the device shows.")
        if constant_time_equal(typed.encode(), self.digits.encode()):
            return Paired(self._ends, self.exchanged.pending.secret)
        if self.tries_left > 1:
            return Waiting(self._ends, self.exchanged, self.digits, self.tries_left - 1)
        return PairingEnded(EndReason.WRONG_DIGITS)

    def _stay(self, step: Step) -> Step:
        ended = isinstance(step.phase, PairingEnded)
        return step if ended else Step(self, step.reply)
