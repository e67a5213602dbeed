"""The client's core: one run from a number to a member, then its streams.

Source: docs/session-protocol, sections 3, 5 and 6. A run uses its code up once C3 has been
sent: who wants another must let the user type again and make a new ``ClientMachine``
(:data:`MAX_RUNS_PER_CODE` times).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Never

from porttunnel.errors import (
    AuthenticationFailed,
    ConsentRefused,
    CutOff,
    ErrorCode,
    LocalProtocolError,
    PorttunnelError,
    ProtocolError,
    RemoteProtocolError,
    SessionEnded,
)
from porttunnel.keys.handshake import Established
from porttunnel.keys.handshake_message import is_client
from porttunnel.keys.hybrid import HybridPrivateKey
from porttunnel.keys.primitives import constant_time_equal
from porttunnel.session import record, request
from porttunnel.session.broadcast_receiver import GROUP_CONTROL, BroadcastReceiver
from porttunnel.session.client_state import PATIENCE_SECONDS, UNVERIFIED, VERIFIED, ClientState
from porttunnel.session.code import CodeKind, SessionCode
from porttunnel.session.direct import DialledPath
from porttunnel.session.direct_address import AddressBudget
from porttunnel.session.entrance import Entrance
from porttunnel.session.event import (
    DigitsAsked,
    DigitsShown,
    DigitsWrong,
    DirectOffered,
    KeyWanted,
    MembersChanged,
    Verified,
    Welcomed,
)
from porttunnel.session.member import GIVE_UP_SECONDS, Member
from porttunnel.session.multiplex import Multiplex
from porttunnel.session.packet import MASTER, NO_MEMBER, Header, PacketType, check_handshake_header
from porttunnel.session.peer import Peer
from porttunnel.session.rejoin import RejoinTicket

__all__ = ["MAX_RUNS_PER_CODE", "ClientMachine", "ClientState"]

MAX_RUNS_PER_CODE = 3  # what a false master in the way can guess, each time visible to the user
GOODBYE_SECONDS = 5.0  # for what is still on its way on a direct path
MAX_WRONG_DIGITS = 3  # SAS: what a person may mistype


class ClientMachine(Member):
    """See the module; speaks the verbs of :class:`porttunnel.machine.Machine`.

    :param code: what the user typed.
    :param ticket: of a former membership, which takes the code's place.
    :param name: how this client calls itself, at most 64 characters.
    :param token_bytes: as ``secrets.token_bytes``.
    :param jitter: 0 to 1, drawn by the caller.
    :param capabilities: what it would like to be allowed.
    :param give_up_seconds: how long to try to come back after the link was lost.
    """

    def __init__(
        self,
        code: SessionCode,
        *,
        ticket: RejoinTicket | None = None,
        name: str,
        token_bytes: Callable[[int], bytes],
        jitter: float,
        capabilities: tuple[str, ...] = (),
        give_up_seconds: float = GIVE_UP_SECONDS,
    ) -> None:
        super().__init__(
            name=name, token_bytes=token_bytes, jitter=jitter, give_up_seconds=give_up_seconds
        )
        self._code = code
        self._ticket = ticket
        self._capabilities = capabilities
        self._budget = AddressBudget()
        self._key: HybridPrivateKey | None = None
        self._entrance = Entrance(code, ticket, token_bytes=token_bytes, send=self._send_clear)
        self._digits = ""
        self._digits_tries_left = MAX_WRONG_DIGITS
        self._hello: record.Hello | None = None
        self._broadcast: BroadcastReceiver | None = None
        self._ended: SessionEnded | None = None  # said the server; the direct path goes on
        self._refused = False  # the master has told of the failure itself
        self._state = ClientState.JOINING
        self._state_deadline: float | None = None

    @property
    def state(self) -> ClientState:
        """How far the run has come."""
        return self._state

    @property
    def code_used_up(self) -> bool:
        """Whether this run counts as one of the code's."""
        return self._state not in (
            ClientState.JOINING,
            ClientState.PREPARING,
            ClientState.EXCHANGING,
        )

    @property
    def was_verified(self) -> bool:
        """Whether the other side has shown that it knows the code; in SAS, the right digits."""
        return self._state in VERIFIED

    @property
    def member(self) -> int:
        """Our member number, once the server gave one."""
        return self._link.member

    @property
    def streams(self) -> Multiplex:
        """The streams with the master.

        :raises LocalProtocolError: not admitted yet, or not any more.
        """
        return self._master().streams

    @property
    def ticket(self) -> RejoinTicket:
        """What lets this client come back after its process ended, if the master allows it.

        :raises LocalProtocolError: not admitted yet, or not any more.
        """
        secret = self._master().secrets.rejoin
        return RejoinTicket(self._code.number, self._session_id, self._link.member, secret)

    def dial(self, reason: str, now: float) -> DialledPath:
        """The machine of a new connection to an address of ``DirectOffered``.

        :param reason: why packets can go that way, for people.
        :raises LocalProtocolError: not admitted yet, or not any more.
        """
        return DialledPath(self, self._master(), reason, now, nonce=self._token_bytes(16))

    def start(self, now: float) -> None:
        """The link is there: ask to join."""
        self._link.start(now)
        self._link.ask(request.Join(number=self._code.number), now)
        self._events.append(KeyWanted())

    def provide_key(self, key: HybridPrivateKey, now: float) -> None:
        """The key that ``KeyWanted`` asked for."""
        self._key = key
        if self._state is ClientState.PREPARING and not self._over:
            self._send_c1(key, now)

    def enter_digits(self, digits: str, now: float) -> None:
        """SAS: what the user typed of the digits that the master's user read out."""
        if self._over or self._state is not ClientState.COMPARING:
            raise LocalProtocolError("no digits are asked for")
        if constant_time_equal(digits.encode(), self._digits.encode()):
            self._digits = ""
            self._introduce(now)
            return
        self._digits_tries_left -= 1
        if self._digits_tries_left == 0:
            self._fail(AuthenticationFailed())
        else:
            self._events.append(DigitsWrong(MASTER, self._digits_tries_left))

    def close(self, reason: str = "closed") -> None:
        """Leave on purpose: streams end, the master is told."""
        if self._over:
            return
        peer = self._peers.get(MASTER)
        # While digits are compared the master accepts nothing, not even a goodbye.
        if peer is not None and self._state is not ClientState.COMPARING:
            peer.streams.send_last(record.encode_control(record.Bye(reason=reason)))
        self._say_leave()
        self._finish(reason)

    def _master(self) -> Peer:
        if self._state is not ClientState.MEMBER or MASTER not in self._peers:
            raise LocalProtocolError("not a member of the session")
        return self._peers[MASTER]

    # The run

    def _send_c1(self, key: HybridPrivateKey, now: float) -> None:
        self._entrance.begin(self._session_id, self._link.member, key)
        self._key = None
        self._enter(ClientState.EXCHANGING, now)

    def _receive_reply(self, asked: request.Request, reply: request.Reply, now: float) -> None:
        if isinstance(asked, request.Join) and isinstance(reply, request.Joined):
            if not is_client(reply.member):
                raise RemoteProtocolError("the tunnel server gave a number that no client has")
            self._link.member = reply.member
            self._session_id = reply.session_id
            self._resumption.allow(reply.session_id, reply.token)
            self._enter(ClientState.PREPARING, now)
            if self._key is not None:
                self._send_c1(self._key, now)
        else:
            raise RemoteProtocolError("the tunnel server answered something else than was asked")

    def _receive_event(self, event: request.Event, now: float) -> None:
        if isinstance(event, request.Closed):
            # Without the master's BYE this is only the server's word.
            raise SessionEnded(f"The session has ended: {event.reason}. Ask for a new code.")
        if isinstance(event, request.Left) and event.member == self._link.member:
            raise SessionEnded(f"You are not in the session any more: {event.reason}.")
        if isinstance(event, request.Link) and event.member == MASTER:
            self._master_moved(event.up, now)

    def _master_moved(self, up: bool, now: float) -> None:
        """The master's link came or went: what was under way to it is lost, and kept here."""
        if up:
            self._entrance.repeat()
        peer = self._peers.get(MASTER)
        if peer is not None:
            self._peers.move(peer, up, now)

    def _repeat_handshakes(self) -> None:
        self._entrance.repeat()

    def _receive_handshake(self, header: Header, body: bytes, now: float) -> None:
        if header.sender != MASTER:
            raise RemoteProtocolError("another client's packet")
        if self._peers:
            return  # what stands in the clear can't hurt a pair
        if header.kind is PacketType.ERROR:
            check_handshake_header(header)
            self._receive_refusal(request.decode_error(body))
        result = self._entrance.receive(header, body)
        if isinstance(result, Established):
            peer = self._make_peer(MASTER, result)
            if self._code.kind is CodeKind.SAS and self._ticket is None:
                self._compare(peer, result, now)
            else:
                self._introduce(now)
        elif result:
            self._enter(ClientState.CONFIRMING, now)

    def _receive_from_stranger(self, header: Header) -> None:
        # The master's may come before M4, if that was lost with a link: it sends them again.
        if header.sender != MASTER:
            raise RemoteProtocolError("a sealed packet that is not the master's")

    def _receive_refusal(self, report: request.ErrorReport) -> Never:
        self._refused = True
        if report.code is ErrorCode.BUSY:
            raise RemoteProtocolError(
                "Too many people are joining at this moment. Try again in a minute.", report.code
            )
        raise AuthenticationFailed

    def _compare(self, peer: Peer, established: Established, now: float) -> None:
        self._digits = established.sas_master_shows
        self._enter(ClientState.COMPARING, now)
        self._events.append(DigitsShown(MASTER, established.sas_client_shows))
        self._events.append(DigitsAsked(MASTER))

    def _introduce(self, now: float) -> None:
        self._enter(ClientState.INTRODUCING, now)
        self._answer_hello(now)

    def _answer_hello(self, now: float) -> None:
        if self._hello is None or self._state is not ClientState.INTRODUCING:
            return
        join_as = record.JoinAs(name=self._name, capabilities=list(self._capabilities))
        self._peers[MASTER].streams.send_control(record.encode_control(join_as))
        self._enter(ClientState.ASKING, now)
        self._events.append(Verified(self._hello.name))

    def _receive_control(self, peer: Peer, payload: memoryview, now: float) -> None:
        message = record.decode_control(payload)
        if isinstance(message, record.Hello) and self._hello is None:
            self._hello = message
            self._answer_hello(now)
        elif isinstance(message, record.Refused) and self._state is ClientState.ASKING:
            why = f": {message.reason}" if message.reason else ""
            raise ConsentRefused(f"The other side refused{why}. Ask and try again.")
        elif isinstance(message, record.Welcome) and self._state is ClientState.ASKING:
            peer.streams.admitted = True
            self._enter(ClientState.MEMBER, now)
            self._broadcast = BroadcastReceiver(
                self._session_id,
                message.signing_key,
                message.epoch,
                message.group_key,
                tell=self._tell_master,
                events=self._events,
            )
            self._events.append(
                Welcomed(
                    self._link.member,
                    message.name,
                    tuple(message.services),
                    tuple(message.members),
                )
            )
        elif isinstance(message, record.Members) and self._state is ClientState.MEMBER:
            self._events.append(MembersChanged(tuple(message.members)))
        elif isinstance(message, record.Direct) and self._state is ClientState.MEMBER:
            self._events.append(DirectOffered(tuple(self._budget.take(message.addresses, now))))
        elif self._broadcast is not None and isinstance(message, GROUP_CONTROL):
            self._broadcast.receive_control(message, now)
        elif isinstance(message, record.Bye) and self._state is not ClientState.COMPARING:
            self._peers.drop(peer)
            self._say_leave()
            self._finish(message.reason)
        else:
            raise RemoteProtocolError(
                f"{type(message).__name__} is not possible in the state {self._state.name}"
            )

    # Broadcasts

    @property
    def broadcast(self) -> BroadcastReceiver | None:
        """Takes what is sent to all, as long as this is a member."""
        return None if self._over else self._broadcast

    def _receive_group(self, header: Header, packet: memoryview, now: float) -> None:
        if header.sender == MASTER and self._broadcast is not None and not self._over:
            self._broadcast.receive_group(header, packet, now)

    def _tell_master(self, ack: record.GroupAck) -> None:
        self._peers[MASTER].streams.send_control(record.encode_control(ack))

    # Ends

    def _fail(self, error: PorttunnelError) -> None:
        if self._over or self._outlives(error):
            return
        failed = isinstance(error, ProtocolError | AuthenticationFailed)
        if failed and self._state in UNVERIFIED and not self._refused:
            report = request.ErrorReport(code=ErrorCode.HANDSHAKE_FAILED, text="handshake failed")
            self._send_clear(PacketType.ERROR, MASTER, request.encode(report))
        if self._state is ClientState.CONFIRMING and isinstance(error, ProtocolError):
            # Whatever broke the run after our proof was sent: a guess may have been made.
            error = AuthenticationFailed()
        self._say_leave()
        super()._fail(error)

    def _outlives(self, error: PorttunnelError) -> bool:
        """Whether what the server says of the session's end waits for the master's own goodbye,
        which may still come on a direct path, behind data.
        """
        peer = self._peers.get(MASTER)
        if not isinstance(error, SessionEnded) or peer is None or peer.direct is None:
            return False
        if self._ended is None:
            self._ended = error
            self._state_deadline = self._now + GOODBYE_SECONDS
            self._link.close()
        return True

    def _end(self) -> None:
        super()._end()
        self._entrance.close()
        self._broadcast = None

    def _fail_peer(self, peer: Peer, error: PorttunnelError) -> None:
        self._peers.drop(peer)
        self._fail(error)

    def _say_leave(self) -> None:
        if self._link.member != NO_MEMBER:
            self._link.tell_last(request.Leave())

    def _enter(self, state: ClientState, now: float) -> None:
        self._state = state
        patience = PATIENCE_SECONDS.get(state)
        self._state_deadline = None if patience is None else now + patience

    def _next_own_deadline(self) -> float | None:
        deadlines = [self._state_deadline]
        if self._broadcast is not None:
            deadlines.append(self._broadcast.next_deadline())
        return min((due for due in deadlines if due is not None), default=None)

    def _meet_own_deadline(self, now: float) -> None:
        if self._broadcast is not None:
            self._broadcast.handle_timeout(now)
        if self._state_deadline is None or now < self._state_deadline:
            return
        if self._ended is not None:
            self._peers.drop(self._peers[MASTER])
            raise self._ended
        if self._state is ClientState.CONFIRMING:
            raise AuthenticationFailed
        if self._state is ClientState.ASKING:
            raise ConsentRefused("Nobody said yes on the other side in time. Ask and try again.")
        raise CutOff(f"The other side took too long ({self._state.value}). Try again.")
