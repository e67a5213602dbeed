"""Many clients at one `twistd porttunnel-broker`: that they are there, press, come back.

`python -m tests.benchmarks mqtt-load` is the same with ten times as many, and says how long it
takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.benchmarks.bulk import MIB
from tests.benchmarks.mqtt_brokers import Broker, our_broker
from tests.benchmarks.mqtt_wire import TCP, WEBSOCKET
from tests.benchmarks.processes import peak_resident_bytes, resident_bytes
from tests.benchmarks.program import Program
from tests.real.server_port import port_to_come_back_to

pytestmark = pytest.mark.real

CONNECTIONS = 1_000
PUBLISHERS = 100
FLOOD_SECONDS = 1.0
# A subscriber's outbox and queue are 1.25 MiB; the rest is what Python's allocator takes for them.
MAX_GROWTH_BYTES = 16 * MIB
RETURNING = 200
PATIENCE_SECONDS = 60.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with our_broker(tmp_path) as running:
        yield running


@contextmanager
def clients(folder: Path, module: str, *arguments: object) -> Iterator[Program]:
    argv = ["python", "-m", f"tests.benchmarks.{module}", *map(str, arguments)]
    with Program(argv, folder, name=module) as started:
        yield started


@pytest.mark.parametrize("transport", [TCP, WEBSOCKET])
def test_a_thousand_are_let_in_and_each_is_sent_its_own(
    broker: Broker, transport: str, tmp_path: Path
) -> None:
    with clients(tmp_path, "mqtt_traffic", "idle", broker.ports[transport], transport) as idle:
        idle.write_line(str(CONNECTIONS))
        idle.read_line("open", seconds=PATIENCE_SECONDS)
        idle.write_line("call")
        assert idle.read_line("called ", seconds=PATIENCE_SECONDS) == str(CONNECTIONS)


def test_who_does_not_read_costs_no_more_than_its_bounds(broker: Broker, tmp_path: Path) -> None:
    with clients(tmp_path, "mqtt_flood", broker.ports[TCP], PUBLISHERS, FLOOD_SECONDS) as flood:
        flood.read_line("connected")
        before = resident_bytes(broker.pid)
        flood.write_line("pour")
        taken = int(flood.read_line("taken ", seconds=PATIENCE_SECONDS))
        assert taken > 2 * MAX_GROWTH_BYTES
        assert peak_resident_bytes(broker.pid) - before < MAX_GROWTH_BYTES
        flood.write_line("revive")
        assert flood.read_line("alive", seconds=PATIENCE_SECONDS) == ""


def test_all_come_back_to_a_broker_that_was_killed(tmp_path: Path) -> None:
    port = port_to_come_back_to()
    with ExitStack() as stack:
        broker = stack.enter_context(our_broker(tmp_path, port))
        crowd = stack.enter_context(clients(tmp_path, "mqtt_returning", port, RETURNING))
        first = float(crowd.read_line("all there ", seconds=PATIENCE_SECONDS))
        broker.program.kill()
        stack.enter_context(our_broker(tmp_path, port))
        again = float(crowd.read_line("all there ", seconds=PATIENCE_SECONDS))
        crowd.stop()  # before the broker, which would take its time to send all away
    assert again > first
