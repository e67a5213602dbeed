"""The broker with mosquitto's clients: mosquitto_pub, mosquitto_sub and mosquitto_rr.

They know no WebSocket, and their library no alias of the server's.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections import Counter
from functools import partial
from typing import Any

import pytest

from porttunnel.mqtt.reason import ReasonCode
from tests.real.library_broker import SHORT_KEEP_ALIVE, start_broker
from tests.real.needed import needed_program
from tests.real.program import Program, Start

pytestmark = pytest.mark.real

V3, V5 = "mqttv311", "mqttv5"
BOTH = pytest.mark.parametrize("version", [V3, V5])
ONLY_V5 = pytest.mark.parametrize("version", [V5])
PACKAGE = "mosquitto-clients"
FAILURE = 0x80  # in SUBACK of 3.1.1


class Mosquitto:
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


def leave_a_will(mosquitto: Mosquitto, topic: str, delay_seconds: int) -> None:
    """By a client of the topic's name whose session stays."""
    dying = mosquitto.subscribe(
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
def mosquitto(start: Start, port: int, version: str) -> Mosquitto:
    return Mosquitto(start, port, version)


_numbers = itertools.count(1)


@pytest.fixture
def topic() -> str:
    return f"topic{next(_numbers)}"


@BOTH
class TestBothVersions:
    def test_every_quality_of_service(self, mosquitto: Mosquitto, topic: str) -> None:
        listeners = [mosquitto.subscribe(topic, "-q", str(qos)) for qos in range(3)]
        for qos in range(3):
            mosquitto.publish(topic, f"sent as {qos}", "-q", str(qos))
        for granted, listener in enumerate(listeners):
            for qos in range(3):
                came = message(listener)
                assert came["payload"] == f"sent as {qos}"
                assert came["qos"] == min(qos, granted)

    def test_retained(self, mosquitto: Mosquitto, topic: str) -> None:
        mosquitto.publish(f"{topic}/1", "old", "-r")
        mosquitto.publish(f"{topic}/1", "new", "-r", "-q", "1")
        came = message(mosquitto.subscribe(f"{topic}/+"))
        assert (came["topic"], came["payload"], came["retain"]) == (f"{topic}/1", "new", 1)
        mosquitto.start("mosquitto_pub", "-t", f"{topic}/1", "-r", "-n", "-q", "1").wait()
        late = mosquitto.subscribe(f"{topic}/+")
        mosquitto.publish(f"{topic}/2", "first")
        assert payload(late) == "first"

    def test_a_will(self, mosquitto: Mosquitto, topic: str) -> None:
        listener = mosquitto.subscribe(topic, "-q", "1")
        will = ("--will-topic", topic, "--will-qos", "1", "--will-payload")
        mosquitto.publish(f"{topic}/other", "", *will, "left")
        dying = mosquitto.subscribe(f"{topic}/other", *will, "died")
        os.kill(dying.pid, signal.SIGKILL)
        came = message(listener)
        assert (came["payload"], came["qos"]) == ("died", 1)

    def test_messages_that_came_while_it_was_away(self, mosquitto: Mosquitto, topic: str) -> None:
        mine = ("-i", topic, "-c", "-q", "2")
        mosquitto.subscribe(topic, *mine, "-E").wait()
        for qos in (1, 2):
            mosquitto.publish(topic, f"sent as {qos}", "-q", str(qos))
        again = mosquitto.start("mosquitto_sub", "-F", "%q %p", "-t", topic, *mine, "-C", "2")
        assert sorted(again.line("") for _ in range(2)) == ["1 sent as 1", "2 sent as 2"]
        assert again.wait() == 0

    def test_a_shared_subscription(self, mosquitto: Mosquitto, topic: str) -> None:
        workers = [
            mosquitto.subscribe(f"$share/group/{topic}", "-q", "1", "-t", f"{topic}-end")
            for _ in range(2)
        ]
        sending = mosquitto.start("mosquitto_pub", "-t", topic, "-l", "-q", "1")
        for number in range(20):
            sending.send(str(number))
        sending.end_input()
        assert sending.wait() == 0
        mosquitto.publish(f"{topic}-end", "end", "-q", "1")
        done: Counter[str] = Counter()
        for worker in workers:
            own = list(iter(partial(payload, worker), "end"))
            assert own
            done.update(own)
        assert done == {str(number): 1 for number in range(20)}

    def test_a_request_and_its_response(
        self, mosquitto: Mosquitto, topic: str, version: str
    ) -> None:
        answering = mosquitto.subscribe(f"{topic}/sum", "-q", "1")
        asking = mosquitto.start(
            *("mosquitto_rr", "-t", f"{topic}/sum", "-e", f"{topic}/answer", "-m", "1+2"),
            *("-q", "1", "-D", "publish", "correlation-data", "sum 1") * (version == V5),
        )
        request = message(answering)
        assert request["payload"] == "1+2"
        told: list[str] = []
        if version == V5:
            assert request["properties"]["response-topic"] == f"{topic}/answer"
            told = ["-D", "publish", "correlation-data", request["properties"]["correlation-data"]]
        mosquitto.publish(f"{topic}/answer", "3", *told)
        assert asking.next_line() == "3"
        assert asking.wait() == 0

    def test_whoever_comes_with_its_name_takes_over(
        self, mosquitto: Mosquitto, topic: str, version: str
    ) -> None:
        listener = mosquitto.subscribe(f"{topic}/will")
        will = ("--will-topic", f"{topic}/will", "--will-payload", "put out")
        first = mosquitto.subscribe(topic, "-i", topic, *will)
        second = mosquitto.subscribe(topic, "-i", topic)
        assert payload(listener) == "put out"
        if version == V5:
            first.line(f"Received DISCONNECT ({ReasonCode.SESSION_TAKEN_OVER:d})")
        else:
            os.kill(first.pid, signal.SIGKILL)  # or it would take over again
        first.wait()
        mosquitto.publish(topic, "still here")
        assert payload(second) == "still here"

    def test_a_refused_subscription(self, mosquitto: Mosquitto, topic: str, version: str) -> None:
        reason = FAILURE if version == V3 else ReasonCode.NOT_AUTHORIZED
        program = mosquitto.start("mosquitto_sub", "-d", "-t", "secret/plans", "-t", topic)
        assert program.line("Subscribed") == f"Subscribed (mid: 1): {reason:d}, 0"


@ONLY_V5
class TestOnlyMQTT5:
    def test_properties(self, mosquitto: Mosquitto, topic: str) -> None:
        listener = mosquitto.subscribe(topic)
        told = {
            "content-type": "text/plain",
            "message-expiry-interval": "60",
            "payload-format-indicator": "1",
        }
        words = [("-D", "publish", name, value) for name, value in told.items()]
        user = ("-D", "publish", "user-property", "unit", "metre")
        mosquitto.publish(topic, "1.5", *itertools.chain(*words), *user)
        properties = message(listener)["properties"]
        assert properties.pop("user-properties") == {"unit": "metre"}
        assert {name: str(value) for name, value in properties.items()} == told

    def test_is_told_that_nobody_listens(self, mosquitto: Mosquitto, topic: str) -> None:
        program = mosquitto.publish(topic, "", "-q", "1")
        program.line_with(f"RC:{ReasonCode.NO_MATCHING_SUBSCRIBERS:d}")

    def test_subscription_identifiers(self, mosquitto: Mosquitto, topic: str) -> None:
        mine = ("-D", "subscribe", "subscription-identifier")
        listener = mosquitto.subscribe(topic, *mine, "300")
        mosquitto.publish(topic, "")
        assert message(listener)["properties"] == {"subscription-identifier": 300}

    def test_a_will_that_waits(self, mosquitto: Mosquitto, topic: str) -> None:
        listener = mosquitto.subscribe(topic)
        leave_a_will(mosquitto, topic, 1)
        mosquitto.publish(topic, "cut off")
        assert [payload(listener) for _ in range(2)] == ["cut off", "gone"]

    @pytest.mark.parametrize("comes_back", [True, False])
    def test_a_will_that_waits_for_its_session(
        self, mosquitto: Mosquitto, topic: str, comes_back: bool
    ) -> None:
        listener = mosquitto.subscribe(topic)
        leave_a_will(mosquitto, topic, 3_600)
        other = f"{topic}/other"
        if comes_back:
            mosquitto.subscribe(other, "-i", topic, "-c", "-E").wait()
        # It ends the session; a will that still waits is published now.
        mosquitto.subscribe(other, "-i", topic, "-E").wait()
        if not comes_back:
            assert payload(listener) == "gone"
        mosquitto.publish(topic, "nothing more")
        assert payload(listener) == "nothing more"

    def test_must_speak_as_often_as_the_server_says(
        self, mosquitto: Mosquitto, topic: str
    ) -> None:
        watched = mosquitto.subscribe(topic, "-u", SHORT_KEEP_ALIVE, "-k", "600")
        watched.line_with("received PINGRESP")
        mosquitto.publish(topic, "still here")
        assert payload(watched) == "still here"


def test_who_is_silent_for_too_long_is_put_out(start: Start, port: int, topic: str) -> None:
    """Both versions at once, because it takes its time."""
    listener = Mosquitto(start, port, V5).subscribe(f"{topic}/+")
    silent = {
        version: Mosquitto(start, port, version).subscribe(
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
