"""The instance's side once a device is paired: another secret now and then.

Source: docs/gateway-protocol, section 2::

    Paired --exchange--> Rotating --confirm--> Paired

The old secret counts until the device has shown that it has the new one.
"""

from __future__ import annotations

from porttunnel.gateway.message_key import Ends
from porttunnel.gateway.pairing_message import CONFIRMED, Confirm, ExchangeRequest
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.gateway.pairing_step import Answering, Pending, Step, demand_generation
from porttunnel.gateway.refusal import Refusal, RefusalReason
from porttunnel.keys.secret_holder import SecretHolder

__all__ = ["Paired", "Rotating"]

_NOT_EXECUTED = Refusal(RefusalReason.NOT_EXECUTED)


class Paired(SecretHolder):
    """The device may ask.

    :param secret: the one that counts.
    """

    __slots__ = ("_ends", "secret")
    OPEN_SLOTS = frozenset({"_ends"})

    def __init__(self, ends: Ends, secret: DeviceSecret) -> None:
        self._ends = ends
        self.secret = secret

    @property
    def serving_generation(self) -> int:
        """Under which generation requests are carried out."""
        return self.secret.generation

    @property
    def secrets(self) -> tuple[DeviceSecret, ...]:
        """What the device may seal with."""
        return (self.secret,)

    def receive_exchange(
        self, generation: int, counter: int, request: ExchangeRequest, answering: Answering
    ) -> Step:
        """The device wants another secret.

        :raises RemoteProtocolError: it can't be asked so.
        """
        demand_generation(generation, self.secret)
        pending = Pending.make(self._ends, self.secret, counter, request, answering)
        return Step(Rotating(self._ends, self, pending), pending.answer)

    def receive_confirm(self, generation: int, confirm: Confirm) -> Step:
        """The device hasn't got the answer to its confirmation, and may have it again."""
        demand_generation(generation, self.secret)
        return Step(self, CONFIRMED)


class Rotating(SecretHolder):
    """The device asked for another secret and has not confirmed; the old one counts.

    :param paired: the phase before.
    :param pending: of the next generation.
    """

    __slots__ = ("_ends", "paired", "pending")
    OPEN_SLOTS = frozenset({"_ends"})

    def __init__(self, ends: Ends, paired: Paired, pending: Pending) -> None:
        self._ends = ends
        self.paired = paired
        self.pending = pending

    @property
    def serving_generation(self) -> int:
        """Under which generation requests are carried out."""
        return self.paired.serving_generation

    @property
    def secrets(self) -> tuple[DeviceSecret, ...]:
        """What the device may seal with."""
        return (self.paired.secret, self.pending.secret)

    def receive_exchange(
        self, generation: int, counter: int, request: ExchangeRequest, answering: Answering
    ) -> Step:
        """The same request gets the same answer; a later one takes its place, an earlier doesn't.

        :raises RemoteProtocolError: it can't be asked so.
        """
        demand_generation(generation, self.paired.secret)
        if request.encode() == self.pending.request:
            return Step(self, self.pending.answer)
        if counter <= self.pending.counter:
            return Step(self, _NOT_EXECUTED)
        return self.paired.receive_exchange(generation, counter, request, answering)

    def receive_confirm(self, generation: int, confirm: Confirm) -> Step:
        """The device has the new secret: the old one is dropped.

        :raises RemoteProtocolError: it doesn't show that.
        """
        if generation == self.serving_generation:
            return self.paired.receive_confirm(generation, confirm)._replace(phase=self)
        demand_generation(generation, self.pending.secret)
        if not self.pending.is_confirmed_by(confirm):
            return Step(self, _NOT_EXECUTED)
        return Step(Paired(self._ends, self.pending.secret), CONFIRMED)
