"""Every packet whole, byte by byte, split at every byte, and with bytes trailing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.mqtt.decode import decode
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.framing import FrameReader
from porttunnel.mqtt.packet import Connect, Packet, Publish, Version
from tests.independent.mqtt_vectors import PLACE
from tests.mqtt.outcome import attempt
from tests.mqtt.strategies import packets, versions

LIMIT = 100_000
VECTORS = json.loads(PLACE.read_text(encoding="utf-8"))
SHORT = [each for each in VECTORS["packets"] if len(each["bytes"]) < 1_000]


class Receiver:
    """Decodes while the body is there, as a core does."""

    def __init__(self, version: Version | None) -> None:
        self.reader = FrameReader(LIMIT, version)
        self.version = version
        self.packets: list[Packet] = []

    def receive(self, data: bytes) -> None:
        """The buffer is written over afterwards: nothing that is kept may follow it."""
        buffer = bytearray(data)
        for first_byte, body in self.reader.feed(memoryview(buffer)):
            packet = decode(first_byte, body, self.version)
            if isinstance(packet, Publish):
                packet = Publish(
                    packet.topic,
                    bytes(packet.payload),
                    packet.qos,
                    packet.retain,
                    packet.dup,
                    packet.packet_id,
                    packet.properties,
                )
            elif isinstance(packet, Connect) and self.version is None:
                self.version = self.reader.version = packet.version
            self.packets.append(packet)
        buffer[:] = bytes(len(buffer))


def received(version: Version | None, *pieces: bytes) -> list[Packet]:
    receiver = Receiver(version)
    for piece in pieces:
        receiver.receive(piece)
    assert receiver.reader.kept_bytes == 0
    return receiver.packets


@pytest.mark.parametrize(
    "vector", SHORT, ids=[f"{each['name']} {each['version']}" for each in SHORT]
)
def test_a_packet_split_at_every_byte(vector: dict[str, Any]) -> None:
    version = Version(vector["version"])
    data = bytes.fromhex(vector["bytes"])
    expected = received(version, data)
    assert len(expected) == 1
    assert received(version, *(data[index : index + 1] for index in range(len(data)))) == expected
    for index in range(1, len(data)):
        assert received(version, data[:index], data[index:]) == expected


@pytest.mark.parametrize(
    "vector", SHORT, ids=[f"{each['name']} {each['version']}" for each in SHORT]
)
def test_a_packet_with_bytes_trailing(vector: dict[str, Any]) -> None:
    version = Version(vector["version"])
    data = bytes.fromhex(vector["bytes"])
    expected = received(version, data)
    for trailing in (b"\xc0", b"\x30\x05\0", data[:-1]):
        receiver = Receiver(version)
        receiver.receive(data + trailing)
        assert receiver.packets == expected
        assert receiver.reader.kept_bytes == len(trailing)
    assert received(version, data + data) == expected * 2


@given(versions, st.data())
def test_packets_of_any_kind_in_any_pieces(version: Version, data: st.DataObject) -> None:
    sent = data.draw(st.lists(packets(version), min_size=1, max_size=5))
    stream = b"".join(encode(packet, version) for packet in sent)
    size = data.draw(st.integers(1, len(stream)))
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert received(version, *pieces) == sent


@given(versions, st.data())
def test_a_changed_stream_ends_the_same_however_it_is_cut(
    version: Version, data: st.DataObject
) -> None:
    sent = data.draw(st.lists(packets(version), min_size=1, max_size=3))
    stream = bytearray(b"".join(encode(packet, version) for packet in sent))
    for _ in range(data.draw(st.integers(1, 3))):
        stream[data.draw(st.integers(0, len(stream) - 1))] ^= data.draw(st.integers(1, 255))
    outcomes = []
    for size in (len(stream), data.draw(st.integers(1, len(stream))), 1):
        receiver = Receiver(version)
        reason = None
        for start in range(0, len(stream), size):
            _, reason = attempt(receiver.receive, bytes(stream[start : start + size]))
            if reason is not None:
                break
        outcomes.append((receiver.packets, reason))
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert outcomes[0][1] in (None, 0x81, 0x82, 0x84, 0x85, 0x94, 0x95)
