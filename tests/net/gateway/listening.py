"""Accounts in memory, and who listens to them."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from porttunnel.errors import ConfigurationError
from porttunnel.net.gateway.account import Account
from porttunnel.net.gateway.account_setting import AccountSettings
from porttunnel.net.gateway.accounts import GatewayAccounts
from porttunnel.net.gateway.audit_log import AuditEvent
from porttunnel.net.gateway.sqlite_store import SQLiteGatewayStore
from porttunnel.net.store.sqlite_file import IN_MEMORY

__all__ = ["UNIX_TIME", "AccountsInMemory", "Listener"]

UNIX_TIME = 1_800_000_000.0

_T = TypeVar("_T")


class Listener:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def device_added(self, instance_id: str, device_id: str) -> None:
        self.told.append(("added", instance_id, device_id))

    def device_removed(self, instance_id: str, device_id: str) -> None:
        self.told.append(("removed", instance_id, device_id))

    def device_barred(self, instance_id: str, device_id: str) -> None:
        self.told.append(("barred", instance_id, device_id))

    def instance_barred(self, instance_id: str) -> None:
        self.told.append(("instance barred", instance_id))

    def instance_removed(self, instance_id: str) -> None:
        self.told.append(("instance removed", instance_id))

    def password_changed(self, user_name: str) -> None:
        self.told.append(("password", user_name))

    def setup_race(self, instance_id: str, device_id: str) -> None:
        self.told.append(("race", instance_id, device_id))


class AccountsInMemory:
    """A gateway's accounts whose threads are this one, so that each call is done at once.

    :ivar unix_time: what its clock shows.
    """

    def __init__(self, settings: AccountSettings | None = None, path: str = IN_MEMORY) -> None:
        self.clock = Clock()
        self.unix_time = UNIX_TIME
        self.recorded: list[tuple[str, str | None, str | None]] = []
        self.store = SQLiteGatewayStore(path)
        self.accounts = GatewayAccounts(
            self.clock,
            self.store,
            settings,
            record=self._record,
            unix_time=lambda: self.unix_time,
        )
        self.listener = Listener()
        self.accounts.listener = self.listener

    def _record(self, event: AuditEvent, instance_id: str | None, device_id: str | None) -> None:
        self.recorded.append((event.value, instance_id, device_id))

    def close(self) -> None:
        self.store.close()

    def fill_disk(self) -> None:
        """Nothing can be removed any more; all can be read."""

        def fail(*_: object) -> NoReturn:
            raise ConfigurationError("the disk is full")

        self.store.remove_device = self.store.remove_instance = fail  # type: ignore[method-assign]  # its disk is full

    def empty_disk(self) -> None:
        """It is as it was."""
        del self.store.remove_device, self.store.remove_instance

    def get(self, call: Coroutine[Any, Any, _T] | Deferred[_T]) -> _T:
        """What a call gives, or its error."""
        results: list[Any] = []
        deferred = call if isinstance(call, Deferred) else Deferred.fromCoroutine(call)
        deferred.addBoth(results.append)
        (result,) = results
        if isinstance(result, Failure):
            raise result.value
        found: _T = result
        return found

    def register(self) -> tuple[Account, str]:
        """A new instance, and its password."""
        made = self.get(self.accounts.instances.register(None, "127.0.0.1"))
        return Account(made.instance_id, made.instance_id), made.instance_password

    def login(self, user_name: str, password: str, prefix: str = "127.0.0.1") -> Account | None:
        return self.get(self.accounts.authenticate(user_name, password.encode(), prefix))
