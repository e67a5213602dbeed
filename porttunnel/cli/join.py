"""`porttunnel join`: come in with a code, give each shared service a port of this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import click
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from porttunnel.cli import text
from porttunnel.cli.dialogue import Dialogue
from porttunnel.cli.exit_code import ExitCode, exit_code_of
from porttunnel.cli.forward_option import LOOPBACK, Forward, parse_forward
from porttunnel.cli.json_dialogue import JsonDialogue
from porttunnel.cli.program import run_program
from porttunnel.cli.service_address import format_services, is_port
from porttunnel.cli.setting import (
    data_dir_option,
    json_option,
    name_option,
    read_server,
    server_option,
)
from porttunnel.cli.standard_streams import StandardStreams
from porttunnel.cli.terminal_dialogue import TerminalDialogue
from porttunnel.cli.wrong_use import CommandWithJson, WrongUse
from porttunnel.errors import (
    AuthenticationFailed,
    ConfigurationError,
    LocalProtocolError,
    MistypedCode,
    PorttunnelError,
)
from porttunnel.keys.hybrid import HybridPrivateKey
from porttunnel.net.client import JoinedSession
from porttunnel.net.client import join as join_session
from porttunnel.net.forwarding import ForwardingFactory
from porttunnel.net.server_address import DEFAULT_SERVER
from porttunnel.session import event
from porttunnel.session.code import SessionCode, parse_code
from porttunnel.session.packet import MASTER
from porttunnel.session.record import Service

__all__ = ["Joining", "join"]

CODE_VARIABLE = "PORTTUNNEL_CODE"
_log = Logger()


class Joining:
    """One run of the command; a :class:`porttunnel.cli.dialogue.Commands`.

    :param dialogue: with whoever started it.
    :param code: of the command line (a number) or the environment; None: it is asked for.
    :param interactive: whether a person can type again what was mistyped.
    :param forwards: ports that are wished; none: each service gets a free one.
    """

    def __init__(
        self,
        dialogue: Dialogue,
        *,
        code: str | None,
        interactive: bool,
        forwards: Sequence[Forward],
    ) -> None:
        self._dialogue = dialogue
        self._given = code
        self._interactive = interactive
        self._forwards = forwards
        self._session: JoinedSession | None = None
        self._ports: list[IListeningPort] = []
        self._entering: Deferred[JoinedSession] | None = None
        self._in = False
        self._closing = False
        self._end_reason = ""

    async def run(self, reactor: Any, server: str, name: str | None) -> ExitCode:
        """Join, forward, and stay until the session ends, or until cancelled.

        :returns: how it ended.
        """
        try:
            # Before the code is there: who started us may think better of it at any time.
            self._dialogue.begin(self)
            self._entering = Deferred.fromCoroutine(self._enter(reactor, server, name))
            session = await self._entering
            await self._forward(reactor, session)
            await session.when_done()
        except PorttunnelError as error:
            self._dialogue.tell_error(error)
            return exit_code_of(error)
        except CancelledError:
            if not self._in and not self._closing:
                raise
            self._dialogue.tell_done(text.LEFT)
        else:
            self._dialogue.tell_done(text.SESSION_CLOSED.format(reason=self._end_reason))
        finally:
            await self._leave()
        return ExitCode.DONE

    def kick(self, member: int) -> None:
        raise LocalProtocolError("only who shares can put somebody out")

    def close(self) -> None:
        self._closing = True
        if self._in and self._session is not None:
            self._session.close()
        elif self._entering is not None:
            # Whatever it waits for: a code, the server, the other user's yes.
            self._entering.cancel()

    async def _enter(self, reactor: Any, server: str, name: str | None) -> JoinedSession:
        # Made while the user types.
        key = deferToThread(HybridPrivateKey.generate)
        return await join_session(
            reactor,
            server,
            await self._first_code(),
            name=name,
            ask_again=self._ask_again,
            on_event=self._receive_event,
            key=key,
        )

    async def _leave(self) -> None:
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        session = self._session
        if session is None:
            return
        # What it ended with, if it has ended already, is told elsewhere.
        with suppress(PorttunnelError):
            await session.close()
        await session.when_disconnected()

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
        return await self._ask_code(str(error), tries_left)

    async def _ask_code(self, why: str, tries_left: int | None) -> SessionCode | None:
        while True:
            typed = await self._dialogue.ask_code(why, tries_left)
            if typed is None:
                return None
            try:
                return parse_code(typed)
            except MistypedCode as error:
                if not self._interactive:
                    raise
                why, tries_left = str(error), None

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

    # Ports

    async def _forward(self, reactor: Any, session: JoinedSession) -> None:
        for service, forward in self._chosen(session.services):
            on_refused = partial(self._tell_refused, service.name)
            factory = ForwardingFactory(session, MASTER, service.name, on_refused)
            kind: Any = TCP6ServerEndpoint if ":" in forward.host else TCP4ServerEndpoint
            endpoint = kind(reactor, forward.port, interface=forward.host)
            try:
                port: Any = await endpoint.listen(factory)
            except (CannotListenError, OSError) as error:
                reason = getattr(error, "socketError", error)
                raise ConfigurationError(
                    text.PORT_NOT_FREE.format(port=forward.port, host=forward.host, reason=reason)
                ) from None
            self._ports.append(port)
            self._dialogue.tell_listening(service, forward.host, port.getHost().port)

    def _chosen(self, services: Sequence[Service]) -> list[tuple[Service, Forward]]:
        if not self._forwards:
            for service in services:
                if not is_port(service):
                    self._dialogue.tell_not_forwarded(service)
            return [(each, Forward(LOOPBACK, 0, each.name)) for each in services if is_port(each)]
        return [(_find(services, forward), forward) for forward in self._forwards]

    def _tell_refused(self, service: str, error: PorttunnelError) -> None:
        self._dialogue.tell_refused(service, error)


def _find(services: Sequence[Service], forward: Forward) -> Service:
    shared = format_services(services)
    for service in services:
        if service.name == forward.service or (
            forward.service is None and service.kind == "socks"
        ):
            return service
    if forward.service is None:
        raise ConfigurationError(text.NO_SOCKS.format(shared=shared))
    raise ConfigurationError(text.UNKNOWN_SERVICE.format(service=forward.service, shared=shared))


def _given_code(number: str | None, code: str | None, as_json: bool) -> str | None:
    """The code that is there already; None if it comes from standard input.

    :raises click.UsageError: none, two, or a secret on the command line.
    """
    if code is not None and code != "-":
        raise click.UsageError(text.CODE_NOT_MINUS)
    # Taken out: programs that we might start need not inherit it.
    from_environment = os.environ.pop(CODE_VARIABLE, None)
    if (number is not None) + (code is not None) + (from_environment is not None) > 1:
        raise click.UsageError(text.TWO_CODES)
    if number is not None and not _is_session_number(number):
        raise click.UsageError(text.SECRET_ARGUMENT)
    given = number or from_environment
    if given is None and code is None and as_json:
        raise click.UsageError(text.CODE_MISSING)
    return given


def _is_session_number(number: str) -> bool:
    try:
        parsed = parse_code(number)
    except MistypedCode:
        return False
    return not parsed.password


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
@name_option
@json_option
@data_dir_option
def join(
    *,
    number: str | None,
    server: str | None,
    forwards: Sequence[Forward],
    socks: int | None,
    code: str | None,
    name: str | None,
    as_json: bool,
    data_dir: Path | None,
) -> int:
    """See text.JOIN_HELP."""
    wanted = list(forwards)
    if socks is not None:
        wanted.append(Forward(LOOPBACK, socks, None))

    async def run(reactor: Any, streams: StandardStreams) -> ExitCode:
        dialogue: Dialogue = JsonDialogue(streams) if as_json else TerminalDialogue(streams, None)
        interactive = streams.interactive and not as_json
        joining = Joining(dialogue, code=given, interactive=interactive, forwards=wanted)
        return await joining.run(reactor, address, name)

    given = _given_code(number, code, as_json)
    try:
        address = read_server(server, data_dir, DEFAULT_SERVER)
        if given is not None:
            parse_code(given)
    except PorttunnelError as error:
        raise WrongUse(error) from None
    return run_program(run)
