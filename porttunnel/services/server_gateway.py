"""The gateway in the server: made from the settings, started and stopped with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IProtocolFactory

from porttunnel.net.gateway.accounts import GatewayAccounts
from porttunnel.net.gateway.audit_log import AuditLog
from porttunnel.net.gateway.gateway import Gateway
from porttunnel.net.gateway.plain_mqtt import PlainMQTTFactory
from porttunnel.net.gateway.resource import AccountResource
from porttunnel.net.gateway.sqlite_store import SQLiteGatewayStore
from porttunnel.net.port_sharing import Branch
from porttunnel.services.server_config import ServerSettings

__all__ = ["GATEWAY_DATABASE_NAME", "ServerGateway"]

GATEWAY_DATABASE_NAME = "gateway.sqlite"


class ServerGateway:
    """See the module.

    :param reactor: the reactor.
    :param settings: the whole server's.
    :ivar gateway: to look at.
    :raises ConfigurationError: a file can't be used.
    """

    def __init__(self, reactor: Any, settings: ServerSettings) -> None:
        own = settings.gateway
        self._reactor = reactor
        self._drain_seconds = own.drain_s
        self._plain_http = own.plain_http
        account_settings = own.account_settings()
        store = SQLiteGatewayStore(settings.data_path / GATEWAY_DATABASE_NAME)
        self._audit: AuditLog | None = None
        if own.audit:
            self._audit = AuditLog(
                Path(own.audit_dir).expanduser() if own.audit_dir else settings.data_path
            )
        record = None if self._audit is None else self._audit.record
        self._accounts = GatewayAccounts(reactor, store, account_settings, record=record)
        self.gateway = Gateway(
            reactor,
            self._accounts,
            AccountResource(self._accounts),
            own.broker_limits(settings.limits),
            record=record,
        )

    @property
    def branches(self) -> dict[Branch, IProtocolFactory]:
        """What it speaks on the server's ports."""
        gateway = self.gateway
        return {
            Branch.HTTP: gateway.site,
            Branch.PLAIN_HTTP: gateway.site if self._plain_http else gateway.plain_site,
            Branch.MQTT: gateway.broker,
            Branch.PLAIN_MQTT: PlainMQTTFactory(self._reactor),
        }

    def start(self) -> None:
        """Begin to work in threads."""
        self._accounts.start()

    async def probe(self) -> None:
        """Nothing, if its store can be used.

        :raises ConfigurationError: it can't.
        """
        await self._accounts.probe()

    async def drain(self) -> None:
        """Send all away; to be called when nobody comes any more."""
        await self.gateway.drain(self._drain_seconds)

    async def stop(self) -> None:
        """Let go of everything."""
        await self._accounts.stop()
        if self._audit is not None:
            self._audit.close()
