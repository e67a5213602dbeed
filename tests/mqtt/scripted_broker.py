"""The far end of a client core: it answers what the test says, on a clock that the test moves."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from porttunnel.mqtt.client import Client
from porttunnel.mqtt.client_setting import ClientSettings
from porttunnel.mqtt.decode import decode
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.framing import MAX_PACKET_BYTES, FrameReader
from porttunnel.mqtt.packet import Connack, Connect, Packet, Publish, Version

__all__ = ["ScriptedBroker"]


class ScriptedBroker:
    """A client core and the far end of its connection.

    :ivar client: the core.
    :ivar events: what it reported and nobody has looked at.
    :ivar now: the clock.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = ClientSettings(**settings)
        self.client = Client(self.settings)
        self.events: list[Any] = []
        self.now = 100.0
        self.chunk = 0  # bytes that arrive at a time; 0: all there are
        self.connect_packet: Connect | None = None
        self._reader = FrameReader(MAX_PACKET_BYTES, self.settings.version)

    @property
    def version(self) -> Version:
        return self.settings.version

    def connect(self) -> Connect:
        """A connection, up to the client's first packet."""
        self._reader = FrameReader(MAX_PACKET_BYTES, self.version)
        self.client.connect(self.now)
        (connect,) = self.sent()
        assert isinstance(connect, Connect)
        return connect

    def accept(self, *, session_present: bool = False, **properties: Any) -> list[Packet]:
        """A connection that the broker took; what the client sends then."""
        self.connect()
        connack = Connack(session_present)
        self.send(replace(connack, properties=replace(connack.properties, **properties)))
        return self.sent()

    def send(self, *packets: Packet) -> None:
        """The broker's packets arrive."""
        self.send_bytes(b"".join(encode(packet, self.version) for packet in packets))

    def send_bytes(self, data: bytes) -> None:
        """These bytes arrive."""
        step = self.chunk or len(data)
        for start in range(0, len(data), step):
            self.client.receive_data(memoryview(data)[start : start + step], self.now)
            self.look()

    def sent(self) -> list[Packet]:
        """What the client sent since the last look."""
        packets: list[Packet] = []
        while views := self.client.data_to_send():
            data = b"".join(views)
            self.client.data_sent(len(data))
            for first_byte, body in self._reader.feed(memoryview(data)):
                packet = decode(first_byte, body, self.version)
                if isinstance(packet, Publish):
                    packet = replace(packet, payload=bytes(packet.payload))
                packets.append(packet)
        self.look()
        return packets

    def cut(self) -> None:
        """The connection is gone."""
        self.client.receive_eof(self.now)
        self.look()

    def wait(self, seconds: float) -> None:
        """Time goes by; the core is called when it wants to be."""
        end = self.now + seconds
        while (deadline := self.client.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.client.handle_timeout(self.now)
            self.look()
        self.now = end

    def look(self) -> None:
        """Take the core's events."""
        self.events += self.client.events()

    def happened(self, kind: type[Any]) -> list[Any]:
        """The events of a type, taken out."""
        self.look()
        found = [event for event in self.events if isinstance(event, kind)]
        self.events = [event for event in self.events if not isinstance(event, kind)]
        return found
