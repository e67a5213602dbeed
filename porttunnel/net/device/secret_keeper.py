"""The secret that a device shares with its instance, and how it gets another one.

Source: docs/gateway-protocol, section 2. A new secret is on the disk before the instance is told;
the old one goes only when the instance has confirmed the new one. Other programs of the same user
may do the same meanwhile: what they have done is found in the store.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import DeferredLock
from twisted.internet.threads import deferToThread

from porttunnel.errors import (
    RemoteProtocolError,
    RequestFailed,
    RequestFailureCode,
)
from porttunnel.gateway.pairing_device import DeviceConfirming, DeviceExchanging
from porttunnel.gateway.pairing_message import NONCE_BYTES
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.gateway.refusal import Refusal
from porttunnel.keys.hybrid import HybridPrivateKey
from porttunnel.keys.primitives import KEY_BYTES
from porttunnel.net.device.event import DeviceEvent, SecretRotated
from porttunnel.net.device.failure_text import not_executed
from porttunnel.net.device.record import DeviceRecord
from porttunnel.net.device.store import DeviceStore
from porttunnel.net.telling import tell

__all__ = ["AskAboutKeys", "SecretKeeper"]

ROTATION_SECONDS = 7 * 86_400.0  # who gets hold of a secret reads a week of recordings at most
FRESH_SECONDS = 5.0  # since the store was read; reading it takes a millisecond

AskAboutKeys = Callable[[DeviceSecret, bytes], Awaitable[bytes | Refusal]]


class SecretKeeper:
    """See the module.

    :param record: as it is in the store.
    :param ask: asks the instance, see :func:`~porttunnel.net.device.key_question.ask_about_keys`.
    :param unix_seconds: the device's clock.
    :param on_event: told ``SecretRotated``.
    """

    def __init__(
        self,
        store: DeviceStore,
        record: DeviceRecord,
        ask: AskAboutKeys,
        unix_seconds: Callable[[], float],
        on_event: Callable[[DeviceEvent], None],
    ) -> None:
        self._store = store
        self._record = record
        self._ask = ask
        self._unix_seconds = unix_seconds
        self._on_event = on_event
        self._turn: Any = DeferredLock()
        self._is_doubtful = False
        self._is_settled = record.pending is None
        self._tries = 0  # to settle it, that have ended
        self._read = unix_seconds()

    @property
    def secret(self) -> DeviceSecret:
        """The one that counts, as far as it is known here."""
        return self._record.secret

    @property
    def is_due(self) -> bool:
        """Whether the secret is so old that there should be another; or seems to be from the
        future, as the clock was wrong when it was made.
        """
        return not 0 <= self._unix_seconds() - self._record.rotated < ROTATION_SECONDS

    def find(self, generation: int) -> DeviceSecret | None:
        """The secret of a generation that the instance may use."""
        known = [self._record.secret]
        if self._record.pending is not None:
            known.append(self._record.pending.pending)
        return next((secret for secret in known if secret.generation == generation), None)

    def doubt(self) -> None:
        """What was sealed under the secret did not open: look into the store and at a pending one
        before it is used again.
        """
        self._is_doubtful = True

    async def settle(self, *, careful: bool) -> DeviceSecret:
        """The secret that counts, after everything was tried to know it.

        :param careful: look also what other programs have done lately: what was sealed under a
            secret that is gone can't be asked again if it may have effects.
        """
        if self._is_stale(careful) or not self._is_settled:
            tries = self._tries
            async with self._turn:
                # Whoever was before us may have done it; or tried, and waited for nothing as long
                # as we would again.
                if self._is_stale(careful):
                    await self._refresh()
                if tries == self._tries and (self._is_doubtful or not self._is_settled):
                    await self._settle()
                    self._tries += 1
        return self.secret

    async def refresh(self) -> None:
        """See what other programs have done."""
        async with self._turn:
            await self._refresh()

    async def rotate(self, generation: int) -> None:
        """Agree with the instance on another secret.

        :param generation: the one that it is to follow; if another counts by now nothing is done.
        :raises RequestFailed: the instance did not answer, or refused.
        :raises DeviceRevoked: there is no connection and will be none.
        :raises RemoteProtocolError: what it answered is no such answer.
        """
        async with self._turn:
            await self._refresh()
            await self._settle()
            if self.secret.generation != generation:
                return
            before = self._record.pending
            key = await deferToThread(HybridPrivateKey.generate)
            exchanging = DeviceExchanging(
                self._record.ends,
                self.secret,
                key=key,
                nonce=secrets.token_bytes(NONCE_BYTES),
                fallback=secrets.token_bytes(KEY_BYTES),
            )
            answer = await self._ask(self.secret, exchanging.request)
            if isinstance(answer, Refusal):
                raise not_executed(RequestFailureCode.REFUSED)
            confirming = exchanging.receive_answer(answer)
            keep, device_id = self._store.keep_pending, self._record.device_id
            is_kept = await deferToThread(keep, device_id, confirming, before)
            await self._refresh()
            if is_kept:
                await self._confirm(confirming)
                await self._refresh()
            else:
                # Another program was faster: what it has got goes on.
                await self._settle()

    def _is_stale(self, careful: bool) -> bool:
        age = abs(self._unix_seconds() - self._read)
        return self._is_doubtful or (careful and age > FRESH_SECONDS)

    async def _settle(self) -> None:
        self._is_doubtful = False
        pending = self._record.pending
        if pending is None:
            self._is_settled = True
            return
        try:
            await self._confirm(pending)
        except RequestFailed as error:
            # If it can't open that it never had it, or says so; the old one goes on. Nothing is
            # forgotten: it isn't proven.
            self._is_settled = error.code is RequestFailureCode.BROKEN
        except RemoteProtocolError:
            self._is_settled = True
        else:
            await self._refresh()

    async def _confirm(self, confirming: DeviceConfirming) -> None:
        answer = await self._ask(confirming.pending, confirming.confirm)
        if isinstance(answer, Refusal):
            raise RemoteProtocolError("the instance refuses a secret that it has given")
        secret = confirming.receive_confirmed(answer)
        take, device_id = self._store.take_pending, self._record.device_id
        if await deferToThread(take, device_id, secret, self._unix_seconds()):
            tell(self._on_event, SecretRotated(secret.generation))

    async def _refresh(self) -> None:
        read = self._store.read_device
        before = self._record.pending
        self._record = await deferToThread(read, self._record.device_id)
        self._read = self._unix_seconds()
        pending = self._record.pending
        if pending is None or before is None or pending.nonce != before.nonce:
            self._is_settled = pending is None
