"""Strangers in numbers: thousands of silent connections beside people who work."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.real.program import PORTTUNNEL, Start, TunnelServer, start_server

IDLE_CONNECTIONS = 5_000
FILES = IDLE_CONNECTIONS + 500
# What a connection that has not said a word may cost the server; a stock Twisted connection
# costs about as much.
BYTES_PER_IDLE_CONNECTION = 16 * 1024
FIRST_BYTES_SECONDS = 15.0  # the server's patience
DEADLINE_SECONDS = 60.0

CONFIG = f"""
[limits]
connections = {FILES}
connections_per_prefix = {FILES}
"""


@contextmanager
def echo_service() -> Iterator[int]:
    """A TCP service on loopback that answers what it hears; its port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:  # closed: the test is over
                return
            with connection:
                while data := connection.recv(65_536):
                    connection.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(DEADLINE_SECONDS)


@pytest.fixture
def many_files() -> Iterator[None]:
    """Leave for this process to have so many sockets; skipped where the system forbids it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < FILES:
        pytest.skip(f"this system allows {hard} open files; the test needs {FILES}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def server(start: Start, tmp_path: Path) -> TunnelServer:
    config = tmp_path / "server.toml"
    config.write_text(CONFIG, encoding="utf-8")
    return start_server(start, "--config", str(config))


def resident_bytes(pid: int) -> int:
    """Memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS in /proc")


def is_sent_away(stranger: socket.socket) -> bool:
    """Whether the server ends the connection, after a word or without one."""
    try:
        while stranger.recv(4_096):
            continue
    except ConnectionResetError:
        return True
    return True


def test_silent_strangers_cost_little_and_are_sent_away(
    start: Start, server: TunnelServer, many_files: None
) -> None:
    with ExitStack() as stack:
        service = stack.enter_context(echo_service())
        master = start(
            *(*PORTTUNNEL, "share", f"echo={service}", "--json", "--yes", "--no-direct"),
            *("--server", server.address),
        )
        code = master.event("session")["code"]
        client = start(
            *PORTTUNNEL, "join", "--server", server.address, "--json", "--no-direct", "--code", "-"
        )
        client.send(code)
        host, port = client.event("listening")["address"].rsplit(":", 1)
        honest = stack.enter_context(socket.create_connection((host, int(port))))
        honest.settimeout(DEADLINE_SECONDS)

        before = resident_bytes(server.program.pid)
        strangers = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            for _ in range(IDLE_CONNECTIONS)
        ]
        honest.sendall(b"in the crowd")
        assert honest.recv(100) == b"in the crowd"
        grown = resident_bytes(server.program.pid) - before
        assert grown < IDLE_CONNECTIONS * BYTES_PER_IDLE_CONNECTION

        deadline = time.monotonic() + FIRST_BYTES_SECONDS + DEADLINE_SECONDS
        for stranger in strangers:
            stranger.settimeout(max(0.1, deadline - time.monotonic()))
            assert is_sent_away(stranger)
        honest.sendall(b"alone again")
        assert honest.recv(100) == b"alone again"
