"""An instance as a library: a web system's place behind a firewall, reached through a gateway.

Source: docs/gateway-protocol. It makes no listening socket: its one connection goes out to the
gateway. What devices ask goes to an :class:`~porttunnel.net.instance.application.Application`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from porttunnel.errors import LocalProtocolError, PairingError, PorttunnelError
from porttunnel.gateway.forward_identity import MAX_USER_BYTES
from porttunnel.gateway.pairing_instance import PairingPolicy, Waiting
from porttunnel.gateway.pairing_rotation import Paired
from porttunnel.gateway.pairing_step import PairingEnded
from porttunnel.net.directory_thread import DirectoryThread
from porttunnel.net.gateway_client.address import GatewayAddress
from porttunnel.net.gateway_client.connection import open_mqtt
from porttunnel.net.gateway_client.rest import Login, RestClient
from porttunnel.net.instance.application import Application
from porttunnel.net.instance.backlog import MAX_BACKLOG_BYTES
from porttunnel.net.instance.device_record import DeviceRecord, Invitation, PushReport
from porttunnel.net.instance.event import InstanceEvent, InstanceRegistered, RestoreNoticed
from porttunnel.net.instance.serving import Serving
from porttunnel.net.instance.store import Identity, IdentityWritten, InstanceStore, StoredInstance
from porttunnel.net.mqtt_client import MQTTClient
from porttunnel.net.telling import tell

__all__ = ["Instance", "StoreThread"]

CHECK_SECONDS = 15.0  # how exactly time-outs of requests and codes are kept
WITNESS_CHECKS = 240  # an hour: how old a backup is at most that may not be noticed
INVITATION_SECONDS = 600  # for somebody to find the phone and scan
# What is on its way, and what tells of it.
MAX_QUEUED_BYTES = 2 * MAX_BACKLOG_BYTES


class StoreThread(Protocol):
    """Where the store is called: a :class:`~porttunnel.net.directory_thread.DirectoryThread`."""

    def start(self) -> None:
        """Take calls."""

    def run(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Call a function; the calls come one after the other."""

    def stop(self) -> None:
        """Take no more."""


class Instance:
    """See the module.

    :param reactor: time, connections, threads.
    :param store: what is kept; closed by :meth:`stop`.
    :param address: of the gateway.
    :param application: answers requests.
    :param on_event: told what happens (:mod:`porttunnel.net.instance.event`).
    :param registration_token: for a gateway that registers only those who have the operator's.
    :param rest: asks the gateway by HTTP; None: a client of ``address``.
    :param open_client: makes the MQTT client as :func:`open_mqtt` does, but of one address; None:
        of ``address``.
    :param thread: None: one of its own.
    :param unix_time: seconds since 1970.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        store: InstanceStore,
        address: GatewayAddress,
        application: Application,
        *,
        on_event: Callable[[InstanceEvent], None] = lambda happened: None,
        registration_token: str | None = None,
        rest: Any = None,
        open_client: Callable[..., MQTTClient] | None = None,
        thread: StoreThread | None = None,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self._reactor = reactor
        self._store = store
        self._address = address
        self._application = application
        self._on_event = on_event
        self._registration_token = registration_token
        self._rest: RestClient = rest or RestClient(reactor, address)
        self._open_client = open_client or partial(open_mqtt, reactor, address)
        self._thread = thread or DirectoryThread(reactor)
        self._unix_time = unix_time
        self._serving: Serving | None = None
        self._check: IDelayedCall | None = None
        self._checks = 0

    # Life

    async def start(self) -> None:
        """Read what is kept, register if nothing is, and connect; once.

        Returns before there is a connection: :class:`GatewayConnected` tells of it, also each time
        that it comes back.

        :raises ConfigurationError: the store can't be used.
        :raises GatewayError: we are not registered, and that failed.
        """
        self._thread.start()
        try:
            stored: StoredInstance = await self._thread.run(self._store.load)
            identity = stored.identity or await self._register()
            login = Login(identity.instance_id, identity.password)
            serving = Serving(
                self._reactor,
                login,
                stored,
                application=self._application,
                tell=self._tell,
                rest=self._rest,
                open_client=partial(self._open_client, login, max_queued_bytes=MAX_QUEUED_BYTES),
                write=partial(self._thread.run, self._store.apply),
                unix_time=self._unix_time,
            )
            if stored.is_restored:
                await serving.pairing.demand_rotation()
                self._tell(RestoreNoticed())
            await self._thread.run(self._store.leave_witness)
        except BaseException:
            await self._close()
            raise
        self._serving = serving
        serving.link.start()
        self._check = self._reactor.callLater(CHECK_SECONDS, self._check_all)

    async def stop(self) -> None:
        """Cancel what runs, say goodbye, and close the store."""
        serving, self._serving = self._serving, None
        if serving is None:
            return
        if self._check is not None:
            self._check.cancel()
        await serving.stop()
        try:
            await self._thread.run(self._store.leave_witness)
        except PorttunnelError as error:
            self._log.error("the state could not be closed: {error}", error=error)
        await self._close()

    @property
    def instance_id(self) -> str:
        """Who we are: 32 hex digits."""
        return self._demand().book.instance_id

    @property
    def is_connected(self) -> bool:
        """Whether devices can reach us, for all we know."""
        return self._serving is not None and self._serving.link.is_connected

    # Devices. Each of these raises LocalProtocolError before the start and after the stop, and
    # ConfigurationError if the store can't be written.

    async def invite(
        self, user: str, *, immediate: bool = False, expires_seconds: int = INVITATION_SECONDS
    ) -> Invitation:
        """Make a code with which somebody's device can be paired.

        :param user: to whom the device will belong: what an application is told with each request,
            and may write into a field of HTTP. Printable, at most 255 bytes, no blanks around it.
        :param immediate: whoever uses the code first gets the device; else its user has to type
            the digits that it shows (:meth:`enter_digits`).
        :param expires_seconds: at most a day.
        :raises PairingError: that can't be a user's name.
        :raises GatewayError: the gateway does not make one.
        """
        serving = self._demand()
        if (
            not user.isprintable()
            or user != user.strip()
            or not 0 < len(user.encode()) <= MAX_USER_BYTES
        ):
            raise PairingError(
                "A user's name has 1 to 255 bytes, no blanks around it, and only what can be "
                "printed. Give the name that the web system knows."
            )
        offered = await self._rest.offer_device(serving.login, expires_seconds)
        policy = PairingPolicy.IMMEDIATE if immediate else PairingPolicy.CONFIRM
        return await serving.pairing.invite(self._address, offered, user, policy, expires_seconds)

    async def enter_digits(self, device_id: str, text: str) -> Paired | Waiting | PairingEnded:
        """The user has typed what the device shows.

        :param text: six digits; blanks and dashes in it don't matter.
        :returns: Paired if they were right; Waiting, with the tries that are left, or PairingEnded
            if they weren't.
        :raises PairingError: not six digits, which costs no try; or none are wanted.
        """
        return await self._demand().pairing.enter_digits(device_id, text)

    def devices(self) -> list[DeviceRecord]:
        """All devices, those that were invited last at the end."""
        records = [device.record() for device in self._demand().book]
        return sorted(records, key=lambda record: (record.invited, record.device_id))

    async def revoke(self, device_id: str) -> None:
        """Make a device none: nothing of it is served from the call on. The gateway is told as
        soon as it can be reached.

        :raises PairingError: there is no such device.
        """
        serving = self._demand()
        await serving.pairing.revoke(serving.book.demand(device_id))

    async def push(
        self,
        name: str,
        plaintext: bytes,
        devices: Iterable[str] | None = None,
        user: str | None = None,
    ) -> PushReport:
        """Tell devices something; nothing is kept for those that are offline.

        :param name: what it is about: 1 to 64 of a to z, 0 to 9 and -. The gateway sees it.
        :param plaintext: at most :data:`~porttunnel.gateway.push.MAX_PUSH_BYTES`.
        :param devices: their ids; None: all that are paired.
        :param user: only this one's.
        :raises LocalProtocolError: the name or the length is not allowed.
        :raises PairingError: one of the ids is none of a device.
        """
        serving = self._demand()
        if devices is None:
            chosen = [device for device in serving.book if device.row.paired is not None]
        else:
            chosen = [serving.book.demand(device_id) for device_id in dict.fromkeys(devices)]
        if user is not None:
            chosen = [device for device in chosen if device.row.user == user]
        return await serving.pushing.push(name, plaintext, chosen)

    async def mark_restored(self) -> None:
        """What is kept may be older than what happened: serve no device before it has changed its
        secret. Devices do so by themselves.
        """
        await self._demand().pairing.demand_rotation()

    # Inside

    async def _register(self) -> Identity:
        made = await self._rest.register_instance(self._registration_token)
        identity = Identity(made.user, made.password)
        await self._thread.run(self._store.apply, [IdentityWritten(identity)])
        self._tell(InstanceRegistered(identity.instance_id))
        return identity

    def _check_all(self) -> None:
        self._check = self._reactor.callLater(CHECK_SECONDS, self._check_all)
        self._checks += 1
        if self._serving is not None:
            self._serving.check()
        if self._checks % WITNESS_CHECKS == 0:
            self._thread.run(self._store.leave_witness).addErrback(
                lambda failure: self._log.failure("no witness was left", failure)
            )

    async def _close(self) -> None:
        await self._thread.run(self._store.close)
        self._thread.stop()

    def _demand(self) -> Serving:
        if self._serving is None:
            raise LocalProtocolError("The instance does not run. Start it first.")
        return self._serving

    def _tell(self, happened: InstanceEvent) -> None:
        tell(self._on_event, happened)
