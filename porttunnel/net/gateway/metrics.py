"""The gateway's figures as Prometheus reads them. Needs the extra ``metrics``.

No label names an instance, a device or an address.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from porttunnel.net.gateway.gateway import Gateway
from porttunnel.net.mqtt_metrics import BrokerCollector

__all__ = ["GatewayCollector"]


class GatewayCollector:
    """Reads the numbers when asked, so that counting costs nothing but an addition.

    :param gateway: whose.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._broker = BrokerCollector(gateway.broker)

    def collect(self) -> Iterator[Metric]:
        presence = self._gateway.presence
        yield GaugeMetricFamily(
            "porttunnel_gateway_instances",
            "Instances that are connected.",
            presence.instance_count,
        )
        yield GaugeMetricFamily(
            "porttunnel_gateway_devices", "Devices that are connected.", presence.device_count
        )
        logins = CounterMetricFamily(
            "porttunnel_gateway_logins", "MQTT logins, by what came of them.", labels=("outcome",)
        )
        for outcome, count in self._gateway.policy.logins.items():
            logins.add_metric((outcome,), count)
        yield logins
        yield CounterMetricFamily(
            "porttunnel_gateway_unreached_requests",
            "Messages of devices whose instance was not connected.",
            self._gateway.policy.unreached,
        )
        yield from self._broker.collect()
