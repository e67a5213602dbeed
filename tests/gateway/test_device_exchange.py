"""porttunnel/gateway/device_exchange.py: a device believes what was sealed for its request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import AuthenticationFailed, LocalProtocolError, RemoteProtocolError
from porttunnel.gateway.device_exchange import DeviceExchange
from porttunnel.gateway.instance_exchange import InstanceExchange
from porttunnel.gateway.message_event import (
    CreditReceived,
    ExchangeFailed,
    ExchangeState,
    FailureReceived,
    RefusalReceived,
    ResponseReceived,
)
from porttunnel.gateway.message_head import MessageHead
from porttunnel.gateway.part import Cancel, Credit, Failure
from porttunnel.gateway.refusal import Refusal, RefusalReason
from tests.gateway.messages import DRAWN, HEAD, VECTORS, each, make_device, make_instance, parts_of


def asked(head: MessageHead = HEAD) -> tuple[DeviceExchange, InstanceExchange]:
    """A device that has sent a whole request, and the instance that accepted it."""
    device = make_device(head)
    instance = make_instance(device.send(b"hello", last=True))
    instance.accept()
    return device, instance


class TestVectors:
    """tests/vectors/message.json, made by tests/independent/message.py."""

    @each("exchanges")
    def test_an_exchange(self, case: Any) -> None:
        device = make_device(replace(HEAD, about_keys=case["about_keys"]))
        pieces = [bytes.fromhex(piece) for piece in case["request"]["pieces"]]
        parts = [
            bytes(device.send(piece, last=at == len(pieces))) for at, piece in enumerate(pieces, 1)
        ]
        assert parts == parts_of(case["request"])
        for part, piece in zip(
            parts_of(case["response"]), case["response"]["pieces"], strict=True
        ):
            event = device.receive(part)
            assert isinstance(event, ResponseReceived)
            assert event.data.hex() == piece
        assert event.last
        assert device.state is ExchangeState.DONE
        assert device.response_head == replace(
            HEAD, unix_ms=case["response"]["unix_ms"], about_keys=case["about_keys"]
        )

    @each("failed_responses")
    def test_each_response_that_is_none(self, case: Any) -> None:
        device = make_device()
        device.send(b"hello", last=True)
        *good, bad = parts_of(case)
        for part in good:
            assert isinstance(device.receive(part), ResponseReceived)
        event = device.receive(bad)
        assert isinstance(event, ExchangeFailed)
        assert isinstance(event.error, AuthenticationFailed)
        assert event.goodbye == Cancel().encode()
        assert device.state is ExchangeState.ENDED

    @each("malformed_parts")
    def test_each_part_that_is_none(self, case: Any) -> None:
        device, _ = asked()
        event = device.receive(parts_of(case)[0])
        assert isinstance(event, ExchangeFailed)
        assert isinstance(event.error, RemoteProtocolError)


class TestResponses:
    @pytest.mark.parametrize(
        "head",
        [
            replace(HEAD, counter=HEAD.counter + 1),
            replace(HEAD, generation=HEAD.generation + 1),
            replace(HEAD, about_keys=True),
        ],
    )
    def test_for_another_request_are_refused(self, head: MessageHead) -> None:
        _, other = asked(head)
        device, _ = asked()
        event = device.receive(other.send(b"x"))
        assert isinstance(event, ExchangeFailed)
        assert "another" in str(event.error)

    def test_may_begin_before_the_request_has_ended_and_end_it(self) -> None:
        device = make_device()
        instance = make_instance(device.send(b"hello"))
        instance.accept()
        assert isinstance(device.receive(instance.send(b"a")), ResponseReceived)
        device.send(b"more")
        device.receive(instance.send(b"", last=True))
        assert device.sendable_parts == 0
        with pytest.raises(LocalProtocolError, match="not the turn"):
            device.send(b"more")

    def test_nothing_comes_after_the_last_part(self) -> None:
        device, instance = asked()
        part = instance.send(b"x", last=True)
        device.receive(part)
        for late in (part, b"", Credit(99).encode(), Failure("busy").encode()):
            assert device.receive(late) is None
        assert device.state is ExchangeState.DONE

    @given(st.lists(st.integers(0, 5), max_size=12))
    def test_whatever_the_gateway_makes_of_them_a_beginning_comes_out(
        self, order: list[int]
    ) -> None:
        device, instance = asked()
        pieces = [b"0", b"1", b"2", b"3", b"4", b""]
        parts = [instance.send(piece, last=not piece) for piece in pieces]
        received = b""
        for at in order:
            event = device.receive(parts[at])
            if isinstance(event, ResponseReceived):
                received += event.data
                assert event.last == (received == b"01234" and at == 5)
            else:
                assert event is None or isinstance(event, ExchangeFailed)
        assert b"01234".startswith(received)
        assert (device.state is ExchangeState.DONE) == (order[:6] == [0, 1, 2, 3, 4, 5])


class TestRefusals:
    @pytest.mark.parametrize("reason", RefusalReason)
    def test_are_told(self, reason: RefusalReason) -> None:
        device = make_device()
        instance = make_instance(device.send(b"hello"))
        event = device.receive(instance.refuse(Refusal(reason, 7)))
        assert event == RefusalReceived(Refusal(reason, 7))
        assert device.state is ExchangeState.DONE

    @pytest.mark.parametrize(
        ("plaintext", "last", "fault"),
        [
            (Refusal(RefusalReason.TIME).encode(), False, "goes on"),
            (Refusal(RefusalReason.TIME).encode() + b"x", True, "too long"),
            (b"\x3f", True, "too short"),
        ],
    )
    def test_that_are_none(self, plaintext: bytes, last: bool, fault: str) -> None:
        device, instance = asked()
        event = device.receive(instance.send(plaintext, last=last))
        assert isinstance(event, ExchangeFailed)
        assert fault in str(event.error)

    def test_stand_at_the_beginning_only(self) -> None:
        device, instance = asked()
        device.receive(instance.send(b"x"))
        event = device.receive(instance.send(b"\x3f", last=True))
        assert isinstance(event, ResponseReceived)


class TestHints:
    def test_credit_lets_more_be_sent(self) -> None:
        device = make_device()
        device.send(b"x")
        assert device.room_bytes == 65_520
        assert device.sendable_parts == 15
        assert device.receive(Credit(20).encode()) == CreditReceived()
        assert device.receive(Credit(20).encode()) is None
        assert device.sendable_parts == 19

    @pytest.mark.parametrize("from_gateway", [False, True])
    def test_failures_end_it_and_prove_nothing(self, from_gateway: bool) -> None:
        device, _ = asked()
        failure = Failure("instance-offline", from_gateway)
        assert device.receive(failure.encode()) == FailureReceived(failure)
        assert device.state is ExchangeState.ENDED
        assert device.sendable_parts == 0

    def test_an_instance_does_not_cancel(self) -> None:
        device, _ = asked()
        event = device.receive(Cancel().encode())
        assert isinstance(event, ExchangeFailed)
        assert "cancelled" in str(event.error)


def test_a_device_may_cancel() -> None:
    device, instance = asked()
    assert device.cancel() == Cancel().encode()
    assert device.receive(instance.send(b"x")) is None
    with pytest.raises(LocalProtocolError, match="not the turn"):
        device.send(b"x")


def test_what_is_consumed_lets_more_come() -> None:
    device, instance = asked()
    with pytest.raises(LocalProtocolError, match="nothing of a response"):
        device.consume()
    for _ in range(8):
        device.receive(instance.send(b"x"))
    assert device.consume(7) is None
    assert device.consume() == Credit(24).encode()


def test_a_probe_says_nothing_new() -> None:
    device, instance = asked()
    assert device.probe() == Credit(16).encode()
    for _ in range(8):
        device.receive(instance.send(b"x"))
    assert device.probe() == Credit(16).encode()
    credit = device.consume(8)
    assert credit == device.probe() == Credit(24).encode()
    assert instance.receive(credit) is not None
    assert instance.receive(device.probe()) is None
    device.cancel()
    with pytest.raises(LocalProtocolError, match="not the turn"):
        device.probe()


def test_secrets_stay_inside() -> None:
    device = make_device()
    assert repr(device) == "<DeviceExchange (secret)>"
    assert DRAWN["secret"].hex() == VECTORS["inputs"]["secret"]
    device.erase()
    with pytest.raises(LocalProtocolError, match="erased"):
        device.send(b"x")
