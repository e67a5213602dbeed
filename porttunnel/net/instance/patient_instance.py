"""An instance whose first start takes as long as its gateway does.

A program that runs beside a web system may be started before its gateway is, or without a network.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from porttunnel.errors import GatewayError, GatewayRefused, GatewayUnreachable
from porttunnel.net.instance.device_record import DeviceRecord, Invitation, PushReport
from porttunnel.net.instance.instance import Instance

__all__ = ["PatientInstance"]

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0  # between tries; somebody may be setting the gateway up just now

FIRST_SERVER_ERROR = 500  # of HTTP: not our fault, and so perhaps over soon

_NOT_YET = "The agent is not registered at the gateway yet, and goes on trying: {reason}"
_STARTING = "it has only just begun."


class PatientInstance:
    """Has what an :class:`~porttunnel.net.instance.instance.Instance` has.

    :param reactor: time.
    :param make: a new instance, which is started once.
    """

    _log = Logger()

    def __init__(self, reactor: Any, make: Callable[[], Instance]) -> None:
        self._reactor = reactor
        self._make = make
        self._instance: Instance | None = None
        self._starting: Deferred[None] | None = None
        self._stopped = False
        self._reason = _STARTING

    def start(self) -> Deferred[None]:
        """Start the instance, again and again while the gateway can't be reached or is busy.

        :returns: fires once it runs, or is stopped; fails as ``Instance.start`` does for any other
            reason.
        """
        started: Deferred[None] = Deferred()
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(lambda failure: failure.trap(CancelledError) and None)
        self._starting.chainDeferred(started)
        return started

    async def stop(self) -> None:
        """See ``Instance.stop``."""
        self._stopped = True
        if self._starting is not None:
            self._starting.cancel()
            await self._starting
        instance, self._instance = self._instance, None
        if instance is not None:
            await instance.stop()

    @property
    def instance_id(self) -> str:
        """32 hex digits; empty as long as there are none."""
        return "" if self._instance is None else self._instance.instance_id

    @property
    def is_connected(self) -> bool:
        """Whether devices can reach us, for all we know."""
        return self._instance is not None and self._instance.is_connected

    async def invite(
        self, user: str, *, immediate: bool = False, expires_seconds: int = 600
    ) -> Invitation:
        """See ``Instance.invite``; :raises GatewayError: not registered yet."""
        return await self._demand().invite(
            user, immediate=immediate, expires_seconds=expires_seconds
        )

    async def enter_digits(self, device_id: str, text: str) -> Any:
        """See ``Instance.enter_digits``; :raises GatewayError: not registered yet."""
        return await self._demand().enter_digits(device_id, text)

    def devices(self) -> Sequence[DeviceRecord]:
        """See ``Instance.devices``."""
        return [] if self._instance is None else self._instance.devices()

    async def revoke(self, device_id: str) -> None:
        """See ``Instance.revoke``; :raises GatewayError: not registered yet."""
        await self._demand().revoke(device_id)

    async def mark_restored(self) -> None:
        """See ``Instance.mark_restored``; :raises GatewayError: not registered yet."""
        await self._demand().mark_restored()

    async def push(
        self,
        name: str,
        plaintext: bytes,
        devices: Sequence[str] | None = None,
        user: str | None = None,
    ) -> PushReport:
        """See ``Instance.push``; :raises GatewayError: not registered yet."""
        return await self._demand().push(name, plaintext, devices=devices, user=user)

    async def _start(self) -> None:
        wait = FIRST_WAIT_SECONDS
        while not self._stopped:
            instance = self._make()
            try:
                await instance.start()
            except (GatewayUnreachable, GatewayRefused) as error:
                least = _read_wait(error)
                self._reason = str(error)
                self._log.warn("not registered yet, trying again: {error}", error=self._reason)
            else:
                self._instance = instance
                return
            # Full jitter: a gateway that comes back is not asked by all in the same moment.
            jitter = random.uniform(0, wait)  # noqa: S311  # no secret
            await deferLater(self._reactor, least + jitter)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)

    def _demand(self) -> Instance:
        if self._instance is None:
            raise GatewayError(_NOT_YET.format(reason=self._reason))
        return self._instance


def _read_wait(error: GatewayUnreachable | GatewayRefused) -> float:
    """How many seconds the gateway wants to be left alone.

    :raises GatewayRefused: it will not do it later either.
    """
    if isinstance(error, GatewayUnreachable):
        return 0.0
    # Also what a proxy in front says while there is no gateway behind it.
    if error.status != HTTPStatus.TOO_MANY_REQUESTS and error.status < FIRST_SERVER_ERROR:
        raise error
    return min(error.retry_after_seconds or 0.0, LONGEST_WAIT_SECONDS)
