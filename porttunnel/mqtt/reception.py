"""A connection's life: who comes is asked about, let in or sent away, and goes again.

The states::

    NEW ──CONNECT──> DECIDING ──admitted──> OPEN
                      ^    │
              AUTH────┘    └─challenge─> CHALLENGED        any ──ended──> CLOSED

Source: MQTT 5.0, sections 3.1, 3.2, 3.14, 3.15 and 4.12; MQTT 3.1.1, sections 3.1, 3.2 and 3.14.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from enum import Enum, auto
from typing import cast

import msgspec
from msgspec.structs import replace

from porttunnel.errors import MqttError
from porttunnel.mqtt.decode import connect_version, decode
from porttunnel.mqtt.entrance import (
    Terms,
    accepted_will,
    encode_connack,
    encode_fitting,
    encode_no,
    negotiate,
    open_session,
    packet_limit,
    shortened,
)
from porttunnel.mqtt.exchange import Exchange
from porttunnel.mqtt.paced_outbox import PacedOutbox
from porttunnel.mqtt.packet import Auth, Connack, Connect, Disconnect, Version
from porttunnel.mqtt.policy import Admission, Attempt, Challenge, Client, Decision, Refusal
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.reason import CONNACK_REASONS, DISCONNECT_REASONS, ReasonCode
from porttunnel.mqtt.session import PendingWill, Session
from porttunnel.mqtt.topic_alias import OutgoingAliases

__all__ = ["ClientAdmitted", "ConnectionEnded", "ConnectionState", "Reception"]

KEEP_ALIVE_FACTOR = 1.5  # of the keep-alive: how long a client may be silent [MQTT-3.1.2-24]


class ConnectionState(Enum):
    """How far a connection has come."""

    NEW = auto()
    """CONNECT has yet to come."""
    DECIDING = auto()
    """The policy has yet to answer."""
    CHALLENGED = auto()
    """The client has yet to answer the policy, by AUTH."""
    OPEN = auto()
    CLOSED = auto()


_CLOSED = ConnectionState.CLOSED  # looked up in its class it costs ten times as much


class ClientAdmitted(msgspec.Struct, frozen=True):
    """A client was let in; its CONNACK is on the way.

    :ivar session_present: its session was there before.
    """

    client: Client
    session_present: bool


class ConnectionEnded(msgspec.Struct, frozen=True):
    """Nothing goes on here: once all is sent, the connection is to be closed.

    :ivar reason: which of the two said, or what happened; 0 is the client's goodbye.
    :ivar error: how the client broke the protocol, or None.
    """

    reason: ReasonCode
    error: MqttError | None = None


class Reception(PacedOutbox):
    """See the module; what happens between is :class:`~porttunnel.mqtt.connection`'s.

    :param exchange: what all connections share.
    :param peer: where the client comes from, for the policy.
    :param spare_client_id: for a client that brings none.
    :ivar state: how far it has come.
    :ivar session: while it is OPEN.
    :ivar silence_seconds: how long the client may be silent, or 0.
    """

    __slots__ = (
        "_answered_in",
        "_attempt",
        "_connect",
        "_due",
        "_early",
        "_events",
        "_exchange",
        "_is_challenged",
        "_peer",
        "_spare_client_id",
        "session",
        "silence_seconds",
        "state",
    )

    def __init__(self, exchange: Exchange, peer: str, spare_client_id: str, now: float) -> None:
        super().__init__(exchange.ready)
        self._exchange = exchange
        self._peer = peer
        self._spare_client_id = spare_client_id
        self._answered_in: Version | None = None  # in which version CONNACK may say no
        self._connect: Connect | None = None
        self._attempt: Attempt | None = None
        self._is_challenged = False
        self._early = b""  # what came while the policy had not answered, or others had their turn
        self._due: float | None = now + exchange.bounds.connect_seconds
        self._events: list[ClientAdmitted | ConnectionEnded] = []
        self.state = ConnectionState.NEW
        self.session: Session | None = None
        self.silence_seconds = 0.0
        exchange.connections.add(self)

    @abstractmethod
    def receive_data(self, data: memoryview, now: float) -> None:
        """Take in bytes of the client."""

    @abstractmethod
    def begin(self, session: Session, now: float) -> None:
        """The client was let in: its packets are awaited."""

    @property
    def is_closed(self) -> bool:
        """Whether the shell is to close once all is sent."""
        return self.state is _CLOSED

    def events(self) -> Iterator[ClientAdmitted | ConnectionEnded]:
        events, self._events = self._events, []
        return iter(events)

    def cut(
        self,
        reason: ReasonCode,
        now: float,
        *,
        with_will: bool = True,
        server_reference: str | None = None,
    ) -> None:
        """End the connection, as the server's wish.

        :param reason: 0x80 or above; one that DISCONNECT can't say becomes NOT_AUTHORIZED, as
            nearly all of them are refusals of a policy.
        :param with_will: whether the client's will is published, or forgotten.
        :param server_reference: another server, told in MQTT 5.
        """
        if self.state is ConnectionState.OPEN:
            if reason not in DISCONNECT_REASONS:
                reason = ReasonCode.NOT_AUTHORIZED
            self._say_goodbye(reason, Properties(server_reference=server_reference))
        if self.state is not ConnectionState.CLOSED:
            self._end(reason, now, with_will=with_will)

    def _receive_connect(self, first_byte: int, body: memoryview, now: float) -> None:
        """The first packet, a CONNECT.

        :raises MqttError: it is wrong.
        """
        exchange = self._exchange
        self._answered_in = connect_version(body)
        if not exchange.take_connect(now):
            raise MqttError("too many connect at the moment", ReasonCode.CONNECTION_RATE_EXCEEDED)
        connect = cast("Connect", decode(first_byte, body, None))  # it takes nothing else
        self.version = connect.version
        if not connect.client_id:
            connect = replace(connect, client_id=self._spare_client_id)
        self._connect = connect
        if exchange.draining is not None:
            elsewhere = exchange.draining.server_reference
            busy = ReasonCode.SERVER_UNAVAILABLE
            reason = busy if elsewhere is None else ReasonCode.USE_ANOTHER_SERVER
            self._refuse(Refusal(reason=reason, server_reference=elsewhere), now)
            return
        self._attempt = Attempt(connect, self._peer, self._decide)
        self._ask(self._attempt, now)

    def _receive_auth(self, packet: Auth, now: float) -> None:
        """A step of an enhanced authentication.

        :raises MqttError: none is going on, or it is another one.
        """
        connect = self._connect
        method = None if connect is None else connect.properties.authentication_method
        if connect is None or method is None or packet.properties.authentication_method != method:
            raise MqttError("AUTH has another method than CONNECT", ReasonCode.PROTOCOL_ERROR)
        attempt = self._attempt
        if packet.reason is ReasonCode.RE_AUTHENTICATE:
            if attempt is not None:
                raise MqttError("an authentication is under way", ReasonCode.PROTOCOL_ERROR)
            attempt = self._attempt = Attempt(connect, self._peer, self._decide)
            attempt.is_again = True
        elif attempt is None or not self._is_challenged:
            raise MqttError("AUTH answers no question", ReasonCode.PROTOCOL_ERROR)
        attempt.authentication_data = packet.properties.authentication_data
        self._ask(attempt, now)

    def _receive_disconnect(self, packet: Disconnect, now: float) -> None:
        """The client says goodbye.

        :raises MqttError: it wants a session kept for which it had asked no time at first.
        """
        session, connect = self.session, self._connect
        interval = packet.properties.session_expiry_interval
        if session is not None and connect is not None and interval is not None:
            if interval and not connect.properties.session_expiry_interval:
                raise MqttError(
                    "a session without expiry can't be given one", ReasonCode.PROTOCOL_ERROR
                )
            session.expiry_seconds = min(interval, session.profile.max_session_seconds)
        with_will = packet.reason is not ReasonCode.NORMAL_DISCONNECTION
        self._end(packet.reason, now, with_will=with_will)

    def _ask(self, attempt: Attempt, now: float) -> None:
        self._is_challenged = False
        self._due = now + self._exchange.bounds.authentication_seconds
        if not attempt.is_again:
            self.state = ConnectionState.DECIDING
        decision = self._exchange.policy.authenticate(attempt, now)
        if decision is not None:
            self._decide(attempt, decision, now)

    def _decide(self, attempt: Attempt, decision: Decision, now: float) -> None:
        """The policy has answered."""
        if attempt is not self._attempt or self._is_challenged:
            return  # too late, or answered already
        if isinstance(decision, Challenge):
            if attempt.connect.properties.authentication_method is None:
                # It could not answer [MQTT-4.12.0-6].
                self._refuse(Refusal(reason=ReasonCode.NOT_AUTHORIZED), now)
                return
            self._is_challenged = True
            self._due = now + self._exchange.bounds.authentication_seconds
            if not attempt.is_again:
                self.state = ConnectionState.CHALLENGED
            self._send_auth(
                ReasonCode.CONTINUE_AUTHENTICATION, attempt, decision.authentication_data, now
            )
        elif attempt.is_again:
            self._attempt = None
            self._due = None
            if isinstance(decision, Refusal):
                self.cut(decision.reason, now, server_reference=decision.server_reference)
            else:
                self._send_auth(ReasonCode.SUCCESS, attempt, decision.authentication_data, now)
        elif isinstance(decision, Refusal):
            self._refuse(decision, now)
        else:
            self._admit(attempt.connect, decision, now)
        early, self._early = self._early, b""
        if early:
            self._exchange.counters.bytes_received -= len(early)  # counted a second time now
            self.receive_data(memoryview(early), now)

    def _admit(self, connect: Connect, admission: Admission, now: float) -> None:
        exchange = self._exchange
        user_name = connect.user_name if admission.user_name is None else admission.user_name
        name = connect.client_id if admission.session_name is None else admission.session_name
        client = Client(
            connect.client_id, name, user_name, connect.version, self._peer, admission.context
        )
        assigned = connect.client_id == self._spare_client_id
        terms = negotiate(connect, admission, connect.client_id if assigned else None)
        try:
            connack = Connack(False, ReasonCode.SUCCESS, terms.properties)
            encode_connack(connack, connect.version, terms.packet_limit)  # before it is too late
            will = accepted_will(exchange, client, connect, admission.profile)
            session, present = open_session(exchange, client, connect, admission.profile, now)
        except MqttError as error:
            self._refuse(Refusal(reason=ReasonCode(error.reason)), now)
            return
        self._connect = shortened(connect)
        connack = replace(connack, session_present=present)
        self._open(session, terms, will)
        self._spare_client_id = ""  # it is in use now, or needed no more
        self.send(encode_connack(connack, connect.version, terms.packet_limit))
        self._events.append(ClientAdmitted(client, present))
        self.begin(session, now)
        exchange.policy.connected(client, present, now)
        if self.state is ConnectionState.OPEN:  # the policy may have sent it away
            session.attach(self, terms.receive_maximum, now)

    def _open(self, session: Session, terms: Terms, will: PendingWill | None) -> None:
        self.state = ConnectionState.OPEN
        self._attempt = None
        self._due = None
        self.session = session
        self.silence_seconds = terms.keep_alive_seconds * KEEP_ALIVE_FACTOR
        self.limit_bytes = session.profile.max_outbox_bytes
        self.high_bytes = self.limit_bytes // 2
        self.packet_limit = terms.packet_limit
        self.aliases = OutgoingAliases(terms.topic_aliases) if terms.topic_aliases else None
        session.outbox = self
        session.expiry_seconds = terms.session_expiry_seconds
        session.will = will
        if will is not None:
            session.will_delay_seconds = will.will.properties.will_delay_interval or 0

    def _refuse(self, refusal: Refusal, now: float, *, error: MqttError | None = None) -> None:
        """Say by CONNACK why the client is not let in, and end."""
        reason = refusal.reason
        if reason not in CONNACK_REASONS:
            reason = ReasonCode.UNSPECIFIED_ERROR
        properties = Properties(
            reason_string=refusal.reason_string, server_reference=refusal.server_reference
        )
        asked = EMPTY if self._connect is None else self._connect.properties
        packet = encode_no(reason, properties, self._answered_in, packet_limit(asked))
        if packet:
            self.send(packet)
        self._exchange.counters.refusals += 1
        self._end(reason, now, error=error)

    def _fail(self, error: MqttError, now: float) -> None:
        """The client broke the protocol, or asked for too much."""
        self._exchange.counters.failures += 1
        reason = ReasonCode(error.reason)
        if self.state is ConnectionState.OPEN:
            known = reason in DISCONNECT_REASONS
            self._say_goodbye(reason if known else ReasonCode.PROTOCOL_ERROR, Properties())
            self._end(reason, now, error=error)
        elif self.state is not ConnectionState.CLOSED:
            self._refuse(Refusal(reason=reason), now, error=error)

    def _give_up_waiting(self, now: float) -> None:
        """CONNECT, an answer of the policy or one of the client did not come in time."""
        if self.state is ConnectionState.NEW:
            self._end(ReasonCode.MAXIMUM_CONNECT_TIME, now)
        elif self.state is ConnectionState.OPEN:
            self.cut(ReasonCode.NOT_AUTHORIZED, now)
        else:
            self._refuse(Refusal(reason=ReasonCode.SERVER_BUSY), now)

    def _say_goodbye(self, reason: ReasonCode, properties: Properties) -> None:
        if self.version is not Version.V5:
            return  # in 3.1.1 a server has no word for it
        packet = encode_fitting(
            self.version, self.packet_limit, Disconnect(reason, properties), Disconnect(reason)
        )
        if packet:
            self.send(packet)

    def _send_auth(
        self, reason: ReasonCode, attempt: Attempt, data: bytes | None, now: float
    ) -> None:
        asked = attempt.connect.properties
        properties = Properties(
            authentication_method=asked.authentication_method, authentication_data=data
        )
        packet = encode_fitting(self.version, packet_limit(asked), Auth(reason, properties))
        if not packet:
            self._fail(
                MqttError(
                    "a step of an authentication is too large for its client",
                    ReasonCode.PACKET_TOO_LARGE,
                ),
                now,
            )
            return
        self.send(packet)

    def _end(
        self,
        reason: ReasonCode,
        now: float,
        *,
        error: MqttError | None = None,
        with_will: bool = True,
    ) -> None:
        self.state = ConnectionState.CLOSED
        self._due = None
        self._attempt = None
        self._early = b""
        self._events.append(ConnectionEnded(reason, error))
        self._exchange.connections.discard(self)
        self.relieve()
        session, self.session = self.session, None
        if session is not None:
            self._exchange.part(session, now, with_will=with_will)
            self._exchange.policy.disconnected(session.client, reason, now)
        self.touch()
