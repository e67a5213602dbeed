"""The connections to the web system: kept for the next request, counted, waited for.

Nothing is repeated here. A web system may close an idle connection at the very moment in which a
request goes out on it, and then nobody can tell whether it was carried out: so what must not be
carried out twice asks for a fresh connection.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IAddress, IDelayedCall, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from porttunnel.errors import UpstreamError
from porttunnel.net.instance.upstream_connection import UpstreamConnection
from porttunnel.net.instance.upstream_share import UpstreamShares

__all__ = ["UpstreamPool"]

MAX_IDLE = 16  # more are no gain: an idle one is used again last in, first out


class _Waiter:
    """Somebody who waits for a connection."""

    def __init__(self, pool: UpstreamPool, device_id: str, *, fresh: bool) -> None:
        self.device_id = device_id
        self.fresh = fresh
        self.connection: Deferred[UpstreamConnection] = Deferred(lambda _: pool.forget(self))
        self.timer: IDelayedCall | None = None
        self.connecting: Deferred[Any] | None = None


class _Giver(Factory):
    """Gives one protocol."""

    noisy = False

    def __init__(self, connection: UpstreamConnection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: IAddress | None) -> UpstreamConnection:
        return self._connection


class UpstreamPool:
    """See the module.

    :param reactor: time.
    :param endpoint: leads to the web system.
    :param max_connections: at a time, those that are being made included.
    :param max_waiting: who may wait for one.
    :param wait_seconds: how long they wait.
    :param keep_alive_seconds: how long an idle one is kept.
    """

    def __init__(
        self,
        reactor: Any,
        endpoint: IStreamClientEndpoint,
        *,
        max_connections: int,
        max_waiting: int,
        wait_seconds: float,
        keep_alive_seconds: float,
    ) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._max_connections = max_connections
        self._max_waiting = max_waiting
        self._wait_seconds = wait_seconds
        self._keep_alive_seconds = keep_alive_seconds
        self._shares = UpstreamShares(max_connections)
        self._open: set[UpstreamConnection] = set()
        self._users: dict[UpstreamConnection, str] = {}  # of those that aren't idle
        self._idle: dict[UpstreamConnection, IDelayedCall] = {}  # the longest idle first
        self._connecting: set[_Waiter] = set()
        self._waiting: deque[_Waiter] = deque()
        self._serving = False
        self._stopped = False

    def is_busy_for(self, device_id: str) -> bool:
        """Whether nobody else of this device may wait."""
        is_full = len(self._waiting) >= self._max_waiting
        return self._stopped or (is_full and not self._shares.may_take(device_id))

    @property
    def connections(self) -> int:
        """How many there are, those that are being made included."""
        return len(self._open) + len(self._connecting)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def acquire(self, device_id: str, *, fresh: bool) -> Deferred[UpstreamConnection]:
        """A connection for one request; it comes back by itself.

        Fails with :class:`~porttunnel.errors.UpstreamError`. Cancelled, it leaves nothing behind.

        :param device_id: for whom.
        :param fresh: it must not have been used before.
        """
        waiter = _Waiter(self, device_id, fresh=fresh)
        if self.is_busy_for(device_id):
            waiter.connection.errback(UpstreamError("too many requests wait for it", 503))
            return waiter.connection
        waiter.timer = self._reactor.callLater(self._wait_seconds, self._give_up, waiter)
        self._waiting.append(waiter)
        self._serve()
        return waiter.connection

    def release(self, connection: UpstreamConnection) -> None:
        """It became something else, and counts here no longer."""
        self._open.discard(connection)
        self._take_back(connection)
        self._serve()

    def stop(self) -> None:
        """Close what is idle, and give nobody anything any more."""
        self._stopped = True
        for waiter in (*self._waiting, *self._connecting):
            waiter.connection.cancel()
        for connection in list(self._idle):
            connection.close()

    def forget(self, waiter: _Waiter) -> None:
        """Somebody waits no longer."""
        self._settle(waiter)
        if waiter in self._connecting:
            self._connecting.discard(waiter)
            self._shares.give_back(waiter.device_id)
            if waiter.connecting is not None:
                waiter.connecting.cancel()
            self._serve()
        else:
            self._waiting.remove(waiter)

    def _next_waiter(self) -> _Waiter | None:
        """Whose turn it is, of those who may have another one."""
        for waiter in self._waiting:
            if self._shares.may_take(waiter.device_id):
                return waiter
        return None

    def _serve(self) -> None:
        """Give what there is to those who wait, in their turn."""
        if self._serving:
            return  # whoever is served may ask again, and what is closed for one is gone at once
        self._serving = True
        while (waiter := self._next_waiter()) is not None:
            self._waiting.remove(waiter)
            self._shares.take(waiter.device_id)
            if self._idle and not waiter.fresh:
                connection = next(reversed(self._idle))
                self._idle.pop(connection).cancel()
                self._users[connection] = waiter.device_id
                self._settle(waiter)
                waiter.connection.callback(connection)
            else:
                if self.connections >= self._max_connections:
                    next(iter(self._idle)).close()
                self._connect(waiter)
        self._serving = False

    def _connect(self, waiter: _Waiter) -> None:
        self._connecting.add(waiter)
        connection = UpstreamConnection(self._reactor, self._became_idle, self._is_gone)
        connecting: Deferred[Any] = self._endpoint.connect(_Giver(connection))
        waiter.connecting = connecting
        connecting.addCallbacks(
            self._connected, self._not_connected, callbackArgs=(waiter,), errbackArgs=(waiter,)
        )

    def _connected(self, connection: UpstreamConnection, waiter: _Waiter) -> None:
        self._settle(waiter)
        self._connecting.discard(waiter)
        self._open.add(connection)
        self._users[connection] = waiter.device_id
        waiter.connection.callback(connection)

    def _not_connected(self, reason: Failure, waiter: _Waiter) -> None:
        if waiter not in self._connecting:
            return  # it was cancelled
        self._settle(waiter)
        self._connecting.discard(waiter)
        self._shares.give_back(waiter.device_id)
        status = 504 if reason.check(ConnectTimeout) else 502
        text = f"it takes no connection: {reason.getErrorMessage()}"
        waiter.connection.errback(UpstreamError(text, status))
        self._serve()

    def _give_up(self, waiter: _Waiter) -> None:
        waiter.timer = None
        if waiter in self._connecting:
            return  # the endpoint has a time-out of its own
        self._waiting.remove(waiter)
        waiter.connection.errback(UpstreamError("none of its connections became free", 503))

    def _settle(self, waiter: _Waiter) -> None:
        if waiter.timer is not None:
            waiter.timer.cancel()
            waiter.timer = None

    def _take_back(self, connection: UpstreamConnection) -> None:
        device_id = self._users.pop(connection, None)
        if device_id is not None:
            self._shares.give_back(device_id)

    def _became_idle(self, connection: UpstreamConnection) -> None:
        self._take_back(connection)
        if self._stopped or connection not in self._open:
            connection.close()
            return
        self._idle[connection] = self._reactor.callLater(
            self._keep_alive_seconds, connection.close
        )
        self._serve()
        if len(self._idle) > MAX_IDLE:
            next(iter(self._idle)).close()

    def _is_gone(self, connection: UpstreamConnection) -> None:
        self._open.discard(connection)
        self._take_back(connection)
        timer = self._idle.pop(connection, None)
        if timer is not None and timer.active():
            timer.cancel()
        self._serve()
