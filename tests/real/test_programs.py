"""Programs as people use them, by way of share, a real server and join."""

from __future__ import annotations

import hashlib
import secrets
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from porttunnel.net.certificate import FILE_NAME, load_or_create_identity
from tests.real.needed import needed_program
from tests.real.program import PORTTUNNEL, Program, Start, TunnelServer
from tests.real.secure_shell import SecureShell, start_sshd
from tests.real.web_site import WebSite, page_sha256, serve_web_site

pytestmark = pytest.mark.real

MEBIBYTE = 1 << 20
WAIT_SECONDS = 60.0  # a deadline, not a measure
PARALLEL_REQUESTS = 200
SMALL_RECEIVE_BUFFER_BYTES = 65_536  # so that a client which does not read stalls soon

JoinedPort = Callable[[int], int]


@pytest.fixture
def site() -> Iterator[WebSite]:
    with serve_web_site() as site:
        yield site


@pytest.fixture
def joined_port(share: Start, join: Start) -> JoinedPort:
    """``joined_port(target)``: shares a loopback port; the joined client's port for it."""

    def connect(target: int) -> int:
        master = share(f"service=tcp:127.0.0.1:{target}", "--json", "--yes")
        client = join("--json", code=master.event("session")["code"])
        return local_port(client)

    return connect


def local_port(client: Program) -> int:
    """Where a joined client listens for the only service there is."""
    return int(client.event("listening")["address"].rpartition(":")[2])


def sha256_of(stream: IO[bytes]) -> tuple[int, str]:
    """Bytes and hash of what comes until the end."""
    content, count = hashlib.sha256(), 0
    while data := stream.read(MEBIBYTE):
        content.update(data)
        count += len(data)
    return count, content.hexdigest()


def download(port: int, number: int, size: int) -> str:
    """The hash of a page, fetched by curl."""
    curl = needed_program("curl", "curl")
    url = f"http://127.0.0.1:{port}/{number}/{size}"
    command = [curl, "-sS", "--fail", "--max-time", str(WAIT_SECONDS * 2), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as fetching:
        assert fetching.stdout is not None
        count, digest = sha256_of(fetching.stdout)
    assert (fetching.returncode, count) == (0, size)
    return digest


def run(command: list[str]) -> str:
    """What a program says, once it has ended well."""
    finished = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


class TestCurl:
    def test_downloads_a_gibibyte(self, joined_port: JoinedPort, site: WebSite) -> None:
        port = joined_port(site.port)
        assert download(port, 1, 1024 * MEBIBYTE) == page_sha256(1, 1024 * MEBIBYTE)

    def test_fetches_many_pages_at_once(
        self, joined_port: JoinedPort, site: WebSite, tmp_path: Path
    ) -> None:
        port = joined_port(site.port)
        size = 50_001
        run(
            [
                *(needed_program("curl", "curl"), "-sS", "--fail", "--no-keepalive"),
                *("--parallel", "--parallel-immediate", "--parallel-max", str(PARALLEL_REQUESTS)),
                *("-o", str(tmp_path / "page-#1")),
                f"http://127.0.0.1:{port}/[1-{PARALLEL_REQUESTS}]/{size}",
            ]
        )
        fetched = {path.name: path.read_bytes() for path in tmp_path.glob("page-*")}
        assert len(fetched) == PARALLEL_REQUESTS
        for number in range(1, PARALLEL_REQUESTS + 1):
            expected = page_sha256(number, size)
            assert hashlib.sha256(fetched[f"page-{number}"]).hexdigest() == expected


class TestOpenSSH:
    @pytest.fixture
    def shell(self, start: Start, tmp_path: Path) -> SecureShell:
        return start_sshd(start, tmp_path / "ssh")

    def test_logs_in(self, joined_port: JoinedPort, shell: SecureShell) -> None:
        port = joined_port(shell.port)
        command = "echo $((6 * 7)); echo $SSH_CONNECTION"
        answer, connection = run(shell.client("ssh", port, shell.place, command)).splitlines()
        assert answer == "42"
        # By way of the tunnel: the server's own port, not the one that ssh was given.
        assert connection.split()[-1] == str(shell.port) != str(port)

    def test_copies_files_both_ways(
        self, joined_port: JoinedPort, shell: SecureShell, tmp_path: Path
    ) -> None:
        port = joined_port(shell.port)
        here, there, back = tmp_path / "here", tmp_path / "there", tmp_path / "back"
        here.write_bytes(secrets.token_bytes(8 * MEBIBYTE + 1))
        run(shell.client("scp", port, str(here), f"{shell.place}:{there}"))
        assert there.read_bytes() == here.read_bytes()
        run(shell.client("scp", port, f"{shell.place}:{there}", str(back)))
        assert back.read_bytes() == here.read_bytes()


class TestSockets:
    """A service that half-closes, and clients that do."""

    @contextmanager
    def target(self) -> Iterator[socket.socket]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(WAIT_SECONDS)
            yield listener

    def read_to_end(self, connection: socket.socket) -> bytes:
        with connection.makefile("rb") as stream:
            return stream.read()

    def test_a_client_half_closes_and_gets_its_answer(self, joined_port: JoinedPort) -> None:
        question, answer = secrets.token_bytes(3 * MEBIBYTE), secrets.token_bytes(5 * MEBIBYTE)
        with self.target() as listener, ThreadPoolExecutor(1) as pool:
            port = joined_port(listener.getsockname()[1])

            def serve() -> bytes:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(WAIT_SECONDS)
                    asked = self.read_to_end(connection)
                    connection.sendall(answer)
                return asked

            serving = pool.submit(serve)
            with socket.create_connection(("127.0.0.1", port), WAIT_SECONDS) as client:
                client.sendall(question)
                client.shutdown(socket.SHUT_WR)
                assert self.read_to_end(client) == answer
            assert serving.result(WAIT_SECONDS) == question

    def test_a_service_half_closes_and_still_listens(self, joined_port: JoinedPort) -> None:
        greeting, letter = secrets.token_bytes(3 * MEBIBYTE), secrets.token_bytes(5 * MEBIBYTE)
        with self.target() as listener, ThreadPoolExecutor(1) as pool:
            port = joined_port(listener.getsockname()[1])

            def serve() -> bytes:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(WAIT_SECONDS)
                    connection.sendall(greeting)
                    connection.shutdown(socket.SHUT_WR)
                    return self.read_to_end(connection)

            serving = pool.submit(serve)
            with socket.create_connection(("127.0.0.1", port), WAIT_SECONDS) as client:
                assert self.read_to_end(client) == greeting
                client.sendall(letter)
            assert serving.result(WAIT_SECONDS) == letter


class TestTwoClients:
    @pytest.fixture
    def ports(self, share: Start, join: Start, site: WebSite) -> tuple[int, int]:
        """Two clients in one session, each let in with a code of its own."""
        master = share(f"web=tcp:127.0.0.1:{site.port}", "--json", "--yes")
        codes = [master.event("session")["code"]]
        first = join("--json", "--name", "Ben", code=codes[0])
        codes.append(master.event("session")["code"])
        second = join("--json", "--name", "Carla", code=codes[1])
        assert len(set(codes)) == 2
        assert first.event("joined")["member"] != second.event("joined")["member"]
        return local_port(first), local_port(second)

    def test_work_at_the_same_time(self, ports: tuple[int, int]) -> None:
        size = 64 * MEBIBYTE
        with ThreadPoolExecutor(2) as pool:
            fetching = [
                pool.submit(download, port, number, size) for number, port in enumerate(ports)
            ]
            for number, fetched in enumerate(fetching):
                assert fetched.result(WAIT_SECONDS * 2) == page_sha256(number, size)

    def test_one_that_stalls_does_not_stop_the_other(
        self, ports: tuple[int, int], site: WebSite
    ) -> None:
        size = 64 * MEBIBYTE
        with socket.socket() as stalled:
            stalled.settimeout(WAIT_SECONDS)
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_RECEIVE_BUFFER_BYTES)
            stalled.connect(("127.0.0.1", ports[0]))
            stalled.sendall(f"GET /1/{size} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            with stalled.makefile("rb") as answer:
                while answer.readline().strip():
                    continue
                begun = answer.read(MEBIBYTE)
                assert download(ports[1], 2, size) == page_sha256(2, size)
                assert site.sent[1] < size
                # Nothing of what waited is lost.
                content = hashlib.sha256(begun)
                left = size - len(begun)
                while left:
                    data = answer.read(min(left, MEBIBYTE))
                    assert data
                    content.update(data)
                    left -= len(data)
        assert content.hexdigest() == page_sha256(1, size)


class TestThePin:
    def test_of_the_server_lets_programs_through(
        self, tunnel_server: TunnelServer, start: Start, site: WebSite
    ) -> None:
        server = ("--no-direct", "--server", tunnel_server.tls_address)
        assert "#sha256-" in tunnel_server.tls_address
        master = start(*(*PORTTUNNEL, "share", f"{site.port}", "--json", "--yes"), *server)
        client = start(*PORTTUNNEL, "join", "--json", "--code", "-", *server)
        client.send(master.event("session")["code"])
        size = 16 * MEBIBYTE
        assert download(local_port(client), 7, size) == page_sha256(7, size)

    def test_of_another_server_stops_everything_before_a_byte_is_sent(
        self, tunnel_server: TunnelServer, start: Start, tmp_path: Path
    ) -> None:
        load_or_create_identity(tmp_path / "other")
        pin = tunnel_server.tls_address.partition("#")[2]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "other" / FILE_NAME)
        received: list[bytes] = []

        def pretend(listener: socket.socket) -> None:
            """Somebody in between, with a key of his own."""
            for _ in range(2):
                connection, _address = listener.accept()
                connection.settimeout(WAIT_SECONDS)
                try:
                    with context.wrap_socket(connection, server_side=True) as inside:
                        received.append(inside.recv(1_000))
                except (ssl.SSLError, ConnectionError):
                    received.append(b"")

        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(WAIT_SECONDS)
            thread = threading.Thread(target=pretend, args=(listener,), daemon=True)
            thread.start()
            server = (
                "--no-direct",
                "--server",
                f"ptuns://127.0.0.1:{listener.getsockname()[1]}#{pin}",
            )
            master = start(*PORTTUNNEL, "share", "8000", "--json", *server)
            client = start(*PORTTUNNEL, "join", "--json", "--code", "-", *server)
            client.send("4821 3604 2197")
            for program in (master, client):
                error = program.event("error")
                assert "is not the one that the address names" in error["text"]
                assert (error["code"], program.wait()) == ("not-reachable", 4)
                assert program.errors == ""
            thread.join(WAIT_SECONDS)
        assert received == [b"", b""]
