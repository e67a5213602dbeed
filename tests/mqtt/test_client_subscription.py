"""A client's subscriptions: asked for, answered, asked for again."""

from __future__ import annotations

from typing import Any

import pytest

from porttunnel.errors import ClientStopped, LocalProtocolError, MqttError, QueueFull
from porttunnel.mqtt.client_budget import ENTRY_BYTES, QueueBudget
from porttunnel.mqtt.client_event import (
    RequestFailed,
    SubscribeFinished,
    SubscriptionsRefused,
    UnsubscribeFinished,
)
from porttunnel.mqtt.client_limit import BrokerLimits
from porttunnel.mqtt.client_subscription import AGAIN_BYTES, Subscriptions
from porttunnel.mqtt.decode import decode
from porttunnel.mqtt.framing import FrameReader
from porttunnel.mqtt.packet import (
    Connack,
    Packet,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Version,
)
from porttunnel.mqtt.packet_id import MAX_PACKET_ID, PacketIds
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.reason import ReasonCode

GRANTED = (ReasonCode.GRANTED_QOS_1,)
REFUSED = (ReasonCode.NOT_AUTHORIZED,)
IDENTIFIED = Properties(subscription_identifiers=(7,))


class Subscriber:
    """Subscriptions, and what they lead to."""

    def __init__(self, version: Version = Version.V5, max_bytes: int = 1 << 20) -> None:
        self.budget = QueueBudget(max_bytes)
        self.ids = PacketIds()
        self.subscriptions = Subscriptions(version, self.ids, self.budget)
        self.version = version
        self.happened: list[Any] = []
        self.token = 0

    def begin(self, *, session_present: bool = False, **said: Any) -> None:
        limits = BrokerLimits.of(Connack(False, properties=Properties(**said)))
        self.subscriptions.begin(limits, session_present=session_present)

    def subscribe(self, *filters: str, properties: Properties = EMPTY) -> int:
        wanted = tuple(Subscription(text, 1) for text in filters)
        return self._ask(Subscribe(1, wanted, properties))

    def unsubscribe(self, *filters: str) -> int:
        return self._ask(Unsubscribe(1, filters))

    def _ask(self, packet: Subscribe | Unsubscribe) -> int:
        self.token += 1
        self.subscriptions.ask(self.token, packet)
        return self.token

    def send(self) -> list[Packet]:
        packets: list[Packet] = []
        while (step := self.subscriptions.next_step()) is not None:
            data, happened = step
            for first_byte, body in FrameReader(1 << 20).feed(memoryview(data)):
                packets.append(decode(first_byte, body, self.version))
            if happened is not None:
                self.happened.append(happened)
        return packets

    def answer(self, packet: Suback | Unsuback) -> Any:
        return self.subscriptions.answered(packet)

    def lose_connection(self) -> None:
        self.subscriptions.lose_connection()


def filters_of(packets: list[Packet]) -> list[tuple[str, ...]]:
    return [
        tuple(wanted.filter for wanted in packet.subscriptions)
        for packet in packets
        if isinstance(packet, Subscribe)
    ]


@pytest.mark.mqtt5("2.2.1-3")
def test_a_subscription_is_asked_for_and_answered() -> None:
    subscriber = Subscriber()
    token = subscriber.subscribe("a", "b", properties=IDENTIFIED)
    assert subscriber.send() == []
    subscriber.begin()
    assert subscriber.send() == [
        Subscribe(1, (Subscription("a", 1), Subscription("b", 1)), IDENTIFIED)
    ]
    reasons = (ReasonCode.GRANTED_QOS_1, ReasonCode.NOT_AUTHORIZED)
    assert subscriber.answer(Suback(1, reasons)) == SubscribeFinished(token, reasons, EMPTY)
    assert subscriber.budget.used == 0
    assert subscriber.ids.allocate() == 2


def test_an_unsubscription_too() -> None:
    subscriber = Subscriber()
    subscriber.begin()
    token = subscriber.unsubscribe("a")
    assert subscriber.send() == [Unsubscribe(1, ("a",))]
    reasons = (ReasonCode.NO_SUBSCRIPTION_EXISTED,)
    assert subscriber.answer(Unsuback(1, reasons)) == UnsubscribeFinished(token, reasons, EMPTY)


def test_in_3_1_1_an_unsubscription_has_no_reasons() -> None:
    subscriber = Subscriber(Version.V3_1_1)
    subscriber.begin()
    token = subscriber.unsubscribe("a", "b")
    subscriber.send()
    success = (ReasonCode.SUCCESS,) * 2
    assert subscriber.answer(Unsuback(1)) == UnsubscribeFinished(token, success, EMPTY)


@pytest.mark.parametrize(
    "answer", [Suback(2, GRANTED), Unsuback(1, GRANTED), Suback(1, GRANTED * 2)]
)
def test_an_answer_that_does_not_fit_breaks_the_protocol(answer: Any) -> None:
    subscriber = Subscriber()
    subscriber.begin()
    subscriber.subscribe("a")
    subscriber.send()
    with pytest.raises(MqttError, match="an answer") as caught:
        subscriber.answer(answer)
    assert caught.value.reason == ReasonCode.PROTOCOL_ERROR
    # The connection ends by that; on the next one it is asked again.
    subscriber.lose_connection()
    subscriber.begin(session_present=True)
    assert filters_of(subscriber.send()) == [("a",)]


def test_what_has_no_answer_is_asked_on_the_next_connection() -> None:
    subscriber = Subscriber()
    subscriber.begin()
    token = subscriber.subscribe("a")
    subscriber.unsubscribe("b")
    subscriber.send()
    subscriber.lose_connection()
    subscriber.subscribe("c")
    assert subscriber.send() == []
    subscriber.begin(session_present=True)
    assert subscriber.send() == [
        Subscribe(3, (Subscription("a", 1),)),
        Unsubscribe(4, ("b",)),
        Subscribe(5, (Subscription("c", 1),)),
    ]
    assert subscriber.answer(Suback(3, GRANTED)) == SubscribeFinished(token, GRANTED, EMPTY)


def test_what_was_granted_is_asked_for_again_where_the_session_was_lost() -> None:
    subscriber = Subscriber()
    subscriber.begin()
    subscriber.subscribe("a", "b", "c")
    subscriber.subscribe("d", properties=IDENTIFIED)
    subscriber.send()
    subscriber.answer(Suback(1, GRANTED + REFUSED + GRANTED))
    subscriber.answer(Suback(2, GRANTED))
    subscriber.unsubscribe("c")
    subscriber.send()
    subscriber.answer(Unsuback(3, (ReasonCode.SUCCESS,)))
    subscriber.lose_connection()
    subscriber.begin(session_present=True)
    assert subscriber.send() == []
    subscriber.lose_connection()
    subscriber.begin(session_present=False)
    again = subscriber.send()
    assert again == [
        Subscribe(4, (Subscription("a", 1),)),
        Subscribe(5, (Subscription("d", 1),), IDENTIFIED),
    ]
    assert subscriber.answer(Suback(4, GRANTED)) is None
    assert subscriber.answer(Suback(5, REFUSED)) == SubscriptionsRefused(("d",))
    subscriber.lose_connection()
    subscriber.begin(session_present=False)
    assert filters_of(subscriber.send()) == [("a",)]


def test_asking_again_survives_a_connection_that_is_lost_in_the_middle() -> None:
    subscriber = Subscriber()
    subscriber.begin()
    subscriber.subscribe("a")
    subscriber.subscribe("b", properties=IDENTIFIED)
    subscriber.send()
    subscriber.answer(Suback(1, GRANTED))
    subscriber.answer(Suback(2, GRANTED))
    subscriber.lose_connection()
    subscriber.begin(session_present=False)
    assert filters_of(subscriber.send()) == [("a",), ("b",)]
    subscriber.answer(Suback(3, GRANTED))
    subscriber.lose_connection()
    subscriber.begin(session_present=True)
    assert filters_of(subscriber.send()) == [("b",)]
    subscriber.lose_connection()
    subscriber.begin(session_present=False)
    assert filters_of(subscriber.send()) == [("a",), ("b",)]


def test_a_session_that_was_perhaps_made_by_a_connection_without_an_answer() -> None:
    subscriber = Subscriber()
    subscriber.begin()
    subscriber.subscribe("a")
    subscriber.send()
    subscriber.answer(Suback(1, GRANTED))
    subscriber.lose_connection()
    subscriber.lose_connection()  # the next one, before CONNACK
    subscriber.begin(session_present=True)
    assert filters_of(subscriber.send()) == [("a",)]
    subscriber.lose_connection()
    subscriber.begin(session_present=True)
    assert filters_of(subscriber.send()) == [("a",)]
    subscriber.answer(Suback(3, GRANTED))
    subscriber.lose_connection()
    subscriber.begin(session_present=True)
    assert subscriber.send() == []


def test_asking_again_takes_several_packets_for_much() -> None:
    subscriber = Subscriber()
    subscriber.begin()
    long = ["x" * (AGAIN_BYTES // 2) + letter for letter in "abc"]
    subscriber.subscribe(*long)
    subscriber.send()
    subscriber.answer(Suback(1, GRANTED * 3))
    subscriber.lose_connection()
    subscriber.begin(session_present=False)
    assert filters_of(subscriber.send()) == [(text,) for text in long]


def test_what_the_broker_does_not_take_is_not_sent() -> None:
    subscriber = Subscriber()
    subscriber.begin()
    subscriber.subscribe("a/#")
    subscriber.send()
    subscriber.answer(Suback(1, GRANTED))
    subscriber.lose_connection()
    token = subscriber.subscribe("y" * 100)
    subscriber.begin(wildcard_subscription_available=False, maximum_packet_size=50)
    assert subscriber.send() == []
    refused, failed = subscriber.happened
    assert refused == SubscriptionsRefused(("a/#",))
    assert (failed.token, failed.error.reason) == (token, ReasonCode.PACKET_TOO_LARGE)
    assert subscriber.budget.used == 0
    assert subscriber.ids.allocate() == 4


def test_without_a_free_id_requests_wait() -> None:
    subscriber = Subscriber()
    subscriber.begin()
    for _ in range(MAX_PACKET_ID):
        subscriber.ids.allocate()
    subscriber.subscribe("a")
    assert subscriber.send() == []
    subscriber.ids.release(9)
    assert subscriber.send() == [Subscribe(9, (Subscription("a", 1),))]


@pytest.mark.mqtt5("3.8.3-2", "3.10.3-2")
def test_a_request_without_filters_is_none() -> None:
    subscriber = Subscriber()
    with pytest.raises(LocalProtocolError):
        subscriber.subscribe()
    with pytest.raises(LocalProtocolError):
        subscriber.unsubscribe()


def test_the_queue_is_bounded() -> None:
    subscriber = Subscriber(max_bytes=ENTRY_BYTES + 10)
    subscriber.subscribe("a")
    with pytest.raises(QueueFull):
        subscriber.subscribe("b")


def test_who_gives_up_fails_all_and_frees_all() -> None:
    subscriber = Subscriber()
    subscriber.begin()
    subscriber.subscribe("a")
    subscriber.send()
    subscriber.answer(Suback(1, GRANTED))
    subscriber.lose_connection()
    subscriber.begin(session_present=False)
    asked = subscriber.subscribe("b")
    subscriber.send()
    waiting = subscriber.unsubscribe("c")
    error = ClientStopped("stopped")
    assert subscriber.subscriptions.abandon(error) == [
        RequestFailed(asked, error),
        RequestFailed(waiting, error),
    ]
    assert subscriber.budget.used == 0
