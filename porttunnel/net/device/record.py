"""What a device keeps: of each system that it is paired with, and of each pairing under way."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from porttunnel.gateway.message_key import Ends
from porttunnel.gateway.pairing_device import DeviceConfirming
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.keys.credentials import parse_id
from porttunnel.net.gateway_client.address import GatewayAddress
from porttunnel.net.gateway_client.rest import Login

__all__ = ["DeviceRecord", "PairingRecord", "PairingStage"]


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """A pairing that succeeded. Times are seconds since 1970 by the device's clock.

    :ivar device_id: 32 hex digits.
    :ivar instance_id: 32 hex digits.
    :ivar password: for the gateway, 32 hex digits.
    :ivar secret: the one that counts.
    :ivar pending: one that the instance may have or not, in a rotation.
    :ivar last_counter: at least as high as those that were used some time ago.
    :ivar offset_ms: what the instance's clock is ahead.
    :ivar push_highest: counter of the last push that was taken.
    :ivar paired: when.
    :ivar rotated: when the secret became the one that counts.
    :ivar name: what its user calls the system; may be empty.
    """

    device_id: str
    instance_id: str
    address: GatewayAddress
    password: str = field(repr=False)
    secret: DeviceSecret
    pending: DeviceConfirming | None
    last_counter: int
    offset_ms: int
    push_highest: int
    paired: float
    rotated: float
    name: str = ""

    @property
    def ends(self) -> Ends:
        """Who speaks with whom."""
        return Ends(parse_id(self.instance_id), parse_id(self.device_id))

    @property
    def login(self) -> Login:
        """For the gateway."""
        return Login(self.device_id, self.password)


class PairingStage(StrEnum):
    """How far a pairing has come; each is written down before what it says is done."""

    CLAIMING = "claiming"  # the gateway is asked who the device is
    EXCHANGING = "exchanging"  # the instance is asked for a secret
    CONFIRMING = "confirming"  # it is asked to confirm


@dataclass(frozen=True, slots=True, repr=False)
class PairingRecord:
    """A pairing that is under way.

    :ivar setup_key: of its code; by it the record is found.
    :ivar setup_secret: of its code.
    :ivar expires: of its code, seconds since 1970.
    :ivar client_nonce: for the gateway, 32 bytes.
    :ivar device_id: 32 hex digits, once the gateway has said it.
    :ivar instance_id: likewise.
    :ivar key: of the exchange, as :meth:`HybridPrivateKey.export` gives it.
    :ivar nonce: of the exchange, 32 bytes.
    :ivar fallback: of the exchange, 32 bytes.
    :ivar pending: what came out of the exchange.
    """

    setup_key: bytes
    setup_secret: bytes
    address: GatewayAddress
    expires: int
    client_nonce: bytes
    stage: PairingStage
    device_id: str
    instance_id: str
    key: bytes
    nonce: bytes
    fallback: bytes
    pending: DeviceConfirming | None

    def __repr__(self) -> str:
        return f"<PairingRecord at {self.address.url}, {self.stage} (secret)>"

    @property
    def ends(self) -> Ends:
        """Who speaks with whom, after the claim."""
        return Ends(parse_id(self.instance_id), parse_id(self.device_id))
