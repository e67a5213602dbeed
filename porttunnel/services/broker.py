"""``twistd porttunnel-broker``: an MQTT broker, its listeners and its admin pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from porttunnel.mqtt.policy import AllowAll
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.directory_thread import DirectoryThread
from porttunnel.net.mqtt_admin import broker_admin_site
from porttunnel.net.mqtt_broker import MQTTBrokerFactory
from porttunnel.net.mqtt_status import StatusPublisher
from porttunnel.net.open_files import allow_open_files
from porttunnel.net.steady_time import keep_time_steady
from porttunnel.services.broker_config import (
    DEFAULT_ADMIN,
    DEFAULT_LISTEN,
    BrokerSettings,
    load_settings,
)
from porttunnel.services.broker_policy import UserPolicy
from porttunnel.services.listener import ListeningService, ServiceOptions, print_line

__all__ = ["BrokerService", "Options", "makeService"]

FILES_BESIDE_CONNECTIONS = 100  # logs, listeners, libraries


class Options(ServiceOptions[BrokerSettings]):
    """The command line."""

    synopsis = "[options]"
    longdesc = (
        "An MQTT broker, 3.1.1 and 5, over TCP, TLS and WebSocket. Without a file everybody may "
        "do everything; in a TOML file may stand users, and the topics that each may use. Prints "
        "where it listens. What stands here wins over the file."
    )
    optParameters = [
        ["config", "c", None, "A TOML file with users, topics and limits; see docs/running."],
        ["admin", "a", None, f"Endpoint of health, metrics, status, or off. [{DEFAULT_ADMIN}]"],
    ]

    def __init__(self) -> None:
        super().__init__()
        self._listen: list[str] = []
        self._websocket: list[str] = []

    def opt_listen(self, endpoint: str) -> None:
        """Listen there for MQTT (Twisted's endpoint strings); may be given several times."""
        self._listen.append(endpoint)

    opt_l = opt_listen

    def opt_websocket(self, endpoint: str) -> None:
        """Listen there for MQTT in WebSocket; may be given several times."""
        self._websocket.append(endpoint)

    opt_w = opt_websocket

    def _load(self) -> BrokerSettings:
        return load_settings(self["config"], self._listen, self._websocket, self["admin"])


class BrokerService(ListeningService[BrokerSettings]):
    """The broker of one process."""

    program = "porttunnel-broker"

    def __init__(
        self, reactor: Any, settings: BrokerSettings, announce: Callable[[str], None]
    ) -> None:
        super().__init__(reactor, settings, announce)
        self._thread = DirectoryThread(reactor)
        self._factory: MQTTBrokerFactory | None = None
        self._status: StatusPublisher | None = None

    async def _open(self) -> None:
        settings = self._settings
        allow_open_files(settings.limits.max_connections + FILES_BESIDE_CONNECTIONS)
        factory = self._factory = self._make_factory()
        for description in settings.listen:
            await self._listen(description, factory, DEFAULT_LISTEN)
        for description in settings.websocket:
            websocket = factory.websocket_factory(
                path=settings.websocket_path or None, origins=settings.websocket_origins
            )
            await self._listen(description, websocket, DEFAULT_LISTEN)
        if settings.has_admin:
            wanted = len(settings.listen) + len(settings.websocket)
            site = broker_admin_site(self._reactor, factory, lambda: len(self._ports) == wanted)
            await self._listen_for_operator(settings.admin, site, DEFAULT_ADMIN)
        if settings.status_interval_s:
            self._status = StatusPublisher(self._reactor, factory, settings.status_interval_s)
            self._status.start()
        # Last, so that a failure above leaves no thread that would keep the process alive.
        self._thread.start()

    def _make_factory(self) -> MQTTBrokerFactory:
        settings = self._settings
        if settings.is_open:
            policy = AllowAll(settings.client, settings.limits)
            return MQTTBrokerFactory(policy, reactor=self._reactor)
        users = UserPolicy(settings, self._thread.run)
        factory = MQTTBrokerFactory(users, reactor=self._reactor)
        users.answer = factory.answer
        return factory

    async def _stop(self) -> None:
        await self._stop_listening()
        if self._status is not None:
            self._status.stop()
        if self._factory is not None:
            drain = self._settings.drain
            elsewhere = drain.server_reference or None
            await self._factory.drain(
                seconds=drain.seconds,
                reason=(
                    ReasonCode.SERVER_SHUTTING_DOWN
                    if elsewhere is None
                    else ReasonCode.USE_ANOTHER_SERVER
                ),
                server_reference=elsewhere,
            )
        await self._stop_admin()
        self._thread.stop()


def makeService(options: Options) -> BrokerService:
    """What twistd calls: build, open nothing."""
    # At the top it would choose the reactor of whatever program imports this module.
    from twisted.internet import reactor  # noqa: PLC0415  # see above

    keep_time_steady(reactor)
    return BrokerService(reactor, options.settings, print_line)
