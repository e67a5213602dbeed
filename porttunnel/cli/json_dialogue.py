"""The dialogue with a program: one JSON object a line, both ways (docs/sharing)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from porttunnel.cli import text
from porttunnel.cli.dialogue import Commands
from porttunnel.cli.exit_code import word_of
from porttunnel.cli.member_list import MemberState
from porttunnel.cli.service_address import format_host_port, is_web
from porttunnel.cli.standard_streams import StandardStreams
from porttunnel.errors import LocalProtocolError, PorttunnelError
from porttunnel.session.code import CodeKind, SessionCode, format_code, format_link
from porttunnel.session.event import PathKind
from porttunnel.session.packet import MASTER
from porttunnel.session.record import Service

__all__ = ["JsonDialogue", "format_event"]

FIRST_REASON = "at first all goes through the tunnel server"
NOBODY = 0  # a question that belongs to no member
_log = Logger()
_T = TypeVar("_T")

Member = Annotated[int, Meta(ge=1, le=0xFFFD)]


class _Command(msgspec.Struct, forbid_unknown_fields=True):
    accept: Member | None = None
    refuse: Member | None = None
    sas: Annotated[str, Meta(max_length=32)] | None = None
    member: Member = MASTER
    kick: Member | None = None
    lock: bool | None = None
    members: bool = False
    resume: bool = False
    close: bool = False


class JsonDialogue:
    """See :class:`porttunnel.cli.dialogue.Dialogue`.

    :param streams: standard input and output.
    """

    def __init__(self, streams: StandardStreams) -> None:
        self._streams = streams
        self._commands: Commands | None = None
        self._reading = False
        self._input_ended = False
        self._code: Deferred[str | None] | None = None
        self._consents: dict[int, Deferred[bool]] = {}
        self._digits: dict[int, Deferred[str | None]] = {}

    def begin(self, commands: Commands) -> None:
        self._commands = commands
        self._begin_reading()

    # of both

    def show_digits(self, member: int, digits: str, *, first: bool) -> None:
        self._tell("sas", member=member, digits=digits)

    def ask_digits(self, member: int, *, first: bool) -> Deferred[str | None]:
        if first:
            # Ours are shown only once theirs are right: the event without digits asks for them.
            self._tell("sas", member=member, digits=None)
        return self._ask(self._digits, member, None)

    def tell_wrong_digits(self, member: int, tries_left: int) -> None:
        line = text.SAS_WRONG.format(tries_left=tries_left)
        self._tell("error", code="wrong-digits", text=line, member=member, tries_left=tries_left)

    def tell_connecting(self, server: str) -> None:
        """Nothing: a program can wait."""

    def tell_link(self, *, up: bool, reason: str) -> None:
        if up:
            self._tell("link", up=True)
        else:
            self._tell("link", up=False, reason=reason)

    def tell_away(self, member: int, name: str, *, away: bool) -> None:
        self._tell("member-away" if away else "member-back", member=member)

    def tell_path(self, member: int, name: str, path: PathKind, reason: str) -> None:
        self._tell("path", member=member, path=path, reason=reason)

    def tell_error(self, error: PorttunnelError) -> None:
        self._tell("error", code=word_of(error), text=str(error))

    def tell_done(self, reason: str) -> None:
        self._tell("done", reason=reason)

    # of `share`

    def tell_session(self, code: SessionCode, link: SessionCode | None) -> None:
        self._tell(
            "session",
            number=code.number,
            code=format_code(code) if code.kind is not CodeKind.SAS else str(code.number),
            link=None if link is None else format_link(link),
        )

    def ask_consent(self, member: int, name: str) -> Deferred[bool]:
        self._tell("consent", member=member, name=name, verified=True)
        return self._ask(self._consents, member, False)

    def tell_decided(self, name: str, *, once: bool) -> None:
        """Nothing: what follows is told."""

    def tell_joined(self, member: int, name: str) -> None:
        self._tell("joined", member=member, name=name, verified=True, path=PathKind.RELAY)
        self._tell("path", member=member, path=PathKind.RELAY, reason=FIRST_REASON)

    def tell_left(self, member: int, name: str | None, reason: str, *, cut_off: bool) -> None:
        self._tell("left", member=member, name=name, reason=reason, cut_off=cut_off)

    def tell_failed_run(self, member: int) -> None:
        self._tell("error", code="join-failed", text=text.RUN_FAILED, member=member)

    def tell_members(self, members: Iterable[MemberState], *, locked: bool) -> None:
        self._tell("members", members=list(members), locked=locked)

    def tell_locked(self, locked: bool) -> None:
        self._tell("locked", locked=locked)

    def tell_too_slow(self, member: int, name: str, error: PorttunnelError) -> None:
        self._tell("error", code=word_of(error), text=str(error), member=member)

    def tell_broadcast(self, *, ended: bool) -> None:
        self._tell("broadcast", ended=ended)

    def ask_resume(self, wrong_tries: int) -> Deferred[bool]:
        line = text.JOINING_PAUSED_JSON.format(wrong_tries=wrong_tries)
        self._tell("error", code="joining-paused", text=line)
        return self._ask(self._consents, NOBODY, False)

    def forget(self, member: int) -> None:
        consent, digits = self._consents.pop(member, None), self._digits.pop(member, None)
        if consent is not None:
            consent.callback(False)
        if digits is not None:
            digits.callback(None)

    # of `join`

    def ask_code(self, why: str, tries_left: int | None) -> Deferred[str | None]:
        if tries_left is not None:
            self._tell("error", code="authentication-failed", text=why, tries_left=tries_left)
        code: Deferred[str | None] = Deferred()
        if self._input_ended:
            code.callback(None)
            return code
        self._code = code
        self._begin_reading()
        return code

    def tell_way(self, number: int, *, rejoin: bool) -> None:
        self._tell("joining", number=number, mode="rejoin" if rejoin else "sas")

    def tell_verified(self, name: str) -> None:
        """Nothing: ``joined`` follows, or an error."""

    def tell_welcome(self, member: int, name: str, services: Sequence[Service]) -> None:
        self._tell("joined", member=member, name=name, verified=True, path=PathKind.RELAY)
        self._tell("path", member=MASTER, path=PathKind.RELAY, reason=FIRST_REASON)

    def tell_listening(self, service: Service, host: str, port: int) -> None:
        address = format_host_port(host, port)
        url = f"http://{address}/" if is_web(service) else None
        self._tell("listening", service=service.name, address=address, url=url)

    def tell_not_forwarded(self, service: Service) -> None:
        """Nothing: a service without ``listening`` has no port."""

    def tell_refused(self, service: str, error: PorttunnelError) -> None:
        self._tell("error", code=word_of(error), text=str(error), service=service)

    # Inside

    def _tell(self, event: str, **fields: Any) -> None:
        self._streams.write(format_event(event, **fields))

    def _ask(self, waiting: dict[int, Deferred[_T]], member: int, otherwise: _T) -> Deferred[_T]:
        answered: Deferred[_T] = Deferred()
        if self._input_ended:
            answered.callback(otherwise)
        else:
            waiting[member] = answered
        return answered

    def _begin_reading(self) -> None:
        if not self._reading:
            self._reading = True
            reading = Deferred.fromCoroutine(self._read())
            reading.addErrback(lambda failure: _log.failure("a command failed", failure))

    async def _read(self) -> None:
        while (line := await self._streams.read_line()) is not None:
            stripped = line.strip()
            if self._code is not None and stripped and not stripped.startswith("{"):
                code, self._code = self._code, None
                code.callback(stripped)
            elif stripped:
                self._receive_command(stripped)
        self._end_input()

    def _receive_command(self, line: str) -> None:
        try:
            command = msgspec.json.decode(line, type=_Command)
        except msgspec.DecodeError as error:  # it never quotes values
            self._tell_usage(text.BAD_COMMAND.format(reason=error))
            return
        if command.accept is not None:
            self._answer(self._consents, command.accept, True)
        if command.refuse is not None:
            self._answer(self._consents, command.refuse, False)
        if command.resume:
            self._answer(self._consents, NOBODY, True)
        if command.sas is not None:
            self._answer(self._digits, command.member, "".join(command.sas.split()))
        if self._commands is not None:
            self._obey(self._commands, command)

    def _obey(self, commands: Commands, command: _Command) -> None:
        if command.kick is not None:
            try:
                commands.kick(command.kick)
            except LocalProtocolError:
                self._tell_usage(text.NO_SUCH_MEMBER.format(member=command.kick))
        try:
            if command.lock is not None:
                commands.lock(command.lock)
            if command.members:
                commands.list_members()
        except LocalProtocolError as error:
            self._tell_usage(str(error))
        if command.close:
            commands.close()

    def _answer(self, waiting: dict[int, Deferred[_T]], member: int, answer: _T) -> None:
        answered = waiting.pop(member, None)
        if answered is None:
            self._tell_usage(text.NOTHING_TO_DECIDE.format(member=member))
        else:
            answered.callback(answer)

    def _tell_usage(self, line: str) -> None:
        self._tell("error", code="usage", text=line)

    def _end_input(self) -> None:
        self._input_ended = True
        for member in [*self._consents, *self._digits]:
            self.forget(member)
        code, self._code = self._code, None
        if code is not None:
            code.callback(None)


def format_event(event: str, **fields: Any) -> str:
    """The line, with its end, that tells a program of an event."""
    return msgspec.json.encode({"event": event, **fields}).decode() + "\n"
