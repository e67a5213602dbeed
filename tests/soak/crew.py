"""One session: its master, who comes and goes, and what is done to them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from struct import Struct
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory

from porttunnel.errors import NoSuchNumber, PorttunnelError
from porttunnel.keys.hybrid import HybridPrivateKey
from porttunnel.net.broadcast import BroadcastWriter
from porttunnel.net.client import JoinedSession, join
from porttunnel.net.master import SharedSession, share
from porttunnel.net.session import Session
from porttunnel.session import event
from tests.soak.fault import MemberFault
from tests.soak.flow import Flow, FlowEnd

__all__ = ["Books", "Crew"]

SERVICE = "flow"
MAX_CLIENTS = 2  # who comes in beyond them takes somebody's place: so nothing grows by itself
MIN_STALL_SECONDS = 1.0
MAX_STALL_SECONDS = 20.0  # more than a link that says nothing is borne for
JOIN_SECONDS = 60.0  # a deadline: a server that is started anew in the middle is waited for
BROADCAST_COUNTS = 24
_COUNT = Struct(">Q")


class Books:
    """What a process has seen.

    :ivar problems: what must not be, in words.
    :ivar seen: how often what may be was.
    :ivar flows: those that have not ended.
    :ivar ends: open ends of flows.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.seen: Counter[str] = Counter()
        self.flows: dict[int, Flow] = {}
        self.ends: set[FlowEnd] = set()
        self._last_flow = 0

    def begin_flow(self) -> Flow:
        self._last_flow += 1
        flow = self.flows[self._last_flow] = Flow(self._last_flow)
        return flow

    def settle(self, flow: Flow) -> None:
        """It has ended, or is over."""
        del self.flows[flow.number]
        self.seen["bytes checked"] += sum(way.received for way in flow.ways)
        if flow.is_wrong:
            self.problems.append(f"flow {flow.number}: what came is not what was sent")
        elif flow.is_intact:
            self.seen["flows complete"] += 1
        elif flow.may_break:
            self.seen["flows ended by a kick or a leave"] += 1
        else:
            counts = [(way.sent, way.received, way.has_ended) for way in flow.ways]
            self.problems.append(f"flow {flow.number} was lost: sent, received, ended {counts}")


class _Client:
    """A client, its flow, and what came of the broadcast to it.

    :ivar is_leaving: it goes, and shall.
    """

    def __init__(self, books: Books, crew_name: str) -> None:
        self.session: JoinedSession | None = None
        self.flow = books.begin_flow()
        self.is_leaving = False
        self._books = books
        self._crew_name = crew_name
        self._rest = b""
        self._expected: int | None = None

    def leave(self) -> None:
        """From now on its end is no loss."""
        self.is_leaving = self.flow.may_break = True

    def broadcast_received(self, _channel: int, data: memoryview) -> None:
        self._rest += bytes(data)
        whole = len(self._rest) - len(self._rest) % _COUNT.size
        for (count,) in _COUNT.iter_unpack(self._rest[:whole]):
            if self._expected is not None and count != self._expected:
                self._books.problems.append(
                    f"{self._crew_name}: broadcast {count} came instead of {self._expected}"
                )
            self._expected = count + 1
            self._books.seen["broadcast records checked"] += 1
        self._rest = self._rest[whole:]

    def broadcast_ended(self, _channel: int) -> None:
        self._books.seen["broadcasts complete"] += 1

    def broadcast_lost(self, error: PorttunnelError) -> None:
        self._books.seen[f"broadcast lost: {error}"] += 1


class Crew:
    """See the module.

    :param reactor: the reactor.
    :param server: the server's address.
    :param name: for problems.
    :param key: of all clients: making one for each would take most of the time.
    """

    def __init__(
        self, reactor: Any, server: str, name: str, key: HybridPrivateKey, books: Books
    ) -> None:
        self._reactor = reactor
        self._server = server
        self._name = name
        self._key = key
        self._books = books
        self._clients: list[_Client] = []
        self._is_joining = False
        self._is_ending = False
        self._master: SharedSession
        self._writer: BroadcastWriter
        self._broadcast_count = 0

    async def form(self) -> None:
        """Share, and let the first ones in."""
        self._master = await share(
            self._reactor,
            self._server,
            [],
            on_consent=lambda asked: True,
            on_event=partial(self._count, "master"),
        )
        self._master.when_done().addBoth(self._master_ended)
        find = self._books.flows.__getitem__
        master_end = Factory.forProtocol(lambda: FlowEnd(self._books.ends, None, find))
        await self._master.listen(SERVICE).listen(master_end)
        self._writer = self._master.broadcast()
        for _ in range(MAX_CLIENTS):
            await self._join()
        if len(self._clients) < MAX_CLIENTS:
            self._books.problems.append(f"{self._name}: not all of the first ones came in")

    def broadcast(self) -> None:
        """Something for all."""
        if not self._writer.is_full and not self._is_ending:
            counts = range(self._broadcast_count, self._broadcast_count + BROADCAST_COUNTS)
            self._broadcast_count += BROADCAST_COUNTS
            self._writer.write(b"".join(map(_COUNT.pack, counts)))

    def stop_broadcast(self) -> Deferred[None]:
        """Its end; fires once everybody has all of it."""
        self._writer.loseConnection()
        return self._writer.when_done()

    # Faults

    def suffer(self, fault: MemberFault, chance: random.Random) -> None:
        """Let it happen; what was not possible is counted too."""
        faults: dict[MemberFault, Callable[[random.Random], bool]] = {
            MemberFault.CUT: self._cut_one,
            MemberFault.CUT_ALL: self.cut_all,
            MemberFault.STALL: self._stall,
            MemberFault.JOIN: self._change,
            MemberFault.KICK: self._kick,
            MemberFault.LOCK: self._lock,
            MemberFault.DIRECT_OFF: self._direct_off,
        }
        happened = faults[fault](chance)
        self._books.seen[f"fault: {fault}" if happened else f"fault not possible: {fault}"] += 1

    def cut_all(self, _chance: random.Random) -> bool:
        """RST on every link."""
        return sum(map(_cut, self._sessions())) > 0

    def _cut_one(self, chance: random.Random) -> bool:
        return _cut(chance.choice(self._sessions()))

    def _stall(self, chance: random.Random) -> bool:
        carrier = (session := chance.choice(self._sessions())).carrier
        if carrier is None:
            return False
        carrier.pause_receiving()

        def go_on() -> None:
            if session.carrier is carrier:
                carrier.resume_receiving()

        self._reactor.callLater(chance.uniform(MIN_STALL_SECONDS, MAX_STALL_SECONDS), go_on)
        return True

    def _change(self, _chance: random.Random) -> bool:
        if self._is_joining:
            return False
        if len(self._clients) >= MAX_CLIENTS:
            client = self._clients.pop(0)
            client.leave()
            assert client.session is not None
            client.session.close().addErrback(self._explain, "a leave")
        self._run(self._join())
        return True

    def _kick(self, chance: random.Random) -> bool:
        if self._is_joining or not self._clients:
            return False
        client = chance.choice(self._clients)
        self._clients.remove(client)
        client.leave()
        assert client.session is not None
        self._master.kick(client.session.local_member)
        self._run(self._join())
        return True

    def _lock(self, _chance: random.Random) -> bool:
        if self._is_joining:
            return False
        self._master.lock(True)
        self._run(self._knock())
        return True

    def _direct_off(self, chance: random.Random) -> bool:
        directs = [
            driver
            for session in self._sessions()
            for driver in session._directs
            if driver.carrier is not None
        ]
        if directs:
            chance.choice(directs).abort()
        return bool(directs)

    def _sessions(self) -> list[Session]:
        clients = [client.session for client in self._clients if client.session is not None]
        return [self._master, *clients]

    # Coming and going

    async def _join(self) -> None:
        self._is_joining = True
        client = _Client(self._books, self._name)
        try:
            client.session = await self._enter(client)
            client.session.on_broadcast(client)
            self._clients.append(client)
            client.session.when_done().addBoth(self._client_ended, client)
            make = Factory.forProtocol(
                lambda: FlowEnd(self._books.ends, client.flow, self._books.flows.__getitem__)
            )
            await client.session.endpoint(SERVICE).connect(make)
            self._books.seen["joins"] += 1
        except PorttunnelError as error:
            # In the midst of faults: a run that was cut after its proof has used up its code.
            self._books.seen[f"join failed: {type(error).__name__}"] += 1
            if client not in self._clients:
                del self._books.flows[client.flow.number]
        finally:
            self._is_joining = False

    async def _knock(self) -> None:
        """The session is locked: nobody may come in."""
        self._is_joining = True
        client = _Client(self._books, self._name)
        client.leave()
        try:
            session = await self._enter(client)
            self._books.problems.append(f"{self._name}: somebody came in although it was locked")
            session.close().addErrback(self._explain, "a knock")
        except NoSuchNumber:
            self._books.seen["locked out"] += 1
        except PorttunnelError as error:
            self._books.seen[f"knock failed: {type(error).__name__}"] += 1
        finally:
            del self._books.flows[client.flow.number]
            self._is_joining = False
            self._master.lock(False)

    async def _enter(self, client: _Client) -> JoinedSession:
        joining = Deferred.fromCoroutine(
            join(
                self._reactor,
                self._server,
                self._master.code,
                key=succeed(self._key),
                on_event=lambda session, happened: self._count("client", happened),
            )
        )
        entered: JoinedSession = await joining.addTimeout(JOIN_SECONDS, self._reactor)
        return entered

    def _client_ended(self, result: Any, client: _Client) -> None:
        if client in self._clients:
            self._clients.remove(client)
        if not client.is_leaving and not self._is_ending:
            self._books.problems.append(f"{self._name}: a client has fallen out: {result}")

    def _master_ended(self, result: Any) -> None:
        if not self._is_ending:
            self._books.problems.append(f"{self._name}: the session has ended: {result}")

    def end(self) -> Deferred[None]:
        """Everybody leaves."""
        self._is_ending = True
        return self._master.close()

    def _run(self, coroutine: Any) -> None:
        Deferred.fromCoroutine(coroutine).addErrback(self._explain, "a join")

    def _explain(self, failure: Any, what: str) -> None:
        self._books.problems.append(f"{self._name}: {what} failed: {failure.getTraceback()}")

    def _count(self, who: str, happened: Any) -> None:
        if isinstance(happened, event.LinkRestored):
            self._books.seen[f"links restored: {who}"] += 1
        elif isinstance(happened, event.PathChanged) and who == "client":
            self._books.seen[f"path changed to {happened.path}"] += 1
        elif isinstance(happened, event.JoiningPaused):
            self._books.problems.append(f"{self._name}: joining was paused")
        elif isinstance(happened, event.BroadcastDropped):
            self._books.seen["members dropped from the broadcast"] += 1


def _cut(session: Session) -> bool:
    if session.carrier is None:
        return False
    session.carrier.abort()
    return True
