"""A client's subscriptions: what it asks for, what it was granted, what it asks for again.

Requests outlive a connection that was lost before their answer: asking twice means the same as
asking once. What was granted is asked for again where the broker lost the session.
Source: MQTT 5.0, sections 3.8 to 3.11.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from msgspec.structs import replace

from porttunnel.errors import MessagingError, MqttError
from porttunnel.mqtt.client_budget import ENTRY_BYTES, QueueBudget
from porttunnel.mqtt.client_event import (
    RequestFailed,
    SubscribeFinished,
    SubscriptionsRefused,
    UnsubscribeFinished,
)
from porttunnel.mqtt.client_limit import BrokerLimits
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.packet import (
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Version,
)
from porttunnel.mqtt.packet_id import PacketIds
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.reason import ReasonCode

__all__ = ["Answer", "Subscriptions"]

AGAIN_BYTES = 4_096  # of filters that are asked for again in one packet: any broker takes that

Answer = SubscribeFinished | UnsubscribeFinished | RequestFailed | SubscriptionsRefused


class _Request:
    """A SUBSCRIBE or UNSUBSCRIBE.

    :param token: None: nobody waits for the answer.
    :param packet: its packet id counts for nothing before it is sent.
    """

    __slots__ = ("packet", "size", "token")

    def __init__(self, token: int | None, packet: Subscribe | Unsubscribe) -> None:
        self.token = token
        self.packet = packet
        self.size = ENTRY_BYTES + sum(map(len, self.filters))

    @property
    def filters(self) -> tuple[str, ...]:
        if isinstance(self.packet, Unsubscribe):
            return self.packet.filters
        return tuple(wanted.filter for wanted in self.packet.subscriptions)


class Subscriptions:
    """See the module.

    :param version: of all connections.
    :param ids: shared with the messages of the same client.
    :param budget: shared likewise. What was granted is not counted: the program chose it.
    """

    def __init__(self, version: Version, ids: PacketIds, budget: QueueBudget) -> None:
        self._version = version
        self._ids = ids
        self._budget = budget
        self._waiting: deque[_Request] = deque()
        self._asked: dict[int, _Request] = {}
        self._granted: dict[str, tuple[Subscription, Properties]] = {}
        self._limits: BrokerLimits | None = None
        self._is_doubtful = False  # whether a session that is present is the one that we know

    def ask(self, token: int, packet: Subscribe | Unsubscribe) -> None:
        """Queue a request.

        :param packet: its packet id, 1 until then, it gets when it is sent.
        :raises QueueFull: nothing was taken.
        :raises LocalProtocolError: it is not one that can be sent.
        """
        encode(packet, self._version)
        request = _Request(token, packet)
        self._budget.take(request.size)
        self._waiting.append(request)

    def begin(self, limits: BrokerLimits, *, session_present: bool) -> None:
        """A connection is there.

        :param session_present: whether the broker still has what it granted; only believed if it
            also answered the connection before.
        """
        self._limits = limits
        is_doubtful, self._is_doubtful = self._is_doubtful, False
        if not session_present or is_doubtful:
            # All of it is asked for again, also what was being asked for again already.
            asked = [request for request in self._waiting if request.token is not None]
            self._waiting = deque([*self._requests_again(), *asked])

    def lose_connection(self) -> None:
        """The connection is gone; what has no answer is asked again on the next."""
        if self._limits is None:
            # Its CONNACK never came. A broker that had lost the session may have made another one
            # all the same, which is present from then on, with nothing in it.
            self._is_doubtful = True
        self._limits = None
        for number in self._asked:
            self._ids.release(number)
        self._waiting.extendleft(reversed(self._asked.values()))
        self._asked.clear()

    def next_step(self) -> tuple[bytes, Answer | None] | None:
        """The next packet that can be sent now, or nothing and why; None if there is none."""
        limits = self._limits
        number = None if limits is None or not self._waiting else self._ids.allocate()
        if limits is None or number is None:
            return None
        request = self._waiting.popleft()
        packet = replace(request.packet, packet_id=number)
        error = limits.check_filters(packet)
        data = b"" if error is not None else encode(packet, self._version)
        if len(data) > limits.max_packet_bytes:
            error = limits.too_large()
        if error is None:
            self._asked[number] = request
            return data, None
        self._ids.release(number)
        return b"", self._fail(request, error)

    def answered(self, packet: Suback | Unsuback) -> Answer | None:
        """The broker answered; what becomes known by that.

        :raises MqttError: it answered what was not asked, or not all of it.
        """
        request = self._asked.get(packet.packet_id)
        asked = None if request is None else request.packet
        if request is None or isinstance(packet, Suback) != isinstance(asked, Subscribe):
            raise MqttError("an answer to what was not asked", ReasonCode.PROTOCOL_ERROR)
        filters, reasons = request.filters, packet.reasons
        if isinstance(packet, Unsuback) and self._version is Version.V3_1_1:
            reasons = (ReasonCode.SUCCESS,) * len(filters)
        if len(reasons) != len(filters):
            raise MqttError("an answer for more or fewer filters", ReasonCode.PROTOCOL_ERROR)
        del self._asked[packet.packet_id]
        self._ids.release(packet.packet_id)
        if isinstance(asked, Subscribe):
            for wanted, reason in zip(asked.subscriptions, reasons, strict=True):
                if not reason.is_failure:
                    self._granted[wanted.filter] = (wanted, asked.properties)
        else:
            self._forget(filters)
        if request.token is None:
            refused = tuple(f for f, r in zip(filters, reasons, strict=True) if r.is_failure)
            self._forget(refused)
            return SubscriptionsRefused(refused) if refused else None
        self._budget.give_back(request.size)
        if isinstance(packet, Suback):
            return SubscribeFinished(request.token, reasons, packet.properties)
        return UnsubscribeFinished(request.token, reasons, packet.properties)

    def abandon(self, error: MessagingError) -> list[Answer]:
        """Fail all that has no answer: nothing more will be asked."""
        requests = [*self._asked.values(), *self._waiting]
        for number in self._asked:
            self._ids.release(number)
        self._asked.clear()
        self._waiting.clear()
        return [self._fail(request, error) for request in requests if request.token is not None]

    def _forget(self, filters: tuple[str, ...]) -> None:
        for text in filters:
            self._granted.pop(text, None)

    def _requests_again(self) -> Iterator[_Request]:
        """What was granted, in packets of a moderate size."""
        part: list[Subscription] = []
        size, common = 0, EMPTY
        for wanted, properties in self._granted.values():
            if part and (size + len(wanted.filter) > AGAIN_BYTES or properties != common):
                yield _Request(None, Subscribe(1, tuple(part), common))
                part, size = [], 0
            part.append(wanted)
            size, common = size + len(wanted.filter), properties
        if part:
            yield _Request(None, Subscribe(1, tuple(part), common))

    def _fail(self, request: _Request, error: MessagingError) -> Answer:
        if request.token is None:
            self._forget(request.filters)
            return SubscriptionsRefused(request.filters)
        self._budget.give_back(request.size)
        return RequestFailed(request.token, error)
