"""Both ends of library streams: a process that shares and one that joins, nothing between them
and the session but a Twisted protocol.

``share`` prints the code, and answers on the services ``bulk`` and ``records`` as the source of
:mod:`tests.benchmarks.traffic` does, in pieces of a size of the service's own. ``join`` reads
``SERVICE COUNT`` from its standard input and then speaks as ``fetch`` does.
"""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import StandardIOEndpoint
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.basic import LineReceiver
from zope.interface import implementer

from porttunnel.net.client import JoinedSession, join
from porttunnel.net.master import share
from porttunnel.session.code import format_code
from tests.benchmarks.library_programs import CODE_VARIABLE, PIECE_BYTES
from tests.benchmarks.program import HOST
from tests.benchmarks.traffic import COUNT, announce_transfer


@implementer(IPushProducer)
class _Source(Protocol):
    """Sends as many bytes as it is asked for, in pieces of one size."""

    transport: Any

    def __init__(self, piece: bytes) -> None:
        self._piece = piece
        self._left = 0
        self._paused = False
        self._request = b""

    def dataReceived(self, data: bytes) -> None:
        self._request += data
        if len(self._request) == COUNT.size:
            (self._left,) = COUNT.unpack(self._request)
            self.transport.registerProducer(self, True)
            self.resumeProducing()

    def resumeProducing(self) -> None:
        self._paused = False
        write, piece, size = self.transport.write, self._piece, len(self._piece)
        while self._left > 0 and not self._paused:
            write(piece)
            self._left -= size
        if self._left <= 0:
            self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        self._paused = True

    def stopProducing(self) -> None:
        self._left = 0
        self._paused = True


class _Sink(Protocol):
    """Counts what comes."""

    transport: Any

    def __init__(self) -> None:
        self._wanted = 0
        self._received = 0
        self._begun = 0.0

    def fetch(self, count: int) -> None:
        self._wanted = count
        self._begun = time.perf_counter()
        self.transport.write(COUNT.pack(count))

    def dataReceived(self, data: bytes) -> None:
        self._received += len(data)
        if self._received >= self._wanted:
            announce_transfer(self._received, time.perf_counter() - self._begun)
            self.transport.loseConnection()


class _Orders(LineReceiver):
    """Standard input of the process that joins."""

    delimiter = b"\n"

    def __init__(self, session: JoinedSession) -> None:
        self._session = session
        self._sink: _Sink | None = None
        self._count = 0

    def lineReceived(self, line: bytes) -> None:
        if self._sink is not None:
            sink, self._sink = self._sink, None
            sink.fetch(self._count)
            return
        service, count = line.decode().split()
        self._count = int(count)
        connecting = self._session.endpoint(service).connect(Factory.forProtocol(_Sink))
        connecting.addCallbacks(self._connected, _give_up)

    def _connected(self, sink: _Sink) -> None:
        self._sink = sink
        print("ready", flush=True)


async def _share(server: str) -> None:
    session = await share(reactor, server, [], on_consent=lambda asked: True, direct=False)
    for service, size in PIECE_BYTES.items():
        factory = Factory.forProtocol(partial(_Source, os.urandom(size)))
        await session.listen(service).listen(factory)
    print(format_code(session.code), flush=True)
    await session.when_done()


async def _join(server: str) -> None:
    session = await join(reactor, server, os.environ[CODE_VARIABLE], direct=False)
    await StandardIOEndpoint(reactor).listen(Factory.forProtocol(lambda: _Orders(session)))
    await session.when_done()


def _give_up(failure: Any) -> None:
    failure.printTraceback()
    if reactor.running:
        reactor.stop()


def _main(role: str, port: str) -> None:
    roles = {"share": _share, "join": _join}
    running = Deferred.fromCoroutine(roles[role](f"tcp:{HOST}:{port}"))
    running.addErrback(_give_up)
    reactor.run()


if __name__ == "__main__":
    _main(*sys.argv[1:])
