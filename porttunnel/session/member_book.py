"""The master's book of clients: who joins, who is in, and what those are told together.

Source: docs/session-protocol, sections 6 and 8. Each join, leave and kick begins a group epoch:
who comes in reads nothing of what was sealed before, who is out nothing of what is sealed after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from porttunnel.errors import LocalProtocolError
from porttunnel.keys.primitives import SigningKey
from porttunnel.session import record
from porttunnel.session.broadcast_sender import BroadcastSender
from porttunnel.session.joiner import Joiner, JoinerState
from porttunnel.session.packet import MASTER
from porttunnel.session.peer import Peer
from porttunnel.session.peer_book import PeerBook

__all__ = ["MemberBook"]

MAX_SERVICES_BYTES = 32 * 1024  # half of a record: WELCOME lists members too
SERVICE_OVERHEAD_BYTES = 48  # of MessagePack and the kind
GROUP_KEY_BYTES = 32


class MemberBook:
    """See the module.

    :param name: how the master calls itself.
    :param services: what is shared, as WELCOME lists it.
    :param signing_key: of this session's broadcasts.
    :param token_bytes: as ``secrets.token_bytes``.
    :param peers: the pairs.
    :param events: where what happens is appended.
    :param send_group: queues a packet to all on the link.
    :param has_room: whether the link takes one.
    """

    def __init__(
        self,
        *,
        name: str,
        services: tuple[record.Service, ...],
        signing_key: SigningKey,
        token_bytes: Callable[[int], bytes],
        peers: PeerBook,
        events: list[Any],
        send_group: Callable[[bytes | memoryview], None],
        has_room: Callable[[], bool],
    ) -> None:
        self._name = name
        self._services = services
        self._signing_key = signing_key
        self._token_bytes = token_bytes
        self._peers = peers
        self._events = events
        self._send_group = send_group
        self._has_room = has_room
        self._direct: record.Direct | None = None
        self._broadcast: BroadcastSender | None = None
        self._joining: dict[int, Joiner] = {}  # not members yet: only they have deadlines
        self._members: dict[int, Joiner] = {}

    def open(self, session_id: bytes) -> None:
        """The session is there."""
        self._broadcast = BroadcastSender(
            session_id,
            self._signing_key,
            send_group=self._send_group,
            tell=self._tell_one,
            room=self._has_room,
            events=self._events,
        )

    def close(self) -> None:
        """The session is over: nothing more is sealed for all, no digits are compared."""
        if self._broadcast is not None:
            self._broadcast.close()
        for joiner in self._joining.values():
            joiner.established = None

    @property
    def broadcast(self) -> BroadcastSender:
        """What is sent to all; :raises LocalProtocolError: there is no session yet."""
        if self._broadcast is None:
            raise LocalProtocolError("the session is not open yet")
        return self._broadcast

    @property
    def may_broadcast(self) -> bool:
        """Whether there is a session."""
        return self._broadcast is not None

    def flush_broadcast(self, now: float) -> None:
        """Seal what was written to all: the link has had its turn, and most turns have nothing."""
        if self._broadcast is not None and self._broadcast.has_work:
            self._broadcast.flush(now)

    # Who is who

    def __iter__(self) -> Iterator[Joiner]:
        return iter([*self._joining.values(), *self._members.values()])

    def find(self, member: int) -> Joiner | None:
        """Who has this number, joining or in."""
        return self._joining.get(member) or self._members.get(member)

    def joiner_of(self, peer: Peer) -> Joiner:
        """Who a pair is with."""
        return self._joining.get(peer.member) or self._members[peer.member]

    def admitted(self, member: int) -> Peer | None:
        """Who is in with this number."""
        joiner = self._members.get(member)
        return None if joiner is None else joiner.peer

    def joining(self, member: int) -> Joiner | None:
        """Who is not in yet."""
        return self._joining.get(member)

    def is_deciding(self, member: int) -> bool:
        """Whether this client waits for our user's yes or no."""
        joiner = self._joining.get(member)
        return joiner is not None and joiner.state is JoinerState.DECIDING

    def deciding(self, member: int) -> Joiner:
        """Who waits for our user; :raises LocalProtocolError: nobody with this number."""
        if not self.is_deciding(member):
            raise LocalProtocolError(f"member {member} does not wait for a decision")
        return self._joining[member]

    # Coming and going

    def begin(self, joiner: Joiner) -> None:
        """Somebody shares keys with us."""
        self._joining[joiner.member] = joiner

    def admit(self, joiner: Joiner, now: float) -> None:
        """It is in from now on."""
        epoch = self._turn_epoch()
        del self._joining[joiner.member]
        self._members[joiner.member] = joiner
        joiner.enter(JoinerState.MEMBER, now)
        joiner.peer.streams.admitted = True
        welcome = record.Welcome(
            name=self._name,
            members=self._names(),
            services=list(self._services),
            epoch=epoch.epoch,
            group_key=epoch.key,
            signing_key=self._signing_key.public,
        )
        self._tell_one(joiner.member, welcome)
        if self._direct is not None:
            self._tell_one(joiner.member, self._direct)
        self.broadcast.add_member(joiner.member)
        self._tell_names(except_for=joiner.member)

    def remove(self, joiner: Joiner) -> None:
        """It is out: its keys are erased, and the others have a new group key."""
        was_in = self._members.pop(joiner.member, None) is not None
        self._joining.pop(joiner.member, None)
        joiner.established = None
        self._peers.drop(joiner.peer)
        if was_in:
            self.broadcast.remove_member(joiner.member)
            self._turn_epoch()
            self._tell_names(except_for=joiner.member)

    def _turn_epoch(self) -> record.Epoch:
        epoch = self.broadcast.begin_epoch(self._token_bytes(GROUP_KEY_BYTES))
        for member in self._members:
            self._tell_one(member, epoch)
        return epoch

    # Telling

    def add_service(self, service: record.Service) -> None:
        """Share something more: the next WELCOME lists it.

        :raises LocalProtocolError: too much for a list.
        """
        if service in self._services:
            return
        services = (*self._services, service)
        size = sum(len(each.name.encode()) + SERVICE_OVERHEAD_BYTES for each in services)
        if len(services) > record.MAX_SERVICES or size > MAX_SERVICES_BYTES:
            raise LocalProtocolError("too much is shared to be listed; share less, or a folder")
        self._services = services

    def offer_direct(self, addresses: list[record.DirectAddress]) -> None:
        """Tell all, and those that come, where we can be reached straight."""
        self._direct = record.Direct(addresses=addresses)
        for member in self._members:
            self._tell_one(member, self._direct)

    def _names(self) -> list[record.MemberName]:
        names = [record.MemberName(member=MASTER, name=self._name)]
        names.extend(
            record.MemberName(member=joiner.member, name=joiner.name)
            for joiner in self._members.values()
        )
        return names[: record.MAX_LISTED_MEMBERS]

    def _tell_names(self, *, except_for: int) -> None:
        news = record.Members(members=self._names())
        for member in self._members:
            if member != except_for:
                self._tell_one(member, news)

    def _tell_one(self, member: int, message: record.Control) -> None:
        self._members[member].peer.streams.send_control(record.encode_control(message))

    # Time

    def next_deadline(self) -> float | None:
        """When :meth:`overdue` or the broadcast wants a call."""
        deadlines = [joiner.deadline for joiner in self._joining.values()]
        if self._broadcast is not None:
            deadlines.append(self._broadcast.next_deadline())
        return min((due for due in deadlines if due is not None), default=None)

    def overdue(self, now: float) -> list[Joiner]:
        """Whose time to come in is over."""
        return [
            joiner
            for joiner in self._joining.values()
            if joiner.deadline is not None and now >= joiner.deadline
        ]
