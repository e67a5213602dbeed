"""What a broker leaves to its owner: who may come, who may say what to whom, how much of it.

The broker asks a :class:`Policy` and keeps to the answer; :class:`AllowAll` lets everybody do
everything within bounds, and is what most policies begin with (docs/mqtt).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

import msgspec

from porttunnel.errors import MqttError
from porttunnel.mqtt.message import Message
from porttunnel.mqtt.packet import Connect, Subscription, Version, Will
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.topic import check_name

__all__ = [
    "Admission",
    "AllowAll",
    "Attempt",
    "Bounds",
    "Challenge",
    "Client",
    "Decision",
    "Policy",
    "Profile",
    "Refusal",
    "SlowConsumer",
    "checked_topic",
]

_KIB = 1_024
_MIB = 1_024 * _KIB
_DAY = 86_400


class SlowConsumer(Enum):
    """What becomes of a connection that reads more slowly than others write to it."""

    DROP = "QoS 0 beyond its outbox and QoS 1 and 2 beyond its queue are dropped"
    PAUSE = "its publishers are not read from until it has caught up; too late, it is cut"
    CUT = "it is disconnected as soon as something would be dropped"


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What one client may do, and how much memory it may take. Bytes, seconds, counts.

    :ivar max_qos: of what it publishes, 0 to 2.
    :ivar retain_available: whether it may publish retained messages, and is sent them.
    :ivar wildcards_available: whether its filters may have wildcards.
    :ivar shared_available: whether it may take part in shared subscriptions.
    :ivar identifiers_available: whether its subscriptions may have identifiers.
    :ivar max_session_seconds: how long its session is kept for it after a connection, 0 for not
        at all; 0xFFFFFFFF and more: for ever. In MQTT 3.1.1 a session that is not clean lasts so
        long.
    :ivar max_keep_alive_seconds: longest keep-alive; who wants a longer one, or none, is given
        this one (in MQTT 3.1.1 without being told). None: whatever it wants.
    :ivar max_packet_bytes: of a packet from it.
    :ivar receive_maximum: QoS 2 messages of it that may be under way at a time.
    :ivar topic_alias_maximum: aliases that it may set. Each may hold 64 KiB.
    :ivar outgoing_aliases: aliases that it is sent at most, if it takes any.
    :ivar max_inflight: QoS 1 and 2 messages that may be under way to it at a time.
    :ivar max_outbox_bytes: what may wait for it to be sent.
    :ivar max_queued_bytes: QoS 1 and 2 messages for it: those under way, those that wait, and
        those that are kept while it is away.
    :ivar max_subscriptions: filters that it may have subscribed to at a time, and that may stand
        in one packet.
    :ivar messages_per_second: how many it may publish, on average, and filters of SUBSCRIBE and
        UNSUBSCRIBE as well; beyond it, it is read from more slowly. None: as many as it likes.
    :ivar message_burst: how many it may publish at once before that.
    :ivar slow_consumer: what to do when it doesn't read fast enough.
    :ivar stall_seconds: with PAUSE, how long it may keep its publishers waiting.
    """

    max_qos: int = 2
    retain_available: bool = True
    wildcards_available: bool = True
    shared_available: bool = True
    identifiers_available: bool = True
    max_session_seconds: int = 7 * _DAY
    max_keep_alive_seconds: int | None = None
    max_packet_bytes: int = 1 * _MIB
    receive_maximum: int = 1_000
    topic_alias_maximum: int = 16
    outgoing_aliases: int = 16
    max_inflight: int = 1_000
    max_outbox_bytes: int = 256 * _KIB
    max_queued_bytes: int = 1 * _MIB
    max_subscriptions: int = 100
    messages_per_second: float | None = None
    message_burst: int = 1_000
    slow_consumer: SlowConsumer = SlowConsumer.DROP
    stall_seconds: float = 30.0


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What the whole broker may take, and what a stranger may, before anybody knows who it is.

    :ivar max_connections: at a time, those that have not yet said who they are included.
    :ivar max_connections_per_prefix: at a time, from one IPv4 address or one IPv6 /64, except this
        machine's own. For the shell, which knows addresses: the core does not look at it.
    :ivar max_sessions: with and without a connection.
    :ivar max_queued_bytes: QoS 1 and 2 messages of all sessions together.
    :ivar max_retained_bytes: all retained messages.
    :ivar max_subscription_bytes: all subscriptions.
    :ivar connects_per_second: CONNECT packets of all, on average; None: no limit.
    :ivar connect_burst: how many at once before that.
    :ivar connects_per_second_per_prefix: connections from one IPv4 address or one IPv6 /64, except
        this machine's own, so that none of them uses up the former; None: no limit. For the shell.
    :ivar connect_burst_per_prefix: how many at once before that.
    :ivar max_connect_bytes: of a CONNECT packet.
    :ivar max_early_bytes: what a client may send before its CONNECT is answered.
    :ivar connect_seconds: until CONNECT must be there.
    :ivar authentication_seconds: until the policy must have answered, each time.
    """

    max_connections: int = 20_000
    max_connections_per_prefix: int = 64
    max_sessions: int = 50_000
    max_queued_bytes: int = 256 * _MIB
    max_retained_bytes: int = 64 * _MIB
    max_subscription_bytes: int = 256 * _MIB
    connects_per_second: float | None = None
    connect_burst: int = 1_000
    connects_per_second_per_prefix: float | None = None
    connect_burst_per_prefix: int = 100
    max_connect_bytes: int = 64 * _KIB
    max_early_bytes: int = 64 * _KIB
    connect_seconds: float = 15.0
    authentication_seconds: float = 30.0


class Client(msgspec.Struct, eq=False):
    """Whom a policy is asked about: one client, as long as its session has this connection.

    :ivar client_id: as it named itself, or as the broker named it.
    :ivar session_name: what its session is found by.
    :ivar user_name: as in CONNECT; or as the policy named it (:class:`Admission`).
    :ivar version: which MQTT it speaks.
    :ivar peer: where it comes from, as the shell said.
    :ivar context: whatever the policy gave with its :class:`Admission`.
    """

    client_id: str
    session_name: str
    user_name: str | None
    version: Version
    peer: str
    context: Any = None


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """A client may come in; or it has proved again who it is, and then only its data counts.

    :ivar profile: what it may do.
    :ivar session_name: what its session is found by; whoever connects with the same one takes
        the session over. None: the client id. A broker for several owners must make it of both,
        so that nobody takes over another owner's session.
    :ivar user_name: None: the one in CONNECT. By it :meth:`Broker.disconnect_user` finds it.
    :ivar context: kept in :attr:`Client.context`.
    :ivar response_information: told to a client that asks for it, in MQTT 5.
    :ivar reason_string: told in MQTT 5.
    :ivar authentication_data: the last step of an enhanced authentication, in MQTT 5.
    """

    profile: Profile
    session_name: str | None = None
    user_name: str | None = None
    context: Any = None
    response_information: str | None = None
    reason_string: str | None = None
    authentication_data: bytes | None = None


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A client may not come in; in MQTT 3.1.1 the reason is translated.

    :ivar reason: 0x80 or above, one that CONNACK can have.
    :ivar reason_string: told in MQTT 5.
    :ivar server_reference: another server, told in MQTT 5 with 0x9C or 0x9D.
    """

    reason: ReasonCode = ReasonCode.NOT_AUTHORIZED
    reason_string: str | None = None
    server_reference: str | None = None


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """The next step of an enhanced authentication; the client's answer is asked about again."""

    authentication_data: bytes | None = None
    reason_string: str | None = None


Decision = Admission | Refusal | Challenge


class Attempt:
    """A client wants to come in, or (MQTT 5) to prove again who it is.

    :ivar connect: its CONNECT; the client id in it is never empty. If ``is_again``, without
        password and will, and of its properties only with the authentication method, the session
        expiry interval and the maximum packet size: the others are not kept.
    :ivar peer: where it comes from, as the shell said.
    :ivar authentication_data: of the CONNECT or AUTH that this is about, if it has a method.
    :ivar is_again: whether it was let in before, on this connection.
    """

    __slots__ = ("_answer", "authentication_data", "connect", "is_again", "peer")

    def __init__(
        self,
        connect: Connect,
        peer: str,
        answer: Callable[[Attempt, Decision, float], None],
    ) -> None:
        self.connect = connect
        self.peer = peer
        self.authentication_data = connect.properties.authentication_data
        self.is_again = False
        self._answer = answer

    def answer(self, decision: Decision, now: float) -> None:
        """Say later what :meth:`Policy.authenticate` did not say at once.

        Does nothing if the connection is gone by now, or was answered already.
        """
        self._answer(self, decision, now)


class Policy(Protocol):
    """What the broker asks and tells. Answers are given at once, without waiting for anything.

    Only :meth:`authenticate` may answer later. Topics are those inside the broker unless it is
    said that they are the client's. A method may publish and disconnect, by the broker.
    """

    @property
    def bounds(self) -> Bounds:
        """What the whole broker may take; asked for at its beginning."""

    def authenticate(self, attempt: Attempt, now: float) -> Decision | None:
        """Who is this? None: :meth:`Attempt.answer` will be called, in time."""

    def authorise_publish(self, client: Client, topic: str) -> str | ReasonCode:
        """Where what the client publishes on its topic goes: often the same topic.

        The answer is remembered for the connection (:meth:`Broker.forget_routes`). A reason of
        0x80 or above refuses: it is in PUBACK or PUBREC; QoS 0 is dropped. So does a topic that
        is none, or longer than 65,535 bytes, in this answer and in those of the next and the will:
        with 0x90.
        """

    def authorise_response_topic(self, client: Client, topic: str) -> str | ReasonCode:
        """What the receivers of a message see in place of its response topic; or a refusal."""

    def authorise_subscribe(
        self, client: Client, subscription: Subscription
    ) -> Subscription | ReasonCode:
        """What a subscription of the client's means: often the same.

        :param subscription: as the client sent it; a shared one begins with ``$share``.
        """

    def authorise_will(self, client: Client, will: Will) -> str | ReasonCode:
        """Where the client's will goes: often its topic. A reason refuses the connection."""

    def delivery_topic(self, client: Client, topic: str) -> str:
        """The topic that a subscriber sees; remembered (:meth:`Broker.forget_routes`).

        With one that is none, or longer than 65,535 bytes, the message does not go to it.
        """

    def connected(self, client: Client, session_present: bool, now: float) -> None:
        """A client was let in; its CONNACK is on the way."""

    def disconnected(self, client: Client, reason: ReasonCode, now: float) -> None:
        """A client's connection has ended.

        :param reason: which of the two said, or what happened; 0 is a goodbye.
        """

    def reached_nobody(self, client: Client | None, message: Message, now: float) -> None:
        """A message had no subscriber (or its client the answer 0x10).

        :param client: who published it; None: a will, or the broker's owner.
        """


def checked_topic(answer: str | ReasonCode, asked: str) -> str | ReasonCode:
    """What a policy made of a topic; a refusal if no PUBLISH can have the topic that it named.

    A prefix may lengthen a client's topic beyond what the length before it can say. Found only as
    it is sent, it would harm those who are to get it and not its sender.

    :param answer: the policy's.
    :param asked: the topic that it was asked about.
    """
    if answer is asked or isinstance(answer, ReasonCode):
        return answer
    try:
        check_name(answer)
    except MqttError as error:
        return ReasonCode(error.reason)
    return answer


class AllowAll:
    """Everybody may do everything, apart from publishing on the server's own ``$`` topics.

    :param profile: for each client.
    :param bounds: of the broker.
    """

    def __init__(self, profile: Profile | None = None, bounds: Bounds | None = None) -> None:
        self.profile = profile or Profile()
        self._bounds = bounds or Bounds()

    @property
    def bounds(self) -> Bounds:
        return self._bounds

    def authenticate(self, attempt: Attempt, now: float) -> Decision | None:
        if attempt.connect.properties.authentication_method is not None:
            return Refusal(reason=ReasonCode.BAD_AUTHENTICATION_METHOD)
        return Admission(profile=self.profile)

    def authorise_publish(self, client: Client, topic: str) -> str | ReasonCode:
        return ReasonCode.NOT_AUTHORIZED if topic.startswith("$") else topic

    def authorise_response_topic(self, client: Client, topic: str) -> str | ReasonCode:
        return topic

    def authorise_subscribe(
        self, client: Client, subscription: Subscription
    ) -> Subscription | ReasonCode:
        return subscription

    def authorise_will(self, client: Client, will: Will) -> str | ReasonCode:
        return self.authorise_publish(client, will.topic)

    def delivery_topic(self, client: Client, topic: str) -> str:
        return topic

    def connected(self, client: Client, session_present: bool, now: float) -> None:
        pass

    def disconnected(self, client: Client, reason: ReasonCode, now: float) -> None:
        pass

    def reached_nobody(self, client: Client | None, message: Message, now: float) -> None:
        pass
