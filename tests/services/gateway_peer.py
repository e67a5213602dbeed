"""Clients of a gateway in another process: REST, and MQTT over TCP, TLS or WebSocket."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import secrets
import socket
import ssl
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, Protocol

from msgspec.structs import replace
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from porttunnel.gateway.topic import list_device_filters, list_instance_filters
from porttunnel.keys.credentials import derive_device_password
from porttunnel.mqtt.decode import decode
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.framing import MAX_PACKET_BYTES, FrameReader
from porttunnel.mqtt.packet import (
    Connack,
    Connect,
    Packet,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Version,
)
from porttunnel.mqtt.reason import ReasonCode
from tests.services.running import PATIENCE_SECONDS

__all__ = ["Account", "MQTTPeer", "Rest", "SocketLine", "WebSocketLine", "trusting_context"]


def trusting_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Account:
    """Who may log in.

    :ivar instance: to which a device belongs; of an instance its own name.
    """

    def __init__(self, name: str, password: str, instance: str) -> None:
        self.name = name
        self.password = password
        self.instance = instance


class Rest:
    """Asks a gateway by HTTP.

    :param first: what goes before each request, on its connection.
    """

    def __init__(self, port: int, first: bytes = b"", *, tls: bool = False) -> None:
        self._port = port
        self._first = first
        self._tls = tls

    def ask(
        self, method: str, path: str, body: Any = None, account: Account | None = None
    ) -> tuple[int, Any]:
        """Status, and the body as JSON or None."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS)
        fields = {"Connection": "close"}
        if account is not None:
            word = base64.b64encode(f"{account.name}:{account.password}".encode()).decode()
            fields["Authorization"] = f"Basic {word}"
        if body is not None:
            fields["Content-Type"] = "application/json"
        connection.connect()
        connection.sock.sendall(self._first)
        if self._tls:
            connection.sock = trusting_context().wrap_socket(connection.sock)
        connection.request(
            method, path, None if body is None else json.dumps(body).encode(), fields
        )
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, json.loads(content) if content else None

    def register(self) -> Account:
        """A new instance."""
        status, answer = self.ask("POST", "/v1/instances", {})
        assert status == 201, answer
        name = answer["instance_id"]
        return Account(name, answer["instance_password"], name)

    def add_device(self, instance: Account) -> Account:
        """A new device that is confirmed."""
        status, invited = self.ask("POST", "/v1/devices", {}, instance)
        assert status == 201, invited
        key, nonce = bytes.fromhex(invited["device_setup_key"]), secrets.token_bytes(32)
        setup = {"device_setup_key": key.hex(), "client_nonce": nonce.hex()}
        status, answer = self.ask("POST", "/v1/devices/setup", setup)
        assert status in (200, 201), answer
        device_id = answer["device_id"]
        assert answer == {"device_id": device_id, "instance_id": instance.name}
        assert self.ask("POST", f"/v1/devices/{device_id}/confirm", None, instance)[0] == 204
        return Account(device_id, derive_device_password(nonce, key).hex(), instance.name)


class Line(Protocol):
    """Carries MQTT's bytes."""

    def send(self, data: bytes) -> None: ...

    def receive(self) -> bytes: ...

    def close(self) -> None: ...


class SocketLine:
    """MQTT over TCP, or in TLS."""

    def __init__(
        self, port: int, *, tls: bool = False, first: bytes = b"", source: str = "127.0.0.1"
    ) -> None:
        self.socket = socket.create_connection(
            ("127.0.0.1", port), PATIENCE_SECONDS, source_address=(source, 0)
        )
        self.socket.sendall(first)
        if tls:
            self.socket = trusting_context().wrap_socket(self.socket)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> bytes:
        return self.socket.recv(65_536)

    def close(self) -> None:
        self.socket.close()


class WebSocketLine:
    """MQTT in WebSocket.

    :ivar close_code: what the gateway's Close frame said.
    """

    def __init__(self, port: int, *, tls: bool = False) -> None:
        self.close_code: int | None = None
        self._held = ExitStack()
        self._connection: ClientConnection = self._held.enter_context(
            connect(
                f"{'wss' if tls else 'ws'}://127.0.0.1:{port}/mqtt",
                subprotocols=["mqtt"],  # type: ignore[list-item]  # a NewType of str
                ssl=trusting_context() if tls else None,
                compression=None,
                proxy=None,
                open_timeout=PATIENCE_SECONDS,
            )
        )
        assert self._connection.subprotocol == "mqtt"

    def send(self, data: bytes) -> None:
        self._connection.send(data)

    def receive(self) -> bytes:
        try:
            data = self._connection.recv(PATIENCE_SECONDS)
        except ConnectionClosed as closed:
            self.close_code = None if closed.rcvd is None else closed.rcvd.code
            return b""
        assert isinstance(data, bytes)
        return data

    def close(self) -> None:
        self._held.close()


class MQTTPeer:
    """A client that speaks packet by packet.

    :param line: carries its bytes.
    """

    def __init__(self, line: Line, version: Version = Version.V5) -> None:
        self.line = line
        self.version = version
        self._reader = FrameReader(MAX_PACKET_BYTES, version)
        self._packets: deque[Packet] = deque()
        self._ids = 0

    def log_in(self, account: Account, client_id: str = "c", **fields: Any) -> Connack:
        """Connect; the answer."""
        self.say(
            Connect(
                self.version,
                client_id,
                clean_start=fields.pop("clean_start", True),
                keep_alive_seconds=60,
                user_name=account.name,
                password=account.password.encode(),
                **fields,
            )
        )
        packet = self.next()
        assert isinstance(packet, Connack), packet
        return packet

    def subscribe(self, *filters: str) -> tuple[ReasonCode, ...]:
        """The answer to each."""
        self._ids += 1
        self.say(Subscribe(self._ids, tuple(Subscription(text, 1) for text in filters)))
        packet = self.next()
        assert isinstance(packet, Suback), packet
        return packet.reasons

    def listen(self, account: Account) -> None:
        """Subscribe to all that this account may."""
        is_device = account.name != account.instance
        filters = (list_device_filters if is_device else list_instance_filters)(account.name)
        assert self.subscribe(*filters) == (ReasonCode.GRANTED_QOS_1,) * 2

    def publish(self, topic: str, payload: bytes, **fields: Any) -> ReasonCode:
        """With QoS 1; what it was answered, whatever else came before."""
        self._ids += 1
        self.say(Publish(topic, payload, 1, packet_id=self._ids, **fields))
        before = []
        while not isinstance(packet := self.next(), Puback):
            before.append(packet)
        assert packet.packet_id == self._ids
        self._packets.extendleft(reversed(before))
        return packet.reason

    def message(self) -> tuple[str, bytes]:
        """Topic and payload of the next message, acknowledged."""
        packet = self.next()
        assert isinstance(packet, Publish), packet
        if packet.qos:
            assert packet.packet_id is not None
            with contextlib.suppress(OSError, ConnectionClosed):  # it may be a last word
                self.say(Puback(packet.packet_id))
        return packet.topic, bytes(packet.payload)

    def say(self, *packets: Packet) -> None:
        self.line.send(b"".join(encode(packet, self.version) for packet in packets))

    def next(self) -> Packet:
        """The next packet."""
        while not self._packets:
            data = self.line.receive()
            assert data, "the connection ended"
            self._take(data)
        return self._packets.popleft()

    def ends(self) -> list[Packet]:
        """What still comes until the end."""
        while data := self._receive():
            self._take(data)
        rest = list(self._packets)
        self._packets.clear()
        return rest

    def close(self) -> None:
        self.line.close()

    def _receive(self) -> bytes:
        try:
            return self.line.receive()
        except (ConnectionResetError, ssl.SSLError):
            return b""

    def _take(self, data: bytes) -> None:
        self._packets.extend(self._decoded(data))

    def _decoded(self, data: bytes) -> Iterable[Packet]:
        for first_byte, body in self._reader.feed(memoryview(data)):
            packet = decode(first_byte, body, self.version)
            if isinstance(packet, Publish):
                packet = replace(packet, payload=bytes(packet.payload))
            yield packet
