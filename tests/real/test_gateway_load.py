"""Very many at a gateway: that they are there, guess passwords, come back.

`python -m tests.benchmarks gateway` is the same with many more, and says how long it takes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.benchmarks.gateway_programs import fill, gateway, site
from tests.benchmarks.part_mqtt import KIB
from tests.benchmarks.processes import resident_bytes
from tests.benchmarks.program import Program
from tests.real.http_asker import ask
from tests.real.server_port import port_to_come_back_to
from tests.real.upstream import Upstream
from tests.real.web_site import page_sha256

pytestmark = pytest.mark.real

FIRST, INSTANCES = 100, 1_000
MAX_BYTES_OF_EACH = 16 * KIB
RETURNING = 100
BAD_LOGINS = 500
PATIENCE_SECONDS = 60.0


@contextmanager
def started(folder: Path, module: str, *arguments: object) -> Iterator[Program]:
    argv = ["python", "-m", f"tests.benchmarks.{module}", *map(str, arguments)]
    with Program(argv, folder, name=module) as running:
        yield running


def test_a_thousand_idle_instances(tmp_path: Path) -> None:
    fill(tmp_path / "server", INSTANCES, iterations=1)
    with (
        gateway(tmp_path) as running,
        started(tmp_path, "gateway_crowd", "idle", running.port) as crowd,
    ):
        crowd.write_line(str(FIRST))
        crowd.read_line("open", seconds=PATIENCE_SECONDS)
        before = resident_bytes(running.program.pid)
        crowd.write_line(str(INSTANCES))
        crowd.read_line("open", seconds=PATIENCE_SECONDS)
        grown = resident_bytes(running.program.pid) - before
        assert grown / (INSTANCES - FIRST) < MAX_BYTES_OF_EACH


def test_who_guesses_passwords_is_not_let_in_and_keeps_nobody_out(tmp_path: Path) -> None:
    upstream = Upstream()
    upstream.run()
    with (
        site(tmp_path, upstream.port) as reached,
        started(
            tmp_path, "gateway_crowd", "bad", reached.gateway.port, 10 * BAD_LOGINS, 0.1
        ) as strangers,
    ):
        strangers.read_line("ready")
        for number in range(20):
            if number == 1:  # it has a connection now
                strangers.write_line("go")
            answer = ask(reached.port, "GET", f"/page/{number}/1000")
            assert (answer.status, answer.sha256) == (200, page_sha256(number, 1_000))
        answers = json.loads(strangers.read_line(seconds=PATIENCE_SECONDS))
    upstream.stop()
    assert sum(answers.values()) == BAD_LOGINS
    assert "LET IN" not in answers
    assert answers["busy"] > 0


def test_all_come_back_to_a_gateway_that_was_killed(tmp_path: Path) -> None:
    port = port_to_come_back_to()
    fill(tmp_path / "server", RETURNING, iterations=1)
    with ExitStack() as stack:
        running = stack.enter_context(gateway(tmp_path, port))
        crowd = stack.enter_context(started(tmp_path, "gateway_returning", port, RETURNING))
        first = float(crowd.read_line("all there ", seconds=PATIENCE_SECONDS))
        running.program.kill()
        fill(tmp_path / "server", RETURNING)
        stack.enter_context(gateway(tmp_path, port))
        again = float(crowd.read_line("all there ", seconds=PATIENCE_SECONDS))
        crowd.stop()  # before the gateway, which would take its time to send all away
    assert again > first
