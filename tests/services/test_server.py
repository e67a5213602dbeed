"""The tunnel server as people run it: a process of its own, real sockets, good and bad clients."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import sqlite3
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.testing import MemoryReactorClock
from twisted.python import usage

from porttunnel.errors import ErrorCode
from porttunnel.net.certificate import spki_pin
from porttunnel.services.listener import real_endpoint, with_backlog
from porttunnel.services.server import (
    DATABASE_NAME,
    Options,
    ServerService,
    makeService,
    public_address,
)
from porttunnel.services.server_config import ServerSettings
from porttunnel.services.server_gateway_config import GatewaySettings
from porttunnel.session import request
from porttunnel.session.packet import (
    HEADER_BYTES,
    MAX_PLAINTEXT_BYTES,
    NO_MEMBER,
    SERVER,
    TAG_BYTES,
    Header,
    PacketType,
    decode_header,
    encode_header_into,
    encode_packet,
)
from tests.services.running import PATIENCE_SECONDS, TWISTD, RunningService

CREATE = request.Create(lifetime_s=3_600, max_clients=3, join_window_s=600)

# Runs twistd with shorter deadlines, which no user needs to set.
IMPATIENT_TWISTD = """
import porttunnel.net.port_sharing as sharing, porttunnel.session.relay as relay
sharing.SNIFF_SECONDS = sharing.HANDSHAKE_SECONDS = relay.FIRST_REQUEST_SECONDS = 0.5
import porttunnel.net.request_desk as desk
desk.REFUSAL_DELAY_SECONDS = 0.0
from twisted.scripts.twistd import run
run()
"""
# Runs twistd with a look at what is over each tenth of a second.
WATCHFUL_TWISTD = """
import porttunnel.net.tunnel_server as server
server.EXPIRY_SECONDS = 0.1
from twisted.scripts.twistd import run
run()
"""
# Runs twistd with endpoints that fail once the reactor runs, as those behind a network do.
LATE_TWISTD = """
import porttunnel.services.listener as service
from twisted.internet.defer import Deferred
class LateEndpoint:
    def __init__(self, reactor, description):
        self.reactor = reactor
    def listen(self, factory):
        listening = Deferred()
        self.reactor.callLater(0, listening.errback, OSError("too late."))
        return listening
service.serverFromString = LateEndpoint
from twisted.scripts.twistd import run
run()
"""


class RunningServer(RunningService):
    """A tunnel server; its data is in :attr:`data_dir`."""

    def __init__(self, folder: Path, *arguments: str, program: str = TWISTD) -> None:
        self.data_dir = folder / "data"
        super().__init__(
            folder,
            "porttunnel-server",
            *("--data-dir", str(self.data_dir), *arguments),
            program=program,
        )


class Peer:
    """A client of hand-made packets."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.member = NO_MEMBER

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.connection.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def packet(self) -> tuple[Header, bytes]:
        head = decode_header(self.read(HEADER_BYTES))
        return head, self.read(head.length)

    def ask(self, message: Any) -> Any:
        body = request.encode(message)
        self.send(encode_packet(PacketType.REQUEST, self.member, SERVER, body, number=1))
        head, body = self.packet()
        if head.kind is PacketType.ERROR:
            return request.decode_error(body).code
        reply = request.decode_reply(body)
        if isinstance(reply, request.Created):
            self.member = 1
        if isinstance(reply, request.Joined):
            self.member = reply.member
        return reply

    def ends(self) -> bytes:
        """What still comes until the server closes."""
        data = b""
        with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
            while part := self.connection.recv(65_536):
                data += part
        return data


Connect = Callable[[], Peer]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path, "--listen", "tcp:0:interface=127.0.0.1")
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[RunningServer]:
    running = RunningServer(
        tmp_path, "--listen", "tcp:0:interface=127.0.0.1", program=IMPATIENT_TWISTD
    )
    yield running
    if running.process.poll() is None:
        running.stop()


@contextlib.contextmanager
def connecting(running: RunningServer) -> Iterator[Connect]:
    port = int(running.wait_for(r"listening tcp:(\d+):interface=127\.0\.0\.1$")[1])
    with contextlib.ExitStack() as stack:

        def connect() -> Peer:
            connection = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
            return Peer(stack.enter_context(connection))

        yield connect


def sealed(sender: int, target: int, body: bytes) -> bytes:
    head = bytearray(HEADER_BYTES)
    encode_header_into(head, PacketType.DATA, sender, target, len(body))
    return bytes(head) + body


def pair(connect: Connect) -> tuple[Peer, Peer]:
    master, client = connect(), connect()
    created = master.ask(CREATE)
    assert isinstance(client.ask(request.Join(number=created.number)), request.Joined)
    assert request.decode_event(master.packet()[1]) == request.Joining(member=2)
    return master, client


def tls(peer: Peer, *protocols: str) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context.wrap_socket(peer.connection)


def test_members_talk_and_nothing_of_it_is_kept(server: RunningServer) -> None:
    canary = b"canary-2718281828-canary"
    with connecting(server) as connect:
        master, client = pair(connect)
        for size in (0, 1, 60_000, MAX_PLAINTEXT_BYTES + TAG_BYTES - len(canary)):
            packet = sealed(1, 2, canary + bytes(size))
            master.send(packet)
            assert client.read(len(packet)) == packet
        answer = sealed(2, 1, canary)
        client.send(answer)
        assert master.read(len(answer)) == answer
        # Also what breaks a rule leaves no trace of its content.
        client.send(sealed(2, 7, canary))
        assert request.decode_error(client.packet()[1]).code is ErrorCode.NOT_ALLOWED
        assert client.ends() == b""
        admin = server.wait_for(r"admin tcp:(\d+):interface=127\.0\.0\.1$")[1]
        pages = [
            urllib.request.urlopen(f"http://127.0.0.1:{admin}/{path}").read()
            for path in ("", "metrics", "healthz", "readyz")
        ]
    output = server.stop()
    files = [path.read_bytes() for path in server.data_dir.rglob("*") if path.is_file()]
    assert len(files) >= 2
    assert all(canary not in text for text in (*pages, *files, output.encode()))
    assert b'porttunnel_failed_links_total{code="not-allowed"} 1.0' in pages[1]


def test_bulk_arrives_whole_through_a_slow_reader(server: RunningServer) -> None:
    """More than the kernel's buffers hold, and less than a pair may have under way."""
    with connecting(server) as connect:
        master, client = pair(connect)
        packets = b"".join(sealed(1, 2, bytes([number]) * 60_000) for number in range(130))
        assert len(packets) < 8 << 20
        master.send(packets)
        # A second answer on the master's link shows that all of it has been read by then.
        assert isinstance(master.ask(request.Status()), request.StatusReport)
        assert client.read(len(packets)) == packets


def test_nonsense_is_closed_and_honest_users_go_on(server: RunningServer) -> None:
    with connecting(server) as connect:
        master, client = pair(connect)
        silent = connect()
        for nonsense in (b"\x00" * 64, b"PT\x02" + bytes(40), b"PTD1", b"\xff", b"\x80\x2e\x01"):
            stranger = connect()
            stranger.send(nonsense)
            assert stranger.ends() == b""
        for nonsense, code in (
            (b"PT\x01" + bytes(100), ErrorCode.MALFORMED),
            (sealed(NO_MEMBER, 1, bytes(100)), ErrorCode.UNEXPECTED),
            (encode_packet(PacketType.REQUEST, NO_MEMBER, SERVER, b"\xc1"), ErrorCode.MALFORMED),
        ):
            stranger = connect()
            stranger.send(nonsense)
            assert request.decode_error(stranger.packet()[1]).code is code
            assert stranger.ends() == b""
        packet = sealed(1, 2, b"still here, sealed")
        master.send(packet)
        assert client.read(len(packet)) == packet
        assert isinstance(silent.ask(CREATE), request.Created)


def test_a_packet_that_says_it_is_too_long(server: RunningServer) -> None:
    with connecting(server) as connect:
        _, client = pair(connect)
        head = bytearray(HEADER_BYTES)
        encode_header_into(head, PacketType.DATA, 2, 1, MAX_PLAINTEXT_BYTES + TAG_BYTES + 1)
        client.send(bytes(head))
        assert request.decode_error(client.packet()[1]).code is ErrorCode.MALFORMED
        assert client.ends() == b""


def test_a_browser_gets_an_answer(server: RunningServer) -> None:
    with connecting(server) as connect:
        question = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        peer = connect()
        peer.send(question)
        assert peer.ends().startswith(b"HTTP/1.1 200 OK\r\n")
        inside = tls(connect(), "h2", "http/1.1")
        with inside:
            assert inside.selected_alpn_protocol() == "http/1.1"
            inside.sendall(question)
            assert Peer(inside).ends().startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_server_without_a_gateway(tmp_path: Path) -> None:
    config = tmp_path / "server.toml"
    config.write_text("[gateway]\nenabled = false\n", encoding="utf-8")
    arguments = ("--listen", "tcp:0:interface=127.0.0.1", "--config", str(config))
    server = RunningServer(tmp_path, *arguments)
    with connecting(server) as connect:
        peer = connect()
        peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert peer.ends().startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
        mqtt = connect()
        mqtt.send(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x0a\x00\x00")
        assert mqtt.ends() == b""
    assert "gateway" not in server.stop()
    assert not (server.data_dir / "gateway.sqlite").exists()


def test_packets_in_tls_and_the_address_that_is_given_out(server: RunningServer) -> None:
    with connecting(server) as connect:
        address = server.wait_for(r"address (ptuns://127\.0\.0\.1:\d+#(sha256-\S{43}))$")
        with tls(connect()) as inside:
            certificate = inside.getpeercert(binary_form=True)
            assert certificate is not None
            assert spki_pin(x509.load_der_x509_certificate(certificate)) == address[2]
            peer = Peer(inside)
            created = peer.ask(CREATE)
            assert isinstance(created, request.Created)
            # And to somebody who came without it.
            other = connect()
            assert isinstance(other.ask(request.Join(number=created.number)), request.Joined)
            peer.packet()
            packet = sealed(1, 2, bytes(60_000))
            for _ in range(20):
                peer.send(packet)
            assert other.read(20 * len(packet)) == 20 * packet
            other.send(sealed(2, 1, bytes(60_000)) * 20)
            assert len(peer.read(20 * len(packet))) == 20 * len(packet)


def test_slow_drips_and_silence_end(impatient: RunningServer) -> None:
    with connecting(impatient) as connect:
        for begun in (b"", b"P", b"PT", b"\x16", b"PT\x01", sealed(1, 2, bytes(99))[:20]):
            peer = connect()
            peer.send(begun)
            rest = peer.ends()
            if len(begun) > 2:
                report = request.decode_error(rest[HEADER_BYTES:])
                assert report.code is ErrorCode.TOO_LATE
            else:
                assert rest == b""
        inside = tls(connect())
        with inside:
            assert Peer(inside).ends() == b""


def test_at_the_end_members_are_told_to_come_back(server: RunningServer) -> None:
    with connecting(server) as connect:
        master, client = pair(connect)
        server.process.send_signal(signal.SIGTERM)
        for peer in (master, client):
            head, body = peer.packet()
            event = request.decode_event(body)
            assert head.kind is PacketType.EVENT
            assert isinstance(event, request.GoingAway)
            assert peer.ends() == b""
    output = server.rest()
    # twistd ends by the signal that it got, after an orderly stop.
    assert server.process.returncode == -signal.SIGTERM
    assert "Server Shut Down" in output
    assert "Traceback" not in output


def test_a_session_outlives_the_process(tmp_path: Path, server: RunningServer) -> None:
    with connecting(server) as connect:
        master = connect()
        created = master.ask(CREATE)
        server.process.kill()
        server.rest()
    again = RunningServer(tmp_path, "--listen", "tcp:0:interface=127.0.0.1")
    try:
        with connecting(again) as connect:
            resumed = connect().ask(
                request.Resume(session_id=created.session_id, member=1, token=created.token)
            )
            assert isinstance(resumed, request.Resumed)
            joined = connect().ask(request.Join(number=created.number))
            assert isinstance(joined, request.Joined)
    finally:
        again.stop()


def events(peer: Peer, last: type[Any]) -> list[Any]:
    """The events that come, as far as the first of the type ``last``."""
    heard: list[Any] = []
    while not (heard and isinstance(heard[-1], last)):
        head, body = peer.packet()
        if head.kind is PacketType.EVENT:
            heard.append(request.decode_event(body))
    return heard


def resume(connect: Connect, admitted: Any, member: int) -> tuple[Peer, Any]:
    peer = connect()
    peer.member = member
    message = request.Resume(session_id=admitted.session_id, member=member, token=admitted.token)
    return peer, peer.ask(message)


def test_who_stays_away_too_long_is_out(tmp_path: Path) -> None:
    config = tmp_path / "server.toml"
    config.write_text("[limits]\nmaster_grace_s = 2\nclient_grace_s = 1\n", encoding="utf-8")
    arguments = ("--listen", "tcp:0:interface=127.0.0.1", "--config", str(config))
    running = RunningServer(tmp_path, *arguments, program=WATCHFUL_TWISTD)
    try:
        with connecting(running) as connect:
            master = connect()
            created = master.ask(CREATE)
            assert (created.limits.master_grace_s, created.limits.client_grace_s) == (2, 1)
            clients = [connect(), connect()]
            joined = [client.ask(request.Join(number=created.number)) for client in clients]
            for member in (2, 3):
                master.send(sealed(1, member, b"sealed, or it was"))
            clients[0].connection.close()
            *_, left = events(master, request.Left)
            assert left == request.Left(member=2, reason="it did not come back")
            _, refused = resume(connect, joined[0], 2)
            assert refused is ErrorCode.SESSION_ENDED
            master.connection.close()
            heard = events(clients[1], request.Closed)
            assert heard == [
                request.Link(member=1, up=False),
                request.Closed(reason="the master did not come back"),
            ]
            assert clients[1].ends() == b""
            for admitted, member in ((created, 1), (joined[1], 3)):
                _, refused = resume(connect, admitted, member)
                assert refused is ErrorCode.SESSION_ENDED
            stranger = connect().ask(request.Join(number=created.number))
            assert stranger is ErrorCode.NO_SUCH_NUMBER
    finally:
        output = running.stop()
    assert "Traceback" not in output


def test_two_processes_on_one_book(tmp_path: Path) -> None:
    """A session that is closed at one of them ends for those who are at the other, too."""
    listen = ("--listen", "tcp:0:interface=127.0.0.1")
    running = [RunningServer(tmp_path, *listen, program=WATCHFUL_TWISTD)]
    try:
        with contextlib.ExitStack() as stack:
            here = stack.enter_context(connecting(running[0]))
            running.append(RunningServer(tmp_path, *listen, program=WATCHFUL_TWISTD))
            there = stack.enter_context(connecting(running[1]))
            master = here()
            created = master.ask(CREATE)
            clients = [here(), here()]
            joined = [client.ask(request.Join(number=created.number)) for client in clients]
            moved, resumed = resume(there, joined[0], 2)
            assert isinstance(resumed, request.Resumed)
            head, body = clients[0].packet()
            assert head.kind is PacketType.ERROR
            assert request.decode_error(body).code is ErrorCode.REPLACED
            assert clients[0].ends() == b""
            again, resumed = resume(there, created, 1)
            assert isinstance(resumed, request.Resumed)
            assert isinstance(again.ask(request.Close()), request.Done)
            for peer in (again, moved, clients[1]):
                *_, closed = events(peer, request.Closed)
                assert closed == request.Closed(reason="the master closed it")
                assert peer.ends() == b""
    finally:
        outputs = [process.stop() for process in running]
    assert "Traceback" not in "".join(outputs)


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = RunningServer(tmp_path, "--listen", f"tcp:{port}:interface=127.0.0.1")
        output = running.rest()
    assert running.process.returncode == 1
    assert f"can't listen on tcp:{port}:interface=127.0.0.1" in output
    assert "choose another port" in output
    assert "Traceback" not in output


def test_a_book_that_takes_no_entry(tmp_path: Path) -> None:
    """Nobody is told to come, and who restarts services sees that it failed."""
    first = RunningServer(tmp_path, "--listen", "tcp:0:interface=127.0.0.1")
    first.wait_for("admin")
    first.stop()
    with contextlib.closing(sqlite3.connect(first.data_dir / DATABASE_NAME)) as book:
        book.execute(
            "CREATE TRIGGER full BEFORE INSERT ON servers BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
        book.commit()
    again = RunningServer(tmp_path, "--listen", "tcp:0:interface=127.0.0.1")
    output = again.rest()
    assert again.process.returncode == 1
    assert "porttunnel-server: full" in output
    assert not re.search("^(listening|address|admin) ", output, re.MULTILINE)


def test_an_endpoint_that_fails_late(tmp_path: Path) -> None:
    running = RunningServer(tmp_path, "--listen", "tcp:0", program=LATE_TWISTD)
    output = running.rest()
    assert running.process.returncode == 1
    assert "can't listen on tcp:0: too late" in output
    assert "Server Shut Down" in output


# In this process: what is built, and from what


def options(*arguments: str) -> Options:
    parsed = Options()
    parsed.parseOptions(arguments)
    return parsed


def test_listeners_add_up() -> None:
    assert options().settings == ServerSettings()
    parsed = options("--listen", "tcp:1", "-l", "tcp:2", "--admin", "off", "-d", "/x")
    assert parsed.settings == ServerSettings(listen=("tcp:1", "tcp:2"), admin="off", data_dir="/x")


def test_a_wrong_configuration_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(usage.UsageError, match="can't be read"):
        options("--config", str(tmp_path / "none"))


def test_building_opens_nothing(tmp_path: Path) -> None:
    service = makeService(options("--data-dir", str(tmp_path / "data")))
    assert isinstance(service, ServerService)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("listen", ["nonsense:1", "tcp:no-number", "tcp", "tcp:1:colour=red"])
def test_a_wrong_endpoint_is_named(tmp_path: Path, listen: str) -> None:
    lines: list[str] = []
    # Without a gateway, whose audit log would stay open: a process that has this error ends.
    settings = ServerSettings(
        listen=(listen,), data_dir=str(tmp_path), gateway=GatewaySettings(enabled=False)
    )
    service = ServerService(MemoryReactorClock(), settings, lines.append)
    with pytest.raises(SystemExit, match="is no endpoint to listen on"):
        service.startService()
    assert lines == []


class Port:
    def __init__(self, host: Any) -> None:
        self.host = host

    def getHost(self) -> Any:
        return self.host


@pytest.mark.parametrize(
    ("description", "real"),
    [
        ("tcp:0", "tcp:81"),
        ("tcp:0:interface=127.0.0.1", "tcp:81:interface=127.0.0.1"),
        ("tcp:port=0:interface=10.0.0.0", "tcp:port=81:interface=10.0.0.0"),
        ("ssl:0:privateKey=0.pem", "ssl:81:privateKey=0.pem"),
        ("tcp:80:backlog=0", "tcp:80:backlog=0"),
    ],
)
def test_the_real_port_is_shown(description: str, real: str) -> None:
    port: Any = Port(IPv4Address("TCP", "0.0.0.0", 81))
    assert real_endpoint(description, port) == real


@pytest.mark.parametrize(
    ("description", "listened"),
    [
        ("tcp:4663", "tcp:4663:backlog=1024"),
        ("tcp:0:interface=127.0.0.1", "tcp:0:interface=127.0.0.1:backlog=1024"),
        ("haproxy:tcp:4663", "haproxy:tcp:4663:backlog=1024"),
        ("TCP:4663:backlog=7", "TCP:4663:backlog=7"),
        ("unix:/run/x", "unix:/run/x"),
        ("systemd:domain=INET:index=0", "systemd:domain=INET:index=0"),
    ],
)
def test_a_rush_of_connections_has_room(description: str, listened: str) -> None:
    assert with_backlog(description) == listened


def test_a_local_socket_is_shown_as_it_is() -> None:
    port: Any = Port(UNIXAddress(b"/run/x"))
    assert real_endpoint("unix:/run/x:mode=0", port) == "unix:/run/x:mode=0"
    assert public_address("unix:/run/x", port, "name", "PIN") is None


@pytest.mark.parametrize(
    ("description", "host", "name", "address"),
    [
        ("tcp:1", "192.0.2.1", "", "ptuns://192.0.2.1:81#PIN"),
        ("tcp:1", "0.0.0.0", "tunnel.example", "ptuns://tunnel.example:81#PIN"),
        ("tcp:1", "0.0.0.0", "", f"ptuns://{socket.gethostname()}:81#PIN"),
        ("tcp:1", "::", "", f"ptuns://{socket.gethostname()}:81#PIN"),
        ("tcp:1", "2001:db8::1", "", "ptuns://[2001:db8::1]:81#PIN"),
        ("ssl:1:privateKey=x", "0.0.0.0", "tunnel.example", "ptuns://tunnel.example:81"),
        ("HAProxy:ssl:1:privateKey=x", "192.0.2.1", "", "ptuns://192.0.2.1:81"),
        ("haproxy:tcp:1", "192.0.2.1", "", "ptuns://192.0.2.1:81#PIN"),
    ],
)
def test_the_address_to_give_out(description: str, host: str, name: str, address: str) -> None:
    kind = IPv6Address if ":" in host else IPv4Address
    port: Any = Port(kind("TCP", host, 81))
    assert public_address(description, port, name, "PIN") == address
