"""porttunnel.net.device.device: requests over a real broker, both ways, and what goes wrong."""

from __future__ import annotations

from porttunnel.gateway.http_head import RequestHead, ResponseHead
from tests.net.device.pairing_case import DeviceTestCase


class FetchTests(DeviceTestCase):
    async def test_a_page(self) -> None:
        device = await self.pair()
        page = await device.fetch("GET", "/start")
        self.assertEqual(page.head, ResponseHead(200, ((b"x-kind", b"greeting"),)))
        self.assertEqual((page.data, page.trailers), (b"hello ", ()))
        self.assertEqual(self.instance.executed, [RequestHead(b"GET", b"https", b"", b"/start")])
