"""Two phones read one QR: the gateway's claims and the instance's pairing together, in whatever
order it all happens. A pairing of the wrong phone is refused, or loud; it is never silent.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import pytest

from porttunnel.gateway.pairing_instance import PairingPolicy
from porttunnel.gateway.pairing_rotation import Paired
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.gateway.pairing_step import EndReason, PairingEnded
from porttunnel.gateway.setup_claim import ClaimOutcome, SetupOffer, judge_claim
from porttunnel.keys.primitives import sha256
from tests.gateway.pairings import SETUP
from tests.gateway.test_pairing_runs import INTERLEAVINGS, Instance, Phone, invited, type_digits

EXPIRES = 600.0


@dataclass
class Gateway:
    """An honest one.

    :ivar offer: None once nobody can use the key any more.
    :ivar alarms: what the instance was told.
    """

    offer: SetupOffer | None
    alarms: int = 0

    def claim(self, phone: Phone) -> ClaimOutcome:
        if self.offer is None:
            return ClaimOutcome.EXPIRED
        nonce_hash = sha256(b"%d" % id(phone))
        outcome = judge_claim(self.offer, nonce_hash, unix_seconds=0.0)
        if outcome is ClaimOutcome.TAKEN:
            self.offer = SetupOffer(EXPIRES, nonce_hash)
        elif outcome in (ClaimOutcome.RACE, ClaimOutcome.LATE):
            self.alarms += 1
        if outcome is ClaimOutcome.RACE:
            self.offer = None
        return outcome

    def lets_through(self, phone: Phone) -> bool:
        return self.offer is not None and self.offer.nonce_hash == sha256(b"%d" % id(phone))

    def confirm(self) -> None:
        if self.offer is not None:
            self.offer = SetupOffer(EXPIRES, self.offer.nonce_hash, confirmed=True)


class Meeting:
    """The user's phone, a stranger's, the gateway and the instance.

    :ivar refused: phones whose setup the gateway refused, so that their users know.
    """

    def __init__(self, seed: int, policy: PairingPolicy) -> None:
        self.instance: Instance
        self.instance, self.users = invited(seed, policy)
        self.chance: random.Random = self.instance.chance
        self.strangers = Phone(DeviceSecret(0, SETUP.secret), self.chance)
        self.gateway = Gateway(SetupOffer(EXPIRES))
        self.refused: set[int] = set()

    def happen(self) -> None:
        """The next thing."""
        phone = self.chance.choice((self.users, self.strangers))
        match self.chance.randrange(8):
            case 0 | 1:
                outcome = self.gateway.claim(phone)
                if outcome not in (ClaimOutcome.TAKEN, ClaimOutcome.REPEATED):
                    self.refused.add(id(phone))
            case 2 if self.users.shown:
                type_digits(self.instance, self.users.shown[-1])
            case 3 if isinstance(self.instance.phase, Paired):
                self.gateway.confirm()
            case 4 if self.gateway.alarms and not isinstance(self.instance.phase, Paired):
                self.instance.phase = PairingEnded(EndReason.RACE)
            case _:
                if self.gateway.lets_through(phone):
                    phone.step(self.instance, lost=self.chance.random() < 0.2)

    def is_paired(self, phone: Phone) -> bool:
        """As the instance sees it."""
        if not isinstance(self.instance.phase, Paired):
            return False
        secret = phone.confirming.pending if phone.confirming else phone.current
        return bool(secret.generation and self.instance.phase.secret.secret == secret.secret)


def hold(seed: int, policy: PairingPolicy) -> Meeting:
    meeting = Meeting(seed, policy)
    for _ in range(meeting.chance.randint(4, 24)):
        meeting.happen()
    return meeting


def test_with_digits_only_the_users_own_phone_is_paired() -> None:
    came_of_it: Counter[str] = Counter()
    for seed in range(INTERLEAVINGS):
        meeting = hold(seed, PairingPolicy.CONFIRM)
        assert not meeting.is_paired(meeting.strangers)
        assert meeting.strangers.current.generation == 0
        if isinstance(meeting.instance.phase, Paired):
            assert meeting.is_paired(meeting.users)
            came_of_it["paired"] += 1
        came_of_it["alarmed"] += bool(meeting.gateway.alarms)
    assert all(0 < came_of_it[what] < INTERLEAVINGS for what in ("paired", "alarmed"))


def test_without_digits_whoever_comes_second_is_refused_and_the_instance_is_told() -> None:
    came_of_it: Counter[str] = Counter()
    for seed in range(INTERLEAVINGS):
        meeting = hold(seed, PairingPolicy.IMMEDIATE)
        both = [meeting.is_paired(phone) for phone in (meeting.users, meeting.strangers)]
        assert sum(both) <= 1
        assert bool(meeting.refused) == bool(meeting.gateway.alarms)
        if meeting.is_paired(meeting.strangers):
            # The user's phone came too late, or not at all; it never believes that it is the one.
            assert meeting.users.current.generation == 0
            assert meeting.users.confirming is None
            came_of_it["the stranger"] += 1
        elif meeting.is_paired(meeting.users):
            came_of_it["the user"] += 1
    assert all(came_of_it[who] for who in ("the stranger", "the user"))


@pytest.mark.parametrize("policy", PairingPolicy)
def test_a_second_phone_before_the_pairing_is_confirmed_ends_it_for_both(
    policy: PairingPolicy,
) -> None:
    meeting = Meeting(0, policy)
    assert meeting.gateway.claim(meeting.users) is ClaimOutcome.TAKEN
    assert meeting.gateway.claim(meeting.strangers) is ClaimOutcome.RACE
    assert not meeting.gateway.lets_through(meeting.users)
    assert not meeting.gateway.lets_through(meeting.strangers)
    assert meeting.gateway.claim(meeting.users) is ClaimOutcome.EXPIRED
    assert meeting.gateway.alarms == 1
