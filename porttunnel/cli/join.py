"""`porttunnel join`: come in with a code, give each shared service a port of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from porttunnel.cli import text
from porttunnel.cli.broadcast_output import BroadcastOutput
from porttunnel.cli.code_option import given_code
from porttunnel.cli.dialogue import Dialogue
from porttunnel.cli.exit_code import ExitCode, exit_code_of
from porttunnel.cli.forward_option import LOOPBACK, Forward, parse_forward
from porttunnel.cli.json_dialogue import JsonDialogue
from porttunnel.cli.local_ports import LocalPorts
from porttunnel.cli.program import leave, run_program
from porttunnel.cli.setting import (
    data_dir_option,
    default_data_dir,
    direct_option,
    explain_unreachable,
    json_dialogue_option,
    name_option,
    read_server,
    server_option,
)
from porttunnel.cli.standard_streams import StandardStreams
from porttunnel.cli.terminal_dialogue import TerminalDialogue
from porttunnel.cli.ticket_file import RememberedSession, TicketFile
from porttunnel.cli.wrong_use import CommandWithJson, WrongUse
from porttunnel.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConsentRefused,
    CutOff,
    LocalProtocolError,
    MistypedCode,
    NoSuchNumber,
    NotTakenBack,
    PorttunnelError,
    SessionEnded,
)
from porttunnel.keys.hybrid import HybridPrivateKey
from porttunnel.net.client import JoinedSession
from porttunnel.net.client import join as join_session
from porttunnel.net.server_address import DEFAULT_SERVER
from porttunnel.session import event
from porttunnel.session.code import CodeKind, SessionCode, parse_code
from porttunnel.session.packet import MASTER
from porttunnel.session.rejoin import RejoinTicket

__all__ = ["Joining", "join"]

_log = Logger()


# What a master's BYE says to a client that its user put out; docs/session-protocol, section 8.
PUT_OUT_REASON = "put out by the other side"
_VOID = (AuthenticationFailed, NoSuchNumber, SessionEnded)  # no ticket helps any more


class Joining:
    """One run of the command; a :class:`porttunnel.cli.dialogue.Commands`.

    :param dialogue: with whoever started it.
    :param code: of the command line (a number) or the environment; None: it is asked for.
    :param interactive: whether a person can type again what was mistyped.
    :param forwards: ports that are wished; none: each service gets a free one.
    :param ticket: takes the code's place.
    :param remember: the folder in which to keep a ticket, or None.
    :param output: takes what is broadcast.
    """

    def __init__(
        self,
        dialogue: Dialogue,
        *,
        code: str | None,
        interactive: bool,
        forwards: Sequence[Forward],
        ticket: RejoinTicket | None = None,
        remember: Path | None = None,
        output: BroadcastOutput | None = None,
    ) -> None:
        self._dialogue = dialogue
        self._given = code
        self._interactive = interactive
        self._ticket = ticket
        self._remember = remember
        self._output = output
        self._server = ""
        self._session: JoinedSession | None = None
        self._number = 0 if ticket is None else ticket.number
        self._ports = LocalPorts(dialogue, forwards)
        self._entering: Deferred[JoinedSession] | None = None
        self._in = False
        self._closing = False
        self._end_reason = ""

    async def run(self, reactor: Any, server: str, **options: Any) -> ExitCode:
        """Join, forward, and stay until the session ends, or until cancelled.

        :param options: of :func:`porttunnel.net.client.join`.
        :returns: how it ended.
        """
        self._server = server
        try:
            # Before the code is there: who started us may think better of it at any time.
            self._dialogue.begin(self)
            self._entering = Deferred.fromCoroutine(self._enter(reactor, server, options))
            session = await self._entering
            await self._ports.open(reactor, session)
            done = await self._stay(session)
        except PorttunnelError as error:
            return self._fail(error)
        except CancelledError:
            if not self._in and not self._closing:
                raise
            if self._in and self._output is not None:
                return self._fail(CutOff(text.BROADCAST_LEFT))
            done = text.LEFT
        finally:
            await self._leave()
        if self._output is not None:
            await self._output.flush()
        self._dialogue.tell_done(done)
        return ExitCode.DONE

    def kick(self, member: int) -> None:
        raise LocalProtocolError(text.ONLY_WHO_SHARES)

    def lock(self, locked: bool) -> None:
        raise LocalProtocolError(text.ONLY_WHO_SHARES)

    def list_members(self) -> None:
        raise LocalProtocolError(text.ONLY_WHO_SHARES)

    def close(self) -> None:
        self._closing = True
        if self._in and self._session is not None:
            self._session.close()
        elif self._entering is not None:
            # Whatever it waits for: a code, the server, the other user's yes.
            self._entering.cancel()

    async def _enter(self, reactor: Any, server: str, options: dict[str, Any]) -> JoinedSession:
        await self._ports.check(reactor)
        # Made while the user types.
        key = deferToThread(HybridPrivateKey.generate)
        code = await self._first_code()
        self._dialogue.tell_connecting(server)
        try:
            return await join_session(
                reactor,
                server,
                code,
                ask_again=self._ask_again,
                on_event=self._receive_event,
                key=key,
                ticket=self._ticket,
                **options,
            )
        except _VOID as error:
            if self._ticket is None:
                raise
            self._forget_ticket()
            raise NotTakenBack(text.NOT_TAKEN_BACK.format(number=self._ticket.number)) from error

    async def _stay(self, session: JoinedSession) -> str:
        """Until it ends; how it did.

        :raises PorttunnelError: not as wished.
        """
        output = self._output
        try:
            await (session.when_done() if output is None else output.when_ended(session))
        except SessionEnded:
            self._forget_ticket()
            raise
        except CutOff:
            if self._closing:
                raise CutOff(text.BROADCAST_LEFT) from None
            if not self._end_reason:
                raise
            self._forget_ticket()
            if self._end_reason != PUT_OUT_REASON:
                raise
        if self._end_reason == PUT_OUT_REASON:
            self._forget_ticket()
            raise ConsentRefused(text.PUT_OUT)
        if output is not None:
            return text.BROADCAST_ENDED
        if not self._closing:
            self._forget_ticket()
        return text.SESSION_CLOSED.format(reason=self._end_reason)

    def _keep_ticket(self, folder: Path, ticket: RejoinTicket) -> None:
        self._number = ticket.number
        try:
            TicketFile(folder, ticket.number).write(self._server, ticket)
        except ConfigurationError as error:
            # We are in all the same.
            self._dialogue.tell_error(error)

    def _forget_ticket(self) -> None:
        if self._remember is not None and self._number:
            TicketFile(self._remember, self._number).remove()

    def _fail(self, error: PorttunnelError) -> ExitCode:
        self._dialogue.tell_error(explain_unreachable(error, self._server))
        return exit_code_of(error)

    async def _leave(self) -> None:
        await self._ports.close()
        if self._session is not None:
            await leave(self._session)

    # The code

    async def _first_code(self) -> SessionCode:
        if self._given is not None:
            return parse_code(self._given)
        code = await self._ask_code("", None)
        if code is None:
            raise ConfigurationError(text.CODE_INPUT_ENDED)
        return code

    async def _ask_again(self, error: AuthenticationFailed, tries_left: int) -> SessionCode | None:
        if self._given is not None:
            # Nobody types it: another run would give a false master another guess.
            return None
        code = await self._ask_code(str(error), tries_left)
        self._dialogue.tell_connecting(self._server)
        return code

    async def _ask_code(self, why: str, tries_left: int | None) -> SessionCode | None:
        while True:
            typed = await self._dialogue.ask_code(why, tries_left)
            if typed is None:
                return None
            tries_left = None
            try:
                code = parse_code(typed)
            except MistypedCode as error:
                if not self._interactive:
                    raise
                why = str(error)
                continue
            if code.kind is not CodeKind.SAS or not self._interactive:
                return code
            # Half a code, most often: as a number it would cost a try.
            why = text.NUMBER_ALONE.format(number=code.number)

    # What happens

    def _receive_event(self, session: JoinedSession, happened: Any) -> None:
        self._session = session
        match happened:
            case event.DigitsShown(member=member, digits=digits):
                self._dialogue.show_digits(member, digits, first=True)
            case event.DigitsAsked(member=member):
                self._ask_digits(member)
            case event.DigitsWrong(member=member, tries_left=tries_left):
                self._dialogue.tell_wrong_digits(member, tries_left)
                self._ask_digits(member)
            case event.Verified(master_name=name):
                self._dialogue.tell_verified(name)
            case event.Welcomed(member=member, master_name=name, services=services):
                self._in = True
                self._dialogue.tell_welcome(member, name, services)
                if self._remember is not None:
                    self._keep_ticket(self._remember, session.ticket)
                if self._output is not None:
                    self._output.begin(session)
            case event.PathChanged(member=member, path=path, reason=reason):
                self._dialogue.tell_path(member, session.master_name, path, reason)
            case event.LinkLost(error=error):
                self._dialogue.tell_link(up=False, reason=str(error))
            case event.LinkRestored():
                self._dialogue.tell_link(up=True, reason="")
            case event.MemberAway(member=member):
                self._dialogue.tell_away(member, session.master_name, away=True)
            case event.MemberBack(member=member):
                self._dialogue.tell_away(member, session.master_name, away=False)
            case event.SessionFinished(reason=reason):
                self._end_reason = reason
            case event.ConnectionFailed():
                self._dialogue.forget(MASTER)

    def _ask_digits(self, member: int) -> None:
        answered = self._dialogue.ask_digits(member, first=False)
        answered.addCallback(self._enter_digits)
        answered.addErrback(lambda failure: _log.failure("the digits", failure))

    def _enter_digits(self, digits: str | None) -> None:
        session = self._session
        if session is None:
            return
        if digits is None:
            session.close()
            return
        try:
            session.enter_digits(digits)
        except LocalProtocolError:
            return  # the run has ended while they were typed; that was told


@click.command(cls=CommandWithJson, help=text.JOIN_HELP)
@click.argument("number", required=False)
@server_option
@click.option(
    "--forward",
    "forwards",
    multiple=True,
    type=parse_forward,
    metavar="[HOST:]PORT=NAME",
    help=text.FORWARD_OPTION,
)
@click.option("--socks", metavar="PORT", type=click.IntRange(0, 65_535), help=text.SOCKS_OPTION)
@click.option("--code", metavar="-", help=text.CODE_OPTION)
@click.option("--remember", is_flag=True, help=text.REMEMBER_JOIN_OPTION)
@click.option("--broadcast-stdout", is_flag=True, help=text.BROADCAST_STDOUT_OPTION)
@direct_option
@name_option
@json_dialogue_option
@data_dir_option
def join(
    *,
    number: str | None,
    server: str | None,
    forwards: Sequence[Forward],
    socks: int | None,
    code: str | None,
    remember: bool,
    broadcast_stdout: bool,
    no_direct: bool,
    name: str | None,
    as_json: bool,
    data_dir: Path | None,
) -> int:
    """See text.JOIN_HELP."""
    wanted = list(forwards)
    if socks is not None:
        wanted.append(Forward(LOOPBACK, socks, None))

    async def run(reactor: Any, streams: StandardStreams) -> ExitCode:
        output = BroadcastOutput(streams) if broadcast_stdout else None
        dialogue: Dialogue = (
            JsonDialogue(streams) if as_json else TerminalDialogue(reactor, streams)
        )
        if number is not None:
            dialogue.tell_way(parse_code(number).number, rejoin=remembered is not None)
        joining = Joining(
            dialogue,
            code=given,
            interactive=streams.interactive and not as_json,
            forwards=wanted,
            ticket=None if remembered is None else remembered.ticket,
            # Who came back with a ticket has used it up: another one takes its place.
            remember=folder if remember or remembered is not None else None,
            output=output,
        )
        return await joining.run(reactor, address, name=name, direct=not no_direct)

    given = given_code(number, code, as_json)
    folder = data_dir or default_data_dir()
    try:
        if given is not None:
            parse_code(given)
        remembered = None if number is None else _find_ticket(folder, number)
        if remembered is not None:
            server = server or remembered.server
        address = read_server(server, data_dir, DEFAULT_SERVER)
    except PorttunnelError as error:
        raise WrongUse(error) from None
    return run_program(run)


def _find_ticket(folder: Path, number: str) -> RememberedSession | None:
    return TicketFile(folder, parse_code(number).number).read()
