"""What master and client have in common: a link to the tunnel server, and what comes on it.

It speaks the verbs of :class:`porttunnel.machine.Machine` for its link. When the link is lost,
``LinkLost`` is reported; :meth:`Member.reconnected` goes on with a new one. Direct paths are
machines of their own (:mod:`porttunnel.session.direct`) that bring their packets to the same
peers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from porttunnel.errors import (
    AuthenticationFailed,
    CutOff,
    LinkBroken,
    PorttunnelError,
    ProtocolError,
    RemoteProtocolError,
    SessionError,
)
from porttunnel.keys.handshake import Established
from porttunnel.session import request
from porttunnel.session.event import ConnectionFailed, LinkLost, LinkRestored, SessionFinished
from porttunnel.session.link import ServerLink, error_from_report
from porttunnel.session.outbox import SlotPool
from porttunnel.session.packet import (
    FLAG_GROUP,
    HEADER_BYTES,
    SERVER,
    Header,
    PacketType,
)
from porttunnel.session.path import Path
from porttunnel.session.peer import Peer
from porttunnel.session.peer_book import PeerBook
from porttunnel.session.resumption import Resumption

__all__ = ["GIVE_UP_SECONDS", "Member"]

GIVE_UP_SECONDS = 86_400.0  # a night without electricity; the server keeps a master as long
# Twice what a link is ever ahead: only a server gets there that has things said again and reads
# none of it.
MAX_CLEAR_BYTES = 8 * 1024 * 1024

# Before there is anything to come back to: it may be another program that answers there.
_START_AGAIN = "Check the server's address, or start again in a minute."
_ERRORS = (ProtocolError, AuthenticationFailed, SessionError)


class Member(ABC):
    """A member's core without its role.

    :param name: how this member calls itself, at most 64 characters.
    :param token_bytes: as ``secrets.token_bytes``.
    :param jitter: 0 to 1, drawn by the caller, for the pings.
    :param give_up_seconds: how long to try to come back after the link was lost.
    """

    def __init__(
        self,
        *,
        name: str,
        token_bytes: Callable[[int], bytes],
        jitter: float,
        give_up_seconds: float,
    ) -> None:
        self._name = name
        self._token_bytes = token_bytes
        self._pool = SlotPool()
        self._jitter = jitter
        self._session_id = b""
        self._link = ServerLink(self._pool, jitter)
        self._resumption = Resumption(give_up_seconds)
        self._events: list[Any] = []
        self._peers = PeerBook(self._link, self._events, self._receive_control, self._fail_peer)
        self._now = 0.0
        self._over = False

    # The verbs of a machine

    def receive_data(self, data: memoryview, now: float) -> None:
        """See :meth:`porttunnel.machine.Machine.receive_data`."""
        self._now = now
        if self._over:
            return
        try:
            for header, packet in self._link.receive(data, now, SERVER):
                self._receive_packet(header, packet, now)
                if self.over:
                    break
        except LinkBroken as error:
            self._lose_link(error, now)
        except _ERRORS as error:
            self._fail(error)
        self._peers.reading_done()

    def receive_eof(self, now: float) -> None:
        """The tunnel server closed the connection, or it broke."""
        self._lose_link(LinkBroken("The connection to the tunnel server was cut."), now)

    def events(self) -> Iterator[Any]:
        """What happened since the last call."""
        while self._events:
            happened = self._events.copy()
            # Cleared in place: the peers append to this very list.
            self._events.clear()
            yield from happened

    @property
    def has_events(self) -> bool:
        """Whether :meth:`events` has something to give."""
        return bool(self._events)

    def data_to_send(self) -> Sequence[memoryview]:
        """What waits to be sent on the link."""
        self.take_turns(self._link)
        return self._link.outbox.views()

    def data_sent(self, count: int) -> None:
        """The first ``count`` bytes went out."""
        self._link.outbox.sent(count)

    def limit_ahead(self, count: int) -> None:
        """Queue at most about ``count`` bytes on the link; the rest takes turns."""
        self._link.outbox.limit_bytes = count

    def next_deadline(self) -> float | None:
        """When :meth:`handle_timeout` is due (seconds, absolute)."""
        if self._over:
            return None
        deadlines = (
            None if self._link.closed else self._link.next_deadline(self._peers.is_busy()),
            self._resumption.deadline,
            self._next_own_deadline(),
            self._peers.next_deadline(self._now),
        )
        return min((due for due in deadlines if due is not None), default=None)

    def handle_timeout(self, now: float) -> None:
        """Do what was due."""
        self._now = now
        if self._over:
            return
        try:
            if not self._link.closed:
                self._link.handle_timeout(now, self._peers.is_busy())
        except LinkBroken as error:
            self._lose_link(error, now)
        try:
            self._resumption.handle_timeout(now)
            self._meet_own_deadline(now)
        except _ERRORS as error:
            self._fail(error)
        if not self._over:
            self._peers.handle_timeout(now)
            if not self._peers.is_busy():
                self._pool.trim()

    # The link

    @property
    def link(self) -> ServerLink:
        """The link to the tunnel server; closed while it is lost."""
        return self._link

    @property
    def is_away(self) -> bool:
        """Whether the link was lost, and the server has not taken a new one yet."""
        return self._resumption.under_way

    @property
    def over(self) -> bool:
        """Whether the session has ended for this member."""
        return self._over

    @property
    def session_id(self) -> bytes:
        """16 bytes, once the server told; the session's identity for ever."""
        return self._session_id

    def reconnected(self, now: float) -> None:
        """After ``LinkLost``: there is a new connection to the tunnel server."""
        self._now = now
        lost, self._link = self._link, ServerLink(self._pool, self._jitter)
        self._link.member = lost.member
        self._link.wake = lost.wake
        self._link.outbox.limit_bytes = lost.outbox.limit_bytes
        # Nothing but RESUME before its answer: by the first other packet the server knows that
        # the new token has come, and forgets the old one.
        self._link.hold(lost.untold)
        self._peers.link = self._link
        self._link.start(now)
        self._link.ask(self._resumption.ask(lost.member), now)

    def _lose_link(self, error: LinkBroken, now: float, retry_after_seconds: float = 0.0) -> None:
        if self._over or self._link.closed:
            return
        if not self._resumption.possible:
            self._fail(CutOff(f"{error} {_START_AGAIN}"))
            return
        self._link.close()
        self._resumption.begin(now)
        self._peers.leave_link()
        self._events.append(LinkLost(error, retry_after_seconds))

    def _resume(self, token: bytes, now: float) -> None:
        self._resumption.succeed(token)
        self._link.release()
        self._events.append(LinkRestored())
        self._repeat_handshakes()
        self._peers.use_link(now)

    # For direct paths

    def take_turns(self, path: Path) -> None:
        """Bring what waits for this path onto it, as far as there is room."""
        if path.turns and not self._over:
            self._peers.take_turns(path)

    @property
    def peers(self) -> PeerBook:
        """Those that we share keys with."""
        return self._peers

    @property
    def pool(self) -> SlotPool:
        """Where slots come from."""
        return self._pool

    # For the roles

    @abstractmethod
    def _receive_handshake(self, header: Header, body: bytes, now: float) -> None:
        """C1 to M4, or an ERROR that another member sent."""

    @abstractmethod
    def _repeat_handshakes(self) -> None:
        """The link is new: what was said last in an unfinished handshake may be lost."""

    def _receive_group(self, header: Header, packet: memoryview, now: float) -> None:
        """A packet to all; only clients get them."""
        raise RemoteProtocolError("a group packet where none is possible")

    @abstractmethod
    def _receive_from_stranger(self, header: Header) -> None:
        """A sealed packet of somebody that there is no pair with."""

    @abstractmethod
    def _receive_reply(self, asked: request.Request, reply: request.Reply, now: float) -> None:
        """The server's answer to what is not RESUME."""

    @abstractmethod
    def _receive_event(self, event: request.Event, now: float) -> None:
        """The server tells something. A hint."""

    @abstractmethod
    def _receive_control(self, peer: Peer, payload: memoryview, now: float) -> None:
        """A control record."""

    @abstractmethod
    def _fail_peer(self, peer: Peer, error: PorttunnelError) -> None:
        """A pair can't go on."""

    @abstractmethod
    def _next_own_deadline(self) -> float | None:
        """The role's next deadline."""

    @abstractmethod
    def _meet_own_deadline(self, now: float) -> None:
        """The role's time-outs."""

    def _send_clear(self, kind: PacketType, target: int, body: bytes, number: int = 0) -> None:
        """Send a packet with a plaintext body to a member; while the link is away, or its server
        reads nothing, it is dropped, and repeated later if it matters.
        """
        if self._resumption.under_way or self._link.outbox.waiting_bytes >= MAX_CLEAR_BYTES:
            return
        self._link.send(kind, target, body, number)

    def _queue(self, packet: bytes | memoryview) -> None:
        """Put a whole packet on the link; to be called when :meth:`_has_room`."""
        self._link.outbox.append(packet)

    def _has_room(self) -> bool:
        outbox = self._link.outbox
        return not self.is_away and outbox.waiting_bytes < outbox.limit_bytes

    def _make_peer(self, member: int, established: Established) -> Peer:
        peer = Peer(
            self._link.member,
            member,
            established,
            pool=self._pool,
            path=self._link,
            events=self._events,
            wants_turn=self._peers.want_turn,
        )
        self._peers.add(peer)
        return peer

    def _end(self) -> None:
        """It is over: all keys go. What is sealed already still goes out."""
        self._over = True
        self._resumption.erase()
        for peer in self._peers:
            self._peers.drop(peer)
        self._pool.close()

    def _finish(self, reason: str) -> None:
        self._end()
        self._events.append(SessionFinished(reason))

    def _fail(self, error: PorttunnelError) -> None:
        if self._over:
            return
        self._end()
        if isinstance(error, ProtocolError):
            self._link.say_goodbye()
        self._events.append(ConnectionFailed(error))

    # Inside

    def _receive_packet(self, header: Header, packet: memoryview, now: float) -> None:
        kind = header.kind
        sender = header.sender
        if header.flags & FLAG_GROUP:
            # Sealed and signed: what is wrong with it is the group's business.
            self._receive_group(header, packet, now)
        elif header.target != self._link.member and sender != SERVER:
            raise RemoteProtocolError("the tunnel server sent a packet for somebody else")
        elif kind is PacketType.DATA or kind is PacketType.ACK:
            peer = self._peers.get(sender)
            if peer is not None:
                self._peers.receive_sealed(peer, header, packet, self._link, now)
            else:
                self._receive_from_stranger(header)
        elif kind in (PacketType.REPLY, PacketType.EVENT) or sender == SERVER:
            self._receive_from_server(header, packet[HEADER_BYTES:], now)
        else:
            self._receive_handshake(header, bytes(packet[HEADER_BYTES:]), now)

    def _receive_from_server(self, header: Header, body: memoryview, now: float) -> None:
        if header.sender != SERVER:
            raise RemoteProtocolError("an answer that is not the tunnel server's")
        if header.kind in (PacketType.REPLY, PacketType.ERROR) and self._link.nobody_waits(header):
            return
        if header.kind is PacketType.REPLY:
            asked, reply = self._link.answered(header), request.decode_reply(body)
            if not isinstance(asked, request.Resume):
                self._receive_reply(asked, reply, now)
            elif isinstance(reply, request.Resumed):
                self._resume(reply.token, now)
            else:
                raise RemoteProtocolError("the tunnel server did not answer RESUME")
        elif header.kind is PacketType.EVENT:
            event = request.decode_event(body)
            if isinstance(event, request.GoingAway):
                broken = LinkBroken("The tunnel server is being restarted.")
                self._lose_link(broken, now, event.retry_after_s)
            else:
                self._receive_event(event, now)
        elif header.kind is PacketType.ERROR:
            report = request.decode_error(body)
            raise error_from_report(report, answers=self._link.is_asked(header))
        else:
            raise RemoteProtocolError("the tunnel server sent what only members send")
