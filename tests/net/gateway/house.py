"""A gateway with accounts that are no store's, on carriers and a clock in our hands."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.web.resource import Resource

from porttunnel.gateway.topic import list_device_filters, list_instance_filters
from porttunnel.mqtt.packet import (
    Connack,
    Connect,
    Packet,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Version,
)
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.gateway.account import Account
from porttunnel.net.gateway.audit_log import AuditEvent
from porttunnel.net.gateway.broker_policy import BrokerLimits
from porttunnel.net.gateway.gateway import Gateway
from tests.net.mqtt_line import Peer

__all__ = ["DEVICE", "INSTANCE", "LIMITS", "FakeAccounts", "House"]

INSTANCE, DEVICE = "1a" * 16, "da" * 16
LIMITS = BrokerLimits(
    connections=100,
    connections_per_prefix=50,
    connects_per_second=1_000,
    device_messages_per_second=1_000,
    instance_messages_per_second=1_000,
    queued_bytes=1 << 20,
)


class FakeAccounts:
    """Who has an account; every password is ``right``.

    :ivar known_names: of those whose password is known at once.
    :ivar failure: what happens in place of a check.
    :ivar waiting: checks, and looks for devices, that wait to be answered; None: they don't.
    """

    def __init__(self) -> None:
        self.listener: Any = None
        self.accounts: dict[str, Account] = {}
        self.known_names: set[str] = set()
        self.failure: Exception | None = None
        self.checks: list[tuple[str, str]] = []
        self.waiting: list[tuple[Deferred[Any], Any]] | None = None

    @property
    def desk(self) -> FakeAccounts:
        return self

    def add(self, user_name: str, instance_id: str) -> None:
        self.accounts[user_name] = Account(user_name, instance_id)

    def remove(self, user_name: str) -> None:
        del self.accounts[user_name]
        self.known_names.discard(user_name)

    def known(self, user_name: str, password: bytes, now: float) -> Account | None:
        right = password == b"right" and user_name in self.known_names
        return self.accounts.get(user_name) if right else None

    def check(
        self, user_name: str, password: bytes, prefix: str, now: float
    ) -> Deferred[Account | None]:
        self.checks.append((user_name, prefix))
        account = self.accounts.get(user_name) if password == b"right" else None
        if account is not None:
            self.known_names.add(user_name)
        return self._later(account)

    def device_ids(self, instance_id: str) -> Deferred[frozenset[str]]:
        devices = self.accounts.values()
        return self._later(
            frozenset(each.user_name for each in devices if each.instance_id == instance_id)
        )

    def _later(self, result: Any) -> Deferred[Any]:
        if self.failure is not None:
            raise self.failure
        if self.waiting is None:
            return succeed(result)
        later: Deferred[Any] = Deferred()
        self.waiting.append((later, result))
        return later

    def answer_next(self) -> None:
        assert self.waiting is not None
        later, result = self.waiting.pop(0)
        later.callback(result)


class House:
    """The gateway and its clients.

    :ivar audit: what was written down.
    """

    def __init__(self, limits: BrokerLimits = LIMITS) -> None:
        self.clock = Clock()
        self.clock.advance(1_000)
        self.accounts = FakeAccounts()
        self.accounts.add(INSTANCE, INSTANCE)
        self.accounts.add(DEVICE, INSTANCE)
        self.audit: list[tuple[AuditEvent, str | None, str | None]] = []
        self.gateway = Gateway(self.clock, self.accounts, Resource(), limits, record=self._record)

    def _record(
        self, event: AuditEvent, instance_id: str | None = None, device_id: str | None = None
    ) -> None:
        self.audit.append((event, instance_id, device_id))

    def peer(self, **options: Any) -> Peer:
        return Peer(self.gateway.broker, self.clock, **options)

    def try_login(
        self, user_name: str | None, password: bytes | None = b"right", **fields: Any
    ) -> tuple[Peer, list[Packet]]:
        """One that comes, and what it hears."""
        peer = self.peer()
        client_id = fields.pop("client_id", "c")
        peer.say(Connect(Version.V5, client_id, user_name=user_name, password=password, **fields))
        return peer, peer.heard()

    def refusal(self, *arguments: Any, **fields: Any) -> ReasonCode:
        """Why one is not let in."""
        _, heard = self.try_login(*arguments, **fields)
        (connack,) = heard
        assert isinstance(connack, Connack)
        return connack.reason

    def log_in(self, user_name: str, *, listen: bool = True, **fields: Any) -> Peer:
        """One that was let in, and what it may subscribe to."""
        peer, (connack,) = self.try_login(user_name, **fields)
        assert isinstance(connack, Connack)
        assert connack.reason is ReasonCode.SUCCESS, connack
        if listen:
            is_device = user_name != self.accounts.accounts[user_name].instance_id
            texts = (list_device_filters if is_device else list_instance_filters)(user_name)
            peer.say(Subscribe(1, tuple(Subscription(text, 1) for text in texts)))
            suback = peer.heard()[0]
            assert isinstance(suback, Suback)
            assert suback.reasons == (1, 1)
        return peer

    def publish(self, peer: Peer, topic: str, payload: bytes = b"x", **fields: Any) -> ReasonCode:
        """What a message was answered."""
        peer.say(Publish(topic, payload, 1, packet_id=77, **fields))
        heard = peer.heard()
        (reason,) = (each.reason for each in heard if isinstance(each, Puback))
        self.rest = [each for each in heard if not isinstance(each, Puback)]
        return reason
