"""What a gateway makes of a device that comes with a setup key.

Source: docs/gateway-protocol, section 2. A key is for one device. A device that asks again,
because it didn't get the answer, has the same nonce; another nonce is another device, and nobody
can tell which of the two is the right one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from porttunnel.keys.primitives import constant_time_equal

__all__ = ["ClaimOutcome", "SetupOffer", "judge_claim"]


class ClaimOutcome(Enum):
    """What to do."""

    TAKEN = "store the nonce's hash and the device's password, and answer"
    REPEATED = "answer as before"
    RACE = "remove the device and the offer, tell the instance, and refuse"
    LATE = "tell the instance, and refuse: the device is confirmed and stays"
    EXPIRED = "remove the offer, and refuse as if there were none"


@dataclass(frozen=True, slots=True)
class SetupOffer:
    """What a gateway keeps of a setup key, beside its hash, until it expires.

    :ivar expires: seconds since 1970.
    :ivar nonce_hash: of the device that came, if one has come.
    :ivar confirmed: whether the instance has said that this was the right one.
    """

    expires: float
    nonce_hash: bytes | None = None
    confirmed: bool = False


def judge_claim(offer: SetupOffer, nonce_hash: bytes, unix_seconds: float) -> ClaimOutcome:
    """What to do about a device that shows the setup key of this offer.

    :param nonce_hash: :func:`~porttunnel.keys.credentials.hash_client_nonce` of its nonce.
    """
    if unix_seconds >= offer.expires:
        return ClaimOutcome.EXPIRED
    if offer.nonce_hash is None:
        return ClaimOutcome.TAKEN
    if constant_time_equal(offer.nonce_hash, nonce_hash):
        return ClaimOutcome.REPEATED
    return ClaimOutcome.LATE if offer.confirmed else ClaimOutcome.RACE
