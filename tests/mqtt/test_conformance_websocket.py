"""MQTT in WebSocket, statement by statement: both cores together, every border of frames."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from porttunnel.errors import WebSocketError
from porttunnel.mqtt.broker import Broker
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.packet import (
    Connack,
    Connect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Version,
)
from porttunnel.mqtt.policy import AllowAll
from porttunnel.websocket.connection import ServerConnection
from porttunnel.websocket.event import ConnectionFailed
from porttunnel.websocket.frame_head import Opcode
from tests.mqtt.broker_client import BrokerClient
from tests.websocket.client import frame

BOTH = pytest.mark.parametrize("version", Version)
STORY: tuple[Packet, ...] = (
    Subscribe(1, (Subscription("#", 2),)),
    Publish("a", b"0"),
    Publish("a", bytes(130), 1, packet_id=5),
    Pingreq(),
    Publish("a", b"2", 2, packet_id=6),
    Pubrel(6),
)
ANSWERS = [Connack, Suback, Puback, Pingresp, Pubrec, Pubcomp]


class Visitor:
    """A client of a broker, whose bytes come in WebSocket frames."""

    def __init__(self, version: Version) -> None:
        self.client = BrokerClient(Broker(AllowAll(), 0.0), version)
        self.client.acknowledges = False
        self.carrier = ServerConnection(0.0, deliver=self.deliver)

    def deliver(self, payload: memoryview) -> None:
        self.client.core.receive_data(payload, 0.0)
        payload[:] = bytes(len(payload))  # a buffer that is used again

    def receive(self, data: bytes) -> None:
        self.carrier.receive_data(memoryview(bytearray(data)), 0.0)

    def answers(self) -> list[type[Packet]]:
        return [type(packet) for packet in self.client.read()]


def story(version: Version) -> bytes:
    return b"".join(encode(packet, version) for packet in (Connect(version, "c"), *STORY))


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@pytest.mark.mqtt5("6.0.0-1", "6.0.0-2")
@pytest.mark.mqtt3("6.0.0-1", "6.0.0-2")
@BOTH
def test_packets_may_be_cut_anywhere(version: Version) -> None:
    data = story(version)
    for size in range(1, len(data) + 1):
        visitor = Visitor(version)
        for piece in pieces(data, size):
            visitor.receive(frame(Opcode.BINARY, piece))
        assert sorted(map(str, visitor.answers())) == sorted(map(str, ANSWERS))
        assert visitor.client.payloads() == [b"0", bytes(130), b"2"]


@pytest.mark.mqtt5("6.0.0-2")
@pytest.mark.mqtt3("6.0.0-2")
@BOTH
def test_fragments_of_one_message_are_frames_like_others(version: Version) -> None:
    visitor = Visitor(version)
    *first, last = pieces(story(version), 3)
    opcode = Opcode.BINARY
    for piece in first:
        visitor.receive(frame(opcode, piece, final=False))
        visitor.receive(frame(Opcode.PING, b"there?"))
        opcode = Opcode.CONTINUATION
    visitor.receive(frame(opcode, last))
    assert visitor.client.payloads() == [b"0", bytes(130), b"2"]


@pytest.mark.mqtt5("6.0.0-1")
@pytest.mark.mqtt3("6.0.0-1")
@BOTH
def test_packets_in_text_are_refused(version: Version) -> None:
    visitor = Visitor(version)
    visitor.receive(frame(Opcode.TEXT, encode(Connect(version, "c"), version)))
    (failed,) = visitor.carrier.events()
    assert isinstance(failed, ConnectionFailed)
    assert isinstance(failed.error, WebSocketError)
    assert visitor.answers() == []
