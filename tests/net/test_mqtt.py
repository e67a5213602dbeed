"""MQTT clients and a broker of ours on real sockets: TCP, WebSocket, web site, UNIX socket."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol, serverFromString
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from porttunnel.errors import NotReachable
from porttunnel.mqtt.client_event import Connected, Disconnected, MessageReceived
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.packet import Connect, Version
from porttunnel.mqtt.policy import Attempt, Decision
from porttunnel.mqtt.property import Properties
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.carriers.connector import Connector
from porttunnel.net.certificate import load_or_create_identity
from porttunnel.net.mqtt import (
    AllowAll,
    ClientSettings,
    MQTTBrokerFactory,
    MQTTClient,
    StreamConnector,
    WebSocketConnector,
    parse_broker_address,
)
from porttunnel.net.mqtt_broker import SUBPROTOCOL
from porttunnel.net.tls import server_context

LISTEN = "tcp:0:interface=127.0.0.1"


class Inbox:
    """Keeps messages, and lets a test wait for them."""

    def __init__(self) -> None:
        self.messages: list[MessageReceived] = []
        self._wanted = 0
        self._enough: Deferred[None] = Deferred()

    def __call__(self, message: MessageReceived) -> None:
        self.messages.append(message)
        if len(self.messages) == self._wanted:
            self._enough.callback(None)

    async def wait(self, count: int) -> list[tuple[str, bytes, int]]:
        if len(self.messages) < count:
            self._wanted, self._enough = count, Deferred()
            await self._enough
        return [(message.topic, message.payload, message.qos) for message in self.messages]


class MQTTTestCase(TestCase):
    """A broker and its clients, stopped at the end."""

    timeout = 60.0  # a deadline, not a measure

    def setUp(self) -> None:
        self.broker = MQTTBrokerFactory(AllowAll())
        self.clients: list[MQTTClient] = []
        self.addCleanup(lambda: Deferred.fromCoroutine(self.stop()))

    async def stop(self) -> None:
        for client in self.clients:
            await client.stop()
        await self.broker.drain()

    async def listen(self, factory: Any, where: str = LISTEN) -> int:
        port = await serverFromString(reactor, where).listen(factory)
        self.addCleanup(port.stopListening)
        return int(getattr(port.getHost(), "port", 0))

    async def tcp(self) -> Connector:
        port = await self.listen(self.broker)
        return self.to(f"tcp:127.0.0.1:{port}")

    def to(self, where: str) -> Connector:
        return StreamConnector(reactor, clientFromString(reactor, where))

    async def websocket(self) -> Connector:
        port = await self.listen(self.broker.websocket_factory(path="/mqtt"))
        return self.websocket_to(port, "/mqtt")

    async def web_site(self) -> Connector:
        root = Resource()
        root.putChild(b"live", self.broker.websocket_resource())
        site = Site(root)
        return self.websocket_to(await self.listen(site), "/live")

    def websocket_to(self, port: int, path: str) -> Connector:
        endpoint = clientFromString(reactor, f"tcp:127.0.0.1:{port}")
        url = f"ws://127.0.0.1:{port}{path}"
        return WebSocketConnector(reactor, endpoint, url, SUBPROTOCOL)

    async def connect(
        self,
        connector: Connector,
        *,
        on_message: Any = None,
        on_event: Callable[[Any], None] = lambda happened: None,
        **settings: Any,
    ) -> MQTTClient:
        client = MQTTClient(
            reactor,
            connector,
            ClientSettings(**settings),
            on_message=on_message or (lambda message: None),
            on_event=on_event,
        )
        self.clients.append(client)
        client.start()
        await client.when_connected()
        return client


class WaysTests(MQTTTestCase):
    """Every way to a broker, each with both versions."""

    async def exchange(self, connector: Connector, version: Version) -> None:
        inbox = Inbox()
        client = await self.connect(connector, on_message=inbox, version=version)
        self.assertEqual(await client.subscribe("a/+", qos=2), (2,))
        large = bytes(range(256)) * 1_024
        for qos in range(3):
            await client.publish("a/b", large, qos=qos)
        self.assertEqual(await inbox.wait(3), [("a/b", large, qos) for qos in range(3)])
        await client.unsubscribe("a/+")
        await client.publish("a/b", b"", qos=1)
        self.assertEqual(len(inbox.messages), 3)

    @pytest.mark.mqtt5("4.2.0-1")
    @pytest.mark.mqtt3("7.1.1-1", "7.1.2-1")
    async def test_tcp(self) -> None:
        connector = await self.tcp()
        for version in Version:
            await self.exchange(connector, version)

    @pytest.mark.mqtt5("4.2.0-1", "6.0.0-1", "6.0.0-2", "6.0.0-3", "6.0.0-4")
    @pytest.mark.mqtt3("7.1.1-1", "7.1.2-1", "6.0.0-1", "6.0.0-2", "6.0.0-3", "6.0.0-4")
    async def test_websocket(self) -> None:
        connector = await self.websocket()
        for version in Version:
            await self.exchange(connector, version)

    async def test_websocket_beside_web_pages(self) -> None:
        connector = await self.web_site()
        for version in Version:
            await self.exchange(connector, version)

    async def test_a_unix_socket(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name) / "mqtt"
        await self.listen(self.broker, f"unix:{path}")
        await self.exchange(self.to(f"unix:{path}"), Version.V5)

    async def test_tls_with_a_pinned_key(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        identity = load_or_create_identity(Path(folder.name))

        async def listen(factory: Any) -> str:
            tls = TLSMemoryBIOFactory(server_context(identity), False, factory, reactor)
            return f"127.0.0.1:{await self.listen(tls)}"

        plain = f"mqtts://{await listen(self.broker)}#{identity.pin}"
        web = f"wss://{await listen(self.broker.websocket_factory())}/any#{identity.pin}"
        for address in (plain, web):
            await self.exchange(parse_broker_address(reactor, address), Version.V5)

    async def test_all_ways_lead_to_one_broker(self) -> None:
        inbox = Inbox()
        one = await self.connect(await self.tcp(), on_message=inbox)
        other = await self.connect(await self.websocket(), version=Version.V3_1_1)
        await one.subscribe("a")
        await other.publish("a", b"x")
        self.assertEqual(await inbox.wait(1), [("a", b"x", 0)])

    async def test_behind_a_proxy_the_client_is_who_the_proxy_names(self) -> None:
        peers: list[str] = []
        both: Deferred[None] = Deferred()

        class Watching(AllowAll):
            def authenticate(self, attempt: Attempt, now: float) -> Decision | None:
                peers.append(attempt.peer)
                if len(peers) == 2:
                    both.callback(None)
                return super().authenticate(attempt, now)

        class Proxied(Protocol):
            def __init__(self, request: bytes) -> None:
                self.request = request

            def connectionMade(self) -> None:
                connect = encode(Connect(Version.V5, "c"), Version.V5)
                frame = b""
                if self.request:  # the mask is zero, so that it can be sent as it is
                    frame = bytes((0x82, 0x80 | len(connect))) + bytes(4)
                line = b"PROXY TCP4 203.0.113.9 127.0.0.1 1 2\r\n"
                self.transport.write(line + self.request + frame + connect)

        upgrade = (
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            b"Sec-WebSocket-Protocol: mqtt\r\n\r\n"
        )
        self.broker = MQTTBrokerFactory(Watching())
        for factory, request in (
            (self.broker, b""),
            (self.broker.websocket_factory(), upgrade),
        ):
            port = await self.listen(factory, f"haproxy:{LISTEN}")
            endpoint = clientFromString(reactor, f"tcp:127.0.0.1:{port}")
            client = await connectProtocol(endpoint, Proxied(request))
            self.addCleanup(client.transport.abortConnection)
        await both
        self.assertEqual(peers, ["203.0.113.9"] * 2)

    @pytest.mark.mqtt5("6.0.0-4")
    async def test_a_web_socket_of_another_protocol_is_refused(self) -> None:
        port = await self.listen(self.broker.websocket_factory())
        endpoint = clientFromString(reactor, f"tcp:127.0.0.1:{port}")
        connector = WebSocketConnector(reactor, endpoint, f"ws://127.0.0.1:{port}/", "chat")
        client = MQTTClient(reactor, connector, ClientSettings())
        with self.assertRaises(NotReachable):
            await connector.connect(client._driver)


class DrainTests(MQTTTestCase):
    """A broker that goes tells everybody, whichever way they came."""

    async def test_all_are_told_and_the_broker_is_soon_gone(self) -> None:
        told: list[Any] = []
        for connector in (await self.tcp(), await self.websocket(), await self.web_site()):
            await self.connect(connector, on_event=told.append)
        await self.broker.drain()
        self.assertEqual(self.broker.links, set())
        reasons = [each.reason for each in told if isinstance(each, Disconnected)]
        self.assertEqual(reasons, [ReasonCode.SERVER_SHUTTING_DOWN] * 3)


class ComingBackTests(MQTTTestCase):
    """Nothing is lost by a cut."""

    async def test_what_is_under_way_arrives_once_however_often_it_is_cut(self) -> None:
        connector = await self.tcp()
        inbox = Inbox()
        receiver = await self.connect(
            connector, on_message=inbox, client_id="r", session_expiry_seconds=60
        )
        await receiver.subscribe("a", qos=2)
        sender = await self.connect(connector, client_id="s", session_expiry_seconds=60)
        published = []
        for number in range(30):
            published.append(sender.publish("a", b"%d" % number, qos=2))
            if number % 10 == 5:
                for link in tuple(self.broker.links):
                    link.abort()
            await deferLater(reactor, 0)
        for waiting in published:
            await waiting
        got = await inbox.wait(30)
        self.assertEqual([int(payload) for _, payload, _ in got], list(range(30)))

    async def test_a_client_finds_a_broker_that_was_restarted_and_subscribes_again(self) -> None:
        port = await serverFromString(reactor, LISTEN).listen(self.broker)
        number = port.getHost().port
        inbox, events = Inbox(), []
        client = await self.connect(
            self.to(f"tcp:127.0.0.1:{number}"),
            on_message=inbox,
            on_event=events.append,
            session_expiry_seconds=60,
        )
        await client.subscribe("a")
        await port.stopListening()
        await self.broker.drain()
        self.broker = MQTTBrokerFactory(AllowAll())
        await self.listen(self.broker, f"tcp:{number}:interface=127.0.0.1")
        await client.publish("b", b"", qos=1)
        await client.subscribe("c")
        await client.publish("a", b"again")
        self.assertEqual(await inbox.wait(1), [("a", b"again", 0)])
        present = [each.session_present for each in events if isinstance(each, Connected)]
        self.assertEqual(present, [False, False])

    async def test_a_slow_program_is_waited_for(self) -> None:
        connector = await self.tcp()
        working: list[Deferred[None]] = []
        first: Deferred[None] = Deferred()

        def work(message: MessageReceived) -> Deferred[None]:
            working.append(Deferred())
            if len(working) == 1:
                first.callback(None)
            return working[-1]

        receiver = await self.connect(connector, on_message=work, receive_maximum=2)
        await receiver.subscribe("a", qos=1)
        sender = await self.connect(connector)
        for number in range(5):
            await sender.publish("a", b"%d" % number, qos=1)
        await first
        done = 0
        while done < 5:
            await deferLater(reactor, 0)
            self.assertLessEqual(len(working) - done, 2)
            if len(working) > done:
                working[done].callback(None)
                done += 1

    async def test_properties_go_from_end_to_end(self) -> None:
        inbox = Inbox()
        client = await self.connect(await self.websocket(), on_message=inbox)
        await client.subscribe("a", properties=Properties(subscription_identifiers=(9,)))
        asked = Properties(
            response_topic="answers",
            correlation_data=b"7",
            content_type="text/plain",
            user_properties=(("a", "1"), ("a", "2")),
        )
        done = await client.publish("a", b"", qos=1, properties=asked)
        self.assertEqual(done.reason, ReasonCode.SUCCESS)
        await inbox.wait(1)
        got = inbox.messages[0].properties
        self.assertEqual(got.subscription_identifiers, (9,))
        self.assertEqual(got.user_properties, asked.user_properties)
        self.assertEqual((got.response_topic, got.correlation_data), ("answers", b"7"))
