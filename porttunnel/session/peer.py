"""The other side of a pair as a member sees it: its packets and its streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from porttunnel.keys.handshake import Established
from porttunnel.keys.sealing import Opener, Sealer
from porttunnel.keys.secret_holder import SecretHolder
from porttunnel.session.event import PathKind
from porttunnel.session.multiplex import Multiplex
from porttunnel.session.outbox import SlotPool
from porttunnel.session.packet import MASTER
from porttunnel.session.pair import Pair
from porttunnel.session.path import Path

__all__ = ["LEFT_BY_THE_OTHER", "PairSecrets", "Peer"]

LEFT_BY_THE_OTHER = "the other side has left the direct connection"


class PairSecrets(SecretHolder):
    """What outlives the handshake beside the keys that seal.

    :ivar direct_client: for the client's proofs on a direct path, 32 bytes.
    :ivar direct_master: for the master's.
    :ivar rejoin: lets the client come back after its process ended, 32 bytes.
    """

    __slots__ = ("direct_client", "direct_master", "rejoin")

    def __init__(self, established: Established) -> None:
        self.direct_client = established.direct_client
        self.direct_master = established.direct_master
        self.rejoin = established.rejoin


class Peer:
    """A pair and its streams.

    :param local_member: our number.
    :param remote_member: theirs.
    :param established: the handshake's result; of its secrets the pair keeps its own.
    :param pool: where slots come from.
    :param path: carries the packets at first: the link to the tunnel server.
    :param events: where what happens is appended.
    :param wants_turn: called with this peer when it has something to send.
    :ivar direct: the straight path to it, while there is one.
    :ivar acknowledged_before: ``pair.acknowledged`` at the last look for losses.
    :ivar path_kind: the way that was reported last.
    :ivar is_away: whether its user was reported away.
    :ivar relay_reason: why it is not the direct one.
    """

    def __init__(
        self,
        local_member: int,
        remote_member: int,
        established: Established,
        *,
        pool: SlotPool,
        path: Path,
        events: list[Any],
        wants_turn: Callable[[Peer], None],
    ) -> None:
        ours, theirs = established.master_to_client, established.client_to_master
        if local_member != MASTER:
            ours, theirs = theirs, ours
        self.member = remote_member
        self.secrets = PairSecrets(established)
        self.direct: Path | None = None
        self.acknowledged_before = -1
        self.path_kind = PathKind.RELAY
        self.relay_reason = LEFT_BY_THE_OTHER
        self.is_away = False
        self.pair = Pair(
            local_member,
            remote_member,
            sealer=Sealer(ours),
            opener=Opener(theirs),
            pool=pool,
            path=path,
        )
        self.streams = Multiplex(
            self.pair, local_member != MASTER, events, lambda: wants_turn(self)
        )

    @property
    def has_work(self) -> bool:
        """Whether records wait for room, or for their packet to be sealed."""
        return self.streams.has_work or self.pair.has_work

    @property
    def is_settled(self) -> bool:
        """Whether nothing waits to be acknowledged, to be sent or for somebody who was told."""
        return not (
            self.pair.unacked_bytes
            or self.streams.control_bytes
            or self.streams.turns.expects_more
        )

    def take_turn(self) -> None:
        """Bring what waits into packets and onto the path, as far as there is room."""
        self.pair.send_again()
        self.streams.advance()
        self.pair.flush(self.streams.turns.expects_more)

    def close(self) -> None:
        """The pair is over: its streams end, its keys are erased."""
        self.streams.close()
        self.pair.close()
        self.secrets.erase()
        if self.direct is not None:
            self.direct.close()
