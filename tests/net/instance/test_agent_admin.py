"""What an agent's operator sees."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.trial.unittest import TestCase

from porttunnel.net.instance.agent_admin import AgentParts, agent_admin_site
from porttunnel.net.instance.device_record import DeviceState
from tests.net.http_question import ask
from tests.net.instance.fake_instance import DEVICE, INSTANCE, FakeInstance


class KeptOpen:
    is_open = True


class BusyUpstream:
    running, waiting, connections = 7, 5, 3


class AgentAdminTests(TestCase):
    timeout = 20

    async def setUp(self) -> None:
        self.session = KeptOpen()
        self.instance = FakeInstance()
        self.instance.add(DeviceState.PAIRED)
        self.instance.add(DeviceState.WAITING, "e" * 32, "bert")
        parts = AgentParts(self.instance, BusyUpstream(), self.session)
        endpoint = serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        self.port = await endpoint.listen(agent_admin_site(reactor, parts))
        self.addCleanup(self.port.stopListening)

    async def ask(self, path: str) -> tuple[int, bytes, bytes]:
        port: Any = self.port.getHost()
        return await ask(port.port, path)

    async def test_readiness_is_the_connection(self) -> None:
        self.assertEqual((await self.ask("/readyz"))[::2], (200, b"ready\n"))
        self.instance.is_connected = False
        code, _, body = await self.ask("/readyz")
        self.assertEqual(code, 503)
        self.assertIn(b"not connected", body)
        self.instance.is_connected, self.session.is_open = True, False
        code, _, body = await self.ask("/readyz")
        self.assertEqual((code, body), (503, b"the session can't be reached; the log says why\n"))
        self.assertEqual((await self.ask("/healthz"))[0], 200)

    async def test_the_pages_tell_numbers_and_nobody(self) -> None:
        for path, expected in (
            ("/metrics", b'porttunnel_agent_devices{state="paired"} 1\n'),
            ("/metrics", b'porttunnel_agent_devices{state="waiting"} 1\n'),
            ("/metrics", b"porttunnel_agent_connected 1\n"),
            ("/metrics", b"porttunnel_agent_devices_online 1\n"),
            ("/metrics", b"porttunnel_agent_requests_running 7\n"),
            ("/metrics", b"porttunnel_agent_requests_waiting 5\n"),
            ("/metrics", b"porttunnel_agent_connections 3\n"),
            ("/metrics", b"porttunnel_agent_session_open 1\n"),
            ("/", b"<p>in service</p>"),
            ("/", b"devices online</th><td>1</td>"),
        ):
            code, _, body = await self.ask(path)
            self.assertEqual(code, 200)
            self.assertIn(expected, body)
            for secret in (DEVICE, INSTANCE, "anna", "bert"):
                self.assertNotIn(secret.encode(), body)
        self.instance.is_connected = False
        self.assertIn(b"porttunnel_agent_connected 0\n", (await self.ask("/metrics"))[2])
        self.assertIn(b"<p>not connected to the gateway</p>", (await self.ask("/"))[2])


class PartTests(TestCase):
    """An agent may be one of two things, or both."""

    timeout = 20

    async def metrics(self, parts: AgentParts) -> bytes:
        endpoint = serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        port: Any = await endpoint.listen(agent_admin_site(reactor, parts))
        self.addCleanup(port.stopListening)
        self.assertEqual((await ask(port.getHost().port, "/readyz"))[0], 200)
        return (await ask(port.getHost().port, "/metrics"))[2]

    async def test_a_session_alone(self) -> None:
        metrics = await self.metrics(AgentParts(session=KeptOpen()))
        self.assertIn(b"session_open 1", metrics)
        self.assertNotIn(b"devices", metrics)

    async def test_an_instance_alone(self) -> None:
        metrics = await self.metrics(AgentParts(FakeInstance()))
        self.assertNotIn(b"session", metrics)
        self.assertIn(b"agent_devices_online 0", metrics)
