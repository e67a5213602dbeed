"""What the client's core reports: past-tense, frozen, in the order it happened.

``msgspec.Struct`` instead of dataclasses, because a busy client reports a hundred thousand
messages a second and a frozen dataclass costs ten times as much to make.
"""

from __future__ import annotations

import msgspec

from porttunnel.errors import BrokerRefused, MessagingError, PorttunnelError
from porttunnel.mqtt.property import Properties

__all__ = [
    "AuthenticationReceived",
    "Connected",
    "ConnectionFailed",
    "ConnectionLost",
    "ConnectionRefused",
    "Disconnected",
    "MessageReceived",
    "PublishFinished",
    "RequestFailed",
    "SubscribeFinished",
    "SubscriptionsRefused",
    "UnsubscribeFinished",
]


class Connected(msgspec.Struct, frozen=True):
    """The broker took us.

    :ivar session_present: it still has our session: subscriptions, and messages under way.
    :ivar client_id: ours, or the one that it assigned.
    :ivar properties: of its CONNACK.
    """

    session_present: bool
    client_id: str
    properties: Properties


class ConnectionRefused(msgspec.Struct, frozen=True):
    """The broker did not take us; the connection is to be closed.

    :ivar error: why; its reason is one of MQTT 5's in both versions.
    :ivar properties: of its CONNACK.
    """

    error: BrokerRefused
    properties: Properties


class Disconnected(msgspec.Struct, frozen=True):
    """The broker ended the connection, with a reason; only in MQTT 5.

    :ivar reason: of its DISCONNECT.
    :ivar properties: of its DISCONNECT, where it may name another server.
    """

    reason: int
    properties: Properties


class ConnectionFailed(msgspec.Struct, frozen=True):
    """The connection can't go on: it is dead, or the broker broke the protocol; or there is none.

    :ivar error: a :class:`~porttunnel.errors.LinkBroken` if a new connection mends it; a
        :class:`~porttunnel.errors.NotReachable` if none could be made, which the core doesn't
        know and only its shell tells; else a :class:`~porttunnel.errors.MqttError`.
    """

    error: PorttunnelError


class ConnectionLost(msgspec.Struct, frozen=True):
    """The connection is gone without a goodbye. What is not done waits for the next one."""


class AuthenticationReceived(msgspec.Struct, frozen=True):
    """The broker's step of an enhanced authentication (section 4.12).

    :ivar reason: 0x18, an answer is awaited; or 0, a re-authentication has succeeded.
    :ivar properties: of its AUTH, with the method's data.
    """

    reason: int
    properties: Properties


class MessageReceived(msgspec.Struct, frozen=True):
    """A message came. It counts as unfinished until the core's ``finish`` is called with it.

    :ivar delivery: the number that ``finish`` wants.
    :ivar topic: in full, also where the broker sent an alias.
    :ivar payload: a copy, to keep.
    :ivar qos: as it was sent to us.
    :ivar retain: the broker had kept it from before (or, as published, with that wish).
    :ivar duplicate: it may have been delivered before; only at QoS 1.
    :ivar properties: of its PUBLISH.
    """

    delivery: int
    topic: str
    payload: bytes
    qos: int
    retain: bool
    duplicate: bool
    properties: Properties

    def __repr__(self) -> str:
        # What people say to each other does not belong in logs.
        return (
            f"MessageReceived(delivery={self.delivery}, topic={self.topic!r}, "
            f"payload=<{len(self.payload)} bytes>, qos={self.qos})"
        )


class PublishFinished(msgspec.Struct, frozen=True):
    """A message is on its way (QoS 0), or the broker has it (QoS 1 and 2).

    :ivar token: what ``publish`` returned.
    :ivar reason: below 0x80; "no matching subscribers" is one.
    """

    token: int
    reason: int
    properties: Properties


class SubscribeFinished(msgspec.Struct, frozen=True):
    """The broker answered for each filter, in their order; some may be refused.

    :ivar token: what ``subscribe`` returned.
    :ivar reasons: the granted QoS, or 0x80 and above.
    """

    token: int
    reasons: tuple[int, ...]
    properties: Properties


class UnsubscribeFinished(msgspec.Struct, frozen=True):
    """The broker answered for each filter, in their order.

    :ivar token: what ``unsubscribe`` returned.
    :ivar reasons: one for each filter; all 0 in MQTT 3.1.1, which tells none.
    """

    token: int
    reasons: tuple[int, ...]
    properties: Properties


class RequestFailed(msgspec.Struct, frozen=True):
    """What a token stands for was not done.

    :ivar token: what ``publish``, ``subscribe`` or ``unsubscribe`` returned.
    """

    token: int
    error: MessagingError


class SubscriptionsRefused(msgspec.Struct, frozen=True):
    """The broker lost the session and does not grant again what it had granted.

    :ivar filters: those that are no longer subscribed to.
    """

    filters: tuple[str, ...]
