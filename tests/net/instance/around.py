"""What an instance has around it, in the hands of a test: a gateway, a clock, a store, devices."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from porttunnel.errors import (
    ClientStopped,
    GatewayRefused,
    LinkBroken,
    OutcomeUnknown,
    PorttunnelError,
)
from porttunnel.gateway.binary_http import Framing, MessageWriter
from porttunnel.gateway.binary_http_reader import ContentReceived, MessageEnded, MessageReader
from porttunnel.gateway.device_exchange import DeviceExchange
from porttunnel.gateway.event import EventName, make_event
from porttunnel.gateway.http_head import Fields, RequestHead, ResponseHead
from porttunnel.gateway.message_event import (
    ExchangeFailed,
    FailureReceived,
    RefusalReceived,
    ResponseReceived,
)
from porttunnel.gateway.message_key import DeviceKeys, Ends
from porttunnel.gateway.pairing_code import PairingCode
from porttunnel.gateway.pairing_device import DeviceConfirming, DeviceExchanging
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.gateway.push import decode_push, open_push
from porttunnel.gateway.refusal import Refusal
from porttunnel.gateway.replay import RequestClock
from porttunnel.gateway.topic import (
    RequestTopic,
    format_routed_topic,
    parse_push_topic,
    parse_response_topic,
)
from porttunnel.keys.hybrid import HybridPrivateKey
from porttunnel.mqtt import client_event
from porttunnel.mqtt.client_event import MessageReceived, PublishFinished
from porttunnel.mqtt.property import EMPTY
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.gateway_client.address import GatewayAddress
from porttunnel.net.gateway_client.answer import ListedDevice, OfferedDevice
from porttunnel.net.gateway_client.rest import Login
from porttunnel.net.instance.application import ServedRequest
from porttunnel.net.instance.instance import Instance
from porttunnel.net.instance.sqlite_store import SQLiteInstanceStore
from porttunnel.net.instance.store import StoreChange
from tests.gateway.pairings import KEY

__all__ = ["NOW", "PAGE", "Asked", "Crash", "FakeClient", "FakeRest", "Phone", "Surroundings"]

NOW = 1_790_000_000.0
INSTANCE_ID = "1" * 32
ADDRESS = GatewayAddress.parse("https://gateway.example")
PAGE = RequestHead(b"GET", b"https", b"", b"/start")


_seeds = count()


class Crash(BaseException):
    """The process is killed here."""


class FakeRest:
    """A gateway's accounts.

    :ivar devices: the state of each.
    :ivar refuses: what every question is answered with.
    """

    def __init__(self) -> None:
        self.devices: dict[str, str] = {}
        self.registered = 0
        self.refuses: PorttunnelError | None = None
        self.calls: list[str] = []
        self._chance = random.Random(7)

    async def register_instance(self, token: str | None = None) -> Login:
        self._note("register")
        self.registered += 1
        return Login(INSTANCE_ID, "2" * 32)

    async def offer_device(self, login: Login, expires_seconds: int = 600) -> OfferedDevice:
        self._note("offer")
        device_id = self._chance.randbytes(16).hex()
        self.devices[device_id] = "invited"
        return OfferedDevice(
            device_id, self._chance.randbytes(16).hex(), int(NOW) + expires_seconds
        )

    async def list_devices(self, login: Login) -> tuple[ListedDevice, ...]:
        self._note("list")
        return tuple(ListedDevice(*each) for each in self.devices.items())

    async def confirm_device(self, login: Login, device_id: str) -> None:
        self._note(f"confirm {device_id}")
        if device_id not in self.devices:
            raise GatewayRefused("no such device", 404, "not-found", None)
        self.devices[device_id] = "confirmed"

    async def remove_device(self, login: Login, device_id: str) -> None:
        self._note(f"remove {device_id}")
        if self.devices.pop(device_id, None) is None:
            raise GatewayRefused("no such device", 404, "not-found", None)

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if self.refuses is not None:
            raise self.refuses


class FakeClient:
    """An MQTT client and all that is behind it.

    :ivar deliver: gets what was published; says whether somebody is there.
    :ivar held: publishes that were not acknowledged yet, if ``holds`` says so.
    """

    def __init__(
        self,
        login: Login,
        *,
        on_message: Callable[[MessageReceived], object],
        on_event: Callable[[Any], None],
        max_queued_bytes: int,
    ) -> None:
        self.login = login
        self.on_message = on_message
        self.on_event = on_event
        self.is_connected = False
        self.filters: tuple[str, ...] = ()
        self.deliver: Callable[[str, bytes], bool] = lambda topic, payload: False
        self.holds = False
        self.held: list[tuple[str, bytes, Deferred[PublishFinished]]] = []
        self._ended: Deferred[None] = Deferred()
        self._subscribed: Deferred[tuple[int, ...]] = Deferred()

    def start(self) -> None:
        pass

    async def stop(self, patience_seconds: float = 0.0) -> None:
        self.is_connected = False
        self._drop(ClientStopped("stopped"))
        if not self._ended.called:
            self._ended.errback(ClientStopped("stopped"))

    def when_ended(self) -> Deferred[None]:
        return self._ended

    async def subscribe(self, *filters: str, qos: int = 0) -> tuple[int, ...]:
        self.filters = filters
        return await self._subscribed

    def publish(
        self, topic: str, payload: bytes | memoryview, *, qos: int = 0
    ) -> Deferred[PublishFinished]:
        assert qos == 1
        if self.holds or not self.is_connected:
            finished: Deferred[PublishFinished] = Deferred()
            self.held.append((topic, bytes(payload), finished))
            return finished
        return succeed(self._finish(topic, bytes(payload)))

    def release(self, count: int = 1 << 30) -> list[tuple[str, bytes]]:
        """The gateway acknowledges what was held, the oldest first."""
        released, self.held = self.held[:count], self.held[count:]
        for topic, payload, finished in released:
            finished.callback(self._finish(topic, payload))
        return [(topic, payload) for topic, payload, _ in released]

    def connect(self) -> None:
        self.is_connected = True
        self.on_event(client_event.Connected(False, "c", EMPTY))
        if not self._subscribed.called:
            self._subscribed.callback((1, 1))

    def lose(self) -> None:
        self.is_connected = False
        self._drop(OutcomeUnknown("lost"))
        self.on_event(client_event.ConnectionLost())

    def send_away(self) -> None:
        self.is_connected = False
        self.on_event(client_event.Disconnected(ReasonCode.USE_ANOTHER_SERVER, EMPTY))
        self.lose()

    def fail_to_connect(self) -> None:
        self.on_event(client_event.ConnectionFailed(LinkBroken("nobody there")))

    def refuse(self, error: PorttunnelError) -> None:
        self.is_connected = False
        self._ended.errback(error)
        self.on_event(client_event.ConnectionRefused(error, EMPTY))
        if not self._subscribed.called:
            self._subscribed.errback(error)

    def receive(self, topic: str, payload: bytes) -> None:
        self.on_message(MessageReceived(1, topic, payload, 1, False, False, EMPTY))

    def _finish(self, topic: str, payload: bytes) -> PublishFinished:
        reached = self.deliver(topic, payload)
        reason = ReasonCode.SUCCESS if reached else ReasonCode.NO_MATCHING_SUBSCRIBERS
        return PublishFinished(1, reason, EMPTY)

    def _drop(self, error: PorttunnelError) -> None:
        held, self.held = self.held, []
        for _, _, finished in held:
            finished.errback(error)


class CrashingThread:
    """The store's thread, which may be killed with all the rest.

    :ivar before: called before each writing; may raise :class:`Crash`.
    :ivar after: called after each.
    """

    def __init__(self) -> None:
        self.before: Callable[[Sequence[StoreChange]], None] = lambda changes: None
        self.after: Callable[[Sequence[StoreChange]], None] = lambda changes: None
        self.is_dead = False

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def run(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        if self.is_dead:
            return Deferred()
        is_writing = function.__name__ == "apply"
        try:
            if is_writing:
                self.before(arguments[0])
            result = function(*arguments)
            if is_writing:
                self.after(arguments[0])
        except Crash:
            self.is_dead = True
            return Deferred()
        except PorttunnelError:
            return fail(Failure())
        return succeed(result)


class Asked:
    """A request as its device sees it.

    :ivar heads: of the response.
    :ivar content: of the response.
    :ivar end: its trailers; a refusal; a failure's code; or an exception.
    """

    def __init__(self, phone: Phone, exchange: DeviceExchange, request_id: str) -> None:
        self.phone = phone
        self.exchange = exchange
        self.request_id = request_id
        self.heads: list[ResponseHead] = []
        self.content = bytearray()
        self.end: Fields | Refusal | str | Exception | None = None
        self.raw = b""  # of a response about keys
        self.consumes = True
        self._reader = MessageReader(request=False)
        self._writer = MessageWriter(Framing.REQUEST)

    @property
    def status(self) -> int | None:
        return self.heads[-1].status if self.heads and self.heads[-1].final else None

    def send_head(self, head: RequestHead) -> None:
        self.send(self._writer.write_head(head))

    def send_content(self, data: bytes) -> None:
        self.send(self._writer.write_content(data))

    def send_end(self, trailers: Fields = ()) -> None:
        self.send(self._writer.end(trailers), last=True)

    def send_whole(self, head: RequestHead, data: bytes = b"") -> None:
        writer = self._writer
        whole = writer.write_head(head) + writer.write_content(data) + writer.end()
        self.send(whole, last=True)

    def send(self, data: bytes, *, last: bool = False) -> bytes:
        part = bytes(self.exchange.send(data, last=last))
        self.phone.send_part(self.request_id, part)
        return part

    def cancel(self) -> None:
        self.phone.send_part(self.request_id, self.exchange.cancel())

    def receive(self, payload: bytes) -> None:
        match self.exchange.receive(payload):
            case ResponseReceived(data, last):
                self._read(bytes(data), last)
                if self.consumes:
                    self.consume()
            case RefusalReceived(refusal):
                self.end = refusal
            case FailureReceived(failure):
                self.end = failure.code
            case ExchangeFailed(error, _):
                self.end = error

    def consume(self, parts: int = 1) -> None:
        credit = self.exchange.consume(parts)
        if credit is not None:
            self.phone.send_part(self.request_id, credit)

    def _read(self, data: bytes, last: bool) -> None:
        if self.exchange._head.about_keys:
            self.raw += data
            return
        for told in [*self._reader.read(data)] + ([*self._reader.finish()] if last else []):
            match told:
                case ResponseHead():
                    self.heads.append(told)
                case ContentReceived(content):
                    self.content += content
                case MessageEnded(trailers):
                    self.end = trailers


class Phone:
    """A device that speaks through the :class:`FakeClient`.

    :ivar pushes: what it was told: name and text.
    """

    def __init__(self, around: Surroundings, code: PairingCode, device_id: str) -> None:
        self.around = around
        self.device_id = device_id
        self.ends = Ends(bytes.fromhex(INSTANCE_ID), bytes.fromhex(device_id))
        self.secret = DeviceSecret.from_setup(code.setup_secret)
        self.clock = RequestClock()
        self.is_online = True
        self.asked: dict[str, Asked] = {}
        self.pushes: list[tuple[str, bytes]] = []
        self.confirming: DeviceConfirming | None = None
        self._exchanging: DeviceExchanging | None = None
        self._numbers = iter(range(10_000_000, 100_000_000))
        self._chance = random.Random(next(_seeds))
        around.phones[device_id] = self

    def send_part(self, request_id: str, part: bytes) -> None:
        topic = RequestTopic(INSTANCE_ID, self.device_id, request_id)
        self.around.client.receive(format_routed_topic(topic), part)

    def begin(self, secret: DeviceSecret | None = None, *, about_keys: bool = False) -> Asked:
        secret = secret or self.secret
        head = self.clock.draw(
            secret.generation, int(self.around.unix_time() * 1_000), about_keys=about_keys
        )
        exchange = DeviceExchange(
            self.ends,
            DeviceKeys(secret.secret),
            head,
            salt=self._chance.randbytes(32),
            prefix=self._chance.randbytes(7),
        )
        request_id = str(next(self._numbers))
        asked = self.asked[request_id] = Asked(self, exchange, request_id)
        return asked

    def ask(self, head: RequestHead = PAGE, data: bytes = b"") -> Asked:
        asked = self.begin()
        asked.send_whole(head, data)
        self.around.turn()
        return asked

    def ask_about_keys(self, secret: DeviceSecret, plaintext: bytes) -> Asked:
        asked = self.begin(secret, about_keys=True)
        asked.send(plaintext, last=True)
        self.around.turn()
        return asked

    def exchange(self, key: HybridPrivateKey = KEY) -> Asked:
        """Ask for another secret, with the same words until they are answered; what comes of it
        is in ``confirming``.
        """
        if self._exchanging is None:
            self._exchanging = DeviceExchanging(
                self.ends,
                self.secret,
                key=key,
                nonce=self._chance.randbytes(32),
                fallback=bytes(32),
            )
        asked = self.ask_about_keys(self.secret, self._exchanging.request)
        if asked.raw:
            self.confirming = self._exchanging.receive_answer(asked.raw)
            self._exchanging = None
        return asked

    def confirm(self) -> Asked:
        assert self.confirming is not None
        asked = self.ask_about_keys(self.confirming.pending, self.confirming.confirm)
        if asked.raw:
            self.secret = self.confirming.receive_confirmed(asked.raw)
            self.confirming = None
        return asked

    def receive(self, topic: str, payload: bytes) -> None:
        response, push = parse_response_topic(topic), parse_push_topic(topic)
        if response is not None:
            asked = self.asked.get(response.last)
            if asked is not None:
                asked.receive(payload)
        elif push is not None:
            opened = open_push(
                self.ends, DeviceKeys(self.secret.secret), decode_push(payload), push.last
            )
            self.pushes.append((push.last, bytes(opened)))


class Surroundings:
    """All of it, and an instance in the middle.

    :ivar requests: what the application got.
    :ivar application: called with each request.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.rest = FakeRest()
        self.phones: dict[str, Phone] = {}
        self.events: list[Any] = []
        self.requests: list[ServedRequest] = []
        self.forgotten: list[str] = []
        self.application: Callable[[ServedRequest], None] = lambda request: None
        self.clock_offset = 0.0
        self.client: FakeClient
        self.thread: CrashingThread
        self.instance: Instance

    def unix_time(self) -> float:
        return NOW + self.clock.seconds() + self.clock_offset

    # The application

    def open(self, request: ServedRequest) -> None:
        self.requests.append(request)
        self.application(request)

    def forget(self, device_id: str) -> None:
        self.forgotten.append(device_id)

    # Life

    def start(self, *, connect: bool = True) -> Instance:
        self.thread = CrashingThread()
        self.store = SQLiteInstanceStore(self.folder / "instance.sqlite")
        self.instance = Instance(
            self.clock,
            self.store,
            ADDRESS,
            self,
            on_event=self.events.append,
            rest=self.rest,
            open_client=self._open_client,
            thread=self.thread,
            unix_time=self.unix_time,
        )
        self.run(self.instance.start())
        if connect:
            self.connect()
        return self.instance

    def connect(self) -> None:
        self.client.connect()
        self.turn()

    def stop(self) -> None:
        self.run(self.instance.stop())

    def end(self) -> None:
        """Whatever happened, nothing is left open."""
        if self.instance._serving is not None and not self.thread.is_dead:
            self.stop()

    def damage_phases(self) -> None:
        """The disk has lost some bits, while nothing runs."""
        with closing(sqlite3.connect(self.folder / "instance.sqlite")) as connection:
            connection.execute("UPDATE devices SET phase = x'00'")
            connection.commit()

    def kill(self) -> None:
        """The process is gone at once: nothing more is written, told or said."""
        self.thread.is_dead = True
        self.client.is_connected = False
        self.store.close()
        for call in self.clock.getDelayedCalls():
            call.cancel()

    def _open_client(self, login: Login, **named: Any) -> FakeClient:
        self.client = FakeClient(login, **named)
        self.client.deliver = self._deliver
        return self.client

    def _deliver(self, topic: str, payload: bytes) -> bool:
        phone = self.phones.get(topic.split("/")[1])
        if phone is None or not phone.is_online:
            return False
        phone.receive(topic, payload)
        return True

    # Time

    def turn(self, seconds: float = 0.0) -> None:
        """Let happen what is due, until nothing is."""
        self.clock.advance(seconds)
        while any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)

    def begin(self, work: Any) -> None:
        """Let a coroutine run, wherever it may come to."""
        Deferred.fromCoroutine(work).addErrback(lambda failure: None)
        self.turn()

    def run(self, work: Any) -> Any:
        """The result of a coroutine, which has to be there once nothing is due."""
        results: list[Any] = []
        Deferred.fromCoroutine(work).addBoth(results.append)
        self.turn()
        assert results, "it waits for something"
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    # Devices

    def invite(self, user: str = "anna", *, immediate: bool = False) -> Phone:
        invitation = self.run(self.instance.invite(user, immediate=immediate))
        return Phone(self, invitation.code, invitation.device_id)

    def pair(self, user: str = "anna") -> Phone:
        phone = self.invite(user, immediate=True)
        phone.exchange()
        phone.confirm()
        assert phone.confirming is None
        return phone

    def tell_event(self, name: EventName, device_id: str) -> None:
        answer = make_event(INSTANCE_ID, name, device_id)
        self.client.receive(answer.topic, answer.payload)
        self.turn()
