"""An outbox that makes those wait who fill it faster than it empties.

The policy chooses what happens (``policy.SlowConsumer``): nothing here, a pause of its publishers,
or its end. A pause has a deadline, because two clients that publish to each other, both paused,
could wait for each other's acknowledgements for ever.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from porttunnel.mqtt.outbox import Outbox
from porttunnel.mqtt.policy import Profile, SlowConsumer
from porttunnel.mqtt.reason import ReasonCode

__all__ = ["PacedOutbox"]


class PacedOutbox(Outbox, ABC):
    """See the module.

    :ivar pauses: how many others make this connection's client wait.
    :ivar stalled_at: when this one is cut if it has not caught up, or None if nobody waits.
    """

    __slots__ = ("_held_up", "pauses", "stalled_at")

    def __init__(self, ready: list[Outbox]) -> None:
        super().__init__(ready)
        self.pauses = 0
        self.stalled_at: float | None = None
        self._held_up: set[PacedOutbox] | None = None

    @abstractmethod
    def cut(self, reason: ReasonCode, now: float, *, with_will: bool = True) -> None:
        """End the connection, as the server's wish.

        :param with_will: whether the client's will is published, or forgotten.
        """

    def overrun(self, publisher: PacedOutbox | None, profile: Profile, now: float) -> None:
        """More came than this connection can take.

        :param publisher: through whose doing, or None if nobody can be made to wait.
        :param profile: of this connection.
        """
        if profile.slow_consumer is SlowConsumer.CUT:
            self.cut(ReasonCode.QUOTA_EXCEEDED, now)
        elif publisher is not None and publisher is not self:
            if self._held_up is None:
                self._held_up = set()
                self.stalled_at = now + profile.stall_seconds
                self.touch()  # it has a deadline now
            if publisher not in self._held_up:
                self._held_up.add(publisher)
                publisher.pauses += 1

    def relieve(self) -> None:
        """It has caught up, or is gone: nobody waits for it any more."""
        if self._held_up is not None:
            for publisher in self._held_up:
                publisher.pauses -= 1
                publisher.touch()
            self._held_up = None
            self.stalled_at = None
