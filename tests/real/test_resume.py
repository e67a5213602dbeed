"""Nothing is lost, and nobody falls out, when links break, go silent, or the server dies."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.real.download import MEBIBYTE, Download
from tests.real.fault_proxy import Cut, FaultProxy
from tests.real.meeting import Background
from tests.real.mortal_server import MortalServer
from tests.real.program import PORTTUNNEL, Program, Start, TunnelServer
from tests.real.web_site import WebSite, page_chunks, page_sha256, serve_web_site

pytestmark = pytest.mark.real

RELAY_ONLY = "--no-direct"
WAIT_SECONDS = 120.0  # a deadline: silence must be noticed, and a back-off of 15 s waited for
PARALLEL_DOWNLOADS = 20
KILLS = 5


class Tunnel(NamedTuple):
    """A shared port and who has joined.

    :ivar port: the client's, for the shared one.
    """

    master: Program
    client: Program
    port: int


class Links(NamedTuple):
    """What the members' links pass."""

    of_master: FaultProxy
    of_client: FaultProxy


@pytest.fixture
def site() -> Iterator[WebSite]:
    with serve_web_site() as site:
        yield site


@pytest.fixture
def links(tunnel_server: TunnelServer) -> Iterator[Links]:
    with ExitStack() as stack:
        of_master, of_client = (
            stack.enter_context(FaultProxy(tunnel_server.port, seed=seed)) for seed in (1, 2)
        )
        yield Links(of_master, of_client)


def connect(start: Start, target: int, master_server: str, client_server: str) -> Tunnel:
    """Share a loopback port at one address of a server, and join at another."""
    share = (*PORTTUNNEL, "share", "--json", "--yes", RELAY_ONLY, "--server", master_server)
    master = start(*share, f"web=tcp:127.0.0.1:{target}")
    join = (*PORTTUNNEL, "join", "--json", RELAY_ONLY, "--server", client_server, "--code", "-")
    client = start(*join)
    client.send(master.event("session")["code"])
    listening = client.event("listening")
    master.event("joined")
    return Tunnel(master, client, int(listening["address"].rpartition(":")[2]))


def told_of(program: Program) -> list[dict[str, Any]]:
    """Every event that an ended program has told, from the first on."""
    program.events()
    return [json.loads(line) for line in program.seen]


def assert_still_in(tunnel: Tunnel) -> None:
    """Both are in the session, have seen no error, and end it as asked."""
    with Download(tunnel.port, 99, 1_000) as download:
        assert download.finish() == page_sha256(99, 1_000)
    assert_ends_well(tunnel)


def assert_ends_well(tunnel: Tunnel) -> None:
    tunnel.client.send({"close": True})
    assert tunnel.client.wait(WAIT_SECONDS) == 0
    assert tunnel.master.event("left", seconds=WAIT_SECONDS)["cut_off"] is False
    tunnel.master.send({"close": True})
    assert tunnel.master.wait(WAIT_SECONDS) == 0
    for program in tunnel.master, tunnel.client:
        assert program.errors == ""
        assert [event for event in told_of(program) if event["event"] == "error"] == []
    left = [event for event in told_of(tunnel.master) if event["event"] == "left"]
    assert len(left) == 1


class TestCuts:
    def test_of_both_links_lose_nothing_of_a_gibibyte(
        self, start: Start, links: Links, site: WebSite
    ) -> None:
        tunnel = connect(start, site.port, links.of_master.address, links.of_client.address)
        size, cuts = 1024 * MEBIBYTE, 100
        links.of_master.cut_at_random(cuts // 2, size)
        links.of_client.cut_at_random(cuts - cuts // 2, size)
        with Download(tunnel.port, 1, size) as download:
            assert download.finish() == page_sha256(1, size)
        assert links.of_master.cuts + links.of_client.cuts == cuts
        assert_still_in(tunnel)

    def test_lose_nothing_of_an_upload(self, start: Start, links: Links) -> None:
        size, cuts = 128 * MEBIBYTE, 6
        with socket.create_server(("127.0.0.1", 0)) as listener:
            receiving = Background(lambda: answer_with_sha256(listener))
            target = listener.getsockname()[1]
            tunnel = connect(start, target, links.of_master.address, links.of_client.address)
            links.of_master.cut_at_random(cuts, size)
            links.of_client.cut_at_random(cuts, size)
            with socket.create_connection(("127.0.0.1", tunnel.port), WAIT_SECONDS) as sender:
                for chunk in page_chunks(2, size):
                    sender.sendall(chunk)
                sender.shutdown(socket.SHUT_WR)
                assert sender.makefile("rb").read().decode() == page_sha256(2, size)
            receiving.result()
        assert (links.of_master.cuts, links.of_client.cuts) == (cuts, cuts)
        assert_ends_well(tunnel)

    def test_lose_nothing_of_many_requests_at_once(
        self, start: Start, links: Links, site: WebSite
    ) -> None:
        tunnel = connect(start, site.port, links.of_master.address, links.of_client.address)
        size, cuts = 8 * MEBIBYTE, 6
        links.of_master.cut_at_random(cuts, PARALLEL_DOWNLOADS * size)
        links.of_client.cut_at_random(cuts, PARALLEL_DOWNLOADS * size)

        def fetch(number: int) -> str:
            with Download(tunnel.port, number, size) as download:
                return download.finish()

        with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
            fetched = list(pool.map(fetch, range(PARALLEL_DOWNLOADS)))
        assert fetched == [page_sha256(number, size) for number in range(PARALLEL_DOWNLOADS)]
        assert (links.of_master.cuts, links.of_client.cuts) == (cuts, cuts)
        assert_still_in(tunnel)

    @pytest.mark.parametrize("how", Cut)
    def test_are_survived_by_a_request_that_has_just_been_sent(
        self, start: Start, links: Links, how: Cut
    ) -> None:
        """Ping-pong: each question is cut off at once, on one link after the other."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            tunnel = connect(
                start,
                listener.getsockname()[1],
                links.of_master.address,
                links.of_client.address,
            )
            with socket.create_connection(("127.0.0.1", tunnel.port), WAIT_SECONDS) as asking:
                listener.settimeout(WAIT_SECONDS)
                answering, _ = listener.accept()
                with answering:
                    answering.settimeout(WAIT_SECONDS)
                    for number in range(20):
                        question, answer = f"{number:05}?".encode(), f"{number:05}!".encode()
                        asking.sendall(question)
                        links[number % 2].cut(how)
                        assert answering.recv(6, socket.MSG_WAITALL) == question
                        answering.sendall(answer)
                        links[number % 2].cut(how)
                        assert asking.recv(6, socket.MSG_WAITALL) == answer
                    # Who closes before it has heard of a cut says goodbye to nobody.
                    asking.sendall(b"close?")
                    assert answering.recv(6, socket.MSG_WAITALL) == b"close?"
                    answering.sendall(b"close!")
                    assert asking.recv(6, socket.MSG_WAITALL) == b"close!"
        assert_ends_well(tunnel)

    def test_on_a_bad_network_lose_nothing(
        self, start: Start, links: Links, site: WebSite
    ) -> None:
        """Headers come byte by byte and late, also those of the packets that resume."""
        for link in links:
            link.split(50)
            link.delay(0.02)
        tunnel = connect(start, site.port, links.of_master.address, links.of_client.address)
        size, cuts = MEBIBYTE, 3
        for link in links:
            link.cut_at_random(cuts, size)
        with Download(tunnel.port, 4, size) as download:
            assert download.finish() == page_sha256(4, size)
        for link in links:
            assert link.cuts == cuts
            link.split(None)
            link.delay(0)
        assert_still_in(tunnel)


def answer_with_sha256(listener: socket.socket) -> None:
    """Read everything from one connection; its hash is the answer."""
    connection, _ = listener.accept()
    content = hashlib.sha256()
    with connection:
        while data := connection.recv(MEBIBYTE):
            content.update(data)
        connection.sendall(content.hexdigest().encode())


class TestSilence:
    @pytest.mark.parametrize("silent", Links._fields)
    def test_of_a_link_in_a_transfer_ends_with_a_new_connection(
        self, start: Start, links: Links, site: WebSite, silent: str
    ) -> None:
        tunnel = connect(start, site.port, links.of_master.address, links.of_client.address)
        size = 64 * MEBIBYTE
        link: FaultProxy = getattr(links, silent)
        with Download(tunnel.port, 5, size, allowed=size // 2) as download:
            download.wait_for(size // 4)
            before = link.accepted
            link.hold()
            assert download.finish() == page_sha256(5, size)
        assert link.accepted > before
        # What was held comes after all that: it counts no more.
        link.release()
        assert_still_in(tunnel)

    @pytest.mark.long
    def test_of_an_idle_link_ends_with_a_new_connection(
        self, start: Start, links: Links, site: WebSite
    ) -> None:
        tunnel = connect(start, site.port, links.of_master.address, links.of_client.address)
        links.of_client.hold()
        assert tunnel.client.event("link", up=False, seconds=WAIT_SECONDS)["reason"]
        tunnel.client.event("link", up=True, seconds=WAIT_SECONDS)
        assert_still_in(tunnel)


class TestTheLinkEvent:
    @pytest.mark.parametrize("who", ["master", "client"])
    def test_says_when_it_is_down_and_why_and_when_it_is_back(
        self, start: Start, links: Links, site: WebSite, who: str
    ) -> None:
        tunnel = connect(start, site.port, links.of_master.address, links.of_client.address)
        link: FaultProxy = getattr(links, f"of_{who}")
        program: Program = getattr(tunnel, who)
        for _ in range(2):
            link.refuse()
            link.cut()
            assert program.event("link", seconds=WAIT_SECONDS, up=False)["reason"]
            link.accept()
            program.event("link", seconds=WAIT_SECONDS, up=True)
        assert_still_in(tunnel)
        ups = [event["up"] for event in told_of(program) if event["event"] == "link"]
        # Once each time, however often it tried in between.
        assert [up for up in ups if not up] == [False, False]


class TestOneWhoWasCutOff:
    def test_is_no_stranger_when_it_is_back(
        self, start: Start, links: Links, site: WebSite
    ) -> None:
        server = ("--server", links.of_master.address)
        target = f"web=tcp:127.0.0.1:{site.port}"
        master = start(*PORTTUNNEL, "share", "--json", RELAY_ONLY, *server, target)
        server = ("--server", links.of_client.address)
        client = start(*PORTTUNNEL, "join", "--json", RELAY_ONLY, *server, "--code", "-")
        client.send(master.event("session")["code"])
        master.send({"accept": master.event("consent")["member"]})
        port = int(client.event("listening")["address"].rpartition(":")[2])
        links.of_client.cut()
        links.of_master.cut()
        assert_still_in(Tunnel(master, client, port))
        told = [event["event"] for event in told_of(master)]
        assert (told.count("consent"), told.count("joined")) == (1, 1)

    def test_before_it_was_let_in_can_still_be(
        self, start: Start, links: Links, site: WebSite
    ) -> None:
        server = ("--server", links.of_master.address)
        target = f"web=tcp:127.0.0.1:{site.port}"
        master = start(*PORTTUNNEL, "share", "--json", RELAY_ONLY, *server, target)
        server = ("--server", links.of_client.address)
        client = start(*PORTTUNNEL, "join", "--json", RELAY_ONLY, *server, "--code", "-")
        client.send(master.event("session")["code"])
        asked = master.event("consent")
        links.of_client.cut()
        links.of_master.cut()
        master.send({"accept": asked["member"]})
        listening = client.event("listening", seconds=WAIT_SECONDS)
        port = int(listening["address"].rpartition(":")[2])
        assert_still_in(Tunnel(master, client, port))


class TestTheServer:
    @pytest.mark.parametrize("end", ["kill", "terminate"])
    def test_may_die_in_a_transfer(self, start: Start, site: WebSite, end: str) -> None:
        server = MortalServer(start)
        tunnel = connect(start, site.port, server.address, server.address)
        size = 256 * MEBIBYTE
        part = size // (KILLS + 1)
        with Download(tunnel.port, 6, size, allowed=part) as download:
            for number in range(1, KILLS + 1):
                # It flows while the server ends, but never to the end of the page.
                download.wait_for(number * part)
                download.allow((number + 1) * part)
                getattr(server, end)()
                server.restart()
            assert download.finish() == page_sha256(6, size)
        assert_still_in(tunnel)

    def test_may_be_away_for_a_while(self, start: Start, site: WebSite) -> None:
        server = MortalServer(start)
        tunnel = connect(start, site.port, server.address, server.address)
        server.kill()
        for program in tunnel.master, tunnel.client:
            assert program.event("link", seconds=WAIT_SECONDS, up=False)["reason"]
        server.restart()
        for program in tunnel.master, tunnel.client:
            program.event("link", seconds=WAIT_SECONDS, up=True)
        assert_still_in(tunnel)

    def test_that_forgot_everything_ends_the_session(
        self, start: Start, site: WebSite, tmp_path: Path
    ) -> None:
        server = MortalServer(start)
        tunnel = connect(start, site.port, server.address, server.address)
        server.kill()
        server.forget(tmp_path)
        server.restart()
        for program in tunnel.master, tunnel.client:
            assert program.event("error", seconds=WAIT_SECONDS)["text"]
            assert program.wait(WAIT_SECONDS) == 1
            assert program.errors == ""
