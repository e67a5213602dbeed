"""Who shares sees its members, locks the session, and really puts somebody out."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.real.fault_proxy import FaultProxy
from tests.real.meeting import Background, exchange, port_of, serve_echo
from tests.real.program import PORTTUNNEL, Program, Start, start_server

pytestmark = pytest.mark.real


@pytest.fixture
def echo() -> Iterator[str]:
    """A target that gives back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = Background(lambda: serve_echo(listener))
        yield f"echo=tcp:127.0.0.1:{listener.getsockname()[1]}"
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        serving.result()


def enter(master: Program, join: Start, code: str, name: str) -> tuple[Program, int, str]:
    """The client, its number, and the code for the next one."""
    client = join("--json", "--name", name, code=code)
    code = master.event("session")["code"]
    return client, master.event("joined", name=name)["member"], code


def test_are_listed_with_path_and_bytes(share: Start, join: Start, echo: str) -> None:
    master = share(echo, "--json", "--yes")
    ben, number, _ = enter(master, join, master.event("session")["code"], "Ben")
    address = port_of(ben)
    assert exchange(address, b"x" * 100_000) == b"x" * 100_000
    master.send({"members": True})
    listed = master.event("members")
    assert listed["locked"] is False
    assert listed["members"] == [
        {
            "member": number,
            "name": "Ben",
            "path": "relay",
            "away": False,
            "sent_bytes": 100_000,
            "received_bytes": 100_000,
        }
    ]
    ben.send({"members": True})
    assert ben.event("error")["code"] == "usage"
    ben.send({"lock": True})
    assert ben.event("error")["code"] == "usage"
    ben.send({"close": True})
    assert ben.wait() == 0
    master.event("left")
    master.send({"members": True})
    assert master.event("members")["members"] == []


def test_stay_in_a_locked_session_that_nobody_else_enters(
    share: Start, join: Start, echo: str
) -> None:
    master = share(echo, "--json", "--yes")
    ben, _, code = enter(master, join, master.event("session")["code"], "Ben")
    address = port_of(ben)
    master.send({"lock": True})
    assert master.event("locked")["locked"] is True
    late = join("--json", code=code)
    assert late.event("error")["code"] == "no-such-number"
    assert late.wait() == 1
    assert exchange(address, b"still there") == b"still there"
    master.send({"lock": False})
    assert master.event("locked")["locked"] is False
    enter(master, join, code, "Eve")


def test_that_are_put_out_have_no_stream_any_more(share: Start, join: Start, echo: str) -> None:
    master = share(echo, "--json", "--yes")
    ben, number, code = enter(master, join, master.event("session")["code"], "Ben")
    eve, _, _ = enter(master, join, code, "Eve")
    with socket.create_connection(port_of(ben), 30) as connection:
        connection.sendall(b"hello")
        assert connection.recv(5, socket.MSG_WAITALL) == b"hello"
        master.send({"kick": number})
        assert ben.event("error")["code"] == "consent-refused"
        assert ben.wait() == 3
        with suppress(ConnectionError):
            assert connection.recv(1) == b""
    assert master.event("left", member=number)["cut_off"] is False
    assert exchange(port_of(eve), b"others stay") == b"others stay"


def test_that_lose_their_link_are_away_until_they_are_back(
    share: Start, join: Start, start: Start, echo: str
) -> None:
    server = start_server(start)
    with FaultProxy(server.port, seed=3) as link:
        master = start(
            *(*PORTTUNNEL, "share", echo, "--json", "--yes", "--no-direct"),
            *("--server", server.address),
        )
        client = start(
            *(*PORTTUNNEL, "join", "--json", "--no-direct", "--code", "-"),
            *("--server", link.address),
        )
        client.send(master.event("session")["code"])
        number = master.event("joined")["member"]
        client.event("listening")
        link.refuse()
        link.cut()
        assert client.event("link")["up"] is False
        assert master.event("member-away")["member"] == number
        master.send({"members": True})
        (state,) = master.event("members")["members"]
        assert state["away"] is True
        link.accept()
        assert client.event("link")["up"] is True
        assert master.event("member-back")["member"] == number
        master.send({"members": True})
        (state,) = master.event("members")["members"]
        assert state["away"] is False
        # Its goodbye would be waited for without the link.
        client.send({"close": True})
        assert client.wait() == 0
