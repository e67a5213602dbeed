"""The other side of a pair as a member sees it: its packets and its streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from porttunnel.keys.handshake import Established
from porttunnel.keys.sealing import Opener, Sealer
from porttunnel.session.multiplex import Multiplex
from porttunnel.session.outbox import Outbox, SlotPool
from porttunnel.session.packet import MASTER
from porttunnel.session.pair import Pair

__all__ = ["Peer"]


class Peer:
    """A pair and its streams.

    :param local_member: our number.
    :param remote_member: theirs.
    :param established: the handshake's result; no reference to it is kept.
    :param pool: where slots come from.
    :param outbox: of the link that carries the packets.
    :param events: where what happens is appended.
    :param wants_turn: called with this peer when it has something to send.
    """

    def __init__(
        self,
        local_member: int,
        remote_member: int,
        established: Established,
        *,
        pool: SlotPool,
        outbox: Outbox,
        events: list[Any],
        wants_turn: Callable[[Peer], None],
    ) -> None:
        ours, theirs = established.master_to_client, established.client_to_master
        if local_member != MASTER:
            ours, theirs = theirs, ours
        self.member = remote_member
        self.pair = Pair(
            local_member,
            remote_member,
            sealer=Sealer(ours),
            opener=Opener(theirs),
            pool=pool,
            outbox=outbox,
        )
        self.streams = Multiplex(
            self.pair, local_member != MASTER, events, lambda: wants_turn(self)
        )

    @property
    def has_work(self) -> bool:
        """Whether records wait for room, or for their packet to be sealed."""
        return self.streams.has_work or self.pair.has_records

    def take_turn(self) -> None:
        """Bring what waits into packets and onto the link, as far as there is room."""
        self.streams.advance()
        self.pair.flush()
