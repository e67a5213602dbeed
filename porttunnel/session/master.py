"""The master's core: it owns the session, asks its user about each client that knew the code,
and talks to those that are in. How a client gets that far is :mod:`porttunnel.session.admission`.

Source: docs/session-protocol, sections 3 to 6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from porttunnel.errors import (
    AuthenticationFailed,
    LocalProtocolError,
    PorttunnelError,
    RemoteProtocolError,
    SessionEnded,
)
from porttunnel.keys.handshake import HandshakeMode
from porttunnel.keys.handshake_message import is_client
from porttunnel.keys.hybrid import Encapsulation
from porttunnel.keys.primitives import SigningKey, constant_time_equal
from porttunnel.session import record, request
from porttunnel.session.admission import Admission, Proven
from porttunnel.session.broadcast_sender import BroadcastSender
from porttunnel.session.direct import AcceptedPath
from porttunnel.session.event import (
    ConsentAsked,
    DigitsAsked,
    DigitsShown,
    DigitsWrong,
    MemberJoined,
    MemberLeft,
    RunFailed,
    SessionOpened,
)
from porttunnel.session.joiner import Joiner, JoinerState
from porttunnel.session.member import GIVE_UP_SECONDS, Member
from porttunnel.session.member_book import MemberBook
from porttunnel.session.multiplex import Multiplex
from porttunnel.session.packet import MASTER, Header
from porttunnel.session.peer import Peer
from porttunnel.session.rejoin import RejoinBook

__all__ = ["MasterMachine"]


class MasterMachine(Member):
    """See the module; speaks the verbs of :class:`porttunnel.machine.Machine`.

    :param create: lifetime, clients and join window that the server is asked for.
    :param name: how this master calls itself, at most 64 characters.
    :param services: what is shared, as WELCOME lists it.
    :param sas: invite with the number alone; digits are read out in both directions.
    :param signing_key: Ed25519, fresh for this session: signs what goes to all.
    :param token_bytes: as ``secrets.token_bytes``.
    :param randbelow: as ``secrets.randbelow``.
    :param encapsulate: as :func:`porttunnel.keys.hybrid.encapsulate`.
    :param jitter: 0 to 1, drawn by the caller.
    :param capabilities: what a client may ask for.
    :param remember: let clients come back after their process ended, without a code.
    :param give_up_seconds: how long to try to come back after the link was lost.
    """

    def __init__(
        self,
        create: request.Create,
        *,
        name: str,
        services: tuple[record.Service, ...] = (),
        sas: bool,
        signing_key: SigningKey,
        token_bytes: Callable[[int], bytes],
        randbelow: Callable[[int], int],
        encapsulate: Callable[[bytes, bytes], Encapsulation],
        jitter: float,
        capabilities: tuple[str, ...] = (),
        remember: bool = False,
        give_up_seconds: float = GIVE_UP_SECONDS,
    ) -> None:
        super().__init__(
            name=name, token_bytes=token_bytes, jitter=jitter, give_up_seconds=give_up_seconds
        )
        self._create = create
        self._sas = sas
        self._randbelow = randbelow
        self._encapsulate = encapsulate
        self._capabilities = capabilities
        self._remember = remember
        self._former = RejoinBook()
        self._admission: Admission | None = None
        self._book = MemberBook(
            name=name,
            services=services,
            signing_key=signing_key,
            token_bytes=token_bytes,
            peers=self._peers,
            events=self._events,
            send_group=self._queue,
            has_room=self._has_room,
        )

    def streams(self, member: int) -> Multiplex:
        """The streams with a client.

        :raises LocalProtocolError: it is not admitted, or not any more.
        """
        peer = self._book.admitted(member)
        if peer is None:
            raise LocalProtocolError(f"member {member} is not in the session")
        return peer.streams

    def start(self, now: float) -> None:
        """The link is there: ask for a session."""
        self._link.start(now)
        self._link.ask(self._create, now)

    def add_service(self, service: record.Service) -> None:
        """Share something more: the next WELCOME lists it."""
        self._book.add_service(service)

    def is_deciding(self, member: int) -> bool:
        """Whether this client waits for our user's yes or no."""
        return not self._over and self._book.is_deciding(member)

    # What the user decides

    def admit(self, member: int, now: float) -> None:
        """The user said yes; :raises LocalProtocolError: nobody waits under this number."""
        joiner = self._book.deciding(member)
        self._book.admit(joiner, now)
        if self._remember:
            self._former.remember(member, joiner.name, joiner.peer.secrets.rejoin)
        self._events.append(MemberJoined(member, joiner.name, True))

    def refuse(self, member: int, reason: str = "") -> None:
        """The user said no; :raises LocalProtocolError: nobody waits under this number."""
        joiner = self._book.deciding(member)
        joiner.peer.streams.send_last(record.encode_control(record.Refused(reason=reason)))
        self._forget(joiner)
        self._link.tell(request.Kick(member=member))

    def enter_digits(self, member: int, digits: str, now: float) -> None:
        """SAS: what our user typed of the digits that the client's user read out."""
        joiner = self._book.joining(member)
        if joiner is None or joiner.established is None:
            raise LocalProtocolError(f"no digits are asked for member {member}")
        established = joiner.established
        if not constant_time_equal(digits.encode(), established.sas_client_shows.encode()):
            joiner.digits_tries_left -= 1
            if joiner.digits_tries_left == 0:
                self._put_out(joiner, AuthenticationFailed())
            else:
                self._events.append(DigitsWrong(member, joiner.digits_tries_left))
            return
        joiner.established = None
        joiner.enter(JoinerState.INTRODUCING, now)
        self._events.append(DigitsShown(member, established.sas_master_shows))

    def kick(self, member: int) -> None:
        """Put a client out; :raises LocalProtocolError: nobody has this number."""
        joiner = self._book.find(member)
        if joiner is None:
            raise LocalProtocolError(f"member {member} is not in the session")
        self._former.forget(member)
        for other in self._book:
            if other.former == member and other.state is not JoinerState.MEMBER:
                self._put_out(other, AuthenticationFailed())
        self._say_goodbye(joiner, "put out by the other side")
        self._leave(joiner, "put out", cut_off=False)
        # Behind the new group key for those who stay, as far as the link takes that now.
        self.take_turns(self._link)
        self._link.tell(request.Kick(member=member))

    def lock(self, locked: bool) -> None:
        """Let nobody new in, or do again. The server is asked to refuse them too."""
        self._opened_admission().locked = locked
        self._link.tell(request.Lock(locked=locked))

    def offer_direct(self, addresses: list[record.DirectAddress]) -> None:
        """Tell all clients, and those that come, where we can be reached straight.

        :param addresses: at most 8; none: nowhere any more.
        """
        self._book.offer_direct(addresses)

    @property
    def broadcast(self) -> BroadcastSender:
        """What is sent to all; :raises LocalProtocolError: there is no session yet."""
        return self._book.broadcast

    def accept_direct(self, reason: str, now: float) -> AcceptedPath:
        """The machine of a connection that somebody has made straight to us.

        :param reason: why packets can go that way, for people.
        """
        return AcceptedPath(self, self._book.admitted, reason, now, nonce=self._token_bytes(16))

    def allow_joining(self, now: float) -> None:
        """After ``JoiningPaused``: the user lets people try again."""
        if self._admission is not None:
            self._admission.allow_joining(now)

    def close(self, reason: str = "closed") -> None:
        """End the session on purpose: each client is told, the number is void."""
        if self._over:
            return
        for joiner in self._book:
            self._say_goodbye(joiner, reason)
        self._link.tell_last(request.Close())
        self._finish(reason)

    def _say_goodbye(self, joiner: Joiner, reason: str) -> None:
        # A client that still compares digits accepts nothing, not even a goodbye.
        if not joiner.may_compare:
            joiner.peer.streams.send_last(record.encode_control(record.Bye(reason=reason)))

    # The server

    def _receive_reply(self, asked: request.Request, reply: request.Reply, now: float) -> None:
        if isinstance(asked, request.Create) and isinstance(reply, request.Created):
            self._link.member = MASTER
            self._session_id = reply.session_id
            self._resumption.allow(reply.session_id, reply.token)
            self._book.open(reply.session_id)
            self._events.append(SessionOpened(reply.number, reply.session_id))
            self._admission = Admission(
                reply.number,
                reply.session_id,
                sas=self._sas,
                former=self._former,
                token_bytes=self._token_bytes,
                randbelow=self._randbelow,
                encapsulate=self._encapsulate,
                send=self._send_clear,
                events=self._events,
            )
        elif isinstance(asked, request.Status) and isinstance(reply, request.StatusReport):
            self._compare_members(reply, now)
        else:
            raise RemoteProtocolError("the tunnel server answered something else than was asked")

    def _receive_event(self, event: request.Event, now: float) -> None:
        if isinstance(event, request.Left):
            self._lose(event.member, event.reason, now)
        elif isinstance(event, request.Link):
            peer = self._peers.get(event.member)
            if peer is not None:
                self._peers.move(peer, event.up, now)
        elif isinstance(event, request.Closed):
            raise SessionEnded(f"The tunnel server ended the session: {event.reason}.")

    def _repeat_handshakes(self) -> None:
        # Clients say again what was not answered. Who left while we were away nobody says again.
        self._link.ask(request.Status(), self._now)

    def _compare_members(self, status: request.StatusReport, now: float) -> None:
        staying = set(status.members)
        if len(staying) >= request.MAX_STATUS_MEMBERS:
            return  # not all of them are listed
        for joiner in self._book:
            if joiner.member not in staying:
                self._lose(joiner.member, "it left while the connection was away", now)

    def _lose(self, member: int, reason: str, now: float) -> None:
        """The server says that a member is gone: believed, but never as a goodbye."""
        joiner = self._book.find(member)
        if joiner is not None:
            self._leave(joiner, reason, cut_off=True)
        elif self._admission is not None:
            self._admission.forget(member, now)

    # Clients

    def _receive_handshake(self, header: Header, body: bytes, now: float) -> None:
        if self._admission is not None and header.sender in self._peers:
            self._admission.receive_again(header, body)
            return  # nothing else that stands in the clear can touch a pair
        if self._admission is None or not is_client(header.sender):
            raise RemoteProtocolError("the tunnel server sent a packet of nobody's")
        proven = self._admission.receive(header, body, now)
        if proven is not None:
            self._begin(proven, now)

    def _begin(self, proven: Proven, now: float) -> None:
        joiner = Joiner(
            self._make_peer(proven.member, proven.established),
            sas=proven.mode is HandshakeMode.SAS,
            former=proven.former,
        )
        self._book.begin(joiner)
        if joiner.sas:
            joiner.established = proven.established
            joiner.enter(JoinerState.COMPARING, now)
            self._events.append(DigitsAsked(proven.member))
        else:
            joiner.enter(JoinerState.INTRODUCING, now)
        hello = record.Hello(
            # In SAS nobody is sure yet who is on the other side.
            name="" if joiner.sas else self._name,
            capabilities=list(self._capabilities),
        )
        joiner.peer.streams.send_control(record.encode_control(hello))

    def _receive_from_stranger(self, header: Header) -> None:
        # A client's is dropped: if it just left or was put out, some were on their way.
        if not is_client(header.sender):
            raise RemoteProtocolError("the tunnel server sent a sealed packet of nobody's")

    def _receive_control(self, peer: Peer, payload: memoryview, now: float) -> None:
        joiner = self._book.joiner_of(peer)
        message = record.decode_control(payload)
        if isinstance(message, record.JoinAs) and joiner.state is JoinerState.INTRODUCING:
            joiner.name = message.name
            joiner.enter(JoinerState.DECIDING, now)
            if joiner.former:
                self._readmit(joiner, now)
                return
            self._events.append(
                ConsentAsked(peer.member, message.name, tuple(message.capabilities), True)
            )
        elif isinstance(message, record.Bye) and joiner.state is not JoinerState.COMPARING:
            self._leave(joiner, message.reason, cut_off=False)
        elif isinstance(message, record.GroupAck) and joiner.state is JoinerState.MEMBER:
            self._book.broadcast.receive_ack(peer.member, message, now)
        else:
            raise RemoteProtocolError(
                f"{type(message).__name__} is not possible in the state {joiner.state.name}"
            )

    def _readmit(self, joiner: Joiner, now: float) -> None:
        """Its user was asked about when it came first; its former membership is over."""
        if self._former.password(joiner.former) is None:
            # Put out meanwhile, or back already: one ticket makes one member.
            self._put_out(joiner, AuthenticationFailed())
            return
        # The name is what our user has agreed to.
        joiner.name = self._former.name(joiner.former)
        self._former.forget(joiner.former)
        former = self._book.find(joiner.former)
        if former is not None:
            self._leave(former, "its program was started anew", cut_off=True)
            self._link.tell(request.Kick(member=former.member))
        self.admit(joiner.member, now)

    def _fail_peer(self, peer: Peer, error: PorttunnelError) -> None:
        self._put_out(self._book.joiner_of(peer), error)

    def _put_out(self, joiner: Joiner, error: PorttunnelError) -> None:
        self._events.append(RunFailed(joiner.member, error))
        self._link.tell(request.Kick(member=joiner.member))
        self._leave(joiner, "its packets were wrong", cut_off=True)

    def _leave(self, joiner: Joiner, reason: str, *, cut_off: bool) -> None:
        self._forget(joiner)
        self._events.append(MemberLeft(joiner.member, reason, cut_off))

    def _forget(self, joiner: Joiner) -> None:
        self._book.remove(joiner)
        self._opened_admission().settle(joiner.member)

    def _opened_admission(self) -> Admission:
        if self._admission is None:
            raise LocalProtocolError("there is no session yet")
        return self._admission

    # What goes to all

    def data_to_send(self) -> Sequence[memoryview]:
        """What waits to be sent on the link."""
        # The pairs first: a new group key must not come behind what is sealed with it.
        self.take_turns(self._link)
        if not self._over:
            self._book.flush_broadcast(self._now)
        return self._link.outbox.views()

    def _end(self) -> None:
        super()._end()
        self._former.close()
        self._book.close()
        if self._admission is not None:
            self._admission.close()

    # Time

    def _next_own_deadline(self) -> float | None:
        deadlines = [self._book.next_deadline()]
        if self._admission is not None:
            deadlines.append(self._admission.next_deadline())
        return min((due for due in deadlines if due is not None), default=None)

    def _meet_own_deadline(self, now: float) -> None:
        if self._book.may_broadcast:
            self._book.broadcast.handle_timeout(now)
        for joiner in self._book.overdue(now):
            if joiner.state is JoinerState.DECIDING:
                self.refuse(joiner.member, "nobody answered in time")
            else:
                self._put_out(joiner, AuthenticationFailed())
        if self._admission is not None:
            self._admission.handle_timeout(now)
