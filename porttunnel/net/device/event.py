"""What a device reports beside its requests: past-tense, frozen, in the order it happened."""

from __future__ import annotations

from dataclasses import dataclass

from porttunnel.errors import PorttunnelError

__all__ = [
    "DeviceConnected",
    "DeviceDisconnected",
    "DeviceEnded",
    "DeviceEvent",
    "RotationFailed",
    "SecretRotated",
]


@dataclass(frozen=True, slots=True)
class DeviceConnected:
    """The gateway took us; it may be there again after it was lost."""


@dataclass(frozen=True, slots=True)
class DeviceDisconnected:
    """There is no connection, and another is tried; told for each try that fails as well.

    :ivar error: why; None: it was lost without a word.
    """

    error: PorttunnelError | None = None


@dataclass(frozen=True, slots=True)
class DeviceEnded:
    """There will be no connection any more.

    :ivar error: why; :class:`~porttunnel.errors.DeviceRevoked` if the gateway says so.
    """

    error: PorttunnelError


@dataclass(frozen=True, slots=True)
class SecretRotated:
    """Device and instance have another secret.

    :ivar generation: its number.
    """

    generation: int


@dataclass(frozen=True, slots=True)
class RotationFailed:
    """They have not, and keep the one that they had; it is tried again later.

    :ivar error: why.
    """

    error: PorttunnelError


DeviceEvent = DeviceConnected | DeviceDisconnected | DeviceEnded | SecretRotated | RotationFailed
