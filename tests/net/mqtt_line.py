"""Connections of MQTT that lead to the test itself: it plays the broker, or a client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from porttunnel.errors import NotReachable
from porttunnel.mqtt.decode import decode
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.framing import MAX_PACKET_BYTES, FrameReader
from porttunnel.mqtt.packet import (
    Connack,
    Connect,
    Packet,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Version,
)
from porttunnel.net.carriers.interface import Receiver
from porttunnel.net.mqtt_broker import MQTTBrokerFactory

__all__ = ["PEER", "Line", "LineConnector", "Peer"]

PEER = IPv4Address("TCP", "192.0.2.7", 4711)


class _Carrier:
    """A carrier in the test's hands.

    :ivar room: bytes that it still takes.
    :ivar fault: what it raises instead of sending.
    :ivar calls: what it was told.
    :ivar writes: how often it was given something.
    """

    receiver: Receiver

    def __init__(self, peer: Any, version: Version) -> None:
        self.peer = peer
        self.version = version
        self.room = 1 << 40
        self.fault: Exception | None = None
        self.calls: list[str] = []
        self.writes = 0
        self._sent = bytearray()
        self._reader = FrameReader(MAX_PACKET_BYTES, version)

    # What a link calls

    def send(self, views: Sequence[memoryview]) -> int:
        self.writes += 1
        if self.fault is not None:
            raise self.fault
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

    # What a test does

    def sent(self) -> list[Packet]:
        """What was sent since the last look."""
        data, self._sent = bytes(self._sent), bytearray()
        packets = []
        for first_byte, body in self._reader.feed(memoryview(data)):
            packet = decode(first_byte, body, self.version)
            if isinstance(packet, Publish):
                packet = replace(packet, payload=bytes(packet.payload))
            packets.append(packet)
        return packets

    def say(self, *packets: Packet) -> None:
        """The other side's packets come, in one read."""
        data = b"".join(encode(packet, self.version) for packet in packets)
        self.receiver.carrier_received(memoryview(data))
        self.receiver.reading_done()

    def lose(self, reason: Exception | None = None) -> None:
        """The connection is gone."""
        self.receiver.carrier_lost(Failure(reason or ConnectionDone()))


class Line(_Carrier):
    """A client's carrier, and the broker's side of it."""

    def __init__(self, receiver: Receiver, version: Version) -> None:
        super().__init__(IPv4Address("TCP", "192.0.2.1", 1883), version)
        self.receiver = receiver

    def accept(self, *, session_present: bool = False, **properties: Any) -> Connect:
        """The broker takes the client; its CONNECT."""
        (connect,) = self.sent()
        assert isinstance(connect, Connect)
        connack = Connack(session_present)
        self.say(replace(connack, properties=replace(connack.properties, **properties)))
        return connect


class Peer(_Carrier):
    """A broker's carrier, and the client at its other end. What moves by what it says moves in the
    next turn.
    """

    def __init__(self, factory: MQTTBrokerFactory, clock: Clock, peer: Any = PEER) -> None:
        super().__init__(peer, Version.V5)
        self._clock = clock
        self.link = self.receiver = factory._make_link()
        self.link.carrier_made(self)

    def abort(self) -> None:
        super().abort()
        self.lose()

    def heard(self) -> list[Packet]:
        """What has come since the last look."""
        self._clock.advance(0)
        return self.sent()

    def connect(self, client_id: str = "c", **fields: Any) -> Connack:
        self.say(Connect(Version.V5, client_id, **fields))
        (connack,) = self.heard()
        assert isinstance(connack, Connack)
        return connack

    def subscribe(self, text: str, qos: int = 0) -> None:
        self.say(Subscribe(1, (Subscription(text, qos),)))
        (suback,) = self.heard()
        assert isinstance(suback, Suback)

    def take(self, room: int) -> None:
        """The carrier takes so many bytes more."""
        self.room = room
        self.link.carrier_writable()
        self._clock.advance(0)


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
