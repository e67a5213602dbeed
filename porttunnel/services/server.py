"""``twistd porttunnel-server``: the tunnel server, its listeners and its admin pages.

Built in :func:`makeService`, opened in ``startService``: what is needed as root (a low port)
comes from systemd's sockets, everything else as the user that it runs as.
"""

from __future__ import annotations

import re
import secrets
import socket
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from porttunnel.net.admin import admin_site
from porttunnel.net.certificate import load_or_create_identity
from porttunnel.net.directory_thread import DirectoryThread
from porttunnel.net.http_notice import HTTPNoticeFactory
from porttunnel.net.open_files import allow_open_files
from porttunnel.net.port_sharing import Branch, SharedPortFactory
from porttunnel.net.proxied_address import TrustedProxies
from porttunnel.net.request_desk import DEFAULT_LIMITS
from porttunnel.net.steady_time import keep_time_steady
from porttunnel.net.store.sqlite import SQLiteStore
from porttunnel.net.tls import server_context
from porttunnel.net.tunnel_server import TunnelServerFactory
from porttunnel.services.listener import ListeningService, ServiceOptions, print_line
from porttunnel.services.server_config import (
    DEFAULT_ADMIN,
    DEFAULT_LISTEN,
    ServerSettings,
    load_settings,
)
from porttunnel.services.server_gateway import ServerGateway
from porttunnel.session.directory import Directory
from porttunnel.session.limit import ConnectionLimiter, RateLimiter
from porttunnel.session.request import Limits

__all__ = ["Options", "ServerService", "makeService", "public_address"]

DATABASE_NAME = "server.sqlite3"
FILES_BESIDE_CONNECTIONS = 100  # the database, logs, listeners, libraries

_SSL_ENDPOINT = re.compile("(haproxy:)?ssl:", re.IGNORECASE)
_ANY_INTERFACE = ("0.0.0.0", "::")  # noqa: S104  # recognised, not listened on


class Options(ServiceOptions[ServerSettings]):
    """The command line."""

    synopsis = "[options]"
    longdesc = (
        "Carries sealed packets between people behind firewalls, and is the gateway between "
        "devices and web systems; it can't read what they say. One port takes all of it, with or "
        "without TLS. Prints where it listens, and the addresses to give to others. A TOML file "
        "may hold the same settings, limits and more; what stands here wins."
    )
    optParameters = [
        ["config", "c", None, "A TOML file with these settings and more; see docs/running."],
        [
            "data-dir",
            "d",
            None,
            "Where sessions and the server's key are kept. "
            "[$PORTTUNNEL_DATA, or the user's folder]",
        ],
        ["admin", "a", None, f"Endpoint of health, metrics, status, or off. [{DEFAULT_ADMIN}]"],
    ]

    def __init__(self) -> None:
        super().__init__()
        self._listen: list[str] = []

    def opt_listen(self, endpoint: str) -> None:
        """Listen there (Twisted's endpoint strings); may be given several times."""
        self._listen.append(endpoint)

    opt_l = opt_listen

    def _load(self) -> ServerSettings:
        return load_settings(self["config"], self._listen, self["data-dir"], self["admin"])


class ServerService(ListeningService[ServerSettings]):
    """The tunnel server of one process."""

    program = "porttunnel-server"

    def __init__(
        self, reactor: Any, settings: ServerSettings, announce: Callable[[str], None]
    ) -> None:
        super().__init__(reactor, settings, announce)
        self._thread = DirectoryThread(reactor)
        self._store: SQLiteStore | None = None
        self._server: TunnelServerFactory | None = None
        self._gateway: ServerGateway | None = None

    async def _open(self) -> None:
        settings, limits = self._settings, self._settings.limits
        identity = load_or_create_identity(settings.data_path)
        self._store = SQLiteStore(settings.data_path / DATABASE_NAME)
        allow_open_files(limits.connections + FILES_BESIDE_CONNECTIONS)
        directory = Directory(
            self._store,
            randbelow=secrets.randbelow,
            token_bytes=secrets.token_bytes,
            master_grace_seconds=limits.master_grace_s,
            client_grace_seconds=limits.client_grace_s,
        )
        server = self._server = self._make_server(directory)
        branches: dict[Branch, IProtocolFactory] = {
            Branch.PACKETS: server,
            Branch.HTTP: HTTPNoticeFactory(self._reactor),
        }
        if settings.gateway.enabled:
            self._gateway = ServerGateway(self._reactor, settings)
            branches |= self._gateway.branches
        # Before anybody can come, or is told that he can.
        await server.start()
        shared = SharedPortFactory(
            self._reactor,
            branches,
            tls=server_context(identity),
            limiter=ConnectionLimiter(
                per_prefix=limits.connections_per_prefix, overall=limits.connections
            ),
            counters=server.counters,
            proxies=TrustedProxies(settings.proxy.trusted),
        )
        for description in settings.listen:
            port = await self._listen(description, shared, DEFAULT_LISTEN)
            address = public_address(description, port, settings.public_name, identity.pin)
            if address is not None:
                self._announce(f"address {address}")
                if self._gateway is not None:
                    self._announce(f"gateway {address.replace('ptuns:', 'https:', 1)}")
        if settings.has_admin:
            site = admin_site(
                self._reactor,
                server,
                lambda: len(self._ports) == len(settings.listen),
                lambda: Deferred.fromCoroutine(self._probe(directory)),
                None if self._gateway is None else self._gateway.gateway,
            )
            await self._listen_for_operator(settings.admin, site, DEFAULT_ADMIN)
        # Last, so that a failure above leaves no thread that would keep the process alive.
        self._thread.start()
        if self._gateway is not None:
            self._gateway.start()

    async def _probe(self, directory: Directory) -> None:
        await self._thread.run(directory.start, time.time())
        if self._gateway is not None:
            await self._gateway.probe()

    def _make_server(self, directory: Directory) -> TunnelServerFactory:
        limits = self._settings.limits
        return TunnelServerFactory(
            self._reactor,
            directory,
            self._thread.run,
            join_limiter=RateLimiter.for_join_failures(
                per_minute=limits.join_failures_per_minute,
                per_hour=limits.join_failures_per_hour,
            ),
            create_limiter=RateLimiter.for_creates(
                per_minute=limits.creates_per_minute, per_hour=limits.creates_per_hour
            ),
            limits=Limits(
                waiting_bytes=DEFAULT_LIMITS.waiting_bytes,
                master_grace_s=limits.master_grace_s,
                client_grace_s=limits.client_grace_s,
            ),
            max_waiting_bytes=limits.waiting_bytes,
        )

    async def _stop(self) -> None:
        await self._stop_listening()
        drains = []
        if self._server is not None:
            drains.append(Deferred.fromCoroutine(self._server.drain()))
        if self._gateway is not None:
            drains.append(Deferred.fromCoroutine(self._gateway.drain()))
        await gatherResults(drains)
        await self._stop_admin()
        if self._gateway is not None:
            await self._gateway.stop()
        self._thread.stop()
        if self._store is not None:
            self._store.close()


def makeService(options: Options) -> ServerService:
    """What twistd calls: build, open nothing."""
    # At the top it would choose the reactor of whatever program imports this module.
    from twisted.internet import reactor  # noqa: PLC0415  # see above

    keep_time_steady(reactor)
    return ServerService(reactor, options.settings, print_line)


def public_address(
    description: str, port: IListeningPort, public_name: str, pin: str
) -> str | None:
    """What to give to others, or None for a listener that others don't reach by name.

    :param public_name: the host name to use, or empty for what is listened on.
    :param pin: of the key that TLS clients are shown.
    """
    host = port.getHost()
    if not isinstance(host, IPv4Address | IPv6Address):
        return None
    name = public_name or host.host
    if name in _ANY_INTERFACE:
        name = socket.gethostname()
    if ":" in name:
        name = f"[{name}]"
    # On an `ssl:` endpoint the operator's own certificate is shown, not ours.
    fragment = "" if _SSL_ENDPOINT.match(description) else f"#{pin}"
    return f"ptuns://{name}:{host.port}{fragment}"
