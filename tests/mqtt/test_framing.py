"""Where packets begin and end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import MqttError
from porttunnel.mqtt.framing import MAX_PACKET_BYTES, FrameReader
from porttunnel.mqtt.packet import Version

V5, V3 = Version.V5, Version.V3_1_1
CONNECT_5 = b"\0\4MQTT\5\2\0\0\0\0\0"
CONNECT_3 = b"\0\4MQTT\4\2\0\0\0\0"


def frame(first_byte: int, body: bytes) -> bytes:
    length, encoded = len(body), bytearray()
    while length >= 0x80:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes((first_byte, *encoded, length)) + body


FRAMES = [
    (0xC0, b""),
    (0x30, b"\0\1a" + bytes(124)),
    (0x30, b"\0\1a" + bytes(125)),
    (0xC0, b""),
    (0x32, bytes(16_383)),
    (0x34, bytes(16_384)),
    (0x40, b"\0\1"),
]
STREAM = b"".join(frame(*each) for each in FRAMES)


def feed(
    reader: FrameReader, data: bytes, size: int = 0
) -> tuple[list[tuple[int, bytes]], int | None]:
    """What comes out of the data in pieces of that size, and with which reason it is refused."""
    found = []
    size = size or max(1, len(data))
    try:
        for start in range(0, len(data), size):
            for first_byte, body in reader.feed(memoryview(data[start : start + size])):
                found.append((first_byte, bytes(body)))
    except MqttError as error:
        return found, error.reason
    return found, None


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 127, 128, 129, 131, 1_000, 16_384])
def test_finds_every_packet_in_any_pieces(size: int) -> None:
    reader = FrameReader(20_000)
    assert feed(reader, STREAM, size) == (FRAMES, None)
    assert reader.kept_bytes == 0


def test_finds_nothing_in_nothing() -> None:
    assert list(FrameReader(10).feed(memoryview(b""))) == []


def test_whole_packets_are_views_without_a_copy() -> None:
    data = bytearray(STREAM)
    bodies = [body for _, body in FrameReader(20_000).feed(memoryview(data))]
    assert len(bodies) == len(FRAMES)
    assert all(body.obj is data for body in bodies)


def test_only_what_is_incomplete_is_kept() -> None:
    reader = FrameReader(20_000)
    whole, last = frame(0x30, b"first"), frame(0x30, bytes(200))
    for count in (1, 2, 3, 4, len(last) - 1):
        assert feed(reader, whole + last[:count]) == ([(0x30, b"first")], None)
        assert reader.kept_bytes == count
        assert feed(reader, last[count:] + whole) == (
            [(0x30, bytes(200)), (0x30, b"first")],
            None,
        )
        assert reader.kept_bytes == 0


def test_what_is_kept_does_not_follow_the_callers_buffer() -> None:
    reader = FrameReader(100)
    buffer = bytearray(b"\x30\5ab")
    assert not list(reader.feed(memoryview(buffer)))
    buffer[:] = bytes(4)
    assert feed(reader, b"cde") == ([(0x30, b"abcde")], None)


@pytest.mark.parametrize("size", [0, 1])
def test_a_packet_that_is_too_large_is_refused_at_its_length(size: int) -> None:
    for body in (8, 198, 20_000):
        whole = frame(0x30, bytes(body))
        assert feed(FrameReader(len(whole)), whole, size) == ([(0x30, bytes(body))], None)
        head = whole[: len(whole) - body]
        assert feed(FrameReader(len(whole) - 1), b"\xc0\0" + head, size) == (
            [(0xC0, b"")],
            0x95,
        )


def test_the_limit_can_be_changed_on_the_way() -> None:
    reader = FrameReader(5)
    data = frame(0x10, b"abc") + frame(0x30, bytes(100))
    frames = reader.feed(memoryview(data))
    assert next(frames)[0] == 0x10
    reader.max_packet_bytes = 102
    assert next(frames)[0] == 0x30
    assert next(frames, None) is None


@pytest.mark.parametrize("size", [0, 1, 2])
@pytest.mark.parametrize("version", [None, V3, V5])
def test_a_length_of_more_than_four_bytes_is_malformed(version: Version | None, size: int) -> None:
    reader = FrameReader(MAX_PACKET_BYTES, version)
    assert feed(reader, b"\xc0\0\x30\xff\xff\xff\x80", size) == ([(0xC0, b"")], 0x81)


def test_the_longest_length_is_none_of_them() -> None:
    assert feed(FrameReader(MAX_PACKET_BYTES), b"\x30\xff\xff\xff\x7f") == ([], None)
    assert feed(FrameReader(MAX_PACKET_BYTES - 1), b"\x30\xff\xff\xff\x7f") == ([], 0x95)


@pytest.mark.mqtt5("1.5.5-1")
@pytest.mark.parametrize("size", [0, 1, 2, 3])
@pytest.mark.parametrize("zeros", [1, 2, 3])
def test_mqtt_5_has_the_shortest_length_and_3_1_1_any(zeros: int, size: int) -> None:
    body = b"\0\1a" + bytes(60)
    padded = bytes((0x30, len(body) | 0x80, *([0x80] * (zeros - 1)), 0)) + body
    assert feed(FrameReader(100, V5), padded, size) == ([], 0x81)
    assert feed(FrameReader(100, V3), padded, size) == ([(0x30, body)], None)
    nothing = bytes((0xC0, *([0x80] * zeros), 0))
    assert feed(FrameReader(100, V5), nothing, size) == ([], 0x81)
    assert feed(FrameReader(100, V3), nothing, size) == ([(0xC0, b"")], None)


@pytest.mark.mqtt5("1.5.5-1")
@pytest.mark.parametrize("size", [0, 1, 2, 3, 9, 10])
def test_before_the_version_is_known_a_connect_is_held_to_its_own(size: int) -> None:
    for connect, reason in ((CONNECT_5, 0x81), (CONNECT_3, None)):
        padded = bytes((0x10, len(connect) | 0x80, 0)) + connect
        frames = [] if reason else [(0x10, connect)]
        assert feed(FrameReader(100), padded, size) == (frames, reason)


def test_the_version_can_be_told_on_the_way() -> None:
    reader = FrameReader(100)
    frames = reader.feed(memoryview(frame(0x10, CONNECT_5) + b"\xc0\x80\0"))
    assert next(frames)[0] == 0x10
    reader.version = V5
    with pytest.raises(MqttError):
        next(frames)


@given(st.binary(max_size=200), st.integers(1, 50), st.sampled_from([None, V3, V5]))
def test_any_cut_finds_the_same(data: bytes, size: int, version: Version | None) -> None:
    stream = frame(0x10, CONNECT_5) + data
    whole = feed(FrameReader(150, version), stream)
    for cut in (1, size):
        reader = FrameReader(150, version)
        found, reason = feed(reader, stream, cut)
        assert (found, reason) == whole
        assert reader.kept_bytes <= 150
    assert whole[1] in (None, 0x81, 0x95)


def test_says_how_much_is_missing() -> None:
    reader = FrameReader(MAX_PACKET_BYTES, V5)
    packet = frame(0x30, bytes(200))
    assert reader.find(packet, 0) == (3, 203)
    assert reader.find(b"\xc0" + packet[:2], 1) is None
    for size, missing in ((1, 1), (1, 1), (1, 200), (150, 50)):
        given = packet[reader.kept_bytes :][:size]
        assert list(reader.feed(memoryview(given))) == []
        assert reader.missing_bytes == missing
    assert len(list(reader.feed(memoryview(bytes(50))))) == 1
    assert reader.kept_bytes == 0


def test_says_whether_a_message_waits_for_its_rest() -> None:
    reader = FrameReader(MAX_PACKET_BYTES)
    assert not reader.keeps_publish
    for first_byte, is_message in ((0x3D, True), (0x82, False)):
        assert list(reader.feed(memoryview(bytes((first_byte,))))) == []
        assert reader.keeps_publish is is_message
        assert len(list(reader.feed(memoryview(b"\0")))) == 1
        assert not reader.keeps_publish
