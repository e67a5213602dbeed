"""A process with the members of many sessions: ``members SERVER SESSIONS``.

Says ``ready``. Standard input tells which fault befalls which session, one JSON object a line;
``count`` asks how many ``blocks`` of memory Python has in use; at the end ``finish`` has all flows
brought to their ends, and ``result`` tells in JSON what was seen.
"""

from __future__ import annotations

import gc
import json
import random
import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import StandardIOEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import LogLevel, globalLogBeginner
from twisted.protocols.basic import LineReceiver

from porttunnel.keys.hybrid import HybridPrivateKey
from tests.soak.crew import Books, Crew
from tests.soak.fault import MemberFault
from tests.soak.flow import MAX_PIECE_BYTES

TICK_SECONDS = 0.25
BROADCAST_TICKS = 4
SHARE_OF_ENDS = 0.5  # that send in a tick
FINISH_SECONDS = 120.0  # a deadline: the longest stall, and the way back from it
AWAY_SECONDS = 2.0  # for goodbyes
KEPT_PROBLEMS = 20


class _Company:
    """All sessions of this process."""

    def __init__(self, server: str, count: int) -> None:
        self.books = Books()
        self._chance = random.Random(count)
        key = HybridPrivateKey.generate()
        self._crews = [
            Crew(reactor, server, f"session {number}", key, self.books) for number in range(count)
        ]
        self._ticks = 0
        self._ticking = LoopingCall(self._tick)

    async def form(self) -> None:
        for crew in self._crews:
            await crew.form()
        self._ticking.start(TICK_SECONDS)

    def _tick(self) -> None:
        self._ticks += 1
        for end in tuple(self.books.ends):
            if self._chance.random() < SHARE_OF_ENDS:
                end.send(self._chance.randint(1, MAX_PIECE_BYTES))
        for flow in list(self.books.flows.values()):
            if flow.is_intact or flow.has_broken:
                self.books.settle(flow)
        if self._ticks % BROADCAST_TICKS == 0:
            for crew in self._crews:
                crew.broadcast()

    def suffer(self, fault: MemberFault, number: int, seed: int) -> None:
        chance = random.Random(seed)
        if fault is MemberFault.CUT_ALL:
            for crew in self._crews:
                crew.cut_all(chance)
            self.books.seen[f"fault: {fault}"] += 1
        else:
            self._crews[number].suffer(fault, chance)

    async def finish(self) -> None:
        """Bring everything to its end."""
        deadline = reactor.seconds() + FINISH_SECONDS
        broadcasts = [crew.stop_broadcast() for crew in self._crews]
        while self.books.flows and reactor.seconds() < deadline:
            # Again and again: somebody may have been on its way in.
            for end in tuple(self.books.ends):
                end.finish()
            await deferLater(reactor, TICK_SECONDS)
        self._ticking.stop()
        for flow in list(self.books.flows.values()):
            self.books.settle(flow)
        await self._wait_for(broadcasts, "a broadcast")
        await self._wait_for([crew.end() for crew in self._crews], "a session")
        await deferLater(reactor, AWAY_SECONDS)

    async def _wait_for(self, ends: list[Deferred[None]], what: str) -> None:
        waiting = [end.addTimeout(FINISH_SECONDS, reactor) for end in ends]
        for succeeded, result in await DeferredList(waiting, consumeErrors=True):
            if not succeeded:
                self.books.problems.append(f"{what} did not end: {result}")


class _Orders(LineReceiver):
    """Standard input."""

    delimiter = b"\n"

    def __init__(self, company: _Company) -> None:
        self._company = company

    def lineReceived(self, line: bytes) -> None:
        if line == b"finish":
            Deferred.fromCoroutine(self._finish()).addErrback(_give_up)
            return
        if line == b"count":
            gc.collect()
            print("blocks", sys.getallocatedblocks(), flush=True)
            return
        order = json.loads(line)
        self._company.suffer(MemberFault(order["fault"]), order["session"], order["seed"])

    async def _finish(self) -> None:
        await self._company.finish()
        gc.collect()  # what failed and nobody asked about is told by its end
        books = self._company.books
        result = {
            "problems": books.problems[:KEPT_PROBLEMS],
            "problem_count": len(books.problems),
            "seen": books.seen,
        }
        print("result", json.dumps(result), flush=True)
        reactor.callLater(0, reactor.stop)


def _watch_log(books: Books) -> None:
    def observe(logged: Any) -> None:
        if logged["log_level"] >= LogLevel.error:
            failure = logged.get("log_failure")
            text = "" if failure is None else failure.getTraceback()
            books.problems.append(f"logged: {logged.get('log_format')} {text}")

    # Before logging has begun Twisted keeps what is logged.
    globalLogBeginner.beginLoggingTo([observe], redirectStandardIO=False)


async def _run(server: str, count: str) -> None:
    company = _Company(server, int(count))
    _watch_log(company.books)
    await company.form()
    await StandardIOEndpoint(reactor).listen(Factory.forProtocol(lambda: _Orders(company)))
    print("ready", flush=True)


def _give_up(failure: Any) -> None:
    failure.printTraceback()
    if reactor.running:
        reactor.stop()


if __name__ == "__main__":
    Deferred.fromCoroutine(_run(*sys.argv[1:])).addErrback(_give_up)
    reactor.run()
