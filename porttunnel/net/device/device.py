"""A paired device: asks the web system behind its instance, from any Twisted program.

Source: docs/gateway-protocol, sections 2 and 3; docs/library, "A device".
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from porttunnel.errors import (
    AuthenticationFailed,
    GatewayRefused,
    PorttunnelError,
    RemoteProtocolError,
)
from porttunnel.gateway.http_head import Fields, RequestHead
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.gateway.push import decode_push, open_push
from porttunnel.gateway.refusal import Refusal
from porttunnel.gateway.replay import PushGate
from porttunnel.net.device.attempt import Attempt, AttemptOwner
from porttunnel.net.device.event import DeviceEvent, RotationFailed
from porttunnel.net.device.exchange_maker import ExchangeMaker
from porttunnel.net.device.fetching import MAX_FETCHED_BYTES, fetch
from porttunnel.net.device.interface import FetchedResponse
from porttunnel.net.device.key_question import ask_about_keys
from porttunnel.net.device.link import DeviceLink
from porttunnel.net.device.patience import Patience
from porttunnel.net.device.record import DeviceRecord
from porttunnel.net.device.request import Request
from porttunnel.net.device.secret_keeper import SecretKeeper
from porttunnel.net.device.store import DeviceStore
from porttunnel.net.gateway_client.rest import RestClient
from porttunnel.net.telling import tell

__all__ = ["Device", "OnPush"]

ROTATION_CHECK_SECONDS = 3_600.0  # also the time until another try if a rotation failed
STOP_SECONDS = 5.0  # for a rotation that has begun
GONE_STATUSES = (401, 404)  # the gateway does not know it, or its password, any more

OnPush = Callable[[str, bytes], object]
"""Called with the name and the content of what the instance says unasked."""


class Device:
    """Implements :class:`~porttunnel.net.device.interface.Requester`.

    :param reactor: time, connections, threads.
    :param store: where the record is.
    :param record: as the store has it.
    :param on_push: see :data:`OnPush`; each push comes once, to one of the user's programs.
    :param on_event: called with the events of :mod:`porttunnel.net.device.event`.
    :param unix_seconds: the device's clock.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        store: DeviceStore,
        record: DeviceRecord,
        *,
        on_push: OnPush = lambda name, content: None,
        on_event: Callable[[DeviceEvent], None] = lambda happened: None,
        patience: Patience | None = None,
        unix_seconds: Callable[[], float] = time.time,
    ) -> None:
        self._reactor = reactor
        self._store = store
        self._record = record
        self._on_push = on_push
        self._on_event = on_event
        self._patience = patience or Patience()
        self._maker = ExchangeMaker(
            record.ends, record.last_counter, record.offset_ms, unix_seconds=unix_seconds
        )
        self._pushes = PushGate(record.push_highest)
        self._push_turn: Any = DeferredLock()
        self._link = DeviceLink(
            reactor, record.address, record.login, on_push=self._take_push, on_event=on_event
        )
        self._keeper = SecretKeeper(store, record, self._ask, unix_seconds, on_event)
        self._requests: set[Request] = set()
        self._check: IDelayedCall | None = None
        self._stopped = False
        self._rotating: Deferred[None] | None = None
        self._rotation_ended: Deferred[None] | None = None

    # Life

    def start(self) -> None:
        """Connect, and come back whenever the connection is lost; once."""
        self._link.start()
        self._check = self._reactor.callLater(0, self._look_at_secret)

    async def stop(self) -> None:
        """End all requests and the connection; once is enough."""
        if self._stopped:
            return
        self._stopped = True
        if self._check is not None:
            self._check.cancel()
            self._check = None
        await self._end_rotation()
        for request in list(self._requests):
            request.cancel()
        await self._link.stop()
        clock = self._maker.clock
        keep = self._store.keep_clock
        await deferToThread(keep, self.device_id, clock.last, clock.offset_ms)

    @property
    def device_id(self) -> str:
        """See ``Requester``."""
        return self._record.device_id

    @property
    def instance_id(self) -> str:
        """See ``Requester``."""
        return self._record.instance_id

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to the gateway."""
        return self._link.is_connected

    # Requests

    async def request(self, head: RequestHead) -> Request:
        """See ``Requester``."""
        request = Request(self._reactor, self, head, self._patience, self._requests.discard)
        self._requests.add(request)
        await request.begin()
        return request

    async def fetch(
        self,
        method: str,
        path: str,
        fields: Fields = (),
        data: bytes = b"",
        *,
        max_bytes: int = MAX_FETCHED_BYTES,
    ) -> FetchedResponse:
        """See ``Requester``.

        :param max_bytes: of the response's content.
        """
        head = RequestHead(method.encode(), b"https", b"", path.encode(), fields)
        return await fetch(self, head, data, max_bytes)

    # Its secret and its place at the gateway

    async def rotate(self) -> None:
        """Agree with the instance on another secret, now.

        :raises PorttunnelError: that did not succeed; the one that there is goes on.
        """
        await self._keeper.rotate(self._keeper.secret.generation)

    async def revoke(self) -> None:
        """Be no device any more, at the gateway and here. The instance finds it out.

        :raises GatewayError: the gateway did not do it; then nothing is done here either.
        """
        try:
            await RestClient(self._reactor, self._record.address).remove_device(
                self._record.login, self.device_id
            )
        except GatewayRefused as error:
            if error.status not in GONE_STATUSES:
                raise
        await self.stop()
        await deferToThread(self._store.remove_device, self.device_id)

    # What its requests need

    async def begin_attempt(self, owner: AttemptOwner, *, careful: bool) -> Attempt:
        """See :class:`~porttunnel.net.device.request.AttemptMaker`."""
        await self._link.wait_connected(self._patience.connect)
        secret = await self._keeper.settle(careful=careful)
        exchange = self._maker.make(secret)
        seconds = self._reactor.seconds
        return Attempt(self._link, exchange, secret.generation, owner, seconds)

    def note(self, refusal: Refusal) -> None:
        """See :class:`~porttunnel.net.device.request.AttemptMaker`."""
        self._maker.clock.correct(refusal, self._maker.clock_ms)

    async def replace_secret(self, generation: int) -> None:
        """See :class:`~porttunnel.net.device.request.AttemptMaker`."""
        await self._keeper.rotate(generation)

    def doubt_secret(self) -> None:
        """See :class:`~porttunnel.net.device.request.AttemptMaker`."""
        self._keeper.doubt()

    async def _ask(self, secret: DeviceSecret, plaintext: bytes) -> bytes | Refusal:
        return await ask_about_keys(self._reactor, self._link, self._maker, secret, plaintext)

    # What happens by itself

    def _look_at_secret(self) -> None:
        self._check = self._reactor.callLater(ROTATION_CHECK_SECONDS, self._look_at_secret)
        if self._keeper.is_due and self._rotating is None:
            self._rotating = Deferred.fromCoroutine(self.rotate())
            self._rotating.addErrback(self._rotation_failed)
            self._rotating.addBoth(self._rotation_over)

    def _rotation_failed(self, failure: Failure) -> None:
        error: Any = failure.value
        if failure.trap(PorttunnelError, CancelledError) is not CancelledError:
            tell(self._on_event, RotationFailed(error))

    def _rotation_over(self, _result: object) -> None:
        self._rotating = None
        if self._rotation_ended is not None:
            self._rotation_ended.callback(None)

    async def _end_rotation(self) -> None:
        if self._rotating is not None:
            self._rotation_ended = Deferred()
            patience = STOP_SECONDS if self.is_connected else 0.0
            giving_up = self._reactor.callLater(patience, self._rotating.cancel)
            await self._rotation_ended
            if giving_up.active():
                giving_up.cancel()

    async def _take_push(self, name: str, payload: bytes) -> None:
        # One after the other: threads overtake each other, and a lower counter is an old push.
        async with self._push_turn:
            try:
                opening = decode_push(payload)
                secret = self._keeper.find(opening.head.generation)
                if secret is None:
                    # Another program of the user may have changed it.
                    await self._keeper.refresh()
                    secret = self._keeper.find(opening.head.generation)
                if secret is None:
                    return
                keys = self._maker.keys_of(secret)
                content = bytes(open_push(self._maker.ends, keys, opening, name))
            except (RemoteProtocolError, AuthenticationFailed) as error:
                # Not what our instance said: whoever sent it learns nothing.
                self._log.debug("a push was dropped: {error}", error=error)
                return
            counter, now_ms = opening.head.counter, self._maker.clock.now_ms(self._maker.clock_ms)
            if self._pushes.admit(opening.head, now_ms) and await deferToThread(
                self._store.take_push, self.device_id, counter
            ):
                self._on_push(name, content)
