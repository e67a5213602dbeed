"""``twistd porttunnel-broker``: an MQTT broker, its listeners and its admin pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.python import usage

from porttunnel.errors import ConfigurationError
from porttunnel.mqtt.policy import AllowAll
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.directory_thread import DirectoryThread
from porttunnel.net.mqtt_admin import broker_admin_site
from porttunnel.net.mqtt_broker import MQTTBrokerFactory
from porttunnel.net.mqtt_status import StatusPublisher
from porttunnel.net.open_files import allow_open_files
from porttunnel.services.broker_config import (
    DEFAULT_ADMIN,
    DEFAULT_LISTEN,
    BrokerSettings,
    load_settings,
)
from porttunnel.services.broker_policy import UserPolicy
from porttunnel.services.listener import (
    ListeningService,
    listen_on,
    print_line,
    real_endpoint,
)

__all__ = ["BrokerService", "Options", "makeService"]

FILES_BESIDE_CONNECTIONS = 100  # logs, listeners, libraries


class Options(usage.Options):
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

    settings: BrokerSettings

    def __init__(self) -> None:
        usage.Options.__init__(self)
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

    def postOptions(self) -> None:
        try:
            self.settings = load_settings(
                self["config"], self._listen, self._websocket, self["admin"]
            )
        except ConfigurationError as error:
            raise usage.UsageError(str(error)) from error


class BrokerService(ListeningService):
    """The broker of one process.

    :param reactor: the reactor.
    :param settings: what it is built from.
    :param announce: gets each line for standard output.
    """

    program = "porttunnel-broker"

    def __init__(
        self, reactor: Any, settings: BrokerSettings, announce: Callable[[str], None]
    ) -> None:
        super().__init__(reactor)
        self._settings = settings
        self._announce = announce
        self._ports: list[IListeningPort] = []
        self._admin_port: IListeningPort | None = None
        self._thread = DirectoryThread(reactor)
        self._factory: MQTTBrokerFactory | None = None
        self._status: StatusPublisher | None = None

    async def _open(self) -> None:
        settings = self._settings
        allow_open_files(settings.limits.max_connections + FILES_BESIDE_CONNECTIONS)
        factory = self._factory = self._make_factory()
        for description in settings.listen:
            await self._listen(description, factory)
        for description in settings.websocket:
            websocket = factory.websocket_factory(
                path=settings.websocket_path or None, origins=settings.websocket_origins
            )
            await self._listen(description, websocket)
        if settings.has_admin:
            wanted = len(settings.listen) + len(settings.websocket)
            site = broker_admin_site(self._reactor, factory, lambda: len(self._ports) == wanted)
            self._admin_port = await listen_on(self._reactor, settings.admin, site, DEFAULT_ADMIN)
            self._announce(f"admin {real_endpoint(settings.admin, self._admin_port)}")
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

    async def _listen(self, description: str, factory: IProtocolFactory) -> None:
        port = await listen_on(self._reactor, description, factory, DEFAULT_LISTEN)
        self._ports.append(port)
        self._announce(f"listening {real_endpoint(description, port)}")

    async def _stop(self) -> None:
        for port in self._ports:
            await maybeDeferred(port.stopListening)
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
        if self._admin_port is not None:
            await maybeDeferred(self._admin_port.stopListening)
        self._thread.stop()


def makeService(options: Options) -> BrokerService:
    """What twistd calls: build, open nothing."""
    # At the top it would choose the reactor of whatever program imports this module.
    from twisted.internet import reactor  # noqa: PLC0415  # see above

    return BrokerService(reactor, options.settings, print_line)
