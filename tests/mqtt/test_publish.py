"""PUBLISH and its acknowledgements without objects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import LocalProtocolError
from porttunnel.mqtt.packet import Version
from porttunnel.mqtt.publish import (
    FLAG_DUP,
    FLAG_RETAIN,
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    join_ack,
    join_publish,
    publish_beginning,
    publish_first_byte,
    publish_parts,
    split_publish,
    topic_name,
)
from tests.mqtt.outcome import attempt, refusal
from tests.mqtt.strategies import packet_ids, versions

V5, V3 = Version.V5, Version.V3_1_1

# By hand: first byte, version, body, and what stands in it.
SPLITS = [
    (0x30, V3, b"\0\3a/bhello", (b"a/b", 0, b"", b"hello")),
    (0x30, V5, b"\0\3a/b\0hello", (b"a/b", 0, b"", b"hello")),
    (0x31, V5, b"\0\3a/b\0", (b"a/b", 0, b"", b"")),
    (0x3D, V3, b"\0\3a/b\1\2hello", (b"a/b", 258, b"", b"hello")),
    (0x32, V5, b"\0\3a/b\1\2\0hello", (b"a/b", 258, b"", b"hello")),
    (0x34, V5, b"\0\0\0\7\3\x23\0\5hello", (b"", 7, b"\x23\0\5", b"hello")),
    (0x30, V5, b"\0\1a\x80\1" + bytes(128) + b"x", (b"a", 0, bytes(128), b"x")),
    (0x30, V3, b"\0\0", (b"", 0, b"", b"")),
]


def split(first_byte: int, body: bytes, version: Version) -> tuple[bytes, int, bytes, bytes]:
    topic, packet_id, properties, payload = split_publish(first_byte, memoryview(body), version)
    return topic, packet_id, bytes(properties), bytes(payload)


@pytest.mark.mqtt5("3.3.2-1", "2.2.1-2", "2.2.2-1")
@pytest.mark.mqtt3("3.3.2-1", "2.3.1-5")
@pytest.mark.parametrize(("first_byte", "version", "body", "parts"), SPLITS)
def test_a_packet_is_taken_apart_and_put_together(
    first_byte: int,
    version: Version,
    body: bytes,
    parts: tuple[bytes, int, bytes, bytes],
) -> None:
    assert split(first_byte, body, version) == parts
    topic, packet_id, properties, payload = parts
    block = properties if version is V5 else None
    whole = join_publish(first_byte, topic, packet_id, block, payload)
    length = len(body)
    assert whole == bytes((first_byte, length)) + body if length < 0x80 else whole.endswith(body)


@pytest.mark.parametrize(("first_byte", "version", "body", "parts"), SPLITS)
def test_the_topic_is_a_key_and_the_rest_are_views(
    first_byte: int, version: Version, body: bytes, parts: tuple[bytes, int, bytes, bytes]
) -> None:
    buffer = bytearray(body)
    topic, _, properties, payload = split_publish(first_byte, memoryview(buffer), version)
    assert type(topic) is bytes
    assert isinstance(payload, memoryview)
    assert payload.obj is buffer
    assert properties == b"" or (isinstance(properties, memoryview) and properties.obj is buffer)


@pytest.mark.parametrize(
    ("first_byte", "version", "body"),
    [
        (0x32, V3, b"\0\3a/b\1\2"),
        (0x32, V5, b"\0\3a/b\1\2\3\x23\0\5"),
        (0x30, V3, b"\0\3a/b"),
        (0x30, V5, b"\0\3a/b\3\x23\0\5"),
        (0x30, V5, b"\0\1a\x80\1" + bytes(128)),
    ],
)
def test_what_ends_early_is_malformed(first_byte: int, version: Version, body: bytes) -> None:
    split(first_byte, body, version)
    for count in range(len(body)):
        assert refusal(split, first_byte, body[:count], version) == 0x81


@pytest.mark.mqtt5("3.3.1-2", "3.3.1-4")
@pytest.mark.mqtt3("3.3.1-2", "3.3.1-4")
def test_flags_that_can_t_be_are_malformed() -> None:
    bad = []
    for first_byte in range(0x30, 0x40):
        _, reason = attempt(split, first_byte, b"\0\1a\0\1\0", V5)
        assert reason in (None, 0x81)
        if reason:
            bad.append(first_byte)
    assert bad == [0x36, 0x37, 0x38, 0x39, 0x3E, 0x3F]


@pytest.mark.mqtt5("2.2.1-3", "2.2.1-4")
@pytest.mark.mqtt3("2.3.1-1")
@pytest.mark.parametrize("version", Version)
def test_a_packet_identifier_is_not_0(version: Version) -> None:
    assert refusal(lambda: split(0x32, b"\0\1a\0\0\0", version)) == 0x82


@pytest.mark.mqtt5("1.5.5-1")
def test_the_length_of_properties_is_as_short_as_can_be() -> None:
    assert refusal(lambda: split(0x30, b"\0\1a\x80\0", V5)) == 0x81


@pytest.mark.mqtt5("3.3.2-1", "3.3.2-2", "4.7.3-1", "4.7.3-2")
@pytest.mark.mqtt3("3.3.2-1", "3.3.2-2", "4.7.3-1", "4.7.3-2")
def test_a_topic_is_checked_where_it_is_decoded() -> None:
    assert topic_name("a/ü".encode()) == "a/ü"
    assert refusal(lambda: topic_name(b"a\xff")) == 0x81
    assert refusal(lambda: topic_name(b"a\0")) == 0x81
    assert refusal(lambda: topic_name(b"a/+")) == 0x82
    assert refusal(lambda: topic_name(b"")) == 0x82


def test_first_bytes() -> None:
    made = {
        publish_first_byte(qos, retain=retain, dup=dup)
        for qos in (0, 1, 2)
        for retain in (False, True)
        for dup in (False, qos > 0)
    }
    assert made == {0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x3A, 0x3B, 0x3C, 0x3D}
    assert publish_first_byte(1, retain=True, dup=True) == 0x32 | FLAG_RETAIN | FLAG_DUP


@pytest.mark.mqtt5("3.3.1-2", "3.3.1-4")
@pytest.mark.mqtt3("3.3.1-2", "3.3.1-4")
def test_a_first_byte_that_can_t_be_is_our_own_mistake() -> None:
    for qos in (-1, 3):
        with pytest.raises(LocalProtocolError):
            publish_first_byte(qos)
    with pytest.raises(LocalProtocolError):
        publish_first_byte(0, dup=True)


@given(
    versions,
    st.sampled_from([0x30, 0x31, 0x32, 0x33, 0x34, 0x3B, 0x3D]),
    packet_ids,
    st.tuples(*[st.binary(max_size=130)] * 3),
)
def test_what_was_put_together_is_taken_apart(
    version: Version, first_byte: int, packet_id: int, parts: tuple[bytes, bytes, bytes]
) -> None:
    topic, properties, payload = parts
    block = properties if version is V5 else None
    has_id = first_byte & 6 != 0
    whole = join_publish(first_byte, topic, packet_id if has_id else 0, block, memoryview(payload))
    start = next(index for index in range(1, 5) if whole[index] < 0x80) + 1
    assert whole[0] == first_byte
    expected = (topic, packet_id if has_id else 0, block or b"", payload)
    assert split(first_byte, whole[start:], version) == expected
    before, behind = publish_beginning(first_byte, topic, block, len(payload))
    identifier = packet_id.to_bytes(2, "big") if has_id else b""
    assert before + identifier + behind + payload == whole
    if has_id:
        head, tail = publish_parts(first_byte, topic, block, payload)
        assert head + packet_id.to_bytes(2, "big") + tail == whole


def test_what_was_put_together_outlives_the_buffer_that_it_came_from() -> None:
    buffer = bytearray(b"hello")
    whole = join_publish(0x30, b"a", 0, None, memoryview(buffer))
    _, tail = publish_parts(0x32, b"a", None, memoryview(buffer))
    buffer[:] = b"other"
    assert whole.endswith(b"hello")
    assert tail == b"hello"


@pytest.mark.mqtt5("4.7.3-3")
@pytest.mark.mqtt3("4.7.3-3")
def test_what_no_length_can_say_is_our_own_mistake() -> None:
    longest = join_publish(0x30, bytes(0xFFFF), 0, None, b"")
    assert len(longest) == 4 + 2 + 0xFFFF
    with pytest.raises(LocalProtocolError, match="65535"):
        join_publish(0x30, bytes(0x10000), 0, None, b"")
    with pytest.raises(LocalProtocolError):
        publish_parts(0x32, b"a", None, memoryview(bytes(0x0FFFFFFF)))


@pytest.mark.parametrize("first_byte", [PUBACK, PUBREC, PUBREL, PUBCOMP])
def test_an_acknowledgement_is_mostly_an_identifier(first_byte: int) -> None:
    whole = join_ack(first_byte, 0x1234)
    assert whole == bytes((first_byte, 2)) + b"\x12\x34"
