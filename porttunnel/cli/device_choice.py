"""Which of the pairings a command is about, and how they are called."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from porttunnel.cli import device_text as text
from porttunnel.errors import ConfigurationError
from porttunnel.net.device.record import DeviceRecord

__all__ = [
    "choose_device",
    "choose_devices",
    "format_devices",
    "host_of",
    "short_id",
    "title_of",
]

SHORT_ID_DIGITS = 8  # as shown; two of 100 pairings have the same with 1 in a million


def choose_device(devices: Sequence[DeviceRecord], wanted: str | None) -> DeviceRecord:
    """The one that is meant.

    :param wanted: its name, the beginning of its id, or its gateway's host; None if there is only
        one.
    :raises ConfigurationError: none fits, or several.
    """
    fitting = choose_devices(devices, wanted)
    if len(fitting) > 1:
        raise ConfigurationError(text.SEVERAL_DEVICES.format(devices=format_devices(fitting)))
    return fitting[0]


def choose_devices(devices: Sequence[DeviceRecord], wanted: str | None) -> list[DeviceRecord]:
    """All that are meant, at least one.

    :raises ConfigurationError: none fits.
    """
    if not devices:
        raise ConfigurationError(text.NO_DEVICES)
    if wanted is None:
        return list(devices)
    wanted = wanted.lower()
    fitting = [
        each
        for each in devices
        if wanted and (each.device_id.startswith(wanted) or wanted in _names(each))
    ]
    if not fitting:
        said = format_devices(devices)
        raise ConfigurationError(text.NO_SUCH_DEVICE.format(wanted=wanted, devices=said))
    return fitting


def format_devices(devices: Sequence[DeviceRecord]) -> str:
    """``3fa91c02 (wiki), ...``."""
    return ", ".join(f"{short_id(each)} ({title_of(each)})" for each in devices)


def short_id(device: DeviceRecord) -> str:
    """The first digits of its id."""
    return device.device_id[:SHORT_ID_DIGITS]


def title_of(device: DeviceRecord) -> str:
    """What its user calls it, else its gateway's host."""
    return device.name or host_of(device)


def host_of(device: DeviceRecord) -> str:
    """Its gateway's host, with the port if it has one."""
    return urlsplit(device.address.url).netloc


def _names(device: DeviceRecord) -> tuple[str | None, ...]:
    return device.name.lower(), host_of(device), urlsplit(device.address.url).hostname
