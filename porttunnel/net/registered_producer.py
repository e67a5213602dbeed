"""Who writes to a consumer: told to pause while what was written waits, and to go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["RegisteredProducer"]


class RegisteredProducer:
    """One producer at a time, of one consumer.

    :param reactor: time.
    :param call: calls the producer's code later on; its faults are the consumer's to judge.
    :ivar is_full: whether what was written has to wait.
    :ivar is_pulled: whether there is a pull producer, which is asked piece by piece.
    """

    __slots__ = ("_call", "_is_paused", "_producer", "_pull", "_reactor", "is_full", "is_pulled")

    def __init__(
        self, reactor: IReactorTime, call: Callable[[Callable[[], object]], None]
    ) -> None:
        self._reactor = reactor
        self._call = call
        self._producer: Any = None
        self._is_paused = False
        self._pull: IDelayedCall | None = None
        self.is_full = False
        self.is_pulled = False

    @property
    def is_there(self) -> bool:
        """Whether a producer is registered."""
        return self._producer is not None

    def register(self, producer: Any, streaming: bool, *, over: bool) -> None:
        """As ``IConsumer.registerProducer``: a push producer if ``streaming``, else a pull one.

        :param over: nothing can be written any more.
        :raises RuntimeError: there is one already.
        """
        if self._producer is not None:
            raise RuntimeError("a producer is registered already; unregister it first")
        if over:
            producer.stopProducing()
            return
        self._producer = producer
        self.is_pulled = not streaming
        self._is_paused = False
        if not streaming:
            if not self.is_full:
                producer.resumeProducing()
        elif self.is_full:
            self._is_paused = True
            producer.pauseProducing()

    def unregister(self) -> None:
        """As ``IConsumer.unregisterProducer``."""
        self._producer = None
        self.is_pulled = False

    def hold(self) -> None:
        """What was written has to wait."""
        self.is_full = True
        if self._producer is not None and not self.is_pulled and not self._is_paused:
            self._is_paused = True
            self._producer.pauseProducing()

    def go_on(self) -> None:
        """What waited has gone."""
        self.is_full = False
        if self.is_pulled or self._is_paused:
            self._is_paused = False
            self._resume()

    def pull_soon(self) -> None:
        """A pull producer has written, and nothing waits: it is asked again, in another turn."""
        if self._pull is None:
            self._pull = self._reactor.callLater(0, self._pull_now)

    def cancel_pull(self) -> None:
        """It is not asked any more."""
        if self._pull is not None:
            self._pull.cancel()
            self._pull = None

    def stop(self) -> None:
        """Nothing can be written any more: tell it."""
        self.cancel_pull()
        producer, self._producer = self._producer, None
        self.is_pulled = False
        if producer is not None:
            self._call(producer.stopProducing)

    def _pull_now(self) -> None:
        self._pull = None
        # A full consumer asks for more when it has room again.
        if self.is_pulled and not self.is_full:
            self._resume()

    def _resume(self) -> None:
        if self._producer is not None:
            self._call(self._producer.resumeProducing)
