"""Messages on their way, and their packets."""

from __future__ import annotations

import pytest

from porttunnel.mqtt.decode import decode
from porttunnel.mqtt.message import (
    MAX_KEPT_TOPIC,
    MESSAGE_BYTES,
    SHARED_BYTES,
    Delivery,
    Message,
    deliver_as,
    make_message,
)
from porttunnel.mqtt.packet import Publish, Version
from porttunnel.mqtt.property import EMPTY, Properties

V3, V5 = Version.V3_1_1, Version.V5
FULL = Properties(
    payload_format_indicator=True,
    content_type="text/plain",
    response_topic="r",
    correlation_data=b"c",
    user_properties=(("b", "1"), ("a", "2"), ("b", "3")),
)


def read(packet: bytes, version: Version) -> Publish:
    size = 2
    assert packet[1] == len(packet) - size
    found = decode(packet[0], memoryview(packet)[size:], version)
    assert isinstance(found, Publish)
    return found


@pytest.mark.parametrize("version", [V3, V5])
@pytest.mark.parametrize("retain", [False, True])
def test_a_packet_is_made_once_for_all_who_were_there(version: Version, retain: bool) -> None:
    message = make_message("a/ä", b"payload", 2, True, FULL, now=0.0)
    properties = FULL if version == V5 else EMPTY
    first = message.packet(version, retain=retain)
    assert (message.packet(version, retain=retain) is first) is not retain
    found = read(first, version)
    assert (found.topic, bytes(found.payload), found.qos) == ("a/ä", b"payload", 0)
    assert (found.retain, found.dup, found.properties) == (retain, False, properties)
    for qos in (1, 2):
        parts = message.parts(version, qos, retain=retain)
        assert (message.parts(version, qos, retain=retain) is parts) is not retain
        found = read(parts[0] + b"\1\2" + parts[1], version)
        assert (found.topic, bytes(found.payload), found.qos) == ("a/ä", b"payload", qos)
        assert (found.retain, found.packet_id, found.properties) == (retain, 258, properties)


def test_parts_of_the_packet_that_came_are_used_again() -> None:
    message = Message("a", b"x", 1)
    made = message.parts(V5, 1, retain=False)
    other = Message("a", b"x", 1)
    head, tail = bytes(made[0]), bytes(made[1])
    other.remember(V5, 1, (head, tail))
    assert other.parts(V5, 1, retain=False)[0] is head
    assert other.parts(V3, 1, retain=False) == (b"\x32\x06\0\1a", b"x")
    assert other.packet(V5, retain=False) == b"\x30\x05\0\1a\0x"


@pytest.mark.parametrize("size", [0, SHARED_BYTES])
def test_of_a_large_message_no_packets_are_kept(size: int) -> None:
    message = Message("a", bytes(size), 1)
    packet, parts = message.packet(V5, retain=False), message.parts(V5, 1, retain=False)
    is_kept = not size
    assert (message.packet(V5, retain=False) is packet) is is_kept
    assert (message.parts(V5, 1, retain=False) is parts) is is_kept
    fleeting = Message("a", bytes(size), 0)
    assert fleeting.packet(V5, retain=False) is fleeting.packet(V5, retain=False)
    other = Message("a", bytes(size), 1)
    other.remember(V5, 1, parts)
    assert (other.parts(V5, 1, retain=False) is parts) is is_kept
    assert message.cost == MESSAGE_BYTES + (2 if is_kept else 1 + size)
    assert message.bare_cost == MESSAGE_BYTES + 1 + size


@pytest.mark.parametrize("version", [V3, V5])
@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize("topic", ["a/ä", "a" * (MAX_KEPT_TOPIC + 1)])
def test_the_beginning_stands_before_the_payload(
    version: Version, retain: bool, topic: str
) -> None:
    message = make_message(topic, b"payload", 2, True, FULL, now=0.0)
    is_kept = not retain and len(topic) < MAX_KEPT_TOPIC
    for qos in (0, 1, 2):
        before, behind = made = message.beginning(version, qos, retain=retain)
        assert (message.beginning(version, qos, retain=retain) is made) is is_kept
        if qos:
            head, tail = message.parts(version, qos, retain=retain)
            assert (before, behind + b"payload") == (head, tail)
        else:
            assert before + b"payload" == message.packet(version, retain=retain)


def test_one_without_packets_is_the_same() -> None:
    message = make_message(
        "a", b"x", 2, True, Properties(content_type="t", message_expiry_interval=5), now=1.0
    )
    other = message.without_packets()
    for name in ("topic", "payload", "qos", "retain", "properties", "expires_at", "cost"):
        assert getattr(other, name) == getattr(message, name)
    assert other.packet(V5, retain=True) == message.packet(V5, retain=True)


@pytest.mark.mqtt5(
    "3.3.2-4", "3.3.2-15", "3.3.2-16", "3.3.2-17", "3.3.2-18", "3.3.2-20", "3.3.4-4"
)
def test_what_is_the_messages_goes_on_and_what_is_the_packets_does_not() -> None:
    came = Properties(
        payload_format_indicator=True,
        content_type="text/plain",
        response_topic="r",
        correlation_data=b"c",
        user_properties=(("b", "1"), ("a", "2"), ("b", "3")),
        topic_alias=7,
        message_expiry_interval=10,
    )
    message = make_message("a", b"x", 1, False, came, now=100.0)
    assert make_message("a", b"x", 1, False, EMPTY, now=0.0).properties is EMPTY
    only_the_packets = Properties(topic_alias=7)
    assert make_message("a", b"x", 1, False, only_the_packets, now=0.0).properties is EMPTY
    assert message.properties == FULL
    assert message.expires_at == 110.0
    sent = Delivery(message, 1, False, "b", (3, 4)).packet(
        V5, 9, 104.5, dup=True, topic=b"", alias=2
    )
    found = read(sent, V5)
    assert (found.topic, found.packet_id, found.dup) == ("", 9, True)
    assert found.properties.topic_alias == 2
    assert found.properties.subscription_identifiers == (3, 4)
    assert found.properties.user_properties == FULL.user_properties
    assert found.properties.content_type == "text/plain"


@pytest.mark.mqtt5("3.3.2-6")
def test_the_time_that_it_waited_is_taken_off() -> None:
    message = make_message("a", b"x", 0, False, Properties(message_expiry_interval=10), now=100.0)
    assert message.properties is EMPTY
    delivery = Delivery(message, 0, False, "a")
    for now, left in ((100.0, 10), (104.5, 6), (109.9, 1), (110.0, 0), (200.0, 0)):
        assert message.remaining_seconds(now) == left
        found = read(delivery.packet(V5, 0, now), V5)
        assert found.properties.message_expiry_interval == left
        assert message.has_expired(now) == (now >= 110)
    assert read(delivery.packet(V3, 0, 104.0), V3).properties is EMPTY
    assert Message("a", b"x").remaining_seconds(5.0) is None
    assert not Message("a", b"x").has_expired(1e9)


def test_bytes_of_properties_that_came_are_used_again() -> None:
    encoded = bytes((3, 0, 1)) + b"t"
    properties = Properties(content_type="t")
    message = make_message("a", b"x", 0, False, properties, now=0.0, encoded=encoded)
    assert message.properties is properties
    assert message.packet(V5, retain=False) == b"\x30\x09\0\1a\4" + encoded + b"x"
    expiring = Properties(content_type="t", message_expiry_interval=5)
    message = make_message("a", b"x", 0, False, expiring, now=0.0, encoded=b"other")
    assert message.packet(V5, retain=False) == b"\x30\x09\0\1a\4" + encoded + b"x"
    for left_out in (Properties(will_delay_interval=1), Properties(subscription_identifiers=(1,))):
        assert make_message("a", b"", 0, False, left_out, now=0.0).properties is EMPTY


def test_who_needs_a_packet_of_its_own() -> None:
    message = Message("a", b"x")
    plain = deliver_as(message, 1, True, "a", ())
    assert (plain.message, plain.qos, plain.retain, plain.topic) == (message, 1, True, "a")
    assert not plain.is_special
    assert deliver_as(message, 0, False, "b", ()).is_special
    assert deliver_as(message, 0, False, "a", (1,)).is_special
    assert deliver_as(Message("a", b"x", expires_at=1.0), 0, False, "a", ()).is_special


def test_properties_cost_memory() -> None:
    plain, full = Message("abc", b"12345"), Message("abc", b"12345", properties=FULL)
    assert plain.cost == MESSAGE_BYTES + 2 * 8
    assert full.cost > plain.cost + 450
