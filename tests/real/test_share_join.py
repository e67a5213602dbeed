"""`porttunnel share` and `join` as programs, at a real tunnel server."""

from __future__ import annotations

import hashlib
import secrets
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from porttunnel.session.code import SessionCode, format_code, parse_code
from tests.real.program import PORTTUNNEL, Program, Start, TunnelServer, start_server
from tests.real.server_port import port_to_come_back_to

pytestmark = pytest.mark.real

FETCH_SECONDS = 20.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a page that nobody can have guessed."""
    found = tmp_path / "pages"
    found.mkdir()
    (found / "index.html").write_bytes(secrets.token_bytes(200_000))
    return found


@pytest.fixture
def closed_port() -> int:
    """A port at which nothing listens, nor will."""
    return port_to_come_back_to()


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=FETCH_SECONDS) as answer:
        content: bytes = answer.read()
    return content


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def assert_silent(*programs: Program) -> None:
    """Nothing went to standard error: no traceback, no warning."""
    assert [program.errors for program in programs] == ["" for _ in programs]


@contextmanager
def connect_by_socks(host: str, port: int, target: int) -> Iterator[tuple[int, socket.socket]]:
    """A connection through a SOCKS5 proxy to a port of 127.0.0.1, and the proxy's reply."""
    with socket.create_connection((host, port), FETCH_SECONDS) as connection:
        connection.sendall(b"\x05\x01\x00")
        assert connection.recv(2, socket.MSG_WAITALL) == b"\x05\x00"
        connection.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + target.to_bytes(2, "big"))
        reply = connection.recv(10, socket.MSG_WAITALL)
        yield reply[1], connection


def wrong_code(code: str) -> str:
    """Another PIN for the same number, with its right check digit."""
    right = parse_code(code)
    assert right.pin is not None
    return format_code(SessionCode(right.number, pin=f"{(int(right.pin) + 1) % 10**6:06}"))


class TestAFolder:
    def test_is_shared_to_who_has_the_code_and_was_allowed(
        self, share: Start, join: Start, folder: Path
    ) -> None:
        master = share(f"web=dir:{folder}", "--json", "--name", "Anna")
        session = master.event("session")
        client = join("--json", "--name", "Ben@laptop", code=session["code"])
        asked = master.event("consent")
        assert (asked["name"], asked["verified"]) == ("Ben@laptop", True)
        master.send({"accept": asked["member"]})
        assert master.event("joined")["name"] == "Ben@laptop"
        assert master.event("path")["path"] == "relay"
        assert client.event("joined")["name"] == "Anna"
        listening = client.event("listening", service="web")
        assert sha256(fetch(listening["url"])) == sha256((folder / "index.html").read_bytes())
        client.terminate()
        assert client.wait() == 0
        left = master.event("left")
        assert (left["name"], left["cut_off"]) == ("Ben@laptop", False)
        master.interrupt()
        assert master.wait() == 0
        assert [event["event"] for event in master.events()] == ["done"]
        assert [event["event"] for event in client.events()] == ["done"]
        assert_silent(master, client)

    def test_has_a_new_code_for_each_client(self, share: Start, join: Start, folder: Path) -> None:
        master = share(f"dir:{folder}", "--json", "--yes")
        first = master.event("session")
        client = join("--json", code=first["link"])
        client.event("joined")
        second = master.event("session")
        assert second["number"] == first["number"]
        assert second["code"] != first["code"]
        late = join("--json", code=first["code"])
        assert late.event("error")["code"] == "authentication-failed"
        late.end_input()
        assert late.wait() == 1
        again = join("--json", code=second["code"])
        assert again.event("joined")["member"] > 2


class TestConsent:
    def test_refused_is_exit_code_3(self, share: Start, join: Start, folder: Path) -> None:
        master = share(f"dir:{folder}", "--json")
        client = join("--json", code=master.event("session")["code"])
        master.send({"refuse": master.event("consent")["member"]})
        assert client.event("error")["code"] == "consent-refused"
        assert client.wait() == 3
        assert_silent(client)

    def test_is_refused_to_who_waits_when_the_input_ends(
        self, share: Start, join: Start, folder: Path
    ) -> None:
        master = share(f"dir:{folder}", "--json")
        client = join("--json", code=master.event("session")["code"])
        next_code = master.event("session")["code"]
        master.event("consent")
        master.end_input()
        assert client.wait() == 3
        # Nobody can answer any more, so the next is refused at once; the session goes on.
        second = join("--json", code=next_code)
        assert second.wait() == 3
        master.terminate()
        assert master.wait() == 0

    def test_that_nobody_gives_before_the_session_ends_is_no_wrong_code(
        self, share: Start, join: Start, folder: Path
    ) -> None:
        master = share(f"dir:{folder}", "--json")
        client = join("--json", code=master.event("session")["code"])
        master.event("consent")
        master.interrupt()
        assert client.wait() == 1
        assert [event.get("code") for event in client.events()] == ["cut-off"]
        assert_silent(client)

    def test_is_asked_of_a_person_in_words(self, share: Start, join: Start, folder: Path) -> None:
        master = share(f"dir:{folder}")
        code = master.line("    │").strip(" │")
        client = join("--name", "Ben [ ☺ ]", code=code)
        master.send("y")
        prompt = master.line("Ben")
        assert prompt == "Ben [ ☺ ] wants to join (code verified). Allow? [y/N] "
        assert client.line("You are in.").startswith("You are in.")
        assert client.line("files: http://127.0.0.1:")
        client.interrupt()
        assert client.wait() == 0
        assert client.next_line() == "You have left the session."

    def test_of_a_person_is_no_by_default(self, share: Start, join: Start, folder: Path) -> None:
        master = share(f"dir:{folder}")
        client = join(code=master.line("    │").strip(" │"))
        master.send("")
        assert client.wait() == 3
        assert client.line("The other side refused")


class TestClosing:
    """`{"close": true}` on the side that joins, however far it has come."""

    def assert_left(self, client: Program) -> None:
        assert client.wait() == 0
        assert [event["event"] for event in client.events()] == ["done"]
        assert_silent(client)

    def test_before_the_code_leaves(self, join: Start) -> None:
        client = join("--json", "--code", "-")
        client.send({"close": True})
        self.assert_left(client)

    def test_right_behind_the_code_leaves(self, share: Start, join: Start, folder: Path) -> None:
        master = share(f"dir:{folder}", "--json")
        client = join("--json", code=master.event("session")["code"])
        client.send({"close": True})
        self.assert_left(client)

    def test_while_the_server_is_silent_leaves(self, start: Start) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            server = f"ptun://127.0.0.1:{silent.getsockname()[1]}"
            client = start(*PORTTUNNEL, "join", "48213", "--json", "--server", server)
            connection, _ = silent.accept()
            with connection:
                assert client.event("joining", number=48213)["mode"] == "sas"
                client.send({"close": True})
                self.assert_left(client)

    def test_during_consent_leaves_with_a_goodbye(
        self, share: Start, join: Start, folder: Path
    ) -> None:
        master = share(f"dir:{folder}", "--json")
        client = join("--json", code=master.event("session")["code"])
        master.event("consent")
        client.send({"close": True})
        self.assert_left(client)
        assert master.event("left")["cut_off"] is False

    def test_instead_of_the_code_once_more_leaves(
        self, share: Start, join: Start, folder: Path
    ) -> None:
        master = share(f"dir:{folder}", "--json")
        client = join("--json", code=wrong_code(master.event("session")["code"]))
        client.event("error", tries_left=2)
        client.send({"close": True})
        self.assert_left(client)


class TestOnce:
    def test_lets_one_in_and_ends_when_it_leaves(
        self, share: Start, join: Start, folder: Path
    ) -> None:
        master = share(f"dir:{folder}", "--json", "--yes", "--once")
        first = join("--json", code=master.event("session")["code"])
        first.event("listening")
        second = join("--json", code=master.event("session")["code"])
        assert second.wait() == 3
        first.send({"close": True})
        assert first.wait() == 0
        assert master.wait() == 0
        assert_silent(master, first, second)


class TestWrongCodes:
    def test_are_taken_three_times_each_typed_again(
        self, share: Start, join: Start, folder: Path
    ) -> None:
        master = share(f"dir:{folder}", "--json", "--yes")
        wrong = wrong_code(master.event("session")["code"])
        client = join("--json", code=wrong)
        assert client.event("error")["tries_left"] == 2
        client.send(wrong)
        assert client.event("error")["tries_left"] == 1
        client.send(wrong)
        assert client.event("error")["code"] == "code-used-up"
        assert client.wait() == 1
        assert master.event("error")["code"] == "join-failed"
        # Three wrong tries burn the invitation; the next one works.
        code = master.event("session")["code"]
        join("--json", code=code).event("joined")

    def test_can_be_typed_again_rightly(self, share: Start, join: Start, folder: Path) -> None:
        master = share(f"dir:{folder}", "--json", "--yes")
        code = master.event("session")["code"]
        client = join("--json", code=wrong_code(code))
        client.event("error")
        client.send(code)
        client.event("joined")

    def test_of_the_environment_are_not_tried_again(
        self, share: Start, start: Start, tunnel_server: TunnelServer, folder: Path
    ) -> None:
        master = share(f"dir:{folder}", "--json", "--yes")
        wrong = wrong_code(master.event("session")["code"])
        client = start(
            *PORTTUNNEL,
            *("join", "--json", "--server", tunnel_server.address),
            environment={"PORTTUNNEL_CODE": wrong},
        )
        assert client.wait() == 1
        assert [event["code"] for event in client.events()] == ["authentication-failed"]

    def test_that_are_mistyped_never_reach_the_server(self, start: Start) -> None:
        client = start(
            *PORTTUNNEL, "join", "--json", "--server", "ptun://127.0.0.1:1", "--code", "-"
        )
        client.send("4821 3604 2198")
        assert client.event("error")["code"] == "mistyped-code"
        assert client.wait() == 2

    def test_of_no_session_say_so(self, join: Start) -> None:
        client = join("--json", code=format_code(SessionCode(99_999_999, pin="123456")))
        assert client.event("error")["code"] == "no-such-number"
        assert client.wait() == 1


class TestDigits:
    def test_are_read_out_both_ways(self, share: Start, join: Start, folder: Path) -> None:
        master = share(f"dir:{folder}", "--json", "--sas", "--yes")
        session = master.event("session")
        assert (session["code"], session["link"]) == (str(session["number"]), None)
        client = join("--json", str(session["number"]))
        from_client = client.event("sas")
        asked = master.event("sas")
        assert asked["digits"] is None
        master.send({"sas": from_client["digits"], "member": asked["member"]})
        from_master = master.event("sas")
        client.send({"sas": from_master["digits"]})
        assert client.event("joined")["verified"] is True

    def test_that_are_wrong_three_times_end_the_run(
        self, share: Start, join: Start, folder: Path
    ) -> None:
        master = share(f"dir:{folder}", "--json", "--sas", "--yes")
        client = join("--json", str(master.event("session")["number"]))
        right = client.event("sas")["digits"]
        member = master.event("sas")["member"]
        wrong = f"{(int(right) + 1) % 10**6:06}"
        master.send({"sas": wrong, "member": member})
        assert master.event("error")["tries_left"] == 2
        master.send({"sas": wrong, "member": member})
        assert master.event("error")["tries_left"] == 1
        master.send({"sas": wrong, "member": member})
        assert master.event("error")["code"] == "join-failed"
        assert client.wait() == 1

    def test_are_typed_by_people(self, share: Start, join: Start, folder: Path) -> None:
        master = share(f"dir:{folder}", "--sas", "--yes")
        number = master.line("    │").strip(" │").replace(" ", "")
        client = join(number)
        digits = client.line("Read out to the person who shares: ").rpartition(": ")[2]
        master.send(digits)
        read_out = master.line("Right. Read out to the person: ").rpartition(": ")[2]
        client.send(read_out)
        assert client.line("You are in.")


class TestForwarding:
    def test_uses_the_port_that_is_wished(
        self, share: Start, join: Start, folder: Path, closed_port: int
    ) -> None:
        master = share(f"web=dir:{folder}", f"other=dir:{folder}", "--json", "--yes")
        code = master.event("session")["code"]
        client = join("--json", "--forward", f"{closed_port}=web", code=code)
        assert client.event("listening")["address"] == f"127.0.0.1:{closed_port}"
        assert len(fetch(f"http://127.0.0.1:{closed_port}/")) == 200_000

    def test_that_is_taken_costs_no_code(self, join: Start) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            # At a server that would know no such number, and would be asked first.
            client = join("--json", "--forward", f"{port}=web", code="4821 3604 2197")
            error = client.event("error")
            assert error["code"] == "configuration"
            assert error["text"].startswith(f"Port {port} of 127.0.0.1 can't be used")
            assert client.wait() == 2

    def test_says_what_is_shared_when_a_name_is_not(
        self, share: Start, join: Start, folder: Path
    ) -> None:
        master = share(f"web=dir:{folder}", "--json", "--yes")
        client = join("--json", "--forward", "0=db", code=master.event("session")["code"])
        assert "Shared: web." in client.event("error")["text"]
        assert client.wait() == 2
        assert master.event("left")["cut_off"] is False

    def test_reports_at_once_that_the_target_is_down(
        self, share: Start, join: Start, closed_port: int
    ) -> None:
        master = share(f"web=tcp:127.0.0.1:{closed_port}", "--json", "--yes")
        client = join("--json", code=master.event("session")["code"])
        url = client.event("listening")["url"]
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            fetch(url)
        refused = client.event("error")
        assert (refused["code"], refused["service"]) == ("connection-refused", "web")
        assert "Nothing listens" in refused["text"]
        client.send({"close": True})
        assert client.wait() == 0
        assert_silent(client)

    def test_leads_a_socks_proxy_to_what_is_allowed_only(
        self, share: Start, join: Start, echo_port: int, closed_port: int
    ) -> None:
        master = share(f"socks:127.0.0.1:{echo_port}", "--json", "--yes")
        client = join("--json", "--socks", "0", code=master.event("session")["code"])
        host, _, port = client.event("listening")["address"].partition(":")
        with connect_by_socks(host, int(port), echo_port) as (reply, connection):
            assert reply == 0
            connection.sendall(b"there and back")
            connection.shutdown(socket.SHUT_WR)
            assert connection.makefile("rb").read() == b"there and back"
        with connect_by_socks(host, int(port), closed_port) as (reply, _):
            assert reply == 2


class TestKick:
    def test_puts_a_client_out(self, share: Start, join: Start, folder: Path) -> None:
        master = share(f"dir:{folder}", "--json", "--yes")
        client = join("--json", code=master.event("session")["code"])
        member = master.event("joined")["member"]
        client.event("listening")
        master.send({"kick": member})
        put_out = client.event("error")
        assert put_out["code"] == "consent-refused"
        assert "The other side has put you out." in put_out["text"]
        assert client.wait() == 3
        master.send({"kick": member})
        assert master.event("error")["code"] == "usage"
        master.send("{not json")
        assert master.event("error")["code"] == "usage"


class TestTheServer:
    def test_that_is_not_there_is_exit_code_4(self, start: Start, closed_port: int) -> None:
        server = ("--no-direct", "--server", f"ptun://127.0.0.1:{closed_port}")
        master = start(*PORTTUNNEL, "share", "8000", "--json", *server)
        assert master.event("error")["code"] == "not-reachable"
        assert master.wait() == 4
        client = start(*PORTTUNNEL, "join", "48213", *server)
        assert client.line("The tunnel server can't be reached")
        assert client.wait() == 4

    def test_that_goes_away_is_told(self, start: Start, folder: Path) -> None:
        server = start_server(start)
        master = start(
            *(*PORTTUNNEL, "share", f"dir:{folder}", "--json"),
            *("--no-direct", "--server", server.address),
        )
        master.event("session")
        server.program.stop()
        assert master.event("link")["up"] is False
        # It would wait for a day; who shares may think otherwise.
        master.send({"close": True})
        assert master.wait() == 0

    def test_can_be_reached_by_tls_with_its_pin(
        self, start: Start, tunnel_server: TunnelServer, folder: Path
    ) -> None:
        server = ("--no-direct", "--server", tunnel_server.tls_address)
        master = start(*PORTTUNNEL, "share", f"web=dir:{folder}", "--json", "--yes", *server)
        client = start(*PORTTUNNEL, "join", "--json", "--code", "-", *server)
        client.send(master.event("session")["code"])
        assert len(fetch(client.event("listening")["url"])) == 200_000
        client.terminate()
        assert client.wait() == 0
        assert master.event("left")["cut_off"] is False
        master.terminate()
        assert master.wait() == 0
        assert_silent(master, client)


class TestStandardStreams:
    def test_without_a_reader_of_the_output_it_ends(
        self, start: Start, tunnel_server: TunnelServer, folder: Path
    ) -> None:
        command = ("share", f"dir:{folder}", "--json", "--no-direct")
        command = (*command, "--server", tunnel_server.address)
        shell = start(
            "bash", "-c", '"$@" | head -1; exit "${PIPESTATUS[0]}"', "-", *PORTTUNNEL, *command
        )
        assert shell.event("session")
        assert shell.wait() == 1
        assert "The output can't be written" in shell.errors

    def test_that_are_closed_are_no_obstacle(
        self, start: Start, join: Start, tunnel_server: TunnelServer, folder: Path
    ) -> None:
        command = ("share", f"dir:{folder}", "--json", "--yes", "--no-direct")
        command = (*command, "--server", tunnel_server.address)
        master = start("bash", "-c", 'exec "$@" <&- 2>&-', "-", *PORTTUNNEL, *command)
        client = join("--json", code=master.event("session")["code"])
        client.event("joined")
        client.terminate()
        assert client.wait() == 0
        master.terminate()
        assert master.wait() == 0

    def test_without_an_output_it_still_works(self, start: Start, closed_port: int) -> None:
        command = ("join", "48213", "--server", f"ptun://127.0.0.1:{closed_port}")
        client = start("bash", "-c", 'exec "$@" >&-', "-", *PORTTUNNEL, *command)
        assert client.wait() == 4
        assert client.errors == ""

    def test_take_a_code_without_a_line_end(
        self, share: Start, start: Start, tunnel_server: TunnelServer, folder: Path
    ) -> None:
        master = share(f"dir:{folder}", "--json", "--yes")
        code = master.event("session")["code"]
        pipe = 'printf %s "$1" | "${@:2}"'
        command = ("join", "--server", tunnel_server.address, "--code", "-")
        client = start("bash", "-c", pipe, "-", code, *PORTTUNNEL, *command)
        assert client.line("You are in.")


class TestSecrets:
    @pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="no /proc here")
    def test_are_on_no_command_line_and_not_in_the_environment(
        self, share: Start, start: Start, tunnel_server: TunnelServer, folder: Path
    ) -> None:
        master = share(f"dir:{folder}", "--json", "--yes")
        session = master.event("session")
        client = start(
            *PORTTUNNEL,
            *("join", "--json", "--server", tunnel_server.address),
            environment={"PORTTUNNEL_CODE": session["code"]},
        )
        client.event("joined")
        pin = session["code"].replace(" ", "")[5:11]
        shown = b"".join(
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b" ", b"")
            for pid in (master.pid, client.pid, tunnel_server.program.pid)
        )
        assert b"join" in shown
        assert pin.encode() not in shown

    def test_are_refused_as_an_argument(self, start: Start) -> None:
        client = start(*PORTTUNNEL, "join", "4821 3604 2197")
        assert client.wait() == 2
        assert "must not be an argument" in " ".join(client.errors.split())
        assert "3604" not in client.errors


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A program's port that gives back what it gets, until it is half-closed."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                while data := connection.recv(65_536):
                    connection.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield int(listener.getsockname()[1])
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()
