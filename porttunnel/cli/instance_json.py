"""The dialogue of `porttunnel instance` with a program: a JSON object a line (docs/agent)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from twisted.internet.defer import Deferred

from porttunnel.cli import instance_text as text
from porttunnel.cli.exit_code import word_of
from porttunnel.cli.json_dialogue import format_event
from porttunnel.cli.standard_streams import StandardStreams
from porttunnel.errors import PorttunnelError
from porttunnel.net.instance.control_message import DeviceEntry, DeviceList, Invitation

__all__ = ["JsonInstanceDialogue"]


class _Command(msgspec.Struct, forbid_unknown_fields=True):
    digits: Annotated[str, Meta(max_length=32)] | None = None
    close: bool = False


class JsonInstanceDialogue:
    """See :class:`porttunnel.cli.instance_dialogue.InstanceDialogue`.

    :param streams: standard input and output.
    """

    def __init__(self, streams: StandardStreams) -> None:
        self._streams = streams

    def tell_invitation(
        self, invitation: Invitation, user: str, pictures: Sequence[Path], *, immediate: bool
    ) -> None:
        self._tell(
            "invitation",
            device_id=invitation.device_id,
            user=user,
            code=invitation.code,
            expires=invitation.expires,
            immediate=immediate,
        )

    def tell_waiting(self) -> None:
        """Nothing: what follows is told."""

    def ask_digits(self, device_id: str, tries_left: int | None) -> Deferred[str | None]:
        self._tell("digits-asked", device_id=device_id, tries_left=tries_left)
        return Deferred.fromCoroutine(self._read_digits())

    def tell_wrong_digits(self, device_id: str, tries_left: int) -> None:
        line = text.WRONG_DIGITS.format(tries_left=tries_left)
        self._tell(
            "error", code="wrong-digits", text=line, device_id=device_id, tries_left=tries_left
        )

    def tell_not_taken(self, error: PorttunnelError) -> None:
        self.tell_error(error)

    def tell_paired(self, device_id: str, user: str) -> None:
        self._tell("paired", device_id=device_id, user=user)

    def tell_left_open(self, device_id: str) -> None:
        """Nothing: ``done`` without ``paired`` says it."""

    def tell_devices(self, devices: DeviceList) -> None:
        self._tell(
            "devices",
            instance_id=devices.instance_id,
            connected=devices.connected,
            devices=devices.devices,
        )

    def tell_revoked(self, device: DeviceEntry) -> None:
        self._tell("revoked", device_id=device.device_id, user=device.user)

    def tell_error(self, error: PorttunnelError) -> None:
        self._tell("error", code=word_of(error), text=str(error))

    def tell_done(self, reason: str) -> None:
        self._tell("done", reason=reason)

    async def _read_digits(self) -> str | None:
        while (line := await self._streams.read_line()) is not None:
            if not line.strip():
                continue
            try:
                command = msgspec.json.decode(line, type=_Command)
            except msgspec.DecodeError as error:  # it never quotes values
                self._tell("error", code="usage", text=text.BAD_COMMAND.format(reason=error))
                continue
            if command.close:
                return None
            if command.digits is not None:
                return command.digits
        return None

    def _tell(self, event: str, **fields: Any) -> None:
        self._streams.write(format_event(event, **fields))
