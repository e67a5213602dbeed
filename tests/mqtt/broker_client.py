"""A client of a broker in memory: it sends packets, and reads what comes."""

from __future__ import annotations

from typing import Any, TypeVar

from porttunnel.mqtt.broker import Broker
from porttunnel.mqtt.connection import ServerConnection
from porttunnel.mqtt.decode import decode
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.framing import MAX_PACKET_BYTES, FrameReader
from porttunnel.mqtt.message import Message
from porttunnel.mqtt.packet import (
    Connack,
    Connect,
    Packet,
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
from porttunnel.mqtt.policy import AllowAll, Client
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.reason import ReasonCode

P = TypeVar("P", bound=Packet)


class NotingPolicy(AllowAll):
    """Allows all, and notes what it is told."""

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self.notes: list[tuple[Any, ...]] = []

    def connected(self, client: Client, session_present: bool, now: float) -> None:
        self.notes.append(("connected", client.client_id, session_present))

    def disconnected(self, client: Client, reason: ReasonCode, now: float) -> None:
        self.notes.append(("disconnected", client.client_id, reason))

    def reached_nobody(self, client: Client | None, message: Message, now: float) -> None:
        self.notes.append(("nobody", client and client.client_id, message.topic, message.payload))

    def told(self) -> list[tuple[Any, ...]]:
        """The notes since this was asked last."""
        notes, self.notes = self.notes, []
        return notes


class BrokerClient:
    """One connection to a broker, from the client's side.

    :ivar now: the time of all that it does.
    :ivar acknowledges: whether it answers messages by itself.
    :ivar messages: those that came, with their payload as bytes.
    """

    def __init__(
        self, broker: Broker, version: Version = Version.V5, now: float = 0.0, peer: str = "test"
    ) -> None:
        self.broker = broker
        self.version = version
        self.now = now
        self.acknowledges = True
        self.messages: list[Publish] = []
        self.core: ServerConnection = broker.accept(
            now, spare_client_id=f"spare{id(self)}", peer=peer
        )
        self._reader = FrameReader(MAX_PACKET_BYTES, version)
        self._packets: list[Packet] = []

    def connect(self, client_id: str = "c", **fields: Any) -> Connack:
        """Send CONNECT; the CONNACK."""
        self.send(Connect(self.version, client_id, **fields))
        return self.take(Connack)

    def send(self, *packets: Packet) -> None:
        """Send packets in one piece."""
        self.send_bytes(b"".join(encode(packet, self.version) for packet in packets))

    def send_bytes(self, data: bytes) -> None:
        self.core.receive_data(memoryview(data), self.now)

    def publish(self, topic: str, payload: bytes = b"x", qos: int = 0, **fields: Any) -> None:
        packet_id = fields.pop("packet_id", 1)
        self.send(Publish(topic, payload, qos, packet_id=packet_id if qos else None, **fields))

    def subscribe(
        self, text: str, qos: int = 0, *, properties: Properties = EMPTY, **options: Any
    ) -> int:
        """Subscribe to one filter; the reason in the SUBACK."""
        wanted = Subscription(text, qos, **options)
        self.send(Subscribe(9, (wanted,), properties))
        return self.take(Suback).reasons[0]

    def read(self) -> list[Packet]:
        """All packets that came and were not taken; messages are answered if they should be."""
        while waiting := b"".join(self.core.data_to_send()):
            self.core.data_sent(len(waiting))
            for first_byte, body in self._reader.feed(memoryview(waiting)):
                self._receive(decode(first_byte, memoryview(bytes(body)), self.version))
        taken, self._packets = self._packets, []
        return taken

    def take(self, kind: type[P]) -> P:
        """The only packet of this kind that came; others stay."""
        packets = self.read()
        (found,) = (packet for packet in packets if isinstance(packet, kind))
        self._packets = [packet for packet in packets if packet is not found]
        return found

    def payloads(self) -> list[bytes]:
        """What the messages said that came since this was asked last."""
        self._packets = self.read()
        messages, self.messages = self.messages, []
        return [bytes(message.payload) for message in messages]

    def drop(self) -> None:
        """The connection breaks."""
        self.core.receive_eof(self.now)

    def _receive(self, packet: Packet) -> None:
        if isinstance(packet, Publish):
            self.messages.append(packet)
            if self.acknowledges and packet.packet_id is not None:
                answer = Puback if packet.qos == 1 else Pubrec
                self.send(answer(packet.packet_id))
        elif isinstance(packet, Pubrel) and self.acknowledges:
            self.send(Pubcomp(packet.packet_id))
        else:
            self._packets.append(packet)
