"""Which of an agent's devices a command is about, and how they are called."""

from __future__ import annotations

from collections.abc import Sequence

from porttunnel.cli import instance_text as text
from porttunnel.cli.wording import printable
from porttunnel.errors import ConfigurationError
from porttunnel.net.instance.control_message import DeviceEntry

__all__ = ["choose_device", "short_id"]

SHORT_ID_DIGITS = 8  # as shown; two of 100 devices have the same with 1 in a million


def choose_device(devices: Sequence[DeviceEntry], wanted: str) -> DeviceEntry:
    """The one that is meant.

    :param wanted: its id, or the first digits.
    :raises ConfigurationError: none fits, or several.
    """
    if not devices:
        raise ConfigurationError(text.NO_DEVICES)
    wanted = wanted.lower()
    fitting = [each for each in devices if wanted and each.device_id.startswith(wanted)]
    if not fitting:
        raise ConfigurationError(
            text.NO_SUCH_DEVICE.format(wanted=wanted, devices=_format(devices))
        )
    if len(fitting) > 1:
        raise ConfigurationError(
            text.SEVERAL_DEVICES.format(wanted=wanted, devices=_format(fitting))
        )
    return fitting[0]


def short_id(device_id: str) -> str:
    """The first digits of an id."""
    return device_id[:SHORT_ID_DIGITS]


def _format(devices: Sequence[DeviceEntry]) -> str:
    return ", ".join(f"{short_id(each.device_id)} ({printable(each.user)})" for each in devices)
