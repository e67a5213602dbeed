"""A client's own messages: order, quota, aliases, resending, and what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest

from porttunnel.errors import (
    BrokerRefused,
    ClientStopped,
    LocalProtocolError,
    MqttError,
    OutcomeUnknown,
    QueueFull,
)
from porttunnel.mqtt import client_outgoing
from porttunnel.mqtt.client_budget import ENTRY_BYTES, QueueBudget
from porttunnel.mqtt.client_event import PublishFinished, RequestFailed
from porttunnel.mqtt.client_limit import BrokerLimits
from porttunnel.mqtt.client_outgoing import OutgoingMessages
from porttunnel.mqtt.decode import decode
from porttunnel.mqtt.framing import FrameReader
from porttunnel.mqtt.packet import (
    Connack,
    Packet,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Version,
)
from porttunnel.mqtt.packet_id import MAX_PACKET_ID, PacketIds
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.reason import ReasonCode


def limits(**said: Any) -> BrokerLimits:
    return BrokerLimits.of(Connack(False, properties=Properties(**said)))


class Sender:
    """Outgoing messages, and what they lead to."""

    def __init__(
        self, version: Version = Version.V5, max_bytes: int = 1 << 20, *, keep: bool = True
    ) -> None:
        self.budget = QueueBudget(max_bytes)
        self.ids = PacketIds()
        self.messages = OutgoingMessages(version, self.ids, self.budget, keep=keep)
        self.version = version
        self.outcomes: list[Any] = []
        self.token = 0

    def begin(self, *, session_present: bool = False, **said: Any) -> list[RequestFailed]:
        return self.messages.begin(limits(**said), session_present=session_present)

    def publish(self, qos: int = 0, topic: str = "a", **fields: Any) -> int:
        self.token += 1
        payload = b"%d" % self.token
        self.messages.publish(self.token, Publish(topic, payload, qos, **fields))
        return self.token

    def send(self) -> list[Packet]:
        """All that can be sent now."""
        packets: list[Packet] = []
        while (step := self.messages.next_step()) is not None:
            data, outcome = step
            for first_byte, body in FrameReader(1 << 20).feed(memoryview(data)):
                packets.append(decode(first_byte, body, self.version))
            if outcome is not None:
                self.outcomes.append(outcome)
        return packets

    def acknowledge(self, packet: Any) -> Any:
        return self.messages.acknowledged(packet)


def shape(packets: list[Packet]) -> list[tuple[Any, ...]]:
    """What matters of each packet."""
    return [
        (bytes(p.payload), p.packet_id, p.dup) if isinstance(p, Publish) else (p,) for p in packets
    ]


@pytest.mark.mqtt5("4.3.1-1", "2.2.1-2")
@pytest.mark.mqtt3("4.3.1-1", "2.3.1-5")
def test_qos_0_is_done_when_it_is_on_its_way() -> None:
    sender = Sender()
    token = sender.publish(retain=True, properties=Properties(content_type="text"))
    assert sender.send() == []
    assert sender.budget.used > 0
    sender.begin()
    (packet,) = sender.send()
    assert packet == Publish(
        "a", memoryview(b"1"), retain=True, properties=Properties(content_type="text")
    )
    assert sender.outcomes == [PublishFinished(token, 0, EMPTY)]
    assert sender.budget.used == 0


@pytest.mark.mqtt5("4.3.2-1", "4.3.2-2", "4.3.2-3")
@pytest.mark.mqtt3("4.3.2-1")
def test_qos_1_is_done_when_it_is_acknowledged() -> None:
    sender = Sender()
    sender.begin()
    token = sender.publish(1)
    assert shape(sender.send()) == [(b"1", 1, False)]
    assert sender.outcomes == []
    answer = Puback(1, ReasonCode.NO_MATCHING_SUBSCRIBERS)
    assert sender.acknowledge(answer) == PublishFinished(token, answer.reason, EMPTY)
    assert sender.budget.used == 0
    assert sender.acknowledge(Puback(1)) is None


@pytest.mark.mqtt5("4.3.3-1", "4.3.3-2", "4.3.3-3", "4.3.3-4", "4.3.3-5", "3.6.2-2", "3.6.2-3")
@pytest.mark.mqtt3("4.3.3-1")
def test_qos_2_from_publish_to_pubcomp() -> None:
    sender = Sender()
    sender.begin()
    token = sender.publish(2)
    assert shape(sender.send()) == [(b"1", 1, False)]
    assert sender.acknowledge(Pubrec(1)) == Pubrel(1)
    assert sender.acknowledge(Pubrec(1)) == Pubrel(1)
    assert sender.send() == []
    assert sender.acknowledge(Pubcomp(1)) == PublishFinished(token, 0, EMPTY)
    assert sender.ids.allocate() == 2


def test_a_pubcomp_that_was_lost_comes_again_as_not_found() -> None:
    sender = Sender()
    sender.begin()
    token = sender.publish(2)
    sender.send()
    sender.acknowledge(Pubrec(1))
    sender.messages.lose_connection()
    sender.begin(session_present=True)
    assert shape(sender.send()) == [(Pubrel(1),)]
    unknown = Pubcomp(1, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)
    assert sender.acknowledge(unknown) == PublishFinished(token, 0, EMPTY)


@pytest.mark.mqtt5("4.4.0-2")
@pytest.mark.parametrize("answer", [Puback, Pubrec])
def test_a_refused_message_is_done_with(answer: Any) -> None:
    sender = Sender()
    sender.begin()
    token = sender.publish(1 if answer is Puback else 2)
    sender.send()
    failed = sender.acknowledge(answer(1, ReasonCode.NOT_AUTHORIZED))
    assert failed.token == token
    assert isinstance(failed.error, BrokerRefused)
    assert failed.error.reason == ReasonCode.NOT_AUTHORIZED
    sender.messages.lose_connection()
    sender.begin(session_present=True)
    assert sender.send() == []
    assert sender.budget.used == 0


@pytest.mark.parametrize(
    ("qos", "answer"), [(1, Pubrec(1)), (1, Pubcomp(1)), (2, Puback(1)), (2, Pubcomp(1))]
)
def test_an_acknowledgement_of_another_kind_breaks_the_protocol(qos: int, answer: Any) -> None:
    sender = Sender()
    sender.begin()
    sender.publish(qos)
    sender.send()
    with pytest.raises(MqttError, match="does not fit") as caught:
        sender.acknowledge(answer)
    assert caught.value.reason == ReasonCode.PROTOCOL_ERROR


def test_of_unknown_acknowledgements_only_pubrec_has_an_answer() -> None:
    sender = Sender()
    sender.begin()
    assert sender.acknowledge(Puback(9)) is None
    assert sender.acknowledge(Pubcomp(9)) is None
    assert sender.acknowledge(Pubrec(9, ReasonCode.QUOTA_EXCEEDED)) is None
    assert sender.acknowledge(Pubrec(9)) == Pubrel(9, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)


def test_messages_keep_their_order_also_behind_one_that_must_wait() -> None:
    sender = Sender()
    sender.begin(receive_maximum=1)
    for qos in (1, 0, 2, 0):
        sender.publish(qos)
    assert shape(sender.send()) == [(b"1", 1, False), (b"2", None, False)]
    sender.acknowledge(Puback(1))
    assert shape(sender.send()) == [(b"3", 2, False), (b"4", None, False)]


@pytest.mark.mqtt5("3.3.4-7", "4.9.0-1", "4.9.0-2")
def test_no_more_are_under_way_than_the_broker_takes() -> None:
    sender = Sender()
    sender.begin(receive_maximum=2)
    for qos in (2, 2, 1, 1, 1):
        sender.publish(qos)
    assert shape(sender.send()) == [(b"1", 1, False), (b"2", 2, False)]
    sender.acknowledge(Pubrec(1))
    assert sender.send() == []
    sender.acknowledge(Pubcomp(1))
    assert shape(sender.send()) == [(b"3", 3, False)]
    sender.acknowledge(Pubrec(2, ReasonCode.QUOTA_EXCEEDED))
    assert shape(sender.send()) == [(b"4", 4, False)]
    sender.acknowledge(Puback(3))
    assert shape(sender.send()) == [(b"5", 5, False)]


@pytest.mark.mqtt5("4.4.0-1", "4.6.0-1", "4.3.3-6", "3.3.1-1")
@pytest.mark.mqtt3("4.4.0-1", "4.6.0-1", "3.3.1-1", "2.3.1-3")
def test_what_was_under_way_goes_out_again_first_with_its_ids_and_in_its_order() -> None:
    sender = Sender()
    sender.begin()
    for qos in (1, 2, 2, 1):
        sender.publish(qos)
    sender.send()
    sender.acknowledge(Pubrec(2))
    sender.messages.lose_connection()
    assert sender.send() == []
    sender.publish(0)
    sender.begin(session_present=True)
    assert shape(sender.send()) == [
        (b"1", 1, True),
        (Pubrel(2),),
        (b"3", 3, True),
        (b"4", 4, True),
        (b"5", None, False),
    ]
    assert sender.send() == []


@pytest.mark.mqtt5("3.3.4-7", "4.9.0-2")
def test_resending_keeps_to_the_new_quota_and_old_releases_add_nothing_to_it() -> None:
    sender = Sender()
    sender.begin()
    for qos in (2, 1, 1, 1):
        sender.publish(qos)
    sender.send()
    sender.acknowledge(Pubrec(1))
    sender.messages.lose_connection()
    sender.begin(session_present=True, receive_maximum=1)
    assert shape(sender.send()) == [(Pubrel(1),), (b"2", 2, True)]
    sender.acknowledge(Pubcomp(1))
    assert sender.send() == []
    sender.acknowledge(Puback(2))
    assert shape(sender.send()) == [(b"3", 3, True)]


@pytest.mark.parametrize("maximum_qos", [0, 1])
def test_what_is_acknowledged_before_it_went_out_again_does_not_go_out(maximum_qos: int) -> None:
    sender = Sender()
    sender.begin()
    first, second = sender.publish(1), sender.publish(1)
    sender.send()
    sender.messages.lose_connection()
    sender.begin(session_present=True, receive_maximum=1, maximum_qos=maximum_qos)
    assert sender.acknowledge(Puback(1)) == PublishFinished(first, 0, EMPTY)
    assert sender.acknowledge(Puback(2)) == PublishFinished(second, 0, EMPTY)
    assert sender.send() == []
    assert (sender.budget.used, sender.outcomes) == (0, [])
    # Nor does it use up what the broker takes at once.
    sender.messages.lose_connection()
    sender.begin(session_present=True, receive_maximum=1)
    for _ in range(2):
        token = sender.publish(1)
        ((_, number, dup),) = shape(sender.send())
        assert not dup
        assert sender.acknowledge(Puback(number)) == PublishFinished(token, 0, EMPTY)


@pytest.mark.mqtt5("3.2.2-5")
def test_with_a_lost_session_qos_1_is_published_anew_and_qos_2_is_unknown() -> None:
    sender = Sender()
    sender.begin()
    tokens = [sender.publish(qos) for qos in (1, 2, 2, 1)]
    sender.send()
    sender.acknowledge(Pubrec(2))
    sender.messages.lose_connection()
    later = sender.publish(0)
    failed = sender.begin(session_present=False)
    assert [f.token for f in failed] == tokens[1:3]
    assert all(isinstance(f.error, OutcomeUnknown) for f in failed)
    assert shape(sender.send()) == [(b"1", 5, False), (b"4", 6, False), (b"5", None, False)]
    assert sender.outcomes == [PublishFinished(later, 0, EMPTY)]
    assert sender.acknowledge(Puback(5)) == PublishFinished(tokens[0], 0, EMPTY)


@pytest.mark.mqtt5("3.2.2-17", "3.3.2-7", "3.3.2-9")
def test_topics_are_sent_once_and_then_their_aliases() -> None:
    sender = Sender()
    sender.begin(topic_alias_maximum=1)
    for topic in ("a", "b", "a"):
        sender.publish(1, topic, properties=Properties(content_type="t"))

    def topics() -> list[tuple[str, int | None, str | None]]:
        packets = [p for p in sender.send() if isinstance(p, Publish)]
        return [(p.topic, p.properties.topic_alias, p.properties.content_type) for p in packets]

    assert topics() == [("a", 1, "t"), ("b", None, "t"), ("", 1, "t")]
    sender.messages.lose_connection()
    sender.begin(session_present=True, topic_alias_maximum=1)
    assert topics() == [("a", 1, "t"), ("b", None, "t"), ("", 1, "t")]


@pytest.mark.mqtt5("3.2.2-15")
@pytest.mark.parametrize("qos", [0, 1])
def test_a_packet_that_the_broker_finds_too_large_fails_alone(qos: int) -> None:
    sender = Sender()
    sender.begin(maximum_packet_size=20)
    token = sender.publish(qos, "a" * 20)
    sender.publish(qos)
    assert [p.topic for p in sender.send() if isinstance(p, Publish)] == ["a"]
    failed = sender.outcomes[0]
    assert failed.token == token
    assert failed.error.reason == ReasonCode.PACKET_TOO_LARGE


@pytest.mark.mqtt5("3.2.2-15")
def test_naming_an_alias_does_not_make_a_packet_too_large() -> None:
    sender = Sender()
    sender.begin(maximum_packet_size=13, topic_alias_maximum=5)
    sender.publish(0, "sevenby")
    sender.publish(0, "b")
    first, second = sender.send()
    assert isinstance(first, Publish)
    assert first.properties.topic_alias is None
    assert isinstance(second, Publish)
    assert second.properties.topic_alias == 1


@pytest.mark.mqtt5("3.2.2-11", "3.2.2-14")
def test_what_the_broker_said_that_it_does_not_take_is_not_sent() -> None:
    sender = Sender()
    sender.begin()
    again = sender.publish(2)
    sender.send()
    sender.messages.lose_connection()
    sender.begin(session_present=True, maximum_qos=1, retain_available=False)
    retained = sender.publish(0, retain=True)
    assert sender.send() == []
    assert [(o.token, o.error.reason) for o in sender.outcomes] == [
        (again, ReasonCode.QOS_NOT_SUPPORTED),
        (retained, ReasonCode.RETAIN_NOT_SUPPORTED),
    ]
    assert sender.budget.used == 0


def test_3_1_1_has_no_properties() -> None:
    sender = Sender(Version.V3_1_1)
    sender.begin()
    sender.publish(1, properties=Properties(content_type="text"))
    assert sender.send() == [Publish("a", memoryview(b"1"), 1, packet_id=1)]


@pytest.mark.mqtt5("2.2.1-3")
def test_without_a_free_id_messages_wait() -> None:
    sender = Sender()
    sender.begin()
    for _ in range(MAX_PACKET_ID):
        sender.ids.allocate()
    sender.publish(1)
    assert sender.send() == []
    sender.ids.release(5)
    assert shape(sender.send()) == [(b"1", 5, False)]


def test_the_queue_is_bounded() -> None:
    sender = Sender(max_bytes=2 * (ENTRY_BYTES + 10))
    sender.publish()
    sender.publish()
    with pytest.raises(QueueFull):
        sender.publish()
    sender.begin()
    assert shape(sender.send()) == [(b"1", None, False), (b"2", None, False)]


@pytest.mark.mqtt5("4.7.0-1", "4.7.3-1", "3.3.4-6")
@pytest.mark.parametrize(
    "fields",
    [
        {"topic": ""},
        {"topic": "a/+"},
        {"qos": 3},
        {"properties": Properties(topic_alias=1)},
        {"properties": Properties(subscription_identifiers=(1,))},
        {"properties": Properties(server_keep_alive=1)},
    ],
)
def test_what_is_no_message_is_refused_at_once(fields: dict[str, Any]) -> None:
    sender = Sender()
    with pytest.raises(LocalProtocolError):
        sender.publish(**fields)
    assert sender.budget.used == 0


def test_mqtt_has_an_end_to_the_size_of_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_outgoing, "MAX_MESSAGE_BYTES", ENTRY_BYTES)
    with pytest.raises(LocalProtocolError, match="in parts"):
        Sender().publish()


def test_who_gives_up_fails_all_and_frees_all() -> None:
    sender = Sender()
    sender.begin(receive_maximum=1)
    tokens = [sender.publish(1), sender.publish(1)]
    sender.send()
    error = ClientStopped("stopped")
    assert sender.messages.abandon(error) == [RequestFailed(token, error) for token in tokens]
    assert sender.budget.used == 0
    with pytest.raises(KeyError):
        sender.ids.release(1)


def test_messages_that_are_not_to_outlive_a_connection() -> None:
    sender = Sender(keep=False)
    sender.publish(1)
    sender.begin(receive_maximum=1)
    assert len(sender.send()) == 1
    sender.publish(1)
    lost = sender.messages.lose_connection()
    assert [failed.token for failed in lost] == [1, 2]
    assert all(isinstance(failed.error, OutcomeUnknown) for failed in lost)
    assert not sender.budget.used
    assert sender.begin() == []
    assert sender.send() == []
