"""What an agent's operator sees."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.trial.unittest import TestCase

from porttunnel.net.instance.agent_admin import agent_admin_site
from porttunnel.net.instance.device_record import DeviceState
from tests.net.http_question import ask
from tests.net.instance.fake_instance import DEVICE, INSTANCE, FakeInstance


class AgentAdminTests(TestCase):
    timeout = 20

    async def setUp(self) -> None:
        self.instance = FakeInstance()
        self.instance.add(DeviceState.PAIRED)
        self.instance.add(DeviceState.WAITING, "e" * 32, "bert")
        endpoint = serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        self.port = await endpoint.listen(agent_admin_site(reactor, self.instance))
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
        self.assertEqual((await self.ask("/healthz"))[0], 200)

    async def test_the_pages_tell_numbers_and_nobody(self) -> None:
        for path, expected in (
            ("/metrics", b'porttunnel_agent_devices{state="paired"} 1\n'),
            ("/metrics", b'porttunnel_agent_devices{state="waiting"} 1\n'),
            ("/metrics", b"porttunnel_agent_connected 1\n"),
            ("/metrics", b"porttunnel_agent_devices_online 1\n"),
            ("/", b"<p>connected to the gateway</p>"),
            ("/", b"devices online</th><td>1</td>"),
        ):
            code, _, body = await self.ask(path)
            self.assertEqual(code, 200)
            self.assertIn(expected, body)
            for secret in (DEVICE, INSTANCE, "anna", "bert"):
                self.assertNotIn(secret.encode(), body)
        self.instance.is_connected = False
        self.assertIn(b"porttunnel_agent_connected 0\n", (await self.ask("/metrics"))[2])
        self.assertIn(b"<p>not connected</p>", (await self.ask("/"))[2])
