"""The plain fields of MQTT's packets."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import LocalProtocolError, MqttError
from porttunnel.mqtt import field
from porttunnel.mqtt.field import (
    ENDED_EARLY,
    MAX_VARINT,
    ended_early,
    malformed,
    protocol_error,
    read_binary,
    read_packet_id,
    read_string,
    read_topic,
    read_u16,
    read_u32,
    read_varint,
    write_binary,
    write_packet_id,
    write_string,
    write_topic,
    write_u16,
    write_u32,
    write_varint,
)
from tests.mqtt.outcome import refusal
from tests.mqtt.strategies import binary, packet_ids, strings, topic_names

# Writer, reader, values, and encodings by hand.
Case = tuple[Callable[[Any], bytes], Callable[[bytes, int], tuple[Any, int]], Any, bytes]
CASES: list[Case] = [
    (write_u16, read_u16, 0, b"\0\0"),
    (write_u16, read_u16, 0xFFFE, b"\xff\xfe"),
    (write_packet_id, read_packet_id, 1, b"\0\1"),
    (write_u32, read_u32, 0x01020304, b"\1\2\3\4"),
    (write_varint, read_varint, 0, b"\0"),
    (write_varint, read_varint, 127, b"\x7f"),
    (write_varint, read_varint, 128, b"\x80\x01"),
    (write_varint, read_varint, 16_383, b"\xff\x7f"),
    (write_varint, read_varint, 16_384, b"\x80\x80\x01"),
    (write_varint, read_varint, 2_097_151, b"\xff\xff\x7f"),
    (write_varint, read_varint, 2_097_152, b"\x80\x80\x80\x01"),
    (write_varint, read_varint, MAX_VARINT, b"\xff\xff\xff\x7f"),
    (write_binary, read_binary, b"", b"\0\0"),
    (write_binary, read_binary, b"\0\xff", b"\0\2\0\xff"),
    (write_string, read_string, "A\U0002a6d4", b"\0\5A\xf0\xaa\x9b\x94"),
]


@pytest.mark.mqtt5("1.5.5-1")
@pytest.mark.parametrize(("write", "read", "value", "encoded"), CASES)
def test_a_field_is_written_as_the_norm_says(
    write: Callable[[Any], bytes],
    read: Callable[[bytes, int], tuple[Any, int]],
    value: Any,
    encoded: bytes,
) -> None:
    assert write(value) == encoded
    assert read(b"xy" + encoded + b"z", 2) == (value, 2 + len(encoded))


@pytest.mark.parametrize(("write", "read", "value", "encoded"), CASES)
def test_a_field_that_ends_early_is_told(
    write: Callable[[Any], bytes],
    read: Callable[[bytes, int], tuple[Any, int]],
    value: Any,
    encoded: bytes,
) -> None:
    for count in range(len(encoded)):
        with pytest.raises(ENDED_EARLY):
            read(encoded[:count], 0)


@pytest.mark.parametrize(
    ("write", "read", "values"),
    [
        (write_u16, read_u16, st.integers(0, 0xFFFF)),
        (write_u32, read_u32, st.integers(0, 0xFFFFFFFF)),
        (write_packet_id, read_packet_id, packet_ids),
        (write_varint, read_varint, st.integers(0, MAX_VARINT)),
        (write_binary, read_binary, binary),
        (write_string, read_string, strings),
        (write_topic, read_string, topic_names),
    ],
)
def test_what_was_written_is_read(
    write: Callable[[Any], bytes],
    read: Callable[[bytes, int], tuple[Any, int]],
    values: st.SearchStrategy[Any],
) -> None:
    @given(values)
    def check(value: Any) -> None:
        encoded = write(value)
        assert read(encoded, 0) == (value, len(encoded))

    check()


@pytest.mark.mqtt5("1.5.5-1")
@pytest.mark.parametrize(
    "encoded", [b"\x80\0", b"\xff\x80\0", b"\xff\xff\xff\0", b"\x80\x80\x80\x80\x01", b"\xff" * 5]
)
def test_an_integer_has_the_fewest_bytes_and_at_most_four(encoded: bytes) -> None:
    assert refusal(lambda: read_varint(encoded, 0)) == 0x81


@pytest.mark.mqtt5("2.2.1-3", "2.2.1-4")
@pytest.mark.mqtt3("2.3.1-1")
def test_a_packet_identifier_is_not_0() -> None:
    assert refusal(lambda: read_packet_id(b"\0\0", 0)) == 0x82


@pytest.mark.mqtt5("1.5.4-1", "1.5.4-2")
@pytest.mark.mqtt3("1.5.3-1", "1.5.3-2")
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\xff", id="no UTF-8"),
        pytest.param(b"\xed\xa0\x80", id="the surrogate U+D800"),
        pytest.param(b"\xed\xbf\xbf", id="the surrogate U+DFFF"),
        pytest.param(b"\xc0\x80", id="U+0000 in two bytes"),
        pytest.param(b"\xe2\x82", id="cut"),
        pytest.param(b"\xf4\x90\x80\x80", id="beyond U+10FFFF"),
        pytest.param(b"a\0b", id="U+0000"),
    ],
)
def test_what_is_no_string_is_malformed(raw: bytes) -> None:
    assert refusal(lambda: read_string(write_binary(raw), 0)) == 0x81
    assert refusal(lambda: read_topic(raw)) == 0x81


@pytest.mark.mqtt5("1.5.4-3")
@pytest.mark.mqtt3("1.5.3-3")
def test_a_byte_order_mark_is_kept() -> None:
    encoded = b"\0\7\xef\xbb\xbfa\xef\xbb\xbf"
    assert read_string(encoded, 0) == ("\ufeffa\ufeff", 9)
    assert write_string("\ufeffa\ufeff") == encoded


@pytest.mark.mqtt5("3.3.2-2", "4.7.0-1")
@pytest.mark.mqtt3("3.3.2-2", "4.7.1-1")
@pytest.mark.parametrize("topic", ["+", "#", "a/+/b", "a+", "a/#"])
def test_a_topic_name_has_no_wildcards(topic: str) -> None:
    assert refusal(lambda: read_topic(topic.encode())) == 0x82
    with pytest.raises(LocalProtocolError, match="wildcards"):
        write_topic(topic)
    assert read_topic(b"$SYS/a b//") == "$SYS/a b//"


@pytest.mark.parametrize(
    ("write", "value"),
    [
        (write_u16, -1),
        (write_u16, 0x10000),
        (write_u32, -1),
        (write_u32, 0x100000000),
        (write_packet_id, 0),
        (write_packet_id, 0x10000),
        (write_varint, -1),
        (write_varint, MAX_VARINT + 1),
        (write_binary, bytes(0x10000)),
        (write_string, "x" * 0x10000),
        (write_string, "ü" * 0x8000),
        (write_string, "a\0"),
        (write_string, "\ud800"),
    ],
)
def test_what_a_field_can_t_hold_is_our_own_mistake(
    write: Callable[[Any], bytes], value: Any
) -> None:
    with pytest.raises(LocalProtocolError):
        write(value)


@pytest.mark.mqtt5("4.7.3-3")
@pytest.mark.mqtt3("4.7.3-3")
def test_the_longest_string() -> None:
    assert read_string(write_string("x" * 0xFFFF), 0) == ("x" * 0xFFFF, 0x10001)


def test_each_failure_has_its_reason_code() -> None:
    assert malformed("x").reason == ended_early().reason == 0x81
    assert protocol_error("x").reason == 0x82


def test_readers_raise_nothing_else() -> None:
    assert set(ENDED_EARLY) == {IndexError, struct.error}
    readers = [getattr(field, name) for name in field.__all__ if name.startswith("read_")]
    assert len(readers) == 7

    @given(st.binary(max_size=8), st.integers(0, 8))
    def check(data: bytes, offset: int) -> None:
        for read in set(readers) - {read_topic}:
            try:
                _, end = read(data, offset)
            except (MqttError, *ENDED_EARLY):
                continue
            assert offset < end <= len(data)

    check()
