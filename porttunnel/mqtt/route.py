"""Where the messages of a topic go, worked out once and kept until a subscription changes.

Source: MQTT 5.0, sections 3.3.4, 3.8.4 and 4.8.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from porttunnel.mqtt.message import Delivery, Message, deliver_as
from porttunnel.mqtt.outgoing import Outcome
from porttunnel.mqtt.policy import Client, checked_topic
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.session import Session
from porttunnel.mqtt.subscription import Interest, SharedGroup, SubscriptionTree

__all__ = ["Reach", "Route", "RouteBook", "Target"]

MAX_ROUTES = 4_096  # kept at a time
MAX_KEPT_TARGETS = 262_144  # in all of them: 8 bytes each at least
MAX_TRIES = 64  # members of a group that are asked whether they take a message
MAX_KEPT_TOPIC = 1_024  # characters; who uses longer ones pays for it each time

_SENT, _QUEUED, _DROPPED = Outcome.SENT, Outcome.QUEUED, Outcome.DROPPED


class Target(msgspec.Struct, frozen=True, eq=False):
    """One session that gets the messages of a topic, all its subscriptions that match in one.

    :ivar qos: the highest of them.
    :ivar no_local: one of them says so: then :attr:`own` holds for the session's own messages.
    :ivar retain_as_published: one of them says so.
    :ivar topic: that this client sees.
    :ivar is_special: it may need another packet than others do.
    """

    session: Session
    qos: int
    no_local: bool
    retain_as_published: bool
    identifiers: tuple[int, ...]
    topic: str
    own: Target | None
    is_special: bool


class Reach(msgspec.Struct):
    """Whom a message reached.

    :ivar taken: how many sessions were sent it, or keep it.
    :ivar dropped: how many had no room for it.
    """

    taken: int = 0
    dropped: int = 0


class Route:
    """Where the messages of one topic go, as of one generation of the subscriptions.

    :ivar encoded: the topic as bytes.
    :ivar is_plain: all targets get the same packet, apart from the packet identifier.
    """

    __slots__ = (
        "__weakref__",
        "_groups",
        "_pressed",
        "_seen",
        "_targets",
        "_tree",
        "encoded",
        "generation",
        "is_plain",
        "topic",
    )

    def __init__(
        self,
        topic: str,
        targets: tuple[Target, ...],
        groups: tuple[SharedGroup[Session], ...],
        book: RouteBook,
        generation: int,
    ) -> None:
        self.topic = topic
        self.encoded = topic.encode()
        self.generation = generation
        self._targets = targets
        self._groups = groups
        self._seen = book.seen
        self._tree = book.tree
        self._pressed = book.pressed
        self.is_plain = not groups and not any(target.is_special for target in targets)

    def __len__(self) -> int:
        return len(self._targets) + len(self._groups)

    def pass_on(
        self, packets: bytes, packet_bytes: int, version: int, reach: Reach
    ) -> Sequence[Target] | None:
        """Send QoS 0 packets as they came in; only on a plain route.

        :param packets: one or more, one after the other, all of this size, without properties.
        :param version: of these packets.
        :returns: None if somebody got them, and nobody wants for them; otherwise who needs them in
            another form, or has no room for all of them, to whom nothing was sent
            (:meth:`deliver_to`), or nobody.
        """
        others: list[Target] = []
        size = len(packets)
        taken = 0
        for target in self._targets:
            outbox = target.session.outbox
            if outbox is None:
                continue
            if (
                outbox.plain_version != version
                or outbox.waiting_bytes + size > outbox.high_bytes
                or packet_bytes > outbox.packet_limit
            ):
                others.append(target)
                continue
            outbox.pieces.append(packets)
            outbox.waiting_bytes += size
            if not outbox.is_ready:
                outbox.touch()
            taken += 1
        if taken:
            reach.taken += taken if size == packet_bytes else taken * (size // packet_bytes)
            return others or None
        return others

    def pass_one_on(
        self, delivery: Delivery, version: int, head: bytes, tail: bytes, reach: Reach
    ) -> Sequence[Target]:
        """Send a QoS 1 message in the packet that it came in; only on a plain route.

        The arguments are those of :meth:`Outgoing.pass_on`.

        :returns: who needs another packet, or has to wait for it, to whom nothing was sent
            (:meth:`deliver_to`).
        """
        others: list[Target] = []
        for target in self._targets:
            session = target.session
            if (
                target.qos
                and not session.is_watched
                and session.pass_on(delivery, version, head, tail)
            ):
                reach.taken += 1
            else:
                others.append(target)
        return others

    def deliver(
        self, message: Message, publisher: Session | None, reach: Reach, now: float
    ) -> None:
        """Send a message to all, or keep it for them.

        :param publisher: whose own subscriptions may say that they don't want it.
        :param reach: is counted up.
        """
        self.deliver_to(self._targets, message, publisher, reach, now)
        for group in self._groups:
            self._deliver_shared(group, message, reach, now)

    def deliver_to(
        self,
        targets: Iterable[Target],
        message: Message,
        publisher: Session | None,
        reach: Reach,
        now: float,
    ) -> None:
        """As :meth:`deliver`, for some of the targets."""
        shared: dict[int, Delivery] = {}
        for target in targets:
            session = target.session
            if target.is_special:
                if target.no_local and session is publisher:
                    if target.own is None:
                        continue
                    target = target.own
                delivery = self._special(message, target)
            else:
                qos = message.qos if message.qos < target.qos else target.qos
                known = shared.get(qos)
                if known is None:
                    known = shared[qos] = deliver_as(message, qos, False, self.topic, ())
                delivery = known
            outcome = session.deliver(delivery, now)
            if outcome is _SENT and not session.is_watched:
                reach.taken += 1
            else:
                self._count(session, outcome, reach)

    def _special(self, message: Message, target: Target) -> Delivery:
        return deliver_as(
            message,
            min(message.qos, target.qos),
            message.retain and target.retain_as_published,
            target.topic,
            target.identifiers,
        )

    def _count(self, session: Session, outcome: Outcome, reach: Reach) -> bool:
        """Whether the session has taken the message."""
        if outcome is _SENT or outcome is _QUEUED:
            reach.taken += 1
            if session.pauses_publishers and session.is_pressed:
                self._pressed.append(session)
            return True
        if outcome is _DROPPED:
            reach.dropped += 1
            if session.is_watched:
                self._pressed.append(session)
        return False

    def _give(
        self,
        interest: Interest[Session],
        message: Message,
        made: dict[tuple[int, bool, str, int | None], Delivery] | None,
        reach: Reach,
        now: float,
    ) -> bool:
        """A message of a shared subscription for one member; whether it has taken it.

        :param made: what was made for others that get it in the same way; None: this is the first.
        """
        session = interest.subscriber
        qos = message.qos if message.qos < interest.qos else interest.qos
        if not qos and session.outbox is None:
            return False
        seen = self._seen(session.client, self.topic)
        if seen is None:
            return False
        retain = message.retain and interest.retain_as_published
        key = (qos, retain, seen, interest.identifier)
        delivery = None if made is None else made.get(key)
        if delivery is None:
            identifiers = () if interest.identifier is None else (interest.identifier,)
            delivery = deliver_as(message, qos, retain, seen, identifiers)
            if made is not None:
                made[key] = delivery
        return self._count(session, session.deliver(delivery, now), reach)

    def _deliver_shared(
        self, group: SharedGroup[Session], message: Message, reach: Reach, now: float
    ) -> None:
        """To one member: the next that is there and not behind, or else the next at all."""
        arrivals = self._tree.arrivals
        tries = MAX_TRIES
        while tries and (interest := group.take_turn(arrivals)) is not None:
            session = interest.subscriber
            if session.outbox is None:
                group.put_aside(session)
            elif session.is_behind:
                tries -= 1
            elif self._give(interest, message, None, reach, now):
                return
            else:
                break
        else:
            if tries == MAX_TRIES and not message.qos:
                return  # nobody is there
        made: dict[tuple[int, bool, str, int | None], Delivery] = {}
        for _ in range(min(len(group), MAX_TRIES)):
            if group and self._give(group.take_any_turn(), message, made, reach, now):
                return


class RouteBook:
    """The routes of all topics that were used lately.

    :param tree: the subscriptions.
    :param view: the policy's topic that a client sees for one inside the broker.
    :ivar pressed: sessions that could not keep up with what was delivered; whoever delivers
        looks at it and empties it.
    """

    __slots__ = ("_kept_targets", "_routes", "_view", "generation", "pressed", "tree")

    def __init__(
        self, tree: SubscriptionTree[Session], view: Callable[[Client, str], str]
    ) -> None:
        self.tree = tree
        self._view = view
        self.pressed: list[Session] = []
        self._routes: dict[str, Route] = {}
        self._kept_targets = 0
        self.generation = tree.generation

    def find(self, topic: str) -> Route:
        """Where the messages of a topic go now."""
        generation = self.tree.generation
        if generation != self.generation or self._kept_targets > MAX_KEPT_TARGETS:
            self._routes.clear()
            self._kept_targets = 0
            self.generation = generation
        route = self._routes.get(topic)
        if route is None:
            route = self._build(topic, generation)
            if len(topic) <= MAX_KEPT_TOPIC:
                if len(self._routes) >= MAX_ROUTES:
                    self._routes.clear()
                    self._kept_targets = 0
                self._routes[topic] = route
                self._kept_targets += len(route)
        return route

    def seen(self, client: Client, topic: str) -> str | None:
        """The topic that a client sees for one inside the broker; None if it can't be sent."""
        answer = self._view(client, topic)
        if answer is topic:
            return topic  # so it is nearly always
        checked = checked_topic(answer, topic)
        return None if isinstance(checked, ReasonCode) else checked

    def forget(self) -> None:
        """Work out all routes anew: the policy sees something in another way."""
        self.tree.generation += 1

    def _build(self, topic: str, generation: int) -> Route:
        interests, groups = self.tree.match(topic)
        if len(interests) == 1:
            # Most topics have one subscriber, and many are used once.
            only = self._only_target(topic, interests[0])
            return Route(topic, () if only is None else (only,), tuple(groups), self, generation)
        by_session: dict[Session, list[Interest[Session]]] = {}
        for interest in interests:
            by_session.setdefault(interest.subscriber, []).append(interest)
        targets = tuple(
            target
            for session, found in by_session.items()
            if (target := self._target(topic, session, found)) is not None
        )
        return Route(topic, targets, tuple(groups), self, generation)

    def _only_target(self, topic: str, interest: Interest[Session]) -> Target | None:
        session = interest.subscriber
        if interest.is_simple and self.seen(session.client, topic) == topic:
            return Target(session, interest.qos, False, False, (), topic, None, False)
        return self._target(topic, session, [interest])

    def _target(
        self, topic: str, session: Session, found: list[Interest[Session]]
    ) -> Target | None:
        seen = self.seen(session.client, topic)
        if seen is None:
            return None
        others = [interest for interest in found if not interest.no_local]
        no_local = len(others) < len(found)
        retain_as_published = any(interest.retain_as_published for interest in found)
        known = sorted(each.identifier for each in found if each.identifier is not None)
        return Target(
            session,
            max(interest.qos for interest in found),
            no_local,
            retain_as_published,
            tuple(known),
            seen,
            self._target(topic, session, others) if no_local and others else None,
            bool(no_local or retain_as_published or known or seen != topic),
        )
