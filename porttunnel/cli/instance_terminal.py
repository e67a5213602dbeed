"""The dialogue of `porttunnel instance` with a person."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import click
import segno
from twisted.internet.defer import Deferred

from porttunnel.cli import instance_text as text
from porttunnel.cli.instance_choice import short_id
from porttunnel.cli.standard_streams import StandardStreams
from porttunnel.cli.wording import printable
from porttunnel.errors import PorttunnelError
from porttunnel.net.instance.control_message import DeviceEntry, DeviceList, Invitation

__all__ = ["TerminalInstanceDialogue"]

QUIET_ZONE_MODULES = 2  # around the QR code; cameras read it with less than the standard's four

_COLUMN_GAP = "  "


class TerminalInstanceDialogue:
    """See :class:`porttunnel.cli.instance_dialogue.InstanceDialogue`.

    :param streams: standard input and output.
    """

    def __init__(self, streams: StandardStreams) -> None:
        self._streams = streams
        self._asking = False
        self._colours = (
            streams.output_is_terminal
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM") != "dumb"
        )

    def tell_invitation(
        self, invitation: Invitation, user: str, pictures: Sequence[Path], *, immediate: bool
    ) -> None:
        user = printable(user)
        expires = time.strftime(text.TIME, time.localtime(invitation.expires))
        self._say(text.INVITED.format(user=self._bold(user), expires=expires))
        if self._streams.output_is_terminal:
            self._draw(invitation.code)
        self._say(text.CODE_TEXT.format(code=printable(invitation.code)))
        for path in pictures:
            self._say(text.PICTURE.format(path=path))
        self._say(text.HOW_TO_PAIR)
        if immediate:
            self._say(self._red(text.IMMEDIATE.format(user=user)))

    def tell_waiting(self) -> None:
        self._say(text.WAITING)

    def ask_digits(self, device_id: str, tries_left: int | None) -> Deferred[str | None]:
        # What was typed before the digits could be seen is no answer.
        self._streams.discard_typed()
        self._streams.write(text.ASK_DIGITS)
        self._asking = True
        return self._streams.read_line().addCallback(self._end_line)

    def tell_wrong_digits(self, device_id: str, tries_left: int) -> None:
        self._say(self._red(text.WRONG_DIGITS.format(tries_left=tries_left)))

    def tell_not_taken(self, error: PorttunnelError) -> None:
        self._say(self._red(printable(str(error))))

    def tell_paired(self, device_id: str, user: str) -> None:
        self._say(text.PAIRED.format(device=short_id(device_id), user=printable(user)))

    def tell_left_open(self, device_id: str) -> None:
        self._say(text.LEFT_OPEN.format(device=short_id(device_id)))

    def tell_devices(self, devices: DeviceList) -> None:
        if devices.devices:
            self._say_table([text.HEADINGS, *map(_describe, devices.devices)])
        elif devices.instance_id:
            self._say(text.NO_DEVICES)
        if not devices.instance_id:
            self._say(self._red(text.NOT_REGISTERED))
        elif not devices.connected:
            self._say(self._red(text.NOT_CONNECTED))

    def tell_revoked(self, device: DeviceEntry) -> None:
        said = text.REVOKED.format(device=short_id(device.device_id), user=printable(device.user))
        self._say(said)

    def tell_error(self, error: PorttunnelError) -> None:
        self._say(self._red(printable(str(error))))

    def tell_done(self, reason: str) -> None:
        if reason:
            self._say(printable(reason))

    # Inside

    def _draw(self, code: str) -> None:
        symbol = segno.make(code, micro=False)
        columns, _ = symbol.symbol_size(border=QUIET_ZONE_MODULES)
        if columns > shutil.get_terminal_size().columns:
            self._say(text.TOO_NARROW.format(columns=columns))  # its lines would be broken
            return
        drawn = StringIO()
        symbol.terminal(drawn, border=QUIET_ZONE_MODULES, compact=True)
        self._say(drawn.getvalue())

    def _say_table(self, rows: Sequence[tuple[str, ...]]) -> None:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self._say(_COLUMN_GAP.join(cells).rstrip())

    def _say(self, line: str) -> None:
        # The question stands on the last line, and is not answered any more.
        start = "\n" if self._asking else ""
        self._asking = False
        self._streams.write(f"{start}{line}\n")

    def _end_line(self, line: str | None) -> str | None:
        if self._asking and (line is None or not self._streams.interactive):
            self._streams.write("\n")
        self._asking = False
        return line

    def _bold(self, words: str) -> str:
        return click.style(words, bold=True) if self._colours else words

    def _red(self, words: str) -> str:
        return click.style(words, fg="red") if self._colours else words


def _describe(device: DeviceEntry) -> tuple[str, ...]:
    return (
        short_id(device.device_id),
        printable(device.user),
        text.STATES.get(device.state, device.state),
        _format_time(device.paired or device.invited),
        _format_last_seen(device),
        text.ONLINE[device.online],
    )


def _format_last_seen(device: DeviceEntry) -> str:
    if device.online:
        return text.NOW  # what it asked last may be long ago
    return text.NEVER if device.last_seen is None else _format_time(device.last_seen)


def _format_time(seconds: int) -> str:
    return time.strftime(text.DATE_AND_TIME, time.localtime(seconds))
