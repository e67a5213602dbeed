"""Joining as a library call: one code, up to three runs, each typed by somebody."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.threads import deferToThread

from porttunnel.errors import (
    AuthenticationFailed,
    CodeUsedUp,
    CutOff,
    PorttunnelError,
    SessionEnded,
)
from porttunnel.keys.hybrid import HybridPrivateKey
from porttunnel.net.broadcast import BroadcastListener
from porttunnel.net.direct import DirectDialler
from porttunnel.net.endpoints import StreamClientEndpoint, StreamServerEndpoint
from porttunnel.net.master import choose_name
from porttunnel.net.server_address import parse_server_address
from porttunnel.net.session import Session
from porttunnel.session import event
from porttunnel.session.client import MAX_RUNS_PER_CODE, ClientMachine, ClientState
from porttunnel.session.code import SessionCode, parse_code
from porttunnel.session.direct import DialledPath
from porttunnel.session.member import GIVE_UP_SECONDS
from porttunnel.session.multiplex import Multiplex
from porttunnel.session.packet import MASTER
from porttunnel.session.record import MemberName, Service
from porttunnel.session.rejoin import RejoinTicket

__all__ = ["JoinedSession", "join"]

AskAgain = Callable[[AuthenticationFailed, int], Awaitable[SessionCode | None]]
"""Called with the error and the tries that are left: lets the user type the code again."""


class JoinedSession(Session):
    """A session that we joined. Made by :func:`join`."""

    def __init__(
        self,
        reactor: Any,
        machine: ClientMachine,
        *,
        key: defer.Deferred[HybridPrivateKey],
        on_event: Callable[[JoinedSession, Any], None],
        direct: bool = True,
    ) -> None:
        super().__init__(reactor, machine, on_event=partial(on_event, self))
        self._dialler = DirectDialler(self, self._dial) if direct else None
        self._client = machine
        self._key = key
        self._listener: BroadcastListener | None = None
        self._welcomed: defer.Deferred[None] | None = defer.Deferred()
        self.services: tuple[Service, ...] = ()
        self.members: tuple[MemberName, ...] = ()
        self.master_name = ""

    @property
    def local_member(self) -> int:
        """Our member number: 2 and up."""
        return self._client.member

    @property
    def session_id(self) -> bytes:
        """16 bytes, the session's identity."""
        return self._client.session_id

    def streams_with(self, member: int) -> Multiplex:
        """The streams with the master: a client talks to nobody else."""
        return self._client.streams

    def endpoint(self, service: str) -> StreamClientEndpoint:
        """An ``IStreamClientEndpoint``: streams to a service of the master."""
        return StreamClientEndpoint(self, MASTER, service)

    def listen(self, service: str) -> StreamServerEndpoint:
        """An ``IStreamServerEndpoint``: the master's streams to a service of ours."""
        return StreamServerEndpoint(self, service)

    def enter_digits(self, digits: str) -> None:
        """SAS: what the master's user read out."""
        self._client.enter_digits(digits, self._reactor.seconds())
        self.flush()

    def on_broadcast(self, listener: BroadcastListener, *, counts_consumed: bool = False) -> None:
        """Who gets what the master broadcasts. Say it as soon as :func:`join` has returned, or in
        ``Welcomed``: what came before nobody gets.

        :param counts_consumed: the listener says :meth:`broadcast_consumed` for all that it got,
            sooner or later, and is dropped from the broadcast when it stays behind. A listener
            that keeps bytes in its memory keeps any number of them without it.
        """
        self._listener = listener
        broadcast = self._client.broadcast
        if counts_consumed and broadcast is not None:
            broadcast.count_consumed()

    def broadcast_consumed(self, count: int) -> None:
        """The listener has got rid of ``count`` more bytes."""
        broadcast = self._client.broadcast
        if broadcast is not None:
            broadcast.consumed(count, self._reactor.seconds())
            self.flush_soon()

    def close(self, reason: str = "closed") -> defer.Deferred[None]:
        """Leave the session; fires when we have left."""
        return self._close(partial(self._client.close, reason))

    async def open(self, endpoint: IStreamClientEndpoint) -> None:
        """Connect, shake hands and wait for the other user's yes.

        :raises PorttunnelError: why we are not in.
        """
        welcomed = self._welcomed
        try:
            await self._connect(endpoint)
            self._client.start(self._reactor.seconds())
            self.flush()
            if welcomed is not None:
                await welcomed
        except defer.CancelledError:
            self._welcomed = None  # nobody waits for it any more
            self.close()
            raise

    @property
    def ticket(self) -> RejoinTicket:
        """What lets this client come back after its process ended, if the master allows it.

        :raises LocalProtocolError: not admitted yet, or not any more.
        """
        return self._client.ticket

    def _dial(self, reason: str) -> DialledPath:
        return self._client.dial(reason, self._reactor.seconds())

    def _finish(self, error: PorttunnelError | None) -> None:
        if self._dialler is not None:
            self._dialler.offer(())
        super()._finish(error)

    def _try_direct(self, dialler: DirectDialler, happened: Any) -> None:
        if isinstance(happened, event.DirectOffered):
            dialler.offer(happened.addresses)
        elif isinstance(happened, event.PathChanged):
            if happened.path is event.PathKind.RELAY:
                dialler.lost()
        elif isinstance(happened, event.LinkRestored) and not self._directs:
            dialler.begin()

    def _tell_listener(self, listener: BroadcastListener, happened: Any) -> None:
        if isinstance(happened, event.BroadcastReceived):
            listener.broadcast_received(happened.channel, happened.data)
        elif isinstance(happened, event.BroadcastEnded):
            listener.broadcast_ended(happened.channel)
        elif isinstance(happened, event.BroadcastLost):
            listener.broadcast_lost(happened.error)

    def _receive_session_event(self, happened: Any) -> None:
        if self._listener is not None:
            self._tell_listener(self._listener, happened)
        if isinstance(happened, event.KeyWanted):
            self._key.addCallback(self._provide_key)
        elif isinstance(happened, event.Welcomed):
            self.services = happened.services
            self.members = happened.members
            self.master_name = happened.master_name
        elif isinstance(happened, event.MembersChanged):
            self.members = happened.members
        if self._dialler is not None:
            self._try_direct(self._dialler, happened)
        super()._receive_session_event(happened)
        welcomed = self._welcomed
        if welcomed is None:
            return
        if isinstance(happened, event.Welcomed):
            self._welcomed = None
            welcomed.callback(None)
        elif isinstance(happened, event.ConnectionFailed):
            self._welcomed = None
            welcomed.errback(happened.error)
        elif isinstance(happened, event.SessionFinished):
            self._welcomed = None
            welcomed.errback(CutOff(f"The session ended: {happened.reason}."))

    def _provide_key(self, key: HybridPrivateKey) -> None:
        self._client.provide_key(key, self._reactor.seconds())
        self.flush()


async def join(
    reactor: Any,
    server: str | IStreamClientEndpoint,
    code: str | SessionCode,
    *,
    name: str | None = None,
    ask_again: AskAgain | None = None,
    on_event: Callable[[JoinedSession, Any], None] = lambda session, happened: None,
    key: defer.Deferred[HybridPrivateKey] | None = None,
    direct: bool = True,
    ticket: RejoinTicket | None = None,
    give_up_seconds: float = GIVE_UP_SECONDS,
) -> JoinedSession:
    """Join a session.

    :param reactor: the reactor.
    :param server: the tunnel server: an address as people write it, or an endpoint.
    :param code: what the other user told, or :class:`~porttunnel.session.code.SessionCode`.
    :param name: how we call ourselves; user@machine if None.
    :param ask_again: lets the user type again after a run that failed before the other side was
        verified; without it the first failure is final. A false master in the way gets one guess
        for each typing, so never answer this from memory.
    :param on_event: called with the session and what happens, see
        :mod:`porttunnel.session.event`; in SAS mode it must answer ``DigitsAsked``.
    :param key: a fresh key in the making (``deferToThread(HybridPrivateKey.generate)``), for
        callers that begin while the user still types.
    :param direct: connect straight to the other machine if it is on the same network.
    :param ticket: of a former membership, see :attr:`JoinedSession.ticket`: takes the code's
        place, of which only the number counts then.
    :param give_up_seconds: how long to try to come back after the link was lost.
    :raises ConfigurationError: the name can't be sent.
    :raises MistypedCode: the code can't be right; nothing was sent.
    :raises NoSuchNumber: unknown, expired, locked or full.
    :raises AuthenticationFailed: the other side could not be verified.
    :raises CodeUsedUp: three runs failed.
    :raises ConsentRefused: the other user said no.
    :raises NotReachable: no connection to the server.
    :raises CutOff: the link was lost, or the session ended, before the other user said yes.
    """
    endpoint = parse_server_address(reactor, server) if isinstance(server, str) else server
    typed = parse_code(code) if isinstance(code, str) else code
    called = choose_name(name)
    runs: dict[int, int] = {}
    while True:
        machine = ClientMachine(
            typed,
            name=called,
            token_bytes=secrets.token_bytes,
            jitter=secrets.randbelow(1000) / 1000,
            ticket=ticket,
            give_up_seconds=give_up_seconds,
        )
        making = key or deferToThread(HybridPrivateKey.generate)
        key = None
        session = JoinedSession(reactor, machine, key=making, on_event=on_event, direct=direct)
        try:
            await session.open(endpoint)
        except PorttunnelError as error:
            if ticket is not None or not _may_have_been_a_guess(machine, error):
                raise
            runs[typed.number] = runs.get(typed.number, 0) + 1
            left = MAX_RUNS_PER_CODE - runs[typed.number]
            if left <= 0:
                raise CodeUsedUp(
                    f"{MAX_RUNS_PER_CODE} tries with this number failed. Ask for a new session."
                ) from error
            again = None if ask_again is None else await ask_again(AuthenticationFailed(), left)
            if again is None:
                raise
            typed = again
        else:
            return session


def _may_have_been_a_guess(machine: ClientMachine, error: PorttunnelError) -> bool:
    """Whether a run that failed has used the code once; docs/session-protocol, section 5."""
    if isinstance(error, AuthenticationFailed):
        return machine.code_used_up and not machine.was_verified
    # Whoever is in the way could cut the link when a guess was wrong. Once M4 was right none was
    # made: then the code is not to blame, and typing it again would not help.
    cut = isinstance(error, CutOff | SessionEnded)
    return cut and machine.state is ClientState.CONFIRMING
