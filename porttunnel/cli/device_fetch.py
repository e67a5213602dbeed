"""`porttunnel device get` and `request`: one request, and its answer as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred

from porttunnel.cli import device_text as text
from porttunnel.cli.device_content import Content, as_given
from porttunnel.cli.device_dialogue import DeviceDialogue
from porttunnel.cli.device_output import Output
from porttunnel.cli.exit_code import ExitCode
from porttunnel.cli.wording import format_bytes
from porttunnel.errors import ConfigurationError, PorttunnelError
from porttunnel.gateway.http_head import Fields, RequestHead, ResponseHead, find_request_fault
from porttunnel.net.device.event import DeviceConnected, DeviceDisconnected, DeviceEvent
from porttunnel.net.device.interface import Requester
from porttunnel.net.device.record import DeviceRecord
from porttunnel.net.gateway_client.body import ReceivedBody

__all__ = ["Fetching", "make_head"]

SCHEME = b"https"
PROGRESS_SECONDS = 1.0  # before the first line about it, and between two

_UNCHANGED = "%/:?#[]@!$&'()*+,;=~-._"  # in a path; everything else but letters is written with %
_FRAMING = (b"content-length", b"transfer-encoding")


def make_head(method: str, path: str, fields: Sequence[str]) -> RequestHead:
    """What the web system is asked for.

    :param path: with its query; what isn't ASCII is written with ``%`` and two digits.
    :param fields: such as ``accept: text/plain``.
    :raises ConfigurationError: one of them can't be right.
    """
    named = tuple(map(_parse_field, fields))
    if any(name in _FRAMING for name, _ in named):
        raise ConfigurationError(text.LENGTH_FIELD)
    asked = quote(as_given(path), safe=_UNCHANGED).encode()
    head = RequestHead(as_given(method), SCHEME, b"", asked, named)
    fault = find_request_fault(head)
    if fault is not None or head.method == b"CONNECT":
        said = fault or text.NO_CONNECT
        raise ConfigurationError(text.BAD_REQUEST.format(reason=said))
    return head


class Fetching:
    """One run of a command; a :class:`porttunnel.net.gateway_client.body.BodyReceiver`.

    :param reactor: time.
    :param dialogue: with whoever started it.
    :param output: where the content goes.
    :param include: whether status and fields were asked for.
    :param allowed: statuses that are a success.
    :param quiet: whether progress would be in the way.
    :param waited: whose gateway and web system the dialogue is told of while they let wait; None:
        it isn't.
    """

    def __init__(
        self,
        reactor: Any,
        dialogue: DeviceDialogue,
        output: Output,
        *,
        include: bool,
        allowed: range,
        quiet: bool,
        waited: DeviceRecord | None,
    ) -> None:
        self._reactor = reactor
        self._dialogue = dialogue
        self._output = output
        self._include = include
        self._allowed = allowed
        self._quiet = quiet
        self._waited = waited
        self._link_up = True  # as far as was told
        self._count = 0
        self._total: int | None = None
        self._next_progress = reactor.seconds() + PROGRESS_SECONDS
        self._body: ReceivedBody | None = None
        self._whole: Deferred[None] = Deferred()

    async def run(self, device: Requester, head: RequestHead, content: Content) -> ExitCode:
        """Ask, and write what is answered.

        :raises PorttunnelError: there is no answer, or no whole one.
        """
        if content.length:
            head = _with_length(head, content.length)
        try:
            self._tell_waiting(connected=False)
            request = await device.request(head)
            try:
                self._tell_waiting(connected=True)
                content.send(request.writer)
                response = await request.response()
                self._waited = None
                self._begin(response.head, response.body)
                await self._whole
            except BaseException:
                # Whatever it was: nobody waits for the rest.
                request.cancel()
                raise
            await self._output.finish()
        except BaseException:
            self._output.discard()
            raise
        finally:
            self._waited = None
            content.close()
        success = response.head.status in self._allowed
        done = "" if self._output.name == "-" else text.WRITTEN
        if success:
            said = done.format(path=self._output.name, bytes=format_bytes(self._count))
            self._dialogue.tell_done(said)
        return ExitCode.DONE if success else ExitCode.FAILED

    def receive_event(self, happened: DeviceEvent) -> None:
        """Something happened to the device."""
        match happened:
            case DeviceConnected():
                self._tell_link(None, up=True)
            case DeviceDisconnected(error=error):
                self._tell_link(error, up=False)

    # BodyReceiver

    def body_received(self, data: bytes) -> None:
        try:
            self._output.write(data)
        except ConfigurationError as error:
            self._fail(error)
            return
        self._count += len(data)
        if not self._quiet and self._reactor.seconds() >= self._next_progress:
            self._next_progress = self._reactor.seconds() + PROGRESS_SECONDS
            self._dialogue.tell_progress(self._output.name, self._count, self._total)

    def body_ended(self, trailers: Fields) -> None:
        if not self._whole.called:
            self._whole.callback(None)

    def body_broken(self, error: PorttunnelError) -> None:
        self._fail(error)

    # Inside

    def _tell_waiting(self, *, connected: bool) -> None:
        if self._waited is not None:
            self._dialogue.tell_waiting(self._waited, connected=connected)

    def _tell_link(self, error: PorttunnelError | None, *, up: bool) -> None:
        if self._waited is not None and self._link_up is not up:
            self._link_up = up
            reason = "" if error is None else str(error)
            self._dialogue.tell_link(self._waited, up=up, reason=reason)

    def _begin(self, head: ResponseHead, body: ReceivedBody) -> None:
        self._dialogue.tell_response(head, wanted=self._include)
        lengths = [value for name, value in head.fields if name == b"content-length"]
        if len(lengths) == 1 and lengths[0].isdigit():
            self._total = int(lengths[0])
        self._body = body
        self._output.on_full(self._hold)
        body.deliver(self)

    def _hold(self, full: bool) -> None:
        if self._body is not None:
            (self._body.pause if full else self._body.resume)()

    def _fail(self, error: PorttunnelError) -> None:
        if not self._whole.called:
            self._whole.errback(error)


def _with_length(head: RequestHead, length: int) -> RequestHead:
    fields = ((b"content-length", b"%d" % length), *head.fields)
    return RequestHead(head.method, head.scheme, head.authority, head.path, fields)


def _parse_field(field: str) -> tuple[bytes, bytes]:
    name, colon, value = field.partition(":")
    if not colon or not name.strip():
        raise ConfigurationError(text.BAD_FIELD.format(field=field))
    return as_given(name.strip().lower()), as_given(value.strip())
