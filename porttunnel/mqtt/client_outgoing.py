"""A client's own messages: those that wait, and those that the broker has not acknowledged.

They outlive connections, unless that is not wanted: a message under way when one was lost goes out
again on the next, with its old packet id, if the broker kept the session. Source: MQTT 5.0,
sections 4.3, 4.4, 4.6, 4.9.
"""

from __future__ import annotations

import struct
from collections import deque
from enum import Enum

from porttunnel.errors import LocalProtocolError, MessagingError, MqttError, OutcomeUnknown
from porttunnel.mqtt.client_budget import ENTRY_BYTES, QueueBudget
from porttunnel.mqtt.client_event import PublishFinished, RequestFailed
from porttunnel.mqtt.client_limit import BrokerLimits, refusal
from porttunnel.mqtt.field import write_topic
from porttunnel.mqtt.packet import PacketType, Puback, Pubcomp, Publish, Pubrec, Pubrel, Version
from porttunnel.mqtt.packet_id import PacketIds
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.property_codec import encode_properties
from porttunnel.mqtt.publish import (
    FLAG_DUP,
    FLAG_RETAIN,
    PUBREL,
    join_ack,
    join_publish,
    publish_first_byte,
)
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.topic_alias import OutgoingAliases

__all__ = ["Outcome", "OutgoingMessages", "OutgoingState"]

Outcome = PublishFinished | RequestFailed

MAX_MESSAGE_BYTES = 0x0FFFFFFF  # what a remaining length can say

_TOPIC_ALIAS = struct.Struct(">BH")
_TOPIC_ALIAS_NUMBER = 0x23  # of the property

_FORGOTTEN = (
    "The broker lost the session while it took this message, which may have arrived or not. "
    "Publish it again if twice is better than never."
)
_LOST = (
    "The connection to the broker was lost before it acknowledged this message, which may have "
    "arrived or not."
)


class OutgoingState(Enum):
    """How far a message has come."""

    WAITING = "not sent yet"
    PUBLISHED = "PUBLISH sent; PUBACK or PUBREC has yet to come"
    RELEASED = "PUBREC received; PUBCOMP has yet to come"


class _Message:
    """The parts of a PUBLISH, as bytes: a topic alias and the packet id come when it is sent."""

    __slots__ = (
        "counted",
        "first_byte",
        "packet_id",
        "payload",
        "properties",
        "qos",
        "size",
        "state",
        "token",
        "topic",
    )

    def __init__(self, token: int, message: Publish, version: Version) -> None:
        if not message.topic:
            raise LocalProtocolError("a topic has one character at least: give the message one")
        if message.properties.topic_alias or message.properties.subscription_identifiers:
            raise LocalProtocolError("topic aliases and subscription identifiers are not given")
        self.token = token
        self.qos = message.qos
        self.first_byte = publish_first_byte(message.qos, retain=message.retain)
        self.topic = write_topic(message.topic)[2:]
        self.properties: bytes | None = None
        if version is Version.V5:
            self.properties = encode_properties(message.properties, PacketType.PUBLISH)
        self.payload = bytes(message.payload)
        self.size = len(self.topic) + len(self.properties or b"") + len(self.payload) + ENTRY_BYTES
        if self.size > MAX_MESSAGE_BYTES:
            raise LocalProtocolError("MQTT has no room for so much in a message: send it in parts")
        self.packet_id = 0
        self.state = OutgoingState.WAITING
        self.counted = False  # against the broker's receive maximum, on this connection

    @property
    def retain(self) -> bool:
        return bool(self.first_byte & FLAG_RETAIN)


class OutgoingMessages:
    """See the module. Messages go out in the order in which they were published.

    :param version: of all connections.
    :param ids: shared with the subscriptions of the same client.
    :param budget: shared likewise.
    :param keep: whether they outlive connections.
    """

    def __init__(
        self, version: Version, ids: PacketIds, budget: QueueBudget, *, keep: bool = True
    ) -> None:
        self._version = version
        self._ids = ids
        self._budget = budget
        self._keep = keep
        self._waiting: deque[_Message] = deque()
        self._under_way: dict[int, _Message] = {}
        self._again: deque[_Message] = deque()  # under way, not yet sent on this connection
        self._limits: BrokerLimits | None = None
        self._aliases = OutgoingAliases(0)
        self._quota = 0

    def publish(self, token: int, message: Publish) -> None:
        """Queue a message.

        :param message: without packet id and topic alias, which it gets when it is sent.
        :raises QueueFull: nothing was taken.
        :raises LocalProtocolError: it is not one that can be sent.
        """
        entry = _Message(token, message, self._version)
        self._budget.take(entry.size)
        self._waiting.append(entry)

    def begin(self, limits: BrokerLimits, *, session_present: bool) -> list[RequestFailed]:
        """A connection is there.

        :param session_present: whether the broker knows what is under way. If not, QoS 1
            messages are published anew, and what became of QoS 2 messages nobody can tell.
        """
        self._limits = limits
        self._aliases = OutgoingAliases(limits.topic_alias_maximum)
        self._quota = limits.receive_maximum
        if session_present:
            self._again.extend(self._under_way.values())
            return []
        forgotten = list(self._under_way.values())
        self._under_way.clear()
        for entry in reversed(forgotten):
            self._ids.release(entry.packet_id)
            entry.state = OutgoingState.WAITING
            if entry.qos == 1:
                self._waiting.appendleft(entry)
        error = OutcomeUnknown(_FORGOTTEN)
        return [self._fail(entry, error) for entry in forgotten if entry.qos == 2]

    def lose_connection(self) -> list[RequestFailed]:
        """The connection is gone; what fails by that."""
        self._limits = None
        if not self._keep:
            return self.abandon(OutcomeUnknown(_LOST))
        self._again.clear()
        for entry in self._under_way.values():
            entry.counted = False
        return []

    def next_step(self) -> tuple[bytes, Outcome | None] | None:
        """The next packet that can be sent now, and what that makes known; the packet is empty
        if it can't be sent. None: nothing can be sent now.
        """
        limits = self._limits
        if limits is None:
            return None
        while self._again:
            entry = self._again[0]
            if self._under_way.get(entry.packet_id) is not entry:
                # Acknowledged before we got to it, for what was sent on the last connection.
                self._again.popleft()
                continue
            if entry.state is OutgoingState.PUBLISHED and not self._quota:
                return None
            self._again.popleft()
            if entry.state is OutgoingState.RELEASED:
                return join_ack(PUBREL, entry.packet_id), None
            return self._send(entry, limits, dup=True)
        if not self._waiting:
            return None
        entry = self._waiting[0]
        if entry.qos and not self._allot(entry):
            return None
        self._waiting.popleft()
        return self._send(entry, limits, dup=False)

    def acknowledged(self, packet: Puback | Pubrec | Pubcomp) -> Pubrel | Outcome | None:
        """The broker acknowledged something; what to answer, or what it makes known.

        :raises MqttError: in a way that does not fit to what was sent.
        """
        entry = self._under_way.get(packet.packet_id)
        if entry is None:
            # A message that we don't know: only a PUBREC wants an answer.
            if isinstance(packet, Pubrec) and not packet.reason.is_failure:
                return Pubrel(packet.packet_id, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)
            return None
        match packet, entry.qos, entry.state:
            case Puback(), 1, _:
                return self._finish(entry, packet.reason, packet.properties)
            case Pubcomp(), 2, OutgoingState.RELEASED:
                # It may say that it knows no such message: then it had said PUBCOMP before, on a
                # connection that was lost. It has the message.
                return self._finish(entry, ReasonCode.SUCCESS, packet.properties)
            case (Pubrec(), 2, _) if packet.reason.is_failure:
                return self._finish(entry, packet.reason, packet.properties)
            case Pubrec(), 2, _:
                entry.state = OutgoingState.RELEASED
                return Pubrel(entry.packet_id)
        raise MqttError(
            "an acknowledgement does not fit to its message", ReasonCode.PROTOCOL_ERROR
        )

    def abandon(self, error: MessagingError) -> list[RequestFailed]:
        """Fail all that is unfinished: nothing more will be sent."""
        entries = [*self._under_way.values(), *self._waiting]
        for number in self._under_way:
            self._ids.release(number)
        self._under_way.clear()
        self._again.clear()
        self._waiting.clear()
        return [self._fail(entry, error) for entry in entries]

    def _allot(self, entry: _Message) -> bool:
        """Give a packet id, if the broker takes one more message now, and one is free."""
        number = self._ids.allocate() if self._quota else None
        if number is None:
            return False
        entry.packet_id = number
        entry.state = OutgoingState.PUBLISHED
        self._under_way[number] = entry
        return True

    def _send(
        self, entry: _Message, limits: BrokerLimits, *, dup: bool
    ) -> tuple[bytes, Outcome | None]:
        refused = limits.check_message(entry.qos, retain=entry.retain)
        data = b""
        if refused is None:
            data = self._encode(entry, limits.max_packet_bytes, dup=dup)
            if len(data) > limits.max_packet_bytes:
                refused = limits.too_large()
        if refused is not None:
            if entry.qos:
                self._release(entry)
            return b"", self._fail(entry, refused)
        if entry.qos:
            self._quota -= 1
            entry.counted = True
            return data, None
        self._budget.give_back(entry.size)
        return data, PublishFinished(entry.token, 0, EMPTY)

    def _encode(self, entry: _Message, max_bytes: int, *, dup: bool) -> bytes:
        first_byte = entry.first_byte | FLAG_DUP if dup else entry.first_byte
        topic, alias = self._aliases.shorten(entry.topic)
        if alias is not None:
            properties = (entry.properties or b"") + _TOPIC_ALIAS.pack(_TOPIC_ALIAS_NUMBER, alias)
            data = join_publish(first_byte, topic, entry.packet_id, properties, entry.payload)
            # Naming an alias for the first time makes a packet a little larger.
            if len(data) <= max_bytes:
                self._aliases.remember(entry.topic, alias)
                return data
        return join_publish(
            first_byte, entry.topic, entry.packet_id, entry.properties, entry.payload
        )

    def _finish(self, entry: _Message, reason: ReasonCode, properties: Properties) -> Outcome:
        self._release(entry)
        if entry.counted:
            self._quota += 1
        if reason.is_failure:
            return self._fail(entry, refusal("the message", reason, properties))
        self._budget.give_back(entry.size)
        return PublishFinished(entry.token, reason, properties)

    def _release(self, entry: _Message) -> None:
        del self._under_way[entry.packet_id]
        self._ids.release(entry.packet_id)

    def _fail(self, entry: _Message, error: MessagingError) -> RequestFailed:
        self._budget.give_back(entry.size)
        return RequestFailed(entry.token, error)
