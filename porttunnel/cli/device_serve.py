"""`porttunnel device serve`: web systems at ports of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError

from porttunnel.cli import device_text as text
from porttunnel.cli.device_dialogue import DeviceDialogue
from porttunnel.cli.exit_code import ExitCode, exit_code_of
from porttunnel.errors import ConfigurationError, PorttunnelError
from porttunnel.net.device.device import Device
from porttunnel.net.device.event import (
    DeviceConnected,
    DeviceDisconnected,
    DeviceEnded,
    DeviceEvent,
)
from porttunnel.net.device.proxy import LoopbackProxy
from porttunnel.net.device.record import DeviceRecord
from porttunnel.net.device.store import DeviceStore

__all__ = ["Serving"]


class Serving:
    """One run of the command.

    :param dialogue: with whoever started it.
    """

    def __init__(self, dialogue: DeviceDialogue) -> None:
        self._dialogue = dialogue
        self._devices: list[Device] = []
        self._proxies: list[LoopbackProxy] = []
        self._up: dict[str, bool] = {}  # what was told of each link
        self._serving: set[str] = set()
        self._ended: Deferred[ExitCode] = Deferred()

    async def run(
        self, reactor: Any, store: DeviceStore, records: Sequence[DeviceRecord], port: int | None
    ) -> ExitCode:
        """Serve until cancelled, or until none of them is a device any more.

        :param port: for the only record; None: each at its usual one.
        :raises ConfigurationError: the port can't be used.
        """
        self._serving = {record.device_id for record in records}
        try:
            for record in records:
                await self._start(reactor, store, record, port)
            return await self._ended
        except CancelledError:
            self._dialogue.tell_done(text.SERVE_ENDED)
            return ExitCode.DONE
        finally:
            await self._stop()

    async def _start(
        self, reactor: Any, store: DeviceStore, record: DeviceRecord, port: int | None
    ) -> None:
        device = Device(reactor, store, record, on_event=partial(self._receive_event, record))
        proxy = LoopbackProxy(reactor, device)
        try:
            number = await proxy.start(port)
        except CannotListenError as error:
            reason = error.socketError.strerror or error.socketError
            raise ConfigurationError(text.PORT_NOT_FREE.format(port=port, reason=reason)) from None
        self._proxies.append(proxy)
        device.start()
        self._devices.append(device)
        self._dialogue.tell_listening(record, number)

    async def _stop(self) -> None:
        for proxy in self._proxies:
            await proxy.stop()
        for device in self._devices:
            await device.stop()

    def _receive_event(self, record: DeviceRecord, happened: DeviceEvent) -> None:
        match happened:
            case DeviceConnected():
                self._tell_link(record, None, up=True)
            case DeviceDisconnected(error=error):
                self._tell_link(record, error, up=False)
            case DeviceEnded(error=error):
                self._end(record, error)

    def _tell_link(self, record: DeviceRecord, error: PorttunnelError | None, *, up: bool) -> None:
        # A try that fails like the one before is no news.
        if self._up.get(record.device_id) is not up:
            self._up[record.device_id] = up
            self._dialogue.tell_link(record, up=up, reason="" if error is None else str(error))

    def _end(self, record: DeviceRecord, error: PorttunnelError) -> None:
        if record.device_id not in self._serving or self._ended.called:
            return
        self._serving.discard(record.device_id)
        self._dialogue.tell_error(error)
        if not self._serving:
            self._ended.callback(exit_code_of(error))
