"""porttunnel.net.gateway.metrics: figures that name nobody."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.net import admin
from porttunnel.net.metrics import format_metrics
from porttunnel.net.tunnel_server import TunnelServerFactory
from tests.net.gateway.house import DEVICE, INSTANCE, House


class MetricsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()
        directory: Any = None
        self.server = TunnelServerFactory(Clock(), directory, lambda *_: None)  # type: ignore[arg-type,return-value]  # nobody comes

    def test_figures(self) -> None:
        device = self.house.log_in(DEVICE)
        self.house.publish(device, f"device/{DEVICE}/request/12345678")
        self.house.log_in(INSTANCE)
        self.house.refusal(INSTANCE, b"wrong")
        text = format_metrics(self.server, self.house.gateway).decode()
        for line in (
            "porttunnel_links 0.0",
            "porttunnel_gateway_instances 1.0",
            "porttunnel_gateway_devices 1.0",
            'porttunnel_gateway_logins_total{outcome="device"} 1.0',
            'porttunnel_gateway_logins_total{outcome="instance"} 1.0',
            'porttunnel_gateway_logins_total{outcome="wrong"} 1.0',
            "porttunnel_gateway_unreached_requests_total 1.0",
            "porttunnel_mqtt_sessions 2.0",
        ):
            self.assertIn(line, text.splitlines())
        for name in (DEVICE, INSTANCE, "192.0.2.7"):
            self.assertNotIn(name, text)

    def test_a_server_without_a_gateway(self) -> None:
        self.assertNotIn(b"gateway", format_metrics(self.server, None))

    def test_the_status_page(self) -> None:
        self.house.log_in(DEVICE)
        page = admin._format_page(self.server, self.house.gateway)
        self.assertIn("<tr><th scope=row>devices connected</th><td>1</td></tr>", page)
        self.assertNotIn("devices", admin._format_page(self.server, None))
