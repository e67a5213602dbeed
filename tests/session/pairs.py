"""Two sides of a pair on two paths: no link, no handshake, every packet in our hands."""

from __future__ import annotations

from typing import Any

from porttunnel.errors import PorttunnelError
from porttunnel.keys.sealing import Opener, Sealer
from porttunnel.session.event import PathKind
from porttunnel.session.multiplex import Multiplex
from porttunnel.session.outbox import Outbox, SlotPool
from porttunnel.session.packet import MASTER, Header, PacketSplitter, PacketType
from porttunnel.session.pair import Pair
from porttunnel.session.path import Path

__all__ = ["CLIENT", "PairOfSides", "Side", "drain"]

CLIENT = 2
_TO_MASTER = b"c" * 32
_TO_CLIENT = b"m" * 32


def drain(outbox: Outbox) -> bytes:
    """Everything that waits, as a link that takes all of it."""
    data = b""
    while views := outbox.views():
        sent = b"".join(views)
        outbox.sent(len(sent))
        data += sent
    return data


class Side:
    """One side: pair, streams and what they reported."""

    def __init__(self, local: int, remote: int, ours: bytes, theirs: bytes) -> None:
        self.pool = SlotPool()
        self.path = Path(PathKind.RELAY, self.pool)
        self.outbox = self.path.outbox
        self.pair = Pair(
            local,
            remote,
            sealer=Sealer(ours),
            opener=Opener(theirs),
            pool=self.pool,
            path=self.path,
        )
        self.events: list[Any] = []
        self.turns = 0
        self.streams = Multiplex(self.pair, local != MASTER, self.events, self._count_turn)
        self.streams.admitted = True
        self.control: list[bytes] = []
        self.error: PorttunnelError | None = None

    def _count_turn(self) -> None:
        self.turns += 1

    def packets(self) -> list[tuple[Header, bytes]]:
        """What the link would send now."""
        self.pair.send_again()
        self.streams.advance()
        self.pair.flush()
        splitter = PacketSplitter()
        return [
            (header, bytes(packet))
            for header, packet in splitter.split(memoryview(drain(self.outbox)))
        ]

    def receive(self, header: Header, packet: bytes, now: float) -> bytes | None:
        """A packet of the other side's; its plaintext."""
        if header.kind is PacketType.ACK:
            self.pair.receive_ack(header, memoryview(packet), self.path, now)
            return None
        plaintext = self.pair.receive_data(header, memoryview(bytearray(packet)), self.path, now)
        if plaintext is None:
            return None
        copy = bytes(plaintext)
        self.streams.receive(plaintext, lambda payload: self.control.append(bytes(payload)))
        # A view in an event is valid only until the next packet.
        return copy

    def taken_events(self) -> list[Any]:
        """What was reported since the last call."""
        taken = self.events.copy()
        self.events.clear()
        return taken


class PairOfSides:
    """A client's side and the master's."""

    def __init__(self) -> None:
        self.now = 100.0
        self.client = Side(CLIENT, MASTER, _TO_MASTER, _TO_CLIENT)
        self.master = Side(MASTER, CLIENT, _TO_CLIENT, _TO_MASTER)

    def other(self, side: Side) -> Side:
        """The side that ``side`` talks to."""
        return self.master if side is self.client else self.client

    def carry(self, side: Side) -> int:
        """Bring what waits on one side to the other; how many packets."""
        packets = side.packets()
        for header, packet in packets:
            self.other(side).receive(header, packet, self.now)
        return len(packets)

    def settle(self) -> None:
        """Until neither side has anything to send, acknowledgements included."""
        while True:
            while self.carry(self.client) + self.carry(self.master):
                pass
            due = [
                deadline
                for side in (self.client, self.master)
                if (deadline := side.pair.next_deadline()) is not None
            ]
            if not due:
                return
            self.now = max(self.now, min(due))
            for side in (self.client, self.master):
                side.pair.handle_timeout(self.now)

    def open(self, service: str = "web") -> int:
        """A stream that the client opened and the master accepted."""
        stream = self.client.streams.open(service)
        self.settle()
        self.master.streams.accept(stream)
        self.settle()
        self.client.events.clear()
        self.master.events.clear()
        return stream
