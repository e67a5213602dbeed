"""WebSocket clients of others at our server: autobahn's, that of `websockets`, and Node's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.real.needed import needed_program
from tests.real.program import PYTHON, Program, Start

pytestmark = pytest.mark.real

KINDS = ("port", "site", "messages")
AUTOBAHN_BYTES = 0 + 1 + 125 + 126 + 127 + 128 + 65_535 + 65_536 + 65_537 + 300_000 + 18
OTHERS_BYTES = 1 + 125 + 126 + 65_535 + 65_536 + 300_000
MIN_NODE = 20  # before that it has no client of its own


class Server:
    """A running echo server.

    :ivar urls: by kind.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.urls = {kind: program.line(kind).split()[1] for kind in KINDS}

    def lost(self) -> str:
        """Why the next connection was lost."""
        return self.program.line("lost").split()[1]


@pytest.fixture(scope="module")
def server(start_for_module: Start) -> Server:
    root = str(Path(__file__).resolve().parents[2])
    environment = {"PYTHONPATH": root}
    return Server(
        start_for_module(*PYTHON, "-m", "tests.real.websocket_server", environment=environment)
    )


def run(start: Start, module: str, *arguments: str) -> list[str]:
    """What a Python client says."""
    environment = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    program = start(*PYTHON, "-m", f"tests.real.{module}", *arguments, environment=environment)
    lines = []
    while (line := program.next_line()) is not None:
        lines.append(line)
    assert program.wait() == 0, program.errors
    return lines


@pytest.mark.parametrize(
    ("kind", "sent"),
    [("port", "binary"), ("site", "binary"), ("messages", "binary"), ("messages", "text")],
)
def test_autobahn_gets_back_what_it_sends(
    server: Server, start: Start, kind: str, sent: str
) -> None:
    said = run(start, "websocket_autobahn", server.urls[kind], sent)
    assert f"echoed {AUTOBAHN_BYTES}" in said
    assert said[-1].startswith("closed 1000")
    pongs = [line.removeprefix("pong ") for line in said if line.startswith("pong ")]
    sizes = ["0", "1", "125", "126", "127", "128", "65535", "65536", "65537", "300000"]
    assert pongs == [*sizes, "in three", " ", "fragments"]
    assert server.lost() == "ConnectionDone"


@pytest.mark.parametrize("kind", ["port", "site"])
def test_autobahn_s_text_is_refused_where_there_are_bytes_only(
    server: Server, start: Start, kind: str
) -> None:
    said = run(start, "websocket_autobahn", server.urls[kind], "text")
    assert said[-1].split()[1] == "1003", said
    assert not [line for line in said if line.startswith("echoed")]
    assert server.lost() == "WebSocketError"


@pytest.mark.parametrize("kind", KINDS)
def test_the_package_websockets(server: Server, start: Start, kind: str) -> None:
    said = run(start, "websocket_websockets", server.urls[kind])
    assert said == [f"echoed {OTHERS_BYTES + 12}", "pong", "closed 1000"]
    assert server.lost() == "ConnectionDone"


@pytest.mark.parametrize("kind", KINDS)
def test_node(server: Server, start: Start, kind: str) -> None:
    node = needed_program("node", "nodejs")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    if int(version.stdout.lstrip("v").partition(".")[0]) < MIN_NODE:
        if os.environ.get("PORTTUNNEL_REQUIRE_REAL") == "1":
            pytest.fail(f"this node is older than {MIN_NODE}")
        pytest.skip(f"this node is older than {MIN_NODE}")
    script = str(Path(__file__).with_name("websocket_node.js"))
    program = start(node, "--no-warnings", "--experimental-websocket", script, server.urls[kind])
    assert program.line("echoed", "changed", "error") == f"echoed {OTHERS_BYTES} echo"
    assert program.line("closed", "failed") == "closed 1000"
    assert server.lost() == "ConnectionDone"
