"""Device, instance and all that lies between: from the QR to a page, with a gateway that lies."""

from __future__ import annotations

import random
from collections import deque
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from porttunnel.errors import AuthenticationFailed
from porttunnel.gateway.binary_http import Framing, MessageWriter
from porttunnel.gateway.binary_http_reader import ContentReceived, MessageEnded, MessageReader
from porttunnel.gateway.device_exchange import DeviceExchange
from porttunnel.gateway.http_head import RequestHead, ResponseHead
from porttunnel.gateway.instance_exchange import InstanceExchange
from porttunnel.gateway.message_event import (
    ExchangeState,
    RefusalReceived,
    RequestReceived,
    ResponseReceived,
)
from porttunnel.gateway.message_key import DeviceKeys
from porttunnel.gateway.pairing_code import WEB_PKI, PairingCode
from porttunnel.gateway.pairing_device import DeviceExchanging
from porttunnel.gateway.pairing_instance import Invited, PairingPolicy, Waiting
from porttunnel.gateway.pairing_message import ExchangeRequest, decode_key_request
from porttunnel.gateway.pairing_rotation import Paired
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.gateway.pairing_step import Answering, InstancePhase, PairingEnded
from porttunnel.gateway.part_stream import WINDOW_PARTS, decode_opening
from porttunnel.gateway.refusal import Refusal, RefusalReason
from porttunnel.gateway.replay import Admitted, ReplayWindow, RequestClock
from porttunnel.keys.hybrid import encapsulate
from tests.gateway.pairings import DRAWN, ENDS, KEY, VECTORS

NOW = 1_790_000_000_000
PAGE = RequestHead(b"GET", b"https", b"", b"/start", ((b"accept", b"text/html"),))
CONTENT = bytes(range(256)) * 8_192


class Agent:
    """An instance with one device, as the Twisted part will put it together.

    :ivar recorded: every part that it was sent or sent.
    :ivar served: requests that were carried out.
    """

    def __init__(self, setup: DeviceSecret) -> None:
        self.chance = random.Random(1)
        self.phase: InstancePhase | PairingEnded = Invited(ENDS, PairingPolicy.CONFIRM, setup)
        self.windows: dict[int, ReplayWindow] = {}
        self.recorded: list[bytes] = []
        self.served = 0

    def ask(self, part: bytes) -> bytes:
        """The first part of the response to a request of one part."""
        assert not isinstance(self.phase, PairingEnded)
        opening = decode_opening(part)
        (secret,) = (s for s in self.phase.secrets if s.generation == opening.head.generation)
        exchange = InstanceExchange(
            ENDS,
            DeviceKeys(secret.secret),
            opening,
            unix_ms=NOW,
            salt=self.chance.randbytes(32),
            prefix=self.chance.randbytes(7),
        )
        window = self.windows.setdefault(secret.generation, ReplayWindow())
        decision = window.admit(exchange.head.counter)
        answer = (
            exchange.refuse(decision)
            if isinstance(decision, Refusal)
            else self._answer(exchange, secret)
        )
        self.recorded += [part, bytes(answer)]
        return bytes(answer)

    def _answer(self, exchange: InstanceExchange, secret: DeviceSecret) -> bytearray:
        assert not isinstance(self.phase, PairingEnded)
        if not exchange.head.about_keys:
            if self.phase.serving_generation != secret.generation:
                return exchange.refuse(Refusal(RefusalReason.WAITING))
            self.served += 1
            (request,) = exchange.accept()
            reader = MessageReader(request=True)
            assert [*reader.read(request.data), *reader.finish()] == [PAGE, MessageEnded(())]
            writer = MessageWriter(Framing.RESPONSE)
            page = writer.write_head(ResponseHead(200)) + writer.write_content(b"a page")
            return exchange.send(page + writer.end(), last=True)
        (asked,) = exchange.accept()
        message = decode_key_request(asked.data)
        generation, counter = secret.generation, exchange.head.counter
        if isinstance(message, ExchangeRequest):
            capsules = encapsulate(message.rsa_public, message.mlkem_public)
            answering = Answering(capsules, self.chance.randbytes(32))
            step = self.phase.receive_exchange(generation, counter, message, answering)
        else:
            step = self.phase.receive_confirm(generation, message)
        self.phase = step.phase
        plaintext = step.reply if isinstance(step.reply, bytes) else step.reply.encode()
        return exchange.send(plaintext, last=True)


class Phone:
    """A device that asks one thing after the other."""

    def __init__(self, agent: Agent, secret: DeviceSecret) -> None:
        self.agent, self.secret = agent, secret
        self.clock = RequestClock()
        self.last_part = b""

    def ask(
        self, plaintext: bytes, secret: DeviceSecret, *, about_keys: bool
    ) -> bytes | RefusalReason:
        head = self.clock.draw(secret.generation, NOW, about_keys=about_keys)
        chance = self.agent.chance
        drawn = {"salt": chance.randbytes(32), "prefix": chance.randbytes(7)}
        exchange = DeviceExchange(ENDS, DeviceKeys(secret.secret), head, **drawn)
        self.last_part = bytes(exchange.send(plaintext, last=True))
        event = exchange.receive(self.agent.ask(self.last_part))
        if isinstance(event, RefusalReceived):
            return event.refusal.reason
        assert isinstance(event, ResponseReceived)
        assert event.last
        return bytes(event.data)

    def ask_for_page(self) -> bytes | RefusalReason:
        writer = MessageWriter(Framing.REQUEST)
        return self.ask(writer.write_head(PAGE) + writer.end(), self.secret, about_keys=False)


def pair() -> tuple[Agent, Phone]:
    """From the QR to a secret."""
    shown = PairingCode(
        "https://gateway.example", DRAWN["setup_key"], DRAWN["setup_secret"], WEB_PKI, NOW // 1_000
    ).format()
    agent = Agent(DeviceSecret.from_setup(DRAWN["setup_secret"]))
    phone = Phone(agent, DeviceSecret.from_setup(PairingCode.parse(shown).setup_secret))
    nonce = agent.chance.randbytes(32)
    exchanging = DeviceExchanging(ENDS, phone.secret, key=KEY, nonce=nonce, fallback=bytes(32))
    answer = phone.ask(exchanging.request, phone.secret, about_keys=True)
    assert isinstance(answer, bytes)
    confirming = exchanging.receive_answer(answer)
    reply = phone.ask(confirming.confirm, confirming.pending, about_keys=True)
    assert reply is RefusalReason.WAITING
    assert phone.ask_for_page() is RefusalReason.WAITING, "the setup secret opens no page"
    assert isinstance(agent.phase, Waiting)
    agent.phase = agent.phase.enter_digits(confirming.digits)
    reply = phone.ask(confirming.confirm, confirming.pending, about_keys=True)
    assert isinstance(reply, bytes)
    phone.secret = confirming.receive_confirmed(reply)
    return agent, phone


def test_from_the_qr_to_a_page() -> None:
    agent, phone = pair()
    assert isinstance(agent.phase, Paired)
    page = phone.ask_for_page()
    assert isinstance(page, bytes)
    assert b"a page" in page
    assert agent.served == 1


def test_a_replayed_request_is_never_carried_out_twice() -> None:
    agent, phone = pair()
    phone.ask_for_page()
    for _ in range(3):
        agent.ask(phone.last_part)
    assert agent.served == 1


def test_the_qr_and_everything_recorded_open_nothing_of_what_follows() -> None:
    agent, phone = pair()
    before = len(agent.recorded)
    phone.ask_for_page()
    known = [
        DRAWN["setup_secret"],
        *(bytes.fromhex(c["secret"]) for c in VECTORS["opens_nothing"]),
    ]
    request = agent.recorded[before]
    for secret in known:
        with pytest.raises(AuthenticationFailed):
            InstanceExchange(
                ENDS,
                DeviceKeys(secret),
                decode_opening(request),
                unix_ms=NOW,
                salt=bytes(32),
                prefix=bytes(7),
            )


def test_an_answer_to_another_request_is_never_believed() -> None:
    agent, phone = pair()
    keys, numbers = DeviceKeys(phone.secret.secret), count()
    swapped = []
    for _ in range(2):
        head = phone.clock.draw(phone.secret.generation, NOW)
        salt = bytes([next(numbers)]) * 32
        exchange = DeviceExchange(ENDS, keys, head, salt=salt, prefix=bytes(7))
        writer = MessageWriter(Framing.REQUEST)
        request = exchange.send(writer.write_head(PAGE) + writer.end(), last=True)
        swapped.append((exchange, agent.ask(bytes(request))))
    (first, first_answer), (second, second_answer) = swapped
    for exchange, answer in ((first, second_answer), (second, first_answer)):
        assert not isinstance(exchange.receive(answer), ResponseReceived)
        assert exchange.state is ExchangeState.ENDED


def test_a_long_response_within_the_credit() -> None:
    """2 MiB: never more than a window under way, and whole at the end."""
    secret = DRAWN["current"]
    head = RequestClock().draw(3, NOW)
    device = DeviceExchange(ENDS, DeviceKeys(secret), head, salt=bytes(32), prefix=bytes(7))
    instance = InstanceExchange(
        ENDS,
        DeviceKeys(secret),
        decode_opening(device.send(b"x", last=True)),
        unix_ms=NOW,
        salt=b"s" * 32,
        prefix=bytes(7),
    )
    assert isinstance(ReplayWindow().admit(instance.head.counter), Admitted)
    instance.accept()
    writer, reader = MessageWriter(Framing.RESPONSE), MessageReader(request=False)
    stream = writer.write_head(ResponseHead(200)) + writer.write_content(CONTENT) + writer.end()
    at, content, under_way = 0, b"", deque[bytearray]()
    while device.state is ExchangeState.OPEN:
        while instance.sendable_parts:
            piece = stream[at : at + instance.room_bytes]
            at += len(piece)
            under_way.append(instance.send(piece, last=at == len(stream)))
        assert len(under_way) <= WINDOW_PARTS
        event = device.receive(under_way.popleft())
        assert isinstance(event, ResponseReceived)
        for told in reader.read(event.data):
            content += told.data if isinstance(told, ContentReceived) else b""
        credit = device.consume()
        if credit is not None:
            instance.receive(credit)
    assert list(reader.finish()) == [MessageEnded(())]
    assert content == CONTENT


class LyingGateway(RuleBasedStateMachine):
    """Delivers, drops, repeats, swaps and changes parts: what comes out is always a beginning."""

    def __init__(self) -> None:
        super().__init__()
        keys = DeviceKeys(DRAWN["current"])
        head = RequestClock().draw(1, NOW)
        self.device = DeviceExchange(ENDS, keys, head, salt=bytes(32), prefix=bytes(7))
        first = self.device.send(b"a")
        self.instance = InstanceExchange(
            ENDS, keys, decode_opening(first), unix_ms=NOW, salt=b"s" * 32, prefix=bytes(7)
        )
        self.sent = {"request": b"a", "response": b""}
        self.told = {
            "request": b"".join(bytes(event.data) for event in self.instance.accept()),
            "response": b"",
        }
        self.ended = {"request": False, "response": False}
        self.to_instance: list[bytes] = []
        self.to_device: list[bytes] = []

    @precondition(lambda self: self.device.sendable_parts)
    @rule(data=st.binary(min_size=1, max_size=3), last=st.booleans())
    def ask(self, data: bytes, last: bool) -> None:
        self.to_instance.append(bytes(self.device.send(data, last=last)))
        self.sent["request"] += data

    @precondition(
        lambda self: self.instance.state is ExchangeState.OPEN and self.instance.sendable_parts
    )
    @rule(data=st.binary(min_size=1, max_size=3), last=st.booleans())
    def answer(self, data: bytes, last: bool) -> None:
        self.to_device.append(bytes(self.instance.send(data, last=last)))
        self.sent["response"] += data

    @precondition(lambda self: self.to_instance)
    @rule(at=st.integers(0, 30), again=st.booleans(), turn=st.none() | st.integers(0, 500))
    def deliver_to_instance(self, at: int, again: bool, turn: int | None) -> None:
        event = self.instance.receive(self.take(self.to_instance, at, again, turn))
        if isinstance(event, RequestReceived):
            self.note("request", bytes(event.data), event.last)
            credit = self.instance.consume()
            self.to_device += [] if credit is None else [credit]

    @rule(at=st.integers(0, 30), again=st.booleans(), turn=st.none() | st.integers(0, 500))
    def deliver_to_device(self, at: int, again: bool, turn: int | None) -> None:
        if not self.to_device:
            return  # and there is always something that can happen
        event = self.device.receive(self.take(self.to_device, at, again, turn))
        if isinstance(event, ResponseReceived):
            self.note("response", bytes(event.data), event.last)
            credit = self.device.consume()
            self.to_instance += [] if credit is None else [credit]

    def take(self, parts: list[bytes], at: int, again: bool, turn: int | None) -> bytes:
        at = at % len(parts) if at > 20 else 0
        part = bytearray(parts[at])
        if not again:
            del parts[at]
        if turn is not None and turn < 8 * len(part):
            part[turn // 8] ^= 1 << turn % 8
        return bytes(part)

    def note(self, way: str, data: bytes, last: bool) -> None:
        assert not self.ended[way]
        self.told[way] += data
        self.ended[way] = last

    @invariant()
    def what_is_told_is_a_beginning_of_what_was_sent(self) -> None:
        for way, told in self.told.items():
            assert self.sent[way].startswith(told)
            assert not self.ended[way] or told == self.sent[way]


TestLyingGateway = LyingGateway.TestCase
TestLyingGateway.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
