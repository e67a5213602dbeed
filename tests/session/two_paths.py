"""Whole members with a relay and direct paths between them, where no byte moves by itself.

Every connection is two pipes. What a member's machine wants to send goes into a pipe when
somebody says so, and comes out, in any portions, when somebody says so; so the paths can be ahead
of each other as far as one likes. So it is with the tunnel server's answers
(:mod:`tests.session.pipe_server`).

What must hold at any time is checked where it happens: what a stream delivers is what was written
to it, in order; a (key, nonce) seals once; and what is sent again is what was sent first.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any
from unittest import mock

from porttunnel.keys import sealing
from porttunnel.keys.hybrid import encapsulate
from porttunnel.keys.primitives import SigningKey
from porttunnel.session import request
from porttunnel.session.client import ClientMachine
from porttunnel.session.direct import DirectPath
from porttunnel.session.direct_proof import D1_BYTES, D2_BYTES, D3_BYTES
from porttunnel.session.event import (
    ConnectionFailed,
    InvitationMade,
    KeyWanted,
    LinkLost,
    MemberLeft,
    RunFailed,
    SessionFinished,
    StreamClosed,
    StreamDataReceived,
    StreamEnded,
    StreamOffered,
    StreamRefusedRemotely,
    StreamResetRemotely,
)
from porttunnel.session.master import MasterMachine
from porttunnel.session.member import Member
from porttunnel.session.multiplex import Multiplex
from porttunnel.session.packet import (
    MASTER,
    Header,
    PacketSplitter,
    PacketType,
)
from porttunnel.session.pair import Pair
from porttunnel.session.record import Service
from tests.session.pipe import Pipe
from tests.session.pipe_server import PipeServer, ServerSide
from tests.tunnel import shared_key

__all__ = ["MAX_DIRECTS", "TwoPaths"]

ALL = 1 << 30  # of a pipe's bytes
MAX_DIRECTS = 3  # connections of one client; only the newest is used
SETTLE_SECONDS = 60.0  # for what two members that have all their paths again need to say
BAD_NEWS = (
    ConnectionFailed,
    RunFailed,
    MemberLeft,
    SessionFinished,
    StreamRefusedRemotely,
    StreamResetRemotely,
)


@cache
def _noise() -> bytes:
    return random.Random(0).randbytes(4 << 20)


def pattern(salt: int, start: int, end: int) -> bytes:
    """What is written on a stream: no two streams or places look alike."""
    offset = salt * 977 % (1 << 20)
    return _noise()[offset + start : offset + end]


@dataclass(eq=False)
class Side:
    """A machine's side of a connection.

    :ivar due: whether its driver would ask now what is to be sent.
    """

    machine: Member | DirectPath
    out: Pipe
    splitter: PacketSplitter | _AfterProofs
    due: bool = True
    over: bool = False


@dataclass
class Direct:
    """A connection without the tunnel server."""

    member: int
    sides: tuple[Side, Side]
    pipes: tuple[Pipe, Pipe]


@dataclass
class Half:
    """One direction of a stream, as it should be."""

    salt: int
    sent: int = 0
    received: int = 0
    unread: int = 0
    end_sent: bool = False
    ended: bool = False


@dataclass
class Streams:
    """Those of one pair: by number, what goes from the client and what from the master."""

    halves: dict[int, tuple[Half, Half]] = field(default_factory=dict)


class TwoPaths:
    """A master and its clients.

    :param clients: how many.
    :param seed: of everything random.
    """

    def __init__(self, *, clients: int = 2, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.now = 1000.0
        self.greedy = True  # applications read at once
        self.server = PipeServer(self.random, self.now)
        self.cores: dict[int, Member] = {}
        self.clients: dict[int, ClientMachine] = {}
        self.links: dict[int, Side] = {}
        self.pipes: list[Pipe] = []
        self.directs: list[Direct] = []
        self.streams: dict[int, Streams] = {}
        self._nonces: set[tuple[int, int]] = set()
        self._images: dict[tuple[int, int, int, int], bytes] = {}
        self._invitation: InvitationMade | None = None
        self._patch = mock.patch.object(sealing._NonceKey, "seal", self._make_seal())
        self._patch.start()
        self.master = MasterMachine(
            request.Create(lifetime_s=86_400, max_clients=8, join_window_s=0),
            name="Anna",
            services=(Service(name="web", kind="tcp"),),
            sas=False,
            signing_key=SigningKey.generate(),
            token_bytes=self.random.randbytes,
            randbelow=self.random.randrange,
            encapsulate=encapsulate,
            jitter=0.5,
        )
        self._begin(MASTER, self.master)
        for member in range(2, 2 + clients):
            self._enter(member)

    def close(self) -> None:
        """Give back what was patched."""
        self._patch.stop()

    # Beginning

    def _begin(self, member: int, core: MasterMachine | ClientMachine) -> None:
        self.cores[member] = core
        self._connect(member, core)
        core.link.wake = partial(self._wake_link, member)
        core.start(self.now)
        self._look(member)

    def _enter(self, member: int) -> None:
        self.settle()
        assert self._invitation is not None
        client = ClientMachine(
            self._invitation.code,
            name=f"Ben {member}",
            token_bytes=self.random.randbytes,
            jitter=0.5,
        )
        self.clients[member] = client
        self.streams[member] = Streams()
        self._begin(member, client)
        self.settle()
        self.master.admit(member, self.now)
        self._wake_link(MASTER)
        self.settle()
        assert client.state.name == "MEMBER"

    # What must hold

    def _make_seal(self) -> Callable[[Any, memoryview, int, int], None]:
        real = sealing._NonceKey.seal

        def seal(keys: Any, packet: memoryview, length: int, number: int) -> None:
            # The iv stands for its key: both come from one secret, and no two secrets are alike.
            nonce = (keys._iv, number)
            assert nonce not in self._nonces, "a nonce was used twice under one key"
            self._nonces.add(nonce)
            real(keys, packet, length, number)

        return seal

    def _check_images(self, side: Side, data: bytes) -> None:
        for header, packet in side.splitter.split(memoryview(data)):
            if header.kind in (PacketType.DATA, PacketType.ACK):
                key = (header.kind, header.sender, header.target, header.number)
                first = self._images.setdefault(key, bytes(packet))
                assert packet == first, "a packet was sent again, and not as it was"

    def pairs(self) -> list[tuple[int, Pair, Pair]]:
        """Of each client: its number, its side, the master's side."""
        return [
            (member, self.cores[member].peers[MASTER].pair, self.master.peers[member].pair)
            for member in self.streams
        ]

    def multiplexes(self, member: int) -> tuple[Multiplex, Multiplex]:
        """The client's side of its streams, and the master's."""
        return self.cores[member].peers[MASTER].streams, self.master.peers[member].streams

    # Applications

    def open(self, member: int, index: int) -> None:
        """A stream; ``index`` 0: the client opens it."""
        number = self.multiplexes(member)[index].open("web")
        salt = 1000 * member + 2 * number
        self.streams[member].halves[number] = (Half(salt), Half(salt + 1))

    def write(self, member: int, index: int, number: int, size: int) -> None:
        """Bytes on a stream, if its half is open."""
        streams = self.multiplexes(member)[index]
        if not streams.may_write(number):
            return
        half = self.streams[member].halves[number][index]
        content = pattern(half.salt, half.sent, half.sent + size)
        half.sent += len(content)
        streams.write(number, content)

    def end(self, member: int, index: int, number: int) -> None:
        """Half-close."""
        streams = self.multiplexes(member)[index]
        if streams.may_write(number):
            self.streams[member].halves[number][index].end_sent = True
            streams.end(number)

    def consume(self, member: int, index: int) -> None:
        """The application reads what has come on all streams of a side."""
        for number, halves in self.streams[member].halves.items():
            self._consume(member, index, number, halves[1 - index])

    def _consume(self, member: int, index: int, number: int, half: Half) -> None:
        count, half.unread = half.unread, 0
        if count:
            self.multiplexes(member)[index].consumed(number, count)

    def _look(self, member: int) -> None:
        """Take in what a core reports."""
        core = self.cores[member]
        for event in core.events():
            if isinstance(event, KeyWanted):
                assert isinstance(core, ClientMachine)
                core.provide_key(shared_key(), self.now)
            elif isinstance(event, InvitationMade):
                self._invitation = event
            elif isinstance(event, LinkLost):
                side = self.links[member]
                side.over = True
                side.out.end()
            else:
                assert not isinstance(event, BAD_NEWS), f"{member}: {event}"
            if isinstance(event, StreamOffered | StreamDataReceived | StreamEnded | StreamClosed):
                client, index = (event.member, 1) if member == MASTER else (member, 0)
                self._look_at_stream(event, client, index)

    def _look_at_stream(self, event: Any, member: int, index: int) -> None:
        number = event.stream
        halves = self.streams[member].halves[number]
        incoming = halves[1 - index]
        if isinstance(event, StreamOffered):
            self.multiplexes(member)[index].accept(number)
        elif isinstance(event, StreamDataReceived):
            assert not incoming.ended
            end = incoming.received + len(event.data)
            assert end <= incoming.sent
            assert event.data == pattern(incoming.salt, incoming.received, end)
            incoming.received = end
            incoming.unread += len(event.data)
            if self.greedy:
                self._consume(member, index, number, incoming)
        elif isinstance(event, StreamEnded):
            assert incoming.end_sent
            assert incoming.received == incoming.sent
            incoming.ended = True
        else:
            assert incoming.ended
            assert halves[index].end_sent

    # Machines and their connections

    def _connect(self, member: int, core: Member) -> None:
        down = Pipe(f"to {member}", lambda data: self._receive(side, member, data))
        up = Pipe(f"from {member}", lambda data: self.server.receive(end, data))
        side = Side(core, up, PacketSplitter())
        end = ServerSide(self.now, down, up)
        self.links[member] = side
        self.pipes += [up, down]
        self.server.ends.append(end)

    def _wake_link(self, member: int) -> None:
        self.links[member].due = True

    def _receive(self, side: Side, member: int, data: bytes | None) -> None:
        if side.over:
            return
        side.due = True
        if data is None:
            side.machine.receive_eof(self.now)
            self._look(member)
            return
        lent = bytearray(data)
        side.machine.receive_data(memoryview(lent), self.now)
        self._look(member)
        # Whoever has kept a view keeps nonsense.
        lent[:] = b"\xee" * len(lent)

    def sides(self) -> list[tuple[int, Side]]:
        """All machines with a connection: whose they are, and they."""
        found = list(self.links.items())
        for direct in self.directs:
            client, master = direct.sides
            found += [(direct.member, client), (MASTER, master)]
        return found

    def send(self, member: int, side: Side, limit: int = ALL) -> bool:
        """Let a machine's bytes into its pipe; whether there were any."""
        machine = side.machine
        moved = False
        while not (side.over and machine is self.cores[member]):
            views = machine.data_to_send()
            waiting = b"".join(views)[:limit]
            if not waiting:
                side.due = False
                break
            machine.data_sent(len(waiting))
            self._check_images(side, waiting)
            side.out.put(waiting)
            moved = True
            limit -= len(waiting)
            if limit <= 0:
                break
        else:
            side.due = False
        self._look(member)
        if isinstance(machine, DirectPath) and machine.closed and not machine.outbox.waiting_bytes:
            side.over = True
            side.out.end()
        return moved

    def deliver(self, pipe: Pipe, count: int = ALL) -> None:
        """Let bytes out of a pipe."""
        pipe.deliver(count)
        if pipe.finished:
            self.pipes.remove(pipe)

    def connect_direct(self, member: int) -> None:
        """A client dials, and the master's port answers."""
        dialled = self.clients[member].dial("here", self.now)
        accepted = self.master.accept_direct("here", self.now)
        to_client = Pipe(
            f"straight to {member}",
            lambda data: self._receive(client, member, data),
            straight=True,
        )
        to_master = Pipe(
            f"straight from {member}",
            lambda data: self._receive(master, MASTER, data),
            straight=True,
        )
        client = Side(dialled, to_master, _AfterProofs(D1_BYTES + D3_BYTES))
        master = Side(accepted, to_client, _AfterProofs(D2_BYTES))
        for machine, side in ((dialled, client), (accepted, master)):
            machine.limit_ahead(self.clients[member].link.outbox.limit_bytes)
            machine.wake = partial(_set_due, side)
            machine.on_closed = partial(_set_due, side)
        self.directs.append(Direct(member, (client, master), (to_client, to_master)))
        self.pipes += [to_client, to_master]

    def cut_direct(self, direct: Direct, *, told: tuple[bool, bool]) -> None:
        """A direct connection breaks; who is told (client, master), and not only finds out?"""
        for pipe, tell in zip(direct.pipes, told, strict=True):
            pipe.break_off(told=tell)
        self._forget_finished()

    def cut(self, member: int, *, told: tuple[bool, bool]) -> None:
        """A link breaks; who is told (member, server)?"""
        end = self.server.link_of(member)
        for pipe in self.pipes:
            if end is not None and pipe in (end.out, end.into):
                pipe.break_off(told=told[0] if pipe is end.out else told[1])
        self._forget_finished()

    def resume(self, member: int) -> None:
        """A member that has lost its link connects again."""
        if not self.links[member].over:
            return
        core = self.cores[member]
        core.reconnected(self.now)
        self._connect(member, core)

    def _forget_finished(self) -> None:
        self.pipes = [pipe for pipe in self.pipes if not pipe.finished]
        self.directs = [
            direct
            for direct in self.directs
            if not all(side.over for side in direct.sides)
            or any(not pipe.finished for pipe in direct.pipes)
        ]

    # Time

    def next_deadline(self) -> float | None:
        """The earliest of all."""
        found = [side.machine.next_deadline() for _, side in self.sides()]
        found += [end.core.next_deadline() for end in self.server.ends]
        return min((due for due in found if due is not None), default=None)

    def pass_time(self, seconds: float) -> None:
        """Time goes by, at most until the next deadline; who has one then meets it."""
        due = self.next_deadline()
        self.now = (
            self.now + seconds if due is None else max(self.now, min(due, self.now + seconds))
        )
        for member, side in self.sides():
            deadline = side.machine.next_deadline()
            if deadline is not None and deadline <= self.now:
                side.machine.handle_timeout(self.now)
                side.due = True
                self._look(member)
        self.server.now = self.now
        self.server.handle_timeouts()
        self._forget_finished()

    def settle(self) -> None:
        """Everything that can go, goes."""
        moved = True
        while moved:
            moved = False
            for member, side in self.sides():
                if side.due:
                    moved |= self.send(member, side)
            for pipe in list(self.pipes):
                if pipe.flows:
                    moved = True
                    self.deliver(pipe)
            while self.server.asked:
                moved = True
                self.server.answer()
        self._forget_finished()

    def settle_direct(self) -> None:
        """The direct paths carry all that they have; the relay stands still."""
        for _ in range(8):
            for member, side in self.sides():
                if side.due and isinstance(side.machine, DirectPath):
                    self.send(member, side)
            for pipe in list(self.pipes):
                if pipe.straight and pipe.flows:
                    self.deliver(pipe)

    def settle_link(self, member: int) -> None:
        """What a member and the server have for each other, once to and fro."""
        side = self.links[member]
        self.send(member, side)
        for name in (f"from {member}", f"to {member}"):
            for pipe in [pipe for pipe in self.pipes if pipe.name == name and pipe.flows]:
                self.deliver(pipe)
            while self.server.asked:
                self.server.answer()

    def heal(self) -> None:
        """All links come back, everything is carried and read; then nothing may be missing."""
        greedy, self.greedy = self.greedy, True
        self.server.behave()
        for pipe in self.pipes:
            pipe.stalled = False
        for member in self.cores:
            side, end = self.links[member], self.server.link_of(member)
            if not side.over and (end is None or end.into is not side.out or side.out.broken):
                self.cores[member].receive_eof(self.now)
                self._look(member)
        for member in self.streams:
            for index in (0, 1):
                self.consume(member, index)
        until = self.now + SETTLE_SECONDS
        while True:
            for member in self.cores:
                self.resume(member)
            self.settle()
            if self.is_complete() or self.now >= until:
                break
            self.pass_time(SETTLE_SECONDS)
        for member, streams in self.streams.items():
            for number, halves in streams.halves.items():
                for half in halves:
                    assert half.received == half.sent, (member, number, half)
                    assert half.ended == half.end_sent, (member, number, half)
        assert self.is_complete()
        self.greedy = greedy

    def _is_direct(self) -> bool:
        """Whether who has a direct path that works uses it."""
        for direct in self.directs:
            client, master = (side.machine for side in direct.sides)
            theirs = self.cores[direct.member].peers[MASTER]
            ours = self.master.peers[direct.member]
            works = theirs.direct is client and ours.direct is master
            used = theirs.pair.path is client and ours.pair.path is master
            if works and not used and not direct.pipes[0].broken:
                return False
        return True

    def is_complete(self) -> bool:
        """Whether everything is there, and known to be there, by the best way."""
        halves = [
            half
            for streams in self.streams.values()
            for both in streams.halves.values()
            for half in both
        ]
        pairs = [pair for _, *both in self.pairs() for pair in both]
        return (
            all(half.received == half.sent and half.ended == half.end_sent for half in halves)
            and all(p.path is not None and not p.unacked_bytes and not p.has_work for p in pairs)
            and self._is_direct()
        )


class _AfterProofs:
    """Cuts what is sent on a direct path into packets, from where the proofs end.

    :param skip: how many bytes the proofs of this side have.
    """

    def __init__(self, skip: int) -> None:
        self._skip = skip
        self._splitter = PacketSplitter()

    def split(self, data: memoryview) -> Iterator[tuple[Header, memoryview]]:
        """See :meth:`PacketSplitter.split`."""
        count = min(self._skip, len(data))
        self._skip -= count
        return self._splitter.split(data[count:])


def _set_due(side: Side) -> None:
    side.due = True
