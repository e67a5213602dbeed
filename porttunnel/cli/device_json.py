"""The dialogue of `porttunnel device` with a program: a JSON object a line (docs/devices)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed

from porttunnel.cli.exit_code import word_of
from porttunnel.cli.json_dialogue import format_event
from porttunnel.cli.service_address import format_host_port
from porttunnel.cli.standard_streams import StandardStreams
from porttunnel.errors import PorttunnelError
from porttunnel.gateway.http_head import ResponseHead
from porttunnel.net.device.proxy import LOOPBACK
from porttunnel.net.device.record import DeviceRecord

__all__ = ["JsonDeviceDialogue"]


class JsonDeviceDialogue:
    """See :class:`porttunnel.cli.device_dialogue.DeviceDialogue`.

    :param streams: standard input and output.
    """

    def __init__(self, streams: StandardStreams) -> None:
        self._streams = streams

    def ask_code(self, why: str) -> Deferred[str | None]:
        return self._streams.read_line()

    def tell_pairing(self, gateway: str) -> None:
        """Nothing: ``digits`` follows, or an error."""

    def show_digits(self, digits: str) -> None:
        self._tell("digits", digits=digits)

    def tell_paired(self, device: DeviceRecord) -> None:
        self._tell("paired", **_name(device))

    def tell_devices(self, devices: Sequence[DeviceRecord]) -> None:
        listed = [{**_name(each), "paired": int(each.paired)} for each in devices]
        self._tell("devices", devices=listed)

    def tell_listening(self, device: DeviceRecord, port: int) -> None:
        address = format_host_port(LOOPBACK, port)
        self._tell("listening", **_name(device), address=address, url=f"http://{address}/")

    def tell_link(self, device: DeviceRecord, *, up: bool, reason: str) -> None:
        if up:
            self._tell("link", device_id=device.device_id, up=True)
        else:
            self._tell("link", device_id=device.device_id, up=False, reason=reason)

    def tell_waiting(self, device: DeviceRecord, *, connected: bool) -> None:
        """Nothing: what comes of it is told."""

    def tell_response(self, head: ResponseHead, *, wanted: bool) -> None:
        fields = [[name.decode(), value.decode("latin-1")] for name, value in head.fields]
        self._tell("response", status=head.status, fields=fields)

    def tell_progress(self, name: str, count: int, total: int | None) -> None:
        self._tell("progress", name=name, bytes=count, total=total)

    def ask_revoke(self, device: DeviceRecord) -> Deferred[bool]:
        return succeed(False)

    def tell_revoked(self, device: DeviceRecord, *, offline: bool) -> None:
        self._tell("revoked", device_id=device.device_id)

    def tell_error(self, error: PorttunnelError) -> None:
        self._tell("error", code=word_of(error), text=str(error))

    def tell_done(self, reason: str) -> None:
        self._tell("done", reason=reason)

    def _tell(self, event: str, **fields: Any) -> None:
        self._streams.write(format_event(event, **fields))


def _name(device: DeviceRecord) -> dict[str, str]:
    return {
        "device_id": device.device_id,
        "name": device.name,
        "gateway": device.address.url,
    }
