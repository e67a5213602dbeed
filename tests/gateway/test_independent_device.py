"""The device of tests/independent, written from docs/gateway-protocol alone, and our instance."""

from __future__ import annotations

from itertools import count

import pytest

from porttunnel.gateway.instance_exchange import InstanceExchange
from porttunnel.gateway.message_event import CreditReceived, RequestReceived
from porttunnel.gateway.message_head import MessageHead
from porttunnel.gateway.message_key import DeviceKeys
from porttunnel.gateway.pairing_instance import Waiting
from porttunnel.gateway.pairing_rotation import Paired
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.gateway.part import FailureCode
from porttunnel.gateway.part_stream import decode_opening
from porttunnel.gateway.push import seal_push
from tests.gateway.pairings import DRAWN, ENDS
from tests.gateway.test_whole import NOW, Agent
from tests.independent import binary_http
from tests.independent.binary_http import Message
from tests.independent.device_keys import KeyExchange
from tests.independent.device_request import (
    Broken,
    DeviceRequest,
    Ends,
    Failed,
    Refused,
    Secret,
    open_push,
)
from tests.keys.tink_stream import tink_open, tink_seal

IDS = Ends(DRAWN["instance_id"], DRAWN["device_id"])
CURRENT = Secret(3, DRAWN["current"])
COUNTERS = count(NOW)
PAGE = binary_http.write(
    Message([(["GET", "https", "", "/start"], [("accept", "text/html")])]), False
)


def make_request(secret: Secret, plaintext: bytes, *, about_keys: bool = False) -> DeviceRequest:
    request = DeviceRequest(
        IDS, secret, counter=next(COUNTERS), unix_ms=NOW, about_keys=about_keys
    )
    request.seal(plaintext)
    return request


def ask(agent: Agent, secret: Secret, plaintext: bytes, *, about_keys: bool = False) -> bytes:
    request = make_request(secret, plaintext, about_keys=about_keys)
    (part,) = request.parts()
    opened = request.receive(agent.ask(part))
    assert request.done
    return opened


def open_at_instance(request: DeviceRequest) -> tuple[InstanceExchange, list[bytes]]:
    first, *parts = request.parts()
    exchange = InstanceExchange(
        ENDS,
        DeviceKeys(CURRENT.value),
        decode_opening(first),
        unix_ms=NOW,
        salt=bytes(32),
        prefix=bytes(7),
    )
    told = [bytes(event.data) for event in exchange.accept()]
    for part in parts:
        event = exchange.receive(part)
        assert isinstance(event, RequestReceived)
        told.append(bytes(event.data))
    return exchange, told


def test_pairs_with_the_same_digits_and_reads_a_page() -> None:
    agent = Agent(DeviceSecret.from_setup(DRAWN["setup_secret"]))
    setup = Secret(0, DRAWN["setup_secret"])
    exchange = KeyExchange(IDS, setup, 1)
    secret, digits = exchange.finish(ask(agent, setup, exchange.request, about_keys=True))
    with pytest.raises(Refused) as waiting:
        ask(agent, secret, exchange.confirmation, about_keys=True)
    assert waiting.value.reason == 3
    assert isinstance(agent.phase, Waiting)
    agent.phase = agent.phase.enter_digits(digits)
    assert isinstance(agent.phase, Paired)
    assert ask(agent, secret, exchange.confirmation, about_keys=True) == b"\x02"
    page = binary_http.read(ask(agent, secret, PAGE))
    assert (page.heads[-1][0], page.content) == (200, b"a page")
    assert agent.served == 1


@pytest.mark.parametrize("sizes", [[5, 7, 1], [1, 1, 0], [0]])
def test_seals_segments_of_any_size(sizes: list[int]) -> None:
    plaintext = bytes(range(sum(sizes)))
    request = DeviceRequest(IDS, CURRENT, counter=next(COUNTERS), unix_ms=NOW)
    request.seal(plaintext, sizes)
    _, told = open_at_instance(request)
    assert b"".join(told) == plaintext


def test_what_tink_seals_is_opened_and_the_answer_opens_with_tink() -> None:
    plaintext, answer = bytes(range(250)) * 800, b"an answer of one segment"
    request = DeviceRequest(IDS, CURRENT, counter=next(COUNTERS), unix_ms=NOW)
    request.use_sealed(tink_seal(*request.material(), plaintext))
    exchange, told = open_at_instance(request)
    assert b"".join(told) == plaintext
    assert request.receive(exchange.send(answer, last=True)) == answer
    material = request.material(response=True)
    assert tink_open(*material, request.sealed_response) == answer


def test_keeps_to_the_credit_and_gives_some() -> None:
    request = DeviceRequest(IDS, CURRENT, counter=next(COUNTERS), unix_ms=NOW)
    request.seal(bytes(40), [1] * 40)
    exchange, told = open_at_instance(request)
    assert len(told) == 16
    credit = exchange.consume(16)
    assert credit is not None
    assert request.receive(credit) == b""
    assert len(list(request.parts())) == 16
    given = None
    for number in range(8):
        assert given is None
        assert request.receive(exchange.send(bytes([number]))) == bytes([number])
        given = request.credit()
    assert given is not None
    assert isinstance(exchange.receive(given), CreditReceived)
    assert exchange.sendable_parts == 16


def test_takes_nothing_but_the_answer_to_its_request() -> None:
    first, second = make_request(CURRENT, PAGE), make_request(CURRENT, PAGE)
    exchanges = [open_at_instance(request)[0] for request in (first, second)]
    answers = [exchange.send(b"x", last=True) for exchange in exchanges]
    with pytest.raises(Broken):
        first.receive(answers[1])
    with pytest.raises(Failed, match="broken"):
        second.receive(exchanges[0].fail(FailureCode.BROKEN))


def test_opens_a_push() -> None:
    head = MessageHead(CURRENT.generation, 7, NOW)
    keys, drawn = DeviceKeys(CURRENT.value), {"salt": bytes(32), "prefix": bytes(7)}
    part = bytes(seal_push(ENDS, keys, head, "page-changed", b"start", **drawn))
    assert open_push(IDS, CURRENT, "page-changed", part) == (7, b"start")
    with pytest.raises(Broken):
        open_push(IDS, CURRENT, "page-gone", part)
