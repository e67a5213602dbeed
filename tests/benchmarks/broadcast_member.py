"""Members of a session for :mod:`tests.benchmarks.part_broadcast`.

``share PORT MEMBERS`` prints each code that it shows; told ``SIZE``, it broadcasts so many bytes
and prints when it began. ``join PORT`` joins with each code that it is told, any number of times,
and prints for each member when its broadcast was over, how many bytes came, and whether it was
dropped. Times are :func:`time.monotonic`'s, which all processes share.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import StandardIOEndpoint
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver
from zope.interface import implementer

from porttunnel.errors import PorttunnelError
from porttunnel.keys.hybrid import HybridPrivateKey
from porttunnel.net.broadcast import BroadcastWriter
from porttunnel.net.client import join
from porttunnel.net.master import SharedSession, share
from porttunnel.session.code import format_code
from porttunnel.session.event import InvitationMade
from tests.benchmarks.program import HOST

PIECE_BYTES = 65_536


@implementer(IPushProducer)
class _Source:
    """Broadcasts as many bytes as it was told."""

    def __init__(self, writer: BroadcastWriter, count: int) -> None:
        self._writer = writer
        self._left = count
        self._piece = os.urandom(PIECE_BYTES)
        self._paused = False
        writer.registerProducer(self, True)
        if not self._paused:
            self.resumeProducing()

    def resumeProducing(self) -> None:
        self._paused = False
        while self._left > 0 and not self._paused:
            self._left -= PIECE_BYTES
            self._writer.write(self._piece)
        if self._left <= 0:
            self._writer.unregisterProducer()
            self._writer.loseConnection()

    def pauseProducing(self) -> None:
        self._paused = True

    def stopProducing(self) -> None:
        self._left = 0
        self._paused = True


class _Viewer:
    """Counts what comes to one member."""

    def __init__(self) -> None:
        self._received = 0

    def broadcast_received(self, _channel: int, data: memoryview) -> None:
        self._received += len(data)

    def broadcast_ended(self, _channel: int) -> None:
        self._tell(lost=False)

    def broadcast_lost(self, _error: PorttunnelError) -> None:
        self._tell(lost=True)

    def _tell(self, *, lost: bool) -> None:
        _say(json.dumps({"at": time.monotonic(), "bytes": self._received, "lost": lost}))


class _Orders(LineReceiver):
    """Standard input."""

    delimiter = b"\n"

    def __init__(self, obey: Callable[[str], None]) -> None:
        self._obey = obey

    def lineReceived(self, line: bytes) -> None:
        self._obey(line.decode())


def _say(line: str) -> None:
    print(line, flush=True)


async def _listen(obey: Callable[[str], None]) -> None:
    await StandardIOEndpoint(reactor).listen(Factory.forProtocol(lambda: _Orders(obey)))


async def _share(server: str, members: str) -> None:
    def tell(happened: Any) -> None:
        if isinstance(happened, InvitationMade):
            _say(format_code(happened.code))

    session: SharedSession = await share(
        reactor,
        server,
        [],
        on_consent=lambda asked: True,
        on_event=tell,
        max_clients=int(members),
        direct=False,
    )

    def broadcast(size: str) -> None:
        _say(f"began {time.monotonic()}")
        _Source(session.broadcast(), int(size))

    await _listen(broadcast)
    await session.when_done()


async def _join(server: str) -> None:
    key = HybridPrivateKey.generate()

    async def join_with(code: str) -> None:
        session = await join(reactor, server, code, key=succeed(key), direct=False)
        session.on_broadcast(_Viewer())
        _say("joined")

    def obey(code: str) -> None:
        Deferred.fromCoroutine(join_with(code)).addErrback(_give_up)

    await _listen(obey)
    _say("ready")
    await Deferred()


def _give_up(failure: Any) -> None:
    failure.printTraceback()
    if reactor.running:
        reactor.stop()


def _main(role: str, port: str, *arguments: str) -> None:
    roles: dict[str, Any] = {"share": _share, "join": _join}
    running = Deferred.fromCoroutine(roles[role](f"tcp:{HOST}:{port}", *arguments))
    running.addErrback(_give_up)
    reactor.run()


if __name__ == "__main__":
    _main(*sys.argv[1:])
