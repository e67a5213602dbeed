"""What the gateway keeps, and the verbs that a store must offer to it.

The rows are all that the gateway ever writes about anybody: random ids, hashes, and until when a
setup key is good. No name, no address, nothing that tells who anybody is. Each verb happens at
once and for ever, or, on an error, not at all. SQLite implements them in
:mod:`porttunnel.net.gateway.sqlite_store`; they say nothing of SQL.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Protocol

from porttunnel.gateway.setup_claim import ClaimOutcome, SetupOffer

__all__ = [
    "Addition",
    "Claim",
    "Counts",
    "Credential",
    "DeviceRow",
    "DeviceState",
    "GatewayStore",
    "OfferRow",
    "Revocation",
]


class Addition(Enum):
    """What came of adding a row."""

    ADDED = "it is there for ever"
    FULL = "there are as many as there may be"
    NO_INSTANCE = "the instance is gone"


class DeviceState(StrEnum):
    """How far the pairing of a device is, as its instance reads it."""

    INVITED = "invited"  # nobody has used the setup key
    CLAIMED = "claimed"  # somebody has
    CONFIRMED = "confirmed"  # the instance says that it was the right one


@dataclass(frozen=True, slots=True)
class Credential:
    """What a password of this user is compared with.

    :ivar password_hash: as of :func:`~porttunnel.keys.credentials.hash_password`.
    :ivar next_password_hash: of the password that takes its place when it first logs in.
    """

    user_name: str
    instance_id: str
    password_hash: str = field(repr=False)
    next_password_hash: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A device as its instance sees it."""

    device_id: str
    instance_id: str
    state: DeviceState


@dataclass(frozen=True, slots=True)
class OfferRow:
    """A setup key that has not expired, but for its hash.

    :ivar offer: what :func:`~porttunnel.gateway.setup_claim.judge_claim` wants to know.
    """

    device_id: str
    instance_id: str
    offer: SetupOffer


@dataclass(frozen=True, slots=True)
class Claim:
    """What came of a setup key that was shown.

    The outcome is carried out already, but for EXPIRED: the sweep does that.
    """

    outcome: ClaimOutcome
    device_id: str
    instance_id: str


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is.

    :ivar devices: that have used their setup keys.
    :ivar offers: setup keys that nobody has used yet.
    """

    instances: int
    devices: int
    offers: int


@dataclass(frozen=True, slots=True)
class Revocation:
    """Another process has removed an account, or made its password void.

    :ivar user_name: of a device, which is gone; or of an instance.
    :ivar instance_is_there: whether the instance is not gone.
    """

    user_name: str
    instance_id: str
    instance_is_there: bool


class GatewayStore(Protocol):
    """Used from one thread at a time. Ids are 32 lower-case hex digits, times unix seconds.

    :raises ConfigurationError: from every method: the store can't be used.
    """

    def close(self) -> None:
        """Let go of it. Nothing waits to be written."""

    def probe(self) -> None:
        """Nothing, if it takes what is written."""

    def revocations(self) -> list[Revocation]:
        """What other processes have revoked since this was asked, or the store opened. Of what is
        older than a minute it may know nothing any more.
        """

    def counts(self) -> Counts:
        """How much there is."""

    def add_instance(self, instance_id: str, password_hash: str, limit: int) -> Addition:
        """A new instance, unless there are ``limit`` of them."""

    def remove_instance(self, instance_id: str) -> list[str] | None:
        """The instance, its devices and its setup keys are gone.

        :returns: the ids of the devices; None if there was no such instance.
        """

    def credential(self, user_name: str) -> Credential | None:
        """Of an instance, or of a device that has used its setup key."""

    def set_next_password(self, instance_id: str, password_hash: str) -> bool:
        """This one is good too from now on; one that was set before is not.

        :returns: whether there is such an instance.
        """

    def promote_password(self, instance_id: str, password_hash: str) -> bool:
        """The next password has logged in: it is the only one now.

        :returns: False if ``password_hash`` is not that of the next one any more.
        """

    def add_device(
        self, device_id: str, instance_id: str, key_hash: bytes, expires: float, limit: int
    ) -> Addition:
        """A new device, invited, unless its instance has ``limit`` of them.

        :param key_hash: of its setup key, which is good until ``expires``.
        """

    def device(self, device_id: str) -> DeviceRow | None:
        """One device."""

    def devices(self, instance_id: str) -> list[DeviceRow]:
        """All devices of an instance, by their ids."""

    def confirm_device(self, device_id: str, instance_id: str) -> DeviceState | None:
        """The instance is content with the device.

        :returns: its state now: INVITED if there is nothing to be content with; None if the
            instance has no such device.
        """

    def remove_device(self, device_id: str, instance_id: str) -> bool:
        """The device and its setup key are gone.

        :returns: whether the instance had such a device.
        """

    def offer(self, key_hash: bytes) -> OfferRow | None:
        """The setup key with this hash, also for a while after it has expired."""

    def claim(
        self, key_hash: bytes, nonce_hash: bytes, password_hash: str, now: float
    ) -> Claim | None:
        """Judge a device that shows a setup key, and carry out what is said about it.

        :param nonce_hash: of the nonce that it made its password with.
        :param password_hash: of that password; kept only if the key was free.
        :returns: None if no such key is open.
        """

    def sweep(self, now: float, limit: int) -> list[tuple[str, str]]:
        """Remove up to ``limit`` each of: setup keys that have expired, with the devices if nobody
        has used them; devices that their instances have not confirmed in time.

        :returns: instance and device of the devices that are gone.
        """

    def erase(self) -> None:
        """Afterwards nothing of what was ever removed is left anywhere, unless somebody else reads
        from the store just now: then the next time.
        """
