"""What one client publishes: whether it may, where it goes, and what it is told.

Source: MQTT 5.0, sections 3.3 to 3.7 and 4.3; MQTT 3.1.1, sections 3.3 to 3.7 and 4.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from weakref import ref

from msgspec.structs import replace

from porttunnel.errors import MqttError
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.exchange import Exchange, reason_of
from porttunnel.mqtt.message import Delivery, Message, make_message
from porttunnel.mqtt.packet import PacketType, Puback, Pubcomp, Pubrec, Pubrel, Version
from porttunnel.mqtt.policy import checked_topic
from porttunnel.mqtt.property import Properties
from porttunnel.mqtt.property_codec import decode_properties
from porttunnel.mqtt.publication import SHARED_BYTES
from porttunnel.mqtt.publish import (
    FLAG_RETAIN,
    PUBACK,
    PUBCOMP,
    join_ack,
    split_publish,
    topic_name,
)
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.route import Reach, Route, Target
from porttunnel.mqtt.session import Session
from porttunnel.mqtt.topic import check_depth
from porttunnel.mqtt.topic_alias import IncomingAliases

__all__ = ["Intake"]

# Remembered for a client. Most publish on one or two topics; who answers many, on one for each.
MAX_ROUTES = 256
MAX_ROUTE_TOPIC_BYTES = 128  # longer ones are looked up each time; so all take 70 KiB at most

MIN_BYTES = 4  # a PUBACK; a PUBLISH is not shorter
_ID_BYTES = 2
_NO_ID = bytes(_ID_BYTES)
_NO_ROUTE = type(None)  # in place of one that is not known: to call it makes None
_PUBACK_BEGINNING = bytes((PUBACK, _ID_BYTES))
_PUBLISH_QOS_0, _PUBLISH_QOS_1 = 0x30, 0x32
_PLAIN = frozenset((_PUBLISH_QOS_0, _PUBLISH_QOS_1, PUBACK))
_PLAIN_QOS_0 = frozenset((_PUBLISH_QOS_0, PUBACK))
_AT_MOST_ONCE, _AT_LEAST_ONCE, _EXACTLY_ONCE = range(3)


class Intake:
    """See the module; one for each connection.

    :param version: of the connection.
    :ivar session: the client's.
    :ivar routes: by the topic's bytes, of topics that the client may publish on; the policy may
        have made another topic of it. Each is right as long as its generation is the tree's. It
        is not held here: a client that falls silent would hold all whom it reached ever.
    :ivar acknowledgements: to be sent, by whoever calls :meth:`walk`, who empties it.
    :ivar received: messages, counted by :meth:`walk` and emptied likewise.
    """

    __slots__ = (
        "_aliases",
        "_exchange",
        "_length_bytes",
        "_limit",
        "_plain",
        "_reach",
        "_tree",
        "_version",
        "acknowledgements",
        "received",
        "routes",
        "session",
    )

    def __init__(self, exchange: Exchange, session: Session, version: Version) -> None:
        self._exchange = exchange
        self.session = session
        self._version = version
        self._reach = exchange.counters.reach  # of all
        self.acknowledgements = bytearray()
        self.received = 0
        profile = session.profile
        self._aliases = IncomingAliases(profile.topic_alias_maximum)
        # What every packet is looked at with.
        self._tree = exchange.tree
        self._limit = profile.max_packet_bytes
        self._plain = _PLAIN if profile.max_qos else _PLAIN_QOS_0
        self._length_bytes = 1 if version is Version.V5 else 0  # of properties that aren't there
        self.routes: dict[bytes, Callable[[], Route | None]] = {}

    def walk(self, raw: bytes, offset: int, now: float) -> int:
        """Pass on the plain packets that lie here one after the other.

        Plain are PUBLISH with QoS 0 and 1, not retained, without properties, and PUBACK that says
        success: of them no object is made. A row of messages of QoS 0 with the same topic and size
        goes out as one piece.

        :param raw: the connection's bytes.
        :param offset: where a packet begins.
        :returns: where the first begins that is not plain, not whole, or wrong.
        """
        session = self.session
        routes = self.routes
        tree = self._tree
        limit = self._limit
        plain = self._plain
        length_bytes = self._length_bytes
        end = len(raw)
        while end - offset >= MIN_BYTES:
            kind = raw[offset]
            if kind not in plain:
                break
            length = raw[offset + 1]
            start = offset + 2
            if kind == PUBACK:
                packet_id = raw[start] << 8 | raw[start + 1]
                if length != _ID_BYTES or not packet_id:
                    break
                session.receive_puback(packet_id, now)
                offset = start + _ID_BYTES
                continue
            if length & 0x80:
                # Two bytes of length are common, more are not.
                if not 0 < raw[start] < 0x80:
                    break
                length = length & 0x7F | raw[start] << 7
                start += 1
            stop = start + length
            if stop > end or stop - offset > limit:
                break
            name_end = start + 2 + (raw[start] << 8 | raw[start + 1])
            payload = name_end + length_bytes + (kind & 2)
            if payload > stop or (length_bytes and raw[payload - 1]):
                break
            name = raw[start + 2 : name_end]
            route = routes.get(name, _NO_ROUTE)()
            if route is None or route.generation != tree.generation:
                route = self._learn(name)
                if route is None:
                    break
            if kind == _PUBLISH_QOS_0:
                size = stop - offset
                begin = offset
                offset = stop
                last = end - size
                if offset <= last:
                    prefix = raw[begin:payload]
                    while offset <= last and raw.startswith(prefix, offset):
                        offset += size
                row = raw[begin:offset]
                is_same = route.encoded == name
                if not self._pass_row(route, row, size, payload - begin, now, is_same=is_same):
                    break
            else:
                is_same = route.encoded == name
                walked = self._pass_each(
                    route, raw, offset, name_end, stop, is_same=is_same, now=now
                )
                stays = walked == offset
                offset = walked
                if stays or session.outbox is None:
                    break
        return offset

    def _pass_row(
        self,
        route: Route,
        packets: bytes,
        size: int,
        head_bytes: int,
        now: float,
        *,
        is_same: bool,
    ) -> bool:
        """Messages of QoS 0 with one topic, all as large.

        :param size: of each packet.
        :param head_bytes: what stands before the payload of each.
        :param is_same: whether their topic is the route's: then they can go on as they are.
        :returns: False if the policy has sent the client away.
        """
        self.received += len(packets) // size
        others: Sequence[Target] | None = ()
        if is_same and route.is_plain:
            others = route.pass_on(packets, size, self._version, self._reach)
            if others is None:
                return True
        for begin in range(0, len(packets), size):
            if self.session.outbox is None:
                return False
            message = Message(route.topic, packets[begin + head_bytes : begin + size])
            if others:
                route.deliver_to(others, message, self.session, self._reach, now)
            else:
                self._publish(message, now)
        return self.session.outbox is not None

    def _pass_each(
        self,
        route: Route,
        raw: bytes,
        offset: int,
        name_end: int,
        stop: int,
        *,
        is_same: bool,
        now: float,
    ) -> int:
        """Messages of QoS 1 with one topic, all as large.

        :param offset: where the first packet begins.
        :param name_end: where its topic ends.
        :param stop: where it ends itself.
        :param is_same: whether their topic is the route's: then they can go on as they are.
        :returns: where the first begins that is none, or wrong.
        """
        session, reach, tree = self.session, self._reach, self._tree
        version, length_bytes = self._version, self._length_bytes
        size = stop - offset
        head = raw[offset:name_end]
        body = name_end - offset + _ID_BYTES  # where it begins in the packet
        goes_on = is_same and route.is_plain and size - body < SHARED_BYTES
        last = len(raw) - size
        while True:
            packet_id = raw[offset + body - 2 : offset + body]
            tail = raw[offset + body : offset + size]
            if packet_id == _NO_ID or (length_bytes and tail[0]):
                return offset
            self.received += 1
            taken, dropped = reach.taken, reach.dropped
            message = Message(route.topic, tail[length_bytes:], 1)
            if goes_on:
                delivery = Delivery(message, 1, False, route.topic)
                others = route.pass_one_on(delivery, version, head, tail, reach)
                if others:
                    message.remember(version, 1, (head, tail))
                    route.deliver_to(others, message, session, reach, now)
            else:
                if is_same:
                    message.remember(version, 1, (head, tail))
                route.deliver(message, session, reach, now)
            if reach.taken != taken:
                self.acknowledgements += _PUBACK_BEGINNING + packet_id
            else:
                own = Reach(0, reach.dropped - dropped)
                reach.dropped = dropped
                self._exchange.account(own, message, session.client, now)
                number = int.from_bytes(packet_id, "big")
                self.acknowledgements += self.acknowledge(_AT_LEAST_ONCE, number, reason_of(own))
                if session.outbox is None:
                    return offset + size
            offset += size
            if (
                offset > last
                or not raw.startswith(head, offset)
                or route.generation != tree.generation
            ):
                return offset

    def _learn(self, encoded: bytes) -> Route | None:
        """The route of a topic if the client may publish on it, for :attr:`routes`.

        :param encoded: the topic without its length.
        :returns: None if it may not, was sent away for it, or an alias stands for the topic.
        :raises MqttError: it is no topic.
        """
        if not encoded:
            return None
        topic = topic_name(encoded)
        check_depth(topic)
        answer = self._exchange.policy.authorise_publish(self.session.client, topic)
        inner = checked_topic(answer, topic)
        if isinstance(inner, ReasonCode) or self.session.outbox is None:
            return None
        route = self._exchange.routes.find(inner)
        if len(self.routes) >= MAX_ROUTES:
            self.routes.clear()
        if len(encoded) <= MAX_ROUTE_TOPIC_BYTES:
            self.routes[encoded] = ref(route)
        return route

    def receive_publish(self, first_byte: int, body: memoryview, now: float) -> bytes:
        """A PUBLISH came that is not plain; what is to be answered, or no bytes.

        :param first_byte: 0x30 to 0x3F.
        :param body: all of it.
        :raises MqttError: it is wrong, or the client had no right to send it.
        """
        self.received += 1
        name, packet_id, block, payload = split_publish(first_byte, body, self._version)
        self._exchange.packets.weigh(len(block))
        properties = decode_properties(block, PacketType.PUBLISH)
        qos = first_byte >> 1 & 3
        retain = bool(first_byte & FLAG_RETAIN)
        self._check(qos, retain, properties)
        if name or properties.topic_alias is None:
            topic = topic_name(name)
            check_depth(topic)
        else:
            topic = ""
        if properties.topic_alias is not None:
            topic = self._aliases.resolve(topic, properties.topic_alias)
        if qos == _EXACTLY_ONCE:
            if packet_id in self.session.incoming:
                return encode(Pubrec(packet_id), self._version)
            if not self.session.may_note():
                if self._version is Version.V3_1_1:
                    raise MqttError("a QoS 2 message has no room", ReasonCode.QUOTA_EXCEEDED)
                return self.acknowledge(qos, packet_id, ReasonCode.QUOTA_EXCEEDED)
        answer = self._authorise(topic, properties)
        if self.session.outbox is None:
            return b""  # the policy has sent the client away
        if isinstance(answer, ReasonCode):
            return self.acknowledge(qos, packet_id, answer)
        topic, seen = answer
        message = make_message(
            topic,
            bytes(payload),
            qos,
            retain,
            seen,
            now=now,
            encoded=bytes(block) if seen is properties else None,
        )
        return self.acknowledge(qos, packet_id, self._publish(message, now))

    def receive_pubrel(self, packet: Pubrel) -> bytes:
        """The client will not send this QoS 2 message again; the PUBCOMP."""
        if self.session.release(packet.packet_id):
            return join_ack(PUBCOMP, packet.packet_id)
        reason = ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
        return encode(Pubcomp(packet.packet_id, reason), self._version)

    def acknowledge(self, qos: int, packet_id: int, reason: ReasonCode) -> bytes:
        """The PUBACK or PUBREC, or no bytes with QoS 0."""
        if qos == _AT_MOST_ONCE:
            return b""
        if qos == _AT_LEAST_ONCE:
            if reason is ReasonCode.SUCCESS:
                return join_ack(PUBACK, packet_id)
            return encode(Puback(packet_id, reason), self._version)
        # In 3.1.1 nobody is told of a refusal, and goes on as if there were none.
        goes_on = not reason.is_failure or self._version is Version.V3_1_1
        # The policy, asked about the message, may have ended the session.
        if goes_on and self._exchange.sessions.get(self.session.name) is self.session:
            self.session.note(packet_id)
        return encode(Pubrec(packet_id, reason), self._version)

    def _publish(self, message: Message, now: float) -> ReasonCode:
        """Give a message that the client may publish to all who want it.

        :raises MqttError: there is no room to keep it, and 3.1.1 can't say so.
        """
        session = self.session
        try:
            reach = self._exchange.publish(message, session.client, session, now)
        except MqttError as error:
            if self._version is Version.V3_1_1:
                raise  # it has no word for it but the end [MQTT-4.8.0-2]
            return ReasonCode(error.reason)
        return reason_of(reach)

    def _check(self, qos: int, retain: bool, properties: Properties) -> None:
        profile = self.session.profile
        if qos > profile.max_qos:
            raise MqttError("a message's QoS is not allowed", ReasonCode.QOS_NOT_SUPPORTED)
        if retain and not profile.retain_available:
            raise MqttError(
                "messages are not retained here: publish without", ReasonCode.RETAIN_NOT_SUPPORTED
            )
        if properties.subscription_identifiers:  # [MQTT-3.3.4-6]
            raise MqttError("a client's PUBLISH names a subscription", ReasonCode.PROTOCOL_ERROR)

    def _authorise(
        self, topic: str, properties: Properties
    ) -> tuple[str, Properties] | ReasonCode:
        """Where a message goes, and what its receivers see; or a refusal."""
        policy = self._exchange.policy
        client = self.session.client
        inner = checked_topic(policy.authorise_publish(client, topic), topic)
        if isinstance(inner, ReasonCode):
            return inner
        asked = properties.response_topic
        if asked is not None:
            seen = checked_topic(policy.authorise_response_topic(client, asked), asked)
            if isinstance(seen, ReasonCode):
                return seen
            if seen != asked:
                properties = replace(properties, response_topic=seen)
        return inner, properties
