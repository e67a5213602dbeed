"""A tunnel server in memory, and cores on it: no sockets, one clock, every byte in our hands.

The server here keeps no rules: it hands out numbers, relays, and can be told to lie.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from porttunnel.errors import ErrorCode
from porttunnel.keys.hybrid import HybridPrivateKey, encapsulate
from porttunnel.keys.primitives import SigningKey
from porttunnel.session import request
from porttunnel.session.client import ClientMachine
from porttunnel.session.code import SessionCode
from porttunnel.session.event import (
    BroadcastReceived,
    ConnectionFailed,
    InvitationMade,
    KeyWanted,
    SessionFinished,
    StreamDataReceived,
)
from porttunnel.session.master import MasterMachine
from porttunnel.session.member import Member
from porttunnel.session.packet import (
    ALL_MEMBERS,
    HEADER_BYTES,
    MASTER,
    SERVER,
    Header,
    PacketSplitter,
    PacketType,
    encode_packet,
)
from porttunnel.session.record import Service

__all__ = ["MemoryTunnel", "shared_key"]

Liar = Callable[[Header, bytes], list[bytes]]
_keys: list[HybridPrivateKey] = []


def shared_key() -> HybridPrivateKey:
    """One key for all tests: making RSA keys takes most of a test's time otherwise."""
    if not _keys:
        _keys.append(HybridPrivateKey.generate())
    return _keys[0]


class _Line:
    """A member's core and its link."""

    def __init__(self, core: Member, member: int) -> None:
        self.core = core
        self.member = member
        self.splitter = PacketSplitter()
        self.up = True
        self.over = False  # the core has ended: it hears nothing more, its last words go out
        self.left = False
        self.token = b""
        self.old_token = b""
        self.answers_lost = 0


class MemoryTunnel:
    """One session of cores.

    :param seed: of everything random in the cores.
    :param sas: the master's mode.
    :param chunk: how many bytes a link delivers at a time; 0: all there are.
    """

    def __init__(self, *, seed: int = 1, sas: bool = False, chunk: int = 0) -> None:
        self.random = random.Random(seed)
        self.now = 1000.0
        self.chunk = chunk
        self.number = 48213
        self.session_id = bytes(range(16))
        self.relayed: list[tuple[Header, bytes]] = []
        self.liar: Liar = lambda header, packet: [packet]
        self.lines: dict[int, _Line] = {}
        self.events: dict[int, list[Any]] = {}
        self.auto_key = True
        self.put_out: list[Member] = []
        self.keeps_kicked = False  # a server that takes a client's side
        self._joining: list[_Line] = []
        self._next_member = 2
        self.master = MasterMachine(
            request.Create(lifetime_s=3600, max_clients=8, join_window_s=0),
            name="Anna",
            services=(Service(name="web", kind="tcp"),),
            sas=sas,
            signing_key=SigningKey.generate(),
            token_bytes=self.random.randbytes,
            randbelow=self.random.randrange,
            encapsulate=encapsulate,
            jitter=0.5,
        )
        line = _Line(self.master, MASTER)
        self.lines[MASTER] = line
        self.events[MASTER] = []
        self.master.start(self.now)
        self.run()

    @property
    def code(self) -> SessionCode:
        """What the master shows now."""
        return self.invitation.code

    @property
    def invitation(self) -> InvitationMade:
        """The master's newest invitation."""
        made = [e for e in self.events[MASTER] if isinstance(e, InvitationMade)]
        return made[-1]

    def join(self, code: SessionCode | None = None, *, name: str = "Ben") -> ClientMachine:
        """A new client on a new link, as far as it comes by itself."""
        core = ClientMachine(
            code or self.code, name=name, token_bytes=self.random.randbytes, jitter=0.5
        )
        self.add(core)
        self.run()
        return core

    def add(self, core: ClientMachine) -> None:
        """A client begins on a new link."""
        self._joining.append(_Line(core, 0))
        core.start(self.now)

    def enter(self, name: str = "Ben") -> ClientMachine:
        """A new client that is admitted."""
        client = self.join(name=name)
        self.master.admit(client.member, self.now)
        self.run()
        return client

    def events_of(self, core: Member, kind: type[Any]) -> list[Any]:
        """All events of one type that a core has reported."""
        member = MASTER if core is self.master else core._link.member
        return [event for event in self.events[member] if isinstance(event, kind)]

    def run(self) -> None:
        """Until nobody has anything to send."""
        moved = True
        while moved:
            moved = False
            for line in [*self.lines.values(), *self._joining]:
                moved |= self._move(line)

    def pass_time(self, seconds: float) -> None:
        """Let time go by, deadline by deadline."""
        end = self.now + seconds
        while True:
            self.run()
            due = [
                deadline
                for line in [*self.lines.values(), *self._joining]
                if (deadline := line.core.next_deadline()) is not None and deadline <= end
            ]
            if not due:
                break
            self.now = max(self.now, min(due))
            for line in [*self.lines.values(), *self._joining]:
                deadline = line.core.next_deadline()
                if deadline is not None and deadline <= self.now:
                    line.core.handle_timeout(self.now)
        self.now = end

    def deliver(self, member: int, packet: bytes) -> None:
        """Bytes from the server to a member."""
        line = self.lines.get(member)
        if line is None or line.over or not line.up:
            return
        size = self.chunk or len(packet)
        for start in range(0, len(packet), size):
            line.core.receive_data(memoryview(bytearray(packet[start : start + size])), self.now)
            self._collect(line)

    def cut(self, member: int) -> None:
        """A member's link breaks: what is on its way is lost."""
        line = self.lines.get(member)
        if line is not None and line.up:
            self.break_link(line)
            self._tell_concerned(member, up=False)

    def break_link(self, line: _Line) -> None:
        """As :meth:`cut`, and nobody is told, as when the server crashes."""
        line.up = False
        line.splitter = PacketSplitter()
        line.core.receive_eof(self.now)
        self._collect(line)

    def resume(self, member: int) -> None:
        """A member connects again."""
        line = self.lines[member]
        line.up = True
        line.core.reconnected(self.now)

    def _resume(self, line: _Line, header: Header, asked: request.Resume) -> None:
        if asked.session_id != self.session_id or asked.token not in (line.token, line.old_token):
            report = request.ErrorReport(code=ErrorCode.SESSION_ENDED, text="wrong token")
            body = request.encode(report)
            self.deliver(
                line.member,
                encode_packet(PacketType.ERROR, SERVER, line.member, body, number=header.number),
            )
            return
        line.old_token, line.token = asked.token, self.random.randbytes(32)
        if line.answers_lost:
            line.answers_lost -= 1
            self.break_link(line)
            return
        self._reply(line, header, request.encode(request.Resumed(token=line.token)))
        self._tell_concerned(line.member, up=True)

    def _tell_concerned(self, member: int, *, up: bool) -> None:
        concerned = [m for m in self.lines if m != MASTER] if member == MASTER else [MASTER]
        for other in concerned:
            self.tell(other, request.Link(member=member, up=up))

    def _move(self, line: _Line) -> bool:
        self._collect(line)
        views = line.core.data_to_send()
        self._collect(line)
        data = b"".join(views)
        if not data:
            return False
        line.core.data_sent(len(data))
        for header, packet in line.splitter.split(memoryview(data)):
            self._receive(line, header, bytes(packet))
        return True

    def _collect(self, line: _Line) -> None:
        member = line.core._link.member
        for event in line.core.events():
            if isinstance(event, BroadcastReceived):
                event = BroadcastReceived(event.channel, memoryview(bytes(event.data)))
            if isinstance(event, StreamDataReceived):
                # Its view is valid only until the next bytes come; a test looks later.
                event = StreamDataReceived(
                    event.member, event.stream, memoryview(bytes(event.data))
                )
            self.events.setdefault(member, []).append(event)
            if isinstance(event, KeyWanted) and self.auto_key:
                assert isinstance(line.core, ClientMachine)
                line.core.provide_key(shared_key(), self.now)
            if isinstance(event, ConnectionFailed | SessionFinished):
                line.over = line.core is not self.master

    def _receive(self, line: _Line, header: Header, packet: bytes) -> None:
        if not line.up:
            return
        if header.target != SERVER:
            self.relayed.append((header, packet))
            targets = [header.target]
            if header.target == ALL_MEMBERS:
                targets = [member for member in self.lines if member != MASTER]
            for changed in self.liar(header, packet):
                for target in targets:
                    self.deliver(target, changed)
            return
        if header.kind is PacketType.PING:
            pong = encode_packet(PacketType.PONG, SERVER, header.sender, packet[HEADER_BYTES:])
            self.deliver(line.member, pong)
        if header.kind is not PacketType.REQUEST:
            return
        asked = request.decode_request(packet[HEADER_BYTES:])
        if isinstance(asked, request.Create):
            line.token = self.random.randbytes(32)
            limits = request.Limits(waiting_bytes=8 << 20, master_grace_s=60, client_grace_s=60)
            created = request.Created(
                session_id=self.session_id, number=self.number, token=line.token, limits=limits
            )
            self._reply(line, header, request.encode(created))
        elif isinstance(asked, request.Join):
            self._join(line, header)
        elif isinstance(asked, request.Status):
            report = request.StatusReport(
                members=sorted(m for m, other in self.lines.items() if not other.left),
                linked=sorted(m for m, other in self.lines.items() if other.up),
                locked=False,
                ends_in_s=3600,
            )
            self._reply(line, header, request.encode(report))
        elif isinstance(asked, request.Resume):
            self._resume(line, header, asked)
        else:
            self._reply(line, header, request.encode(request.Done()))
            if isinstance(asked, request.Leave):
                line.left = True
                self.tell(MASTER, request.Left(member=line.member, reason="left"))
            elif isinstance(asked, request.Kick) and not self.keeps_kicked:
                left = request.Left(member=asked.member, reason="put out")
                self.tell(asked.member, left)
                gone = self.lines.pop(asked.member, None)
                if gone is not None:
                    self.put_out.append(gone.core)
                self.tell(MASTER, left)

    def tell(self, member: int, event: request.Event) -> None:
        """An EVENT of the server."""
        body = request.encode(event)
        self.deliver(member, encode_packet(PacketType.EVENT, SERVER, member, body))

    def _join(self, line: _Line, header: Header) -> None:
        self._joining.remove(line)
        line.member = self._next_member
        self._next_member += 1
        self.lines[line.member] = line
        line.token = self.random.randbytes(32)
        joined = request.Joined(session_id=self.session_id, member=line.member, token=line.token)
        self._reply(line, header, request.encode(joined))
        self.tell(MASTER, request.Joining(member=line.member))

    def _reply(self, line: _Line, header: Header, body: bytes) -> None:
        packet = encode_packet(PacketType.REPLY, SERVER, header.sender, body, number=header.number)
        self.deliver(line.member, packet)
