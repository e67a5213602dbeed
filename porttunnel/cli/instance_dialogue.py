"""What `porttunnel instance` tells whoever started it, and asks: a person or a program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from twisted.internet.defer import Deferred

from porttunnel.errors import PorttunnelError
from porttunnel.net.instance.control_message import DeviceEntry, DeviceList, Invitation

__all__ = ["InstanceDialogue"]


class InstanceDialogue(Protocol):
    """Implemented for a terminal and for JSON."""

    def tell_invitation(
        self, invitation: Invitation, user: str, pictures: Sequence[Path], *, immediate: bool
    ) -> None:
        """A code was made; ``pictures`` are files with it; ``immediate``: nothing is asked."""

    def tell_waiting(self) -> None:
        """No device has used the code yet."""

    def ask_digits(self, device_id: str, tries_left: int | None) -> Deferred[str | None]:
        """What the device shows; None if nobody can answer."""

    def tell_wrong_digits(self, device_id: str, tries_left: int) -> None:
        """Another try is possible."""

    def tell_not_taken(self, error: PorttunnelError) -> None:
        """What was typed can't be digits."""

    def tell_paired(self, device_id: str, user: str) -> None:
        """It succeeded."""

    def tell_left_open(self, device_id: str) -> None:
        """The command ends before the pairing does."""

    def tell_devices(self, devices: DeviceList) -> None:
        """All of them."""

    def tell_revoked(self, device: DeviceEntry) -> None:
        """It is none any more."""

    def tell_error(self, error: PorttunnelError) -> None:
        """Why the command ends."""

    def tell_done(self, reason: str) -> None:
        """The command ends as wanted."""
