"""The web system behind an instance, as the application that answers devices' requests."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger

from porttunnel.gateway.cookie_jar import CookieShelf
from porttunnel.net.instance.application import ServedRequest
from porttunnel.net.instance.upstream_exchange import UpstreamExchange, UpstreamShared
from porttunnel.net.instance.upstream_pool import UpstreamPool
from porttunnel.net.instance.upstream_setting import UpstreamSettings
from porttunnel.net.instance.upstream_share import UpstreamShares

__all__ = ["Upstream"]


class Upstream:
    """An :class:`~porttunnel.net.instance.application.Application`.

    :param reactor: time and connections.
    :param settings: where the web system is, and what may be asked of it.
    :param endpoint: leads to it, in place of what the settings say.
    :param unix_time: seconds since 1970.
    :param token_bytes: makes random bytes.
    :raises ConfigurationError: a setting can't be used.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: UpstreamSettings,
        *,
        endpoint: IStreamClientEndpoint | None = None,
        unix_time: Callable[[], float] = time.time,
        token_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        place, rules = settings.place(), settings.rules()
        self._exchanges: set[UpstreamExchange] = set()
        self._is_failing = False
        self._cookies = CookieShelf(rules.origin.host, private=place.private)
        self._pool = UpstreamPool(
            reactor,
            endpoint or place.endpoint(reactor, settings.connect_seconds),
            max_connections=settings.max_connections,
            max_waiting=settings.max_waiting,
            wait_seconds=settings.wait_seconds,
            keep_alive_seconds=settings.keep_alive_seconds,
        )
        self._shared = UpstreamShared(
            reactor,
            settings,
            rules,
            self._pool,
            self._cookies,
            unix_time,
            token_bytes,
            UpstreamShares(settings.max_websockets),
            on_failed=self._has_failed,
            on_answered=self._has_answered,
            on_over=self._exchanges.discard,
        )

    @property
    def running(self) -> int:
        """How many requests are under way."""
        return len(self._exchanges)

    @property
    def waiting(self) -> int:
        """How many of them wait for a connection."""
        return self._pool.waiting

    @property
    def connections(self) -> int:
        """How many connections there are, without those that became WebSockets."""
        return self._pool.connections

    def open(self, request: ServedRequest) -> None:
        """See :class:`~porttunnel.net.instance.application.Application`."""
        exchange = UpstreamExchange(self._shared, request)
        self._exchanges.add(exchange)
        exchange.begin()

    def forget(self, device_id: str) -> None:
        """See :class:`~porttunnel.net.instance.application.Application`: its cookies are gone."""
        self._cookies.forget(device_id)

    def stop(self) -> None:
        """Break off what is under way, and close all connections."""
        for exchange in list(self._exchanges):
            exchange.cancel()
        self._pool.stop()

    def _has_failed(self, text: str) -> None:
        # Once, and not for each of the requests that follow while it is down.
        if not self._is_failing:
            self._is_failing = True
            self._log.warn("The web system does not answer properly: {text}", text=text)

    def _has_answered(self) -> None:
        if self._is_failing:
            self._is_failing = False
            self._log.info("The web system answers again")
