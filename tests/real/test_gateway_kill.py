"""What the gateway has answered is so after a kill, too."""

from __future__ import annotations

import os
import signal
import threading
import urllib.error
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.real.gateway_rest import RestGateway, RestLogin
from tests.real.program import Start

pytestmark = pytest.mark.real

ROUNDS = 3
STEPS = 25  # until the kill


def open_account(gateway: RestGateway, login: RestLogin, path: str) -> int:
    """The status of a question that each may ask about himself."""
    try:
        gateway.ask("GET", path, None, login)
    except urllib.error.HTTPError as error:
        return error.code
    return 200


def test_what_was_answered_stays(start: Start, tmp_path: Path) -> None:
    kept: list[tuple[RestLogin, str]] = []
    gone: list[tuple[RestLogin, str]] = []
    for _ in range(ROUNDS):
        gateway = RestGateway(start, tmp_path)
        enough = threading.Event()

        def work(gateway: RestGateway = gateway, enough: threading.Event = enough) -> None:
            steps = 0
            try:
                while True:
                    instance = gateway.register()
                    kept.append((instance, "/v1/devices"))
                    device = gateway.pair(instance)
                    other = gateway.pair(instance)
                    kept.append((device, f"/v1/devices/{device.user}"))
                    gateway.ask("DELETE", f"/v1/devices/{other.user}", None, instance)
                    gone.append((other, f"/v1/devices/{other.user}"))
                    steps += 1
                    if steps == STEPS:
                        enough.set()
            except (OSError, HTTPException):  # the server is gone
                enough.set()

        worker = threading.Thread(target=work)
        worker.start()
        enough.wait()
        os.kill(gateway.program.pid, signal.SIGKILL)
        worker.join()
        gateway.program.wait()
    gateway = RestGateway(start, tmp_path)
    assert len(gone) >= ROUNDS * STEPS
    assert {open_account(gateway, *each) for each in kept} == {200}
    # Of one address only so many may be wrong: the last ones, told just before the kill.
    assert {open_account(gateway, *each) for each in gone[-15:]} == {401}
