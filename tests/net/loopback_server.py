"""A tunnel server on a real loopback port, in the test's own process."""

from __future__ import annotations

import secrets
from typing import Any

from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.trial.unittest import TestCase

from porttunnel.net.store.sqlite import IN_MEMORY, SQLiteStore
from porttunnel.net.tunnel_server import TunnelServerFactory
from porttunnel.session.directory import Directory

__all__ = ["listen_on_loopback"]

reactor: Any = real_reactor


async def listen_on_loopback(case: TestCase) -> tuple[int, TunnelServerFactory]:
    """Start a tunnel server that the test's cleanup stops.

    :returns: its port and itself.
    """
    store = SQLiteStore(IN_MEMORY)
    directory = Directory(store, randbelow=secrets.randbelow, token_bytes=secrets.token_bytes)
    server = TunnelServerFactory(reactor, directory, maybeDeferred, refusal_delay_seconds=0)
    await server.start()
    endpoint: Any = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
    port = await endpoint.listen(server)

    async def stop() -> None:
        await maybeDeferred(port.stopListening)
        await server.drain()
        store.close()

    case.addCleanup(lambda: Deferred.fromCoroutine(stop()))
    return int(port.getHost().port), server
