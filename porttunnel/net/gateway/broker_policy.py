"""The gateway's rules as a policy of its broker: who may come, and which topics are whose.

Source: docs/gateway-protocol, section 1. Passwords are looked at elsewhere and the answer comes
later; everything else is answered at once from what stands in memory: for each instance that is
connected, which devices are its.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from porttunnel.errors import GatewayBusy
from porttunnel.gateway.event import EventName
from porttunnel.gateway.part import MAX_PART_BYTES
from porttunnel.gateway.policy import (
    DeviceRules,
    GatewayAnswer,
    InstanceRules,
    make_unreached_answer,
)
from porttunnel.gateway.topic import format_event_topic
from porttunnel.mqtt.message import Message
from porttunnel.mqtt.packet import Subscription, Will
from porttunnel.mqtt.policy import (
    Admission,
    Attempt,
    Bounds,
    Client,
    Decision,
    Profile,
    Refusal,
    SlowConsumer,
)
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.gateway.account import Account
from porttunnel.net.gateway.audit_log import AuditEvent, Record
from porttunnel.net.gateway.complaint import Complaint
from porttunnel.net.gateway.presence import Presence
from porttunnel.session.limit import prefix_of

__all__ = ["CUT_REASON", "BrokerLimits", "Desk", "GatewayPolicy"]

CUT_REASON = ReasonCode.ADMINISTRATIVE_ACTION
"""What a client is told whose account was removed, or whose password has become void."""

_KIB = 1_024
_MIB = 1_024 * _KIB

MAX_PACKET_BYTES = MAX_PART_BYTES + _KIB  # a part, its topic, and properties that nobody needs
MAX_CONNECT_BYTES = 4 * _KIB  # ids, a password, and a will that cancels something
MAX_EARLY_BYTES = 4 * _KIB  # SUBSCRIBE, sent before the password was looked at
MAX_QUEUED_BYTES = 16 * _MIB  # what is allowed of many requests at a time: 1 MiB each
MAX_SUBSCRIPTIONS = 32  # two are needed; somebody may prefer one for each request
MAX_SESSIONS_PER_DEVICE = 8  # programs of one person that use one device's account at a time
MAX_KEEP_ALIVE_SECONDS = 60  # who is gone without a word is noticed in a minute and a half
RETURN_SECONDS = 10.0  # in which all connections of one place may begin anew, again and again
STALL_SECONDS = 30.0  # so long an instance may read more slowly than its devices ask
# Between two times that a session is told who is there: each may be a message of ours for each
# device, and costs it a few bytes.
INTRODUCTION_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerLimits:
    """How much of everything.

    :ivar connections: at a time.
    :ivar connections_per_prefix: at a time, from one IPv4 address or IPv6 /64 other than our own.
    :ivar connects_per_second: of all, on average.
    :ivar device_messages_per_second: of each device, on average; beyond it, it is read from more
        slowly.
    :ivar instance_messages_per_second: likewise.
    :ivar queued_bytes: that wait for those that read slowly, in all.
    """

    connections: int
    connections_per_prefix: int
    connects_per_second: int
    device_messages_per_second: int
    instance_messages_per_second: int
    queued_bytes: int


class Desk(Protocol):
    """Knows passwords: :class:`~porttunnel.net.gateway.password_desk.PasswordDesk`."""

    def known(self, user_name: str, password: bytes, now: float) -> Account | None:
        """At once, if it was right not long ago."""

    def check(
        self, user_name: str, password: bytes, prefix: str, now: float
    ) -> Deferred[Account | None]:
        """Later."""


@dataclass(slots=True)
class _Member:
    """Who a client of the broker is.

    :ivar owned: of an instance, its devices: those that are added and removed are so here too.
    :ivar introduced_at: when it was told last who is there.
    """

    account: Account
    rules: DeviceRules | InstanceRules
    owned: set[str] | None = None
    introduced_at: float = -inf


class GatewayPolicy:
    """See the module, and :class:`porttunnel.mqtt.policy.Policy`.

    :param reactor: time.
    :param desk: knows passwords.
    :param device_ids: the devices of an instance, from the store.
    :param presence: is told who comes and goes.
    :param publish: tells a device that its request reached nobody.
    :param limits: how much of everything.
    :param record: is told who comes and goes, for the audit log; or None.
    :ivar answer: set it to :meth:`MQTTBrokerFactory.answer` before anybody comes.
    :ivar logins: how many there were, by what came of them.
    :ivar unreached: messages of devices whose instance was not there.
    """

    answer: Callable[[Attempt, Decision], None]

    def __init__(
        self,
        reactor: Any,
        *,
        desk: Desk,
        device_ids: Callable[[str], Awaitable[frozenset[str]]],
        presence: Presence,
        publish: Callable[[GatewayAnswer], None],
        limits: BrokerLimits,
        record: Record | None = None,
    ) -> None:
        self._reactor = reactor
        self._desk = desk
        self._device_ids = device_ids
        self._presence = presence
        self._publish = publish
        self._record = record
        self._complaint = Complaint(reactor.seconds)
        self._owned: dict[str, set[str]] = {}
        # With their instances; no more than there are in the store, and hardly ever any.
        self._barred: dict[str, str] = {}
        self.logins: Counter[str] = Counter()
        self.unreached = 0
        self._bounds = Bounds(
            max_connections=limits.connections,
            max_connections_per_prefix=limits.connections_per_prefix,
            max_sessions=limits.connections,
            max_queued_bytes=limits.queued_bytes,
            max_retained_bytes=1,  # nobody may retain anything
            connects_per_second=limits.connects_per_second,
            connect_burst=5 * limits.connects_per_second,  # after a restart all come back
            # As many as may be there come back at once, and then again in some seconds.
            connects_per_second_per_prefix=limits.connections_per_prefix / RETURN_SECONDS,
            connect_burst_per_prefix=2 * limits.connections_per_prefix,
            max_connect_bytes=MAX_CONNECT_BYTES,
            max_early_bytes=MAX_EARLY_BYTES,
        )
        self._device_profile = _make_profile(limits.device_messages_per_second, SlowConsumer.DROP)
        self._instance_profile = _make_profile(
            limits.instance_messages_per_second, SlowConsumer.PAUSE
        )

    @property
    def bounds(self) -> Bounds:
        return self._bounds

    # Who may come

    def authenticate(self, attempt: Attempt, now: float) -> Decision | None:
        connect = attempt.connect
        if connect.properties.authentication_method is not None:
            return self._refuse("malformed", ReasonCode.BAD_AUTHENTICATION_METHOD)
        name, password = connect.user_name, connect.password
        if name is None or password is None:
            return self._refuse("malformed", ReasonCode.BAD_USER_NAME_OR_PASSWORD)
        account = self._desk.known(name, password, now)
        if account is not None and account.is_device:
            return self._admit(attempt, account, None)
        looking = Deferred.fromCoroutine(self._find_out(attempt, name, password, now))
        looking.addErrback(self._fail)
        looking.addCallback(lambda decision: self.answer(attempt, decision))
        return None

    async def _find_out(
        self, attempt: Attempt, name: str, password: bytes, now: float
    ) -> Decision:
        try:
            account = await self._desk.check(name, password, prefix_of(attempt.peer), now)
        except GatewayBusy as busy:
            return self._refuse("busy", ReasonCode.SERVER_BUSY, str(busy))
        owned: set[str] | None = None
        if account is not None and not account.is_device:
            owned = set(await self._device_ids(account.instance_id))
            # It may have been removed, or its password changed, in the meantime.
            account = self._desk.known(name, password, self._reactor.seconds())
        if account is None:
            return self._refuse("wrong", ReasonCode.BAD_USER_NAME_OR_PASSWORD)
        return self._admit(attempt, account, owned)

    def _fail(self, failure: Any) -> Decision:
        self._complaint.tell(failure)
        return self._refuse("failed", ReasonCode.SERVER_UNAVAILABLE)

    def _refuse(self, outcome: str, reason: ReasonCode, text: str | None = None) -> Refusal:
        self.logins[outcome] += 1
        return Refusal(reason=reason, reason_string=text)

    def _admit(self, attempt: Attempt, account: Account, owned: set[str] | None) -> Decision:
        user_name, client_id = account.user_name, attempt.connect.client_id
        if user_name in self._barred or account.instance_id in self._barred:
            return self._refuse("barred", ReasonCode.BAD_USER_NAME_OR_PASSWORD)
        if owned is not None:
            # One session for each instance: whoever comes last is it.
            member = _Member(account, InstanceRules(user_name, owned.__contains__), owned)
            self.logins["instance"] += 1
            return Admission(
                profile=self._instance_profile, session_name=user_name, context=member
            )
        # No string of MQTT's has a null character: so nobody gets into another user's session.
        name = f"{user_name}\0{client_id}"
        open_sessions = self._presence.sessions(user_name)
        if len(open_sessions) >= MAX_SESSIONS_PER_DEVICE and name not in open_sessions:
            return self._refuse("too many", ReasonCode.QUOTA_EXCEEDED)
        self.logins["device"] += 1
        rules = DeviceRules(user_name, account.instance_id)
        return Admission(
            profile=self._device_profile, session_name=name, context=_Member(account, rules)
        )

    # Who may say what to whom

    def authorise_publish(self, client: Client, topic: str) -> str | ReasonCode:
        member: _Member = client.context
        return member.rules.route_publish(topic) or ReasonCode.NOT_AUTHORIZED

    def authorise_response_topic(self, client: Client, topic: str) -> str | ReasonCode:
        member: _Member = client.context
        allowed = member.rules.allow_response_topic(topic)
        return topic if allowed else ReasonCode.NOT_AUTHORIZED

    def authorise_subscribe(
        self, client: Client, subscription: Subscription
    ) -> Subscription | ReasonCode:
        member: _Member = client.context
        text = subscription.filter
        if not member.rules.allow_subscribe(text):
            return ReasonCode.NOT_AUTHORIZED
        now = self._reactor.seconds()
        if (
            text in _filters_of_presence(member.account.instance_id)
            and now - member.introduced_at >= INTRODUCTION_SECONDS
        ):
            member.introduced_at = now
            # Once it is subscribed.
            self._reactor.callLater(0, self._presence.introduce, member.account.instance_id)
        return subscription

    def authorise_will(self, client: Client, will: Will) -> str | ReasonCode:
        return self.authorise_publish(client, will.topic)

    def delivery_topic(self, client: Client, topic: str) -> str:
        return topic

    # Who is there

    def connected(self, client: Client, session_present: bool, now: float) -> None:
        member: _Member = client.context
        if member.owned is not None:
            self._owned[member.account.instance_id] = member.owned
        self._note(AuditEvent.CONNECTED, member.account)
        self._presence.arrived(member.account, client.session_name)

    def disconnected(self, client: Client, reason: ReasonCode, now: float) -> None:
        member: _Member = client.context
        if member.owned is not None:
            del self._owned[member.account.instance_id]
        was_cut = reason is CUT_REASON
        self._note(AuditEvent.CUT_OFF if was_cut else AuditEvent.DISCONNECTED, member.account)
        self._presence.left(member.account, client.session_name)

    def reached_nobody(self, client: Client | None, message: Message, now: float) -> None:
        if client is not None:
            answer = make_unreached_answer(message.topic)
            if answer is not None:
                self.unreached += 1
                self._publish(answer)

    def bar(self, user_name: str, instance_id: str) -> None:
        """This device does not come again, or this instance with all of its devices."""
        self._barred[user_name] = instance_id

    def forget(self, user_name: str) -> None:
        """This device is gone, or this instance with all of its devices: it needs no bar."""
        for name, instance_id in tuple(self._barred.items()):
            if user_name in (name, instance_id):
                del self._barred[name]

    def device_added(self, instance_id: str, device_id: str) -> None:
        """From now on its instance may talk to it."""
        owned = self._owned.get(instance_id)
        if owned is not None:
            owned.add(device_id)

    def device_removed(self, instance_id: str, device_id: str) -> None:
        """From now on its instance may not: the broker has to forget its routes, too."""
        owned = self._owned.get(instance_id)
        if owned is not None:
            owned.discard(device_id)

    def _note(self, event: AuditEvent, account: Account) -> None:
        if self._record is not None:
            device_id = account.user_name if account.is_device else None
            self._record(event, account.instance_id, device_id)


def _filters_of_presence(instance_id: str) -> tuple[str, ...]:
    """By which an instance hears who is there."""
    return tuple(format_event_topic(instance_id, last) for last in ("+", EventName.DEVICE_ONLINE))


def _make_profile(messages_per_second: int, slow_consumer: SlowConsumer) -> Profile:
    return Profile(
        retain_available=False,
        shared_available=False,
        max_session_seconds=0,
        max_keep_alive_seconds=MAX_KEEP_ALIVE_SECONDS,
        max_packet_bytes=MAX_PACKET_BYTES,
        # Hardly any topic is used twice.
        topic_alias_maximum=0,
        outgoing_aliases=0,
        max_queued_bytes=MAX_QUEUED_BYTES,
        max_subscriptions=MAX_SUBSCRIPTIONS,
        messages_per_second=messages_per_second,
        message_burst=2 * messages_per_second,
        slow_consumer=slow_consumer,
        stall_seconds=STALL_SECONDS,
    )
