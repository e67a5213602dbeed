"""`porttunnel device pair`: become a device with a QR code."""

from __future__ import annotations

from typing import Any

from twisted.internet.threads import deferToThread

from porttunnel.cli import device_text as text
from porttunnel.cli.device_dialogue import DeviceDialogue
from porttunnel.cli.exit_code import ExitCode
from porttunnel.errors import ConfigurationError, PairingError
from porttunnel.gateway.pairing_code import PairingCode
from porttunnel.net.device.pairing import pair
from porttunnel.net.device.store import DeviceStore

__all__ = ["Pairing"]


class Pairing:
    """One run of the command.

    :param dialogue: with whoever started it.
    :param given: the text of the QR code, if a picture had it.
    :param name: what its user wants to call the web system; may be empty.
    :param interactive: whether a person can type again what was mistyped.
    """

    def __init__(
        self, dialogue: DeviceDialogue, *, given: str | None, name: str, interactive: bool
    ) -> None:
        self._dialogue = dialogue
        self._given = given
        self._name = name
        self._interactive = interactive

    async def run(self, reactor: Any, store: DeviceStore) -> ExitCode:
        """Pair.

        :raises PorttunnelError: it did not succeed.
        """
        words = await self._read_code()
        self._dialogue.tell_pairing(PairingCode.parse(words).gateway)
        device = await pair(reactor, store, words, on_digits=self._dialogue.show_digits)
        if self._name:
            await deferToThread(store.name_device, device.device_id, self._name)
        record = await deferToThread(store.read_device, device.device_id)
        self._dialogue.tell_paired(record)
        self._dialogue.tell_done("")
        return ExitCode.DONE

    async def _read_code(self) -> str:
        if self._given is not None:
            return self._given
        why = ""
        while True:
            typed = await self._dialogue.ask_code(why)
            if typed is None:
                raise ConfigurationError(text.INPUT_ENDED)
            try:
                PairingCode.parse(typed)
            except PairingError as error:
                if not self._interactive:
                    raise
                why = str(error)
            else:
                return typed
