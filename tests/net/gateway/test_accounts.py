"""porttunnel.net.gateway.accounts"""

from __future__ import annotations

import os
import tempfile
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from porttunnel.errors import ConfigurationError
from porttunnel.keys.credentials import derive_device_password
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
        with capturedLogs() as logged:
            self.accounts.start()
        self.assertEqual([str(each["error"]) for each in logged], ["the disk is full"])
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
        with capturedLogs() as logged:
            self.accounts.start()
        self.assertEqual(self.scene.listener.told, [("removed", self.instance_id, unclaimed)])
        self.assertEqual([str(each["error"]) for each in logged], ["the disk is full"])
        self.successResultOf(Deferred.fromCoroutine(self.accounts.stop()))

    def test_whoever_was_never_started_can_be_stopped(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.accounts.stop()))
        with self.assertRaises(Exception):  # noqa: B017  # whatever the closed file says
            self.scene.store.counts()

    def test_without_a_listener_nothing_is_told(self) -> None:
        self.accounts.listener = None
        device_id = self.invite(claimed=True)
        self.accounts._book.setup_race(self.instance_id, device_id)
        self.accounts._book.device_barred(self.instance_id, device_id)
        self.accounts._book.instance_barred(self.instance_id)
        self.scene.get(
            self.accounts.devices.remove(Account(device_id, self.instance_id), device_id)
        )
        self.scene.get(self.accounts.instances.remove(self.instance_id))
        instance, _ = self.scene.register()
        self.scene.get(self.accounts.instances.change_password(instance.user_name, "e" * 32))
        self.assertEqual(self.scene.login(instance.user_name, "e" * 32), instance)
        self.assertIsNone(self.accounts.listener)
        self.assertEqual(self.scene.listener.told, [])


class TwoProcessesTests(TestCase):
    """What another process revokes ends here within some seconds, as if it had been here."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = os.path.join(folder.name, "gateway.sqlite")
        self.scene, self.other = (AccountsInMemory(path=path) for _ in range(2))
        for each in (self.scene, self.other):
            self.addCleanup(each.close)
        self.instance, self.password = self.scene.register()
        self.instance_id = self.instance.instance_id
        # The clock's threads are this one.
        accounts = self.scene.accounts
        accounts._thread.start = accounts._pool.start = lambda: None
        accounts.start()

    def device(self) -> str:
        invited = self.scene.get(self.scene.accounts.devices.invite(self.instance_id, 60))
        key = bytes.fromhex(invited.device_setup_key)
        self.scene.get(self.scene.accounts.devices.set_up(key, b"n" * 32, "127.0.0.1"))
        self.device_password = derive_device_password(b"n" * 32, key).hex()
        self.assertIsNotNone(self.scene.login(invited.device_id, self.device_password))
        self.scene.listener.told.clear()
        return invited.device_id

    def hear(self) -> list[tuple[str, ...]]:
        self.assertEqual(self.scene.listener.told, [])
        self.scene.clock.advance(accounts_module.REVOCATION_SECONDS)
        self.assertEqual(self.other.listener.told[-1:], self.scene.listener.told[-1:])
        return self.scene.listener.told

    def test_a_device(self) -> None:
        device_id = self.device()
        self.other.get(self.other.accounts.devices.remove(self.instance, device_id))
        self.assertIsNotNone(self.scene.login(device_id, self.device_password))
        self.assertEqual(self.hear(), [("removed", self.instance_id, device_id)])
        self.assertIsNone(self.scene.login(device_id, self.device_password))
        # It is written down where it was done.
        self.assertNotIn("device-removed", [event for event, *_ in self.scene.recorded])

    def test_an_instance(self) -> None:
        device_id = self.device()
        self.other.get(self.other.accounts.instances.remove(self.instance_id))
        self.assertEqual(self.hear(), [("instance removed", self.instance_id)])
        self.assertIsNone(self.scene.login(device_id, self.device_password))
        self.assertIsNone(self.scene.login(self.instance_id, self.password))

    def test_a_password(self) -> None:
        self.assertIsNotNone(self.scene.login(self.instance_id, self.password))
        change = self.other.accounts.instances.change_password
        self.other.get(change(self.instance_id, "e" * 32))
        self.assertEqual(self.other.login(self.instance_id, "e" * 32), self.instance)
        self.assertEqual(self.hear(), [("password", self.instance_id)])
        self.assertIsNone(self.scene.login(self.instance_id, self.password))

    def test_nobody_listens(self) -> None:
        device_id = self.device()
        self.scene.accounts.listener = None
        self.other.get(self.other.accounts.devices.remove(self.instance, device_id))
        self.scene.clock.advance(accounts_module.REVOCATION_SECONDS)
        self.assertIsNone(self.scene.login(device_id, self.device_password))

    def test_a_store_that_fails_is_told_once(self) -> None:
        revocations = self.scene.store.revocations

        def fail() -> Any:
            raise ConfigurationError("the disk is gone")

        self.scene.store.revocations = fail
        with capturedLogs() as logged:
            for _ in range(3):
                self.scene.clock.advance(accounts_module.REVOCATION_SECONDS)
        self.assertEqual([str(each["error"]) for each in logged], ["the disk is gone"])
        self.scene.store.revocations = revocations
        self.test_a_device()


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
