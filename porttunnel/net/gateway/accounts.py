"""The accounts of one gateway: opened, swept and closed here; what is asked of them goes to desks.

Source: docs/gateway-protocol, section 5.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from porttunnel.net.directory_thread import DirectoryThread
from porttunnel.net.gateway.account import Account, AccountListener
from porttunnel.net.gateway.account_book import AccountBook
from porttunnel.net.gateway.account_setting import AccountSettings
from porttunnel.net.gateway.attempt_limit import AttemptLimit
from porttunnel.net.gateway.audit_log import Record
from porttunnel.net.gateway.complaint import Complaint
from porttunnel.net.gateway.device_desk import DeviceDesk
from porttunnel.net.gateway.hash_pool import HashPool
from porttunnel.net.gateway.instance_desk import InstanceDesk
from porttunnel.net.gateway.password_desk import PasswordDesk
from porttunnel.net.gateway.store import Counts, GatewayStore
from porttunnel.session.limit import RateLimiter

__all__ = ["GatewayAccounts"]

REQUESTS_PER_SECOND_OVERALL = 500  # of all accounts together; those wait that have asked before
MAX_REQUESTS = 64  # under way
MAX_REQUESTS_OF_ONE = 4
SWEEP_SECONDS = 60.0  # so long at most a setup key outlives its end
REVOCATION_SECONDS = 5.0  # so long at most an account is good that another process has revoked
SWEEP_ROWS = 1_000  # at a time: others wait for the store meanwhile


class GatewayAccounts:
    """See the module. Used on the reactor's thread.

    :param reactor: time, and a place for the answers of threads.
    :param store: is closed by :meth:`stop`.
    :param record: is told what happened (:meth:`~.audit_log.AuditLog.record`).
    :param unix_time: seconds since 1970.
    :ivar desk: who has which password.
    :ivar instances: what instances may ask about themselves.
    :ivar devices: what instances and devices may ask about devices.
    :ivar complaint: is told why something that was asked was not done.
    """

    def __init__(
        self,
        reactor: Any,
        store: GatewayStore,
        settings: AccountSettings | None = None,
        *,
        record: Record | None = None,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or AccountSettings()
        self._reactor = reactor
        self._store = store
        self._unix_time = unix_time
        self._thread = DirectoryThread(reactor)
        self._pool = HashPool(reactor)
        self._book = AccountBook(store, self._thread.run, self._pool.run, record)
        self.desk: PasswordDesk = self._book.desk
        self.instances = InstanceDesk(self._book, self.settings, reactor.seconds)
        self.devices = DeviceDesk(self._book, self.settings, reactor.seconds, unix_time)
        self._requests = AttemptLimit(
            RateLimiter(
                per_minute=self.settings.requests_per_minute,
                per_hour=self.settings.requests_per_hour,
                per_second_overall=REQUESTS_PER_SECOND_OVERALL,
            ),
            max_under_way=MAX_REQUESTS,
            max_under_way_per_prefix=MAX_REQUESTS_OF_ONE,
        )
        self.complaint = Complaint(reactor.seconds)
        self._sweeping = _Repetition(reactor, self._remove_late, self.complaint)
        self._hearing = _Repetition(reactor, self._hear, self.complaint)

    @property
    def listener(self) -> AccountListener | None:
        """Who is told of changes; to be set before anybody comes."""
        return self._book.listener

    @listener.setter
    def listener(self, listener: AccountListener | None) -> None:
        self._book.listener = listener

    def start(self) -> None:
        """Work in threads from now on, and remove what has expired."""
        self._thread.start()
        self._pool.start()
        self._sweeping.start(SWEEP_SECONDS)
        self._hearing.start(REVOCATION_SECONDS)

    async def stop(self) -> None:
        """To be called when nobody comes any more. The store is closed."""
        for repetition in (self._sweeping, self._hearing):
            await repetition.stop()
        self._pool.stop()
        self._thread.stop()
        self._store.close()

    def authenticate(
        self, user_name: str, password: bytes, prefix: str
    ) -> Deferred[Account | None]:
        """See :meth:`~.password_desk.PasswordDesk.check`."""
        return self.desk.check(user_name, password, prefix, self._reactor.seconds())

    def counted(self, account: Account, *, revokes: bool) -> AbstractContextManager[None]:
        """One request of an account's by HTTP.

        :param revokes: that is not to wait for how much the account, or all, have asked.
        :raises GatewayBusy: it has asked too much.
        """
        now = self._reactor.seconds()
        return self._requests.counted(account.user_name, now, waits=not revokes)

    def counts(self) -> Deferred[Counts]:
        """How much there is."""
        return self._thread.run(self._store.counts)

    async def device_ids(self, instance_id: str) -> frozenset[str]:
        """All devices of an instance, also those that are only invited."""
        rows = await self._thread.run(self._store.devices, instance_id)
        return frozenset(row.device_id for row in rows)

    async def probe(self) -> None:
        """Nothing, if the store can be used.

        :raises ConfigurationError: it can't.
        """
        await self._thread.run(self._store.probe)

    async def _remove_late(self) -> None:
        while late := await self._thread.run(self._store.sweep, self._unix_time(), SWEEP_ROWS):
            for instance_id, device_id in late:
                self._book.device_removed(instance_id, device_id)
        await self._thread.run(self._store.erase)

    async def _hear(self) -> None:
        for revoked in await self._thread.run(self._store.revocations):
            self._book.revoked_elsewhere(revoked)


class _Repetition:
    """Does something again and again, and waits in the end until that is done.

    :param act: if it fails, the next time may be better.
    """

    def __init__(
        self, reactor: Any, act: Callable[[], Coroutine[Any, Any, None]], complaint: Complaint
    ) -> None:
        self._act = act
        self._complaint = complaint
        self._done: Deferred[None] | None = None
        self._loop = LoopingCall(self._begin)
        self._loop.clock = reactor

    def start(self, seconds: float) -> None:
        self._loop.start(seconds)

    async def stop(self) -> None:
        if self._loop.running:
            self._loop.stop()
        if self._done is not None:
            await self._done

    def _begin(self) -> Deferred[None]:
        self._done = Deferred.fromCoroutine(self._act())
        self._done.addErrback(self._complaint.tell)
        return self._done
