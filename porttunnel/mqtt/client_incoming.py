"""Messages to a client: who has them, what is owed for them, and in which order.

An acknowledgement goes out when the program is done with its message, and in the order in which
the messages came. What is known of QoS 2 messages outlives connections, so that none is given out
twice. Source: MQTT 5.0, sections 4.3, 4.4, 4.6 and 4.9.
"""

from __future__ import annotations

from collections import deque

from porttunnel.errors import LocalProtocolError, MqttError
from porttunnel.mqtt.client_budget import ENTRY_BYTES
from porttunnel.mqtt.packet import Puback, Pubcomp, Publish, Pubrec, Pubrel, Version
from porttunnel.mqtt.reason import PUBACK_REASONS, ReasonCode

__all__ = ["IncomingMessages"]


class _Message:
    __slots__ = (
        "acknowledged",
        "finished",
        "in_doubt",
        "owed",
        "packet_id",
        "qos",
        "reason",
        "size",
    )

    def __init__(self, message: Publish) -> None:
        self.packet_id = message.packet_id or 0
        self.qos = message.qos
        self.size = len(message.topic) + len(message.payload) + ENTRY_BYTES
        self.finished = False  # by the program
        self.owed = False  # an acknowledgement, on this connection
        self.acknowledged = False  # on any connection
        self.in_doubt = False  # whether the broker still means this one by its packet id
        self.reason = ReasonCode.SUCCESS


class IncomingMessages:
    """See the module.

    :param version: of all connections; 3.1.1 can't refuse a message, and knows no maximum.
    :param receive_maximum: how many QoS 1 and 2 messages the broker may have under way.

    :ivar unfinished_bytes: what the program has and is not done with.
    """

    def __init__(self, version: Version, receive_maximum: int) -> None:
        self.unfinished_bytes = 0
        self._version = version
        self._receive_maximum = receive_maximum
        self._deliveries: dict[int, _Message] = {}
        self._next_delivery = 1
        self._known: dict[int, _Message] = {}  # QoS 2, until PUBREL, by packet id
        self._owed: deque[_Message] = deque()  # acknowledgements on this connection, in order
        self._under_way: set[int] = set()  # counted against the maximum, on this connection
        self._has_begun = False  # this connection

    def begin(self, *, session_present: bool) -> None:
        """A connection is there; ``session_present``: the broker goes on where it stopped."""
        self._has_begun = True
        if not session_present:
            self._known.clear()

    def lose_connection(self) -> None:
        """The connection is gone, and with it what is owed; the broker will send again."""
        for entry in self._owed:
            entry.owed = False
        self._owed.clear()
        self._under_way.clear()
        if not self._has_begun:
            # Its CONNACK never came: the session that is present next may be a new one.
            for entry in self._known.values():
                entry.in_doubt = True
        self._has_begun = False

    def receive(self, message: Publish) -> int | None:
        """A message came.

        :returns: the number of its delivery, or None: the program has, or had, it already. Then
            :meth:`acknowledgements` may have something.
        :raises MqttError: more are under way than may be.
        """
        if message.packet_id is not None:
            self._count(message.packet_id)
        known = self._known.get(message.packet_id or 0)
        # What a broker sends once more on another connection says so.
        if known is not None and message.qos == 2 and (message.dup or not known.in_doubt):
            self._owe(known)
            return None
        entry = _Message(message)
        if entry.qos:
            self._owe(entry)
        if entry.qos == 2:
            self._known[entry.packet_id] = entry
        number = self._next_delivery
        self._next_delivery += 1
        self._deliveries[number] = entry
        self.unfinished_bytes += entry.size
        return number

    def finish(self, delivery: int, reason: ReasonCode = ReasonCode.SUCCESS) -> None:
        """The program is done with a message; :meth:`acknowledgements` may have something.

        :param reason: 0x80 and above: it can't use it. Then the broker is told, in MQTT 5.
        :raises LocalProtocolError: there is no such delivery, or it is finished already; or an
            acknowledgement can't say this reason.
        """
        if reason not in PUBACK_REASONS:
            raise LocalProtocolError(f"a message can't be finished with {reason.name}")
        entry = self._deliveries.pop(delivery, None)
        if entry is None:
            raise LocalProtocolError("a message was finished that is not unfinished")
        self.unfinished_bytes -= entry.size
        entry.finished = True
        if self._version is Version.V5:
            entry.reason = reason

    def acknowledgements(self) -> list[Puback | Pubrec]:
        """What can be acknowledged now."""
        packets: list[Puback | Pubrec] = []
        while self._owed and self._owed[0].finished:
            entry = self._owed.popleft()
            entry.owed = False
            entry.acknowledged = True
            if entry.qos == 1:
                packets.append(Puback(entry.packet_id, entry.reason))
            else:
                packets.append(Pubrec(entry.packet_id, entry.reason))
                if entry.reason.is_failure:
                    del self._known[entry.packet_id]
            if entry.qos == 1 or entry.reason.is_failure:
                self._under_way.discard(entry.packet_id)
        return packets

    def release(self, packet: Pubrel) -> Pubcomp:
        """The broker knows that we have a QoS 2 message; what to answer.

        :raises MqttError: it can't know that yet.
        """
        number = packet.packet_id
        entry = self._known.get(number)
        if entry is None:
            self._under_way.discard(number)
            return Pubcomp(number, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)
        if not entry.acknowledged:
            raise MqttError("a message was released too early", ReasonCode.PROTOCOL_ERROR)
        del self._known[number]
        self._under_way.discard(number)
        return Pubcomp(number)

    def _owe(self, entry: _Message) -> None:
        if not entry.owed:
            entry.owed = True
            self._owed.append(entry)

    def _count(self, packet_id: int) -> None:
        self._under_way.add(packet_id)
        if self._version is Version.V5 and len(self._under_way) > self._receive_maximum:
            raise MqttError(
                "the broker has more messages under way than it may",
                ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
            )
