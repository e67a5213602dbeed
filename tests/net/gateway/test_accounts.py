"""porttunnel.net.gateway.accounts"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from porttunnel.errors import ConfigurationError
from porttunnel.net.gateway import accounts as accounts_module
from porttunnel.net.gateway.account import Account
from porttunnel.net.gateway.accounts import GatewayAccounts
from porttunnel.net.gateway.sqlite_store import CONFIRM_SECONDS, SQLiteGatewayStore
from porttunnel.net.gateway.store import Counts
from porttunnel.net.store.sqlite_file import IN_MEMORY
from tests.net.gateway.listening import UNIX_TIME, AccountsInMemory


class SweepTests(TestCase):
    def setUp(self) -> None:
        self.scene = AccountsInMemory()
        self.addCleanup(self.scene.close)
        self.accounts = self.scene.accounts
        account, _ = self.scene.register()
        self.instance_id = account.instance_id
        # The clock's threads are this one.
        self.accounts._thread.start = self.accounts._pool.start = lambda: None
        self.accounts._thread.stop = self.accounts._pool.stop = lambda: None

    def invite(self, *, claimed: bool = False) -> str:
        invited = self.scene.get(self.accounts.devices.invite(self.instance_id, 60))
        if claimed:
            key = bytes.fromhex(invited.device_setup_key)
            self.scene.get(self.accounts.devices.set_up(key, b"n" * 32, "127.0.0.1"))
        return invited.device_id

    def test_what_is_late_is_removed_and_told(self) -> None:
        unclaimed, unconfirmed = self.invite(), self.invite(claimed=True)
        self.scene.listener.told.clear()
        self.accounts.start()
        self.assertEqual(self.scene.listener.told, [])
        self.scene.unix_time = UNIX_TIME + 60
        self.scene.clock.advance(accounts_module.SWEEP_SECONDS)
        self.assertEqual(self.scene.listener.told, [("removed", self.instance_id, unclaimed)])
        self.scene.unix_time += CONFIRM_SECONDS
        self.scene.clock.advance(accounts_module.SWEEP_SECONDS)
        self.assertEqual(
            self.scene.listener.told[1:], [("removed", self.instance_id, unconfirmed)]
        )
        self.successResultOf(Deferred.fromCoroutine(self.accounts.stop()))
        self.assertEqual(self.scene.clock.getDelayedCalls(), [])

    def test_much_that_is_late_is_removed_in_turns(self) -> None:
        self.patch(accounts_module, "SWEEP_ROWS", 2)
        for _ in range(5):
            self.invite()
        self.scene.unix_time = UNIX_TIME + 60
        self.accounts.start()
        self.assertEqual(len(self.scene.listener.told), 5)
        self.successResultOf(Deferred.fromCoroutine(self.accounts.stop()))

    def test_after_a_failure_it_is_tried_again(self) -> None:
        unclaimed = self.invite()
        self.scene.unix_time = UNIX_TIME + 60
        sweep = self.scene.store.sweep

        def fail(*_: Any) -> Any:
            raise ConfigurationError("the disk is full")

        self.scene.store.sweep = fail
        self.accounts.start()
        self.assertEqual(len(self.flushLoggedErrors(ConfigurationError)), 1)
        self.scene.store.sweep = sweep
        self.scene.clock.advance(accounts_module.SWEEP_SECONDS)
        self.assertEqual(self.scene.listener.told, [("removed", self.instance_id, unclaimed)])
        self.successResultOf(Deferred.fromCoroutine(self.accounts.stop()))

    def test_what_was_removed_is_told_also_if_it_can_not_be_erased(self) -> None:
        """Otherwise it would stay connected."""
        unclaimed = self.invite()
        self.scene.unix_time = UNIX_TIME + 60

        def fail() -> None:
            raise ConfigurationError("the disk is full")

        self.scene.store.erase = fail
        self.accounts.start()
        self.assertEqual(self.scene.listener.told, [("removed", self.instance_id, unclaimed)])
        self.assertEqual(len(self.flushLoggedErrors(ConfigurationError)), 1)
        self.successResultOf(Deferred.fromCoroutine(self.accounts.stop()))

    def test_whoever_was_never_started_can_be_stopped(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.accounts.stop()))
        with self.assertRaises(Exception):  # noqa: B017  # whatever the closed file says
            self.scene.store.counts()

    def test_without_a_listener_nothing_is_told(self) -> None:
        self.accounts.listener = None
        device_id = self.invite(claimed=True)
        self.accounts._book.setup_race(self.instance_id, device_id)
        self.scene.get(
            self.accounts.devices.remove(Account(device_id, self.instance_id), device_id)
        )
        self.scene.get(self.accounts.instances.remove(self.instance_id))
        instance, _ = self.scene.register()
        self.scene.get(self.accounts.instances.change_password(instance.user_name, "e" * 32))
        self.assertEqual(self.scene.login(instance.user_name, "e" * 32), instance)
        self.assertIsNone(self.accounts.listener)
        self.assertEqual(self.scene.listener.told, [])


class ThreadTests(TestCase):
    timeout = 30

    async def test_with_real_threads(self) -> None:
        accounts = GatewayAccounts(reactor, SQLiteGatewayStore(IN_MEMORY))
        accounts.start()
        made = await accounts.instances.register(None, "127.0.0.1")
        invited = await accounts.devices.invite(made.instance_id, 60)
        password = made.instance_password.encode()
        account = await accounts.authenticate(made.instance_id, password, "127.0.0.1")
        self.assertEqual(account, Account(made.instance_id, made.instance_id))
        self.assertEqual(await accounts.counts(), Counts(instances=1, devices=0, offers=1))
        self.assertEqual(
            await accounts.device_ids(made.instance_id), frozenset([invited.device_id])
        )
        await accounts.probe()
        await accounts.stop()
