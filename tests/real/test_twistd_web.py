"""Twisted's own web program, unchanged, behind our endpoint strings."""

from __future__ import annotations

import hashlib
import secrets
import stat
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.real.mortal_server import MortalServer
from tests.real.program import (
    PORTTUNNEL,
    PYTHON,
    Program,
    Start,
    TunnelServer,
)

pytestmark = pytest.mark.real

TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")
SIZE = 3_000_000  # more than a stream's first window, by far

# Fetches by an endpoint string, as any Twisted program would; prints the body's SHA-256.
FETCH = """
import hashlib, sys
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react

class Fetching(Protocol):
    def __init__(self):
        self.received = b""
        self.done = Deferred()

    def connectionMade(self):
        self.transport.write(b"GET /file HTTP/1.0\\r\\n\\r\\n")

    def dataReceived(self, data):
        self.received += data

    def connectionLost(self, reason):
        self.done.callback(self.received)

async def main(reactor):
    endpoint = clientFromString(reactor, sys.argv[1])
    fetching = await endpoint.connect(Factory.forProtocol(Fetching))
    head, _, body = (await fetching.done).partition(b"\\r\\n\\r\\n")
    print(head.split()[1].decode(), hashlib.sha256(body).hexdigest())

react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "pages"
    found.mkdir()
    (found / "file").write_bytes(secrets.token_bytes(SIZE))
    return found


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def share_by_twistd(
    start: Start, tunnel_server: TunnelServer, folder: Path, code_file: Path, *arguments: str
) -> Program:
    endpoint = ":".join(
        (
            "porttunnel:web:host=127.0.0.1",
            f"port={tunnel_server.port}:tls=no:codefile={code_file}",
            *arguments,
        )
    )
    # Warnings are no errors here: Twisted's program warns about Twisted's modules.
    program = start(*TWISTD, "-n", "web", "--listen", endpoint, "--path", str(folder))
    program.line_with("is open for web")
    return program


class TestTwistdWeb:
    def test_shares_a_folder_with_who_has_the_code(
        self, start: Start, tunnel_server: TunnelServer, folder: Path, tmp_path: Path
    ) -> None:
        code_file = tmp_path / "code"
        twistd = share_by_twistd(start, tunnel_server, folder, code_file, "accept=all")
        assert stat.S_IMODE(code_file.stat().st_mode) == 0o600
        first_code = code_file.read_text()
        client = f"porttunnel:web:host=127.0.0.1:port={tunnel_server.port}:codefile={code_file}"
        for _ in range(2):
            fetching = start(*PYTHON, "-c", FETCH, client)
            assert fetching.next_line() == f"200 {digest_of(folder / 'file')}"
            assert fetching.wait() == 0
            assert fetching.errors == ""
            twistd.line_with("has left")
        assert code_file.read_text() != first_code
        twistd.terminate()
        twistd.wait()
        assert not code_file.exists()
        assert "Traceback" not in twistd.errors + "".join(twistd.seen)

    def test_can_be_joined_from_the_command_line(
        self, start: Start, tunnel_server: TunnelServer, folder: Path, tmp_path: Path
    ) -> None:
        code_file = tmp_path / "code"
        share_by_twistd(start, tunnel_server, folder, code_file, "accept=all")
        join = start(
            *(*PORTTUNNEL, "join", "--json", "--no-direct", "--code", "-"),
            *("--server", tunnel_server.address),
        )
        join.send(code_file.read_text().strip())
        url = join.event("listening", service="web")["url"]
        with urllib.request.urlopen(f"{url}file", timeout=30) as answer:
            assert hashlib.sha256(answer.read()).hexdigest() == digest_of(folder / "file")

    def test_lets_nobody_in_unless_told(
        self, start: Start, tunnel_server: TunnelServer, folder: Path, tmp_path: Path
    ) -> None:
        code_file = tmp_path / "code"
        twistd = share_by_twistd(start, tunnel_server, folder, code_file)
        join = start(
            *(*PORTTUNNEL, "join", "--json", "--no-direct", "--code", "-"),
            *("--server", tunnel_server.address),
        )
        join.send(code_file.read_text().strip())
        assert join.wait() == 3
        assert "accept=all" in twistd.line_with("was refused")

    def test_says_when_the_session_has_ended(
        self, start: Start, folder: Path, tmp_path: Path
    ) -> None:
        server = MortalServer(start)
        code_file = tmp_path / "code"
        twistd = share_by_twistd(start, server, folder, code_file, "accept=all")
        server.kill()
        server.forget(tmp_path)
        server.restart()
        assert "start this program again" in twistd.line_with("has ended")
        assert not code_file.exists()
