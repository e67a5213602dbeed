"""Logins at a gateway, as bytes: what a load generator costs must not hide what it measures."""

from __future__ import annotations

import base64
import random
import select
import socket
import time
from collections import Counter

from tests.benchmarks.mqtt_wire import WEBSOCKET, encode_subscribe, frame
from tests.benchmarks.program import HOST
from tests.benchmarks.traffic import SOCKET_SECONDS, receive_exactly

__all__ = ["BadLogins", "encode_login", "open_idle"]

CLEAN_WITH_PASSWORD = 0xC2
CONNACK, SUBACK = b"\x20\x02\0\0", b"\x90\x03\0\1\1"
AT_A_TIME = 16  # below what one address may have under way
PATIENCE_SECONDS = 10.0  # for the answer to a bad login
POLL_SECONDS = 0.01
ANSWERS = {
    b"\x20\x02\0\3": "busy",
    b"\x20\x02\0\4": "wrong user name or password",
    b"\x20\x02\0\5": "not authorised",
    CONNACK: "LET IN",
    b"": "closed",
}
_UPGRADE = b"\r\n".join(
    (
        b"GET /mqtt HTTP/1.1",
        b"Host: localhost",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Key: " + base64.b64encode(bytes(range(16))),
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Protocol: mqtt",
        b"\r\n",
    )
)


def encode_login(user: str, password: str) -> bytes:
    """CONNECT of MQTT 3.1.1, without a client id."""
    body = b"\0\4MQTT" + bytes((4, CLEAN_WITH_PASSWORD, 0, 0)) + b"\0\0"
    for text in (user, password):
        body += len(text).to_bytes(2, "big") + text.encode()
    return bytes((0x10, len(body))) + body


def open_idle(port: int, logins: list[tuple[str, str]]) -> list[socket.socket]:
    """Instances that have logged in and subscribed, in WebSocket.

    :raises ConnectionError: one of them was not let in.
    """
    opened: list[socket.socket] = []
    for first in range(0, len(logins), AT_A_TIME):
        several = logins[first : first + AT_A_TIME]
        connections = [socket.create_connection((HOST, port), SOCKET_SECONDS) for _ in several]
        for connection in connections:
            connection.sendall(_UPGRADE)
        for connection in connections:
            _finish_upgrade(connection)
        for connection, (user, password) in zip(connections, several, strict=True):
            connection.sendall(frame(WEBSOCKET, encode_login(user, password)))
        for connection in connections:
            _expect(connection, CONNACK)
        for connection, (user, _) in zip(connections, several, strict=True):
            wanted = encode_subscribe(f"instance/{user}/request/+/+", 1)
            connection.sendall(frame(WEBSOCKET, wanted))
        for connection in connections:
            _expect(connection, SUBACK)
        opened += connections
    return opened


def _finish_upgrade(connection: socket.socket) -> None:
    answer = bytearray()
    while not answer.endswith(b"\r\n\r\n"):
        answer += receive_exactly(connection, 1)
    if not answer.startswith(b"HTTP/1.1 101 "):
        raise ConnectionError(f"no WebSocket: {bytes(answer)!r}")


def _expect(connection: socket.socket, packet: bytes) -> None:
    """In one small frame of the server's."""
    answer = receive_exactly(connection, 2 + len(packet))
    if answer[2:] != packet:
        raise ConnectionError(f"the gateway has another answer: {answer!r}")


class BadLogins:
    """Strangers who guess, by MQTT over TCP, each from another address of this machine's.

    :param port: of the gateway.
    :ivar answers: how many there were of each.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._chance = random.Random(port)
        self._poller = select.epoll()
        self._waiting: dict[int, tuple[socket.socket, bytes]] = {}
        self.answers: Counter[str] = Counter()

    def press(self, rate: float, seconds: float) -> None:
        """So many a second; then all have their answer, or none comes in time."""
        begun = time.monotonic()
        for number in range(int(rate * seconds)):
            while (ahead := begun + number / rate - time.monotonic()) > 0:
                self._turn(ahead)
            self._turn(0.0)
            self._begin()
        end = time.monotonic() + PATIENCE_SECONDS
        while self._waiting and time.monotonic() < end:
            self._turn(POLL_SECONDS)
        for connection, _ in self._waiting.values():
            self.answers["none in time"] += 1
            connection.close()
        self._waiting.clear()
        self._poller.close()

    def _begin(self) -> None:
        source = f"127.{self._chance.randrange(1, 255)}.{self._chance.randrange(256)}.1"
        user, password = (self._chance.randbytes(16).hex() for _ in range(2))
        connection = socket.socket()
        connection.setblocking(False)
        connection.bind((source, 0))
        connection.connect_ex((HOST, self._port))
        self._waiting[connection.fileno()] = connection, encode_login(user, password)
        self._poller.register(connection, select.EPOLLOUT)

    def _turn(self, seconds: float) -> None:
        for descriptor, _ in self._poller.poll(min(seconds, POLL_SECONDS)):
            connection, login = self._waiting[descriptor]
            try:
                if login:
                    connection.send(login)
                    self._waiting[descriptor] = connection, b""
                    self._poller.modify(connection, select.EPOLLIN)
                    continue
                answer = connection.recv(len(CONNACK))
            except ConnectionError as error:
                answer = type(error).__name__.encode()
            told = ANSWERS.get(answer, repr(answer))
            self.answers[told] += 1
            self._poller.unregister(connection)
            connection.close()
            del self._waiting[descriptor]
