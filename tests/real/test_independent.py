"""This implementation and the independent one, at a real tunnel server, in all combinations.

tests/independent was written from docs/session-protocol alone: what works here works by what
the page says.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.independent import code
from tests.independent.handshake import Client, HandshakeFailed, Identity, Secrets
from tests.independent.link import LinkEnded, PeerError
from tests.independent.packet import Header, encode_packet, encode_record
from tests.independent.pair import Pair, StreamRefused
from tests.independent.peer import ClientPeer, MasterPeer, Refused
from tests.real.meeting import (
    SECRET,
    WAIT_SECONDS,
    Background,
    admit,
    echo,
    ends,
    enter,
    exchange,
    exchange_over,
    port_of,
    receive_to_the_end,
    receive_until_it_breaks,
    serve_echo,
    serve_streams,
)
from tests.real.program import Start, TunnelServer
from tests.real.server_port import port_to_come_back_to

pytestmark = pytest.mark.real

TOLD_SECONDS = 5.0  # until a test that expects to fail has waited enough
SIZE_BYTES = 10 << 20
CODES = {
    1: "unknown-service",
    2: "not-allowed",
    3: "connection-refused",
    4: "unreachable",
    5: "timed-out",
    6: "too-many-streams",
    7: "aborted",
    8: "internal",
}


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A program's port that gives back what it gets, until it is half-closed."""
    listener = socket.create_server(("127.0.0.1", 0))
    serving = Background(lambda: serve_echo(listener))
    yield int(listener.getsockname()[1])
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    serving.result()


@pytest.fixture
def closed_port() -> int:
    """A port at which nothing listens, nor will."""
    return port_to_come_back_to()


@pytest.fixture
def address(tunnel_server: TunnelServer) -> tuple[str, int]:
    return "127.0.0.1", tunnel_server.port


@pytest.fixture
def client(address: tuple[str, int]) -> Iterator[ClientPeer]:
    with ClientPeer(address) as peer:
        yield peer


@pytest.fixture
def master(address: tuple[str, int]) -> Iterator[MasterPeer]:
    with MasterPeer(address) as peer:
        yield peer.create()


class TestAnIndependentClient:
    @pytest.mark.parametrize("form", ["code", "link"])
    def test_sends_and_receives(
        self, share: Start, client: ClientPeer, echo_port: int, form: str
    ) -> None:
        master = share(f"echo=tcp:127.0.0.1:{echo_port}", "--json", "--yes", "--name", "Anna")
        pair = enter(client, master.event("session"), form)
        assert master.event("joined")["name"] == "independent"
        stream = pair.open("echo")
        sent = secrets.token_bytes(SIZE_BYTES)
        stream.send(sent)
        stream.end()
        assert stream.read() == sent
        pair.send_control("bye", reason="enough")
        left = master.event("left")
        assert (left["cut_off"], left["reason"]) == (False, "enough")

    def test_is_told_what_is_shared(
        self, share: Start, client: ClientPeer, echo_port: int
    ) -> None:
        master = share(f"echo=tcp:127.0.0.1:{echo_port}", "--json", "--yes", "--name", "Anna")
        given = code.parse(master.event("session")["code"])
        assert given.prs is not None
        welcome = client.enter(client.join(given.number).run("pin", given.prs), "Ben")
        kinds = {"type", "name", "members", "services", "epoch", "group_key", "signing_key"}
        assert set(welcome) == kinds
        assert welcome["name"] == "Anna"
        assert welcome["epoch"] >= 1
        assert [len(welcome[key]) for key in ("group_key", "signing_key")] == [32, 32]
        (service,) = welcome["services"]
        assert (set(service), service["type"]) == ({"type", "name", "kind"}, "service")
        assert service["name"] == "echo"
        assert {"type": "member", "member": client.member, "name": "Ben"} in welcome["members"]

    def test_can_compare_digits(self, share: Start, client: ClientPeer, echo_port: int) -> None:
        master = share(f"echo=tcp:127.0.0.1:{echo_port}", "--json", "--yes", "--sas")
        pair = client.join(master.event("session")["number"]).run("sas")
        shown, expected = pair.sas
        assert pair.take_control("hello")["name"] == ""
        asked = master.event("sas")
        assert asked["digits"] is None
        master.send({"sas": shown, "member": asked["member"]})
        assert master.event("sas")["digits"] == expected
        pair.send_control("join-as", name="Ben", capabilities=[])
        pair.take_control("welcome")
        assert exchange_over(pair) == b"hello"

    def test_that_does_not_wait_for_its_digits_is_put_out(
        self, share: Start, client: ClientPeer, echo_port: int
    ) -> None:
        master = share(f"echo=tcp:127.0.0.1:{echo_port}", "--json", "--yes", "--sas")
        pair = client.join(master.event("session")["number"]).run("sas")
        pair.send_control("join-as", name="Ben", capabilities=[])
        pair.take_control("hello")
        assert ends(pair)

    def test_with_a_wrong_pin_is_told_so_and_may_try_again(
        self, share: Start, client: ClientPeer, echo_port: int
    ) -> None:
        master = share(f"echo=tcp:127.0.0.1:{echo_port}", "--json", "--yes")
        given = code.parse(master.event("session")["code"])
        assert given.prs is not None
        wrong = f"{(int(given.prs) + 1) % 10**6:06}"
        client.join(given.number)
        with pytest.raises(PeerError) as raised:
            client.run("pin", wrong)
        assert raised.value.code == "handshake-failed"
        assert master.event("error")["code"] == "join-failed"

    def test_is_refused_by_the_user(
        self, share: Start, client: ClientPeer, echo_port: int
    ) -> None:
        master = share(f"echo=tcp:127.0.0.1:{echo_port}", "--json")
        given = code.parse(master.event("session")["code"])
        assert given.prs is not None
        pair = client.join(given.number).run("pin", given.prs)
        master.end_input()
        with pytest.raises(Refused):
            client.enter(pair)

    def test_learns_why_a_stream_was_refused(
        self, share: Start, client: ClientPeer, closed_port: int
    ) -> None:
        master = share(f"echo=tcp:127.0.0.1:{closed_port}", "--json", "--yes")
        pair = enter(client, master.event("session"))
        with pytest.raises(StreamRefused) as raised:
            pair.open("echo")
        assert CODES[raised.value.code] == "connection-refused"
        with pytest.raises(StreamRefused) as raised:
            pair.open("nothing")
        assert CODES[raised.value.code] == "unknown-service"

    def test_gets_no_more_than_the_credit_that_it_gave(
        self, share: Start, client: ClientPeer, echo_port: int
    ) -> None:
        master = share(f"echo=tcp:127.0.0.1:{echo_port}", "--json", "--yes")
        pair = enter(client, master.event("session"))
        # A byte more would fail the test: the pair refuses what is beyond the credit.
        pair.window_bytes = 1000
        slow = pair.open("echo")
        slow.gives_credit = False
        slow.send(bytes(5_000))
        slow.wait(lambda: len(slow.received) == 1000)
        # Another stream is not held up.
        pair.window_bytes = 100_000
        assert exchange_over(pair) == b"hello"
        slow.gives_credit = True
        slow.give_credit(4_000)
        slow.end()
        assert slow.read() == bytes(5_000)

    def test_may_change_its_keys_at_any_packet(
        self, share: Start, client: ClientPeer, echo_port: int
    ) -> None:
        master = share(f"echo=tcp:127.0.0.1:{echo_port}", "--json", "--yes")
        pair = enter(client, master.event("session"))
        stream = pair.open("echo")
        for part in (b"one", b"two", b"three"):
            pair.next_generation()
            stream.send(part)
            assert stream.read(len(part)) == part

    def test_that_goes_without_a_word_may_come_back(
        self, share: Start, client: ClientPeer, echo_port: int
    ) -> None:
        master = share(f"echo=tcp:127.0.0.1:{echo_port}", "--json", "--yes")
        enter(client, master.event("session"))
        member = master.event("joined")["member"]
        client.close()
        assert master.event("member-away", TOLD_SECONDS)["member"] == member

    def test_hears_goodbye_when_the_session_ends(
        self, share: Start, client: ClientPeer, echo_port: int
    ) -> None:
        master = share(f"echo=tcp:127.0.0.1:{echo_port}", "--json", "--yes")
        pair = enter(client, master.event("session"))
        master.send({"close": True})
        assert pair.take_control("bye")["reason"]
        assert master.wait() == 0


def _twice(pair: Pair) -> None:
    pair.send_control("join-as", name="x", capabilities=[])


def _beyond_the_credit(pair: Pair) -> None:
    pair.window_bytes = 1
    stream = pair.open("echo")
    stream.gives_credit = False
    # It takes back one byte, so the echo stops sooner or later, and with it the credit.
    while not pair.control:
        if stream.credit:
            stream.send(bytes(min(stream.credit, 65_000)))
        elif pair.link.has_more():
            pair.receive_packet()
        else:
            pair.send_record("DATA", stream.id, bytes(65_000))


MISDEEDS: dict[str, Callable[[Pair], None]] = {
    "JOIN_AS twice": _twice,
    "a message of the master": lambda pair: pair.send_control("refused", reason="no"),
    "an unknown message": lambda pair: pair.send_control("nothing"),
    "an even stream": lambda pair: pair.send_record("OPEN", 2, b"\0\0\0\1echo"),
    "a stream out of turn": lambda pair: pair.send_record("OPEN", 5, b"\0\0\0\1echo"),
    "a window of 4 MiB and a byte": lambda pair: pair.send_record(
        "OPEN", 1, b"\x00\x40\x00\x01echo"
    ),
    "a stream that never was": lambda pair: pair.send_record("DATA", 7, b"x"),
    "a record that ends too early": lambda pair: pair.send_plaintext(
        encode_record("OPEN", 1, b"\0\0\0\1echo")[:-1]
    ),
    "DATA beyond the credit": _beyond_the_credit,
}


class TestWhatIsFatal:
    @pytest.mark.parametrize("misdeed", MISDEEDS.values(), ids=MISDEEDS.keys())
    def test_ends_the_pair_and_not_the_session(
        self,
        share: Start,
        address: tuple[str, int],
        client: ClientPeer,
        echo_port: int,
        misdeed: Callable[[Pair], None],
    ) -> None:
        master = share(f"echo=tcp:127.0.0.1:{echo_port}", "--json", "--yes")
        pair = enter(client, master.event("session"))
        following = master.event("session")
        try:
            misdeed(pair)
        except (LinkEnded, PeerError):
            assert misdeed is _beyond_the_credit  # the link may end while it is still sending
        assert ends(pair)
        assert master.event("left")["member"] == client.member
        with ClientPeer(address) as another:
            assert exchange_over(enter(another, following)) == b"hello"


class TestHandshakePackets:
    @pytest.mark.parametrize(
        "fields", [(1, 0, 0), (0, 1, 0), (0, 0, 1)], ids=["number", "ack", "epoch"]
    )
    def test_with_a_field_that_is_not_0_are_not_answered(
        self, share: Start, client: ClientPeer, echo_port: int, fields: tuple[int, int, int]
    ) -> None:
        master = share(f"echo=tcp:127.0.0.1:{echo_port}", "--json", "--yes")
        given = code.parse(master.event("session")["code"])
        assert given.prs is not None
        client.join(given.number)
        identity = Identity("pin", given.number, client.session_id, 2, given.prs.encode())
        c1 = Client(identity, Secrets.draw()).c1
        header = Header("C1", client.member, 1, *fields)
        client.send_bytes(encode_packet(header, c1))
        with pytest.raises((LinkEnded, PeerError)):
            client.receive()


class TestAnIndependentMaster:
    @pytest.mark.parametrize("mode", ["pin", "link"])
    def test_serves(self, join: Start, master: MasterPeer, mode: str) -> None:
        link = code.link_text(secrets.token_bytes(16))
        prs = link if mode == "link" else SECRET
        serving = Background(lambda: serve_streams(admit(master, mode, prs), echo))
        pin_code = code.format_pin_code(master.number, SECRET)
        shown = pin_code if mode == "pin" else f"porttunnel:{master.number}#{link}"
        client = join("--json", "--name", "Ben", code=shown)
        joined = client.event("joined")
        assert (joined["name"], joined["verified"]) == ("independent", True)
        sent = secrets.token_bytes(SIZE_BYTES)
        assert exchange(port_of(client), sent) == sent
        client.terminate()
        assert client.wait() == 0
        # BYE came, with whatever reason.
        assert isinstance(serving.result(), str)
        assert client.errors == ""

    def test_can_compare_digits(self, join: Start, master: MasterPeer) -> None:
        def admit_by_digits() -> Pair:
            pair = master.admit("sas")
            master.greet(pair, "")
            return pair

        admitted = Background(admit_by_digits)
        client = join("--json", str(master.number))
        shown = client.event("sas")["digits"]
        pair: Pair = admitted.result()
        assert shown == pair.sas[0]
        client.send({"sas": f"{(int(pair.sas[1]) + 1) % 10**6:06}"})
        assert client.event("error")["tries_left"] == 2
        client.send({"sas": pair.sas[1]})
        assert master.welcome(pair, {"echo": "tcp"})
        serving = Background(lambda: serve_streams(pair, echo))
        assert exchange(port_of(client), b"hello") == b"hello"
        client.send({"close": True})
        assert client.wait() == 0
        serving.result()

    def test_with_another_pin_is_not_believed(self, join: Start, master: MasterPeer) -> None:
        failing = Background(lambda: master.admit("pin", "111111"))
        client = join("--json", code=code.format_pin_code(master.number, SECRET))
        error = client.event("error")
        assert (error["code"], error["tries_left"]) == ("authentication-failed", 2)
        with pytest.raises(HandshakeFailed):
            failing.result()
        serving = Background(lambda: serve_streams(admit(master), echo))
        client.send(code.format_pin_code(master.number, SECRET))
        assert exchange(port_of(client), b"hello") == b"hello"
        client.send({"close": True})
        assert client.wait() == 0
        serving.result()

    def test_refuses_the_client(self, join: Start, master: MasterPeer) -> None:
        def refuse() -> None:
            pair = master.admit("pin", SECRET)
            master.greet(pair)
            pair.take_control("join-as")
            pair.send_control("refused", reason="not today")

        refusing = Background(refuse)
        client = join("--json", code=code.format_pin_code(master.number, SECRET))
        assert client.event("error")["code"] == "consent-refused"
        assert client.wait() == 3
        refusing.result()

    def test_refuses_streams_with_every_code(self, join: Start, master: MasterPeer) -> None:
        codes = iter(CODES)

        def refuse(stream: Any) -> None:
            stream.refuse(next(codes), "because")

        serving = Background(lambda: serve_streams(admit(master), refuse))
        client = join("--json", code=code.format_pin_code(master.number, SECRET))
        port = port_of(client)
        for name in CODES.values():
            with socket.create_connection(port, WAIT_SECONDS) as connection:
                assert receive_to_the_end(connection) == b""
            error = client.event("error")
            assert (error["code"], error["service"]) == (name, "echo")
        client.send({"close": True})
        assert client.wait() == 0
        serving.result()

    def test_resets_a_stream_in_the_middle(self, join: Start, master: MasterPeer) -> None:
        def reset(stream: Any) -> None:
            stream.accept()
            stream.send(b"the beginning")
            stream.read(4)
            stream.reset(7)

        serving = Background(lambda: serve_streams(admit(master), reset))
        client = join("--json", code=code.format_pin_code(master.number, SECRET))
        with socket.create_connection(port_of(client), WAIT_SECONDS) as connection:
            connection.sendall(b"more")
            received, clean = receive_until_it_breaks(connection)
        # What was broken off never looks like an end.
        assert (received, clean) == (b"the beginning", False)
        client.send({"close": True})
        assert client.wait() == 0
        serving.result()

    def test_that_says_goodbye_has_finished(self, join: Start, master: MasterPeer) -> None:
        admitted = Background(lambda: admit(master))
        client = join("--json", code=code.format_pin_code(master.number, SECRET))
        client.event("listening")
        admitted.result().send_control("bye", reason="that was all")
        assert "that was all" in client.event("done")["reason"]
        assert client.wait() == 0

    def test_that_goes_without_a_word_may_come_back(self, join: Start, master: MasterPeer) -> None:
        admitted = Background(lambda: admit(master))
        client = join("--json", code=code.format_pin_code(master.number, SECRET))
        client.event("listening")
        admitted.result()
        master.close()
        assert client.event("member-away", TOLD_SECONDS)["member"] == 1
