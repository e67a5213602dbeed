"""A web system behind a gateway, at a port of this machine: what `porttunnel device serve` runs.

Whoever can connect to the port is the device's user for the web system. It listens on the loopback
interface alone, and what a browser does there for pages of other sites is refused; see
:mod:`porttunnel.net.device.proxy_rule`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory

from porttunnel.net.device.interface import Requester
from porttunnel.net.device.proxy_connection import ProxyConnection
from porttunnel.net.device.proxy_rule import own_authorities

__all__ = ["ANY_PORT", "LOOPBACK", "LoopbackProxy", "usual_ports"]

LOOPBACK = "127.0.0.1"
ANY_PORT = 0
MAX_CONNECTIONS = 256  # a browser opens six, or 30 with WebSockets; a loop of a script is stopped
BACKLOG = 50  # connections that wait to be taken, as everywhere in Twisted
FIRST_USUAL_PORT = 20_000  # below those that systems give to connections of their own
USUAL_PORTS = 10_000

_DIGITS = 8  # of an id, for one port


def usual_ports(device_id: str) -> list[int]:
    """Where a device's system is found if nobody says otherwise, the first that is free: the same
    each time, and hardly ever another system's, because a browser keeps by the port what belongs
    to a site's pages.

    :param device_id: 32 hex digits, random.
    """
    parts = (device_id[at : at + _DIGITS] for at in range(0, len(device_id), _DIGITS))
    return [FIRST_USUAL_PORT + int(part, 16) % USUAL_PORTS for part in parts]


class LoopbackProxy:
    """The proxy of one device.

    :param reactor: listens, and time.
    :param device: whom to ask; it is started.
    """

    def __init__(self, reactor: Any, device: Requester) -> None:
        self._reactor = reactor
        self._factory = _ProxyFactory(reactor, device)
        self._port: IListeningPort | None = None

    async def start(self, port: int | None = None) -> int:
        """Listen.

        :param port: where; ANY_PORT for any. Without it at one of the device's usual ones, or at
            any if they are taken.
        :returns: the port.
        :raises CannotListenError: the port that was asked for is taken.
        """
        if port is not None:
            return await self._listen(port)
        for usual in usual_ports(self._factory.device.device_id):
            with suppress(CannotListenError):
                return await self._listen(usual)
        return await self._listen(ANY_PORT)

    async def stop(self) -> None:
        """Listen no more, and break off what is under way."""
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        await self._factory.close()

    async def _listen(self, port: int) -> int:
        endpoint = TCP4ServerEndpoint(self._reactor, port, BACKLOG, LOOPBACK)
        listening = self._port = await endpoint.listen(self._factory)
        number = int(listening.getHost().port)
        self._factory.own = own_authorities(number)
        return number


class _ProxyFactory(Factory):
    noisy = False

    def __init__(self, reactor: Any, device: Requester) -> None:
        self.device = device
        self.own: frozenset[bytes] = frozenset()
        self._reactor = reactor
        self._connections: set[ProxyConnection] = set()
        self._closed: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress | None) -> ProxyConnection | None:
        if len(self._connections) >= MAX_CONNECTIONS or self._closed is not None:
            return None  # it is closed at once
        connection = ProxyConnection(self._reactor, self.device, self.own, self._forget)
        self._connections.add(connection)
        return connection

    async def close(self) -> None:
        closed = self._closed = Deferred()
        for connection in list(self._connections):
            connection.close()
        if not self._connections and not closed.called:
            closed.callback(None)
        await closed

    def _forget(self, connection: ProxyConnection) -> None:
        self._connections.discard(connection)
        if self._closed is not None and not self._connections and not self._closed.called:
            self._closed.callback(None)
