"""Our MQTT client at mosquitto, a broker that others wrote: TCP and WebSocket, both versions."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from porttunnel.mqtt.client_event import Connected, MessageReceived
from porttunnel.mqtt.packet import Subscription, Version, Will
from porttunnel.mqtt.property import Properties
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.mqtt import ClientSettings, MQTTClient, parse_broker_address
from tests.real.mosquitto import Mosquitto
from tests.real.program import Start

pytestmark = pytest.mark.real

COUNT = 300  # messages; many times what mosquitto takes at once
SOME = 30  # of them
WAIT_SECONDS = 40  # a deadline, not a measure

# 0: no limit. What it has not sent yet 2.0.11 loses when it is started again, though it has
# acknowledged it.
CONFIG = "max_inflight_messages 0\n"

_numbers = itertools.count(1)


class Listener:
    """A client's messages and events."""

    def __init__(self) -> None:
        self.messages: list[MessageReceived] = []
        self.events: list[Any] = []
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def on_message(self, message: MessageReceived) -> None:
        self.messages.append(message)
        self._look()

    def on_event(self, happened: Any) -> None:
        self.events.append(happened)
        self._look()

    def when(self, condition: Callable[[], bool]) -> Deferred[None]:
        """Fires once it is so."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append((condition, waiting))
        self._look()
        return waiting

    async def take(self) -> MessageReceived:
        """The next message."""
        await self.when(lambda: bool(self.messages))
        return self.messages.pop(0)

    def connections(self) -> list[Connected]:
        return [one for one in self.events if isinstance(one, Connected)]

    def _look(self) -> None:
        for waiting in self._waiting[:]:
            if waiting[0]():
                self._waiting.remove(waiting)
                waiting[1].callback(None)


class MosquittoTestCase(TestCase):
    """A broker for each test."""

    timeout = WAIT_SECONDS
    version: Version
    scheme: str

    @pytest.fixture(autouse=True)
    def _start_broker(self, start: Start, tmp_path: Path) -> None:
        self.broker = Mosquitto(start, tmp_path, CONFIG)
        self.topic = f"topic{next(_numbers)}"

    @property
    def address(self) -> str:
        is_tcp = self.scheme == "mqtt"
        port = self.broker.port if is_tcp else self.broker.websocket_port
        return f"{self.scheme}://127.0.0.1:{port}"

    def make(self, **settings: Any) -> tuple[MQTTClient, Listener]:
        listener = Listener()
        client = MQTTClient(
            reactor,
            parse_broker_address(reactor, self.address),
            ClientSettings(version=self.version, **settings),
            on_message=listener.on_message,
            on_event=listener.on_event,
        )
        self.addCleanup(lambda: Deferred.fromCoroutine(client.stop()))
        client.start()
        return client, listener

    def make_lasting(self, client_id: str) -> tuple[MQTTClient, Listener]:
        """One whose session outlives its connections."""
        return self.make(
            client_id=client_id,
            clean_start=False,
            session_expiry_seconds=300,
            receive_maximum=3 * COUNT,
        )


class AtMosquitto:
    """What is shown in each version, over each transport."""

    async def test_every_quality_of_service(self: Any) -> None:
        client, listener = self.make()
        for granted in range(3):
            pattern = f"{self.topic}/{granted}/+"
            assert await client.subscribe(pattern, qos=granted) == (granted,)
            for qos in range(3):
                topic = f"{self.topic}/{granted}/{qos}"
                await client.publish(topic, bytes((qos,)), qos=qos)
                came = await listener.take()
                assert (came.topic, came.payload) == (topic, bytes((qos,)))
                assert came.qos == min(qos, granted)
        await client.unsubscribe(f"{self.topic}/0/+")
        await client.publish(f"{self.topic}/0/0", b"not wanted")
        payload = bytes(range(256)) * 64
        await client.publish(f"{self.topic}/1/0", payload, qos=2)
        assert (await listener.take()).payload == payload

    async def test_retained_messages_and_wills(self: Any) -> None:
        speaker, _ = self.make(
            client_id=self.topic,
            will=Will(f"{self.topic}/will", b"gone", 1, retain=True, properties=Properties()),
        )
        await speaker.publish(f"{self.topic}/kept", b"kept", qos=1, retain=True)
        client, listener = self.make()
        await client.subscribe(f"{self.topic}/#", qos=1)
        came = await listener.take()
        assert (came.topic, came.payload, came.retain) == (f"{self.topic}/kept", b"kept", True)
        self.make(client_id=self.topic)  # puts the first one out
        came = await listener.take()
        assert (came.topic, came.payload, came.retain) == (f"{self.topic}/will", b"gone", False)

    async def test_messages_that_came_while_it_was_away(self: Any) -> None:
        first, _ = self.make_lasting(self.topic)
        await first.subscribe(self.topic, qos=2)
        await first.stop()
        speaker, _ = self.make()
        for qos in (1, 2):
            await speaker.publish(self.topic, b"%d" % qos, qos=qos)
        _, listener = self.make_lasting(self.topic)
        came = [await listener.take() for _ in range(2)]
        assert [(one.payload, one.qos) for one in came] == [(b"1", 1), (b"2", 2)]
        assert listener.connections()[0].session_present

    async def test_a_killed_broker_gets_what_it_had_not_read(self: Any) -> None:
        receiver, listener = self.make_lasting(f"{self.topic}-receiver")
        await receiver.subscribe(self.topic, qos=2)
        sender, sent = self.make_lasting(f"{self.topic}-sender")
        await sender.when_connected()
        self.broker.save()
        # Once this has come, it has saved.
        await sender.publish(self.topic, b"after", qos=2)
        await listener.take()
        self.broker.freeze()
        asked = [sender.publish(self.topic, b"%d" % n, qos=1 + n % 2) for n in range(COUNT)]
        # On its way as far as the broker's socket takes it.
        turn: Deferred[None] = Deferred()
        reactor.callLater(0, turn.callback, None)
        await turn
        self.broker.kill()
        self.broker.run()
        await gatherResults(asked)
        await listener.when(lambda: len(listener.messages) >= COUNT)
        assert [one.session_present for one in sent.connections()] == [False, True]
        # Nothing had been taken before: each comes once, at QoS 1 too, in its order.
        for qos in (1, 2):
            came = [int(one.payload) for one in listener.messages if one.qos == qos]
            assert came == list(range(qos - 1, COUNT, 2))

    async def test_a_broker_that_starts_again_and_again(self: Any) -> None:
        receiver, listener = self.make_lasting(f"{self.topic}-receiver")
        await receiver.subscribe(self.topic, qos=2)
        sender, sent = self.make_lasting(f"{self.topic}-sender")
        asked: list[Deferred[Any]] = []
        for starts in range(2, 4):
            for number in range(len(asked), len(asked) + COUNT):
                asked.append(sender.publish(self.topic, b"%d" % number, qos=1 + number % 2))
            enough = len(listener.messages) + SOME
            await listener.when(lambda enough=enough: len(listener.messages) >= enough)
            self.broker.terminate()
            self.broker.run()
            for each in (sent, listener):
                await each.when(lambda each=each, n=starts: len(each.connections()) == n)
                assert each.connections()[-1].session_present
        await gatherResults(asked)
        payloads = {b"%d" % number for number in range(len(asked))}
        await listener.when(lambda: {one.payload for one in listener.messages} == payloads)
        # 2.0.11 may send again what it had released already, if our PUBCOMP did not reach it
        # before it ended, against [MQTT-4.3.3-6]. It says that it does.
        first = [one.payload for one in listener.messages if one.qos == 2 and not one.duplicate]
        assert len(first) == len(set(first))
        for qos in (1, 2):
            came = [int(one.payload) for one in listener.messages if one.qos == qos]
            assert list(dict.fromkeys(came)) == list(range(qos - 1, len(asked), 2))


class OnlyMQTT5(AtMosquitto):
    """What only MQTT 5 has."""

    async def test_a_request_and_its_response(self: Any) -> None:
        answering, requests = self.make()
        await answering.subscribe(
            Subscription(f"{self.topic}/sum", 1),
            properties=Properties(subscription_identifiers=(300,)),
        )
        asking, answers = self.make()
        await asking.subscribe(f"{self.topic}/answer", qos=1)
        told = Properties(
            response_topic=f"{self.topic}/answer",
            correlation_data=b"\0\xff",
            user_properties=(("unit", "metre"), ("unit", "inch")),
            message_expiry_interval=60,
        )
        await asking.publish(f"{self.topic}/sum", b"1+2", qos=1, properties=told)
        request = await requests.take()
        assert request.properties.user_properties == told.user_properties
        assert request.properties.subscription_identifiers == (300,)
        assert request.properties.response_topic is not None
        await answering.publish(
            request.properties.response_topic,
            b"3",
            properties=Properties(correlation_data=request.properties.correlation_data),
        )
        answer = await answers.take()
        assert (answer.payload, answer.properties.correlation_data) == (b"3", b"\0\xff")

    async def test_is_told_that_nobody_listens(self: Any) -> None:
        client, _ = self.make()
        done = await client.publish(self.topic, b"", qos=1)
        assert done.reason == ReasonCode.NO_MATCHING_SUBSCRIBERS


class OverTCP3(AtMosquitto, MosquittoTestCase):
    version, scheme = Version.V3_1_1, "mqtt"


class OverTCP5(OnlyMQTT5, MosquittoTestCase):
    version, scheme = Version.V5, "mqtt"


class OverWebSocket3(AtMosquitto, MosquittoTestCase):
    version, scheme = Version.V3_1_1, "ws"


class OverWebSocket5(OnlyMQTT5, MosquittoTestCase):
    version, scheme = Version.V5, "ws"
