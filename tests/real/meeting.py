"""How the two implementations meet in tests: programs, threads, sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from tests.independent import code
from tests.independent.link import LinkEnded, PeerError
from tests.independent.pair import Goodbye, Pair
from tests.independent.peer import ClientPeer, MasterPeer
from tests.real.program import Program

__all__ = [
    "SECRET",
    "WAIT_SECONDS",
    "Background",
    "admit",
    "echo",
    "ends",
    "enter",
    "exchange",
    "exchange_over",
    "give_back",
    "port_of",
    "receive_to_the_end",
    "receive_until_it_breaks",
    "serve_echo",
    "serve_streams",
]

WAIT_SECONDS = 30.0
SECRET = "604219"  # the PIN of an independent master


class Background:
    """Runs a function in a thread; :meth:`result` waits for it and raises what it raised."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        self._thread.join(WAIT_SECONDS)
        assert not self._thread.is_alive(), "it still runs"
        if self._error is not None:
            raise self._error
        return self._result


def give_back(connection: socket.socket) -> None:
    with connection, suppress(ConnectionError):
        while data := connection.recv(65_536):
            connection.sendall(data)


def serve_echo(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        Background(partial(give_back, connection))


def enter(client: ClientPeer, shared: dict[str, Any], form: str = "code") -> Pair:
    """Join with what `porttunnel share` showed, and wait for WELCOME."""
    given = code.parse(shared[form])
    assert given.prs is not None
    pair = client.join(given.number).run("link" if form == "link" else "pin", given.prs)
    client.enter(pair)
    return pair


def admit(master: MasterPeer, mode: str = "pin", prs: str = SECRET) -> Pair:
    """Let a client in, and say WELCOME."""
    pair = master.admit(mode, prs)
    master.greet(pair)
    master.welcome(pair, {"echo": "tcp"})
    return pair


def serve_streams(pair: Pair, serve: Callable[[Any], None]) -> str:
    """Serve one stream after the other until BYE; its reason."""
    while True:
        try:
            serve(pair.next_stream())
        except Goodbye as goodbye:
            return str(goodbye)


def echo(stream: Any) -> None:
    assert stream.service == "echo"
    stream.accept()
    while data := stream.read_some():
        stream.send(data)
    stream.end()


def port_of(client: Program) -> tuple[str, int]:
    host, _, port = client.event("listening", service="echo")["address"].partition(":")
    return host, int(port)


def exchange(address: tuple[str, int], sent: bytes) -> bytes:
    """Send all, half-close, read to the end."""
    with socket.create_connection(address, WAIT_SECONDS) as connection:

        def send() -> None:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)

        sending = Background(send)
        with connection.makefile("rb") as answers:
            received = answers.read()
        sending.result()
    return received


def exchange_over(pair: Pair) -> bytes:
    stream = pair.open("echo")
    stream.send(b"hello")
    stream.end()
    return stream.read()


def ends(pair: Pair) -> bool:
    """Whether the other side breaks off, in whatever words."""
    try:
        while all(message["type"] != "bye" for message in pair.control):
            pair.receive_packet()
    except (LinkEnded, PeerError):
        return True
    return True


def receive_to_the_end(connection: socket.socket) -> bytes:
    return receive_until_it_breaks(connection)[0]


def receive_until_it_breaks(connection: socket.socket) -> tuple[bytes, bool]:
    """What came, and whether it ended cleanly."""
    received = bytearray()
    try:
        while data := connection.recv(65_536):
            received += data
    except ConnectionError:
        return bytes(received), False
    return bytes(received), True
