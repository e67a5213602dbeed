"""A member's peers: whose packets go where, whose turn it is, and when which pair wants a call.

Source: docs/session-protocol, sections 2 and 7. Books instead of walks: a busy master asks after
each packet, and may have a thousand clients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from porttunnel.errors import AuthenticationFailed, LimitExceeded, PorttunnelError, ProtocolError
from porttunnel.session.event import MemberAway, MemberBack, PathChanged, PathKind
from porttunnel.session.multiplex import MAX_CONTROL_BYTES
from porttunnel.session.packet import Header, PacketType
from porttunnel.session.path import Path
from porttunnel.session.peer import LEFT_BY_THE_OTHER, Peer

__all__ = ["PeerBook"]

LOOK_SECONDS = 5.0  # between two looks whether acknowledgements still come


class PeerBook:
    """See the module.

    :param link: the path to the tunnel server.
    :param events: where what happens is appended.
    :param receive_control: called with peer, payload and time for each control record.
    :param fail: called with a peer whose pair can't go on, and why.
    :ivar link: the path to the tunnel server now; closed while it is lost.
    """

    def __init__(
        self,
        link: Path,
        events: list[Any],
        receive_control: Callable[[Peer, memoryview, float], None],
        fail: Callable[[Peer, PorttunnelError], None],
    ) -> None:
        self.link = link
        self._events = events
        self._receive_control = receive_control
        self._fail = fail
        self._peers: dict[int, Peer] = {}
        self._timed: dict[int, Peer] = {}  # whose pair may have a deadline
        self._pairs_due: float | None = None  # the earliest of them, or before it
        self._unsettled: dict[int, Peer] = {}  # who may have something to acknowledge
        self._look_at: float | None = None
        self._received: dict[int, Path] = {}  # of whom a packet came in this read, and where

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._peers.values()))

    def __contains__(self, member: int) -> bool:
        return member in self._peers

    def __getitem__(self, member: int) -> Peer:
        return self._peers[member]

    def get(self, member: int) -> Peer | None:
        """The peer with this number, if there is one."""
        return self._peers.get(member)

    def add(self, peer: Peer) -> None:
        """Another one."""
        self._peers[peer.member] = peer

    def drop(self, peer: Peer) -> None:
        """Forget a peer and its keys; what is queued on the link still goes out."""
        self._peers.pop(peer.member, None)
        self.link.turns.leave(peer.member)
        self._timed.pop(peer.member, None)
        self._unsettled.pop(peer.member, None)
        peer.close()

    # Packets

    def receive_sealed(
        self, peer: Peer, header: Header, packet: memoryview, path: Path, now: float
    ) -> None:
        """A DATA or ACK packet of a peer; :meth:`reading_done` follows the last one of a read.

        :raises RemoteProtocolError: on a direct path: it is not right, and ends that path.
        :raises AuthenticationFailed: likewise.
        """
        plaintext = None
        try:
            if header.kind is PacketType.ACK:
                if peer.pair.receive_ack(header, packet, path, now):
                    self._follow(peer, path, now)
                # Not by any old ACK, which is dropped unread: its question or answer leads to it.
                if peer.is_away and peer.pair.path is not None:
                    peer.is_away = False
                    self._events.append(MemberBack(peer.member))
            else:
                plaintext = peer.pair.receive_data(header, packet, path, now)
        except (ProtocolError, AuthenticationFailed) as error:
            if path is not self.link:
                raise  # what is wrong with the pair itself comes again on the relay
            self._fail(peer, error)
            return
        if plaintext is not None:
            try:
                peer.streams.receive(
                    plaintext, lambda payload: self._receive_control(peer, payload, now)
                )
            except (ProtocolError, AuthenticationFailed) as error:
                self._fail(peer, error)
                return
        self._received[peer.member] = path

    def reading_done(self) -> None:
        """All packets of one read are in: see once for all of them what there is to do now."""
        for member, path in self._received.items():
            peer = self._peers.get(member)
            if peer is None:
                continue
            self.watch(peer)
            active = peer.pair.path
            if active is None:
                continue
            if peer.has_work:
                # An acknowledgement may have opened the window.
                active.turns.wait(member)
            if active is not path:
                active.wake()  # an acknowledgement may have been put there
        self._received.clear()

    def want_turn(self, peer: Peer) -> None:
        """A peer has something to send; without a path it waits for one."""
        path = peer.pair.path
        if path is not None:
            path.turns.wait(peer.member)
            path.wake()
        elif self._peers.get(peer.member) is peer:
            self._unsettled[peer.member] = peer  # how much waits meanwhile is looked at

    def take_turns(self, path: Path) -> None:
        """Let those whose packets go this way put them there, as far as there is room."""
        outbox = path.outbox
        turns = path.turns
        # Each once: who has more comes again behind the others.
        for member in list(turns):
            if outbox.waiting_bytes >= outbox.limit_bytes:
                break
            peer = self._peers.get(member)
            if peer is None or peer.pair.path is not path:
                turns.leave(member)
                if peer is not None:
                    self.want_turn(peer)  # it has moved meanwhile
                continue
            peer.take_turn()
            self._unsettled[member] = peer
            refused = path.is_promised and path.told is not peer.streams.turns
            if not (refused and peer.has_work):
                # Otherwise the path is somebody else's just now, and it keeps its place.
                turns.leave(member)
                if peer.has_work and (outbox.waiting_bytes or path.is_promised):
                    # Its turn comes again, behind the others. If it is the window that is full,
                    # the next acknowledgement brings it back.
                    turns.wait(member)

    # Paths

    def leave_link(self) -> None:
        """The link is lost."""
        for peer in self._peers.values():
            peer.pair.leave(self.link)

    def use_link(self, now: float) -> None:
        """The server has taken the new link."""
        for peer in self:
            self.ask_on_link(peer, now)

    def ask_on_link(self, peer: Peer, now: float) -> None:
        """Go by the relay, unless a direct path works: a question would lead away from it."""
        path, link = peer.pair.path, self.link
        # A link that waits for the answer to RESUME asks everybody once it is there.
        if not (link.closed or link.held) and (path is None or path.kind is PathKind.RELAY):
            self._ask(peer, link, now)

    def move(self, peer: Peer, up: bool, now: float) -> None:
        """The server says that a peer's link came or went: what was under way to it is lost."""
        if up:
            self.ask_on_link(peer, now)
            return
        peer.pair.leave(self.link)
        if peer.streams.admitted and not peer.is_away and peer.pair.path is None:
            peer.is_away = True
            self._events.append(MemberAway(peer.member))

    def attach_direct(self, peer: Peer, path: Path, now: float) -> None:
        """A direct path has shown who is at its other end."""
        if peer.direct is not None:
            self.lose_direct(peer, peer.direct, "a newer direct connection took its place", now)
        peer.direct = path
        self._ask(peer, path, now)

    def lose_direct(self, peer: Peer, path: Path, reason: str, now: float) -> None:
        """A direct path is gone; what went there goes by the relay again."""
        path.close()
        if peer.direct is not path:
            return
        peer.direct = None
        peer.relay_reason = reason
        peer.pair.leave(path)
        if peer.member in self._peers:
            self.ask_on_link(peer, now)

    def _ask(self, peer: Peer, path: Path, now: float) -> None:
        peer.pair.resync(path, now)
        path.wake()
        self.watch(peer)

    def _follow(self, peer: Peer, path: Path, now: float) -> None:
        """The packets for a peer go another way, as it asked or answered there."""
        if path.kind is peer.path_kind:
            return
        peer.path_kind = path.kind
        reason = peer.relay_reason if path.kind is PathKind.RELAY else path.reason
        peer.relay_reason = LEFT_BY_THE_OTHER
        self._events.append(PathChanged(peer.member, path.kind, reason))
        if peer.direct is not None and path is not peer.direct:
            # It has lost the direct path and we don't know yet; or it has not, and asked here
            # before that path was there: then its answer leads back.
            self._ask(peer, peer.direct, now)

    # Time

    def is_busy(self) -> bool:
        """Whether something of ours waits to be sent or acknowledged."""
        while self._unsettled:
            member, peer = next(iter(self._unsettled.items()))
            if not peer.is_settled:
                return True
            del self._unsettled[member]
        return bool(self.link.turns)

    def watch(self, peer: Peer) -> None:
        """The pair's deadline may have changed; and it may have sealed what must be acknowledged,
        though nothing was written: a generation begins with a packet, empty if need be.
        """
        if peer.pair.unacked_bytes:
            self._unsettled[peer.member] = peer
        due = peer.pair.next_deadline()
        if due is not None:
            self._timed[peer.member] = peer
            if self._pairs_due is None or due < self._pairs_due:
                self._pairs_due = due

    def next_deadline(self, now_or_before: float) -> float | None:
        """When :meth:`handle_timeout` is due.

        :param now_or_before: the last known time: from it on the next look is counted.
        """
        if self._look_at is None and self._unsettled:
            self._look_at = now_or_before + LOOK_SECONDS
        if self._look_at is None or self._pairs_due is None:
            return self._look_at if self._pairs_due is None else self._pairs_due
        return min(self._look_at, self._pairs_due)

    def handle_timeout(self, now: float) -> None:
        """Do what was due."""
        if self._pairs_due is not None and now >= self._pairs_due:
            self._meet_deadlines(now)
        if self._look_at is not None and now >= self._look_at:
            self._look_for_losses(now)

    def _meet_deadlines(self, now: float) -> None:
        timed, self._timed, self._pairs_due = self._timed, {}, None
        for peer in timed.values():
            try:
                peer.pair.handle_timeout(now)
            except ProtocolError as error:
                self._fail(peer, error)
                continue
            self.watch(peer)
            for path in (peer.pair.path, peer.direct, self.link):
                if path is not None and path.outbox.waiting_bytes:
                    path.wake()

    def _look_for_losses(self, now: float) -> None:
        """Each path keeps the order, yet the server drops what comes for somebody who is away; if
        that was the last for now, nothing else would tell. So who acknowledges nothing is asked.
        """
        self._look_at = None
        for member, peer in list(self._unsettled.items()):
            pair = peer.pair
            if peer.streams.turns.give_up_on_told() and pair.path is not None:
                pair.path.wake()
            if peer.streams.control_bytes > MAX_CONTROL_BYTES:
                # It reads nothing while the session goes on around it.
                self._fail(peer, LimitExceeded("more waits for this member than may"))
                self._unsettled.pop(member, None)
            elif peer.is_settled:
                del self._unsettled[member]
            elif pair.acknowledged != peer.acknowledged_before:
                peer.acknowledged_before = pair.acknowledged
            elif pair.path is not None:
                self._ask(peer, pair.path, now)
        if self._unsettled:
            self._look_at = now + LOOK_SECONDS
