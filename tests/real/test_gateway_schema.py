"""The gateway's HTTP interface is what it says in /openapi.json: schemathesis asks everything."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import sys
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.real.program import Start, start_server

pytestmark = pytest.mark.real

SCHEMATHESIS = (sys.executable, "-m", "schemathesis.cli")
EXAMPLES = 15  # of each route; some hundred requests in all
SECONDS = 300.0  # a deadline; on a machine that does nothing else it takes five
NONCE = "0f" * 32
TOKEN = "sesame"
# It asks faster than anybody who means well.
CONFIG = """
[gateway]
registrations_per_minute = 100000
registrations_per_hour = 100000
registrations_per_second_overall = 10000
invitations_per_minute = 100000
invitations_per_hour = 100000
requests_per_minute = 100000
requests_per_hour = 100000
"""


class Login(NamedTuple):
    user: str
    password: str

    def header(self) -> dict[str, str]:
        shown = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return {"Authorization": f"Basic {shown}"}


class GatewayUnderTest:
    def __init__(self, start: Start, folder: Path, config: str = CONFIG) -> None:
        self._start = start
        path = folder / "server.toml"
        path.write_text(config, encoding="utf-8")
        server = start_server(start, "--config", str(path))
        self.program = server.program
        self.url = f"http://127.0.0.1:{server.port}"

    def post(self, path: str, document: Any, headers: dict[str, str] | None = None) -> Any:
        request = urllib.request.Request(
            self.url + path,
            json.dumps(document).encode(),
            {"Content-Type": "application/json", **(headers or {})},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def register(self) -> Login:
        made = self.post("/v1/instances", {})
        return Login(made["instance_id"], made["instance_password"])

    def pair(self, instance: Login) -> Login:
        invited = self.post("/v1/devices", {}, instance.header())
        key = invited["device_setup_key"]
        setup = {"device_setup_key": key, "client_nonce": NONCE}
        device_id = self.post("/v1/devices/setup", setup)["device_id"]
        # docs/gateway-protocol, section 2
        text = b"ptgw1 device password" + bytes.fromhex(key)
        password = hmac.digest(bytes.fromhex(NONCE), text, hashlib.sha256)[:16]
        return Login(device_id, password.hex())

    def examine(self, *options: str) -> None:
        """Let schemathesis ask; it fails if an answer is not as described."""
        program = self._start(
            *SCHEMATHESIS,
            "run",
            f"{self.url}/openapi.json",
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
def gateway(start: Start, tmp_path: Path) -> GatewayUnderTest:
    return GatewayUnderTest(start, tmp_path)


def test_what_an_instance_is_answered(gateway: GatewayUnderTest) -> None:
    instance = gateway.register()
    gateway.examine("--auth", ":".join(instance), "--exclude-operation-id", "removeInstance")
    gateway.post("/v1/devices", {}, instance.header())


def test_what_an_instance_is_answered_that_goes(gateway: GatewayUnderTest) -> None:
    gateway.examine("--auth", ":".join(gateway.register()))


def test_what_a_device_is_answered(gateway: GatewayUnderTest) -> None:
    device = gateway.pair(gateway.register())
    gateway.examine("--auth", ":".join(device), "--exclude-operation-id", "removeDevice")


def test_what_a_stranger_is_answered(gateway: GatewayUnderTest) -> None:
    gateway.examine()


def test_what_is_answered_where_a_token_is_needed(start: Start, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n", encoding="utf-8")
    token.chmod(0o600)
    config = CONFIG + f"registration_token_file = {json.dumps(str(token))}\n"
    gateway = GatewayUnderTest(start, tmp_path, config)
    gateway.examine("--header", f"Authorization: Bearer {TOKEN}")
    made = gateway.post("/v1/instances", {}, {"Authorization": f"Bearer {TOKEN}"})
    assert set(made) == {"instance_id", "instance_password"}
