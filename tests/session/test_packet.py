"""The header, and cutting a stream of bytes into packets."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import RemoteProtocolError
from porttunnel.session.packet import (
    ALL_MEMBERS,
    FLAG_GROUP,
    FLAG_RESYNC,
    FLAG_SYNCED,
    HEADER_BYTES,
    MASTER,
    MAX_PACKET_BYTES,
    MAX_PLAINTEXT_BYTES,
    SERVER,
    TAG_BYTES,
    Header,
    PacketSplitter,
    PacketType,
    check_handshake_header,
    decode_header,
    encode_header_into,
    encode_packet,
)

LENGTHS = {
    PacketType.C1: (1_540, 1_572),
    PacketType.M2: (1_387, 1_419),
    PacketType.C3: (64, 64),
    PacketType.M4: (32, 32),
    PacketType.DATA: (16, 65_552),
    PacketType.ACK: (16, 16),
    PacketType.STORE: (9, 65_536),
    PacketType.REQUEST: (1, 4_096),
    PacketType.REPLY: (1, 65_536),
    PacketType.EVENT: (1, 4_096),
    PacketType.PING: (8, 8),
    PacketType.PONG: (8, 8),
    PacketType.ERROR: (1, 1_024),
}

TYPES_OF_16_BYTES = {kind for kind, (low, high) in LENGTHS.items() if low <= 16 <= high}


def packet(
    kind: PacketType = PacketType.DATA,
    body: bytes = bytes(TAG_BYTES),
    *,
    sender: int = 2,
    target: int = MASTER,
    number: int = 0,
    flags: int = 0,
) -> bytes:
    made = bytearray(HEADER_BYTES)
    encode_header_into(made, kind, sender, target, len(body), number=number, flags=flags)
    return bytes(made) + body


def split(splitter: PacketSplitter, data: bytes, size: int = 0) -> Iterator[tuple[Header, bytes]]:
    size = size or len(data) or 1
    for start in range(0, len(data), size):
        for header, found in splitter.split(memoryview(data[start : start + size])):
            yield header, bytes(found)


class TestHeader:
    def test_is_laid_out_as_specified(self) -> None:
        made = bytearray(HEADER_BYTES)
        encode_header_into(
            made,
            PacketType.ACK,
            0x0203,
            0x0405,
            16,
            number=0x0607_0809_0A0B_0C0D,
            ack=0x1011_1213_1415_1617,
            epoch=0x2021_2223,
            flags=FLAG_RESYNC,
        )
        assert made.hex(" ", 4) == (
            "50540111 00010002 20212223 02030405 06070809 0a0b0c0d 10111213 14151617 00000010"
        )
        assert decode_header(made) == Header(
            PacketType.ACK,
            FLAG_RESYNC,
            0x2021_2223,
            0x0203,
            0x0405,
            0x0607_0809_0A0B_0C0D,
            0x1011_1213_1415_1617,
            16,
        )

    def test_is_read_where_it_lies(self) -> None:
        assert decode_header(b"before" + packet(), 6).kind is PacketType.DATA

    @pytest.mark.parametrize("kind", PacketType)
    def test_each_type_has_its_lengths(self, kind: PacketType) -> None:
        shortest, longest = LENGTHS[kind]
        for length in (shortest, longest):
            made = bytearray(HEADER_BYTES)
            encode_header_into(made, kind, 2, 1, length)
            assert decode_header(made).length == length
        for length in (shortest - 1, longest + 1):
            encode_header_into(made, kind, 2, 1, length)
            with pytest.raises(RemoteProtocolError, match="length"):
                decode_header(made)

    @pytest.mark.parametrize("kind", PacketType)
    def test_each_type_has_its_flags(self, kind: PacketType) -> None:
        allowed = {
            PacketType.DATA: {0, FLAG_GROUP},
            PacketType.ACK: {0, FLAG_RESYNC, FLAG_SYNCED},
        }
        for flags in (*range(16), 0x8000):
            made = packet(kind, bytes(LENGTHS[kind][0]), flags=flags)
            if flags in allowed.get(kind, {0}):
                assert decode_header(made).flags == flags
            else:
                with pytest.raises(RemoteProtocolError, match="flags"):
                    decode_header(made)

    @pytest.mark.parametrize("place", range(6))
    def test_magic_version_type_and_suite_are_checked(self, place: int) -> None:
        for value in range(256):
            changed = bytearray(packet())
            if changed[place] == value:
                continue
            changed[place] = value
            if place == 3 and value in TYPES_OF_16_BYTES:
                # All that can be known without the body.
                assert decode_header(changed).kind == value
                continue
            with pytest.raises(RemoteProtocolError):
                decode_header(changed)

    @given(st.binary(min_size=HEADER_BYTES, max_size=HEADER_BYTES))
    def test_any_bytes_are_a_header_or_refused(self, data: bytes) -> None:
        with_magic = struct.pack(">IHH", 0x50540100 | data[3], 1, data[7]) + data[8:]
        for candidate in (data, with_magic):
            try:
                header = decode_header(candidate)
            except RemoteProtocolError:
                continue
            shortest, longest = LENGTHS[header.kind]
            assert shortest <= header.length <= longest

    def test_a_whole_packet(self) -> None:
        made = encode_packet(PacketType.PING, 2, SERVER, b"12345678", number=9)
        header = decode_header(made)
        assert (header.kind, header.sender, header.target) == (PacketType.PING, 2, SERVER)
        assert (header.number, header.ack, header.epoch, header.flags) == (9, 0, 0, 0)
        assert made[HEADER_BYTES:] == b"12345678"


class TestHandshakeHeader:
    @pytest.mark.parametrize(
        ("kind", "number"),
        [
            (PacketType.C1, 0),
            (PacketType.M2, 0),
            (PacketType.C3, 1),
            (PacketType.M4, 1),
            (PacketType.ERROR, 0),
        ],
    )
    def test_has_one_form(self, kind: PacketType, number: int) -> None:
        right = Header(kind, 0, 0, 2, MASTER, number, 0, LENGTHS[kind][0])
        check_handshake_header(right)
        for change in ({"epoch": 1}, {"ack": 1}, {"number": 1 - number}, {"number": 2}):
            with pytest.raises(RemoteProtocolError, match="fields"):
                check_handshake_header(right._replace(**change))


PACKETS = [
    packet(PacketType.PING, b"12345678", target=SERVER),
    packet(PacketType.DATA, bytes(range(200))),
    packet(PacketType.ACK),
    packet(PacketType.REQUEST, b"?", target=SERVER),
    packet(PacketType.DATA, bytes(MAX_PLAINTEXT_BYTES + TAG_BYTES)),
    packet(PacketType.C3, bytes(64)),
]


class TestSplit:
    @pytest.mark.parametrize("size", [0, 1, 2, 7, 35, 36, 37, 38, 60, 1000, 65_536])
    def test_finds_every_packet_in_any_chunks(self, size: int) -> None:
        splitter = PacketSplitter()
        found = list(split(splitter, b"".join(PACKETS), size))
        assert [made for _, made in found] == PACKETS
        assert [header for header, _ in found] == [decode_header(made) for made in PACKETS]
        assert splitter.kept_bytes == 0

    def test_whole_packets_are_views_without_a_copy(self) -> None:
        data = bytearray(PACKETS[0] + PACKETS[1])
        views = [view for _, view in PacketSplitter().split(memoryview(data))]
        data[HEADER_BYTES] ^= 0xFF
        assert views[0][HEADER_BYTES] == data[HEADER_BYTES]
        assert all(view.obj is data for view in views)

    def test_only_what_is_incomplete_is_kept(self) -> None:
        splitter = PacketSplitter()
        last = PACKETS[1]
        for count in (1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 1, len(last) - 1):
            assert [made for _, made in split(splitter, PACKETS[0] + last[:count])] == [PACKETS[0]]
            assert splitter.kept_bytes == count
            assert [made for _, made in split(splitter, last[count:])] == [last]
            assert splitter.kept_bytes == 0

    def test_what_is_kept_does_not_follow_the_callers_buffer(self) -> None:
        splitter = PacketSplitter()
        buffer = bytearray(PACKETS[1][:50])
        assert not list(splitter.split(memoryview(buffer)))
        buffer[:] = bytes(50)
        assert [bytes(made) for _, made in splitter.split(memoryview(PACKETS[1][50:]))] == [
            PACKETS[1]
        ]

    def test_never_keeps_more_than_one_packet(self) -> None:
        splitter = PacketSplitter()
        longest = packet(PacketType.DATA, bytes(MAX_PLAINTEXT_BYTES + TAG_BYTES))
        assert len(longest) == MAX_PACKET_BYTES
        assert not list(split(splitter, longest[:-1]))
        assert splitter.kept_bytes == MAX_PACKET_BYTES - 1

    def test_the_header_of_what_is_kept_can_be_seen(self) -> None:
        splitter = PacketSplitter()
        assert not list(split(splitter, PACKETS[1][: HEADER_BYTES - 1]))
        assert splitter.kept_header is None
        assert not list(split(splitter, PACKETS[1][HEADER_BYTES - 1 : HEADER_BYTES]))
        assert splitter.kept_header == decode_header(PACKETS[1])

    @pytest.mark.parametrize("size", [0, 1, 30])
    def test_what_is_no_packet_is_refused(self, size: int) -> None:
        found: list[bytes] = []
        stream = PACKETS[0] + b"GET / HTTP/1.1\r\n" * 4
        with pytest.raises(RemoteProtocolError):
            found.extend(made for _, made in split(PacketSplitter(), stream, size))
        assert found == [PACKETS[0]]


def runs(data: bytes, size: int = 0) -> list[tuple[int, bytes]]:
    splitter = PacketSplitter()
    size = size or len(data)
    return [
        (header.target, bytes(made))
        for start in range(0, len(data), size)
        for header, made in splitter.runs(memoryview(data[start : start + size]))
    ]


class TestRuns:
    def test_sealed_packets_of_one_route_stay_together(self) -> None:
        question = packet(PacketType.ACK, flags=FLAG_RESYNC)
        answer = packet(PacketType.ACK, flags=FLAG_SYNCED)
        data = packet(number=0) + question + answer + packet(number=1)
        assert runs(data) == [(MASTER, data)]

    @pytest.mark.parametrize(
        "other",
        [
            packet(sender=3),
            packet(target=4),
            packet(PacketType.PING, bytes(8)),
            packet(target=ALL_MEMBERS, flags=FLAG_GROUP),
            packet(flags=FLAG_GROUP),
            packet(PacketType.C3, bytes(64)),
        ],
    )
    def test_anything_else_ends_the_run(self, other: bytes) -> None:
        target = decode_header(other).target
        assert runs(packet() + other + packet()) == [
            (MASTER, packet()),
            (target, other),
            (MASTER, packet()),
        ]

    def test_group_packets_are_a_run_of_their_own(self) -> None:
        group = packet(sender=MASTER, target=ALL_MEMBERS, flags=FLAG_GROUP)
        single = packet(sender=MASTER, target=ALL_MEMBERS)
        assert runs(group + group + single) == [
            (ALL_MEMBERS, group + group),
            (ALL_MEMBERS, single),
        ]

    def test_an_incomplete_packet_is_no_part_of_a_run(self) -> None:
        splitter = PacketSplitter()
        data = packet() + packet()
        for count in (1, HEADER_BYTES, len(packet()) - 1):
            found = [bytes(made) for _, made in splitter.runs(memoryview(data + packet()[:count]))]
            assert found == [data]
            rest = [bytes(made) for _, made in splitter.runs(memoryview(packet()[count:]))]
            assert rest == [packet()]

    @pytest.mark.parametrize("make", [lambda p: p[:3] + b"\x99" + p[4:], lambda p: bytes(36)])
    def test_a_bad_header_behind_a_run_is_refused(self, make: Callable[[bytes], bytes]) -> None:
        data = packet() + make(packet())
        found: list[bytes] = []
        cut = PacketSplitter().runs(memoryview(data))
        with pytest.raises(RemoteProtocolError):
            found.extend(bytes(made) for _, made in cut)
        assert found == [packet()]

    @pytest.mark.parametrize("length", [TAG_BYTES - 1, MAX_PLAINTEXT_BYTES + TAG_BYTES + 1])
    def test_a_bad_length_behind_a_run_is_refused(self, length: int) -> None:
        bad = bytearray(HEADER_BYTES)
        encode_header_into(bad, PacketType.DATA, 2, MASTER, length)
        with pytest.raises(RemoteProtocolError):
            runs(packet() + bytes(bad) + bytes(MAX_PACKET_BYTES))

    @pytest.mark.parametrize("size", [0, 1, 53, 100, 5000])
    def test_loses_and_changes_nothing(self, size: int) -> None:
        data = b"".join(PACKETS * 2)
        assert b"".join(made for _, made in runs(data, size)) == data


@given(st.binary(max_size=300), st.integers(1, 50), st.booleans())
def test_any_bytes_are_packets_or_refused(data: bytes, size: int, valid_start: bool) -> None:
    stream = (PACKETS[1] if valid_start else b"") + data
    for cut in (PacketSplitter.split, PacketSplitter.runs):
        splitter = PacketSplitter()
        found = b""
        try:
            for start in range(0, len(stream), size):
                for _, made in cut(splitter, memoryview(stream[start : start + size])):
                    found += bytes(made)
        except RemoteProtocolError:
            pass
        assert stream.startswith(found)
        assert splitter.kept_bytes < MAX_PACKET_BYTES


@given(st.data())
def test_mutated_packets_are_packets_or_refused(data: st.DataObject) -> None:
    stream = bytearray(b"".join(PACKETS[:4]))
    for _ in range(data.draw(st.integers(1, 3))):
        stream[data.draw(st.integers(0, len(stream) - 1))] ^= data.draw(st.integers(1, 255))
    outcomes = []
    for size in (len(stream), 1):
        found = []
        refused = False
        try:
            found.extend(made for _, made in split(PacketSplitter(), bytes(stream), size))
        except RemoteProtocolError:
            refused = True
        outcomes.append((found, refused))
    assert outcomes[0] == outcomes[1]
