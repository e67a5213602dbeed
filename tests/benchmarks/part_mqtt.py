"""What a message costs an MQTT broker, and a client that is only connected."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from tests.benchmarks.bare_broker import BARE, bare_broker
from tests.benchmarks.mqtt_brokers import AEDES, BROKERS, MOSQUITTO, Broker, BrokerKind
from tests.benchmarks.mqtt_wire import TCP, WEBSOCKET
from tests.benchmarks.processes import resident_bytes
from tests.benchmarks.program import Program
from tests.benchmarks.run import Part
from tests.benchmarks.table import Goal

__all__ = [
    "KIB",
    "TRANSPORTS",
    "measure_idle",
    "measure_qos0",
    "measure_qos1",
    "measure_requests",
    "start_traffic",
]

TRANSPORTS = {TCP: "TCP", WEBSOCKET: "WebSocket"}
SIZES = {100: "100 B", 10_240: "10 KiB"}
REQUESTERS = {50: "50 requesters", 1: "one in flight"}
FIRST_CLIENTS = 100  # pay for what all of them share
CLIENTS = 1_000
OPENING_SECONDS = 100.0
MICROSECONDS = 1e6
KIB = 1024

CPU, RATE = "CPU", "rate"
_Measure = Callable[[], Mapping[str, float]]


def measure_qos0(part: Part) -> None:
    """Many publish to one, each message at most once."""
    _measure_fan_in(part, 0)


def measure_qos1(part: Part) -> None:
    """The same, acknowledged on both sides."""
    _measure_fan_in(part, 1)


def _measure_fan_in(part: Part, qos: int) -> None:
    cases = {
        f"{transport_name}, {size_name}": ("fan-in", transport, qos, size)
        for transport, transport_name in TRANSPORTS.items()
        for size, size_name in SIZES.items()
    }
    small = SIZES[100]
    goals = {
        (_figure(f"{name}, {small}", CPU), MOSQUITTO): Goal(1.0) for name in TRANSPORTS.values()
    }
    _measure_cases(part, cases, goals, "1/s")


def measure_requests(part: Part) -> None:
    """Questions to one client, who answers each to who asked."""
    cases = {
        f"{transport_name}, {count_name}": ("requests", transport, count)
        for transport, transport_name in TRANSPORTS.items()
        for count, count_name in REQUESTERS.items()
    }
    goals = {
        (_figure(case, CPU), peer): Goal(bound)
        for case in cases
        for peer, bound in ((MOSQUITTO, 2.0), (AEDES, 0.25))
    }
    _measure_cases(part, cases, goals, "1/s", BROKERS | {BARE: bare_broker})


def measure_idle(part: Part) -> None:
    """Memory of clients that have connected, and subscribed to a topic each."""
    units = dict.fromkeys(TRANSPORTS.values(), "KiB")
    goals = {(name, ""): Goal(8.0) for name in TRANSPORTS.values()}
    _start_all(part, lambda broker: _idle(part, broker))
    part.measure(units, goals, rounds=1)


def _measure_cases(
    part: Part,
    cases: Mapping[str, tuple[str, str, *tuple[int, ...]]],
    goals: Mapping[tuple[str, str], Goal],
    rate_unit: str,
    brokers: Mapping[str, BrokerKind] = BROKERS,
) -> None:
    def measure(broker: Broker) -> Mapping[str, float]:
        figures = {}
        for case, (role, transport, *counts) in cases.items():
            if transport not in broker.ports:
                continue
            result = _load(part, broker, role, transport, counts)
            figures[_figure(case, CPU)] = result["cpu"] / result["count"] * MICROSECONDS
            figures[_figure(case, RATE)] = result["count"] / result["seconds"]
        return figures

    _start_all(part, measure, brokers)
    units = {
        _figure(case, kind): unit
        for kind, unit in ((CPU, "µs"), (RATE, rate_unit))
        for case in cases
    }
    part.measure(units, goals)


def _figure(case: str, kind: str) -> str:
    return f"{case}: {kind}"


def _start_all(
    part: Part,
    measure: Callable[[Broker], Mapping[str, float]],
    brokers: Mapping[str, BrokerKind] = BROKERS,
) -> None:
    """Every broker that is installed, for the whole part."""

    def start(name: str) -> _Measure:
        broker = part.stack.enter_context(brokers[name](part.folder))
        return lambda: measure(broker)

    for name in brokers:
        part.add(name, lambda name=name: start(name))


def _load(
    part: Part, broker: Broker, role: str, transport: str, counts: Sequence[int]
) -> Mapping[str, float]:
    port = broker.ports[transport]
    with start_traffic(
        part, role, port, transport, broker.pid, part.run.seconds, *counts
    ) as clients:
        result: Mapping[str, float] = json.loads(clients.read_line())
        return result


def _idle(part: Part, broker: Broker) -> Mapping[str, float]:
    figures = {}
    count = part.scaled(CLIENTS)
    with ExitStack() as stack:
        for transport, name in TRANSPORTS.items():
            # The others stay: the room of those who have gone would be used again.
            clients = stack.enter_context(
                start_traffic(part, "idle", broker.ports[transport], transport)
            )
            used = []
            for step in (FIRST_CLIENTS, count):
                clients.write_line(str(step))
                clients.read_line("open", seconds=OPENING_SECONDS)
                used.append(resident_bytes(broker.pid))
            figures[name] = (used[1] - used[0]) / count / KIB
    return figures


def start_traffic(part: Part, role: str, *arguments: object) -> Program:
    argv = ["python", "-m", "tests.benchmarks.mqtt_traffic", role, *map(str, arguments)]
    return Program(argv, part.folder, name=f"mqtt-{role}")
