"""Sharing as a library call: open a session, offer services, decide who comes in."""

from __future__ import annotations

import getpass
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from porttunnel.errors import ConfigurationError, LocalProtocolError, NotReachable, PorttunnelError
from porttunnel.keys.hybrid import encapsulate
from porttunnel.keys.primitives import SigningKey
from porttunnel.net.broadcast import DEFAULT_CHANNEL, BroadcastWriter
from porttunnel.net.direct import DirectListener
from porttunnel.net.endpoints import StreamClientEndpoint, StreamServerEndpoint
from porttunnel.net.offer import Offer, parse_offer
from porttunnel.net.server_address import parse_server_address
from porttunnel.net.session import Session
from porttunnel.net.target import accept_offer
from porttunnel.session import event, request
from porttunnel.session.broadcast_sender import BroadcastSender
from porttunnel.session.code import SessionCode
from porttunnel.session.direct import AcceptedPath
from porttunnel.session.master import MasterMachine
from porttunnel.session.member import GIVE_UP_SECONDS
from porttunnel.session.multiplex import Multiplex
from porttunnel.session.packet import MASTER
from porttunnel.session.record import MAX_NAME_CHARACTERS, DirectAddress

__all__ = ["Consent", "SharedSession", "choose_name", "default_name", "share"]

DEFAULT_LIFETIME_SECONDS = 7 * 86_400  # a week: a forgotten share ends by itself
DEFAULT_MAX_CLIENTS = 32
_log = Logger()

Consent = Callable[[event.ConsentAsked], bool | Awaitable[bool]]
"""Asked for each client whose code was right: may it come in?"""


def default_name() -> str:
    """Who we say we are when nobody says otherwise: user and machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no such user in the system's book
        user = "somebody"
    return f"{user}@{socket.gethostname()}"[:64]


def choose_name(name: str | None) -> str:
    """Who we say we are: this, or :func:`default_name`.

    :raises ConfigurationError: the other side could not read it.
    """
    chosen = name or default_name()
    if len(chosen) > MAX_NAME_CHARACTERS or not chosen.isprintable():
        raise ConfigurationError(
            f"A name has at most {MAX_NAME_CHARACTERS} characters, and only what can be printed. "
            "Choose another."
        )
    return chosen


def refuse_everybody(_asked: event.ConsentAsked) -> bool:
    """Without somebody to ask nobody comes in."""
    return False


class SharedSession(Session):
    """A session that we own. Made by :func:`share`."""

    def __init__(
        self,
        reactor: Any,
        machine: MasterMachine,
        *,
        on_consent: Consent,
        on_event: Callable[[Any], None],
        direct: bool = True,
    ) -> None:
        super().__init__(reactor, machine, on_event=on_event)
        self._listener: DirectListener | None = None
        if direct:
            self._listener = DirectListener(self, self._accept_direct)
        self._offered: list[DirectAddress] = []
        self._master = machine
        self._on_consent = on_consent
        self._broadcasts: dict[int, BroadcastWriter] = {}
        self._opened: defer.Deferred[None] | None = defer.Deferred()
        self.number = 0
        self.invitation: event.InvitationMade | None = None

    @property
    def local_member(self) -> int:
        """1: the master."""
        return MASTER

    @property
    def code(self) -> SessionCode:
        """What to tell the next client.

        :raises NotReachable: there is no session yet.
        """
        if self.invitation is None:
            raise NotReachable("The session is not open yet.")
        return self.invitation.code

    def streams_with(self, member: int) -> Multiplex:
        """The streams with a client."""
        return self._master.streams(member)

    def listen(self, service: str) -> StreamServerEndpoint:
        """An ``IStreamServerEndpoint``: clients' streams to this service of ours."""
        self._master.add_service(Offer(service, "tcp").service)
        return StreamServerEndpoint(self, service)

    def endpoint(self, member: int, service: str) -> StreamClientEndpoint:
        """An ``IStreamClientEndpoint``: streams to a service that a client offers."""
        return StreamClientEndpoint(self, member, service)

    def offer(self, offer: Offer) -> None:
        """Share something more; clients that join from now on see it listed."""
        if offer.kind != "listen":
            self.add_acceptor(offer.name, accept_offer(self, offer))
        self._master.add_service(offer.service)

    def admit(self, member: int) -> None:
        """Say yes to a ``ConsentAsked``, instead of the consent function."""
        self._master.admit(member, self._reactor.seconds())
        self.flush()

    def refuse(self, member: int, reason: str = "") -> None:
        """Say no to a ``ConsentAsked``, instead of the consent function."""
        self._master.refuse(member, reason)
        self.flush()

    def enter_digits(self, member: int, digits: str) -> None:
        """SAS: what the client's user read out."""
        self._master.enter_digits(member, digits, self._reactor.seconds())
        self.flush()

    def kick(self, member: int) -> None:
        """Put a client out."""
        self._master.kick(member)
        self.flush()

    def lock(self, locked: bool) -> None:
        """Let nobody new in, or do again; who is in stays."""
        self._master.lock(locked)
        self.flush()

    def broadcast(self, channel: int = DEFAULT_CHANNEL) -> BroadcastWriter:
        """An ``IConsumer`` whose bytes go to all members.

        :param channel: tells several broadcasts apart, 1 to 2**32 - 1.
        :raises LocalProtocolError: it is written to already, or the session is over.
        """
        if channel in self._broadcasts or self._finished:
            raise LocalProtocolError(f"nothing can be broadcast on channel {channel} now")
        writer = self._broadcasts[channel] = BroadcastWriter(self, channel)
        return writer

    @property
    def broadcast_sender(self) -> BroadcastSender:
        """The core's; :raises LocalProtocolError: there is no session yet."""
        return self._master.broadcast

    def release_broadcast(self, channel: int) -> None:
        """This channel may be written to anew."""
        self._broadcasts.pop(channel, None)

    def allow_joining(self) -> None:
        """After ``JoiningPaused``: let people try again."""
        self._master.allow_joining(self._reactor.seconds())
        self.flush()

    def close(self, reason: str = "closed") -> defer.Deferred[None]:
        """End the session; fires when it has ended."""
        return self._close(partial(self._master.close, reason))

    async def open(self, endpoint: IStreamClientEndpoint) -> None:
        """Connect and wait for the number.

        :raises NotReachable: no connection to the server.
        :raises PorttunnelError: the server did not open a session.
        """
        opened = self._opened
        try:
            await self._connect(endpoint)
            self._master.start(self._reactor.seconds())
            self.flush()
            if opened is not None:
                await opened
        except defer.CancelledError:
            self.close()
            raise

    def _receive_session_event(self, happened: Any) -> None:
        if isinstance(happened, event.SessionOpened):
            self.number = happened.number
        elif isinstance(happened, event.InvitationMade):
            self.invitation = happened
        super()._receive_session_event(happened)
        if isinstance(happened, event.ConsentAsked):
            self._ask_consent(happened)
        elif isinstance(happened, event.SessionOpened | event.LinkRestored):
            self._offer_direct()
        elif isinstance(happened, event.BroadcastWritable):
            writer = self._broadcasts.get(happened.channel)
            if writer is not None:
                writer.writable()
        opened = self._opened
        if opened is not None and isinstance(happened, event.InvitationMade):
            self._opened = None
            opened.callback(None)
        elif opened is not None and isinstance(happened, event.ConnectionFailed):
            self._opened = None
            opened.errback(happened.error)

    def _accept_direct(self, reason: str) -> AcceptedPath:
        return self._master.accept_direct(reason, self._reactor.seconds())

    def _offer_direct(self) -> None:
        """The networks that this machine is in may have changed."""
        if self._listener is None:
            return
        self._listener.begin()
        addresses = self._listener.addresses
        if addresses != self._offered:
            self._offered = addresses
            self._master.offer_direct(addresses)
            self.flush()

    def _finish(self, error: PorttunnelError | None) -> None:
        if self._listener is not None:
            self._listener.stop()
        super()._finish(error)
        for writer in tuple(self._broadcasts.values()):
            writer.session_ended()

    def _events_done(self) -> None:
        super()._events_done()
        for writer in tuple(self._broadcasts.values()):
            writer.check_done()

    def _ask_consent(self, asked: event.ConsentAsked) -> None:
        deciding = defer.ensureDeferred(self._decide(asked))
        deciding.addErrback(partial(self._consent_failed, asked.member))

    async def _decide(self, asked: event.ConsentAsked) -> None:
        answer = self._on_consent(asked)
        yes = answer if isinstance(answer, bool) else await answer
        # Who decides takes time; the client may have gone or been refused meanwhile.
        if self._master.is_deciding(asked.member):
            if yes:
                self.admit(asked.member)
            else:
                self.refuse(asked.member)

    def _consent_failed(self, member: int, reason: Failure) -> None:
        _log.failure("the consent function failed; the client is refused", reason)
        if self._master.is_deciding(member):
            self.refuse(member)


async def share(
    reactor: Any,
    server: str | IStreamClientEndpoint,
    offers: Iterable[str | Offer],
    *,
    on_consent: Consent = refuse_everybody,
    on_event: Callable[[Any], None] = lambda happened: None,
    name: str | None = None,
    sas: bool = False,
    lifetime_seconds: int = DEFAULT_LIFETIME_SECONDS,
    max_clients: int = DEFAULT_MAX_CLIENTS,
    direct: bool = True,
    remember: bool = False,
    give_up_seconds: float = GIVE_UP_SECONDS,
) -> SharedSession:
    """Open a session and share something in it.

    :param reactor: the reactor.
    :param server: the tunnel server: an address as people write it, or an endpoint.
    :param offers: what is shared, as ``[NAME=]TARGET`` or :class:`~porttunnel.net.offer.Offer`.
    :param on_consent: asked for each client; without it nobody comes in.
    :param on_event: called with what happens, see :mod:`porttunnel.session.event`.
    :param name: how we call ourselves; user@machine if None.
    :param sas: invite with the number alone; digits are read out in both directions.
    :param lifetime_seconds: how long the session may last, at most 90 days.
    :param max_clients: how many may be in it at a time.
    :param direct: let clients on the same network connect straight to this machine.
    :param remember: let clients come back after their program ended, without a code.
    :param give_up_seconds: how long to try to come back after the link was lost.
    :raises ConfigurationError: an address or an offer can't be read, or a name not be sent.
    :raises NotReachable: no connection to the server.
    """
    endpoint = parse_server_address(reactor, server) if isinstance(server, str) else server
    wanted = [parse_offer(offer) if isinstance(offer, str) else offer for offer in offers]
    machine = MasterMachine(
        request.Create(
            lifetime_s=lifetime_seconds,
            max_clients=max_clients,
            join_window_s=lifetime_seconds,
        ),
        name=choose_name(name),
        sas=sas,
        signing_key=SigningKey.generate(),
        token_bytes=secrets.token_bytes,
        randbelow=secrets.randbelow,
        encapsulate=encapsulate,
        jitter=secrets.randbelow(1000) / 1000,
        remember=remember,
        give_up_seconds=give_up_seconds,
    )
    session = SharedSession(
        reactor, machine, on_consent=on_consent, on_event=on_event, direct=direct
    )
    for offer in wanted:
        session.offer(offer)
    await session.open(endpoint)
    return session
