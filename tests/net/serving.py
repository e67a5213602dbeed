"""A tunnel server in memory on a clock of its own, and the other ends of its links."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from twisted.internet import defer
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from porttunnel.net.store.sqlite import IN_MEMORY, SQLiteStore
from porttunnel.net.tunnel_server import TunnelServerFactory
from porttunnel.session import request
from porttunnel.session.directory import (
    CLIENT_GRACE_SECONDS,
    MASTER_GRACE_SECONDS,
    Directory,
)
from porttunnel.session.limit import RateLimiter
from porttunnel.session.packet import (
    HEADER_BYTES,
    NO_MEMBER,
    SERVER,
    Header,
    PacketSplitter,
    PacketType,
    encode_header_into,
    encode_packet,
)

__all__ = ["CREATE", "UNIX_TIME", "Peer", "ServerTestCase", "Thread", "sealed"]

UNIX_TIME = 1_800_000_000.0
CREATE = request.Create(lifetime_s=3_600, max_clients=3, join_window_s=600)


def sealed(
    sender: int,
    target: int,
    body: bytes = b"never opened 0123",
    *,
    flags: int = 0,
    number: int = 0,
) -> bytes:
    head = bytearray(HEADER_BYTES)
    encode_header_into(
        head, PacketType.DATA, sender, target, len(body), flags=flags, number=number
    )
    return bytes(head) + body


class Thread:
    """Stands in for the directory's thread: calls at once, answers at once or when told."""

    def __init__(self) -> None:
        self.held: list[tuple[defer.Deferred[Any], Any]] | None = None
        self.called: list[str] = []
        self.failure: Exception | None = None
        self.dead = False

    def run(self, function: Callable[..., Any], *arguments: Any) -> defer.Deferred[Any]:
        if self.dead:
            return defer.Deferred()
        self.called.append(function.__name__)
        if self.failure is not None:
            return defer.fail(self.failure)
        called = defer.maybeDeferred(function, *arguments)
        if self.held is None:
            return called
        results: list[Any] = []
        called.addBoth(results.append)
        answer: defer.Deferred[Any] = defer.Deferred()
        self.held.append((answer, results[0]))
        return answer

    def release(self) -> None:
        held, self.held = self.held or [], None
        for answer, result in held:
            if not answer.called:
                answer.callback(result)


class Peer:
    """The other end of one link."""

    def __init__(self, server: TunnelServerFactory, host: str = "192.0.2.1") -> None:
        address = IPv4Address("TCP", host, 1_024) if host else UNIXAddress(b"/socket")
        protocol = server.buildProtocol(address)
        assert protocol is not None
        self.protocol = protocol
        self.transport = StringTransport(peerAddress=address)
        self.protocol.makeConnection(self.transport)
        self.member = NO_MEMBER
        self.token = b""
        self.session_id = b""
        self.number = 0
        self._splitter = PacketSplitter()

    def send(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def ask(self, message: Any, number: int = 1) -> None:
        body = request.encode(message)
        self.send(encode_packet(PacketType.REQUEST, self.member, SERVER, body, number=number))

    def received(self) -> list[tuple[Header, bytes]]:
        """The packets that came since the last call."""
        data = self.transport.value()
        self.transport.clear()
        cut = self._splitter.split(memoryview(data))
        return [(head, bytes(packet[HEADER_BYTES:])) for head, packet in cut]

    def heard(self) -> list[Any]:
        """As :meth:`received`, for people: what was said, or the body of what was relayed."""
        said: list[Any] = []
        for head, body in self.received():
            match head.kind:
                case PacketType.REPLY:
                    said.append(request.decode_reply(body))
                case PacketType.EVENT:
                    said.append(request.decode_event(body))
                case PacketType.ERROR if head.sender == SERVER:
                    said.append(request.decode_error(body).code)
                case _:
                    said.append(body)
        return said

    def enter(self, message: Any) -> Any:
        """Ask to come in; the answer."""
        self.ask(message)
        reply, *_ = self.heard()
        if isinstance(reply, request.Created | request.Joined | request.Resumed):
            self.token = reply.token
            self.session_id = getattr(reply, "session_id", self.session_id)
            self.number = getattr(reply, "number", self.number)
            self.member = (
                1
                if isinstance(reply, request.Created)
                else (getattr(reply, "member", self.member))
            )
        return reply

    def lose(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))

    def stall(self) -> None:
        assert self.transport.producer is not None
        self.transport.producer.pauseProducing()

    def go_on(self) -> None:
        assert self.transport.producer is not None
        self.transport.producer.resumeProducing()

    @property
    def closed(self) -> bool:
        """Whether the server has closed, or begun to close, the connection."""
        return self.transport.disconnecting or self.transport.disconnected


class ServerTestCase(TestCase):
    """A test with one server process, or several on one store.

    :ivar server: the process that was started last, with its ``directory`` and ``thread``.
    """

    refusal_delay_seconds = 1.0
    max_waiting_bytes = 1 << 28
    master_grace_seconds = MASTER_GRACE_SECONDS
    client_grace_seconds = CLIENT_GRACE_SECONDS
    create_limiter = RateLimiter.for_creates

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = SQLiteStore(IN_MEMORY)
        self.addCleanup(self.store.close)
        self.randbelow: Callable[[int], int] = secrets.randbelow
        self._threads: dict[TunnelServerFactory, Thread] = {}
        self.start_server()
        self.logged: list[Any] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)

    def join_limiter(self) -> RateLimiter:
        return RateLimiter.for_join_failures(per_minute=3)

    def start_server(self) -> TunnelServerFactory:
        """A process on the store, from now on :attr:`server`."""
        self.thread = Thread()
        self.directory = Directory(
            self.store,
            randbelow=self.randbelow,
            token_bytes=secrets.token_bytes,
            master_grace_seconds=self.master_grace_seconds,
            client_grace_seconds=self.client_grace_seconds,
        )
        self.server = TunnelServerFactory(
            self.clock,
            self.directory,
            self.thread.run,
            join_limiter=self.join_limiter(),
            create_limiter=self.create_limiter(),
            unix_time=lambda: UNIX_TIME + self.clock.seconds(),
            refusal_delay_seconds=self.refusal_delay_seconds,
            max_waiting_bytes=self.max_waiting_bytes,
        )
        self._threads[self.server] = self.thread
        self.successResultOf(defer.Deferred.fromCoroutine(self.server.start()))
        return self.server

    def kill(self, server: TunnelServerFactory) -> None:
        """``kill -9``: not another word in the store, and nobody is told."""
        self._threads.pop(server).dead = True

    def restart(self) -> None:
        """Kill the process and start another one."""
        self.kill(self.server)
        self.start_server()

    def peer(self, host: str = "192.0.2.1", server: TunnelServerFactory | None = None) -> Peer:
        return Peer(server or self.server, host)

    def master(self, create: request.Create = CREATE) -> Peer:
        master = self.peer()
        assert isinstance(master.enter(create), request.Created)
        return master

    def client(self, master: Peer) -> Peer:
        client = self.peer("192.0.2.2")
        joined = client.enter(request.Join(number=master.number))
        assert isinstance(joined, request.Joined), joined
        assert master.heard() == [request.Joining(member=client.member)]
        return client

    def pair(self) -> tuple[Peer, Peer]:
        master = self.master()
        return master, self.client(master)

    def resume(
        self,
        former: Peer,
        token: bytes | None = None,
        server: TunnelServerFactory | None = None,
    ) -> Peer:
        peer = self.peer(server=server)
        peer.member, peer.session_id = former.member, former.session_id
        peer.enter(
            request.Resume(
                session_id=former.session_id,
                member=former.member,
                token=former.token if token is None else token,
            )
        )
        return peer

    def advance(self, seconds: float) -> None:
        """Let time pass while everybody pings."""
        while seconds > 0:
            step = min(seconds, 10.0)
            self.clock.advance(step)
            seconds -= step
            for link in [link for server in self._threads for link in server.links]:
                if link.open:
                    ping = encode_packet(PacketType.PING, link.member, SERVER, bytes(8))
                    link.carrier_received(memoryview(ping))
