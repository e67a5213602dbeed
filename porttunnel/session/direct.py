"""A direct path: a connection of two members without the tunnel server between them.

Source: docs/session-protocol, section 7. It speaks the verbs of
:class:`porttunnel.machine.Machine`. Before a packet passes, both sides show that they hold the
pair's keys (:mod:`porttunnel.session.direct_proof`); until then a stranger gets not one byte.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from porttunnel.errors import (
    AuthenticationFailed,
    LinkBroken,
    PorttunnelError,
    ProtocolError,
    RemoteProtocolError,
)
from porttunnel.session.direct_proof import (
    D1_BYTES,
    D2_BYTES,
    D3_BYTES,
    DirectClient,
    DirectMaster,
    decode_d1,
)
from porttunnel.session.event import PathKind
from porttunnel.session.member import Member
from porttunnel.session.packet import FLAG_GROUP, PacketType
from porttunnel.session.path import Path
from porttunnel.session.peer import Peer

__all__ = ["PROOF_SECONDS", "AcceptedPath", "DialledPath", "DirectPath"]

PROOF_SECONDS = 3.0  # for both proofs: one network, three messages
PING_SECONDS = 1.5  # of silence: with two missed ones a dead path is left within 4.5 s


class DirectPath(Path):
    """What both sides have in common.

    :param owner: the member whose path it is.
    :param reason: why packets can go this way, for people.
    :param now: seconds, monotonic: the connection's beginning.
    :ivar on_closed: called once when the connection is to be closed; set by whoever runs it.
    :ivar on_proven: called once when it is proven who is at the other end; likewise.
    :ivar peer: who is at the other end, once that is proven.
    """

    def __init__(self, owner: Member, reason: str, now: float) -> None:
        super().__init__(PathKind.DIRECT, owner.pool)
        self.reason = reason
        self.peer: Peer | None = None
        self.on_closed: Callable[[], None] = lambda: None
        self.on_proven: Callable[[], None] = lambda: None
        self._owner = owner
        self._proof = bytearray()
        self._prove_by = now + PROOF_SECONDS

    def receive_data(self, data: memoryview, now: float) -> None:
        """See :meth:`porttunnel.machine.Machine.receive_data`."""
        if self.closed or self._owner.over:
            return
        try:
            if self.peer is None:
                data = self._receive_proofs(data, now)
            if data and self.peer is not None:
                self._receive_packets(self.peer, data, now)
        except (ProtocolError, AuthenticationFailed) as error:
            self._break(error, now)
        self._owner.peers.reading_done()

    def receive_eof(self, now: float) -> None:
        """The other side closed the connection, or it broke."""
        self._break(LinkBroken("the direct connection was lost"), now)

    def events(self) -> Iterator[Any]:
        """What happened to the member."""
        return self._owner.events()

    def data_to_send(self) -> Sequence[memoryview]:
        """What waits to be sent here."""
        self._owner.take_turns(self)
        return self.outbox.views()

    def data_sent(self, count: int) -> None:
        """The first ``count`` bytes went out."""
        self.outbox.sent(count)

    def limit_ahead(self, count: int) -> None:
        """Queue at most about ``count`` bytes; the rest takes turns."""
        self.outbox.limit_bytes = count

    def next_deadline(self) -> float | None:
        """When :meth:`handle_timeout` is due (seconds, absolute)."""
        if self.closed:
            return None
        return self._prove_by if self.peer is None else self.ping_deadline(PING_SECONDS)

    def handle_timeout(self, now: float) -> None:
        """Ping a silent other side; give up one that proves nothing or is dead."""
        due = self.next_deadline()
        if due is None or now < due:
            return
        if self.peer is None:
            self._break(LinkBroken("nothing was proven in time"), now)
            return
        try:
            self.ping(now, self.peer.member, "the direct connection is dead")
        except LinkBroken as error:
            self._break(error, now)

    def close(self) -> None:
        """The connection is to be closed, once what is queued has gone out: a goodbye perhaps."""
        if not self.closed:
            self.closed = True
            self.turns.clear()
            self.on_closed()

    @abstractmethod
    def _receive_proof(self, proof: bytes, now: float) -> None:
        """The next proof has come, in its length."""

    @property
    @abstractmethod
    def _proof_bytes(self) -> int:
        """How long the next proof is."""

    def _attach(self, peer: Peer, now: float) -> None:
        """The other side has proven who it is."""
        self.peer = peer
        self.start(now)
        self._owner.peers.attach_direct(peer, self, now)
        self.on_proven()

    def _receive_proofs(self, data: memoryview, now: float) -> memoryview:
        """Take in proofs; what is behind the last one."""
        while data and self.peer is None:
            count = min(self._proof_bytes - len(self._proof), len(data))
            self._proof += data[:count]
            data = data[count:]
            if len(self._proof) == self._proof_bytes:
                proof = bytes(self._proof)
                self._proof.clear()
                self._receive_proof(proof, now)
        return data

    def _receive_packets(self, peer: Peer, data: memoryview, now: float) -> None:
        for header, packet in self.receive(data, now, peer.member):
            sealed = header.kind in (PacketType.DATA, PacketType.ACK)
            route = (header.sender, header.target)
            if not sealed or header.flags & FLAG_GROUP or route != (peer.member, self.member):
                raise RemoteProtocolError("a packet that has no business on a direct path")
            self._owner.peers.receive_sealed(peer, header, packet, self, now)

    def _break(self, error: PorttunnelError, now: float) -> None:
        if self.closed:
            return
        if self.peer is None:
            self.close()
        else:
            self._owner.peers.lose_direct(self.peer, self, str(error), now)


class DialledPath(DirectPath):
    """The client's end.

    :param peer: the master, with whom the keys are shared.
    """

    def __init__(
        self, owner: Member, peer: Peer, reason: str, now: float, *, nonce: bytes
    ) -> None:
        super().__init__(owner, reason, now)
        self.member = owner.link.member
        self._master = peer
        secrets = peer.secrets
        self._client = DirectClient(
            owner.session_id, self.member, secrets.direct_client, secrets.direct_master, nonce
        )
        self.outbox.append(self._client.d1)

    @property
    def _proof_bytes(self) -> int:
        return D2_BYTES

    def _receive_proof(self, proof: bytes, now: float) -> None:
        self.outbox.append(self._client.receive_d2(proof))
        self._attach(self._master, now)


class AcceptedPath(DirectPath):
    """The master's end.

    :param find: the admitted client with this number, or None.
    :param nonce: 16 fresh random bytes.
    """

    def __init__(
        self,
        owner: Member,
        find: Callable[[int], Peer | None],
        reason: str,
        now: float,
        *,
        nonce: bytes,
    ) -> None:
        super().__init__(owner, reason, now)
        self.member = owner.link.member
        self._find = find
        self._nonce = nonce
        self._master: DirectMaster | None = None
        self._client: Peer | None = None

    @property
    def _proof_bytes(self) -> int:
        return D1_BYTES if self._master is None else D3_BYTES

    def _receive_proof(self, proof: bytes, now: float) -> None:
        if self._master is None:
            self._receive_d1(proof)
            return
        self._master.receive_d3(proof)
        client = self._client
        # It may have been put out between its two proofs.
        if client is None or self._find(client.member) is not client:
            raise AuthenticationFailed
        self._attach(client, now)

    def _receive_d1(self, proof: bytes) -> None:
        d1 = decode_d1(proof)
        client = self._find(d1.member)
        if client is None or d1.session_id != self._owner.session_id:
            raise AuthenticationFailed
        secrets = client.secrets
        self._master = DirectMaster(
            proof, secrets.direct_client, secrets.direct_master, self._nonce
        )
        self._client = client
        self.outbox.append(self._master.d2)
