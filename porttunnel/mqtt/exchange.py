"""What all connections of a broker share: sessions, subscriptions, retained messages, publishing.

Source: MQTT 5.0, sections 3.1.2.5, 3.1.4, 3.3 and 4.1.
"""

from __future__ import annotations

import heapq
from itertools import count

import msgspec

from porttunnel.errors import MqttError
from porttunnel.mqtt.message import Message
from porttunnel.mqtt.outbox import Outbox
from porttunnel.mqtt.outgoing import HeldBytes
from porttunnel.mqtt.paced_outbox import PacedOutbox
from porttunnel.mqtt.policy import Client, Policy
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.retained import RetainedStore
from porttunnel.mqtt.route import Reach, RouteBook
from porttunnel.mqtt.search import PACKETS, STEPS, Search
from porttunnel.mqtt.session import Session
from porttunnel.mqtt.subscription import SubscriptionTree
from porttunnel.mqtt.token_bucket import TokenBucket

__all__ = ["Counters", "Draining", "Exchange", "reason_of"]

FOR_EVER_SECONDS = 0xFFFFFFFF  # this session expiry interval means never
SPARE_TIMERS = 64  # of ended sessions, before the others are counted out: 100 bytes each


class Counters(msgspec.Struct):
    """What happened since the broker began.

    :ivar connects: CONNECT packets, with those that were refused.
    :ivar refusals: of them.
    :ivar failures: connections that ended because the client broke the protocol.
    :ivar messages_received: PUBLISH packets that were read, of all kinds.
    :ivar reach: messages that were sent to, or kept for, a subscriber, and those for which it had
        no room; each once for every subscriber.
    :ivar bytes_received: MQTT's own, without what carries it.
    :ivar bytes_sent: likewise.
    """

    connects: int = 0
    refusals: int = 0
    failures: int = 0
    messages_received: int = 0
    reach: Reach = msgspec.field(default_factory=Reach)
    bytes_received: int = 0
    bytes_sent: int = 0


class Draining(msgspec.Struct, frozen=True):
    """The broker sends everybody away.

    :ivar reason: said to those who are connected.
    :ivar server_reference: where they are to go, or None.
    :ivar with_wills: whether their wills are published.
    """

    reason: ReasonCode
    server_reference: str | None
    with_wills: bool


class Exchange:
    """See the module.

    :param policy: whose rules hold.
    :param now: seconds, monotonic.
    :ivar now: when something came in last, for those who are not told the time.
    :ivar ready: connections that the shell is to look at.
    :ivar connections: those that have not ended.
    :ivar search: among the retained messages.
    :ivar packets: that are not plain; how many are looked at at a time.
    """

    def __init__(self, policy: Policy, now: float) -> None:
        self.policy = policy
        self.now = now
        self.bounds = bounds = policy.bounds
        self.tree: SubscriptionTree[Session] = SubscriptionTree(bounds.max_subscription_bytes)
        self.routes = RouteBook(self.tree, policy.delivery_topic)
        self.retained = RetainedStore(bounds.max_retained_bytes)
        self.search = Search(STEPS)
        self.packets = Search(PACKETS)
        self.held = HeldBytes(bounds.max_queued_bytes)
        self.sessions: dict[str, Session] = {}
        self.counters = Counters()
        self.ready: list[Outbox] = []
        self.connections: set[PacedOutbox] = set()
        self.draining: Draining | None = None
        self._connects: TokenBucket | None = None
        if bounds.connects_per_second is not None:
            self._connects = TokenBucket(bounds.connects_per_second, bounds.connect_burst, now)
        # A heap of (due, number), one at most for each session, and the sessions by number. Of a
        # session that has ended only the former stays for a while, so that it is not kept by it.
        self._timers: list[tuple[float, int]] = []
        self._timed: dict[int, Session] = {}
        self._numbers = count()

    def take_connect(self, now: float) -> bool:
        """Count a CONNECT; whether there were not too many of them lately."""
        self.counters.connects += 1
        return self._connects is None or self._connects.take(now)

    def publish(
        self, message: Message, client: Client | None, session: Session | None, now: float
    ) -> Reach:
        """Keep a message if it is to be kept, and send it to all who want it.

        :param client: whose it is, or None.
        :param session: the same one's.
        :raises MqttError: it is to be kept and there is no room; then nobody gets it.
        """
        if message.retain:
            self.retained.keep(message, now)
        reach = Reach()
        self.routes.find(message.topic).deliver(message, session, reach, now)
        self.account(reach, message, client, now)
        return reach

    def account(self, reach: Reach, message: Message, client: Client | None, now: float) -> None:
        """Count whom a message reached; if it had no subscriber, the policy is told."""
        counted = self.counters.reach
        counted.taken += reach.taken
        counted.dropped += reach.dropped
        if not reach.taken and not reach.dropped:
            self.policy.reached_nobody(client, message, now)

    def mind_pressed(self, publisher: PacedOutbox | None, now: float) -> None:
        """After something was delivered: see to those who can't keep up.

        :param publisher: through whose doing, or None.
        """
        pressed = self.routes.pressed
        while pressed:
            session = pressed.pop()
            if session.outbox is not None:
                session.outbox.overrun(publisher, session.profile, now)

    def add_session(self, session: Session) -> None:
        """A new session begins.

        :raises MqttError: there are too many.
        """
        if len(self.sessions) >= self.bounds.max_sessions:
            raise MqttError("there are too many sessions", ReasonCode.QUOTA_EXCEEDED)
        self.sessions[session.name] = session

    def end_session(self, session: Session, now: float) -> None:
        """A session ends: nothing of it is left; a will that waited is published now."""
        if self.sessions.get(session.name) is session:
            del self.sessions[session.name]
        for held in session.subscriptions.values():
            self.tree.remove(held.group, held.pattern, session)
        session.subscriptions.clear()
        session.discard()
        session.expires_at = None
        self._drop_timer(session)
        self._publish_will(session, now)

    def part(self, session: Session, now: float, *, with_will: bool) -> None:
        """A session's connection is gone.

        :param with_will: it was no goodbye, or one that wants the will published.
        """
        session.detach()
        if not with_will:
            session.will = None
        if session.expiry_seconds <= 0:
            self.end_session(session, now)
            return
        if session.expiry_seconds < FOR_EVER_SECONDS:
            session.expires_at = now + session.expiry_seconds
            self._set_timer(session.expires_at, session)
        if session.will is not None:
            if session.will_delay_seconds <= 0:
                self._publish_will(session, now)
            else:
                session.will_due = now + session.will_delay_seconds
                self._set_timer(session.will_due, session)

    def next_deadline(self) -> float | None:
        """When :meth:`handle_timeout` is to be called."""
        return self._timers[0][0] if self._timers else None

    def handle_timeout(self, now: float) -> None:
        """End the sessions whose time is over, publish the wills whose delay is."""
        self.now = now
        timers = self._timers
        while timers and timers[0][0] <= now:
            session = self._timed.pop(heapq.heappop(timers)[1], None)
            if session is None:
                continue
            session.timer = None
            if session.outbox is not None:
                continue
            if session.will_due is not None and session.will_due <= now:
                self._publish_will(session, now)
            if session.expires_at is not None and session.expires_at <= now:
                self.end_session(session, now)
                continue
            for due in (session.will_due, session.expires_at):  # the timer was an older one
                if due is not None:
                    self._set_timer(due, session)

    def _set_timer(self, due: float, session: Session) -> None:
        """See to a session then; or earlier, if there was a timer: then this is done again."""
        if session.timer is not None:
            if session.timer[0] <= due:
                return
            self._drop_timer(session)
        session.timer = timer = (due, next(self._numbers))
        heapq.heappush(self._timers, timer)
        self._timed[timer[1]] = session

    def _drop_timer(self, session: Session) -> None:
        if session.timer is None:
            return
        timed, timers = self._timed, self._timers
        del timed[session.timer[1]]
        session.timer = None
        if len(timers) > 2 * len(timed) + SPARE_TIMERS:
            timers[:] = [timer for timer in timers if timer[1] in timed]
            heapq.heapify(timers)

    def _publish_will(self, session: Session, now: float) -> None:
        will, session.will = session.will, None
        session.will_due = None
        if will is not None:
            try:
                self.publish(will.made(now), None, None, now)
            except MqttError:
                self.counters.reach.dropped += 1  # there was no room to keep it


def reason_of(reach: Reach) -> ReasonCode:
    """What a publisher is told."""
    if reach.taken:
        return ReasonCode.SUCCESS
    return ReasonCode.QUOTA_EXCEEDED if reach.dropped else ReasonCode.NO_MATCHING_SUBSCRIBERS
