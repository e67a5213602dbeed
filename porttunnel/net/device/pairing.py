"""Pairing: from the text of a QR to a device.

Source: docs/gateway-protocol, section 2. Each step is on the disk before the next message is sent:
a program that stops anywhere goes on with the same code, and nobody is taken for a second device.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from porttunnel.errors import (
    DeviceRevoked,
    GatewayRefused,
    GatewayUnreachable,
    PairingError,
    RemoteProtocolError,
    RequestFailed,
    RequestFailureCode,
)
from porttunnel.gateway.pairing_code import PairingCode
from porttunnel.gateway.pairing_device import DeviceConfirming, DeviceExchanging
from porttunnel.gateway.pairing_message import NONCE_BYTES
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.gateway.refusal import Refusal, RefusalReason
from porttunnel.keys.credentials import derive_device_password
from porttunnel.keys.hybrid import HybridPrivateKey
from porttunnel.keys.primitives import KEY_BYTES
from porttunnel.net.device.device import Device
from porttunnel.net.device.exchange_maker import ExchangeMaker
from porttunnel.net.device.key_question import ask_about_keys
from porttunnel.net.device.link import DeviceLink
from porttunnel.net.device.record import PairingRecord, PairingStage
from porttunnel.net.device.store import DeviceStore
from porttunnel.net.gateway_client.rest import Login, RestClient

__all__ = ["go_on_pairing", "pair"]

PATIENCE_SECONDS = 900.0  # ten minutes, as long as most codes are good, and some to walk
POLL_SECONDS = 1.5  # between two questions whether the digits were typed
RETRY_SECONDS = 1.0  # between two tries at what didn't reach the other side
MAX_WAIT_SECONDS = 30.0  # at a time, whatever a gateway asks for
MAX_UNREACHABLE = 3  # tries, before the user is told
MAX_REFUSED = 3  # sealed: an agent that can't just now can soon
MAX_BROKEN = 5  # hints in a row that nothing opens: the instance knows no such pairing

TOO_MANY_REQUESTS, UNAVAILABLE = 429, 503
FINAL_STATUSES = (400, 403, 404, 409, 410)  # the code is none, or none any more

_VOID = (
    "This pairing came to nothing: its code has expired, another device has used it, or the "
    "digits were wrong. Ask for a new code."
)
_RACE = (
    "The other side has ended this pairing: two devices have used its code, or the digits were "
    "wrong. If it was not you, somebody else saw the code. Ask for a new one."
)
_NOT_IN_TIME = (
    "The pairing was not finished in time. Use the same code to go on, or ask for a new one if it "
    "has expired."
)

OnDigits = Callable[[str], object]


async def pair(
    reactor: Any,
    store: DeviceStore,
    code_text: str,
    *,
    on_digits: OnDigits = lambda digits: None,
    patience_seconds: float = PATIENCE_SECONDS,
    unix_seconds: Callable[[], float] = time.time,
) -> Device:
    """Pair with the instance that shows a code, or go on with a pairing that was begun with it.

    :param reactor: time, connections, threads.
    :param store: gets the device.
    :param code_text: what the QR says.
    :param on_digits: called with the six digits that the instance's user has to type; not if the
        instance does not ask for them.
    :param patience_seconds: for all of it; then the same code goes on.
    :param unix_seconds: the device's clock.
    :returns: the device, not started.
    :raises PairingError: the code is none or void, or the pairing was ended: a new one is needed;
        or it was not finished in time.
    :raises GatewayUnreachable: the gateway can't be reached.
    :raises GatewayRefused: it does not want to.
    """
    code = PairingCode.parse(code_text)
    known = {pairing.setup_key for pairing in await deferToThread(store.list_pairings)}
    if code.setup_key not in known:
        code.check_fresh(unix_seconds())
    nonce = secrets.token_bytes(NONCE_BYTES)
    pairing = await deferToThread(store.begin_pairing, code, nonce)
    return await go_on_pairing(
        reactor,
        store,
        pairing,
        on_digits=on_digits,
        patience_seconds=patience_seconds,
        unix_seconds=unix_seconds,
    )


async def go_on_pairing(
    reactor: Any,
    store: DeviceStore,
    pairing: PairingRecord,
    *,
    on_digits: OnDigits = lambda digits: None,
    patience_seconds: float = PATIENCE_SECONDS,
    unix_seconds: Callable[[], float] = time.time,
) -> Device:
    """Go on where it stands; everything else as :func:`pair`.

    :param pairing: as the store has it.
    """
    run = _Pairing(reactor, store, pairing, unix_seconds, reactor.seconds() + patience_seconds)
    try:
        return await run.go_on(on_digits)
    except DeviceRevoked:
        # Said by the gateway that we logged in at: without it there is no way to the instance.
        await deferToThread(store.drop_pairing, pairing.setup_key)
        raise PairingError(_RACE) from None
    except RemoteProtocolError:
        raise PairingError(_VOID) from None
    except _Void as error:
        await deferToThread(store.drop_pairing, pairing.setup_key)
        raise PairingError(str(error)) from None


class _Void(PairingError):
    """It can't succeed any more, and nothing of it is to be kept."""


class _Pairing:
    """One run. See :func:`pair`.

    :param deadline: by the reactor's clock.
    """

    def __init__(
        self,
        reactor: Any,
        store: DeviceStore,
        record: PairingRecord,
        unix_seconds: Callable[[], float],
        deadline: float,
    ) -> None:
        self._reactor = reactor
        self._store = store
        self._record = record
        self._unix_seconds = unix_seconds
        self._deadline = deadline

    async def go_on(self, on_digits: OnDigits) -> Device:
        record = self._record
        if record.stage is PairingStage.CLAIMING:
            record = await self._claim()
        password = derive_device_password(record.client_nonce, record.setup_key).hex()
        link = DeviceLink(self._reactor, record.address, Login(record.device_id, password))
        maker = ExchangeMaker(record.ends, unix_seconds=self._unix_seconds)
        link.start()
        try:
            if record.pending is None:
                record = await self._exchange(link, maker, record)
            if record.pending is None:
                raise RemoteProtocolError("another program goes on with this pairing")
            await self._confirm(link, maker, record.pending, on_digits)
        finally:
            await link.stop()
        now = self._unix_seconds()
        device = await deferToThread(self._store.finish_pairing, record.setup_key, now)
        return Device(self._reactor, self._store, device, unix_seconds=self._unix_seconds)

    async def _claim(self) -> PairingRecord:
        record = self._record
        rest = RestClient(self._reactor, record.address)
        failures = 0
        while True:
            try:
                claimed = await rest.claim_device(record.setup_key, record.client_nonce)
                break
            except GatewayRefused as error:
                if error.status in FINAL_STATUSES:
                    raise _Void(_VOID) from None
                if error.status not in (TOO_MANY_REQUESTS, UNAVAILABLE):
                    failures += 1
                if failures == MAX_UNREACHABLE:
                    raise
                await self._wait(error.retry_after_seconds or RETRY_SECONDS)
            except GatewayUnreachable:
                failures += 1
                if failures == MAX_UNREACHABLE:
                    raise
                await self._wait(RETRY_SECONDS)
        key = await deferToThread(HybridPrivateKey.generate)
        return await deferToThread(
            self._store.begin_exchange,
            record.setup_key,
            claimed,
            key.export(),
            secrets.token_bytes(NONCE_BYTES),
            secrets.token_bytes(KEY_BYTES),
        )

    async def _exchange(
        self, link: DeviceLink, maker: ExchangeMaker, record: PairingRecord
    ) -> PairingRecord:
        setup = DeviceSecret.from_setup(record.setup_secret)
        exchanging = DeviceExchanging(
            record.ends,
            setup,
            key=await deferToThread(HybridPrivateKey.load, record.key),
            nonce=record.nonce,
            fallback=record.fallback,
        )
        answer = await self._ask(link, maker, setup, exchanging.request)
        if isinstance(answer, Refusal):
            raise _Void(_RACE)
        confirming = exchanging.receive_answer(answer)
        return await deferToThread(self._store.begin_confirming, record.setup_key, confirming)

    async def _confirm(
        self,
        link: DeviceLink,
        maker: ExchangeMaker,
        confirming: DeviceConfirming,
        on_digits: OnDigits,
    ) -> None:
        shown = False
        while True:
            answer = await self._ask(link, maker, confirming.pending, confirming.confirm)
            if not isinstance(answer, Refusal):
                confirming.receive_confirmed(answer)
                return
            if answer.reason is not RefusalReason.WAITING:
                raise _Void(_RACE)
            if not shown:
                shown = True
                on_digits(confirming.digits)
            await self._wait(POLL_SECONDS)

    async def _ask(
        self, link: DeviceLink, maker: ExchangeMaker, secret: DeviceSecret, plaintext: bytes
    ) -> bytes | Refusal:
        """Until there is an answer that counts."""
        broken = refused = 0
        while True:
            try:
                answer = await ask_about_keys(self._reactor, link, maker, secret, plaintext)
            except RequestFailed as error:
                broken = broken + 1 if error.code is RequestFailureCode.BROKEN else 0
                if broken == MAX_BROKEN:
                    # Not proven, so nothing is erased: the same code may be tried again.
                    raise PairingError(_VOID) from None
                await self._wait(RETRY_SECONDS)
                continue
            if not isinstance(answer, Refusal) or answer.reason is RefusalReason.WAITING:
                return answer
            refused += 1
            if refused == MAX_REFUSED:
                return answer
            await self._wait(RETRY_SECONDS)

    async def _wait(self, seconds: float) -> None:
        if self._reactor.seconds() >= self._deadline:
            raise PairingError(_NOT_IN_TIME)
        await deferLater(self._reactor, min(seconds, MAX_WAIT_SECONDS))
