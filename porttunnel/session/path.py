"""A path: one connection that carries packets, and whether it is alive.

Source: docs/session-protocol, sections 2 and 7. A member has one path to the tunnel server and
may have one straight to each other member.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from porttunnel.errors import LinkBroken
from porttunnel.session.event import PathKind
from porttunnel.session.outbox import Outbox, SlotPool
from porttunnel.session.packet import (
    HEADER_BYTES,
    NO_MEMBER,
    Header,
    PacketSplitter,
    PacketType,
    encode_packet,
)
from porttunnel.session.stream_turns import StreamTurns
from porttunnel.session.turn_queue import TurnQueue

__all__ = ["Path"]

MAX_MISSED_PINGS = 2


class Path:
    """See the module.

    :param kind: relay or direct.
    :param pool: the slots of the packets that go out here.
    :ivar member: our number, in what we send here.
    :ivar turns: members for whom there is something to send here.
    :ivar told: of which pair a stream was told last that there is room here.
    :ivar held: whether no pair may send here yet: whose path it is has not been settled.
    :ivar reason: why packets go this way, for people.
    :ivar wake: called when there is something to send; set by whoever runs the connection.
    """

    def __init__(self, kind: PathKind, pool: SlotPool) -> None:
        self.kind = kind
        self.outbox = Outbox(pool)
        self.member = NO_MEMBER
        self.turns = TurnQueue()
        self.told: StreamTurns | None = None
        self.wake: Callable[[], None] = _nobody
        self.closed = False
        self.held = False
        self.reason = ""
        self._splitter = PacketSplitter()
        self._quiet_since: float | None = None  # heard from the other end, or pinged it
        self._missed_pings = 0

    @property
    def is_promised(self) -> bool:
        """Whether somebody was told that there is room here, and has not come yet."""
        return self.told is not None and self.told.is_expected_on(self)

    def start(self, now: float) -> None:
        """The connection is there: silence counts from now."""
        self._quiet_since = now

    def close(self) -> None:
        """Nothing is sent here any more; what was queued is dropped."""
        self.closed = True
        self.turns.clear()
        self.outbox.clear()

    def send(self, kind: PacketType, target: int, body: bytes, number: int = 0) -> None:
        """Queue a packet with a plaintext body, unless the path is closed."""
        if not self.closed:
            self.outbox.append(encode_packet(kind, self.member, target, body, number=number))

    def receive(
        self, data: memoryview, now: float, other_end: int
    ) -> Iterator[tuple[Header, memoryview]]:
        """Packets for this member, one after the other; pings are answered here.

        :param other_end: who is at the other end of the connection.
        :raises RemoteProtocolError: something else than packets.
        """
        self._quiet_since = now
        self._missed_pings = 0
        for header, packet in self._splitter.split(data):
            if self.closed:
                return
            if header.kind is PacketType.PING:
                # A flood of pings on a path that takes nothing must not become a queue.
                if self.outbox.waiting_bytes < self.outbox.limit_bytes:
                    self.send(PacketType.PONG, other_end, bytes(packet[HEADER_BYTES:]))
            elif header.kind is not PacketType.PONG:
                yield header, packet

    def ping_deadline(self, seconds: float) -> float | None:
        """When silence of ``seconds`` has lasted long enough for :meth:`ping`."""
        # From the last ping on: who was idle and then sends must not miss all at once.
        return None if self._quiet_since is None else self._quiet_since + seconds

    def ping(self, now: float, other_end: int, dead: str) -> None:
        """Ask a silent other end for a sign of life.

        :param dead: the error's text.
        :raises LinkBroken: it gave none after :data:`MAX_MISSED_PINGS`.
        """
        if self._missed_pings >= MAX_MISSED_PINGS:
            raise LinkBroken(dead)
        self._missed_pings += 1
        self._quiet_since = now
        self.send(PacketType.PING, other_end, bytes(8))


def _nobody() -> None:
    """Nobody runs the path, as in tests: its owner asks by itself."""
