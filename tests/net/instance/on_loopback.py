"""A gateway, an instance and devices in one process, on real loopback sockets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString

from porttunnel.net.device.device import Device
from porttunnel.net.device.pairing import pair
from porttunnel.net.device.store import DeviceStore
from porttunnel.net.gateway.account_setting import AccountSettings
from porttunnel.net.gateway.accounts import GatewayAccounts
from porttunnel.net.gateway.broker_policy import BrokerLimits
from porttunnel.net.gateway.gateway import Gateway
from porttunnel.net.gateway.resource import AccountResource
from porttunnel.net.gateway.sqlite_store import SQLiteGatewayStore
from porttunnel.net.gateway_client.address import GatewayAddress
from porttunnel.net.instance.application import ServedRequest
from porttunnel.net.instance.event import GatewayConnected, InstanceEvent
from porttunnel.net.instance.instance import Instance
from porttunnel.net.instance.sqlite_store import SQLiteInstanceStore

__all__ = ["GatewayOnLoopback"]

LIMITS = BrokerLimits(
    connections=1_000,
    connections_per_prefix=500,
    connects_per_second=1_000,
    device_messages_per_second=2_000,
    instance_messages_per_second=20_000,
    queued_bytes=256 << 20,
)


class GatewayOnLoopback:
    """See the module.

    :ivar application: called with each request.
    :ivar events: of the instance.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.application: Callable[[ServedRequest], None] = lambda request: None
        self.events: list[InstanceEvent] = []
        self.instance: Instance
        self.gateway: Gateway
        self._accounts: GatewayAccounts
        self._port: Any = None
        self._number = 0
        self._devices: list[Device] = []
        self._waiting: list[tuple[type, Deferred[Any]]] = []
        self.address = GatewayAddress("")

    async def start(self) -> None:
        await self.start_gateway()
        await self.start_instance()

    async def start_gateway(self) -> None:
        """On the same port each time."""
        store = SQLiteGatewayStore(self._folder / "gateway.sqlite")
        self._accounts = GatewayAccounts(reactor, store, AccountSettings())
        pages = AccountResource(self._accounts)
        self.gateway = Gateway(reactor, self._accounts, pages, LIMITS)
        self._accounts.start()
        endpoint = serverFromString(reactor, f"tcp:{self._number}:interface=127.0.0.1")
        self._port = await endpoint.listen(self.gateway.site)
        self._number = self._port.getHost().port
        self.address = GatewayAddress.parse(f"http://127.0.0.1:{self._number}")

    async def stop_gateway(self) -> None:
        await self._port.stopListening()
        await self.gateway.drain(0)
        await self._accounts.stop()

    async def start_instance(self) -> None:
        self.instance = Instance(
            reactor,
            SQLiteInstanceStore(self._folder / "instance.sqlite"),
            self.address,
            self,
            on_event=self._take_event,
        )
        connected = self.wait_for(GatewayConnected)
        await self.instance.start()
        await connected

    async def stop(self) -> None:
        for device in self._devices:
            await device.stop()
        await self.instance.stop()
        await self.stop_gateway()

    def wait_for(self, kind: type[InstanceEvent]) -> Deferred[Any]:
        """The next event of a kind."""
        waiting: Deferred[Any] = Deferred()
        self._waiting.append((kind, waiting))
        return waiting

    async def pair(self, name: str, **named: Any) -> Device:
        """A device of a user of that name, started."""
        invitation = await self.instance.invite(name)
        store = DeviceStore(self._folder / name)

        def type_digits(digits: str) -> None:
            Deferred.fromCoroutine(self.instance.enter_digits(invitation.device_id, digits))

        device = await pair(reactor, store, invitation.code.format(), on_digits=type_digits)
        self._devices.append(device)
        device.start()
        return device

    # The application

    def open(self, request: ServedRequest) -> None:
        self.application(request)

    def forget(self, device_id: str) -> None:
        pass

    def _take_event(self, happened: InstanceEvent) -> None:
        self.events.append(happened)
        for each in [*self._waiting]:
            kind, waiting = each
            if isinstance(happened, kind):
                self._waiting.remove(each)
                waiting.callback(happened)
