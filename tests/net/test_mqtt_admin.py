"""What the operator of a broker sees over real HTTP, and what the broker says under $SYS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import endpoints, reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from porttunnel import __version__
from porttunnel.errors import MqttError
from porttunnel.mqtt.policy import AllowAll
from porttunnel.net import mqtt_admin
from porttunnel.net.mqtt_broker import MQTTBrokerFactory
from porttunnel.net.mqtt_status import PREFIX, StatusPublisher
from tests.net.http_question import ask


class AdminTests(TestCase):
    timeout = 20.0

    async def setUp(self) -> None:
        self.clock = Clock()
        self.listening = True
        self.factory = MQTTBrokerFactory(AllowAll(), reactor=self.clock)
        self.factory.publish("a", b"x", retain=True)
        site = mqtt_admin.broker_admin_site(self.clock, self.factory, lambda: self.listening)
        endpoint = endpoints.serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        port = await endpoint.listen(site)
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port

    async def ask(self, path: str) -> tuple[int, str]:
        code, _, body = await ask(self.port, path)
        return code, body.decode()

    async def test_health(self) -> None:
        self.assertEqual(await self.ask("/healthz"), (200, "ok\n"))

    async def test_readiness(self) -> None:
        self.assertEqual(await self.ask("/readyz"), (200, "ready\n"))
        self.listening = False
        self.assertEqual(await self.ask("/readyz"), (503, "not listening yet\n"))
        await Deferred.fromCoroutine(self.factory.drain())
        self.assertEqual((await self.ask("/readyz"))[0], 503)

    async def test_the_status_page(self) -> None:
        code, page = await self.ask("/")
        self.assertEqual(code, 200)
        self.assertIn("<h1>porttunnel broker</h1>", page)
        self.assertIn("<p>in service</p>", page)
        self.assertIn("retained messages</th><td>1<", page)

    async def test_metrics(self) -> None:
        code, text = await self.ask("/metrics")
        self.assertEqual(code, 200)
        self.assertIn("porttunnel_mqtt_retained_messages 1.0", text)
        self.assertIn("porttunnel_mqtt_received_messages_total 0.0", text)

    async def test_without_prometheus_there_are_none(self) -> None:
        self.patch(mqtt_admin, "format_metrics", None)
        code, text = await self.ask("/metrics")
        self.assertEqual(code, 501)
        self.assertIn("pip install", text)

    async def test_there_is_nothing_else(self) -> None:
        self.assertEqual((await self.ask("/elsewhere"))[0], 404)


class StatusTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.factory = MQTTBrokerFactory(AllowAll(), reactor=self.clock)
        self.published: list[tuple[str, str]] = []
        self.has_no_room = False
        publish: Callable[..., Any] = self.factory.publish

        def note(topic: str, payload: bytes, **options: Any) -> Any:
            self.assertTrue(options.pop("retain"))
            if self.has_no_room and topic != f"{PREFIX}uptime":
                raise MqttError("there is no room", 0x97)
            self.published.append((topic.removeprefix(PREFIX), payload.decode()))
            return publish(topic, payload, retain=True, **options)

        self.factory.publish = note  # type: ignore[method-assign]  # to look on
        self.status = StatusPublisher(self.clock, self.factory, 10.0)
        self.status.start()

    def take(self) -> dict[str, str]:
        published, self.published = dict(self.published), []
        return published

    def test_tells_all_at_first_and_then_what_has_changed(self) -> None:
        first = self.take()
        self.assertEqual(first["version"], f"porttunnel {__version__}")
        self.assertEqual(first["uptime"], "0 seconds")
        self.assertEqual(first["clients/connected"], "0")
        self.assertGreater(self.factory.broker.retained_count, 10)
        self.clock.advance(10)
        second = self.take()
        self.assertEqual(second["uptime"], "10 seconds")
        self.assertNotIn("version", second)
        self.assertNotIn("messages/received", second)

    def test_what_there_is_no_room_for_is_told_later(self) -> None:
        self.take()
        self.factory.publish("other", b"x", retain=True)
        self.take()
        self.has_no_room = True
        for _ in range(2):
            self.clock.advance(10)
            self.assertEqual(list(self.take()), ["uptime"])
        self.has_no_room = False
        self.clock.advance(10)
        told = self.take()
        self.assertEqual(told["uptime"], "30 seconds")
        self.assertIn("retained messages/count", told)

    def test_says_nothing_once_stopped(self) -> None:
        self.take()
        self.status.stop()
        self.status.stop()
        self.clock.advance(100)
        self.assertEqual(self.take(), {})
