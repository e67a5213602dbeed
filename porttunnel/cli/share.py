"""`porttunnel share`: open a session, show its code, decide who comes in."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from porttunnel.cli import text
from porttunnel.cli.dialogue import Dialogue
from porttunnel.cli.exit_code import ExitCode, exit_code_of
from porttunnel.cli.json_dialogue import JsonDialogue
from porttunnel.cli.program import run_program
from porttunnel.cli.service_address import format_services
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
from porttunnel.errors import LocalProtocolError, PorttunnelError
from porttunnel.net.master import SharedSession
from porttunnel.net.master import share as open_session
from porttunnel.net.offer import Offer, parse_offer
from porttunnel.net.server_address import DEFAULT_SERVER
from porttunnel.session import event

__all__ = ["Sharing", "share"]

_log = Logger()


class Sharing:
    """One run of the command; a :class:`porttunnel.cli.dialogue.Commands`.

    :param dialogue: with whoever started it.
    :param yes: let everybody in.
    :param once: let one in, end when it leaves.
    """

    def __init__(self, dialogue: Dialogue, *, yes: bool, once: bool) -> None:
        self._dialogue = dialogue
        self._yes = yes
        self._once = once
        self._session: SharedSession | None = None
        self._names: dict[int, str] = {}
        self._taken: int | None = None  # --once: who was let in

    async def run(
        self, reactor: Any, server: str, offers: Sequence[Offer], name: str | None, sas: bool
    ) -> ExitCode:
        """Share until the session ends, or until cancelled.

        :returns: how it ended.
        """
        try:
            self._session = await open_session(
                reactor,
                server,
                offers,
                on_consent=self._decide,
                on_event=self._receive_event,
                name=name,
                sas=sas,
            )
            self._dialogue.begin(self)
            await self._session.when_done()
        except PorttunnelError as error:
            self._dialogue.tell_error(error)
            return exit_code_of(error)
        except CancelledError:
            if self._session is None:
                raise
        finally:
            await self._leave()
        self._dialogue.tell_done(text.SHARE_ENDED)
        return ExitCode.DONE

    def kick(self, member: int) -> None:
        self._opened().kick(member)

    def close(self) -> None:
        self._opened().close()

    async def _leave(self) -> None:
        if self._session is None:
            return
        # What it ended with, if it has ended already, is told elsewhere.
        with suppress(PorttunnelError):
            await self._session.close()
        await self._session.when_disconnected()

    def _opened(self) -> SharedSession:
        if self._session is None:
            raise LocalProtocolError("there is no session yet")
        return self._session

    def _decide(self, asked: event.ConsentAsked) -> bool | Awaitable[bool]:
        if self._once and self._taken is not None:
            self._dialogue.tell_decided(asked.name, once=True)
            return False
        if self._yes:
            # Not only when it has joined: another may have asked in the same moment.
            self._taken = asked.member
            self._dialogue.tell_decided(asked.name, once=False)
            return True
        return self._ask_consent(asked)

    async def _ask_consent(self, asked: event.ConsentAsked) -> bool:
        yes = await self._dialogue.ask_consent(asked.member, asked.name)
        # While this one waited another may have been let in.
        return yes and not (self._once and self._taken is not None)

    def _receive_event(self, happened: Any) -> None:
        dialogue = self._dialogue
        match happened:
            case event.InvitationMade(code=code, link=link):
                dialogue.tell_session(code, link)
            case event.DigitsAsked(member=member):
                self._begin(self._ask_digits(member))
            case event.DigitsShown(member=member, digits=digits):
                dialogue.show_digits(member, digits, first=False)
            case event.DigitsWrong(member=member, tries_left=tries_left):
                dialogue.tell_wrong_digits(member, tries_left)
                self._begin(self._ask_digits(member))
            case event.MemberJoined(member=member, name=name):
                self._taken = member
                self._names[member] = name
                dialogue.tell_joined(member, name)
            case event.MemberLeft(member=member, reason=reason, cut_off=cut_off):
                self._receive_left(member, reason, cut_off=cut_off)
            case event.RunFailed(member=member):
                dialogue.forget(member)
                dialogue.tell_failed_run(member)
            case event.JoiningPaused(wrong_tries=wrong_tries):
                self._begin(self._ask_resume(wrong_tries))

    def _receive_left(self, member: int, reason: str, *, cut_off: bool) -> None:
        name = self._names.pop(member, None)
        self._dialogue.forget(member)
        self._dialogue.tell_left(member, name, reason, cut_off=cut_off)
        if name is None and member == self._taken:
            self._taken = None  # it has gone before it was in: the place is free again
        if self._once and name is not None:
            self.close()

    async def _ask_digits(self, member: int) -> None:
        digits = await self._dialogue.ask_digits(member, first=True)
        session = self._opened()
        try:
            if digits is None:
                session.kick(member)
            else:
                session.enter_digits(member, digits)
        except LocalProtocolError:
            return  # it has gone while the digits were typed; that was told

    async def _ask_resume(self, wrong_tries: int) -> None:
        if await self._dialogue.ask_resume(wrong_tries):
            self._opened().allow_joining()

    def _begin(self, question: Any) -> None:
        asking = Deferred.fromCoroutine(question)
        asking.addErrback(lambda failure: _log.failure("a question failed", failure))


@click.command(cls=CommandWithJson, help=text.SHARE_HELP)
@click.argument("targets", nargs=-1, required=True, metavar="[NAME=]TARGET...")
@server_option
@click.option("--yes", is_flag=True, help=text.YES_OPTION)
@click.option("--once", is_flag=True, help=text.ONCE_OPTION)
@click.option("--sas", is_flag=True, help=text.SAS_OPTION)
@name_option
@json_option
@data_dir_option
def share(
    *,
    targets: Sequence[str],
    server: str | None,
    yes: bool,
    once: bool,
    sas: bool,
    name: str | None,
    as_json: bool,
    data_dir: Path | None,
) -> int:
    """See text.SHARE_HELP."""

    async def run(reactor: Any, streams: StandardStreams) -> ExitCode:
        shown = None if address == DEFAULT_SERVER else address
        shared = format_services(offer.service for offer in offers)
        dialogue: Dialogue = (
            JsonDialogue(streams) if as_json else TerminalDialogue(streams, shown, shared)
        )
        return await Sharing(dialogue, yes=yes, once=once).run(reactor, address, offers, name, sas)

    try:
        address = read_server(server, data_dir, DEFAULT_SERVER)
        offers = [parse_offer(target) for target in targets]
    except PorttunnelError as error:
        raise WrongUse(error) from None
    return run_program(run)
