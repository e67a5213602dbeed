"""Pairings and rotations as a whole: what is lost, crashes at any step, two phones on one code."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from porttunnel.gateway.pairing_device import DeviceConfirming, DeviceExchanging
from porttunnel.gateway.pairing_instance import Invited, PairingPolicy, Waiting
from porttunnel.gateway.pairing_message import ExchangeRequest, decode_key_request
from porttunnel.gateway.pairing_rotation import Paired
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.gateway.pairing_step import Answering, EndReason, InstancePhase, PairingEnded
from porttunnel.gateway.refusal import Refusal
from porttunnel.keys.hybrid import encapsulate
from tests.gateway.pairings import ENDS, KEY, SETUP

INTERLEAVINGS = 1_000


@dataclass
class Instance:
    """Opens what was sealed with one of its secrets, and writes its phase down before it replies.

    :ivar phase: what is written down.
    """

    phase: InstancePhase | PairingEnded
    chance: random.Random
    counter: int = 0

    def ask(self, sealed_with: DeviceSecret, plaintext: bytes) -> bytes | Refusal | None:
        """The reply, or None if it does not open."""
        if isinstance(self.phase, PairingEnded):
            return None
        secrets = {each.generation: each.secret for each in self.phase.secrets}
        if secrets.get(sealed_with.generation) != sealed_with.secret:
            return None
        self.counter += 1
        request = decode_key_request(plaintext)
        if isinstance(request, ExchangeRequest):
            answering = Answering(
                encapsulate(request.rsa_public, request.mlkem_public), self.chance.randbytes(32)
            )
            step = self.phase.receive_exchange(
                sealed_with.generation, self.counter, request, answering
            )
        else:
            step = self.phase.receive_confirm(sealed_with.generation, request)
        self.phase = step.phase
        return step.reply


@dataclass
class Phone:
    """A device that keeps going.

    :ivar current: written down.
    :ivar confirming: written down.
    :ivar exchanging: lost in a crash.
    """

    current: DeviceSecret
    chance: random.Random
    confirming: DeviceConfirming | None = None
    exchanging: DeviceExchanging | None = None
    shown: list[str] = field(default_factory=list)

    def begin(self) -> None:
        if self.exchanging is None:
            drawn = self.chance.randbytes(32)
            self.exchanging = DeviceExchanging(
                ENDS, self.current, key=KEY, nonce=drawn, fallback=bytes(32)
            )

    def step(self, instance: Instance, *, lost: bool = False) -> None:
        """Say the next thing; ``lost``: the reply doesn't arrive."""
        if self.confirming is not None:
            reply = instance.ask(self.confirming.pending, self.confirming.confirm)
            if lost or isinstance(reply, Refusal):
                return
            if reply is not None:
                self.current = self.confirming.receive_confirmed(reply)
            # Nothing opened under the new secret: back to the old one.
            self.confirming = None
            return
        self.begin()
        assert self.exchanging is not None
        reply = instance.ask(self.current, self.exchanging.request)
        if lost or not isinstance(reply, bytes):
            return
        self.confirming = self.exchanging.receive_answer(reply)
        self.shown.append(self.confirming.digits)
        self.exchanging = None


def invited(seed: int, policy: PairingPolicy = PairingPolicy.CONFIRM) -> tuple[Instance, Phone]:
    chance = random.Random(seed)
    setup = DeviceSecret(0, SETUP.secret)
    return Instance(Invited(ENDS, policy, setup), chance), Phone(setup, chance)


def type_digits(instance: Instance, digits: str) -> None:
    if isinstance(instance.phase, Waiting):
        instance.phase = instance.phase.enter_digits(digits)


@pytest.mark.parametrize("policy", PairingPolicy)
def test_a_pairing(policy: PairingPolicy) -> None:
    instance, phone = invited(1, policy)
    phone.step(instance)
    phone.step(instance)
    if policy is PairingPolicy.CONFIRM:
        assert phone.current.generation == 0
        type_digits(instance, phone.shown[-1])
        phone.step(instance)
    assert isinstance(instance.phase, Paired)
    assert phone.current.generation == 1
    assert phone.current.secret == instance.phase.secret.secret


def test_lost_replies_are_asked_for_again() -> None:
    instance, phone = invited(2)
    for _ in range(3):
        phone.step(instance, lost=True)
    phone.step(instance)
    for _ in range(3):
        phone.step(instance, lost=True)
    type_digits(instance, phone.shown[-1])
    phone.step(instance, lost=True)
    phone.step(instance)
    assert isinstance(instance.phase, Paired)
    assert phone.current.secret == instance.phase.secret.secret


def test_a_rotation_survives_whatever_is_lost_or_crashes() -> None:
    for seed in range(200):
        chance = random.Random(seed)
        secret = DeviceSecret(5, chance.randbytes(32))
        instance, phone = Instance(Paired(ENDS, secret), chance), Phone(secret, chance)
        for _ in range(chance.randint(1, 7)):
            phone.step(instance, lost=chance.random() < 0.4)
            if chance.random() < 0.3:
                phone.exchanging = None  # the device stopped and was started again
        while phone.confirming is not None:
            phone.step(instance)
        assert not isinstance(instance.phase, PairingEnded)
        (counts,) = (
            each
            for each in instance.phase.secrets
            if each.generation == instance.phase.serving_generation
        )
        assert (counts.generation, counts.secret) == (
            phone.current.generation,
            phone.current.secret,
        )


def test_a_phone_that_crashed_in_a_pairing_pairs_again_or_goes_on() -> None:
    instance, phone = invited(3)
    phone.step(instance, lost=True)
    phone.exchanging = None
    phone.step(instance)
    assert isinstance(instance.phase, PairingEnded)
    assert instance.phase.reason is EndReason.RACE
    instance, phone = invited(3)
    phone.step(instance)
    phone = Phone(phone.current, phone.chance, phone.confirming, None, phone.shown)
    phone.step(instance)
    type_digits(instance, phone.shown[-1])
    phone.step(instance)
    assert phone.current.generation == 1


def test_two_phones_on_one_code_never_pair_the_wrong_one() -> None:
    """The user types what his own phone shows, whatever order the gateway makes of it."""
    paired = 0
    for seed in range(INTERLEAVINGS):
        instance, phone = invited(seed)
        stranger = Phone(DeviceSecret(0, SETUP.secret), instance.chance)
        for _ in range(instance.chance.randint(2, 8)):
            chosen = phone if instance.chance.random() < 0.6 else stranger
            chosen.step(instance, lost=instance.chance.random() < 0.2)
            if phone.shown and instance.chance.random() < 0.5:
                type_digits(instance, phone.shown[-1])
        assert stranger.current.generation == 0
        if isinstance(instance.phase, Paired):
            paired += 1
            secret = phone.confirming.pending if phone.confirming else phone.current
            assert instance.phase.secret.secret == secret.secret
    assert 0 < paired < INTERLEAVINGS


def test_a_stranger_between_the_two_shows_other_digits() -> None:
    """Who has the QR and the gateway can speak to both, and is found out by the digits."""
    instance, phone = invited(4)
    stranger = Phone(DeviceSecret(0, SETUP.secret), instance.chance)
    fake = Instance(
        Invited(ENDS, PairingPolicy.CONFIRM, DeviceSecret(0, SETUP.secret)), instance.chance
    )
    stranger.step(instance)
    stranger.step(instance)
    phone.step(fake)
    phone.step(fake)
    for tries_left in (2, 1):
        type_digits(instance, phone.shown[-1])
        assert isinstance(instance.phase, Waiting)
        assert instance.phase.tries_left == tries_left
    type_digits(instance, phone.shown[-1])
    assert isinstance(instance.phase, PairingEnded)
    assert instance.phase.reason is EndReason.WRONG_DIGITS
