"""A message's PUBLISH on one connection."""

from __future__ import annotations

import pytest

from porttunnel.mqtt.decode import decode
from porttunnel.mqtt.framing import MAX_PACKET_BYTES, FrameReader
from porttunnel.mqtt.message import Message, deliver_as
from porttunnel.mqtt.outbox import Outbox
from porttunnel.mqtt.packet import Publish, Version
from porttunnel.mqtt.publication import SHARED_BYTES, send_publication
from porttunnel.mqtt.topic_alias import OutgoingAliases


def outbox_of(version: Version = Version.V5) -> Outbox:
    outbox = Outbox([])
    outbox.version = version
    return outbox


def read(outbox: Outbox) -> list[Publish]:
    data = b"".join(outbox.data_to_send())
    outbox.data_sent(len(data))
    assert outbox.waiting_bytes == 0
    packets = [
        decode(first, memoryview(bytes(body)), outbox.version)
        for first, body in FrameReader(MAX_PACKET_BYTES).feed(memoryview(data))
    ]
    assert all(isinstance(packet, Publish) for packet in packets)
    return packets  # type: ignore[return-value]  # as was just seen


@pytest.mark.parametrize("version", Version)
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("special", [False, True])
def test_is_what_the_delivery_says(version: Version, qos: int, special: bool) -> None:
    outbox = outbox_of(version)
    message = Message("a", b"x", qos)
    delivery = deliver_as(message, qos, True, "b" if special else "a", ())
    assert send_publication(outbox, delivery, 7 if qos else 0, 0.0)
    (packet,) = read(outbox)
    assert (packet.topic, packet.payload, packet.qos) == ("b" if special else "a", b"x", qos)
    assert (packet.retain, packet.dup, packet.packet_id) == (True, False, 7 if qos else None)


@pytest.mark.mqtt5("3.3.1-1")
@pytest.mark.mqtt3("3.3.1-1")
@pytest.mark.parametrize("topic", ["a", "b"])
def test_says_that_it_is_sent_again(topic: str) -> None:
    outbox = outbox_of()
    delivery = deliver_as(Message("a", b"x", 1), 1, False, topic, ())
    assert send_publication(outbox, delivery, 7, 0.0, dup=True)
    assert send_publication(outbox, delivery, 8, 0.0)
    assert [packet.dup for packet in read(outbox)] == [True, False]


@pytest.mark.parametrize("qos", [0, 1])
def test_large_payloads_are_not_copied(qos: int) -> None:
    message = Message("a", bytes(SHARED_BYTES), qos)
    for retain in (False, True):
        delivery = deliver_as(message, qos, retain, "a", ())
        for dup in (False, True)[: qos + 1]:
            outbox = outbox_of()
            outbox.is_ready = dup
            send_publication(outbox, delivery, 7 * qos, 0.0, dup=dup)
            assert outbox.pieces[-1] is (
                message.payload if qos or retain else message.packet(Version.V5, retain=False)
            )
            (packet,) = read(outbox)
            assert (packet.topic, packet.payload) == ("a", message.payload)
            assert (packet.qos, packet.retain, packet.dup) == (qos, retain, dup)
            assert packet.packet_id == (7 if qos else None)


@pytest.mark.mqtt5("3.1.2-24", "3.1.2-25")
@pytest.mark.parametrize("packet_id", [0, 7])
@pytest.mark.parametrize("topic", ["a", "b"])
@pytest.mark.parametrize("size", [10, SHARED_BYTES])
def test_is_not_sent_if_it_is_too_large(packet_id: int, topic: str, size: int) -> None:
    outbox = outbox_of()
    qos = 1 if packet_id else 0
    delivery = deliver_as(Message("a", bytes(size), qos), qos, False, topic, ())
    assert send_publication(outbox, delivery, packet_id, 0.0)
    outbox.packet_limit = outbox.waiting_bytes
    assert send_publication(outbox, delivery, packet_id, 0.0)
    outbox.packet_limit -= 1
    assert not send_publication(outbox, delivery, packet_id, 0.0)
    assert len(read(outbox)) == 2


def test_aliases_are_given_and_used() -> None:
    outbox = outbox_of()
    outbox.aliases = OutgoingAliases(1)
    outbox.packet_limit = 50
    for topic, size in (("a", 50), ("a", 1), ("a", 1), ("b", 1)):
        delivery = deliver_as(Message(topic, bytes(size)), 0, False, topic, ())
        assert send_publication(outbox, delivery, 0, 0.0) == (size == 1)
    found = [(packet.topic, packet.properties.topic_alias) for packet in read(outbox)]
    # The first was too large: nobody has learnt an alias from it.
    assert found == [("a", 1), ("", 1), ("b", None)]
