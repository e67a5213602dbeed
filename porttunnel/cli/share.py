"""`porttunnel share`: open a session, show its code, decide who comes in."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any

import click
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from porttunnel.cli import text
from porttunnel.cli.dialogue import Dialogue
from porttunnel.cli.exit_code import ExitCode, exit_code_of
from porttunnel.cli.json_dialogue import JsonDialogue
from porttunnel.cli.member_list import MemberList
from porttunnel.cli.program import leave, run_program
from porttunnel.cli.service_address import format_services
from porttunnel.cli.setting import (
    data_dir_option,
    direct_option,
    explain_unreachable,
    json_dialogue_option,
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
from porttunnel.net.offer import Offer, parse_offers
from porttunnel.net.server_address import DEFAULT_SERVER
from porttunnel.session import event

__all__ = ["Sharing", "share"]

_log = Logger()


class Sharing:
    """One run of the command; a :class:`porttunnel.cli.dialogue.Commands`.

    :param dialogue: with whoever started it.
    :param yes: let everybody in.
    :param once: let one in, end when it leaves.
    :param broadcast: standard input, if it is to be broadcast.
    """

    def __init__(
        self,
        dialogue: Dialogue,
        *,
        yes: bool,
        once: bool,
        broadcast: StandardStreams | None = None,
    ) -> None:
        self._dialogue = dialogue
        self._yes = yes
        self._once = once
        self._broadcast = broadcast
        self._session: SharedSession | None = None
        self._members = MemberList()
        self._locked = False
        self._taken: int | None = None  # --once: who was let in

    async def run(
        self, reactor: Any, server: str, offers: Sequence[Offer], **options: Any
    ) -> ExitCode:
        """Share until the session ends, or until cancelled.

        :param options: of :func:`porttunnel.net.master.share`.
        :returns: how it ended.
        """
        self._dialogue.tell_connecting(server)
        try:
            session = self._session = await open_session(
                reactor,
                server,
                offers,
                on_consent=self._decide,
                on_event=self._receive_event,
                **options,
            )
            if self._broadcast is None:
                self._dialogue.begin(self)
            else:
                self._begin_broadcast(session, self._broadcast, and_end=not offers)
            await session.when_done()
        except PorttunnelError as error:
            self._dialogue.tell_error(explain_unreachable(error, server))
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

    def lock(self, locked: bool) -> None:
        self._opened().lock(locked)
        self._locked = locked
        self._dialogue.tell_locked(locked)

    def list_members(self) -> None:
        session = self._opened()
        for state in self._members:
            streams = session.streams_with(state.member)
            state.sent_bytes = streams.sent_bytes
            state.received_bytes = streams.received_bytes
        self._dialogue.tell_members(self._members, locked=self._locked)

    def close(self) -> None:
        self._opened().close()

    def _begin_broadcast(
        self, session: SharedSession, streams: StandardStreams, *, and_end: bool
    ) -> None:
        def end(_: None) -> None:
            self._dialogue.tell_broadcast(ended=True)
            if and_end:
                session.close()

        writer = session.broadcast()
        # If the session ends before it, that is told as the session's end.
        writer.when_done().addCallbacks(end, lambda failure: failure.trap(PorttunnelError))
        self._dialogue.tell_broadcast(ended=False)
        streams.send_input_to(writer)

    async def _leave(self) -> None:
        if self._session is not None:
            await leave(self._session)

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
                self._members.add(member, name)
                dialogue.tell_joined(member, name)
            case event.MemberLeft(member=member, reason=reason, cut_off=cut_off):
                self._receive_left(member, reason, cut_off=cut_off)
            case event.MemberAway(member=member):
                self._set_away(member, True)
            case event.MemberBack(member=member):
                self._set_away(member, False)
            case event.PathChanged(member=member, path=path, reason=reason):
                self._set_path(member, path, reason)
            case event.LinkLost(error=error):
                dialogue.tell_link(up=False, reason=str(error))
            case event.LinkRestored():
                dialogue.tell_link(up=True, reason="")
            case event.BroadcastDropped(member=member, error=error):
                state = self._members.find(member)
                dialogue.tell_too_slow(member, "" if state is None else state.name, error)
            case event.RunFailed(member=member):
                dialogue.forget(member)
                dialogue.tell_failed_run(member)
            case event.JoiningPaused(wrong_tries=wrong_tries):
                self._begin(self._ask_resume(wrong_tries))

    def _receive_left(self, member: int, reason: str, *, cut_off: bool) -> None:
        name = self._members.remove(member)
        self._dialogue.forget(member)
        self._dialogue.tell_left(member, name, reason, cut_off=cut_off)
        if name is None and member == self._taken:
            self._taken = None  # it has gone before it was in: the place is free again
        if self._once and name is not None:
            # Who comes back with a ticket is in anew before the events of this moment end.
            self._opened().at_events_end(self._end_if_empty)

    def _end_if_empty(self) -> None:
        if not self._members:
            self.close()

    def _set_away(self, member: int, away: bool) -> None:
        state = self._members.find(member)
        if state is not None:
            state.away = away
            self._dialogue.tell_away(member, state.name, away=away)

    def _set_path(self, member: int, path: event.PathKind, reason: str) -> None:
        state = self._members.find(member)
        if state is not None:
            state.path = path
            self._dialogue.tell_path(member, state.name, path, reason)

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
@click.argument("targets", nargs=-1, metavar="[NAME=]TARGET...")
@server_option
@click.option("--yes", is_flag=True, help=text.YES_OPTION)
@click.option("--once", is_flag=True, help=text.ONCE_OPTION)
@click.option("--sas", is_flag=True, help=text.SAS_OPTION)
@click.option("--remember", is_flag=True, help=text.REMEMBER_SHARE_OPTION)
@click.option("--broadcast-stdin", is_flag=True, help=text.BROADCAST_STDIN_OPTION)
@direct_option
@name_option
@json_dialogue_option
@data_dir_option
def share(
    *,
    targets: Sequence[str],
    server: str | None,
    yes: bool,
    once: bool,
    sas: bool,
    remember: bool,
    broadcast_stdin: bool,
    no_direct: bool,
    name: str | None,
    as_json: bool,
    data_dir: Path | None,
) -> int:
    """See text.SHARE_HELP."""

    async def run(reactor: Any, streams: StandardStreams) -> ExitCode:
        if broadcast_stdin:
            streams.reserve_input()
        shown = None if address == DEFAULT_SERVER else address
        shared = format_services(offer.service for offer in offers)
        dialogue: Dialogue = (
            JsonDialogue(streams) if as_json else TerminalDialogue(reactor, streams, shown, shared)
        )
        broadcast = streams if broadcast_stdin else None
        sharing = Sharing(dialogue, yes=yes, once=once, broadcast=broadcast)
        return await sharing.run(
            reactor,
            address,
            offers,
            name=name,
            sas=sas,
            direct=not no_direct,
            remember=remember,
        )

    if broadcast_stdin and (sas or not yes):
        raise click.UsageError(text.BROADCAST_NEEDS_YES)
    if not targets and not broadcast_stdin:
        raise click.UsageError(text.NOTHING_TO_SHARE)
    try:
        address = read_server(server, data_dir, DEFAULT_SERVER)
        offers = parse_offers(targets)
    except PorttunnelError as error:
        raise WrongUse(error) from None
    return run_program(run)
