"""SUBSCRIBE and UNSUBSCRIBE: what a session is granted, and which retained messages that brings.

Source: MQTT 5.0, sections 3.8 to 3.11; MQTT 3.1.1, sections 3.8 to 3.11.
"""

from __future__ import annotations

from collections.abc import Iterator

from porttunnel.errors import MqttError
from porttunnel.mqtt.exchange import Exchange
from porttunnel.mqtt.message import Delivery, Message, deliver_as
from porttunnel.mqtt.packet import RetainHandling, Subscribe, Subscription, Unsubscribe
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.session import HeldSubscription, Session
from porttunnel.mqtt.subscription import Interest
from porttunnel.mqtt.topic import check_filter, has_wildcard, split_shared

__all__ = ["RetainedOrder", "subscribe", "unsubscribe"]

_GRANTED = (ReasonCode.GRANTED_QOS_0, ReasonCode.GRANTED_QOS_1, ReasonCode.GRANTED_QOS_2)


class RetainedOrder:
    """The retained messages that a granted subscription brings.

    :param pattern: of the subscription, inside the broker.
    :param number: of the last message that was retained before it.
    :param interest: as granted.
    """

    __slots__ = ("_interest", "_number", "_pattern")

    def __init__(self, pattern: str, number: int, interest: Interest[Session]) -> None:
        self._pattern = pattern
        self._number = number
        self._interest = interest

    def send(self, exchange: Exchange, now: float) -> None:
        """Let the session send them as there is room."""
        steps = exchange.retained.look_for(self._pattern, self._number, now)
        deliveries = _Deliveries(exchange, self._interest, steps)
        self._interest.subscriber.deliver_retained(deliveries, now)


class _Deliveries(Iterator[Delivery | None]):
    """Makes deliveries of retained messages as they are found; None: it goes on looking later.

    No generator: that would hold the last message as long as nobody asks for another.
    """

    __slots__ = ("_exchange", "_interest", "_steps")

    def __init__(
        self, exchange: Exchange, interest: Interest[Session], steps: Iterator[Message | None]
    ) -> None:
        self._exchange = exchange
        self._interest = interest
        self._steps = steps

    def __next__(self) -> Delivery | None:
        exchange, interest = self._exchange, self._interest
        session = interest.subscriber
        while exchange.search.take_step(session):
            message = next(self._steps)
            if message is None:
                continue
            seen = exchange.routes.seen(session.client, message.topic)
            if session.outbox is None:
                break  # the policy, asked about the topic, has sent the client away
            if seen is not None:
                identifiers = () if interest.identifier is None else (interest.identifier,)
                return deliver_as(message, min(message.qos, interest.qos), True, seen, identifiers)
        return None


def subscribe(
    exchange: Exchange, session: Session, packet: Subscribe
) -> tuple[tuple[ReasonCode, ...], list[RetainedOrder]]:
    """Grant what may be granted; no more once the policy has sent the client away.

    :returns: a reason for each filter, in their order, and what is to be sent after SUBACK.
    :raises MqttError: a filter is none.
    """
    reasons: list[ReasonCode] = []
    # By the filter: who says the same one several times gets them once.
    orders: dict[str, RetainedOrder] = {}
    identifiers = packet.properties.subscription_identifiers
    identifier = identifiers[0] if identifiers else None
    outbox = session.outbox
    most = session.profile.max_subscriptions
    for wanted in packet.subscriptions[:most]:
        group, pattern = split_shared(wanted.filter)
        check_filter(pattern)
        reason = _refusal(session, wanted, group, identifier)
        if reason is None:
            granted = exchange.policy.authorise_subscribe(session.client, wanted)
            if session.outbox is not outbox:
                break
            reason, order = _grant(exchange, session, wanted, granted, identifier)
            if order is not None:
                orders[wanted.filter] = order
        reasons.append(reason)
    # No more are looked at than it may have: a packet may hold a hundred thousand.
    reasons += [ReasonCode.QUOTA_EXCEEDED] * (len(packet.subscriptions) - most)
    return tuple(reasons), list(orders.values())


def unsubscribe(
    exchange: Exchange, session: Session, packet: Unsubscribe
) -> tuple[ReasonCode, ...]:
    """Forget subscriptions; a reason for each filter, in their order."""
    reasons: list[ReasonCode] = []
    for text in packet.filters:
        held = session.subscriptions.pop(text, None)
        if held is None:
            reasons.append(ReasonCode.NO_SUBSCRIPTION_EXISTED)
        else:
            exchange.tree.remove(held.group, held.pattern, session)
            reasons.append(ReasonCode.SUCCESS)
    return tuple(reasons)


def _refusal(
    session: Session, wanted: Subscription, group: str | None, identifier: int | None
) -> ReasonCode | None:
    """What the session may not have at all."""
    profile = session.profile
    if group is not None and not profile.shared_available:
        return ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
    if identifier is not None and not profile.identifiers_available:
        return ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED
    if has_wildcard(wanted.filter) and not profile.wildcards_available:
        return ReasonCode.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED
    known = wanted.filter in session.subscriptions
    if not known and len(session.subscriptions) >= profile.max_subscriptions:
        return ReasonCode.QUOTA_EXCEEDED
    return None


def _grant(
    exchange: Exchange,
    session: Session,
    wanted: Subscription,
    granted: Subscription | ReasonCode,
    identifier: int | None,
) -> tuple[ReasonCode, RetainedOrder | None]:
    if isinstance(granted, ReasonCode):
        return granted, None
    group, pattern = split_shared(granted.filter)
    interest = Interest(
        session,
        min(granted.qos, wanted.qos, session.profile.max_qos),
        wanted.no_local,
        wanted.retain_as_published,
        identifier,
    )
    before = session.subscriptions.get(wanted.filter)
    try:
        exchange.tree.add(group, pattern, interest)
    except MqttError as error:
        return ReasonCode(error.reason), None
    if before is not None and (before.group, before.pattern) != (group, pattern):
        exchange.tree.remove(before.group, before.pattern, session)
    session.subscriptions[wanted.filter] = HeldSubscription(group, pattern, interest)
    order: RetainedOrder | None = None
    handling = wanted.retain_handling
    if (
        group is None
        and session.profile.retain_available
        and handling != RetainHandling.DO_NOT_SEND
        and not (handling == RetainHandling.SEND_IF_NEW and before is not None)
    ):
        order = RetainedOrder(pattern, exchange.retained.number, interest)
    return _GRANTED[interest.qos], order
