"""The broker with mosquitto's clients (mosquitto_pub, mosquitto_sub, mosquitto_rr) and its bridge.

They know no WebSocket, and their library no alias of the server's.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from porttunnel.mqtt.reason import ReasonCode
from tests.real.library_broker import SHORT_KEEP_ALIVE, start_broker
from tests.real.mosquitto import Mosquitto
from tests.real.needed import needed_program
from tests.real.program import Program, Start

pytestmark = pytest.mark.real

V3, V5 = "mqttv311", "mqttv5"
BOTH = pytest.mark.parametrize("version", [V3, V5])
ONLY_V5 = pytest.mark.parametrize("version", [V5])
PACKAGE = "mosquitto-clients"
FAILURE = 0x80  # in SUBACK of 3.1.1


BRIDGE = """
connection to-porttunnel
address 127.0.0.1:{port}
bridge_protocol_version {version}
topic {topic}/up out 2
topic {topic}/down in 2
notifications_local_only true
try_private false
"""


class Clients:
    """Starts its clients, all with one version of MQTT.

    :param port: of the broker.
    """

    def __init__(self, start: Start, port: int, version: str) -> None:
        self._start = start
        self._common = ("-h", "127.0.0.1", "-p", str(port), "-V", version)

    def start(self, name: str, *words: str) -> Program:
        # Into a pipe they would write only once they have a lot.
        by_line = (needed_program("stdbuf", "coreutils"), "-oL")
        return self._start(*by_line, needed_program(name, PACKAGE), *self._common, *words)

    def publish(self, topic: str, payload: str, *words: str) -> Program:
        """Returns once the broker has answered."""
        program = self.start("mosquitto_pub", "-d", "-t", topic, "-m", payload, *words)
        assert program.wait() == 0, program.errors
        return program

    def subscribe(self, topic: str, *words: str) -> Program:
        """Returns once the broker has answered."""
        program = self.start("mosquitto_sub", "-d", "-F", "%j", "-t", topic, *words)
        program.line("Subscribed (mid: 1): ")
        return program


def message(program: Program) -> dict[str, Any]:
    """The next one that a mosquitto_sub prints."""
    found: dict[str, Any] = json.loads(program.line("{"))
    return found


def leave_a_will(clients: Clients, topic: str, delay_seconds: int) -> None:
    """By a client of the topic's name whose session stays."""
    dying = clients.subscribe(
        *(f"{topic}/other", "-i", topic, "-c", "--will-topic", topic, "--will-payload", "gone"),
        *("-D", "will", "will-delay-interval", str(delay_seconds)),
    )
    os.kill(dying.pid, signal.SIGKILL)
    dying.wait()


def payload(program: Program) -> str:
    return str(message(program)["payload"])


@pytest.fixture(scope="module")
def port(start_for_module: Start) -> int:
    return start_broker(start_for_module)["tcp"].port


@pytest.fixture
def clients(start: Start, port: int, version: str) -> Clients:
    return Clients(start, port, version)


_numbers = itertools.count(1)


@pytest.fixture
def topic() -> str:
    return f"topic{next(_numbers)}"


@BOTH
class TestBothVersions:
    def test_every_quality_of_service(self, clients: Clients, topic: str) -> None:
        listeners = [clients.subscribe(topic, "-q", str(qos)) for qos in range(3)]
        for qos in range(3):
            clients.publish(topic, f"sent as {qos}", "-q", str(qos))
        for granted, listener in enumerate(listeners):
            for qos in range(3):
                came = message(listener)
                assert came["payload"] == f"sent as {qos}"
                assert came["qos"] == min(qos, granted)

    def test_retained(self, clients: Clients, topic: str) -> None:
        clients.publish(f"{topic}/1", "old", "-r")
        clients.publish(f"{topic}/1", "new", "-r", "-q", "1")
        came = message(clients.subscribe(f"{topic}/+"))
        assert (came["topic"], came["payload"], came["retain"]) == (f"{topic}/1", "new", 1)
        clients.start("mosquitto_pub", "-t", f"{topic}/1", "-r", "-n", "-q", "1").wait()
        late = clients.subscribe(f"{topic}/+")
        clients.publish(f"{topic}/2", "first")
        assert payload(late) == "first"

    def test_a_will(self, clients: Clients, topic: str) -> None:
        listener = clients.subscribe(topic, "-q", "1")
        will = ("--will-topic", topic, "--will-qos", "1", "--will-payload")
        clients.publish(f"{topic}/other", "", *will, "left")
        dying = clients.subscribe(f"{topic}/other", *will, "died")
        os.kill(dying.pid, signal.SIGKILL)
        came = message(listener)
        assert (came["payload"], came["qos"]) == ("died", 1)

    def test_messages_that_came_while_it_was_away(self, clients: Clients, topic: str) -> None:
        mine = ("-i", topic, "-c", "-q", "2")
        clients.subscribe(topic, *mine, "-E").wait()
        for qos in (1, 2):
            clients.publish(topic, f"sent as {qos}", "-q", str(qos))
        again = clients.start("mosquitto_sub", "-F", "%q %p", "-t", topic, *mine, "-C", "2")
        assert sorted(again.line("") for _ in range(2)) == ["1 sent as 1", "2 sent as 2"]
        assert again.wait() == 0

    def test_a_shared_subscription(self, clients: Clients, topic: str) -> None:
        workers = [
            clients.subscribe(f"$share/group/{topic}", "-q", "1", "-t", f"{topic}-end")
            for _ in range(2)
        ]
        sending = clients.start("mosquitto_pub", "-t", topic, "-l", "-q", "1")
        for number in range(20):
            sending.send(str(number))
        sending.end_input()
        assert sending.wait() == 0
        clients.publish(f"{topic}-end", "end", "-q", "1")
        done: Counter[str] = Counter()
        for worker in workers:
            own = list(iter(partial(payload, worker), "end"))
            assert own
            done.update(own)
        assert done == {str(number): 1 for number in range(20)}

    def test_a_request_and_its_response(self, clients: Clients, topic: str, version: str) -> None:
        answering = clients.subscribe(f"{topic}/sum", "-q", "1")
        asking = clients.start(
            *("mosquitto_rr", "-t", f"{topic}/sum", "-e", f"{topic}/answer", "-m", "1+2"),
            *("-q", "1", "-D", "publish", "correlation-data", "sum 1") * (version == V5),
        )
        request = message(answering)
        assert request["payload"] == "1+2"
        told: list[str] = []
        if version == V5:
            assert request["properties"]["response-topic"] == f"{topic}/answer"
            told = ["-D", "publish", "correlation-data", request["properties"]["correlation-data"]]
        clients.publish(f"{topic}/answer", "3", *told)
        assert asking.next_line() == "3"
        assert asking.wait() == 0

    def test_whoever_comes_with_its_name_takes_over(
        self, clients: Clients, topic: str, version: str
    ) -> None:
        listener = clients.subscribe(f"{topic}/will")
        will = ("--will-topic", f"{topic}/will", "--will-payload", "put out")
        first = clients.subscribe(topic, "-i", topic, *will)
        second = clients.subscribe(topic, "-i", topic)
        assert payload(listener) == "put out"
        if version == V5:
            first.line(f"Received DISCONNECT ({ReasonCode.SESSION_TAKEN_OVER:d})")
        else:
            os.kill(first.pid, signal.SIGKILL)  # or it would take over again
        first.wait()
        clients.publish(topic, "still here")
        assert payload(second) == "still here"

    def test_a_refused_subscription(self, clients: Clients, topic: str, version: str) -> None:
        reason = FAILURE if version == V3 else ReasonCode.NOT_AUTHORIZED
        program = clients.start("mosquitto_sub", "-d", "-t", "secret/plans", "-t", topic)
        assert program.line("Subscribed") == f"Subscribed (mid: 1): {reason:d}, 0"


@ONLY_V5
class TestOnlyMQTT5:
    def test_properties(self, clients: Clients, topic: str) -> None:
        listener = clients.subscribe(topic)
        told = {
            "content-type": "text/plain",
            "message-expiry-interval": "60",
            "payload-format-indicator": "1",
        }
        words = [("-D", "publish", name, value) for name, value in told.items()]
        user = ("-D", "publish", "user-property", "unit", "metre")
        clients.publish(topic, "1.5", *itertools.chain(*words), *user)
        properties = message(listener)["properties"]
        assert properties.pop("user-properties") == {"unit": "metre"}
        assert {name: str(value) for name, value in properties.items()} == told

    def test_is_told_that_nobody_listens(self, clients: Clients, topic: str) -> None:
        program = clients.publish(topic, "", "-q", "1")
        program.line_with(f"RC:{ReasonCode.NO_MATCHING_SUBSCRIBERS:d}")

    def test_subscription_identifiers(self, clients: Clients, topic: str) -> None:
        mine = ("-D", "subscribe", "subscription-identifier")
        listener = clients.subscribe(topic, *mine, "300")
        clients.publish(topic, "")
        assert message(listener)["properties"] == {"subscription-identifier": 300}

    def test_a_will_that_waits(self, clients: Clients, topic: str) -> None:
        listener = clients.subscribe(topic)
        leave_a_will(clients, topic, 1)
        clients.publish(topic, "cut off")
        assert [payload(listener) for _ in range(2)] == ["cut off", "gone"]

    @pytest.mark.parametrize("comes_back", [True, False])
    def test_a_will_that_waits_for_its_session(
        self, clients: Clients, topic: str, comes_back: bool
    ) -> None:
        listener = clients.subscribe(topic)
        leave_a_will(clients, topic, 3_600)
        other = f"{topic}/other"
        if comes_back:
            clients.subscribe(other, "-i", topic, "-c", "-E").wait()
        # It ends the session; a will that still waits is published now.
        clients.subscribe(other, "-i", topic, "-E").wait()
        if not comes_back:
            assert payload(listener) == "gone"
        clients.publish(topic, "nothing more")
        assert payload(listener) == "nothing more"

    def test_must_speak_as_often_as_the_server_says(self, clients: Clients, topic: str) -> None:
        watched = clients.subscribe(topic, "-u", SHORT_KEEP_ALIVE, "-k", "600")
        watched.line_with("received PINGRESP")
        clients.publish(topic, "still here")
        assert payload(watched) == "still here"


def test_who_is_silent_for_too_long_is_put_out(start: Start, port: int, topic: str) -> None:
    """Both versions at once, because it takes its time."""
    listener = Clients(start, port, V5).subscribe(f"{topic}/+")
    silent = {
        version: Clients(start, port, version).subscribe(
            *(topic, "-u", SHORT_KEEP_ALIVE),
            *("--will-topic", f"{topic}/{version}", "--will-payload", version),
        )
        for version in (V3, V5)
    }
    for program in silent.values():
        os.kill(program.pid, signal.SIGSTOP)
    assert {payload(listener) for _ in silent} == set(silent)
    for program in silent.values():
        os.kill(program.pid, signal.SIGCONT)
    silent[V5].line(f"Received DISCONNECT ({ReasonCode.KEEP_ALIVE_TIMEOUT:d})")


@pytest.mark.parametrize("version", ["mqttv311", "mqttv50"])
def test_a_bridge_of_mosquitto(
    start: Start, port: int, topic: str, tmp_path: Path, version: str
) -> None:
    config = BRIDGE.format(port=port, version=version, topic=topic)
    mosquitto = Mosquitto(start, tmp_path, config)
    mosquitto.says("Received SUBACK from local.")
    there = Clients(start, mosquitto.port, V5)
    here = Clients(start, port, V5)
    for name, sending, receiving in (("up", there, here), ("down", here, there)):
        listener = receiving.subscribe(f"{topic}/{name}", "-q", "2")
        for qos in range(1, 3):
            sending.publish(f"{topic}/{name}", f"{name} {qos}", "-q", str(qos))
            came = message(listener)
            assert (came["payload"], came["qos"]) == (f"{name} {qos}", qos)
