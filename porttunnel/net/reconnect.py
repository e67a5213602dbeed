"""Makes a lost connection anew, patiently: at once, then less and less often.

Source: docs/session-protocol, section 7.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import SystemRandom

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from porttunnel.errors import PorttunnelError

__all__ = ["Reconnector", "draw_delay"]

FIRST_DELAY_SECONDS = 0.05  # a cut connection is back before a person notices
MAX_DELAY_SECONDS = 15.0  # a server that comes back serves everybody within that time
LIVING_SECONDS = 1.0  # a connection that ends before is one that somebody keeps ending
MAX_FAILURES_AFTER_SUCCESS = 3  # then up to 0.4 s: not forty tries a second

_random = SystemRandom()


def draw_delay(failures: int, random: Callable[[], float]) -> float:
    """How long to wait before the next try.

    :param failures: tries that failed since the last success.
    :param random: 0 to 1; all of the delay is drawn, so that a thousand clients don't come back
        in step ("full jitter").
    :returns: seconds.
    """
    return random() * min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(failures, 16))


class Reconnector:
    """Tries until it is told to stop.

    :param reactor: time.
    :param connect: makes one try; raises a ``PorttunnelError`` if it failed.
    :param random: 0 to 1.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        connect: Callable[[], Awaitable[None]],
        random: Callable[[], float] = _random.random,
    ) -> None:
        self._reactor = reactor
        self._connect = connect
        self._random = random
        self._failures = 0
        self._succeeded_at: float | None = None  # the connection that is lost next was of use
        self._trying: Deferred[None] | None = None

    def begin(self, not_before_seconds: float = 0.0) -> None:
        """The connection is gone.

        :param not_before_seconds: the server asked to wait so long; it has jittered that.
        """
        self.stop()
        succeeded_at, self._succeeded_at = self._succeeded_at, None
        if succeeded_at is not None and self._reactor.seconds() - succeeded_at >= LIVING_SECONDS:
            self._failures = 0
        self._trying = Deferred.fromCoroutine(self._try(not_before_seconds))
        self._trying.addErrback(lambda failure: failure.trap(CancelledError))
        self._trying.addErrback(lambda failure: self._log.failure("reconnecting failed", failure))

    def succeed(self) -> None:
        """The new connection is good for use: the next loss finds fresh patience, or at least
        more of it, if the connection doesn't live long.
        """
        self._failures = min(self._failures, MAX_FAILURES_AFTER_SUCCESS)
        self._succeeded_at = self._reactor.seconds()

    def stop(self) -> None:
        """Try no more."""
        trying, self._trying = self._trying, None
        if trying is not None:
            trying.cancel()

    async def _try(self, seconds: float) -> None:
        while True:
            delay = seconds + draw_delay(self._failures, self._random)
            await deferLater(self._reactor, delay)
            seconds = 0.0
            self._failures += 1
            try:
                await self._connect()
            except PorttunnelError as error:
                self._log.debug("no connection yet: {error}", error=error)
            else:
                # Not kept: what comes after this is the connection's business.
                self._trying = None
                return
