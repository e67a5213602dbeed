"""The master's core: it owns the session, invites, verifies, admits, and talks to each client.

Source: docs/session-protocol, sections 3 to 6.
"""

from __future__ import annotations

from collections.abc import Callable

from porttunnel.errors import (
    AuthenticationFailed,
    CutOff,
    ErrorCode,
    LocalProtocolError,
    PorttunnelError,
    ProtocolError,
    RemoteProtocolError,
)
from porttunnel.keys.handshake import HandshakeMode, MasterHandshake, decode_c1
from porttunnel.keys.hybrid import Encapsulation
from porttunnel.keys.primitives import constant_time_equal
from porttunnel.session import record, request
from porttunnel.session.event import (
    ConsentAsked,
    DigitsAsked,
    DigitsShown,
    DigitsWrong,
    InvitationMade,
    JoiningPaused,
    MemberJoined,
    MemberLeft,
    MemberLinkChanged,
    RunFailed,
    SessionOpened,
)
from porttunnel.session.invitation import Invitations
from porttunnel.session.joiner import Joiner, JoinerState
from porttunnel.session.member import Member
from porttunnel.session.multiplex import Multiplex
from porttunnel.session.packet import MASTER, Header, PacketType
from porttunnel.session.peer import Peer

__all__ = ["MasterMachine"]

MAX_QUEUED = 8  # joiners that wait for the invitation: 80 s at most
SIGNING_KEY_BYTES = 32  # Ed25519


class MasterMachine(Member):
    """See the module; speaks the verbs of :class:`porttunnel.machine.Machine`.

    :param create: lifetime, clients and join window that the server is asked for.
    :param name: how this master calls itself, at most 64 characters.
    :param services: what is shared, as WELCOME lists it.
    :param sas: invite with the number alone; digits are read out in both directions.
    :param signing_key: Ed25519 public key of this session, 32 bytes.
    :param token_bytes: as ``secrets.token_bytes``.
    :param randbelow: as ``secrets.randbelow``.
    :param encapsulate: as :func:`porttunnel.keys.hybrid.encapsulate`.
    :param jitter: 0 to 1, drawn by the caller.
    :param capabilities: what a client may ask for.
    """

    def __init__(
        self,
        create: request.Create,
        *,
        name: str,
        services: tuple[record.Service, ...],
        sas: bool,
        signing_key: bytes,
        token_bytes: Callable[[int], bytes],
        randbelow: Callable[[int], int],
        encapsulate: Callable[[bytes, bytes], Encapsulation],
        jitter: float,
        capabilities: tuple[str, ...] = (),
    ) -> None:
        super().__init__(name=name, token_bytes=token_bytes, jitter=jitter)
        if len(signing_key) != SIGNING_KEY_BYTES:
            raise ValueError(f"an Ed25519 public key has {SIGNING_KEY_BYTES} bytes")
        self._create = create
        self._services = services
        self._sas = sas
        self._signing_key = signing_key
        self._randbelow = randbelow
        self._encapsulate = encapsulate
        self._capabilities = capabilities
        self._session_id = b""
        self._number = 0
        self._invitations: Invitations | None = None
        self._joiners: dict[int, Joiner] = {}
        self._epoch = 1
        self._group_key = token_bytes(32)

    @property
    def session_id(self) -> bytes:
        """16 bytes, once the server told; the session's identity for ever."""
        return self._session_id

    def streams(self, member: int) -> Multiplex:
        """The streams with a client.

        :raises LocalProtocolError: it is not admitted, or not any more.
        """
        joiner = self._joiners.get(member)
        if joiner is None or joiner.peer is None or joiner.state is not JoinerState.MEMBER:
            raise LocalProtocolError(f"member {member} is not in the session")
        return joiner.peer.streams

    def start(self, now: float) -> None:
        """The link is there: ask for a session."""
        self._link.start(now)
        self._link.ask(self._create, now)

    # What the user decides

    def admit(self, member: int, now: float) -> None:
        """The user said yes; :raises LocalProtocolError: nobody waits under this number."""
        joiner, peer = self._deciding(member)
        peer.name = joiner.name
        peer.streams.admitted = True
        joiner.enter(JoinerState.MEMBER, now)
        welcome = record.Welcome(
            name=self._name,
            members=self._member_names(),
            services=list(self._services),
            epoch=self._epoch,
            group_key=self._group_key,
            signing_key=self._signing_key,
        )
        peer.streams.send_control(record.encode_control(welcome))
        self._tell_members(except_for=member)
        self._events.append(MemberJoined(member, joiner.name, True))

    def refuse(self, member: int, reason: str = "") -> None:
        """The user said no; :raises LocalProtocolError: nobody waits under this number."""
        joiner, peer = self._deciding(member)
        peer.streams.send_control(record.encode_control(record.Refused(reason=reason)))
        self._flush_peer(peer)
        self._forget(joiner)
        self._link.tell(request.Kick(member=member))

    def enter_digits(self, member: int, digits: str, now: float) -> None:
        """SAS: what our user typed of the digits that the client's user read out."""
        joiner = self._joiners.get(member)
        if joiner is None or joiner.state is not JoinerState.COMPARING:
            raise LocalProtocolError(f"no digits are asked for member {member}")
        established = joiner.established
        if established is None or not constant_time_equal(
            digits.encode(), established.sas_client_shows.encode()
        ):
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
        joiner = self._joiners.get(member)
        if joiner is None:
            raise LocalProtocolError(f"member {member} is not in the session")
        if joiner.peer is not None:
            bye = record.Bye(reason="put out by the other side")
            joiner.peer.streams.send_control(record.encode_control(bye))
            self._flush_peer(joiner.peer)
        self._link.tell(request.Kick(member=member))
        self._leave(joiner, "put out", cut_off=False)

    def allow_joining(self, now: float) -> None:
        """After ``JoiningPaused``: the user lets people try again."""
        if self._invitations is not None and self._invitations.paused:
            self._invitations.resume()
            self._announce_invitation()
            self._next_handshake(now)

    def close(self, reason: str = "closed") -> None:
        """End the session on purpose: each client is told, the number is void."""
        if self._over:
            return
        bye = record.encode_control(record.Bye(reason=reason))
        for peer in list(self._peers.values()):
            peer.streams.send_control(bye)
            self._flush_peer(peer)
        self._link.tell(request.Close())
        self._finish(reason)

    # The server

    def _receive_reply(self, asked: request.Request, reply: request.Reply, now: float) -> None:
        if isinstance(asked, request.Create) and isinstance(reply, request.Created):
            self._link.member = MASTER
            self._session_id = reply.session_id
            self._number = reply.number
            self._invitations = Invitations(
                reply.number, self._sas, self._randbelow, self._token_bytes
            )
            self._events.append(SessionOpened(reply.number, reply.session_id))
            self._announce_invitation()
        else:
            raise RemoteProtocolError("the tunnel server answered something else than was asked")

    def _receive_event(self, event: request.Event, now: float) -> None:
        if isinstance(event, request.Left):
            joiner = self._joiners.get(event.member)
            if joiner is not None:
                self._leave(joiner, event.reason, cut_off=True)
                self._next_handshake(now)
        elif isinstance(event, request.Link):
            if event.member in self._joiners:
                self._events.append(MemberLinkChanged(event.member, event.up))
        elif isinstance(event, request.Closed):
            raise CutOff(f"The tunnel server ended the session: {event.reason}")

    # The handshake

    def _receive_handshake(self, header: Header, body: bytes, now: float) -> None:
        joiner = self._joiners.get(header.sender)
        try:
            if header.kind is PacketType.C1 and joiner is None:
                self._receive_c1(header.sender, body, now)
            elif header.kind is PacketType.C3 and joiner is not None:
                self._receive_c3(joiner, body, now)
            elif header.kind is PacketType.ERROR:
                # A hint of a client that gave up; before its keys are there it may free the slot.
                if joiner is not None and joiner.peer is None:
                    self._forget(joiner)
            else:
                raise RemoteProtocolError("a handshake message out of order")
        except (ProtocolError, AuthenticationFailed) as error:
            if joiner is not None and joiner.peer is not None:
                return  # what stands in the clear can't hurt a pair
            self._answer_failure(header.sender, error)
            if joiner is not None:
                self._forget(joiner)
        self._next_handshake(now)

    def _receive_c1(self, member: int, body: bytes, now: float) -> None:
        joiner = Joiner(member, body, decode_c1(body).mode)
        invitations = self._invitations
        if invitations is None or invitations.paused:
            raise AuthenticationFailed
        if invitations.current.password(joiner.mode) is None:
            raise AuthenticationFailed
        queued = sum(other.state is JoinerState.QUEUED for other in self._joiners.values())
        if queued >= MAX_QUEUED:
            raise RemoteProtocolError("too many clients join at once", ErrorCode.BUSY)
        self._joiners[member] = joiner

    def _next_handshake(self, now: float) -> None:
        """Give the invitation to the next who waits, if nobody has it."""
        invitations = self._invitations
        if invitations is None or invitations.paused:
            return
        while not any(j.state is JoinerState.CONFIRMING for j in self._joiners.values()):
            joiner = next(
                (j for j in self._joiners.values() if j.state is JoinerState.QUEUED), None
            )
            if joiner is None:
                return
            try:
                self._send_m2(joiner, now)
            except (ProtocolError, AuthenticationFailed) as error:
                self._answer_failure(joiner.member, error)
                self._forget(joiner)

    def _send_m2(self, joiner: Joiner, now: float) -> None:
        invitations = self._invitations
        password = None if invitations is None else invitations.current.password(joiner.mode)
        if invitations is None or password is None:
            raise AuthenticationFailed
        c1 = decode_c1(joiner.c1)
        joiner.handshake = MasterHandshake(
            self._number,
            self._session_id,
            joiner.member,
            joiner.mode,
            password,
            c1=joiner.c1,
            encapsulation=self._encapsulate(c1.rsa_public, c1.mlkem_public),
            scalar=self._token_bytes(32),
            nonce=self._token_bytes(32),
        )
        joiner.invitation = invitations.current
        self._link.send(PacketType.M2, joiner.member, joiner.handshake.m2)
        joiner.enter(JoinerState.CONFIRMING, now)

    def _receive_c3(self, joiner: Joiner, body: bytes, now: float) -> None:
        handshake, joiner.handshake = joiner.handshake, None
        if joiner.state is not JoinerState.CONFIRMING or handshake is None:
            raise RemoteProtocolError("C3 came before M2 was sent")
        try:
            finished = handshake.receive_c3(body)
        except AuthenticationFailed:
            self._count_wrong_try()
            raise
        self._link.send(PacketType.M4, joiner.member, finished.m4, number=1)
        joiner.peer = self._make_peer(joiner.member, finished.established)
        if self._invitations is not None:
            self._invitations.renew()
            self._announce_invitation()
        if joiner.mode is HandshakeMode.SAS:
            joiner.established = finished.established
            joiner.enter(JoinerState.COMPARING, now)
            self._events.append(DigitsAsked(joiner.member))
        else:
            joiner.enter(JoinerState.INTRODUCING, now)
        hello = record.Hello(
            # In SAS nobody is sure yet who is on the other side.
            name="" if joiner.mode is HandshakeMode.SAS else self._name,
            capabilities=list(self._capabilities),
        )
        joiner.peer.streams.send_control(record.encode_control(hello))

    def _count_wrong_try(self) -> None:
        invitations = self._invitations
        if invitations is None:
            return
        burnt = invitations.count_wrong_try()
        if invitations.paused:
            self._events.append(JoiningPaused(invitations.wrong_tries))
        elif burnt:
            invitations.renew()
            self._announce_invitation()

    def _announce_invitation(self) -> None:
        if self._invitations is not None:
            current = self._invitations.current
            self._events.append(InvitationMade(current.pin_code, current.link_code))

    def _answer_failure(self, member: int, error: PorttunnelError) -> None:
        busy = isinstance(error, RemoteProtocolError) and error.code is ErrorCode.BUSY
        code = ErrorCode.BUSY if busy else ErrorCode.HANDSHAKE_FAILED
        # One text for all: the detail is for our own log only.
        report = request.ErrorReport(code=code, text=code.value)
        self._link.send(PacketType.ERROR, member, request.encode(report))
        self._events.append(RunFailed(member, error))

    # Peers

    def _receive_control(self, peer: Peer, payload: memoryview, now: float) -> None:
        joiner = self._joiners[peer.member]
        message = record.decode_control(payload)
        if isinstance(message, record.JoinAs) and joiner.state is JoinerState.INTRODUCING:
            joiner.name = message.name
            joiner.enter(JoinerState.DECIDING, now)
            self._events.append(
                ConsentAsked(peer.member, message.name, tuple(message.capabilities), True)
            )
        elif isinstance(message, record.Bye) and joiner.state is not JoinerState.COMPARING:
            self._leave(joiner, message.reason, cut_off=False)
        else:
            raise RemoteProtocolError(
                f"{type(message).__name__} is not possible in the state {joiner.state.name}"
            )

    def _fail_peer(self, peer: Peer, error: PorttunnelError) -> None:
        self._put_out(self._joiners[peer.member], error)

    def _put_out(self, joiner: Joiner, error: PorttunnelError) -> None:
        self._events.append(RunFailed(joiner.member, error))
        self._link.tell(request.Kick(member=joiner.member))
        self._leave(joiner, "its packets were wrong", cut_off=True)

    def _leave(self, joiner: Joiner, reason: str, *, cut_off: bool) -> None:
        self._forget(joiner)
        if joiner.peer is not None:
            self._events.append(MemberLeft(joiner.member, reason, cut_off))
            self._tell_members(except_for=joiner.member)

    def _forget(self, joiner: Joiner) -> None:
        self._joiners.pop(joiner.member, None)
        joiner.handshake = None
        joiner.established = None
        if joiner.peer is not None:
            self._drop_peer(joiner.peer)

    def _deciding(self, member: int) -> tuple[Joiner, Peer]:
        joiner = self._joiners.get(member)
        if joiner is None or joiner.peer is None or joiner.state is not JoinerState.DECIDING:
            raise LocalProtocolError(f"member {member} does not wait for a decision")
        return joiner, joiner.peer

    def _member_names(self) -> list[record.MemberName]:
        names = [record.MemberName(member=MASTER, name=self._name)]
        names.extend(
            record.MemberName(member=joiner.member, name=joiner.name)
            for joiner in self._joiners.values()
            if joiner.state is JoinerState.MEMBER
        )
        return names[: record.MAX_LISTED_MEMBERS]

    def _tell_members(self, *, except_for: int) -> None:
        news = record.encode_control(record.Members(members=self._member_names()))
        for joiner in self._joiners.values():
            if (
                joiner.state is JoinerState.MEMBER
                and joiner.peer is not None
                and joiner.member != except_for
            ):
                joiner.peer.streams.send_control(news)

    # Time

    def _next_own_deadline(self) -> float | None:
        deadlines = (joiner.deadline for joiner in self._joiners.values())
        return min((due for due in deadlines if due is not None), default=None)

    def _handle_own_timeout(self, now: float) -> None:
        for joiner in list(self._joiners.values()):
            if joiner.deadline is None or now < joiner.deadline:
                continue
            if joiner.state is JoinerState.DECIDING:
                self.refuse(joiner.member, "nobody answered in time")
            elif joiner.state is JoinerState.CONFIRMING:
                # Nothing is charged: the client never sent its guess.
                self._answer_failure(joiner.member, RemoteProtocolError("C3 came too late"))
                self._forget(joiner)
            else:
                self._put_out(joiner, AuthenticationFailed())
        self._next_handshake(now)
