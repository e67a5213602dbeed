"""The hosts of our own network reach whom they should, and nobody else."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.real.namespaces import Host, Network, three_hosts
from tests.real.needed import needed_program
from tests.real.program import PYTHON, Program, Start

pytestmark = pytest.mark.real

PORT = 4663
PATIENCE_SECONDS = 2.0  # how long who knocks waits where packets vanish
KNOCKS = 50  # a deadline, not a measure

LISTEN = f"""
import socket
listener = socket.create_server(("", {PORT}))
print("listening", flush=True)
while True:
    listener.accept()[0].close()
"""
KNOCK = f"""
import socket, sys
try:
    socket.create_connection((sys.argv[1], {PORT}), {PATIENCE_SECONDS}).close()
    print("open")
except TimeoutError:
    print("silence")
except OSError:
    print("refused")
"""


@pytest.fixture
def network() -> Iterator[Network]:
    with three_hosts() as network:
        yield network


def listen(start: Start, host: Host) -> Program:
    program = start(*host.prefix, *PYTHON, "-W", "ignore", "-c", LISTEN)
    program.line("listening")
    return program


def knock(start: Start, host: Host, address: str | None) -> str:
    assert address is not None
    program = start(*host.prefix, *PYTHON, "-c", KNOCK, address)
    answer = program.next_line()
    assert program.wait() == 0
    assert answer is not None
    return answer


class TestThreeHosts:
    def test_reach_each_other_on_the_lan_and_the_server(
        self, network: Network, start: Start
    ) -> None:
        listen(start, network.server)
        listen(start, network.master)
        for member in (network.master, network.client):
            assert knock(start, member, member.server_address) == "open"
        assert knock(start, network.client, network.master.lan_address) == "open"
        # Not by way of the server: it passes nothing on.
        assert knock(start, network.client, "10.78.1.2") == "refused"
        assert network.client.lan_received_bytes() > 0

    def test_lose_the_lan_and_keep_the_server(self, network: Network, start: Start) -> None:
        listen(start, network.server)
        listen(start, network.master)
        network.master.take_lan_down()
        assert knock(start, network.client, network.master.lan_address) != "open"
        assert knock(start, network.client, network.client.server_address) == "open"
        network.master.bring_lan_up()
        # On a busy machine the other end sees a little later that the link is up.
        assert any(
            knock(start, network.client, network.master.lan_address) == "open"
            for _ in range(KNOCKS)
        )

    def test_have_firewalls(self, network: Network, start: Start) -> None:
        listen(start, network.server)
        listen(start, network.master)
        network.client.forbid_lan_tcp()
        assert knock(start, network.client, network.master.lan_address) == "refused"
        assert knock(start, network.client, network.client.server_address) == "open"

    def test_have_firewalls_without_a_word(self, network: Network, start: Start) -> None:
        listen(start, network.master)
        network.master.drop_lan_tcp()
        assert knock(start, network.client, network.master.lan_address) == "silence"

    def test_are_gone_at_the_end_with_all_that_ran_there(self, start: Start) -> None:
        with three_hosts() as network:
            program = listen(start, network.master)
            assert network.master.namespace in names()
        assert program.wait() == -9
        hosts = {network.server.namespace, network.master.namespace, network.client.namespace}
        assert not hosts & names()


def names() -> set[str]:
    """Of all namespaces there are."""
    command = [needed_program("ip", "iproute2"), "netns", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    return {line.split()[0] for line in listed.stdout.splitlines()}
