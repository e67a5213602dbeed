"""One client's session: what outlives its connections.

Its messages to the client are in :mod:`porttunnel.mqtt.outgoing`; here is whose it is, what it has
subscribed to, its will, and how long it lasts. Source: MQTT 5.0, sections 3.1.2.5, 3.1.2.11.2 and
4.1.
"""

from __future__ import annotations

import msgspec

from porttunnel.errors import MqttError
from porttunnel.mqtt.keeping import ID_BYTES
from porttunnel.mqtt.message import Message, make_message
from porttunnel.mqtt.outgoing import HeldBytes, Outgoing
from porttunnel.mqtt.packet import Will
from porttunnel.mqtt.policy import Client, Profile, SlowConsumer
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.subscription import Interest

__all__ = ["HeldSubscription", "PendingWill", "Session"]


class PendingWill(msgspec.Struct, frozen=True, eq=False):
    """A will, where the policy lets it go.

    :ivar topic: inside the broker.
    :ivar will: the client's.
    """

    topic: str
    will: Will

    @property
    def cost(self) -> int:
        """Bytes in memory, about."""
        return self.made(0.0).cost

    def made(self, now: float) -> Message:
        """The message; its time begins to run now."""
        will = self.will
        return make_message(
            self.topic, will.payload, will.qos, will.retain, will.properties, now=now
        )


class HeldSubscription(msgspec.Struct, frozen=True, eq=False):
    """A subscription as its session keeps it, by the filter that the client knows."""

    group: str | None
    pattern: str
    interest: Interest[Session]


class Session(Outgoing):
    """See the module.

    :param name: what it is found by.
    :param client: whose it is, as of its latest connection.
    :param profile: of its latest connection.
    :param all_held: what the messages of all sessions take.
    :ivar incoming: packet ids of QoS 2 messages from the client that are not released yet; only
        looked at by others. No set: that takes three times as much memory while there is none, as
        mostly.
    :ivar subscriptions: by the client's filter.
    :ivar expiry_seconds: how long it is kept without a connection.
    :ivar expires_at: when it ends, or None while it has a connection or is kept for ever.
    :ivar timer: when it is to be seen to, and the timer's number; or None.
    :ivar will_delay_seconds: how long after that.
    :ivar will_due: when, once it is known.
    :ivar is_watched: whether something is to happen when it can't keep up.
    :ivar pauses_publishers: whether that is to make its publishers wait.
    """

    __slots__ = (
        "_will",
        "_will_cost",
        "client",
        "expires_at",
        "expiry_seconds",
        "incoming",
        "is_watched",
        "name",
        "pauses_publishers",
        "subscriptions",
        "timer",
        "will_delay_seconds",
        "will_due",
    )

    def __init__(self, name: str, client: Client, profile: Profile, all_held: HeldBytes) -> None:
        super().__init__(profile, all_held)
        self.take_over(client, profile)
        self.name = name
        self.incoming: dict[int, None] = {}
        self.subscriptions: dict[str, HeldSubscription] = {}
        self.expiry_seconds = 0.0
        self.expires_at: float | None = None
        self.timer: tuple[float, int] | None = None
        self._will: PendingWill | None = None
        self._will_cost = 0
        self.will_delay_seconds = 0.0
        self.will_due: float | None = None

    @property
    def will(self) -> PendingWill | None:
        """What is published if its connection ends badly, or None; charged to all sessions."""
        return self._will

    @will.setter
    def will(self, will: PendingWill | None) -> None:
        cost = 0 if will is None else will.cost
        self._all_held.held += cost - self._will_cost
        self._will, self._will_cost = will, cost

    def take_over(self, client: Client, profile: Profile) -> None:
        """Another connection, perhaps with other rights, is the client's from now on."""
        self.client = client
        self.profile = profile
        self.is_watched = profile.slow_consumer is not SlowConsumer.DROP
        self.pauses_publishers = profile.slow_consumer is SlowConsumer.PAUSE

    def may_note(self) -> bool:
        """Whether there is room for another of :attr:`incoming`.

        :raises MqttError: the client has as many under way as it may.
        """
        if len(self.incoming) >= self.profile.receive_maximum:
            raise MqttError(
                "more QoS 2 messages are under way than is allowed",
                ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
            )
        return self._all_held.has_room(ID_BYTES, ID_BYTES * len(self.incoming))

    def note(self, packet_id: int) -> None:
        """A QoS 2 message has come, and is one of :attr:`incoming` now."""
        self.incoming[packet_id] = None
        self._all_held.held += ID_BYTES

    def release(self, packet_id: int) -> bool:
        """The client will not send it again; whether it was known."""
        if packet_id not in self.incoming:
            return False
        del self.incoming[packet_id]
        self._all_held.held -= ID_BYTES
        return True

    def discard(self) -> None:
        super().discard()
        self._all_held.held -= ID_BYTES * len(self.incoming)
        self.incoming.clear()
