"""`twistd porttunnel-broker` as an operator has it, with clients that others wrote."""

from __future__ import annotations

import ipaddress
import itertools
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from porttunnel.mqtt.packet import Version
from porttunnel.mqtt.reason import ReasonCode
from tests.real.mqtt_peer import Address, MakePeer, Peer, Refused
from tests.real.needed import needed_program
from tests.real.paho_peer import PahoPeer
from tests.real.program import Program, Start, clean_environment, find_port
from tests.real.server_port import port_to_come_back_to

pytestmark = pytest.mark.real

# Warnings are no errors here: Twisted warns about its own `ssl:` endpoints.
TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")
BROKER = (*TWISTD, "-n", "porttunnel-broker")
V3, V5 = Version.V3_1_1, Version.V5
VERSIONS = pytest.mark.parametrize("version", [V3, V5], ids=["v3", "v5"])
LOOPBACK = "interface=127.0.0.1"
PASSWORD = "open sesame"
FAILURE = 0x80  # in SUBACK of 3.1.1
BAD_PASSWORD = 4  # in CONNACK of 3.1.1

CONFIG = """
status_interval_s = 1
anonymous = true

[everybody]
subscribe = ["$SYS/#"]

[[users]]
name = "anna"
password = "{password}"
publish = ["%u/#"]
subscribe = ["%u/#", "news/+"]
"""


class Broker(NamedTuple):
    """A broker that has users.

    :ivar addresses: by what the listener is.
    :ivar admin: the URL of its admin pages.
    """

    addresses: dict[str, Address]
    admin: str


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A key, and a certificate for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a broker of the tests")])
    now = datetime.now(UTC)
    host = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([host]), critical=False)
        .sign(key, SHA256())
    )
    files = folder / "key.pem", folder / "certificate.pem"
    pem = serialization.Encoding.PEM
    files[0].write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    files[1].write_bytes(made.public_bytes(pem))
    return files


def hash_of(password: str, home: Path) -> str:
    """As the operator makes it."""
    made = subprocess.run(
        [sys.executable, "-m", "porttunnel.services.broker_password"],
        input=f"{password}\n",
        capture_output=True,
        text=True,
        check=True,
        cwd=home,
        env=clean_environment(home),
    )
    return made.stdout.strip()


@pytest.fixture(scope="module")
def broker(
    start_for_module: Start,
    tmp_path_factory: pytest.TempPathFactory,
    certificate: tuple[Path, Path],
) -> Broker:
    home = tmp_path_factory.mktemp("broker")
    config = home / "broker.toml"
    config.write_text(CONFIG.format(password=hash_of(PASSWORD, home)), "utf-8")
    key, chain = certificate
    tcp, tls = f"tcp:0:{LOOPBACK}", f"ssl:0:privateKey={key}:certKey={chain}:{LOOPBACK}"
    program = start_for_module(
        *(*BROKER, "--config", str(config), "--admin", tcp, "--listen", tcp, "--listen", tcp),
        *("--listen", tls, "--websocket", tcp, "--websocket", tls),
    )
    listeners = {
        "tcp": ("tcp", ""),
        "tcp-again": ("tcp", ""),
        "tls": ("tcp", str(chain)),
        "ws": ("ws", ""),
        "wss": ("ws", str(chain)),
    }
    addresses = {
        name: Address(transport, find_port(program.line("listening ")), trusted)
        for name, (transport, trusted) in listeners.items()
    }
    port = find_port(program.line("admin "))
    return Broker(addresses, f"http://127.0.0.1:{port}")


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


@VERSIONS
class TestUsersAndTopics:
    @pytest.mark.parametrize("listener", ["tcp", "tcp-again", "tls", "ws", "wss"])
    def test_what_a_user_may_do(
        self, make_peer: MakePeer, broker: Broker, version: int, listener: str
    ) -> None:
        peer = make_peer(broker.addresses[listener], version)
        peer.connect(user="anna", password=PASSWORD)
        refused = FAILURE if version == V3 else ReasonCode.NOT_AUTHORIZED
        assert peer.subscribe("anna/#", 1) == 1
        assert peer.subscribe("news/today", 2) == 2
        for pattern in ("#", "news/#", "bert/a"):
            assert peer.subscribe(pattern, 1) == refused
        # 3.1.1 has no word for it: the message is taken, and goes nowhere.
        assert peer.publish("bert/a", b"", 1) == (0 if version == V3 else refused)
        assert peer.publish("news/today", b"", 1) == (0 if version == V3 else refused)
        assert peer.publish("anna/a", b"mine", 1) == 0
        assert peer.message()[:2] == ("anna/a", b"mine")

    @pytest.mark.parametrize("listener", ["tcp", "ws"])
    @pytest.mark.parametrize("name", ["anna", "nobody"])
    def test_who_has_no_password(
        self, make_peer: MakePeer, broker: Broker, version: int, listener: str, name: str
    ) -> None:
        peer = make_peer(broker.addresses[listener], version)
        with pytest.raises(Refused) as caught:
            peer.connect(user=name, password="open barley")
        expected = {int(ReasonCode.BAD_USER_NAME_OR_PASSWORD)}
        if version == V3:
            expected.add(BAD_PASSWORD)  # paho translates it
        assert caught.value.reason in expected

    def test_who_has_no_name(self, make_peer: MakePeer, broker: Broker, version: int) -> None:
        peer = make_peer(broker.addresses["tcp"], version)
        peer.connect()
        assert peer.subscribe("anna/#") in (FAILURE, ReasonCode.NOT_AUTHORIZED)
        assert peer.subscribe("$SYS/broker/version") == 0
        assert peer.message().payload.startswith(b"porttunnel ")


@pytest.mark.parametrize("listener", ["tcp", "tls"])
def test_mosquittos_clients(start: Start, broker: Broker, listener: str) -> None:
    address = broker.addresses[listener]
    common: tuple[str, ...] = ("-h", "127.0.0.1", "-p", str(address.port), "-V", "mqttv5")
    if address.certificate:
        common += ("--cafile", address.certificate)
    mine = ("-u", "anna", "-P", PASSWORD)
    publish, subscribe = (
        needed_program(name, "mosquitto-clients") for name in ("mosquitto_pub", "mosquitto_sub")
    )
    retaining = start(publish, *common, *mine, "-t", "anna/kept", "-m", "kept", "-r", "-q", "1")
    assert retaining.wait() == 0
    assert start(subscribe, *common, *mine, "-t", "anna/#", "-C", "1").next_line() == "kept"
    wrong = start(subscribe, *common, "-u", "anna", "-P", "wrong", "-t", "anna/#")
    assert wrong.wait() == ReasonCode.BAD_USER_NAME_OR_PASSWORD


class TestFigures:
    def test_sys_topics(self, broker: Broker) -> None:
        with ExitStack() as stack:
            peers = [PahoPeer(address, V5) for address in broker.addresses.values()]
            for peer in peers:
                stack.callback(peer.stop)
                peer.connect()
            watching = peers[0]
            watching.subscribe("$SYS/broker/#")
            wanted = {
                "version",
                "uptime",
                "clients/connected",
                "subscriptions/count",
                "messages/received",
                "bytes/sent",
            }
            told: dict[str, str] = {}
            while not (wanted <= told.keys() and int(told["clients/connected"]) >= len(peers)):
                message = watching.message()
                told[message.topic.removeprefix("$SYS/broker/")] = message.payload.decode()
            assert re.fullmatch(r"porttunnel \S+", told["version"])
            assert re.fullmatch(r"\d+ seconds", told["uptime"])

    def test_metrics(self, broker: Broker) -> None:
        def figure(name: str) -> float:
            found = re.search(
                rf"^porttunnel_mqtt_{name} (\S+)$", read(f"{broker.admin}/metrics"), re.M
            )
            assert found is not None, name
            return float(found[1])

        assert read(f"{broker.admin}/healthz") == "ok\n"
        assert read(f"{broker.admin}/readyz") == "ready\n"
        before = figure("received_messages_total"), figure("delivered_messages_total")
        peer = PahoPeer(broker.addresses["ws"], V5)
        with ExitStack() as stack:
            stack.callback(peer.stop)
            peer.connect(user="anna", password=PASSWORD)
            peer.subscribe("anna/#")
            for _ in range(10):
                peer.publish("anna/counted", b"", 1)
                peer.message()
            after = figure("received_messages_total"), figure("delivered_messages_total")
            assert after[0] - before[0] == 10
            assert after[1] - before[1] >= 10  # and what $SYS told in between
            assert figure("connections") >= 1
            assert figure("subscriptions") >= 1


class MortalBroker:
    """A broker that comes back at the same ports, and all kinds of clients at it."""

    def __init__(self, start: Start, config: str, folder: Path, make_mqtt_js: MakePeer) -> None:
        self._start = start
        self._file = folder / "broker.toml"
        self._file.write_text(config, "utf-8")
        tcp = port_to_come_back_to()
        self._addresses = Address("tcp", tcp), Address("ws", port_to_come_back_to(tcp))
        self._makers: tuple[MakePeer, ...] = (PahoPeer, make_mqtt_js)
        self.program = self.run()
        self.peers: list[Peer] = []

    def run(self) -> Program:
        tcp, websocket = (f"tcp:{address.port}:{LOOPBACK}" for address in self._addresses)
        program = self._start(
            *(*BROKER, "--config", str(self._file), "--admin", "off"),
            *("--listen", tcp, "--websocket", websocket),
        )
        for address in self._addresses:
            assert find_port(program.line("listening ")) == address.port
        self.program = program
        return program

    def connect_all(self) -> None:
        for make, address, version in itertools.product(self._makers, self._addresses, (V3, V5)):
            peer = make(address, version)
            self.peers.append(peer)
            peer.connect(f"client{len(self.peers)}", comes_back=True)
            peer.subscribe("all", 1)

    def check_all(self) -> None:
        """Each hears the first."""
        self.peers[0].publish("all", b"hello", 1)
        for peer in self.peers:
            assert peer.message().payload == b"hello"

    def stop(self) -> None:
        for peer in self.peers:
            peer.stop()


@pytest.fixture
def make_mortal(
    start: Start, make_mqtt_js: MakePeer, tmp_path: Path
) -> Iterator[Callable[[str], MortalBroker]]:
    with ExitStack() as stack:

        def make_one(config: str) -> MortalBroker:
            broker = MortalBroker(start, config, tmp_path, make_mqtt_js)
            stack.callback(broker.stop)
            broker.connect_all()
            return broker

        yield make_one


class TestItsEnd:
    @pytest.mark.parametrize(
        ("reference", "reason"),
        [
            ("", ReasonCode.SERVER_SHUTTING_DOWN),
            ("other.example:1883", ReasonCode.USE_ANOTHER_SERVER),
        ],
        ids=["0x8B", "0x9C"],
    )
    def test_sends_all_away_who_come_back_to_the_next(
        self, make_mortal: Callable[[str], MortalBroker], reference: str, reason: ReasonCode
    ) -> None:
        config = f'[drain]\nseconds = 0.2\nserver_reference = "{reference}"\n'
        broker = make_mortal(config)
        broker.check_all()
        broker.program.terminate()
        told = [peer.end() for peer in broker.peers]
        assert told == [reason if peer.version == V5 else None for peer in broker.peers]
        assert broker.program.wait() == -signal.SIGTERM
        assert "Traceback" not in broker.program.errors + "\n".join(broker.program.seen)
        broker.run()
        for peer in broker.peers:
            assert not peer.came_back().session_present
            peer.subscribe("all", 1)
        broker.check_all()

    def test_killed_and_started_again(self, make_mortal: Callable[[str], MortalBroker]) -> None:
        broker = make_mortal("")
        broker.check_all()
        os.kill(broker.program.pid, signal.SIGKILL)
        assert broker.program.wait() == -signal.SIGKILL
        for peer in broker.peers:
            assert peer.end() is None
        broker.run()
        for peer in broker.peers:
            peer.came_back()
            peer.subscribe("all", 1)
        broker.check_all()
