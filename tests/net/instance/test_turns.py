"""porttunnel.net.instance.turns: a click passes a download, nobody waits for one who stalls."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from porttunnel.errors import BrokerRefused, OutcomeUnknown, QueueFull
from porttunnel.mqtt.client_event import PublishFinished
from porttunnel.mqtt.property import EMPTY
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.instance import turns as module
from porttunnel.net.instance.backlog import MIN_BACKLOG_BYTES
from porttunnel.net.instance.turns import MESSAGE_BYTES, Turns

PART = bytes(65_536)
ON_ITS_WAY = MIN_BACKLOG_BYTES // len(PART)


class Download:
    """A response of so many parts."""

    def __init__(self, device_id: str, parts: int, name: str = "") -> None:
        self.device_id = device_id
        self.topic = f"{device_id}/{name}"
        self.left = parts
        self.is_lost = False

    @property
    def has_part(self) -> bool:
        return self.left > 0

    def take_part(self) -> bytes:
        self.left -= 1
        return PART

    def lose_device(self) -> None:
        self.is_lost = True
        self.left = 0


class Line:
    """The gateway: takes one message after the other when it is told to.

    :ivar sent: topics, in their order.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.sent: list[str] = []
        self.held: list[Deferred[Any]] = []
        self.turns = Turns(self.clock, self.publish)

    def publish(self, topic: str, payload: bytes | bytearray) -> Deferred[Any]:
        self.sent.append(topic)
        finished: Deferred[Any] = Deferred()
        self.held.append(finished)
        return finished

    def take(self, count: int = 1, reason: ReasonCode = ReasonCode.SUCCESS) -> None:
        for _ in range(count):
            self.clock.advance(0.1)
            self.held.pop(0).callback(PublishFinished(1, reason, EMPTY))
        self.clock.advance(0)


@pytest.fixture
def line() -> Line:
    return Line()


def test_a_click_passes_a_download_of_a_gib(line: Line) -> None:
    line.turns.add(Download("a" * 32, 16_384))
    line.clock.advance(0)
    assert len(line.sent) == ON_ITS_WAY, "no more waits in the client than is good for speed"
    line.take(100)
    click = Download("b" * 32, 1)
    line.turns.add(click)
    before = len(line.sent)
    line.take(2)
    assert line.sent[before + 1] == click.topic, "after one part of each other device"


def test_devices_in_turn_and_requests_in_turn(line: Line) -> None:
    one, two = Download("a" * 32, 50, "1"), Download("a" * 32, 50, "2")
    other = Download("b" * 32, 50, "3")
    for source in (one, two, other):
        line.turns.add(source)
        line.turns.add(source)
    line.clock.advance(0)
    line.take(10)
    order = [topic[-1] for topic in line.sent[:12]]
    assert order == ["1", "3", "2", "3"] * 3


def test_what_is_small_goes_before_the_parts_of_its_device_only(line: Line) -> None:
    for device in "ab":
        line.turns.add(Download(device * 32, 50, "part"))
    line.clock.advance(0)
    for number in range(3):
        line.turns.say("a" * 32, f"said {number}", b"x")
    line.clock.advance(0)
    before = len(line.sent)
    line.take(6)
    taken = [topic.rpartition("/")[2] for topic in line.sent[before:]]
    assert taken[:6] == ["said 0", "part", "said 1", "part", "said 2", "part"]


def test_a_source_that_has_nothing_costs_no_turn(line: Line) -> None:
    stalled, going = Download("a" * 32, 0), Download("a" * 32, 1, "going")
    line.turns.add(stalled)
    line.turns.add(going)
    line.clock.advance(0)
    assert line.sent == [going.topic]
    line.turns.add(stalled)
    line.clock.advance(0)
    stalled.left = 1
    line.turns.add(stalled)
    line.turns.remove(stalled)
    line.turns.remove(Download("c" * 32, 1))
    line.clock.advance(0)
    assert line.sent == [going.topic]


def test_somebody_who_is_not_there(line: Line) -> None:
    gone = Download("a" * 32, 50)
    line.turns.add(gone)
    told: list[bool] = []
    line.turns.say("b" * 32, "push", b"").addCallback(told.append)
    line.clock.advance(0)
    for _ in range(2):
        line.take(1, ReasonCode.NO_MATCHING_SUBSCRIBERS)
    assert gone.is_lost
    assert told == [False]
    here = line.turns.say("b" * 32, "push", b"")
    line.clock.advance(0)
    line.take(len(line.held))
    here.addCallback(told.append)
    assert told == [False, True]


def test_a_device_that_the_gateway_refuses(line: Line) -> None:
    error = BrokerRefused("no", ReasonCode.NOT_AUTHORIZED)
    line.turns = Turns(line.clock, lambda topic, payload: fail(error))
    source, told = Download("a" * 32, 2), []
    line.turns.add(source)
    line.turns.say("b" * 32, "push", b"").addCallback(told.append)
    line.clock.advance(0)
    assert source.is_lost
    assert told == [False]


def test_a_lost_connection(line: Line) -> None:
    error = OutcomeUnknown("lost")
    line.turns.add(Download("a" * 32, 100))
    told: list[Any] = []
    line.turns.say("b" * 32, "1", b"").addErrback(lambda failure: told.append(failure.value))
    line.clock.advance(0)
    line.turns.say("b" * 32, "2", b"").addErrback(lambda failure: told.append(failure.value))
    line.turns.clear(error)
    assert told == [error, error]
    held, line.held = line.held, []
    for finished in held:
        finished.errback(error)
    line.clock.advance(0)
    assert line.held == [], "nothing of it goes out on the next one"
    assert line.turns.waiting_bytes == 0


def test_who_asks_and_does_not_listen_loses_what_it_does_not_hear(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SAID_BYTES", 3 * (MESSAGE_BYTES + 1))
    failed: list[Any] = []
    for _ in range(5):
        line.turns.say("a" * 32, "reply", b"x").addErrback(
            lambda failure: failed.append(failure.trap(QueueFull))
        )
    other = line.turns.say("b" * 32, "reply", b"x")
    line.clock.advance(0)
    assert (failed, len(line.sent)) == ([QueueFull] * 2, 4)
    line.take(4)
    told: list[bool] = []
    other.addCallback(told.append)
    assert told == [True]


def test_a_gateway_that_takes_nothing_costs_a_bounded_amount(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SAID_OVERALL_BYTES", 10 * (MESSAGE_BYTES + 1))
    failed: list[Any] = []
    for number in range(15):
        line.turns.say(f"{number:032}", "reply", b"x").addErrback(failed.append)
    line.clock.advance(0)
    assert (len(failed), len(line.sent)) == (5, 10)
    line.turns.say("a" * 32, "reply", b"x")
    line.turns.clear(OutcomeUnknown("lost"))
    line.turns.say("a" * 32, "reply", b"x")
    line.clock.advance(0)
    assert len(line.sent) == 11


def test_a_cancelled_answer_is_nobody_s(line: Line) -> None:
    said = line.turns.say("a" * 32, "reply", b"x")
    said.addErrback(lambda failure: None)
    line.clock.advance(0)
    said.cancel()
    line.take(1)
    assert line.turns.waiting_bytes == 0
