"""A session's messages to its client: those under way, and those that wait.

They outlive connections. Order: what was under way when the connection was lost goes first, then
retained messages that a new subscription brought, then what waits. Source: MQTT 5.0, sections
4.3, 4.4, 4.6 and 4.9.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from math import inf

import msgspec

from porttunnel.errors import MqttError
from porttunnel.mqtt.keeping import ID_BYTES, HeldBytes, Outcome
from porttunnel.mqtt.message import Delivery
from porttunnel.mqtt.paced_outbox import PacedOutbox
from porttunnel.mqtt.packet_id import MAX_PACKET_ID, next_id
from porttunnel.mqtt.policy import Profile
from porttunnel.mqtt.publication import send_parts, send_publication
from porttunnel.mqtt.publish import PUBREL, join_ack
from porttunnel.mqtt.reason import ReasonCode

__all__ = ["HeldBytes", "Outcome", "Outgoing"]

BACKLOG_BYTES = 1_000  # what a subscription's retained messages take before they are looked for
SWEEP_SECONDS = 5.0  # at least so long between two looks for what has expired in a full queue


_SENT = Outcome.SENT


class _Released(msgspec.Struct, frozen=True, eq=False):
    """In place of a QoS 2 message whose PUBREC has come: PUBCOMP is awaited. Costs ID_BYTES."""


_RELEASED = _Released()

_NOTHING: deque[Delivery] = deque()  # for those who keep nothing waiting: most, at 600 bytes each


class _Backlog(msgspec.Struct, eq=False):
    """Retained messages that are sent when there is room, made only then; or one of QoS 0 that
    came after them. With None in their place, they go on later by themselves.
    """

    deliveries: Iterator[Delivery | None]
    cost: int


class Outgoing:
    """See the module.

    :param profile: how much may wait and be under way.
    :param all_held: of all sessions together.
    :ivar outbox: of the client's connection, or None while it has none.
    :ivar held_bytes: what the messages take.
    :ivar dropped: messages for which there was no room.
    """

    __slots__ = (
        "_again",
        "_all_held",
        "_backlog",
        "_inflight",
        "_last_id",
        "_queue",
        "_quota",
        "_swept_at",
        "dropped",
        "held_bytes",
        "outbox",
        "profile",
    )

    def __init__(self, profile: Profile, all_held: HeldBytes) -> None:
        self.profile = profile
        self._all_held = all_held
        self.outbox: PacedOutbox | None = None
        self.held_bytes = 0
        self.dropped = 0
        self._inflight: dict[int, Delivery | _Released] = {}
        self._queue = _NOTHING
        # Lists, which are a tenth of a deque's size: both are empty nearly always.
        self._backlog: list[_Backlog] = []
        self._again: list[int] = []  # oldest last
        self._last_id = 0
        self._quota = 0
        self._swept_at = -inf

    @property
    def is_behind(self) -> bool:
        """Whether something waits that must go out before anything new."""
        return bool(self._again or self._backlog or self._queue)

    @property
    def is_pressed(self) -> bool:
        """Whether who publishes to it had better wait."""
        outbox, all_held = self.outbox, self._all_held
        free = min(self.profile.max_queued_bytes, all_held.limit - all_held.held)
        return outbox is not None and (
            outbox.waiting_bytes > outbox.high_bytes or self.held_bytes > free // 2
        )

    def attach(self, outbox: PacedOutbox, receive_maximum: int, now: float) -> None:
        """A connection is there; what was under way, and waits, goes out.

        :param receive_maximum: QoS 1 and 2 messages that the client takes at a time.
        """
        self.outbox = outbox
        quota = min(receive_maximum, self.profile.max_inflight)
        again: list[int] = []
        for packet_id, delivery in self._inflight.items():
            if delivery is _RELEASED:
                outbox.send(join_ack(PUBREL, packet_id))
                # It takes its place though its PUBLISH is not sent again: otherwise a client that
                # never sends PUBCOMP would have more under way after each connection.
                quota -= 1
            else:
                again.append(packet_id)
        again.reverse()
        self._again = again
        self._quota = quota
        self.pump(now)

    def detach(self) -> None:
        """The connection is gone."""
        self.outbox = None
        self._quota = 0
        self._again.clear()

    def deliver(self, delivery: Delivery, now: float) -> Outcome:
        """Send a message to the client, or keep it until it can be sent."""
        outbox = self.outbox
        if delivery.qos == 0 and (outbox is None or not self._backlog):
            return self._deliver_at_most_once(outbox, delivery, now)
        cost = delivery.message.cost
        all_held = self._all_held
        if (
            self.held_bytes + cost > self.profile.max_queued_bytes
            or all_held.held + self.held_bytes + cost > all_held.limit
        ) and not self._make_room(cost, now):
            self.dropped += 1
            return Outcome.DROPPED
        self.held_bytes += cost
        all_held.held += cost
        if delivery.qos == 0:
            # Not behind messages that wait for acknowledgements: later ones would overtake it.
            self._backlog.append(_Backlog(iter((delivery,)), cost))
            return Outcome.QUEUED
        if (
            outbox is None
            or self._quota <= 0
            or self._queue
            or self._again
            or self._backlog
            or outbox.waiting_bytes >= outbox.limit_bytes
        ):
            if self._queue is _NOTHING:
                self._queue = deque()
            self._queue.append(delivery)
            return Outcome.QUEUED
        self._send_new(outbox, delivery, now)
        return _SENT

    def _make_room(self, cost: int, now: float) -> bool:
        """Throw out of a full queue what has expired; whether there is room now."""
        if now < self._swept_at + SWEEP_SECONDS:
            return False
        self._swept_at = now
        kept: deque[Delivery] = deque()
        for delivery in self._queue:
            if delivery.message.has_expired(now):
                self._charge(-delivery.message.cost)
            else:
                kept.append(delivery)
        self._queue = kept or _NOTHING
        return self._has_room(cost)

    def _has_room(self, cost: int) -> bool:
        is_free = self.held_bytes + cost <= self.profile.max_queued_bytes
        return is_free and self._all_held.has_room(cost, self.held_bytes)

    def pass_on(self, delivery: Delivery, version: int, head: bytes, tail: bytes) -> bool:
        """Send a QoS 1 message in the packet that it came in, if nothing stands in its way.

        :param delivery: one that is not special.
        :param version: of this packet; ``head`` and ``tail`` stand around its identifier.
        :returns: whether it was sent; if not, nothing has happened (:meth:`deliver`).
        """
        outbox = self.outbox
        size = len(head) + 2 + len(tail)
        cost = delivery.message.cost
        all_held = self._all_held
        if (
            outbox is None
            or outbox.plain_version != version
            or self._quota <= 0
            or self._queue
            or outbox.waiting_bytes >= outbox.limit_bytes
            or size > outbox.packet_limit
            or self.held_bytes + cost > self.profile.max_queued_bytes
            or all_held.held + self.held_bytes + cost > all_held.limit
        ):
            return False
        self.held_bytes += cost
        all_held.held += cost
        inflight = self._inflight
        packet_id = self._last_id + 1  # nearly always; this is done for each message
        if packet_id > MAX_PACKET_ID or packet_id in inflight:
            packet_id = next_id(self._last_id, inflight)
        self._last_id = packet_id
        inflight[packet_id] = delivery
        self._quota -= 1
        outbox.pieces.append(b"".join((head, packet_id.to_bytes(2, "big"), tail)))
        outbox.waiting_bytes += size
        if not outbox.is_ready:
            outbox.touch()
        return True

    def _deliver_at_most_once(
        self, outbox: PacedOutbox | None, delivery: Delivery, now: float
    ) -> Outcome:
        if outbox is None:
            return Outcome.ABSENT
        if outbox.waiting_bytes >= outbox.limit_bytes:
            self.dropped += 1
            return Outcome.DROPPED
        send_publication(outbox, delivery, 0, now)
        return _SENT

    def deliver_retained(self, deliveries: Iterator[Delivery | None], now: float) -> None:
        """Send retained messages as there is room for them, before anything that comes later.

        :param deliveries: made, and looked for, only then: otherwise a client that subscribes to
            everything again and again would cost more than it can read. After each None it sees
            to it that :meth:`pump` is called.
        """
        if not self._has_room(BACKLOG_BYTES):
            self.dropped += 1
            return
        self._charge(BACKLOG_BYTES)
        self._backlog.append(_Backlog(deliveries, BACKLOG_BYTES))
        if self.outbox is not None:
            self.outbox.plain_version = 0  # nothing overtakes them
        self.pump(now)

    def pump(self, now: float) -> None:
        """Send what waits, as far as there is room."""
        outbox = self.outbox
        if outbox is None:
            return
        while self._again and self._send_again(outbox, now):
            pass
        if self._again:
            return
        while self._backlog and outbox.waiting_bytes < outbox.limit_bytes:
            if self._quota <= 0:
                return
            backlog = self._backlog[0]
            delivery = next(backlog.deliveries, backlog)
            if delivery is None:
                return
            if isinstance(delivery, _Backlog):
                self._charge(-self._backlog.pop(0).cost)
            elif delivery.message.has_expired(now):
                continue
            elif delivery.qos:
                self._charge(delivery.message.cost)
                self._send_new(outbox, delivery, now)
            else:
                send_publication(outbox, delivery, 0, now)
        if self._backlog:
            return
        outbox.plain_version = outbox.version if outbox.aliases is None else 0
        queue = self._queue
        while queue and outbox.waiting_bytes < outbox.limit_bytes:
            delivery = queue[0]
            if delivery.message.has_expired(now):
                self._charge(-delivery.message.cost)
            elif self._quota > 0:
                self._send_new(outbox, delivery, now)
            else:
                break
            queue.popleft()
        if not queue:
            self._queue = _NOTHING

    def receive_puback(self, packet_id: int, now: float) -> None:
        """The client has a QoS 1 message; whether it liked it makes no difference.

        :raises MqttError: the message was sent with QoS 2.
        """
        delivery = self._inflight.get(packet_id)
        if delivery is None:
            return  # of an earlier session, or a second time
        if type(delivery) is not Delivery or delivery.qos != 1:
            raise MqttError("a PUBACK answers a QoS 2 message", ReasonCode.PROTOCOL_ERROR)
        del self._inflight[packet_id]
        cost = delivery.message.cost
        self.held_bytes -= cost
        self._all_held.held -= cost
        if not self._again or packet_id not in self._again:
            self._quota += 1
        if self._queue or self._again or self._backlog:
            self.pump(now)

    def receive_pubrec(self, packet_id: int, reason: ReasonCode, now: float) -> ReasonCode | None:
        """The client has a QoS 2 message, or refuses it.

        :returns: the reason for the PUBREL that is to be sent, or None for no PUBREL.
        :raises MqttError: the message was sent with QoS 1.
        """
        delivery = self._inflight.get(packet_id)
        if delivery is None:
            return None if reason.is_failure else ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
        if isinstance(delivery, Delivery):
            if delivery.qos != 2:
                raise MqttError("a PUBREC answers a QoS 1 message", ReasonCode.PROTOCOL_ERROR)
            self._charge(-delivery.message.cost)
            has_place = packet_id not in self._again
            del self._inflight[packet_id]
            if reason.is_failure:
                self._finish(now, has_place=has_place)
                return None
            # At the end, so that those stand in the order of their PUBRECs.
            self._inflight[packet_id] = _RELEASED
            self._charge(ID_BYTES)
            if not has_place:
                self._quota -= 1
        return ReasonCode.SUCCESS

    def receive_pubcomp(self, packet_id: int, now: float) -> None:
        """The client has forgotten the id of a QoS 2 message.

        :raises MqttError: it had not yet said that it has the message.
        """
        delivery = self._inflight.get(packet_id)
        if delivery is None:
            return
        if isinstance(delivery, Delivery):
            raise MqttError("a PUBCOMP comes before its PUBREC", ReasonCode.PROTOCOL_ERROR)
        del self._inflight[packet_id]
        self._charge(-ID_BYTES)
        self._finish(now, has_place=True)

    def discard(self) -> None:
        """Forget all messages: the session ends."""
        self._all_held.held -= self.held_bytes
        self.held_bytes = 0
        self._inflight.clear()
        self._queue = _NOTHING
        self._backlog.clear()
        self._again.clear()

    def _finish(self, now: float, *, has_place: bool) -> None:
        """A message is done with.

        :param has_place: it counted for what the client takes on this connection.
        """
        if has_place:
            self._quota += 1
        if self._queue or self._again or self._backlog:
            self.pump(now)

    def _send_again(self, outbox: PacedOutbox, now: float) -> bool:
        """Send the oldest of what was under way before, or say that there is no room for it."""
        packet_id = self._again[-1]
        delivery = self._inflight.get(packet_id)
        if isinstance(delivery, Delivery):  # or else it was acknowledged meanwhile
            if self._quota <= 0 or outbox.waiting_bytes >= outbox.limit_bytes:
                return False
            if send_publication(outbox, delivery, packet_id, now, dup=True):
                self._quota -= 1
            else:  # this connection takes less than the one before: as if it had arrived
                del self._inflight[packet_id]
                self._charge(-delivery.message.cost)
        self._again.pop()
        return True

    def _send_new(self, outbox: PacedOutbox, delivery: Delivery, now: float) -> None:
        packet_id = self._last_id = next_id(self._last_id, self._inflight)
        if outbox.aliases is None and not delivery.is_special:
            is_sent = send_parts(outbox, delivery, packet_id)
        else:
            is_sent = send_publication(outbox, delivery, packet_id, now)
        if is_sent:
            self._inflight[packet_id] = delivery
            self._quota -= 1
        else:
            self._charge(-delivery.message.cost)

    def _charge(self, cost: int) -> None:
        self.held_bytes += cost
        self._all_held.held += cost
