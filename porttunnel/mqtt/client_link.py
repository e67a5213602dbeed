"""One connection of a client: its bytes both ways, and how long it may be silent.

Source: MQTT 5.0, sections 3.1.2.10 and 4.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from porttunnel.errors import LinkBroken
from porttunnel.mqtt.client_keep_alive import KeepAlive
from porttunnel.mqtt.client_limit import PROTOCOL_MAX_PACKET_BYTES
from porttunnel.mqtt.client_setting import ClientSettings
from porttunnel.mqtt.decode import decode
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.framing import FrameReader
from porttunnel.mqtt.packet import Disconnect, Packet, Pingreq
from porttunnel.mqtt.topic_alias import IncomingAliases

__all__ = ["ClientLink"]

CONNACK_SECONDS = 15.0  # for a broker to answer CONNECT, or a step of an authentication


class ClientLink:
    """See the module.

    :param settings: of the client.
    :param now: seconds, monotonic.

    :ivar aliases: what the broker's topic aliases stand for.
    :ivar unsent_bytes: of packets that wait here.
    :ivar max_packet_bytes: of a packet that the broker takes.
    """

    def __init__(self, settings: ClientSettings, now: float) -> None:
        self.aliases = IncomingAliases(settings.topic_alias_maximum)
        self.unsent_bytes = 0
        self.max_packet_bytes = PROTOCOL_MAX_PACKET_BYTES
        self._version = settings.version
        self._reader = FrameReader(settings.max_packet_bytes, settings.version)
        self._outbox: list[bytes] = []
        self._ready = memoryview(b"")
        self._now = now
        self._answer_due = now + CONNACK_SECONDS
        self._keep_alive: KeepAlive | None = None

    def packets(self, data: memoryview, now: float) -> Iterator[Packet]:
        """What came.

        :raises MqttError: from the iteration: it is not MQTT.
        """
        self._now = now
        if self._keep_alive is not None:
            self._keep_alive.received(now)
        for first_byte, body in self._reader.feed(data):
            yield decode(first_byte, body, self._version)

    def send(self, packet: Packet) -> None:
        """Queue a packet."""
        self.send_encoded(encode(packet, self._version))

    def send_encoded(self, data: bytes) -> None:
        """Queue a packet that is bytes already."""
        self._outbox.append(data)
        self.unsent_bytes += len(data)
        if self._keep_alive is not None:
            self._keep_alive.sent(self._now)

    def say_goodbye(self, packet: Disconnect) -> None:
        """Queue the last packet, without what it says to people if that is too much."""
        data = encode(packet, self._version)
        if len(data) > self.max_packet_bytes:
            shorter = replace(packet.properties, reason_string=None, user_properties=())
            data = encode(replace(packet, properties=shorter), self._version)
        self.send_encoded(data)

    def views(self) -> Sequence[memoryview]:
        """What waits to be sent."""
        if self._outbox:
            self._ready = memoryview(b"".join((self._ready, *self._outbox)))
            self._outbox.clear()
        return [self._ready] if self._ready else []

    def sent(self, count: int) -> None:
        """So many bytes of :meth:`views` went out."""
        self._ready = self._ready[count:]
        self.unsent_bytes -= count

    def await_answer(self) -> None:
        """It's the broker's turn to answer, within :data:`CONNACK_SECONDS`."""
        self._answer_due = self._now + CONNACK_SECONDS

    def establish(self, keep_alive_seconds: int, max_packet_bytes: int) -> None:
        """The broker took us, and said what it takes."""
        self.max_packet_bytes = max_packet_bytes
        self._keep_alive = KeepAlive(keep_alive_seconds, self._now)

    def pong(self) -> None:
        """PINGRESP came."""
        if self._keep_alive is not None:
            self._keep_alive.answered()

    def next_deadline(self) -> float | None:
        """When :meth:`check` is due."""
        if self._keep_alive is None:
            return self._answer_due
        return self._keep_alive.next_deadline()

    def check(self, now: float, *, reading: bool) -> None:
        """Ping a silent broker.

        :param reading: False: what the broker sends is not read for now, so that it can't give a
            sign of life.
        :raises LinkBroken: it doesn't answer.
        """
        self._now = now
        if self._keep_alive is None:
            if now >= self._answer_due:
                raise LinkBroken("The broker does not answer CONNECT. Try again later.")
            return
        if not reading:
            self._keep_alive.received(now)
        if self._keep_alive.check(now):
            self.send(Pingreq())
