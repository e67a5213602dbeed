"""Connections of an MQTT client that lead to the test itself, which plays the broker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from porttunnel.errors import NotReachable
from porttunnel.mqtt.decode import decode
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.framing import MAX_PACKET_BYTES, FrameReader
from porttunnel.mqtt.packet import Connack, Connect, Packet, Publish, Version
from porttunnel.net.carriers.interface import Receiver

__all__ = ["Line", "LineConnector"]


class Line:
    """A carrier, and the broker's side of it.

    :ivar room: bytes that it still takes.
    :ivar calls: what it was told.
    """

    def __init__(self, receiver: Receiver, version: Version) -> None:
        self.receiver = receiver
        self.version = version
        self.room = 1 << 40
        self.calls: list[str] = []
        self.peer = IPv4Address("TCP", "192.0.2.1", 1883)
        self._sent = bytearray()
        self._reader = FrameReader(MAX_PACKET_BYTES, version)

    # The carrier

    def send(self, views: Sequence[memoryview]) -> int:
        data = b"".join(views)[: self.room]
        self.room -= len(data)
        self._sent += data
        return len(data)

    def limit_unsent(self, count: int) -> None:
        pass

    def end(self) -> None:
        self.calls.append("end")

    def pause_receiving(self) -> None:
        self.calls.append("pause")

    def resume_receiving(self) -> None:
        self.calls.append("resume")

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    # The broker

    def sent(self) -> list[Packet]:
        """What the client sent since the last look."""
        data, self._sent = bytes(self._sent), bytearray()
        packets = []
        for first_byte, body in self._reader.feed(memoryview(data)):
            packet = decode(first_byte, body, self.version)
            if isinstance(packet, Publish):
                packet = replace(packet, payload=bytes(packet.payload))
            packets.append(packet)
        return packets

    def answer(self, *packets: Packet) -> None:
        """The broker's packets arrive."""
        data = b"".join(encode(packet, self.version) for packet in packets)
        self.receiver.carrier_received(memoryview(data))
        self.receiver.reading_done()

    def accept(self, *, session_present: bool = False, **properties: Any) -> Connect:
        """The broker takes the client; its CONNECT."""
        (connect,) = self.sent()
        assert isinstance(connect, Connect)
        connack = Connack(session_present)
        self.answer(replace(connack, properties=replace(connack.properties, **properties)))
        return connect

    def lose(self, reason: Exception | None = None) -> None:
        """The connection is gone."""
        self.receiver.carrier_lost(Failure(reason or ConnectionDone()))


class LineConnector:
    """Makes a :class:`Line` each time.

    :ivar lines: those that were made.
    :ivar reachable: whether there is somebody.
    """

    def __init__(self, version: Version = Version.V5) -> None:
        self.lines: list[Line] = []
        self.tries = 0
        self.reachable = True
        self._version = version

    async def connect(self, receiver: Receiver) -> None:
        self.tries += 1
        if not self.reachable:
            raise NotReachable("nobody listens there")
        line = Line(receiver, self._version)
        self.lines.append(line)
        receiver.carrier_made(line)
