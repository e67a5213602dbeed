"""The gateway of a server: its accounts, its broker, its pages, and what ends when one ends.

Source: docs/gateway-protocol, sections 1 and 5.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

from twisted.internet.interfaces import IProtocolFactory
from twisted.web.resource import Resource

from porttunnel.gateway.policy import GatewayAnswer
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.gateway.account import AccountListener
from porttunnel.net.gateway.audit_log import Record
from porttunnel.net.gateway.broker_policy import CUT_REASON, BrokerLimits, Desk, GatewayPolicy
from porttunnel.net.gateway.plain_http import TLSDemandedResource
from porttunnel.net.gateway.presence import Presence
from porttunnel.net.gateway.site import GatewaySite
from porttunnel.net.mqtt_broker import MQTTBrokerFactory

__all__ = ["Accounts", "Gateway"]

# For a client that was cut off to close its end. Nothing it sends counts any more; but its socket
# is to be gone within a second.
CUT_SECONDS = 0.5
QOS = 1  # of what the gateway says itself


class Accounts(Protocol):
    """What a gateway needs of :class:`~porttunnel.net.gateway.accounts.GatewayAccounts`."""

    listener: AccountListener | None

    @property
    def desk(self) -> Desk:
        """Knows passwords."""

    def device_ids(self, instance_id: str) -> Awaitable[frozenset[str]]:
        """The devices of an instance."""


class Gateway:
    """See the module, and :class:`~porttunnel.net.gateway.account.AccountListener`.

    :param reactor: the reactor.
    :param accounts: who has one; gets this as its listener.
    :param pages: the resource of ``/v1`` and ``/openapi.json``.
    :param limits: how much of everything.
    :param record: is told who comes and goes, for the audit log; or None.
    :ivar broker: takes MQTT over TCP, or in TLS.
    :ivar presence: who is connected.
    :ivar policy: its rules.
    :ivar site: takes HTTP, with MQTT in WebSocket in it.
    :ivar plain_site: takes HTTP that others can read, with neither accounts nor MQTT in it.
    """

    def __init__(
        self,
        reactor: Any,
        accounts: Accounts,
        pages: Resource,
        limits: BrokerLimits,
        *,
        record: Record | None = None,
    ) -> None:
        self.presence = Presence(self._publish)
        self.policy = GatewayPolicy(
            reactor,
            desk=accounts.desk,
            device_ids=accounts.device_ids,
            presence=self.presence,
            publish=self._publish,
            limits=limits,
            record=record,
        )
        self.broker = MQTTBrokerFactory(self.policy, reactor=reactor)
        self.policy.answer = self.broker.answer
        self.site: IProtocolFactory = GatewaySite(
            reactor,
            accounts=pages,
            mqtt=self.broker.websocket_resource(),
            is_ready=lambda: self.is_ready,
        )
        self.plain_site: IProtocolFactory = GatewaySite(
            reactor,
            accounts=TLSDemandedResource(),
            mqtt=TLSDemandedResource(),
            is_ready=lambda: self.is_ready,
        )
        accounts.listener = self

    @property
    def is_ready(self) -> bool:
        """Whether users may be sent here."""
        return not self.broker.draining

    async def drain(self, seconds: float) -> None:
        """Take nobody any more, and send all away, to come back elsewhere or later.

        :param seconds: over which they are spread.
        """
        await self.broker.drain(seconds=seconds, reason=ReasonCode.USE_ANOTHER_SERVER)

    # What becomes of accounts

    def device_added(self, instance_id: str, device_id: str) -> None:
        self.policy.device_added(instance_id, device_id)

    def device_removed(self, instance_id: str, device_id: str) -> None:
        self.policy.forget(device_id)
        self._end_device(instance_id, device_id)

    def device_barred(self, instance_id: str, device_id: str) -> None:
        self.policy.bar(device_id, instance_id)
        self._end_device(instance_id, device_id)

    def instance_removed(self, instance_id: str) -> None:
        self.policy.forget(instance_id)
        self._end_instance(instance_id)

    def instance_barred(self, instance_id: str) -> None:
        self.policy.bar(instance_id, instance_id)
        self._end_instance(instance_id)

    def password_changed(self, user_name: str) -> None:
        self._cut(user_name)

    def setup_race(self, instance_id: str, device_id: str) -> None:
        self.presence.setup_raced(instance_id, device_id)

    def _end_device(self, instance_id: str, device_id: str) -> None:
        self.policy.device_removed(instance_id, device_id)
        self.broker.broker.forget_routes()
        self.presence.device_removed(instance_id, device_id)
        self._cut(device_id)

    def _end_instance(self, instance_id: str) -> None:
        for device_id in tuple(self.presence.devices(instance_id)):
            self._end_device(instance_id, device_id)
        self._cut(instance_id)

    def _cut(self, user_name: str) -> None:
        for name in self.presence.sessions(user_name):
            # Its will is something that it sent, too.
            self.broker.disconnect_session(
                name, CUT_REASON, forget=True, with_will=False, goodbye_seconds=CUT_SECONDS
            )

    def _publish(self, answer: GatewayAnswer) -> None:
        self.broker.publish(answer.topic, answer.payload, qos=QOS)
