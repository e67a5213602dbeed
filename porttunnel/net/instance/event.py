"""What an instance tells its owner, beside what its calls return."""

from __future__ import annotations

from dataclasses import dataclass

from porttunnel.errors import PorttunnelError
from porttunnel.gateway.pairing_step import EndReason

__all__ = [
    "DevicePaired",
    "DeviceRemoved",
    "DigitsWanted",
    "GatewayConnected",
    "GatewayLost",
    "InstanceEvent",
    "InstanceRefused",
    "InstanceRegistered",
    "PairingFailed",
    "RestoreNoticed",
    "SetupRaced",
    "StoreFailed",
]


@dataclass(frozen=True, slots=True)
class InstanceRegistered:
    """The gateway knows us now, for the first time.

    :ivar instance_id: 32 hex digits.
    """

    instance_id: str


@dataclass(frozen=True, slots=True)
class GatewayConnected:
    """Devices can reach us."""


@dataclass(frozen=True, slots=True)
class GatewayLost:
    """They can't; it is being connected anew. What was running is cancelled.

    :ivar error: why, if that is known.
    """

    error: PorttunnelError | None


@dataclass(frozen=True, slots=True)
class InstanceRefused:
    """The gateway does not want us any more, and no new connection mends that.

    :ivar error: why.
    """

    error: PorttunnelError


@dataclass(frozen=True, slots=True)
class DigitsWanted:
    """A device has used a code; its user is to type what it shows (:meth:`Instance.enter_digits`).

    :ivar tries_left: wrong entries that end it.
    """

    device_id: str
    user: str
    tries_left: int


@dataclass(frozen=True, slots=True)
class DevicePaired:
    """A device may ask from now on."""

    device_id: str
    user: str


@dataclass(frozen=True, slots=True)
class PairingFailed:
    """It came to nothing: a new code is needed.

    :ivar reason: why; None: the code expired.
    """

    device_id: str
    user: str
    reason: EndReason | None


@dataclass(frozen=True, slots=True)
class SetupRaced:
    """Somebody else used the same code, says the gateway. If the device isn't paired yet its
    pairing has ended; if it is, it stays, and somebody has seen the code.
    """

    device_id: str
    user: str


@dataclass(frozen=True, slots=True)
class DeviceRemoved:
    """A device is none any more.

    :ivar revoked: we did it; otherwise the gateway says so.
    """

    device_id: str
    user: str
    revoked: bool


@dataclass(frozen=True, slots=True)
class RestoreNoticed:
    """Our state is older than what happened: it was restored from a backup, or moved. Each device
    has to change its secret before it is served.
    """


@dataclass(frozen=True, slots=True)
class StoreFailed:
    """The state can't be written: nothing is served until it can.

    :ivar error: what to do about it.
    """

    error: PorttunnelError


InstanceEvent = (
    InstanceRegistered
    | GatewayConnected
    | GatewayLost
    | InstanceRefused
    | DigitsWanted
    | DevicePaired
    | PairingFailed
    | SetupRaced
    | DeviceRemoved
    | RestoreNoticed
    | StoreFailed
)
