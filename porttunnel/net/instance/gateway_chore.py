"""What the gateway has yet to be told: devices whose pairing is done, and those that are none any
more. It is told until it has understood, also after a restart.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from porttunnel.errors import GatewayRefused, PorttunnelError
from porttunnel.net.instance.device_book import DeviceBook
from porttunnel.net.instance.store import DeviceErased, RemovalFinished

__all__ = ["GatewayChores"]

FIRST_DELAY_SECONDS = 5.0  # until it is tried again
MAX_DELAY_SECONDS = 300.0

_NOT_FOUND = 404


class GatewayChores:
    """See the module.

    :param reactor: time.
    :param confirm: tells the gateway that a device's pairing is done.
    :param remove: lets it remove a device.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        book: DeviceBook,
        confirm: Callable[[str], Awaitable[None]],
        remove: Callable[[str], Awaitable[None]],
    ) -> None:
        self._reactor = reactor
        self._book = book
        self._confirm = confirm
        self._remove = remove
        self._running: Deferred[None] | None = None
        self._again: IDelayedCall | None = None
        self._is_wanted = False
        self._delay_seconds = FIRST_DELAY_SECONDS

    def begin(self) -> None:
        """Tell what there is, now."""
        self._is_wanted = True
        if self._running is None:
            self._cancel_delay()
            running = self._running = Deferred.fromCoroutine(self._run())
            running.addErrback(lambda failure: failure.trap(CancelledError))
            running.addErrback(
                lambda failure: self._log.failure("the gateway was not told", failure)
            )
            running.addBoth(self._finish)

    def stop(self) -> None:
        """Try no more."""
        self._is_wanted = False
        if self._running is not None:
            self._running.cancel()
        self._cancel_delay()

    async def _run(self) -> None:
        while self._is_wanted:
            self._is_wanted = False
            if await self._tell_all():
                self._delay_seconds = FIRST_DELAY_SECONDS
            else:
                self._again = self._reactor.callLater(self._delay_seconds, self._begin_again)
                self._delay_seconds = min(MAX_DELAY_SECONDS, 2 * self._delay_seconds)
                return

    async def _tell_all(self) -> bool:
        """Whether it has understood all."""
        confirmations = [
            device.row.device_id
            for device in self._book
            if device.row.paired and not (device.row.is_confirmed or device.row.has_left)
        ]
        steps = [partial(self._confirm_one, device_id) for device_id in confirmations]
        steps += [partial(self._remove_one, one) for one in sorted(self._book.removals)]
        understood = True
        for step in steps:
            try:
                await step()
            except PorttunnelError as error:
                self._log.info("the gateway was not told yet: {error}", error=error)
                understood = False
                # Refused is one; the others may do better. Of a gateway that isn't there all wait.
                if not isinstance(error, GatewayRefused):
                    break
        return understood

    async def _confirm_one(self, device_id: str) -> None:
        known = await self._ask(self._confirm(device_id))
        device = self._book.find(device_id)
        if device is None:
            return
        # In its turn, and as it is by then: a step of its pairing must not be undone.
        await device.line.acquire()
        try:
            if not device.is_erased:
                row = replace(device.row, is_confirmed=True, has_left=not known)
                await self._book.write(device, row)
        finally:
            device.line.release()

    async def _remove_one(self, device_id: str) -> None:
        await self._ask(self._remove(device_id))
        # Once more that it is erased: when it was, that may not have been written.
        await self._book.keep(DeviceErased(device_id), RemovalFinished(device_id))
        self._book.removals.discard(device_id)

    async def _ask(self, asking: Awaitable[None]) -> bool:
        """Whether it knows the device."""
        try:
            await asking
        except GatewayRefused as error:
            if error.status != _NOT_FOUND:
                raise
            return False
        return True

    def _begin_again(self) -> None:
        self._again = None
        self.begin()

    def _finish(self, _: object) -> None:
        self._running = None
        if self._is_wanted:
            self.begin()

    def _cancel_delay(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None
