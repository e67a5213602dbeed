"""An instance for tests of devices: the pure cores on a real connection, answers by a function."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from typing import Any

from porttunnel.gateway.binary_http import Framing, MessageWriter
from porttunnel.gateway.binary_http_reader import ContentReceived, MessageEnded, MessageReader
from porttunnel.gateway.http_head import RequestHead, ResponseHead
from porttunnel.gateway.instance_exchange import InstanceExchange
from porttunnel.gateway.message_event import CreditReceived, RequestCancelled, RequestReceived
from porttunnel.gateway.message_head import MessageHead
from porttunnel.gateway.message_key import DeviceKeys, Ends
from porttunnel.gateway.pairing_code import WEB_PKI, PairingCode
from porttunnel.gateway.pairing_instance import Invited, PairingPolicy, Waiting
from porttunnel.gateway.pairing_message import ExchangeRequest, decode_key_request
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.gateway.pairing_step import Answering, PairingEnded
from porttunnel.gateway.part import Failure, FailureCode, SegmentPart, decode_part
from porttunnel.gateway.part_stream import Opening
from porttunnel.gateway.push import seal_push
from porttunnel.gateway.refusal import Refusal, RefusalReason
from porttunnel.gateway.replay import ReplayWindow, judge_time
from porttunnel.gateway.topic import (
    format_push_topic,
    format_response_topic,
    list_instance_filters,
    parse_routed_topic,
)
from porttunnel.keys.hybrid import encapsulate
from porttunnel.net.gateway_client.connection import open_mqtt
from porttunnel.net.gateway_client.rest import Login
from tests.net.device.gateway_double import GatewayDouble

__all__ = ["InstanceDouble", "Served"]

MAX_PART = 65_000


class Served:
    """A request that the instance has, and its answer.

    :ivar head: once it is there.
    :ivar data: of its body, so far.
    :ivar is_whole: whether all of it has come.
    :ivar is_cancelled: whether nobody wants an answer.
    :ivar takes: whether what comes is taken, or else kept without credit.
    """

    def __init__(self, send: Callable[[bytes], None], exchange: InstanceExchange) -> None:
        self._send = send
        self.exchange = exchange
        self.head: RequestHead | None = None
        self.data = b""
        self.trailers: Any = ()
        self.is_whole = False
        self.is_cancelled = False
        self.takes = True
        self.parts = 0
        self.untaken = 0
        self._reader = MessageReader(request=True)
        self._writer = MessageWriter(Framing.RESPONSE)
        self._waiting = bytearray()
        self._ended = False

    def take(self, received: RequestReceived) -> None:
        self.parts += 1
        for told in self._reader.read(received.data):
            self._note(told)
        if received.last:
            for told in self._reader.finish():
                self._note(told)
        self.untaken += 1
        if self.takes:
            self.go_on()

    def go_on(self) -> None:
        """Take what has come."""
        self.takes = True
        count, self.untaken = self.untaken, 0
        credit = self.exchange.consume(count) if count else None
        if credit is not None:
            self._send(credit)

    def respond(
        self, status: int = 200, data: bytes = b"", *, end: bool = True, fields: Any = ()
    ) -> None:
        """The head, and a beginning or all of the body."""
        self._waiting += self._writer.write_head(ResponseHead(status, fields))
        if status >= 200:
            self.write(data, end=end)

    def write(self, data: bytes = b"", *, end: bool = False, trailers: Any = ()) -> None:
        self._waiting += self._writer.write_content(data)
        if end:
            self._waiting += self._writer.end(trailers)
            self._ended = True
        self.pump()

    def pump(self) -> None:
        while self._waiting and self.exchange.sendable_parts:
            piece = bytes(self._waiting[:MAX_PART])
            del self._waiting[:MAX_PART]
            last = self._ended and not self._waiting
            self._send(bytes(self.exchange.send(piece, last=last)))

    @property
    def unsent_bytes(self) -> int:
        return len(self._waiting)

    def fail(self, code: FailureCode) -> None:
        self._send(self.exchange.fail(code))

    def send_raw(self, plaintext: bytes, *, last: bool = False) -> None:
        """Whatever plaintext, HTTP or not."""
        self._send(bytes(self.exchange.send(plaintext, last=last)))

    def _note(self, told: Any) -> None:
        match told:
            case RequestHead():
                self.head = told
            case ContentReceived(data):
                self.data += bytes(data)
            case MessageEnded(trailers):
                self.is_whole, self.trailers = True, trailers


class InstanceDouble:
    """See the module.

    :param application: called with each request each time something of it has come.
    :ivar phases: of each device.
    :ivar refusals: given to requests, one each, before anything else happens.
    :ivar key_replies: pieces of an answer that is given in place of the right one, once.
    :ivar lost: so many answers to messages about keys are not sent.
    :ivar clock_ms: added to the clock.
    :ivar probes: credit that said nothing new.
    :ivar executed: heads that reached the application, each once.
    """

    def __init__(
        self, reactor: Any, gateway: GatewayDouble, application: Callable[[Served], None]
    ) -> None:
        self._gateway = gateway
        self._application = application
        self._reactor = reactor
        self.instance_id, self._password = gateway.add_instance()
        self.phases: dict[str, Any] = {}
        self.ends: dict[str, Ends] = {}
        self.served: dict[tuple[str, str], Served] = {}
        self.windows: dict[tuple[str, int], ReplayWindow] = {}
        self.refusals: list[Refusal] = []
        self.key_refusals: list[Refusal] = []
        self.key_replies: list[bytes] = []
        self.lost = 0
        self.key_messages = 0
        self.clock_ms = 0
        self.executed: list[RequestHead] = []
        self.silent = False
        self.probes = 0
        self._push_counter = 0

    async def start(self) -> None:
        self.client = open_mqtt(
            self._reactor,
            self._gateway.address,
            Login(self.instance_id, self._password),
            on_message=self._receive,
        )
        self.client.start()
        await self.client.subscribe(*list_instance_filters(self.instance_id), qos=1)

    async def stop(self) -> None:
        await self.client.stop()
        self.served.clear()

    def invite(self, policy: PairingPolicy = PairingPolicy.CONFIRM) -> tuple[str, str]:
        """The device's id and the text of the QR."""
        device_id, setup_key = self._gateway.offer(self.instance_id)
        setup_secret = secrets.token_bytes(32)
        ends = Ends(bytes.fromhex(self.instance_id), bytes.fromhex(device_id))
        self.ends[device_id] = ends
        self.phases[device_id] = Invited(ends, policy, DeviceSecret.from_setup(setup_secret))
        code = PairingCode(
            self._gateway.address.url, setup_key, setup_secret, WEB_PKI, int(time.time()) + 600
        )
        return device_id, code.format()

    def enter_digits(self, device_id: str, digits: str) -> None:
        waiting = self.phases[device_id]
        assert isinstance(waiting, Waiting)
        self.phases[device_id] = waiting.enter_digits(digits)

    def push(self, device_id: str, name: str, content: bytes, **changes: int) -> bytes:
        """Send a push; its payload, to be sent again."""
        self._push_counter = changes.get("counter", self._push_counter + 1)
        secret = self.phases[device_id].secrets[0]
        now_ms = self._now_ms() - changes.get("age_ms", 0)
        head = MessageHead(secret.generation, self._push_counter, now_ms)
        payload = bytes(
            seal_push(
                self.ends[device_id],
                DeviceKeys(secret.secret),
                head,
                name,
                content,
                salt=secrets.token_bytes(32),
                prefix=secrets.token_bytes(7),
            )
        )
        self.send_push(device_id, name, payload)
        return payload

    def send_push(self, device_id: str, name: str, payload: bytes) -> None:
        self.client.publish(format_push_topic(device_id, name), payload, qos=1)

    def _now_ms(self) -> int:
        return int(time.time() * 1_000) + self.clock_ms

    def _receive(self, message: Any) -> None:
        topic = parse_routed_topic(message.topic)
        if topic is None:
            self._take_event(message)
            return
        if self.silent:
            return

        def send(part: bytes) -> None:
            self._send(topic.device_id, topic.request_id, part)

        key = topic.device_id, topic.request_id
        served = self.served.get(key)
        if served is not None:
            self._continue(served, served.exchange.receive(message.payload))
            return
        part = decode_part(message.payload)
        if not isinstance(part, SegmentPart) or part.number:
            if not isinstance(part, SegmentPart) and type(part).__name__ == "Cancel":
                return
            send(Failure(FailureCode.BROKEN).encode())
            return
        opening = Opening(part)
        phase = self.phases.get(topic.device_id)
        known = () if phase is None or isinstance(phase, PairingEnded) else phase.secrets
        found = [one for one in known if one.generation == opening.head.generation]
        if not found:
            send(Failure(FailureCode.BROKEN).encode())
            return
        exchange = InstanceExchange(
            self.ends[topic.device_id],
            DeviceKeys(found[0].secret),
            opening,
            unix_ms=self._now_ms(),
            salt=secrets.token_bytes(32),
            prefix=secrets.token_bytes(7),
        )
        window = self.windows.setdefault(
            (topic.device_id, opening.head.generation), ReplayWindow()
        )
        admitted = window.admit(exchange.head.counter)
        if not isinstance(admitted, Refusal):
            admitted = judge_time(exchange.head, self._now_ms()) or admitted
        if isinstance(admitted, Refusal):
            send(bytes(exchange.refuse(admitted)))
        elif exchange.head.about_keys:
            self._answer_about_keys(topic.device_id, exchange, send)
        elif self.refusals:
            send(bytes(exchange.refuse(self.refusals.pop(0))))
        elif phase.serving_generation != opening.head.generation:
            send(bytes(exchange.refuse(Refusal(RefusalReason.WAITING))))
        else:
            served = self.served[key] = Served(send, exchange)
            for received in exchange.accept():
                self._continue(served, received)

    def _continue(self, served: Served, event: Any) -> None:
        match event:
            case None:
                self.probes += 1
            case RequestReceived():
                new = served.head is None
                served.take(event)
                if new and served.head is not None:
                    self.executed.append(served.head)
                self._application(served)
            case CreditReceived():
                served.pump()
            case RequestCancelled():
                served.is_cancelled = True
                self._application(served)

    def _answer_about_keys(self, device_id: str, exchange: InstanceExchange, send: Any) -> None:
        self.key_messages += 1
        phase = self.phases[device_id]
        if self.key_refusals:
            send(bytes(exchange.refuse(self.key_refusals.pop(0))))
            return
        (asked,) = exchange.accept()
        message = decode_key_request(asked.data)
        generation, counter = exchange.head.generation, exchange.head.counter
        if isinstance(message, ExchangeRequest):
            answering = Answering(
                encapsulate(message.rsa_public, message.mlkem_public), secrets.token_bytes(32)
            )
            step = phase.receive_exchange(generation, counter, message, answering)
        else:
            step = phase.receive_confirm(generation, message)
        self.phases[device_id] = step.phase
        reply = step.reply if isinstance(step.reply, bytes) else step.reply.encode()
        if self.key_replies:
            for piece in self.key_replies:
                send(bytes(exchange.send(piece)))
            reply, self.key_replies = b"", []
        if self.lost:
            self.lost -= 1
            send(Failure(FailureCode.BUSY).encode())
            return
        send(bytes(exchange.send(reply, last=True)))

    def _send(self, device_id: str, request_id: str, part: bytes) -> None:
        sending = self.client.publish(format_response_topic(device_id, request_id), part, qos=1)
        sending.addErrback(lambda _: None)

    def _take_event(self, message: Any) -> None:
        device_id = json.loads(message.payload)["device_id"]
        for (device, _), served in list(self.served.items()):
            if device == device_id:
                served.is_cancelled = True
