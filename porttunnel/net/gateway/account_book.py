"""What all who change accounts share: the store's thread, the passwords, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from porttunnel.net.gateway.account import AccountListener
from porttunnel.net.gateway.audit_log import AuditEvent, Record
from porttunnel.net.gateway.password_desk import PasswordDesk
from porttunnel.net.gateway.store import GatewayStore, Revocation

__all__ = ["AccountBook"]

_T = TypeVar("_T")


class AccountBook:
    """Keeps the order: what changes is in the store, then no password that has become void is
    known any more, then the listener and the audit log are told.

    :param run_store: calls a function in the thread of the store.
    :param run_hash: calls a function in one of the threads that look at passwords.
    :param record: is told what happened (:meth:`~.audit_log.AuditLog.record`).
    :ivar listener: set before anybody comes; None: nobody listens.
    """

    def __init__(
        self,
        store: GatewayStore,
        run_store: Callable[..., Deferred[Any]],
        run_hash: Callable[..., Deferred[Any]],
        record: Record | None,
    ) -> None:
        self.store = store
        self.listener: AccountListener | None = None
        self.desk = PasswordDesk(store, run_store, run_hash, on_promoted=self._password_changed)
        self._run_store = run_store
        self._record = record

    def run(self, verb: Callable[..., _T], *arguments: object) -> Deferred[_T]:
        """Call one of the store's verbs in its thread.

        :raises ConfigurationError: the store can't be used.
        """
        return self._run_store(verb, *arguments)

    def record(self, event: AuditEvent, instance_id: str, device_id: str | None = None) -> None:
        """Write down what happened."""
        if self._record is not None:
            self._record(event, instance_id, device_id)

    def device_added(self, instance_id: str, device_id: str) -> None:
        """The store has a password of this device's."""
        if self.listener is not None:
            self.listener.device_added(instance_id, device_id)
        self.record(AuditEvent.DEVICE_ADDED, instance_id, device_id)

    def device_removed(self, instance_id: str, device_id: str) -> None:
        """The store doesn't have this device any more."""
        self.desk.forget(device_id)
        if self.listener is not None:
            self.listener.device_removed(instance_id, device_id)
        self.record(AuditEvent.DEVICE_REMOVED, instance_id, device_id)

    def device_barred(self, instance_id: str, device_id: str) -> None:
        """This device is to be removed, and the store doesn't take that now."""
        if self.listener is not None:
            self.listener.device_barred(instance_id, device_id)

    def instance_barred(self, instance_id: str) -> None:
        """This instance and its devices are to be removed, and the store doesn't take that now."""
        if self.listener is not None:
            self.listener.instance_barred(instance_id)

    def instance_removed(self, instance_id: str, device_ids: list[str]) -> None:
        """The store doesn't have this instance, and these devices of its, any more."""
        for user_name in (instance_id, *device_ids):
            self.desk.forget(user_name)
        if self.listener is not None:
            self.listener.instance_removed(instance_id)
        self.record(AuditEvent.INSTANCE_REMOVED, instance_id)

    def revoked_elsewhere(self, revoked: Revocation) -> None:
        """Another process has told the store, and written it down."""
        self.desk.forget(revoked.user_name)
        if self.listener is None:
            return
        is_device = revoked.user_name != revoked.instance_id
        if not revoked.instance_is_there:
            if not is_device:  # it stands for its devices, too
                self.listener.instance_removed(revoked.instance_id)
        elif is_device:
            self.listener.device_removed(revoked.instance_id, revoked.user_name)
        else:
            self.listener.password_changed(revoked.user_name)

    def setup_race(self, instance_id: str, device_id: str) -> None:
        """Two devices have shown one setup key."""
        if self.listener is not None:
            self.listener.setup_race(instance_id, device_id)
        self.record(AuditEvent.SETUP_RACE, instance_id, device_id)

    def _password_changed(self, user_name: str) -> None:
        if self.listener is not None:
            self.listener.password_changed(user_name)
        self.record(AuditEvent.PASSWORD_CHANGED, user_name)
