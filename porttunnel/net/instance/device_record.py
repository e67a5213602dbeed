"""What an instance shows of its devices."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from porttunnel.gateway.pairing_code import PairingCode

__all__ = ["DeviceRecord", "DeviceState", "Invitation", "PushReport"]


class DeviceState(StrEnum):
    """How far a device has come."""

    INVITED = "invited"  # a code was shown, and nobody has used it
    EXCHANGED = "exchanged"  # a device has used it and not yet confirmed
    WAITING = "waiting"  # the user is to type the digits that the device shows
    PAIRED = "paired"
    LEFT = "left"  # the gateway says that it is none any more: most likely it revoked itself


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """One device; times are seconds since 1970.

    :ivar device_id: 32 hex digits.
    :ivar user: to whom it belongs.
    :ivar invited: when its code was made.
    :ivar paired: since when it may ask; None: it may not.
    :ivar last_seen: when something of it was opened the last time, to the minute.
    :ivar is_online: whether the gateway says that it is connected. A hint: never proven.
    """

    device_id: str
    user: str
    state: DeviceState
    invited: int
    paired: int | None
    last_seen: int | None
    is_online: bool


@dataclass(frozen=True, slots=True)
class Invitation:
    """A code for one device.

    :ivar device_id: 32 hex digits.
    :ivar code: its ``format()`` is the text of the QR: a secret until it was used or has expired.
    :ivar expires: seconds since 1970.
    """

    device_id: str
    code: PairingCode
    expires: int


@dataclass(frozen=True, slots=True)
class PushReport:
    """What became of a push. That it was read, nobody says.

    :ivar sent: ids of devices for which the gateway took it.
    :ivar offline: ids of those that are not connected, or can't be sent anything.
    """

    sent: tuple[str, ...]
    offline: tuple[str, ...]
