"""What instances and devices may ask about devices.

Source: docs/gateway-protocol, sections 2 and 5.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from porttunnel.errors import ConfigurationError, GatewayBusy
from porttunnel.gateway.setup_claim import ClaimOutcome, judge_claim
from porttunnel.keys.credentials import (
    ID_BYTES,
    derive_device_password,
    hash_client_nonce,
    hash_setup_key,
)
from porttunnel.net.gateway.account import Account
from porttunnel.net.gateway.account_book import AccountBook
from porttunnel.net.gateway.account_setting import AccountSettings
from porttunnel.net.gateway.attempt_limit import AttemptLimit
from porttunnel.net.gateway.audit_log import AuditEvent
from porttunnel.net.gateway.document import Device, DeviceList, InvitedDevice, SetUpDevice
from porttunnel.net.gateway.problem import ProblemKind, RequestRefused
from porttunnel.net.gateway.store import Addition, Claim, DeviceRow, DeviceState
from porttunnel.session.limit import RateLimiter

__all__ = ["DeviceDesk"]

SETUP_KEY_BYTES = 16
# Codes are read by cameras, so a wrong key is an old picture, or a program that tries.
WRONG_SETUPS_PER_MINUTE = 20  # from one address prefix
WRONG_SETUPS_PER_HOUR = 200
WRONG_SETUPS_PER_SECOND_OVERALL = 50
INVITATIONS_PER_SECOND_OVERALL = 50  # of all instances together
MAX_SETUPS = 64  # under way; with a wrong key each costs a look into the store
MAX_INVITATIONS = 16  # under way; each costs a write
MAX_INVITATIONS_OF_ONE = 4


class DeviceDesk:
    """See the module. Used on the reactor's thread.

    :param now: seconds of a clock that does not go back.
    :param unix_time: seconds since 1970.

    Every method raises:

    :raises RequestRefused: it was not done.
    :raises GatewayBusy: it was not looked at.
    :raises ConfigurationError: the store can't be used.
    """

    def __init__(
        self,
        book: AccountBook,
        settings: AccountSettings,
        now: Callable[[], float],
        unix_time: Callable[[], float],
    ) -> None:
        self._book = book
        self._store = book.store
        self._now = now
        self._unix_time = unix_time
        self._max_devices = settings.max_devices_per_instance
        self._invitations = AttemptLimit(
            RateLimiter(
                per_minute=settings.invitations_per_minute,
                per_hour=settings.invitations_per_hour,
                per_second_overall=INVITATIONS_PER_SECOND_OVERALL,
            ),
            max_under_way=MAX_INVITATIONS,
            max_under_way_per_prefix=MAX_INVITATIONS_OF_ONE,
        )
        self._setups = AttemptLimit(
            RateLimiter(
                per_minute=WRONG_SETUPS_PER_MINUTE,
                per_hour=WRONG_SETUPS_PER_HOUR,
                per_second_overall=WRONG_SETUPS_PER_SECOND_OVERALL,
            ),
            max_under_way=MAX_SETUPS,
        )

    async def invite(self, instance_id: str, expires_in: int) -> InvitedDevice:
        """A device that is to come, within so many seconds."""
        with self._invitations.counted(instance_id, self._now()):
            return await self._invite(instance_id, expires_in)

    async def list_devices(self, instance_id: str) -> DeviceList:
        """All of an instance's."""
        rows = await self._book.run(self._store.devices, instance_id)
        return DeviceList([Device(row.device_id, row.state) for row in rows])

    async def read_device(self, account: Account, device_id: str) -> Device:
        """One, for its instance and for itself."""
        row: DeviceRow | None = await self._book.run(self._store.device, device_id)
        if row is None or not _may_see(account, row.device_id, row.instance_id):
            raise RequestRefused(ProblemKind.NOT_FOUND)
        return Device(row.device_id, row.state)

    async def confirm(self, instance_id: str, device_id: str) -> None:
        """The instance is content with a device. May be repeated."""
        state = await self._book.run(self._store.confirm_device, device_id, instance_id)
        if state is None:
            raise RequestRefused(ProblemKind.NOT_FOUND)
        if state is DeviceState.INVITED:
            raise RequestRefused(ProblemKind.NOT_CLAIMED)
        self._book.record(AuditEvent.DEVICE_CONFIRMED, instance_id, device_id)

    async def remove(self, account: Account, device_id: str) -> None:
        """Revoke one, by its instance or by itself."""
        if not _may_see(account, device_id, account.instance_id):
            raise RequestRefused(ProblemKind.NOT_FOUND)
        try:
            removed = await self._book.run(
                self._store.remove_device, device_id, account.instance_id
            )
        except ConfigurationError as error:
            # A full disk can still be read: nobody bars a device of somebody else's.
            await self.read_device(account, device_id)
            self._book.device_barred(account.instance_id, device_id)
            raise RequestRefused(ProblemKind.NOT_RECORDED) from error
        if not removed:
            raise RequestRefused(ProblemKind.NOT_FOUND)
        self._book.device_removed(account.instance_id, device_id)

    async def set_up(self, setup_key: bytes, client_nonce: bytes, prefix: str) -> SetUpDevice:
        """A device comes, or comes again. All that is not right gets one answer.

        :param prefix: who asks: :func:`~porttunnel.session.limit.prefix_of`.
        """
        now = self._now()
        wait_seconds = self._setups.wait_seconds(prefix, now)
        self._setups.take_place(prefix)
        is_wrong = False
        try:
            claim = await self._claim(setup_key, client_nonce)
            is_wrong = claim is None
        finally:
            self._setups.leave(prefix, now, counts=is_wrong and not wait_seconds)
        if claim is None:
            # Nobody finds a key by trying: what is good is taken, also from there.
            if wait_seconds:
                raise GatewayBusy(wait_seconds, too_many=True)
            raise RequestRefused(ProblemKind.SETUP_REFUSED)
        return SetUpDevice(claim.device_id, claim.instance_id)

    async def _invite(self, instance_id: str, expires_in: int) -> InvitedDevice:
        device_id = secrets.token_hex(ID_BYTES)
        setup_key = secrets.token_bytes(SETUP_KEY_BYTES)
        expires = int(self._unix_time()) + expires_in
        added = await self._book.run(
            self._store.add_device,
            device_id,
            instance_id,
            hash_setup_key(setup_key),
            expires,
            self._max_devices,
        )
        if added is Addition.FULL:
            raise RequestRefused(ProblemKind.FULL)
        if added is Addition.NO_INSTANCE:
            raise RequestRefused(ProblemKind.NOT_FOUND)
        self._book.record(AuditEvent.DEVICE_INVITED, instance_id, device_id)
        return InvitedDevice(device_id, setup_key.hex(), expires)

    async def _claim(self, setup_key: bytes, client_nonce: bytes) -> Claim | None:
        """What came of it, if it is good."""
        key_hash, nonce_hash = hash_setup_key(setup_key), hash_client_nonce(client_nonce)
        row = await self._book.run(self._store.offer, key_hash)
        if row is None:
            return None
        password_hash = ""
        # Nobody is to make us hash passwords without a key that is good. One that was shown once
        # is never free again, and one that expired is not asked about again, should the clock go
        # back: so nothing can need a password that was not hashed here.
        outcome = judge_claim(row.offer, nonce_hash, self._unix_time())
        if outcome is ClaimOutcome.EXPIRED:
            return None
        if outcome is ClaimOutcome.TAKEN:
            password = derive_device_password(client_nonce, setup_key)
            password_hash = await self._book.desk.hash(password.hex().encode("ascii"))
        claim = await self._book.run(
            self._store.claim, key_hash, nonce_hash, password_hash, self._unix_time()
        )
        return None if claim is None else self._accept(claim)

    def _accept(self, claim: Claim) -> Claim | None:
        outcome, device_id, instance_id = claim.outcome, claim.device_id, claim.instance_id
        if outcome is ClaimOutcome.TAKEN:
            self._book.device_added(instance_id, device_id)
        if outcome in (ClaimOutcome.TAKEN, ClaimOutcome.REPEATED):
            return claim
        if outcome is ClaimOutcome.RACE:
            self._book.device_removed(instance_id, device_id)
        if outcome in (ClaimOutcome.RACE, ClaimOutcome.LATE):
            self._book.setup_race(instance_id, device_id)
        return None


def _may_see(account: Account, device_id: str, instance_id: str) -> bool:
    if account.is_device:
        return account.user_name == device_id
    return account.instance_id == instance_id
