"""When a consumer's producer is told to pause, to go on, and to stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.task import Clock

from porttunnel.net.registered_producer import RegisteredProducer


class Producer:
    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class Consumer:
    def __init__(self) -> None:
        self.clock = Clock()
        self.calls = 0
        self.registered = RegisteredProducer(self.clock, self.call)

    def call(self, function: Callable[[], Any]) -> None:
        self.calls += 1
        function()

    def register(self, *, streaming: bool) -> Producer:
        producer = Producer()
        self.registered.register(producer, streaming, over=False)
        return producer


@pytest.fixture
def consumer() -> Consumer:
    return Consumer()


def test_there_is_one_at_a_time(consumer: Consumer) -> None:
    registered = consumer.registered
    assert not registered.is_there
    consumer.register(streaming=True)
    assert registered.is_there
    with pytest.raises(RuntimeError, match="already"):
        registered.register(Producer(), True, over=False)
    registered.unregister()
    assert not registered.is_there
    consumer.register(streaming=True)


@pytest.mark.parametrize("streaming", [True, False])
def test_who_comes_too_late_is_stopped(consumer: Consumer, streaming: bool) -> None:
    producer = Producer()
    consumer.registered.register(producer, streaming, over=True)
    assert producer.told == ["stop"]
    assert not consumer.registered.is_there


def test_a_push_producer_is_paused_once_and_goes_on_once(consumer: Consumer) -> None:
    producer = consumer.register(streaming=True)
    assert not consumer.registered.is_pulled
    for _ in range(2):
        consumer.registered.hold()
    assert (producer.told, consumer.registered.is_full) == (["pause"], True)
    for _ in range(2):
        consumer.registered.go_on()
    assert (producer.told, consumer.registered.is_full) == (["pause", "resume"], False)
    assert consumer.calls == 1


def test_a_push_producer_that_finds_it_full_is_paused(consumer: Consumer) -> None:
    consumer.registered.hold()
    producer = consumer.register(streaming=True)
    assert producer.told == ["pause"]
    consumer.registered.go_on()
    assert producer.told == ["pause", "resume"]


def test_a_pull_producer_is_asked_in_another_turn(consumer: Consumer) -> None:
    producer = consumer.register(streaming=False)
    assert consumer.registered.is_pulled
    assert producer.told == ["resume"]
    for _ in range(2):
        consumer.registered.pull_soon()
    assert producer.told == ["resume"]
    consumer.clock.advance(0)
    assert producer.told == ["resume", "resume"]
    assert not consumer.clock.getDelayedCalls()


def test_a_pull_producer_waits_for_room(consumer: Consumer) -> None:
    consumer.registered.hold()
    producer = consumer.register(streaming=False)
    consumer.registered.pull_soon()
    consumer.clock.advance(0)
    assert producer.told == []
    consumer.registered.go_on()
    assert producer.told == ["resume"]


def test_who_has_gone_is_told_nothing(consumer: Consumer) -> None:
    pushing = consumer.register(streaming=True)
    consumer.registered.hold()
    consumer.registered.unregister()
    consumer.registered.go_on()
    assert pushing.told == ["pause"]
    pulled = consumer.register(streaming=False)
    consumer.registered.pull_soon()
    consumer.registered.unregister()
    consumer.clock.advance(0)
    assert pulled.told == ["resume"]


def test_a_pull_can_be_cancelled(consumer: Consumer) -> None:
    producer = consumer.register(streaming=False)
    consumer.registered.pull_soon()
    consumer.registered.cancel_pull()
    consumer.registered.cancel_pull()
    consumer.clock.advance(0)
    assert producer.told == ["resume"]


@pytest.mark.parametrize("streaming", [True, False])
def test_the_end_is_told_once(consumer: Consumer, streaming: bool) -> None:
    producer = consumer.register(streaming=streaming)
    consumer.registered.pull_soon()
    producer.told.clear()
    for _ in range(2):
        consumer.registered.stop()
    consumer.clock.advance(0)
    consumer.registered.go_on()
    assert producer.told == ["stop"]
    assert not consumer.registered.is_there
