"""A gateway's HTTP interface as somebody uses it who has nothing but its page of the protocol."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from tests.real.program import Start, start_server

__all__ = ["CONFIG", "RestGateway", "RestLogin"]

NONCE = "0f" * 32
# Tests ask faster than anybody who means well.
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


class RestLogin(NamedTuple):
    """An id and its password."""

    user: str
    password: str

    def header(self) -> dict[str, str]:
        shown = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return {"Authorization": f"Basic {shown}"}


class RestGateway:
    """``twistd porttunnel-server``, asked by HTTP.

    :param folder: for its settings; its data is in ``PORTTUNNEL_DATA``.
    """

    def __init__(self, start: Start, folder: Path, config: str = CONFIG) -> None:
        path = folder / "server.toml"
        path.write_text(config, encoding="utf-8")
        server = start_server(start, "--config", str(path))
        self.program = server.program
        self.url = f"http://127.0.0.1:{server.port}"

    def ask(
        self, method: str, path: str, document: Any = None, login: RestLogin | None = None
    ) -> Any:
        """What is answered; an ``HTTPError`` if it is no success."""
        headers = {} if login is None else login.header()
        return self.send(method, path, document, headers)

    def send(self, method: str, path: str, document: Any, headers: dict[str, str]) -> Any:
        body = None if document is None else json.dumps(document).encode()
        if body is not None:
            headers = {"Content-Type": "application/json", **headers}
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read() or b"null")

    def register(self) -> RestLogin:
        """A new instance."""
        made = self.ask("POST", "/v1/instances", {})
        return RestLogin(made["instance_id"], made["instance_password"])

    def pair(self, instance: RestLogin) -> RestLogin:
        """A new device."""
        key = self.ask("POST", "/v1/devices", {}, instance)["device_setup_key"]
        setup = {"device_setup_key": key, "client_nonce": NONCE}
        device_id = self.ask("POST", "/v1/devices/setup", setup)["device_id"]
        # docs/gateway-protocol, section 2
        text = b"ptgw1 device password" + bytes.fromhex(key)
        password = hmac.digest(bytes.fromhex(NONCE), text, hashlib.sha256)[:16]
        return RestLogin(device_id, password.hex())
