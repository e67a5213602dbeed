"""One connection to a tunnel server, and the requests on it: sections 2 and 3."""

from __future__ import annotations

import select
import socket
import struct
from collections import deque
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.independent import msgpack
from tests.independent.packet import (
    HEADER_BYTES,
    Header,
    decode_header,
    encode_packet,
)

__all__ = ["NOBODY", "SERVER", "Link", "LinkEnded", "Packet", "PeerError", "read_packet"]

NOBODY = 0xFFFE
SERVER = 0
WAIT_SECONDS = 30.0  # each wait for a packet; a deadline, not a measure


class LinkEnded(Exception):
    """The connection is over."""


class PeerError(Exception):
    """An ERROR came.

    :ivar code: what it said.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class Packet(NamedTuple):
    """A packet as it came."""

    header: Header
    whole: bytes

    @property
    def body(self) -> bytes:
        """All behind the header."""
        return self.whole[HEADER_BYTES:]


def _read(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        try:
            piece = connection.recv(count - len(data))
        except ConnectionError:
            piece = b""
        if not piece:
            raise LinkEnded
        data += piece
    return bytes(data)


def read_packet(connection: socket.socket) -> Packet:
    """The next packet of a connection.

    :raises LinkEnded: there is none.
    """
    head = _read(connection, HEADER_BYTES)
    header, length = decode_header(head)
    return Packet(header, head + _read(connection, length))


class Link:
    """A member's connection.

    :param place: host and port of a tunnel server on plain TCP, or a connection that is there.

    :ivar member: the own number, once there is one.
    :ivar events: bodies of the EVENTs that came, oldest first.
    """

    def __init__(self, place: tuple[str, int] | socket.socket) -> None:
        self.member = NOBODY
        self.events: list[dict[str, Any]] = []
        if isinstance(place, socket.socket):
            self._connection = place
            place.settimeout(WAIT_SECONDS)
        else:
            self._connection = socket.create_connection(place, WAIT_SECONDS)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._set_aside: deque[Packet] = deque()
        self._requests = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it without a word."""
        self._connection.close()

    def reset(self) -> None:
        """End it as if the program had crashed."""
        linger = struct.pack("ii", 1, 0)
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close()

    def send_bytes(self, data: bytes) -> None:
        """Bytes as they are."""
        try:
            self._connection.sendall(data)
        except ConnectionError:
            raise LinkEnded from None

    def send(self, kind: str, target: int, body: bytes, number: int = 0) -> None:
        """A packet in the clear."""
        self.send_bytes(encode_packet(Header(kind, self.member, target, number), body))

    def send_error(self, target: int, code: str) -> None:
        """An ERROR."""
        body = msgpack.encode({"type": "error", "code": code, "text": ""})
        self.send("ERROR", target, body)

    def set_aside(self, packet: Packet) -> None:
        """Give a packet back, for who receives next."""
        self._set_aside.append(packet)

    def has_more(self) -> bool:
        """Whether something can be received at once."""
        readable = select.select([self._connection], [], [], 0)[0]
        return bool(self._set_aside or readable)

    def receive(self) -> Packet:
        """The next packet that is not for the link alone.

        :raises PeerError: it was an ERROR.
        :raises LinkEnded: there is none.
        """
        if self._set_aside:
            return self._set_aside.popleft()
        return self._receive_fresh()

    def _receive_fresh(self) -> Packet:
        while True:
            packet = read_packet(self._connection)
            kind = packet.header.type
            if kind == "EVENT":
                self.events.append(msgpack.decode(packet.body))
            elif kind == "PING":
                self.send("PONG", SERVER, packet.body)
            elif kind == "ERROR":
                fields = msgpack.decode(packet.body)
                assert set(fields) == {"type", "code", "text"}
                raise PeerError(fields["code"], fields["text"])
            elif kind != "PONG":
                return packet

    def request(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Ask the server; its REPLY.

        :raises PeerError: it said no.
        """
        self._requests += 1
        body = msgpack.encode({"type": kind, **fields})
        self.send("REQUEST", SERVER, body, self._requests)
        passed_over = []
        while (packet := self._receive_fresh()).header.type != "REPLY":
            passed_over.append(packet)
        self._set_aside.extend(passed_over)
        assert packet.header.number == self._requests
        assert packet.header.sender == SERVER
        reply: dict[str, Any] = msgpack.decode(packet.body)
        return reply

    def ping(self, content: bytes) -> None:
        """Ask whether the server is there; waits for its answer."""
        self.send("PING", SERVER, content)
        while (packet := read_packet(self._connection)).header.type != "PONG":
            self._set_aside.append(packet)
        assert packet.body == content
