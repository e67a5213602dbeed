"""What master and client have in common: one link, peers on it, turns, deadlines.

It speaks the verbs of :class:`porttunnel.machine.Machine`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from porttunnel.errors import (
    AuthenticationFailed,
    CutOff,
    PorttunnelError,
    ProtocolError,
    RemoteProtocolError,
    SessionError,
)
from porttunnel.keys.handshake import Established
from porttunnel.session import request
from porttunnel.session.event import ConnectionFailed, SessionFinished
from porttunnel.session.link import ServerLink, error_from_report
from porttunnel.session.outbox import SlotPool
from porttunnel.session.packet import FLAG_GROUP, HEADER_BYTES, SERVER, Header, PacketType
from porttunnel.session.peer import Peer

__all__ = ["Member"]


class Member(ABC):
    """A member's core without its role.

    :param name: how this member calls itself, at most 64 characters.
    :param token_bytes: as ``secrets.token_bytes``.
    :param jitter: 0 to 1, drawn by the caller, for the pings.
    """

    def __init__(self, *, name: str, token_bytes: Callable[[int], bytes], jitter: float) -> None:
        self._name = name
        self._token_bytes = token_bytes
        self._pool = SlotPool()
        self._link = ServerLink(self._pool, jitter)
        self._peers: dict[int, Peer] = {}
        self._turns: dict[int, Peer] = {}
        # Books instead of walks: a busy master asks after each packet, and may have a thousand
        # clients.
        self._timed: dict[int, Peer] = {}  # whose pair may have a deadline
        self._pairs_due: float | None = None  # the earliest of them, or before it
        self._unsettled: dict[int, Peer] = {}  # who may have something to acknowledge
        self._events: list[Any] = []
        self._over = False

    # The verbs of a machine

    def receive_data(self, data: memoryview, now: float) -> None:
        """See :meth:`porttunnel.machine.Machine.receive_data`."""
        if self._over:
            return
        try:
            for header, packet in self._link.receive(data, now):
                self._receive_packet(header, packet, now)
                if self.over:
                    break
        except (ProtocolError, AuthenticationFailed, SessionError) as error:
            self._fail(error)

    def receive_eof(self, now: float) -> None:
        """The tunnel server closed the connection, or it broke."""
        self._fail(CutOff("The connection to the tunnel server was cut. Start again."))

    def events(self) -> Iterator[Any]:
        """What happened since the last call."""
        while self._events:
            happened = self._events.copy()
            # Cleared in place: the peers append to this very list.
            self._events.clear()
            yield from happened

    def data_to_send(self) -> Sequence[memoryview]:
        """What waits to be sent on the link."""
        if self._turns and not self._over:
            self._take_turns()
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
            self._link.next_deadline(self._is_busy()),
            self._next_own_deadline(),
            self._pairs_due,
        )
        return min((due for due in deadlines if due is not None), default=None)

    def handle_timeout(self, now: float) -> None:
        """Do what was due."""
        if self._over:
            return
        try:
            self._link.handle_timeout(now, self._is_busy())
            self._meet_own_deadline(now)
        except (ProtocolError, AuthenticationFailed, SessionError) as error:
            self._fail(error)
            return
        if self._pairs_due is not None and now >= self._pairs_due:
            self._meet_pairs_deadlines(now)

    # For the roles

    @property
    def over(self) -> bool:
        """Whether the session has ended for this member."""
        return self._over

    @abstractmethod
    def _receive_handshake(self, header: Header, body: bytes, now: float) -> None:
        """C1 to M4, or an ERROR that another member sent."""

    @abstractmethod
    def _receive_from_stranger(self, header: Header) -> None:
        """A sealed packet of somebody that there is no pair with."""

    @abstractmethod
    def _receive_reply(self, asked: request.Request, reply: request.Reply, now: float) -> None:
        """The server's answer."""

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

    def _make_peer(self, member: int, established: Established) -> Peer:
        peer = Peer(
            self._link.member,
            member,
            established,
            pool=self._pool,
            outbox=self._link.outbox,
            events=self._events,
            wants_turn=self._want_turn,
        )
        self._peers[member] = peer
        return peer

    def _drop_peer(self, peer: Peer) -> None:
        """Forget a peer and its keys; what is queued on the link still goes out."""
        self._peers.pop(peer.member, None)
        self._turns.pop(peer.member, None)
        self._timed.pop(peer.member, None)
        self._unsettled.pop(peer.member, None)
        peer.streams.close()
        peer.pair.close()

    def _finish(self, reason: str) -> None:
        self._over = True
        self._events.append(SessionFinished(reason))

    def _fail(self, error: PorttunnelError) -> None:
        if self._over:
            return
        self._over = True
        if isinstance(error, ProtocolError):
            self._link.say_goodbye()
        self._events.append(ConnectionFailed(error))

    # Inside

    def _is_busy(self) -> bool:
        """Whether something of ours waits to be sent or acknowledged."""
        while self._unsettled:
            member, peer = next(iter(self._unsettled.items()))
            if peer.pair.unacked_bytes:
                return True
            del self._unsettled[member]
        return bool(self._turns)

    def _watch(self, peer: Peer) -> None:
        due = peer.pair.next_deadline()
        if due is not None:
            self._timed[peer.member] = peer
            if self._pairs_due is None or due < self._pairs_due:
                self._pairs_due = due

    def _meet_pairs_deadlines(self, now: float) -> None:
        timed, self._timed, self._pairs_due = self._timed, {}, None
        for peer in timed.values():
            try:
                peer.pair.handle_timeout(now)
            except RemoteProtocolError as error:
                self._fail_peer(peer, error)
            else:
                self._watch(peer)

    def _want_turn(self, peer: Peer) -> None:
        self._turns[peer.member] = peer

    def _take_turns(self) -> None:
        outbox = self._link.outbox
        for member in list(self._turns):
            if outbox.waiting_bytes >= outbox.limit_bytes:
                break
            peer = self._turns.pop(member)
            peer.take_turn()
            self._unsettled[member] = peer
            if peer.has_work and outbox.waiting_bytes:
                # The link was full, so its turn comes again, behind the others. If it was the
                # window, the next acknowledgement brings it back.
                self._turns[member] = peer

    def _receive_packet(self, header: Header, packet: memoryview, now: float) -> None:
        kind = header.kind
        if header.target != self._link.member and header.sender != SERVER:
            raise RemoteProtocolError("the tunnel server sent a packet for somebody else")
        if kind is PacketType.DATA or kind is PacketType.ACK:
            peer = self._peers.get(header.sender)
            if peer is not None:
                self._receive_sealed(peer, header, packet, now)
            else:
                self._receive_from_stranger(header)
        elif kind in (PacketType.REPLY, PacketType.EVENT) or header.sender == SERVER:
            self._receive_from_server(header, packet[HEADER_BYTES:], now)
        else:
            self._receive_handshake(header, bytes(packet[HEADER_BYTES:]), now)

    def _receive_sealed(self, peer: Peer, header: Header, packet: memoryview, now: float) -> None:
        try:
            if header.flags & FLAG_GROUP:
                raise RemoteProtocolError("a group packet where none is possible")
            if header.kind is PacketType.ACK:
                peer.pair.receive_ack(header, packet)
            else:
                plaintext = peer.pair.receive_data(header, packet, now)
                if plaintext is not None:
                    peer.streams.receive(
                        plaintext, lambda payload: self._receive_control(peer, payload, now)
                    )
        except (ProtocolError, AuthenticationFailed) as error:
            self._fail_peer(peer, error)
            return
        if peer.member not in self._peers:
            return
        self._watch(peer)
        if peer.has_work:
            # An acknowledgement may have opened the window.
            self._turns[peer.member] = peer

    def _receive_from_server(self, header: Header, body: memoryview, now: float) -> None:
        if header.sender != SERVER:
            raise RemoteProtocolError("an answer that is not the tunnel server's")
        if header.kind in (PacketType.REPLY, PacketType.ERROR) and self._link.nobody_waits(header):
            return
        if header.kind is PacketType.REPLY:
            self._receive_reply(self._link.answered(header), request.decode_reply(body), now)
        elif header.kind is PacketType.EVENT:
            self._receive_event(request.decode_event(body), now)
        elif header.kind is PacketType.ERROR:
            raise error_from_report(request.decode_error(body))
        else:
            raise RemoteProtocolError("the tunnel server sent what only members send")
