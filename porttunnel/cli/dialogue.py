"""What `share` and `join` tell whoever started them, and ask: a person or a program."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from porttunnel.cli.member_list import MemberState
from porttunnel.errors import PorttunnelError
from porttunnel.session.code import SessionCode
from porttunnel.session.event import PathKind
from porttunnel.session.record import Service

__all__ = ["Commands", "Dialogue"]


class Commands(Protocol):
    """What may be said unasked. Those of `share` fail in `join`, with LocalProtocolError."""

    def kick(self, member: int) -> None:
        """Put a member out; :raises LocalProtocolError: it is not in the session."""

    def lock(self, locked: bool) -> None:
        """Let nobody new in, or do again."""

    def list_members(self) -> None:
        """Tell who is in."""

    def close(self) -> None:
        """End or leave the session."""


class Dialogue(Protocol):
    """Implemented for a terminal and for JSON. Answers are Deferreds; ``forget`` voids them."""

    def begin(self, commands: Commands) -> None:
        """From now on commands may come."""

    # of both

    def tell_connecting(self, server: str) -> None:
        """The tunnel server at this address is being asked; what comes of it is told next."""

    def show_digits(self, member: int, digits: str, *, first: bool) -> None:
        """SAS: read these out. ``first``: the other side's are asked for afterwards."""

    def ask_digits(self, member: int, *, first: bool) -> Deferred[str | None]:
        """SAS: what the other side reads out; None if nobody can answer."""

    def tell_wrong_digits(self, member: int, tries_left: int) -> None:
        """Another try is possible."""

    def tell_link(self, *, up: bool, reason: str) -> None:
        """The connection to the tunnel server is lost, or back; ``reason`` of the former."""

    def tell_away(self, member: int, name: str, *, away: bool) -> None:
        """Somebody has lost their connection, or is back."""

    def tell_path(self, member: int, name: str, path: PathKind, reason: str) -> None:
        """Packets go another way."""

    def tell_error(self, error: PorttunnelError) -> None:
        """Why the command ends."""

    def tell_done(self, reason: str) -> None:
        """The command ends as wanted."""

    # of `share`

    def tell_session(self, code: SessionCode, link: SessionCode | None) -> None:
        """A new invitation; the former is void."""

    def ask_consent(self, member: int, name: str) -> Deferred[bool]:
        """May it come in?"""

    def tell_decided(self, name: str, *, once: bool) -> None:
        """Decided without asking: let in by ``--yes``, or out by ``--once``."""

    def tell_joined(self, member: int, name: str) -> None:
        """A client is in."""

    def tell_left(self, member: int, name: str | None, reason: str, *, cut_off: bool) -> None:
        """A client is out; ``name`` is None if it never was in; ``cut_off``: no goodbye."""

    def tell_failed_run(self, member: int) -> None:
        """Somebody could not be verified."""

    def tell_members(self, members: Iterable[MemberState], *, locked: bool) -> None:
        """Who is in, because it was asked."""

    def tell_locked(self, locked: bool) -> None:
        """Nobody new may come in, or people may again."""

    def tell_too_slow(self, member: int, name: str, error: PorttunnelError) -> None:
        """A member gets nothing more of the broadcast."""

    def tell_broadcast(self, *, ended: bool) -> None:
        """The broadcast of standard input begins, or all have all of it."""

    def ask_resume(self, wrong_tries: int) -> Deferred[bool]:
        """After too many wrong tries: may people try again?"""

    def forget(self, member: int) -> None:
        """Its questions are void."""

    # of `join`

    def ask_code(self, why: str, tries_left: int | None) -> Deferred[str | None]:
        """A code; ``why`` it is asked again, empty at first. None if nobody can answer."""

    def tell_way(self, number: int, *, rejoin: bool) -> None:
        """A number was given: whether we come back with a ticket, or digits are read out."""

    def tell_verified(self, name: str) -> None:
        """The other side knows the code; its user is being asked."""

    def tell_welcome(self, member: int, name: str, services: Sequence[Service]) -> None:
        """We are in."""

    def tell_listening(self, service: Service, host: str, port: int) -> None:
        """A service has a port of this machine."""

    def tell_not_forwarded(self, service: Service) -> None:
        """A service has none."""

    def tell_refused(self, service: str, error: PorttunnelError) -> None:
        """A connection to a service was refused; the session goes on."""
