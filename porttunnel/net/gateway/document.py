"""The JSON documents that the gateway takes and gives. Fields that it doesn't know are refused.

Source: docs/gateway-protocol, section 5.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from porttunnel.net.gateway.store import DeviceState

__all__ = [
    "Device",
    "DeviceList",
    "Invitation",
    "InvitedDevice",
    "NewPassword",
    "RegisteredInstance",
    "Registration",
    "SetUpDevice",
    "Setup",
]

MAX_EXPIRES_SECONDS = 86_400  # a day: a picture of a code that lies about longer is a key
DEFAULT_EXPIRES_SECONDS = 600  # to fetch the phone and find the right page

# The lengths stand there too: in Python `$` also stands before a line's end.
_Hex16 = Annotated[str, Meta(pattern="^[0-9a-f]{32}$", min_length=32, max_length=32)]
_Hex32 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", min_length=64, max_length=64)]

# JSON has numbers, and 600.0 is the same one as 600.
_Lifetime = Annotated[float, Meta(ge=1, le=MAX_EXPIRES_SECONDS, multiple_of=1)]


class _Secretive(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Carries a secret, so it isn't shown."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"


class Registration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody wants to be an instance; there is nothing to say about it."""


class RegisteredInstance(_Secretive, frozen=True):
    """A new instance. Its password is told here and never again."""

    instance_id: _Hex16
    instance_password: _Hex16


class NewPassword(_Secretive, frozen=True):
    """The password that takes the place of the one before when it first logs in."""

    new_password: _Hex16


class Invitation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A device is to come, within so many seconds."""

    expires_in: _Lifetime = DEFAULT_EXPIRES_SECONDS


class InvitedDevice(_Secretive, frozen=True):
    """A device that is to come. Its setup key is told here and never again.

    :ivar expires: seconds since 1970.
    """

    device_id: _Hex16
    device_setup_key: _Hex16
    expires: int


class Setup(_Secretive, frozen=True):
    """A device that comes.

    :ivar client_nonce: drawn by the device; repeated, it gets the same answer.
    """

    device_setup_key: _Hex16
    client_nonce: _Hex32


class SetUpDevice(msgspec.Struct, frozen=True):
    """Who the device is, and to which instance it belongs."""

    device_id: _Hex16
    instance_id: _Hex16


class Device(msgspec.Struct, frozen=True):
    """A device of an instance."""

    device_id: _Hex16
    state: DeviceState


class DeviceList(msgspec.Struct, frozen=True):
    """All devices of an instance, by their ids."""

    devices: list[Device]
