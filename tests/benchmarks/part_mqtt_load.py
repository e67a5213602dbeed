"""What very many clients do to our broker: that they are there, press, come back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from tests.benchmarks.bulk import MIB
from tests.benchmarks.mqtt_brokers import BROKERS, MOSQUITTO, Broker, our_broker
from tests.benchmarks.mqtt_wire import TCP, WEBSOCKET
from tests.benchmarks.part_mqtt import KIB, TRANSPORTS, start_traffic
from tests.benchmarks.processes import peak_resident_bytes, resident_bytes
from tests.benchmarks.program import Program
from tests.benchmarks.run import Part
from tests.benchmarks.table import OURS, Goal
from tests.real.server_port import port_to_come_back_to

__all__ = ["measure_connections", "measure_flood", "measure_return"]

FIRST_CLIENTS = 100  # pay for what all of them share
CLIENTS = 10_000
PUBLISHERS = 1_000
FLOOD_SECONDS = 10.0
RETURNING = 2_000
PATIENCE_SECONDS = 180.0

OPENED = "{} connections opened and subscribed"
CALLED = "{} connections called one by one"
MEMORY = "memory of a connection"
GREW = "broker grew by"
TAKEN = "published meanwhile"
BACK = "all back after the broker listens again"

_Measure = Callable[[], Mapping[str, float]]


def measure_connections(part: Part) -> None:
    """So many at a time, each with a subscription; then each is sent a message, and has it."""
    count = part.scaled(CLIENTS)
    units = {
        f"{transport}: {figure.format(count)}": unit
        for transport in TRANSPORTS.values()
        for figure, unit in ((OPENED, "s"), (CALLED, "s"), (MEMORY, "KiB"))
    }
    goals = {(f"{name}: {MEMORY}", ""): Goal(8.0) for name in TRANSPORTS.values()}
    part.add(OURS, lambda: lambda: _connections(part, OURS, (TCP, WEBSOCKET), count))
    part.add(MOSQUITTO, lambda: lambda: _connections(part, MOSQUITTO, (TCP,), count))
    part.measure(units, goals, rounds=1)


def _connections(
    part: Part, name: str, transports: tuple[str, ...], count: int
) -> Mapping[str, float]:
    figures = {}
    for transport in transports:
        # A broker for each: one process is not let have files for both.
        with ExitStack() as stack:
            broker = stack.enter_context(BROKERS[name](part.folder))
            port = broker.ports[transport]
            clients = stack.enter_context(start_traffic(part, "idle", port, transport))
            clients.write_line(str(FIRST_CLIENTS))
            clients.read_line("open")
            before, begun = resident_bytes(broker.pid), time.monotonic()
            clients.write_line(str(count))
            clients.read_line("open", seconds=PATIENCE_SECONDS)
            opened = time.monotonic()
            used = resident_bytes(broker.pid) - before
            clients.write_line("call")
            clients.read_line("called", seconds=PATIENCE_SECONDS)
            prefix = f"{TRANSPORTS[transport]}: "
            figures[prefix + OPENED.format(count)] = opened - begun
            figures[prefix + CALLED.format(count)] = time.monotonic() - opened
            figures[prefix + MEMORY] = used / count / KIB
    return figures


def measure_flood(part: Part) -> None:
    """Many publish to one that does not read. It has to be alive afterwards."""
    units = {GREW: "MiB", TAKEN: "MiB"}
    part.add(OURS, lambda: lambda: _flood(part))
    part.measure(units, {(GREW, ""): Goal(16.0)}, rounds=1)


def _flood(part: Part) -> Mapping[str, float]:
    seconds = min(FLOOD_SECONDS, FLOOD_SECONDS * part.run.seconds)
    with ExitStack() as stack:
        broker = stack.enter_context(our_broker(part.folder))
        arguments = (broker.ports[TCP], part.scaled(PUBLISHERS), seconds)
        flood = stack.enter_context(_start(part, "mqtt_flood", *arguments))
        flood.read_line("connected")
        before = resident_bytes(broker.pid)
        flood.write_line("")
        taken = int(flood.read_line("taken "))
        grown = peak_resident_bytes(broker.pid) - before
        flood.write_line("")
        flood.read_line("alive")
        return {GREW: grown / MIB, TAKEN: taken / MIB}


def measure_return(part: Part) -> None:
    """The broker is killed, and starts again: until all have a connection and what they want."""
    part.add(OURS, lambda: lambda: _return(part))
    part.measure({BACK: "s"}, rounds=1)


def _return(part: Part) -> Mapping[str, float]:
    port = port_to_come_back_to()
    with ExitStack() as stack:
        broker: Broker = stack.enter_context(our_broker(part.folder, port))
        count = part.scaled(RETURNING)
        crowd = stack.enter_context(_start(part, "mqtt_returning", port, count))
        crowd.read_line("all there ", seconds=PATIENCE_SECONDS)
        broker.program.kill()
        stack.enter_context(our_broker(part.folder, port))
        listening = time.monotonic()
        back = float(crowd.read_line("all there ", seconds=PATIENCE_SECONDS))
        crowd.stop()  # before the broker, which would take its time to send all away
        return {BACK: max(0.0, back - listening)}


def _start(part: Part, module: str, *arguments: float) -> Program:
    argv = ["python", "-m", f"tests.benchmarks.{module}", *map(str, arguments)]
    return Program(argv, part.folder, name=module)
