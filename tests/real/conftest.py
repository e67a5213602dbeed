"""Fixtures for tests with real programs: start them, find their ports, stop them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.real.gateway_site import GatewaySite
from tests.real.liar import Liar, honestly
from tests.real.mqtt_js_peer import MQTTJSPeer, MQTTJSProgram
from tests.real.mqtt_peer import Address, MakePeer, Peer
from tests.real.paho_peer import PahoPeer
from tests.real.program import (
    PORTTUNNEL,
    Program,
    Start,
    TunnelServer,
    clean_environment,
    start_server,
)
from tests.real.upstream import Upstream


def _starter(home: Path) -> Iterator[Start]:
    programs: list[Program] = []

    def start(
        *command: str, cwd: Path | None = None, environment: dict[str, str] | None = None
    ) -> Program:
        variables = clean_environment(home) | (environment or {})
        program = Program(command, variables, cwd or home)
        programs.append(program)
        return program

    yield start
    for program in reversed(programs):
        program.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """``start(*command, cwd=..., environment=...)``: starts a program; all are stopped."""
    yield from _starter(tmp_path)


@pytest.fixture(scope="module")
def start_for_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """As ``start``, for what all tests of a module share."""
    yield from _starter(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def tunnel_server(start_for_module: Start) -> TunnelServer:
    """A real tunnel server; one for all tests of a module."""
    return start_server(start_for_module)


@pytest.fixture
def share(start: Start, tunnel_server: TunnelServer) -> Start:
    """``share(*arguments)``: starts `porttunnel share` at the tunnel server."""

    def share(*arguments: str, cwd: Path | None = None) -> Program:
        server = ("--no-direct", "--server", tunnel_server.address)
        return start(*PORTTUNNEL, "share", *server, *arguments, cwd=cwd)

    return share


@pytest.fixture
def join(start: Start, tunnel_server: TunnelServer) -> Start:
    """``join(*arguments, code=...)``: starts `porttunnel join`; the code goes to its input."""

    def join(*arguments: str, code: str | None = None) -> Program:
        server = ("--no-direct", "--server", tunnel_server.address)
        minus = () if code is None else ("--code", "-")
        program = start(*PORTTUNNEL, "join", *server, *minus, *arguments)
        if code is not None:
            program.send(code)
        return program

    return join


@pytest.fixture(scope="module")
def make_paho() -> MakePeer:
    """``make_paho(address, version)``: a client of paho-mqtt; who makes it stops it."""
    return PahoPeer


@pytest.fixture(scope="module")
def make_mqtt_js(start_for_module: Start) -> MakePeer:
    """``make_mqtt_js(address, version)``: a client of MQTT.js; who makes it stops it."""
    program = MQTTJSProgram(start_for_module)
    return lambda address, version: MQTTJSPeer(program, address, version)


@pytest.fixture(params=["paho", "mqtt_js"])
def make_peer(request: pytest.FixtureRequest) -> Iterator[MakePeer]:
    """``make_peer(address, version)``: a client of the kind that the test is about; all are
    stopped.
    """
    make: MakePeer = request.getfixturevalue(f"make_{request.param}")
    with ExitStack() as stack:

        def make_one(address: Address, version: int) -> Peer:
            peer = make(address, version)
            stack.callback(peer.stop)
            return peer

        yield make_one


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """A web system that counts what was done to it."""
    running = Upstream()
    running.run()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def the_liar(site: GatewaySite) -> Iterator[Liar]:
    """What tells the gateway of the module's ``site`` how to lie."""
    liar = Liar(site.port)
    yield liar
    liar.close()


@pytest.fixture
def liar(the_liar: Liar) -> Iterator[Liar]:
    """The same, for one test: afterwards the gateway is honest again."""
    yield the_liar
    the_liar.rule = honestly
