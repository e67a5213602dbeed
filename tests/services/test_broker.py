"""The broker as people run it: a process of its own, real sockets, users, topics and its end."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock
from twisted.python import usage

from porttunnel.keys.credentials import hash_password
from porttunnel.mqtt.decode import decode
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.framing import MAX_PACKET_BYTES, FrameReader
from porttunnel.mqtt.packet import (
    Connack,
    Connect,
    Disconnect,
    Packet,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Version,
)
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.certificate import load_or_create_identity
from porttunnel.services.broker import BrokerService, Options, makeService
from porttunnel.services.broker_config import BrokerSettings
from tests.services.running import PATIENCE_SECONDS, ROOT, RunningService

LISTEN = "tcp:0:interface=127.0.0.1"
TCP = r"listening tcp:(\d+):interface=127\.0\.0\.1$"
QUICK_DRAIN = "[drain]\nseconds = 0.1\n"


class Client:
    """A client of the codec, on a blocking socket."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._reader = FrameReader(MAX_PACKET_BYTES, Version.V5)
        self._packets: list[Packet] = []

    def send(self, packet: Packet) -> None:
        self.connection.sendall(encode(packet, Version.V5))

    def packet(self) -> Packet:
        while not self._packets:
            data = self.connection.recv(65_536)
            if not data:
                raise EOFError
            self._packets += [
                decode(first_byte, body, Version.V5)
                for first_byte, body in self._reader.feed(memoryview(data))
            ]
        return self._packets.pop(0)

    def ask(self, packet: Packet) -> Any:
        self.send(packet)
        return self.packet()

    def connect(self, client_id: str = "c", **fields: Any) -> Connack:
        connack: Connack = self.ask(Connect(Version.V5, client_id, **fields))
        return connack

    def subscribe(self, text: str) -> ReasonCode:
        suback: Suback = self.ask(Subscribe(1, (Subscription(text, 1),)))
        return suback.reasons[0]

    def publish(self, topic: str, payload: bytes = b"x") -> ReasonCode:
        puback: Puback = self.ask(Publish(topic, payload, 1, packet_id=1))
        return puback.reason


class Broker(RunningService):
    """The process, and clients of it."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        config: str = QUICK_DRAIN,
        warnings: str = "error",
    ) -> None:
        path = folder / "broker.toml"
        path.write_text(config, encoding="utf-8")
        self._clients: list[socket.socket] = []
        super().__init__(
            folder,
            "porttunnel-broker",
            *("--config", str(path), *arguments),
            warnings=warnings,
        )

    def open(self, port: int) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
        self._clients.append(connection)
        return connection

    def client(self, port: int) -> Client:
        return Client(self.open(port))

    def end(self) -> None:
        for connection in self._clients:
            connection.close()
        if self.process.poll() is None:
            self.stop()


@pytest.fixture
def brokers() -> Iterator[list[Broker]]:
    started: list[Broker] = []
    yield started
    for broker in started:
        broker.end()


def test_passes_messages_on_between_all_its_listeners(
    tmp_path: Path, brokers: list[Broker]
) -> None:
    broker = Broker(tmp_path, "--listen", LISTEN, "--listen", LISTEN, "--websocket", LISTEN)
    brokers.append(broker)
    first, second, websocket = (int(broker.wait_for(TCP)[1]) for _ in range(3))
    receiver = broker.client(first)
    assert receiver.connect("r").reason == ReasonCode.SUCCESS
    assert receiver.subscribe("a/#") == ReasonCode.GRANTED_QOS_1
    sender = broker.client(second)
    sender.connect("s")
    assert sender.publish("a/b", b"one") == ReasonCode.SUCCESS
    message = receiver.packet()
    assert isinstance(message, Publish)
    assert bytes(message.payload) == b"one"
    # A WebSocket by hand: the frames' mask is zero, so that they can be read here.
    web = broker.open(websocket)
    key = base64.b64encode(bytes(16)).decode()
    web.sendall(
        f"GET /any HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Protocol: mqtt\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += web.recv(1)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Protocol: mqtt" in head
    for packet in (Connect(Version.V5, "w"), Publish("a/c", b"two")):
        data = encode(packet, Version.V5)
        web.sendall(bytes((0x82, 0x80 | len(data))) + bytes(4) + data)
    message = receiver.packet()
    assert isinstance(message, Publish)
    assert (message.topic, bytes(message.payload)) == ("a/c", b"two")


def test_tls_by_an_endpoint_string(tmp_path: Path, brokers: list[Broker]) -> None:
    load_or_create_identity(tmp_path / "keys")
    (pem,) = (tmp_path / "keys").glob("*.pem")
    broker = Broker(
        tmp_path,
        *("--listen", f"ssl:0:privateKey={pem}:certKey={pem}:interface=127.0.0.1"),
        warnings="default",
    )
    brokers.append(broker)
    port = int(broker.wait_for(r"listening ssl:(\d+):")[1])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with context.wrap_socket(broker.open(port)) as wrapped:
        client = Client(wrapped)
        assert client.connect().reason == ReasonCode.SUCCESS
        assert client.publish("a") == ReasonCode.NO_MATCHING_SUBSCRIBERS


def test_users_and_topics(tmp_path: Path, brokers: list[Broker]) -> None:
    config = f"""
    [everybody]
    subscribe = ["$SYS/#"]
    [[users]]
    name = "anna"
    password = "{hash_password(b"right", bytes(16))}"
    publish = ["users/%u/%c"]
    subscribe = ["users/%u/#"]
    {QUICK_DRAIN}
    """
    broker = Broker(tmp_path, "--listen", LISTEN, config=config)
    brokers.append(broker)
    port = int(broker.wait_for(TCP)[1])
    wrong = broker.client(port).connect(user_name="anna", password=b"wrong")
    assert wrong.reason == ReasonCode.BAD_USER_NAME_OR_PASSWORD
    assert broker.client(port).connect().reason == ReasonCode.NOT_AUTHORIZED
    client = broker.client(port)
    right = client.connect("phone", user_name="anna", password=b"right")
    assert right.reason == ReasonCode.SUCCESS
    assert client.subscribe("#") == ReasonCode.NOT_AUTHORIZED
    assert client.publish("users/bert/phone") == ReasonCode.NOT_AUTHORIZED
    assert client.publish("users/anna/phone") == ReasonCode.NO_MATCHING_SUBSCRIBERS
    assert client.subscribe("$SYS/broker/version") == ReasonCode.GRANTED_QOS_1
    told = client.packet()
    assert isinstance(told, Publish)
    assert bytes(told.payload).startswith(b"porttunnel ")
    broker.end()
    assert "right" not in "".join(broker.lines)


def test_tells_its_operator(tmp_path: Path, brokers: list[Broker]) -> None:
    broker = Broker(tmp_path, "--listen", LISTEN)
    brokers.append(broker)
    port = int(broker.wait_for(TCP)[1])
    admin = int(broker.wait_for(r"admin tcp:(\d+):interface=127\.0\.0\.1$")[1])
    broker.client(port).connect()

    def read(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/{path}", timeout=30) as answer:
            text: str = answer.read().decode()
            return text

    assert read("healthz") == "ok\n"
    assert read("readyz") == "ready\n"
    assert "porttunnel_mqtt_connections 1.0" in read("metrics")


@pytest.mark.parametrize(
    ("reference", "reason"),
    [("", ReasonCode.SERVER_SHUTTING_DOWN), ("b.example", ReasonCode.USE_ANOTHER_SERVER)],
)
def test_sends_everybody_away_when_it_is_stopped(
    tmp_path: Path, brokers: list[Broker], reference: str, reason: ReasonCode
) -> None:
    config = f'{QUICK_DRAIN}server_reference = "{reference}"\n'
    broker = Broker(tmp_path, "--listen", LISTEN, config=config)
    brokers.append(broker)
    port = int(broker.wait_for(TCP)[1])
    clients = [broker.client(port) for _ in range(5)]
    for number, client in enumerate(clients):
        client.connect(f"c{number}")
    broker.process.terminate()
    for client in clients:
        goodbye = client.packet()
        assert isinstance(goodbye, Disconnect)
        assert goodbye.reason == reason
        assert goodbye.properties.server_reference == (reference or None)
        with pytest.raises(EOFError):
            client.packet()
        client.connection.close()
    log = broker.rest()
    assert "Server Shut Down" in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--listen", "nonsense"], "no endpoint to listen on"),
        (["--listen", "tcp:1:interface=192.0.2.1"], "can't listen on"),
        (["--websocket", "nonsense"], "no endpoint to listen on"),
    ],
)
def test_what_it_can_not_listen_on(tmp_path: Path, arguments: list[str], said: str) -> None:
    ended = Broker(tmp_path, *arguments)
    assert f"porttunnel-broker: {'' if 'no end' in said else said}" in ended.rest()
    assert said in "".join(ended.lines)
    assert ended.process.returncode != 0


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ('websocket = ["tcp:0"]\nwebsocket_path = "mqtt"', "is not a path"),
        ('[[users]]\nname = "anna"\npassword = "open"', "is no hash"),
    ],
)
def test_what_it_can_not_run_with(tmp_path: Path, config: str, said: str) -> None:
    ended = Broker(tmp_path, config=config)
    assert said in ended.rest()
    assert ended.process.returncode != 0


def test_a_file_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    options = Options()
    with pytest.raises(usage.UsageError, match="name the right file"):
        options.parseOptions(["--config", str(tmp_path / "none")])


def test_the_command_line() -> None:
    options = Options()
    options.parseOptions(["-l", "tcp:1", "--listen", "tcp:2", "-w", "tcp:3", "--admin", "off"])
    assert options.settings.listen == ("tcp:1", "tcp:2")
    assert options.settings.websocket == ("tcp:3",)
    assert not options.settings.has_admin


def test_building_opens_nothing() -> None:
    options = Options()
    options.parseOptions(["--listen", "tcp:1"])
    service = makeService(options)
    assert not service.running
    reactor: Any = MemoryReactorClock()
    BrokerService(reactor, BrokerSettings(listen=("tcp:1",)), lambda line: None)
    assert reactor.tcpServers == []


def test_help_says_what_it_is() -> None:
    shown = subprocess.run(
        [
            *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()"),
            *("porttunnel-broker", "--help"),
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for word in ("--listen=", "--websocket=", "--config=", "--admin="):
        assert word in shown
