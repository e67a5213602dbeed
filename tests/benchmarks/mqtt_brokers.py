"""MQTT brokers: ours as users run it, mosquitto, aedes and amqtt."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.benchmarks.contest import MissingPeer
from tests.benchmarks.mqtt_wire import TCP, WEBSOCKET
from tests.benchmarks.program import HOST, Program, free_port, wait_for_port
from tests.benchmarks.table import OURS

__all__ = ["AEDES", "AMQTT", "BROKERS", "MOSQUITTO", "Broker", "BrokerKind", "our_broker"]

MOSQUITTO = "mosquitto"
AEDES = "aedes"
AMQTT = "amqtt"

_SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # Debian keeps servers out of people's PATH
_AEDES_FOLDER = Path(__file__).with_name("aedes")

# Its own limits on messages that wait would drop some; everything else as it comes. Without the
# domain it would serve WebSocket on all addresses.
_MOSQUITTO = """
listener {tcp} {host}
listener {websocket} {host}
socket_domain ipv4
protocol websockets
allow_anonymous true
set_tcp_nodelay true
max_inflight_messages 1000
max_queued_messages 0
persistence false
log_type error
"""
# YAML, of which JSON is a part.
_AMQTT_PLUGIN = "amqtt.plugins.authentication.AnonymousAuthPlugin"


@dataclass(frozen=True)
class Broker:
    """One that runs.

    :ivar ports: where it listens, by transport.
    """

    program: Program
    ports: Mapping[str, int]

    @property
    def pid(self) -> int:
        return self.program.pid


@contextmanager
def our_broker(folder: Path, tcp: int = 0) -> Iterator[Broker]:
    """``twistd porttunnel-broker``.

    :param tcp: its port, or 0 for any.
    """
    twistd = Path(sys.executable).with_name("twistd")
    log = f"--logfile={folder / 'broker.log'}"
    argv = [
        *("python", twistd, "--nodaemon", "--pidfile=", log, "porttunnel-broker"),
        *("--listen", f"tcp:{tcp}:interface={HOST}"),
        *("--websocket", f"tcp:0:interface={HOST}", "--admin", "off"),
    ]
    with Program(argv, folder, name="porttunnel-broker") as program:
        # In the order of the options.
        ports = [
            int(program.read_line("listening tcp:").partition(":")[0]) for _ in (TCP, WEBSOCKET)
        ]
        yield Broker(program, dict(zip((TCP, WEBSOCKET), ports, strict=True)))


@contextmanager
def _mosquitto(folder: Path) -> Iterator[Broker]:
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path=_SYSTEM_PATH)
    if found is None:
        raise MissingPeer("apt install mosquitto")
    ports = {TCP: free_port(), WEBSOCKET: free_port()}
    settings = folder / "mosquitto.conf"
    settings.write_text(_MOSQUITTO.format(host=HOST, **ports))
    with Program([found, "-c", settings], folder, name=MOSQUITTO) as program:
        yield _listening(program, ports)


@contextmanager
def _aedes(folder: Path) -> Iterator[Broker]:
    node = shutil.which("node")
    if node is None or not (_AEDES_FOLDER / "node_modules").exists():
        raise MissingPeer("apt install nodejs npm; npm install --prefix tests/benchmarks/aedes")
    with Program([node, _AEDES_FOLDER / "broker.js"], folder, name=AEDES) as program:
        tcp, websocket = program.read_line().split()
        yield Broker(program, {TCP: int(tcp), WEBSOCKET: int(websocket)})


@contextmanager
def _amqtt(folder: Path) -> Iterator[Broker]:
    if find_spec("amqtt") is None:
        raise MissingPeer("pip install amqtt")
    ports = {TCP: free_port(), WEBSOCKET: free_port()}
    settings = folder / "amqtt.yaml"
    content = {
        "listeners": {
            "default": {"type": "tcp", "bind": f"{HOST}:{ports[TCP]}"},
            "websocket": {"type": "ws", "bind": f"{HOST}:{ports[WEBSOCKET]}"},
        },
        "plugins": {_AMQTT_PLUGIN: {"allow_anonymous": True}},
    }
    settings.write_text(json.dumps(content))
    script = Path(sys.executable).with_name("amqtt")
    with Program(["python", script, "-c", settings], folder, name=AMQTT) as program:
        yield _listening(program, ports)


def _listening(program: Program, ports: Mapping[str, int]) -> Broker:
    for port in ports.values():
        wait_for_port(program, port)
    return Broker(program, ports)


BrokerKind = Callable[[Path], AbstractContextManager[Broker]]

BROKERS: Mapping[str, BrokerKind] = {
    OURS: our_broker,
    MOSQUITTO: _mosquitto,
    AEDES: _aedes,
    AMQTT: _amqtt,
}
