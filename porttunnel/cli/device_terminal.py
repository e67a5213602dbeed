"""The dialogue of `porttunnel device` with a person."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import click
from twisted.internet.defer import Deferred

from porttunnel.cli import device_text as text
from porttunnel.cli.big_digits import format_big
from porttunnel.cli.device_choice import host_of, short_id, title_of
from porttunnel.cli.interruption import Interruptions
from porttunnel.cli.standard_streams import StandardStreams
from porttunnel.cli.wording import format_bytes, is_yes, printable
from porttunnel.errors import PorttunnelError
from porttunnel.gateway.http_head import ResponseHead
from porttunnel.net.device.proxy import LOOPBACK
from porttunnel.net.device.record import DeviceRecord

__all__ = ["TerminalDeviceDialogue"]

_COLUMN_GAP = "  "
_REDIRECTS = range(300, 400)
_WAITING = -1  # what is waited for, among the interruptions
_CLEAR_LINE = "\r\x1b[K"


class TerminalDeviceDialogue:
    """See :class:`porttunnel.cli.device_dialogue.DeviceDialogue`.

    :param reactor: time.
    :param streams: standard input and output.
    """

    def __init__(self, reactor: Any, streams: StandardStreams) -> None:
        self._streams = streams
        self._interruptions = Interruptions(reactor, self._say)
        self._numbers: dict[str, int] = {}  # of devices whose link is lost
        self._progress_shown = False
        self._colours = (
            streams.output_is_terminal
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM") != "dumb"
        )

    def ask_code(self, why: str) -> Deferred[str | None]:
        if why:
            self._say(self._red(why))
        return self._ask(text.ASK_CODE)

    def tell_pairing(self, gateway: str) -> None:
        self._say(text.PAIRING.format(gateway=printable(gateway)))

    def show_digits(self, digits: str) -> None:
        spaced = f"{digits[:3]} {digits[3:]}"
        self._say(f"{text.DIGITS}\n")
        if self._streams.output_is_terminal:
            lines = format_big(spaced).splitlines()
            self._say("\n".join(f"    {self._bold(line)}" for line in lines) + "\n")
        self._say(f"    {spaced}\n\n{text.DIGITS_WAITING}")

    def tell_paired(self, device: DeviceRecord) -> None:
        self._say(text.PAIRED.format(**_name(device)))
        self._say(text.PAIRED_NEXT)

    def tell_devices(self, devices: Sequence[DeviceRecord]) -> None:
        if not devices:
            self._say(text.NO_DEVICES)
            return
        rows = [
            (short_id(each), each.name, host_of(each), _format_time(each.paired))
            for each in devices
        ]
        rows.insert(0, text.HEADINGS)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self._say(_COLUMN_GAP.join(cells).rstrip())

    def tell_listening(self, device: DeviceRecord, port: int) -> None:
        url = f"http://{LOOPBACK}:{port}/"
        self._say(text.LISTENING.format(url=self._bold(url), **_name(device)))

    def tell_link(self, device: DeviceRecord, *, up: bool, reason: str) -> None:
        number = self._numbers.setdefault(device.device_id, len(self._numbers))
        title = title_of(device)
        self._interruptions.forget(_WAITING)
        if up:
            self._interruptions.end(number, text.LINK_BACK.format(title=title))
        else:
            line = text.LINK_LOST.format(title=title, reason=printable(reason or text.NO_LINK))
            self._interruptions.begin(number, line)

    def tell_waiting(self, device: DeviceRecord, *, connected: bool) -> None:
        if self._streams.output_is_terminal:
            line = text.WAITING if connected else text.CONNECTING
            self._interruptions.forget(_WAITING)
            self._interruptions.begin(_WAITING, line.format(**_name(device)))

    def tell_response(self, head: ResponseHead, *, wanted: bool) -> None:
        self._interruptions.stop()
        if wanted:
            lines = [text.FETCHED.format(**_status(head))]
            lines += [f"{n.decode()}: {v.decode('latin-1')}" for n, v in head.fields]
            self._say("\n".join(printable(line) for line in (*lines, "")))
        elif head.status in _REDIRECTS and b"location" in dict(head.fields):
            location = printable(dict(head.fields)[b"location"].decode("latin-1"))
            self._say(text.STATUS_TO.format(**_status(head), location=location))
        elif head.status not in range(200, 300):
            self._say(text.STATUS.format(**_status(head)))

    def tell_progress(self, name: str, count: int, total: int | None) -> None:
        if not self._streams.output_is_terminal:
            return
        line = text.PROGRESS if total is None else text.PROGRESS_OF
        said = line.format(bytes=format_bytes(count), total=format_bytes(total or 0))
        self._progress_shown = True
        self._streams.write(f"{_CLEAR_LINE}{said}")

    def ask_revoke(self, device: DeviceRecord) -> Deferred[bool]:
        self._streams.discard_typed()
        return self._ask(text.ASK_REVOKE.format(**_name(device))).addCallback(is_yes)

    def tell_revoked(self, device: DeviceRecord, *, offline: bool) -> None:
        line = text.FORGOTTEN if offline else text.REVOKED
        self._say(line.format(**_name(device)))

    def tell_error(self, error: PorttunnelError) -> None:
        self._interruptions.stop()
        self._say(self._red(printable(str(error))))

    def tell_done(self, reason: str) -> None:
        self._interruptions.stop()
        if reason:
            self._say(printable(reason))

    # Inside

    def _say(self, line: str) -> None:
        start = _CLEAR_LINE if self._progress_shown else ""
        self._progress_shown = False
        self._streams.write(f"{start}{line}\n")

    def _ask(self, prompt: str) -> Deferred[str | None]:
        self._streams.write(prompt)
        return self._streams.read_line().addCallback(self._end_line)

    def _end_line(self, line: str | None) -> str | None:
        if line is None or not self._streams.interactive:
            self._streams.write("\n")
        return line

    def _bold(self, words: str) -> str:
        return click.style(words, bold=True) if self._colours else words

    def _red(self, words: str) -> str:
        return click.style(words, fg="red") if self._colours else words


def _name(device: DeviceRecord) -> dict[str, str]:
    return {
        "device": short_id(device),
        "gateway": host_of(device),
        "title": title_of(device),
    }


def _status(head: ResponseHead) -> dict[str, Any]:
    known = head.status in {each.value for each in HTTPStatus}
    return {"status": head.status, "phrase": HTTPStatus(head.status).phrase if known else ""}


def _format_time(seconds: float) -> str:
    return time.strftime(text.TIME, time.localtime(seconds))
