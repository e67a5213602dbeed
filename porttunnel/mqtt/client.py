"""A client of an MQTT broker, without its sockets: one object for all of its connections.

Source: MQTT 5.0 and MQTT 3.1.1. What was asked for and is not done when a connection is lost is
done on the next one; :meth:`Client.connect` begins it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any

from porttunnel.errors import (
    LinkBroken,
    LocalProtocolError,
    MessagingError,
    MqttError,
    PorttunnelError,
)
from porttunnel.mqtt import client_event as event
from porttunnel.mqtt.client_authentication import Authentication
from porttunnel.mqtt.client_budget import QueueBudget
from porttunnel.mqtt.client_incoming import IncomingMessages
from porttunnel.mqtt.client_limit import BrokerLimits, refusal
from porttunnel.mqtt.client_link import ClientLink
from porttunnel.mqtt.client_outgoing import OutgoingMessages
from porttunnel.mqtt.client_setting import ClientSettings
from porttunnel.mqtt.client_subscription import Subscriptions
from porttunnel.mqtt.packet import (
    Auth,
    Connack,
    Disconnect,
    Packet,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Version,
)
from porttunnel.mqtt.packet_id import PacketIds
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.reason import DISCONNECT_REASONS_OF_CLIENT, ReasonCode
from porttunnel.mqtt.topic import check_filter, split_shared

__all__ = ["Client", "ClientState"]

AHEAD_BYTES = 64 * 1024  # encoded and not sent, unless the driver says otherwise
MAX_UNSENT_BYTES = 4 << 20  # acknowledgements that the broker does not read: then nor do we


class ClientState(Enum):
    """Where the connection stands."""

    OFFLINE = "there is none"
    CONNECTING = "CONNECT is on its way; CONNACK has yet to come"
    CONNECTED = "the broker took us"
    CLOSING = "the last packet is on its way; nothing is received any more"


class Client:
    """See the module; speaks the verbs of :class:`porttunnel.machine.Machine`.

    Everything that is asked for has a token, with which one event says later what became of it:
    ``PublishFinished``, ``SubscribeFinished``, ``UnsubscribeFinished`` or ``RequestFailed``.

    :param settings: for all connections.
    :ivar state: where the connection stands.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self.state = ClientState.OFFLINE
        self._settings = settings
        self._version = settings.version
        self._budget = QueueBudget(settings.max_queued_bytes)
        ids = PacketIds()
        keep = settings.keep_messages
        self._outgoing = OutgoingMessages(self._version, ids, self._budget, keep=keep)
        self._subscriptions = Subscriptions(self._version, ids, self._budget)
        self._incoming = IncomingMessages(self._version, settings.receive_maximum)
        self._authentication = Authentication(settings.authentication_method)
        self._link = ClientLink(settings, 0.0)
        self._client_id = settings.client_id
        self._clean_start = settings.clean_start or not keep
        self._next_token = 1
        self._events: list[Any] = []
        self._ahead_bytes = AHEAD_BYTES

    # What a program asks for

    def connect(self, now: float) -> None:
        """There is a new connection: present ourselves.

        :raises LocalProtocolError: there is one already.
        """
        if self.state is not ClientState.OFFLINE:
            raise LocalProtocolError("the client has a connection already")
        self.state = ClientState.CONNECTING
        self._authentication.begin()
        self._link = ClientLink(self._settings, now)
        self._link.send(
            self._settings.connect_packet(self._client_id, clean_start=self._clean_start)
        )

    def publish(
        self,
        topic: str,
        payload: bytes | memoryview,
        *,
        qos: int = 0,
        retain: bool = False,
        properties: Properties = EMPTY,
    ) -> int:
        """Send a message now or, without a connection, on the next one; its token.

        :param payload: copied.
        :param properties: of PUBLISH, without a topic alias, which is chosen here.
        :raises QueueFull: nothing was taken; :attr:`has_room` tells when to go on.
        :raises LocalProtocolError: it is not a message that can be sent.
        """
        message = Publish(topic, payload, qos, retain, properties=properties)
        self._outgoing.publish(self._next_token, message)
        return self._draw_token()

    def subscribe(
        self, subscriptions: Sequence[Subscription], properties: Properties = EMPTY
    ) -> int:
        """Ask for the messages of some filters; the token.

        :param properties: of SUBSCRIBE: a subscription identifier, user properties.
        :raises QueueFull: nothing was taken.
        :raises LocalProtocolError: a filter is none, or an option can't be.
        """
        for wanted in subscriptions:
            try:
                check_filter(split_shared(wanted.filter)[1])
            except MqttError as error:
                raise LocalProtocolError(f"{error}: correct the filter") from error
        request = Subscribe(1, tuple(subscriptions), properties)
        self._subscriptions.ask(self._next_token, request)
        return self._draw_token()

    def unsubscribe(self, filters: Sequence[str], properties: Properties = EMPTY) -> int:
        """Ask for no more messages of some filters; the token.

        :raises QueueFull: nothing was taken.
        :raises LocalProtocolError: there is none, or one can't be written down.
        """
        request = Unsubscribe(1, tuple(filters), properties)
        self._subscriptions.ask(self._next_token, request)
        return self._draw_token()

    def finish(self, delivery: int, reason: ReasonCode = ReasonCode.SUCCESS) -> None:
        """The program is done with a message that it got: what is owed for it can go out.

        :param delivery: of its ``MessageReceived``.
        :param reason: 0x80 and above if it can't be used (told in MQTT 5).
        :raises LocalProtocolError: it is finished already.
        """
        self._incoming.finish(delivery, reason)
        self._acknowledge()

    def authenticate(self, properties: Properties) -> None:
        """Answer an ``AuthenticationReceived`` or, later, begin to authenticate anew.

        :param properties: of AUTH; the method's name is added.
        :raises LocalProtocolError: there is no method, it is not our turn, or it is too large.
        """
        packet = self._authentication.next_packet(
            properties,
            connected=self.state is ClientState.CONNECTED,
            max_packet_bytes=self._link.max_packet_bytes,
        )
        self._link.send(packet)
        self._link.await_answer()

    def disconnect(
        self,
        reason: ReasonCode = ReasonCode.NORMAL_DISCONNECTION,
        properties: Properties = EMPTY,
    ) -> None:
        """Say goodbye. What still waits is kept for another connection, or for
        :meth:`abandon`.

        :param reason: ``DISCONNECT_WITH_WILL_MESSAGE`` lets the broker publish the will.
        :param properties: of DISCONNECT; what is for people is left out where it is too much.
        """
        if self.state in (ClientState.CONNECTING, ClientState.CONNECTED):
            self._link.say_goodbye(Disconnect(reason, properties))
            self.state = ClientState.CLOSING

    def abandon(self, error: MessagingError) -> None:
        """There will be no other connection: fail all that is not done.

        :param error: for the events.
        """
        self._events += self._subscriptions.abandon(error)
        self._events += self._outgoing.abandon(error)

    @property
    def has_room(self) -> bool:
        """Whether who waited after a ``QueueFull`` should go on."""
        return self._budget.has_room

    @property
    def is_idle(self) -> bool:
        """Whether all that was asked for is done."""
        return not self._budget.used

    @property
    def wants_pause(self) -> bool:
        """Whether nothing should be read for now: the program has not finished what it got, or
        the broker takes no acknowledgements.
        """
        return (
            self._incoming.unfinished_bytes > self._settings.max_unfinished_bytes
            or self._link.unsent_bytes > MAX_UNSENT_BYTES
        )

    # The machine

    def receive_data(self, data: memoryview, now: float) -> None:
        try:
            for packet in self._link.packets(data, now):
                match self.state:
                    case ClientState.CONNECTED:
                        self._receive(packet)
                    case ClientState.CONNECTING:
                        self._receive_first(packet)
                    case _:
                        return
        except MqttError as error:
            self._fail(error, ReasonCode(error.reason))

    def receive_eof(self, now: float) -> None:
        if self.state is ClientState.OFFLINE:
            return
        if self.state is not ClientState.CLOSING:
            self._events.append(event.ConnectionLost())
        self.state = ClientState.OFFLINE
        self._link = ClientLink(self._settings, now)
        self._subscriptions.lose_connection()
        self._events += self._outgoing.lose_connection()
        self._incoming.lose_connection()

    def events(self) -> Iterator[Any]:
        while self._events:
            events, self._events = self._events, []
            yield from events

    def data_to_send(self) -> Sequence[memoryview]:
        if self.state is ClientState.CONNECTED:
            self._fill()
        return self._link.views()

    def data_sent(self, count: int) -> None:
        self._link.sent(count)

    def limit_ahead(self, count: int) -> None:
        self._ahead_bytes = count

    def next_deadline(self) -> float | None:
        if self.state in (ClientState.CONNECTING, ClientState.CONNECTED):
            return self._link.next_deadline()
        return None

    def handle_timeout(self, now: float) -> None:
        try:
            if self.next_deadline() is not None:
                self._link.check(now, reading=not self.wants_pause)
        except LinkBroken as error:
            self._fail(error)

    # What was received

    def _receive_first(self, packet: Packet) -> None:
        match packet:
            case Connack():
                self._receive_connack(packet)
            case Auth():
                self._receive_auth(packet)
            case _:
                raise MqttError("a packet came before CONNACK", ReasonCode.PROTOCOL_ERROR)

    def _receive(self, packet: Packet) -> None:
        match packet:
            case Publish():
                self._receive_message(packet)
            case Puback() | Pubrec() | Pubcomp():
                outcome = self._outgoing.acknowledged(packet)
                if isinstance(outcome, Pubrel):
                    self._link.send(outcome)
                elif outcome is not None:
                    self._events.append(outcome)
            case Pubrel():
                self._link.send(self._incoming.release(packet))
            case Suback() | Unsuback():
                answer = self._subscriptions.answered(packet)
                if answer is not None:
                    self._events.append(answer)
            case Pingresp():
                self._link.pong()
            case Auth():
                self._receive_auth(packet)
            case Disconnect() if self._version is Version.V5:
                self.state = ClientState.CLOSING
                self._events.append(event.Disconnected(packet.reason, packet.properties))
            case _:
                raise MqttError("a packet that a client never gets", ReasonCode.PROTOCOL_ERROR)

    def _receive_message(self, packet: Publish) -> None:
        topic, alias = packet.topic, packet.properties.topic_alias
        if alias is not None:
            topic = self._link.aliases.resolve(topic, alias)
        delivery = self._incoming.receive(packet)
        if delivery is None:
            self._acknowledge()
            return
        self._events.append(
            event.MessageReceived(
                delivery=delivery,
                topic=topic,
                payload=bytes(packet.payload),
                qos=packet.qos,
                retain=packet.retain,
                duplicate=packet.dup,
                properties=packet.properties,
            )
        )

    def _receive_connack(self, packet: Connack) -> None:
        said, settings, present = packet.properties, self._settings, packet.session_present
        if present and self._clean_start:
            raise MqttError("a session that can't be there", ReasonCode.PROTOCOL_ERROR)
        if packet.reason.is_failure:
            self.state = ClientState.CLOSING
            error = refusal("the connection", packet.reason, said)
            self._events.append(event.ConnectionRefused(error, said))
            return
        self.state = ClientState.CONNECTED
        self._client_id = said.assigned_client_identifier or self._client_id
        if self._version is Version.V5 and settings.keep_messages:
            expiry = said.session_expiry_interval
            self._clean_start = not (settings.session_expiry_seconds if expiry is None else expiry)
        limits = BrokerLimits.of(packet, settings.max_inflight)
        seconds = said.server_keep_alive
        if seconds is None:
            seconds = settings.keep_alive_seconds
        self._link.establish(seconds, limits.max_packet_bytes)
        self._events.append(event.Connected(present, self._client_id, said))
        self._incoming.begin(session_present=present)
        self._subscriptions.begin(limits, session_present=present)
        self._events += self._outgoing.begin(limits, session_present=present)

    def _receive_auth(self, packet: Auth) -> None:
        connected = self.state is ClientState.CONNECTED
        self._authentication.receive(packet, connected=connected)
        self._events.append(event.AuthenticationReceived(packet.reason, packet.properties))

    # What is sent

    def _fill(self) -> None:
        """Turn what waits into packets, a moderate amount."""
        while self._link.unsent_bytes < self._ahead_bytes:
            step = self._subscriptions.next_step() or self._outgoing.next_step()
            if step is None:
                return
            data, happened = step
            if data:
                self._link.send_encoded(data)
            if happened is not None:
                self._events.append(happened)

    def _acknowledge(self) -> None:
        if self.state is ClientState.CONNECTED:
            for packet in self._incoming.acknowledgements():
                self._link.send(packet)

    def _fail(self, error: PorttunnelError, reason: ReasonCode | None = None) -> None:
        """End the connection; a broker that would understand is told why."""
        told = self.state is ClientState.CONNECTED and self._version is Version.V5
        if reason is not None and told:
            # A wrong CONNECT of the broker's, for instance, has reasons that are CONNACK's.
            known = reason in DISCONNECT_REASONS_OF_CLIENT
            self._link.send(Disconnect(reason if known else ReasonCode.PROTOCOL_ERROR))
        self.state = ClientState.CLOSING
        self._events.append(event.ConnectionFailed(error))

    def _draw_token(self) -> int:
        token = self._next_token
        self._next_token += 1
        return token
