"""What `porttunnel device` tells whoever started it, and asks: a person or a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from porttunnel.errors import PorttunnelError
from porttunnel.gateway.http_head import ResponseHead
from porttunnel.net.device.record import DeviceRecord

__all__ = ["DeviceDialogue"]


class DeviceDialogue(Protocol):
    """Implemented for a terminal and for JSON."""

    def ask_code(self, why: str) -> Deferred[str | None]:
        """The text of a QR code; ``why`` it is asked again, empty at first. None if nobody can
        answer.
        """

    def tell_pairing(self, gateway: str) -> None:
        """It begins; ``gateway`` is a URL."""

    def show_digits(self, digits: str) -> None:
        """Six, to be typed at the instance."""

    def tell_paired(self, device: DeviceRecord) -> None:
        """It succeeded."""

    def tell_devices(self, devices: Sequence[DeviceRecord]) -> None:
        """All of them."""

    def tell_listening(self, device: DeviceRecord, port: int) -> None:
        """A web system has a port of this machine."""

    def tell_link(self, device: DeviceRecord, *, up: bool, reason: str) -> None:
        """A connection to a gateway is there, or not; ``reason`` of the latter, or empty."""

    def tell_waiting(self, device: DeviceRecord, *, connected: bool) -> None:
        """The gateway is waited for, or with a connection to it the web system."""

    def tell_response(self, head: ResponseHead, *, wanted: bool) -> None:
        """An answer begins; ``wanted``: its fields were asked for."""

    def tell_progress(self, name: str, count: int, total: int | None) -> None:
        """So many bytes of a response have come; of how many, if that is known."""

    def ask_revoke(self, device: DeviceRecord) -> Deferred[bool]:
        """Really?"""

    def tell_revoked(self, device: DeviceRecord, *, offline: bool) -> None:
        """Its keys are gone; ``offline``: only here."""

    def tell_error(self, error: PorttunnelError) -> None:
        """Why the command ends, or one system is not served any more."""

    def tell_done(self, reason: str) -> None:
        """The command ends as wanted."""
