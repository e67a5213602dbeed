"""Where parts of devices' requests come in: which request each belongs to, and whether a new one
is carried out.

A request is opened, its counter judged and written down; only then the application, or the
pairing, hears of it. Many requests share one write.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from porttunnel.errors import (
    AuthenticationFailed,
    ConfigurationError,
    PairingError,
    RemoteProtocolError,
)
from porttunnel.gateway.instance_exchange import InstanceExchange
from porttunnel.gateway.part import Credit, Failure, FailureCode, SegmentPart, decode_part
from porttunnel.gateway.part_stream import WINDOW_PARTS, Opening
from porttunnel.gateway.refusal import Refusal, RefusalReason
from porttunnel.gateway.replay import judge_time
from porttunnel.gateway.topic import format_response_topic
from porttunnel.keys.envelope import PREFIX_BYTES, SALT_BYTES
from porttunnel.net.instance.device_book import DeviceBook
from porttunnel.net.instance.running_request import RequestPlace, RunningRequest
from porttunnel.net.instance.served_device import ServedDevice
from porttunnel.net.instance.store import CounterKept, DeviceSeen, StoreChange

__all__ = ["Entrance", "KeyDesk"]

MAX_RUNNING_OF_DEVICE = 64  # ten tabs of a browser, each with its six connections
MAX_KEY_REQUESTS = 4  # of one device: it asks one thing after the other
SURE_OF_DEVICE = 4  # also while others have all there may be: a click, and what its page wants
MAX_RUNNING = 1_024  # but for these; each may hold 1 MiB, and the budgets stand before that
RECENT_REQUESTS = 4_096  # whose last parts may still be under way, and are passed over


class KeyDesk(Protocol):
    """Who answers requests about keys."""

    def answer(
        self, device: ServedDevice, exchange: InstanceExchange
    ) -> Coroutine[Any, Any, bytes | bytearray]:
        """The part that answers a request that was written down and is whole in one part.

        :raises RemoteProtocolError: it can't be answered.
        """


class Entrance:
    """See the module.

    :param book: the devices.
    :param place: what requests have in common.
    :param key_desk: gets requests about keys.
    :param unix_time: seconds since 1970.
    :ivar running_count: how many requests run.
    """

    _log = Logger()

    def __init__(
        self,
        book: DeviceBook,
        place: RequestPlace,
        key_desk: KeyDesk,
        unix_time: Callable[[], float],
    ) -> None:
        self._book = book
        self._place = place
        self._key_desk = key_desk
        self._unix_time = unix_time
        self._not_before_ms = int(unix_time() * 1_000)
        self._recent: dict[tuple[str, str], int] = {}  # and the credit that was given last
        self.running_count = 0

    def receive(self, device_id: str, request_id: str, payload: bytes) -> None:
        """A part came."""
        device = self._book.find(device_id)
        if device is None:
            self._fail(device_id, request_id, FailureCode.REVOKED)
            return
        running = device.running.get(request_id)
        if running is not None:
            running.receive(payload)
            return
        try:
            part = decode_part(payload)
            if isinstance(part, SegmentPart) and part.number == 0 and self._book.is_behind:
                self._fail(device_id, request_id, FailureCode.BUSY)
            elif isinstance(part, SegmentPart) and part.number == 0:
                self._open(device, request_id, Opening(part))
            elif isinstance(part, SegmentPart | Credit):
                self._pass_over(device_id, request_id, part)
        except (RemoteProtocolError, AuthenticationFailed):
            self._fail(device_id, request_id, FailureCode.BROKEN)

    def cancel_all(self, why: str) -> None:
        """Cancel whatever runs."""
        for device in self._book:
            device.cancel_all(why)

    def check(self, now: float) -> None:
        """Break off requests whose devices let them wait for too long."""
        for device in self._book:
            for running in [*device.running.values()]:
                running.check(now)

    # A new one

    def _open(self, device: ServedDevice, request_id: str, opening: Opening) -> None:
        head = opening.head
        keys = device.keys_of(head.generation)
        if keys is None:
            raise RemoteProtocolError("a request is of a generation that there is not")
        now = self._unix_time()
        exchange = InstanceExchange(
            device.ends,
            keys,
            opening,
            unix_ms=int(now * 1_000),
            salt=secrets.token_bytes(SALT_BYTES),
            prefix=secrets.token_bytes(PREFIX_BYTES),
        )
        device_id = device.row.device_id
        admitted = device.window_of(head.generation).admit(head.counter)
        if isinstance(admitted, Refusal):
            self._say(device_id, request_id, exchange.refuse(admitted))
            return
        changes: list[StoreChange] = [
            CounterKept(device_id, head.generation, admitted.counter, admitted.forgotten)
        ]
        seen = device.notice(now)
        if seen is not None:
            changes.append(DeviceSeen(device_id, seen))
        refusal = self._judge(device, exchange, int(now * 1_000))
        if refusal is not None:
            self._start(self._refuse(device_id, request_id, exchange.refuse(refusal), changes))
        elif head.about_keys:
            device.key_requests += 1
            self._start(self._answer_about_keys(device, request_id, exchange, changes))
        else:
            self._start(self._pass_on(self._begin(device, request_id, exchange), changes))

    def _judge(
        self, device: ServedDevice, exchange: InstanceExchange, now_ms: int
    ) -> Refusal | None:
        """Why it is not carried out; None: it is."""
        head = exchange.head
        # From before our start: if our state were an old one nobody would know whether it was
        # carried out. A clock that has been put back since is no reason to refuse for ever.
        self._not_before_ms = min(self._not_before_ms, now_ms)
        if head.unix_ms < self._not_before_ms:
            return Refusal(RefusalReason.TIME, now_ms)
        late = judge_time(head, now_ms)
        if late is not None:
            return late
        if head.about_keys:
            full = device.key_requests >= MAX_KEY_REQUESTS
        else:
            phase = device.row.phase
            if phase.serving_generation is None:
                return Refusal(RefusalReason.WAITING)
            if device.row.stale_generation == phase.serving_generation:
                return Refusal(RefusalReason.ROTATE)
            full = (
                head.generation != phase.serving_generation
                or len(device.running) >= MAX_RUNNING_OF_DEVICE
                or (self.running_count >= MAX_RUNNING and len(device.running) >= SURE_OF_DEVICE)
            )
        return Refusal(RefusalReason.NOT_EXECUTED) if full else None

    def _begin(
        self, device: ServedDevice, request_id: str, exchange: InstanceExchange
    ) -> RunningRequest:
        running = RunningRequest(
            self._place,
            exchange,
            device_id=device.row.device_id,
            user=device.row.user,
            request_id=request_id,
            on_over=lambda: self._finish(device, request_id),
        )
        device.running[request_id] = running
        self.running_count += 1
        return running

    def _finish(self, device: ServedDevice, request_id: str) -> None:
        del device.running[request_id]
        self.running_count -= 1
        self._recent[device.row.device_id, request_id] = WINDOW_PARTS
        while len(self._recent) > RECENT_REQUESTS:
            del self._recent[next(iter(self._recent))]

    async def _refuse(
        self,
        device_id: str,
        request_id: str,
        part: bytes | bytearray,
        changes: list[StoreChange],
    ) -> None:
        """A refusal says that nothing happened, so nothing may happen later: not even if a copy
        of the request comes after a restart.
        """
        try:
            await self._book.keep(*changes)
        except ConfigurationError:
            self._fail(device_id, request_id, FailureCode.BUSY)
        else:
            self._say(device_id, request_id, part)

    async def _pass_on(self, running: RunningRequest, changes: list[StoreChange]) -> None:
        try:
            await self._book.keep(*changes)
        except ConfigurationError:
            # No refusal, though nothing was done: nothing keeps a copy from being carried out.
            running.break_off(FailureCode.BUSY)
        else:
            running.begin()

    async def _answer_about_keys(
        self,
        device: ServedDevice,
        request_id: str,
        exchange: InstanceExchange,
        changes: list[StoreChange],
    ) -> None:
        device_id = device.row.device_id
        try:
            await self._book.keep(*changes)
            part = await self._key_desk.answer(device, exchange)
        except ConfigurationError:
            self._fail(device_id, request_id, FailureCode.BUSY)
        except (RemoteProtocolError, PairingError):
            self._fail(device_id, request_id, FailureCode.BROKEN)
        else:
            self._say(device_id, request_id, part)
        finally:
            device.key_requests -= 1

    # What is said without a request

    def _pass_over(self, device_id: str, request_id: str, part: SegmentPart | Credit) -> None:
        # Of a request that is over what was under way means nothing. But a device that gives the
        # same credit again waits for something, which then has been lost on the way.
        given = self._recent.get((device_id, request_id))
        repeated = given is not None and isinstance(part, Credit) and part.limit <= given
        if given is None or repeated:
            self._fail(device_id, request_id, FailureCode.BROKEN)
        elif isinstance(part, Credit):
            self._recent[device_id, request_id] = part.limit

    def _fail(self, device_id: str, request_id: str, code: FailureCode) -> None:
        self._say(device_id, request_id, Failure(code).encode())

    def _say(self, device_id: str, request_id: str, payload: bytes | bytearray) -> None:
        topic = format_response_topic(device_id, request_id)
        # A device that doesn't hear it asks again.
        self._place.turns.say(device_id, topic, payload).addErrback(lambda _: None)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        Deferred.fromCoroutine(work).addErrback(
            lambda failure: self._log.failure("a request could not be served", failure)
        )
