"""Messages to a client: acknowledged when finished, in order, and given out once at QoS 2."""

from __future__ import annotations

import pytest

from porttunnel.errors import LocalProtocolError, MqttError
from porttunnel.mqtt.client_budget import ENTRY_BYTES
from porttunnel.mqtt.client_incoming import IncomingMessages
from porttunnel.mqtt.packet import Puback, Pubcomp, Publish, Pubrec, Pubrel, Version
from porttunnel.mqtt.reason import ReasonCode


def message(qos: int, packet_id: int | None = None, *, dup: bool = False) -> Publish:
    return Publish("a/b", b"12345", qos, dup=dup, packet_id=packet_id)


def incoming(receive_maximum: int = 10, version: Version = Version.V5) -> IncomingMessages:
    return IncomingMessages(version, receive_maximum)


def receive(messages: IncomingMessages, qos: int, packet_id: int | None = None) -> int:
    delivery = messages.receive(message(qos, packet_id))
    assert delivery is not None
    return delivery


def test_qos_0_is_counted_and_not_acknowledged() -> None:
    messages = incoming()
    delivery = receive(messages, 0)
    assert messages.unfinished_bytes == 8 + ENTRY_BYTES
    messages.finish(delivery)
    assert messages.unfinished_bytes == 0
    assert messages.acknowledgements() == []


@pytest.mark.mqtt5("4.3.2-4", "2.2.1-5")
@pytest.mark.mqtt3("4.3.2-2")
def test_qos_1_is_acknowledged_when_it_is_finished() -> None:
    messages = incoming()
    delivery = receive(messages, 1, 7)
    assert messages.acknowledgements() == []
    messages.finish(delivery)
    assert messages.acknowledgements() == [Puback(7)]
    assert messages.acknowledgements() == []


@pytest.mark.mqtt5("4.3.2-5")
def test_after_puback_the_same_id_is_a_new_message() -> None:
    messages = incoming()
    messages.finish(receive(messages, 1, 7))
    assert messages.acknowledgements() == [Puback(7)]
    assert messages.receive(message(1, 7, dup=True)) is not None


@pytest.mark.mqtt5("4.6.0-2", "4.6.0-3")
@pytest.mark.mqtt3("4.6.0-2", "4.6.0-3")
def test_acknowledgements_keep_the_order_of_the_messages() -> None:
    messages = incoming()
    first, second, third = (
        receive(messages, qos, number) for number, qos in enumerate((1, 2, 1), 1)
    )
    messages.finish(third)
    messages.finish(second)
    assert messages.acknowledgements() == []
    messages.finish(first)
    assert messages.acknowledgements() == [Puback(1), Pubrec(2), Puback(3)]


@pytest.mark.mqtt5("4.3.3-8", "4.3.3-11", "4.3.3-12", "2.2.1-5", "3.7.2-2", "3.7.2-3")
@pytest.mark.mqtt3("4.3.3-2")
def test_qos_2_from_publish_to_pubcomp() -> None:
    messages = incoming()
    messages.finish(receive(messages, 2, 7))
    assert messages.acknowledgements() == [Pubrec(7)]
    assert messages.release(Pubrel(7)) == Pubcomp(7)
    assert messages.receive(message(2, 7)) is not None


@pytest.mark.mqtt5("4.3.3-10")
def test_a_qos_2_message_is_given_out_once_on_one_connection() -> None:
    messages = incoming()
    delivery = receive(messages, 2, 7)
    assert messages.receive(message(2, 7, dup=True)) is None
    messages.finish(delivery)
    assert messages.acknowledgements() == [Pubrec(7)]
    assert messages.receive(message(2, 7, dup=True)) is None
    assert messages.acknowledgements() == [Pubrec(7)]


@pytest.mark.mqtt5("4.3.3-10", "4.1.0-1")
def test_a_qos_2_message_is_given_out_once_on_two_connections() -> None:
    messages = incoming()
    finished, unfinished = receive(messages, 2, 7), receive(messages, 2, 8)
    messages.finish(finished)
    messages.lose_connection()
    assert messages.acknowledgements() == []
    messages.begin(session_present=True)
    assert messages.receive(message(2, 7, dup=True)) is None
    assert messages.receive(message(2, 8, dup=True)) is None
    assert messages.acknowledgements() == [Pubrec(7)]
    messages.finish(unfinished)
    assert messages.acknowledgements() == [Pubrec(8)]


def test_a_release_on_a_new_connection_ends_what_the_old_one_began() -> None:
    messages = incoming()
    messages.finish(receive(messages, 2, 7))
    assert messages.acknowledgements() == [Pubrec(7)]
    messages.lose_connection()
    messages.begin(session_present=True)
    assert messages.release(Pubrel(7)) == Pubcomp(7)


@pytest.mark.mqtt5("3.2.2-5")
def test_with_the_session_its_messages_are_forgotten() -> None:
    messages = incoming()
    late = receive(messages, 2, 7)
    messages.lose_connection()
    messages.begin(session_present=False)
    new = receive(messages, 2, 7)
    messages.finish(late)
    assert messages.acknowledgements() == []
    messages.finish(new)
    assert messages.acknowledgements() == [Pubrec(7)]


@pytest.mark.parametrize("dup", [False, True])
def test_of_a_session_that_is_perhaps_a_new_one_only_what_comes_again_is_known(dup: bool) -> None:
    messages = incoming()
    messages.begin(session_present=False)
    messages.finish(receive(messages, 2, 7))
    assert messages.acknowledgements() == [Pubrec(7)]
    messages.lose_connection()
    messages.lose_connection()  # the next one, before CONNACK
    messages.begin(session_present=True)
    delivery = messages.receive(message(2, 7, dup=dup))
    assert (delivery is None) is dup
    if delivery is not None:
        messages.finish(delivery)
    assert messages.acknowledgements() == [Pubrec(7)]
    # From then on it is known as any other.
    assert messages.receive(message(2, 7, dup=True)) is None
    assert messages.release(Pubrel(7)) == Pubcomp(7)


def test_an_unknown_release_is_answered_with_not_found() -> None:
    answer = incoming().release(Pubrel(7))
    assert answer == Pubcomp(7, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)


def test_a_release_before_pubrec_breaks_the_protocol() -> None:
    messages = incoming()
    receive(messages, 2, 7)
    with pytest.raises(MqttError, match="too early") as caught:
        messages.release(Pubrel(7))
    assert caught.value.reason == ReasonCode.PROTOCOL_ERROR


@pytest.mark.mqtt5("4.3.3-9", "3.4.2-2", "3.4.2-3", "3.5.2-2", "3.5.2-3")
def test_what_the_program_refuses_is_refused_and_its_id_is_free() -> None:
    messages = incoming(receive_maximum=2)
    messages.finish(receive(messages, 1, 1), ReasonCode.QUOTA_EXCEEDED)
    messages.finish(receive(messages, 2, 2), ReasonCode.QUOTA_EXCEEDED)
    assert messages.acknowledgements() == [
        Puback(1, ReasonCode.QUOTA_EXCEEDED),
        Pubrec(2, ReasonCode.QUOTA_EXCEEDED),
    ]
    assert messages.receive(message(2, 2)) is not None


def test_3_1_1_has_no_refusals() -> None:
    messages = incoming(version=Version.V3_1_1)
    messages.finish(receive(messages, 1, 1), ReasonCode.QUOTA_EXCEEDED)
    assert messages.acknowledgements() == [Puback(1)]


def test_more_under_way_than_allowed_breaks_the_protocol() -> None:
    messages = incoming(receive_maximum=2)
    first = receive(messages, 1, 1)
    messages.finish(receive(messages, 2, 2))
    messages.receive(message(2, 2, dup=True))
    with pytest.raises(MqttError, match="more messages under way") as caught:
        receive(messages, 1, 3)
    assert caught.value.reason == ReasonCode.RECEIVE_MAXIMUM_EXCEEDED
    messages.lose_connection()
    messages.begin(session_present=True)
    messages.finish(first)
    receive(messages, 1, 3)
    receive(messages, 1, 4)


def test_what_is_done_with_makes_room() -> None:
    messages = incoming(receive_maximum=1)
    for number in range(1, 5):
        messages.finish(receive(messages, 1, number))
        assert messages.acknowledgements() == [Puback(number)]
    messages.finish(receive(messages, 2, 5))
    assert messages.acknowledgements() == [Pubrec(5)]
    assert messages.release(Pubrel(5)) == Pubcomp(5)
    receive(messages, 1, 6)


def test_3_1_1_knows_no_maximum() -> None:
    messages = incoming(receive_maximum=1, version=Version.V3_1_1)
    receive(messages, 1, 1)
    assert messages.receive(message(1, 2)) is not None


@pytest.mark.mqtt5("3.4.2-1", "3.5.2-1")
def test_a_message_is_finished_with_a_reason_that_can_be_said() -> None:
    messages = incoming()
    delivery = receive(messages, 1, 1)
    with pytest.raises(LocalProtocolError, match="KEEP_ALIVE_TIMEOUT"):
        messages.finish(delivery, ReasonCode.KEEP_ALIVE_TIMEOUT)
    messages.finish(delivery)
    assert messages.acknowledgements() == [Puback(1)]


def test_a_message_is_finished_once() -> None:
    messages = incoming()
    delivery = receive(messages, 0)
    messages.finish(delivery)
    with pytest.raises(LocalProtocolError, match="not unfinished"):
        messages.finish(delivery)
