"""The gateway's HTTP interface is what it says in /openapi.json: schemathesis asks everything."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.real.gateway_rest import CONFIG, RestGateway
from tests.real.program import Start

pytestmark = pytest.mark.real

SCHEMATHESIS = (sys.executable, "-m", "schemathesis.cli")
EXAMPLES = 15  # of each route; some hundred requests in all
SECONDS = 300.0  # a deadline; on a machine that does nothing else it takes five
TOKEN = "sesame"


def examine(start: Start, gateway: RestGateway, *options: str) -> None:
    """Let schemathesis ask; it fails if an answer is not as described."""
    program = start(
        *SCHEMATHESIS,
        "run",
        f"{gateway.url}/openapi.json",
        "--max-examples",
        str(EXAMPLES),
        "--seed",
        "1",
        "--no-color",
        *options,
    )
    lines = []
    while (line := program.next_line(SECONDS)) is not None:
        lines.append(line)
    report = "\n".join(lines)
    assert program.wait() == 0, report
    # Warnings are left: that a stranger gets nothing but 401 is as it should be.
    assert re.search(r"\b(\d+) generated, \1 passed\b", report), report


@pytest.fixture
def gateway(start: Start, tmp_path: Path) -> RestGateway:
    return RestGateway(start, tmp_path)


def test_what_an_instance_is_answered(start: Start, gateway: RestGateway) -> None:
    instance = gateway.register()
    login = ":".join(instance)
    examine(start, gateway, "--auth", login, "--exclude-operation-id", "removeInstance")
    assert gateway.ask("GET", "/v1/devices", None, instance)["devices"] != []


def test_what_an_instance_is_answered_that_goes(start: Start, gateway: RestGateway) -> None:
    examine(start, gateway, "--auth", ":".join(gateway.register()))


def test_what_a_device_is_answered(start: Start, gateway: RestGateway) -> None:
    login = ":".join(gateway.pair(gateway.register()))
    examine(start, gateway, "--auth", login, "--exclude-operation-id", "removeDevice")


def test_what_a_stranger_is_answered(start: Start, gateway: RestGateway) -> None:
    examine(start, gateway)


def test_what_is_answered_where_a_token_is_needed(start: Start, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n", encoding="utf-8")
    token.chmod(0o600)
    config = CONFIG + f"registration_token_file = {json.dumps(str(token))}\n"
    gateway = RestGateway(start, tmp_path, config)
    shown = {"Authorization": f"Bearer {TOKEN}"}
    examine(start, gateway, "--header", f"Authorization: {shown['Authorization']}")
    made = gateway.send("POST", "/v1/instances", {}, shown)
    assert set(made) == {"instance_id", "instance_password"}
