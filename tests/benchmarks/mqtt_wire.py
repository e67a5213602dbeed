"""MQTT 3.1.1 packets and WebSocket frames made before they are needed, and connections to send
them on: what a load generator costs must not hide what a broker costs.

3.1.1, because not every peer speaks 5. Every packet has a frame of its own, as clients send them.
"""

from __future__ import annotations

import base64
import socket
from collections.abc import Sequence

from tests.benchmarks.program import HOST
from tests.benchmarks.traffic import SOCKET_SECONDS, receive_exactly

__all__ = [
    "AT_A_TIME",
    "PUBACK",
    "TCP",
    "WEBSOCKET",
    "MQTTSocket",
    "connect_all",
    "encode_publish",
    "encode_subscribe",
    "frame",
    "suback",
    "subscribe_all",
]

TCP, WEBSOCKET = "tcp", "websocket"
PUBACK = b"\x40\x02"  # the two bytes before its packet identifier

RECEIVE_BYTES = 65_536  # a larger read would be mapped and unmapped by the kernel each time
AT_A_TIME = 40  # connections: below the number that any broker lets wait

_CONNACK = b"\x20\x02\0\0"
_CLEAN_SESSION = 2
_FRAME_HEAD_BYTES = 2
_SMALL = 126  # lengths of frames below it stand in one byte
# Like any other to a server; a real client draws a new one for each frame.
_MASK = bytes((0x37, 0xFA, 0x21, 0x3D))
_UPGRADE = b"\r\n".join(
    (
        b"GET / HTTP/1.1",
        b"Host: localhost",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Key: " + base64.b64encode(bytes(range(16))),
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Protocol: mqtt",
        b"\r\n",
    )
)


def _lengthened(text: bytes) -> bytes:
    return len(text).to_bytes(2, "big") + text


def _packet(first_byte: int, body: bytes) -> bytes:
    length, left = bytearray(), len(body)
    while left > 0x7F:
        length.append(left & 0x7F | 0x80)
        left >>= 7
    length.append(left)
    return bytes((first_byte,)) + length + body


def encode_connect(client_id: str) -> bytes:
    """Without a keep-alive: nobody here sends pings."""
    head = _lengthened(b"MQTT") + bytes((4, _CLEAN_SESSION, 0, 0))
    return _packet(0x10, head + _lengthened(client_id.encode()))


def encode_subscribe(topic_filter: str, qos: int) -> bytes:
    return _packet(0x82, b"\0\1" + _lengthened(topic_filter.encode()) + bytes((qos,)))


def suback(qos: int) -> bytes:
    """The answer to :func:`encode_subscribe`."""
    return b"\x90\x03\0\1" + bytes((qos,))


def encode_publish(topic: bytes, payload: bytes, packet_id: int = 0) -> bytes:
    """With QoS 1 if it has a packet identifier."""
    identifier = packet_id.to_bytes(2, "big") if packet_id else b""
    return _packet(0x32 if packet_id else 0x30, _lengthened(topic) + identifier + payload)


def frame(transport: str, packet: bytes) -> bytes:
    """The packet as it goes out: as it is, or as one masked binary frame."""
    if transport == TCP:
        return packet
    size = len(packet)
    if size < _SMALL:
        head = bytes((0x82, 0x80 | size))
    else:
        head = bytes((0x82, 0x80 | _SMALL)) + size.to_bytes(2, "big")
    mask = (_MASK * (size // len(_MASK) + 1))[:size]
    masked = int.from_bytes(packet, "big") ^ int.from_bytes(mask, "big")
    return head + _MASK + masked.to_bytes(size, "big")


class MQTTSocket:
    """A client's connection; see :func:`connect_all`.

    :param port: where the broker listens.
    :param transport: :data:`TCP` or :data:`WEBSOCKET`.
    """

    def __init__(self, port: int, transport: str) -> None:
        self._transport = transport
        self._unread = b""  # a frame that has not come whole
        self.socket = socket.create_connection((HOST, port), timeout=SOCKET_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if transport == WEBSOCKET:
            self.socket.sendall(_UPGRADE)

    def finish_upgrade(self) -> None:
        """Read the answer to the handshake."""
        answer = bytearray()
        while not answer.endswith(b"\r\n\r\n"):
            answer += receive_exactly(self.socket, 1)
        if not answer.startswith(b"HTTP/1.1 101 "):
            raise ConnectionError(f"no WebSocket: {bytes(answer)!r}")

    def send(self, packet: bytes) -> None:
        self.socket.sendall(frame(self._transport, packet))

    def receive(self) -> bytes:
        """What comes next of MQTT; it may be nothing yet.

        :raises ConnectionError: the broker has closed.
        """
        data = self.socket.recv(RECEIVE_BYTES)
        if not data:
            raise ConnectionError("the broker has closed a connection")
        return data if self._transport == TCP else self._unframe(data)

    def expect(self, packet: bytes) -> None:
        """Read an answer, after which nothing comes."""
        answer = b""
        while len(answer) < len(packet):
            answer += self.receive()
        if answer != packet:
            raise ConnectionError(f"the broker has another answer: {answer!r}")

    def _unframe(self, data: bytes) -> bytes:
        """What is in the frames, which some brokers make of parts of a packet."""
        data = self._unread + data
        end = len(data)
        offset = 0
        payloads = []
        while end - offset >= _FRAME_HEAD_BYTES:
            size = data[offset + 1]
            start = offset + 2
            if size == _SMALL:
                start += 2
                size = data[offset + 2] << 8 | data[offset + 3] if start <= end else end
            elif size > _SMALL:
                start += 8
                size = int.from_bytes(data[offset + 2 : start], "big") if start <= end else end
            if start + size > end:
                break
            offset = start + size
            payloads.append(data[start:offset])
        self._unread = data[offset:]
        return b"".join(payloads)


def connect_all(port: int, transport: str, client_ids: Sequence[str]) -> list[MQTTSocket]:
    """Connect many, several at a time: some brokers look at a new one only now and then."""
    connections: list[MQTTSocket] = []
    for first in range(0, len(client_ids), AT_A_TIME):
        names = client_ids[first : first + AT_A_TIME]
        several = [MQTTSocket(port, transport) for _ in names]
        if transport == WEBSOCKET:
            for connection in several:
                connection.finish_upgrade()
        for connection, name in zip(several, names, strict=True):
            connection.send(encode_connect(name))
        for connection in several:
            connection.expect(_CONNACK)
        connections += several
    return connections


def subscribe_all(connections: Sequence[MQTTSocket], topic_filters: Sequence[str]) -> None:
    """Subscribe each to its own, with QoS 0."""
    for first in range(0, len(connections), AT_A_TIME):
        several = slice(first, first + AT_A_TIME)
        for connection, topic_filter in zip(
            connections[several], topic_filters[several], strict=True
        ):
            connection.send(encode_subscribe(topic_filter, 0))
        for connection in connections[several]:
            connection.expect(suback(0))
