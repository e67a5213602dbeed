"""Real members at a real tunnel server, and a proxy in between that changes one packet.

Whatever it does: what arrives is a beginning of what was sent, and what ends it is named.
"""

from __future__ import annotations

import json
import random
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest

from tests.independent.lying_proxy import TO_MEMBER, TO_SERVER, Fault, LyingProxy
from tests.real.program import PORTTUNNEL, Program, Start, TunnelServer

pytestmark = pytest.mark.real

WAIT_SECONDS = 30.0
# How long a transfer is watched that will stall: nothing more may come.
STALL_SECONDS = 2.0
# Longer than a gap or a handshake that nobody finishes may last: 60 s.
LONG_SECONDS = 90.0
# The type, the flags and the number of a packet: changed there it may pass for one that came
# before or that can't be opened yet (DATA for an old ACK or for a broadcast, 3 for 2). Such a one
# is dropped, and counts as lost.
LATE_AT = {3, 7, *range(16, 24)}
UPLOAD, DOWNLOAD = secrets.token_bytes(1 << 20), secrets.token_bytes(1 << 20)

# What members may say of a server that lies: never a traceback, never "done" in its place.
NAMES_OF_ERRORS = {
    "authentication-failed",
    "cut-off",
    "malformed",
    "unexpected",
    "handshake-failed",
    "limit",
    "aborted",
    "not-allowed",
    "join-failed",
    "session-ended",
    "no-such-number",
    "usage",  # consent was given to a client that had gone
}


class Service:
    """A program that sends DOWNLOAD to whoever comes, and keeps what it gets."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.received = bytearray()
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def close(self) -> None:
        """Returns when all connections are over."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self._threads:
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                thread = threading.Thread(target=self._exchange, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _exchange(self, connection: socket.socket) -> None:
        receiving = threading.Thread(target=self._receive, args=(connection,), daemon=True)
        receiving.start()
        with connection, suppress(OSError):
            connection.sendall(DOWNLOAD[:-1])
            receiving.join()
            # Last: who has it all knows that all of its own has come.
            connection.sendall(DOWNLOAD[-1:])

    def _receive(self, connection: socket.socket) -> None:
        with suppress(OSError):
            while data := connection.recv(65_536):
                self.received += data


class Transfer(NamedTuple):
    """What came of one run.

    :param up: what the service got.
    :param down: what the client's user got.
    :param errors: names that the client's program gave.
    """

    up: bytes
    down: bytes
    errors: list[str]


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    with suppress(OSError):
        service.close()


def transfer(address: str, seconds: float) -> bytes:
    """Send UPLOAD and receive, both at once, until it ends, breaks or stalls."""
    host, _, port = address.partition(":")
    received = bytearray()
    try:
        connection = socket.create_connection((host, int(port)), WAIT_SECONDS)
    except ConnectionRefusedError:
        return b""  # the fault was faster: the client is out, and its port closed
    with connection:

        def send() -> None:
            with suppress(OSError):
                connection.sendall(UPLOAD)
                connection.shutdown(socket.SHUT_WR)

        sending = threading.Thread(target=send, daemon=True)
        sending.start()
        connection.settimeout(seconds)
        with suppress(OSError):
            while data := connection.recv(65_536):
                received += data
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        sending.join(WAIT_SECONDS)
        assert not sending.is_alive()
    return bytes(received)


def events_of(program: Program) -> list[dict[str, Any]]:
    found = []
    while (line := program.next_line()) is not None:
        found.append(json.loads(line))
    return found


def run(
    start: Start,
    server: TunnelServer,
    service: Service,
    fault: Fault,
    *,
    liar_at: str = "client",
    seconds: float = STALL_SECONDS,
) -> Transfer:
    """One session with a fault at the link of the client or of the master.

    :param seconds: how long a silence is waited for.
    """
    with LyingProxy(server.port, fault) as proxy:
        addresses = {"client": server.address, "master": server.address, liar_at: proxy.address}
        master = start(
            *(*PORTTUNNEL, "share", f"data=tcp:127.0.0.1:{service.port}", "--json", "--no-direct"),
            *("--server", addresses["master"], *(() if fault.kind == "ACK" else ("--yes",))),
        )
        session = master.event("session")
        client = start(
            *(*PORTTUNNEL, "join", "--json", "--no-direct", "--code", "-"),
            *("--server", addresses["client"]),
        )
        client.send(session["code"])
        if fault.kind == "ACK":
            asked = master.event("consent")
            if fault.direction == TO_MEMBER:
                # While the user thinks, JOIN_AS can be acknowledged by nothing but an ACK.
                assert proxy.happened.wait(WAIT_SECONDS)
            master.send({"accept": asked["member"]})
        down = b""
        seen = []
        while (line := client.next_line(LONG_SECONDS)) is not None:
            seen.append(json.loads(line))
            if seen[-1]["event"] == "listening":
                if (fault.kind, fault.direction) == ("ACK", TO_SERVER):
                    # Nor can WELCOME, before the client has something to send.
                    assert proxy.happened.wait(WAIT_SECONDS)
                down = transfer(seen[-1]["address"], seconds)
                client.terminate()
            if "tries_left" in seen[-1]:
                client.end_input()
        client.wait()
        master.terminate()
        master.wait()
        assert proxy.happened.is_set()
    service.close()
    errors = [event["code"] for event in seen if event["event"] == "error"]
    masters = [event["code"] for event in events_of(master) if event["event"] == "error"]
    assert {*errors, *masters} <= NAMES_OF_ERRORS
    assert (client.errors, master.errors) == ("", "")
    found = Transfer(bytes(service.received), down, errors)
    # Not one byte that was not sent, none in another place.
    assert UPLOAD.startswith(found.up)
    assert DOWNLOAD.startswith(found.down)
    return found


def sample(*names: str, kind: str = "DATA", first: int = 3, seed: int = 4663) -> list[Any]:
    """Faults of some names in both directions, at packets and bytes drawn once and for all."""
    draw = random.Random(seed)
    found = []
    for name in names:
        for direction in (TO_SERVER, TO_MEMBER):
            at = draw.randrange(36 + 16)
            fault = Fault(direction, kind, draw.randrange(first, first + 6), name, at)
            title = f"{name} {kind} {fault.place} {direction}"
            found.append(
                pytest.param(fault, id=f"{title}, byte {at}" if name == "flip" else title)
            )
    return found


class TestData:
    @pytest.mark.parametrize("fault", sample("flip", seed=1) + sample("flip", seed=2))
    def test_that_was_changed_is_not_taken(
        self, start: Start, tunnel_server: TunnelServer, service: Service, fault: Fault
    ) -> None:
        late = fault.at in LATE_AT
        seconds = WAIT_SECONDS if late else STALL_SECONDS
        found = run(start, tunnel_server, service, fault, seconds=seconds)
        arrived = (found.up, found.down) == (UPLOAD, DOWNLOAD)
        if late:
            # Either it was dropped and sent again, or the run has ended by an error with a name.
            assert arrived == (found.errors == [])
        else:
            assert not arrived

    @pytest.mark.parametrize("fault", sample("shorten"))
    def test_that_is_cut_short_ends_the_run(
        self, start: Start, tunnel_server: TunnelServer, service: Service, fault: Fault
    ) -> None:
        found = run(start, tunnel_server, service, fault)
        assert (found.up, found.down) != (UPLOAD, DOWNLOAD)

    @pytest.mark.parametrize("fault", sample("drop", "reorder"))
    def test_that_is_missing_is_sent_again(
        self, start: Start, tunnel_server: TunnelServer, service: Service, fault: Fault
    ) -> None:
        found = run(start, tunnel_server, service, fault, seconds=WAIT_SECONDS)
        assert (found.up, found.down) == (UPLOAD, DOWNLOAD)
        assert found.errors == []

    @pytest.mark.parametrize("fault", sample("replay", "replay later"))
    def test_that_comes_twice_counts_once(
        self, start: Start, tunnel_server: TunnelServer, service: Service, fault: Fault
    ) -> None:
        found = run(start, tunnel_server, service, fault, seconds=WAIT_SECONDS)
        assert (found.up, found.down) == (UPLOAD, DOWNLOAD)
        assert found.errors == []

    @pytest.mark.parametrize("fault", sample("reflect", "again with the next number"))
    def test_that_nobody_sent_is_not_taken(
        self, start: Start, tunnel_server: TunnelServer, service: Service, fault: Fault
    ) -> None:
        run(start, tunnel_server, service, fault)

    @pytest.mark.parametrize("fault", sample("flip", "reflect", seed=3))
    def test_at_the_link_of_the_master(
        self, start: Start, tunnel_server: TunnelServer, service: Service, fault: Fault
    ) -> None:
        run(start, tunnel_server, service, fault, liar_at="master")


class TestAcknowledgements:
    @pytest.mark.parametrize("name", ["drop", "replay", "replay later", "reorder"])
    @pytest.mark.parametrize("direction", [TO_SERVER, TO_MEMBER])
    def test_may_be_lost_or_late(
        self,
        start: Start,
        tunnel_server: TunnelServer,
        service: Service,
        direction: str,
        name: str,
    ) -> None:
        fault = Fault(direction, "ACK", 0, name)
        found = run(start, tunnel_server, service, fault, seconds=WAIT_SECONDS)
        assert (found.up, found.down) == (UPLOAD, DOWNLOAD)
        assert found.errors == []

    @pytest.mark.parametrize("name", ["flip", "reflect", "again with the next number"])
    @pytest.mark.parametrize("direction", [TO_SERVER, TO_MEMBER])
    def test_that_were_changed_change_nothing(
        self,
        start: Start,
        tunnel_server: TunnelServer,
        service: Service,
        direction: str,
        name: str,
    ) -> None:
        run(start, tunnel_server, service, Fault(direction, "ACK", 0, name, at=31))


class TestHandshake:
    @pytest.mark.parametrize(
        "name",
        ["flip", pytest.param("drop", marks=pytest.mark.long), "reflect", "replay"],
    )
    @pytest.mark.parametrize("kind", ["C1", "M2", "C3", "M4"])
    def test_that_was_changed_lets_nobody_in(
        self, start: Start, tunnel_server: TunnelServer, service: Service, kind: str, name: str
    ) -> None:
        direction = TO_SERVER if kind in ("C1", "C3") else TO_MEMBER
        fault = Fault(direction, kind, 0, name, at=-1)
        found = run(start, tunnel_server, service, fault)
        if name == "flip":
            assert (found.up, found.down) == (b"", b"")
            assert found.errors == ["authentication-failed"] * len(found.errors) != []
