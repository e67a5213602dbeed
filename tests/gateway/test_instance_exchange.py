"""porttunnel/gateway/instance_exchange.py: nothing of a request is told before it is accepted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from porttunnel import errors
from porttunnel.errors import AuthenticationFailed, LocalProtocolError, RemoteProtocolError
from porttunnel.gateway.instance_exchange import InstanceExchange
from porttunnel.gateway.message_event import (
    CreditReceived,
    ExchangeFailed,
    ExchangeState,
    FailureReceived,
    RequestCancelled,
    RequestReceived,
)
from porttunnel.gateway.part import Cancel, Credit, Failure, FailureCode
from porttunnel.gateway.refusal import Refusal, RefusalReason
from tests.gateway.messages import HEAD, each, make_device, make_instance, parts_of


def told(*pieces: bytes, last: bool = False) -> list[RequestReceived]:
    return [
        RequestReceived(memoryview(piece), last and at == len(pieces))
        for at, piece in enumerate(pieces, 1)
    ]


class TestVectors:
    """tests/vectors/message.json, made by tests/independent/message.py."""

    @each("exchanges")
    def test_an_exchange(self, case: Any) -> None:
        first, *later = parts_of(case["request"])
        instance = make_instance(first, case["response"]["unix_ms"])
        assert instance.head == replace(HEAD, about_keys=case["about_keys"])
        pieces = [bytes.fromhex(piece) for piece in case["request"]["pieces"]]
        events = [*instance.accept(), *map(instance.receive, later)]
        assert events == told(*pieces, last=True)
        answers = [bytes.fromhex(piece) for piece in case["response"]["pieces"]]
        sent = [
            bytes(instance.send(piece, last=at == len(answers)))
            for at, piece in enumerate(answers, 1)
        ]
        assert sent == parts_of(case["response"])
        assert instance.state is ExchangeState.DONE

    @each("failed_requests")
    def test_each_request_that_is_none(self, case: Any) -> None:
        first, *later = parts_of(case)
        if not later:
            with pytest.raises(AuthenticationFailed):
                make_instance(first)
            return
        instance = make_instance(first)
        instance.accept()
        (event,) = map(instance.receive, later)
        assert isinstance(event, ExchangeFailed)
        assert isinstance(event.error, AuthenticationFailed)
        assert event.goodbye == Failure(FailureCode.BROKEN).encode()

    @each("malformed_parts")
    def test_each_part_that_is_none(self, case: Any) -> None:
        (part,) = parts_of(case)
        with pytest.raises(RemoteProtocolError):
            make_instance(part)
        instance = make_instance(make_device().send(b"x"))
        event = instance.receive(part)
        assert isinstance(event, ExchangeFailed)
        assert isinstance(event.error, errors.RemoteProtocolError)
        assert instance.state is ExchangeState.ENDED


class TestDeciding:
    def test_what_came_meanwhile_is_told_with_the_beginning(self) -> None:
        device = make_device()
        instance = make_instance(device.send(b"a"))
        assert instance.receive(device.send(b"b")) is None
        assert instance.receive(device.send(b"c", last=True)) is None
        assert instance.accept() == told(b"a", b"b", b"c", last=True)
        with pytest.raises(LocalProtocolError, match="not the turn"):
            instance.accept()

    def test_no_more_comes_meanwhile_than_a_window(self) -> None:
        device = make_device()
        instance = make_instance(device.send(b"x"))
        device.receive(Credit(1_000).encode())
        events = [instance.receive(device.send(b"x")) for _ in range(16)]
        assert events[:15] == [None] * 15
        assert isinstance(events[15], ExchangeFailed)

    def test_nothing_is_answered_before(self) -> None:
        instance = make_instance(make_device().send(b"x"))
        with pytest.raises(LocalProtocolError, match="not the turn"):
            instance.send(b"x")

    def test_what_is_refused_is_over(self) -> None:
        device = make_device()
        instance = make_instance(device.send(b"a"))
        instance.refuse(Refusal(RefusalReason.COUNTER, 5))
        assert instance.state is ExchangeState.DONE
        assert instance.receive(device.send(b"b")) is None
        for decide in (instance.accept, lambda: instance.refuse(Refusal(RefusalReason.TIME))):
            with pytest.raises(LocalProtocolError, match="not the turn"):
                decide()

    @pytest.mark.parametrize("part", [Cancel(), Failure("revoked", from_gateway=True)])
    def test_what_is_broken_off_before_is_never_told(self, part: Cancel | Failure) -> None:
        instance = make_instance(make_device().send(b"a"))
        event = instance.receive(part.encode())
        expected = RequestCancelled() if isinstance(part, Cancel) else FailureReceived(part)
        assert event == expected
        assert instance.state is ExchangeState.ENDED
        assert instance.sendable_parts == 0
        with pytest.raises(LocalProtocolError, match="not the turn"):
            instance.accept()


class TestResponding:
    def accepted(self) -> InstanceExchange:
        instance = make_instance(make_device().send(b"a", last=True))
        instance.accept()
        return instance

    def test_within_the_credit(self) -> None:
        instance = self.accepted()
        assert (instance.room_bytes, instance.sendable_parts) == (65_480, 16)
        for _ in range(16):
            instance.send(b"x")
        with pytest.raises(LocalProtocolError, match="without credit"):
            instance.send(b"x")
        assert instance.receive(Credit(18).encode()) == CreditReceived()
        assert instance.receive(Credit(17).encode()) is None
        assert instance.sendable_parts == 2

    def test_to_the_end(self) -> None:
        instance = self.accepted()
        instance.send(b"x", last=True)
        assert instance.sendable_parts == 0
        assert instance.receive(Cancel().encode()) is None
        with pytest.raises(LocalProtocolError, match="not the turn"):
            instance.send(b"x")

    def test_or_not(self) -> None:
        instance = self.accepted()
        assert instance.fail(FailureCode.BUSY) == Failure("busy").encode()
        assert instance.state is ExchangeState.ENDED


def test_what_is_consumed_lets_more_come() -> None:
    device = make_device()
    instance = make_instance(device.send(b"x"))
    instance.accept()
    for _ in range(8):
        instance.receive(device.send(b"x"))
    assert instance.consume(7) is None
    assert instance.consume() == Credit(24).encode()


def test_secrets_stay_inside() -> None:
    instance = make_instance(make_device().send(b"x"))
    assert repr(instance) == "<InstanceExchange (secret)>"
    instance.accept()
    instance.erase()
    with pytest.raises(LocalProtocolError, match="erased"):
        instance.send(b"x")
