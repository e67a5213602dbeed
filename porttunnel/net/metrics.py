"""The server's counters as Prometheus reads them. Needs the extra ``metrics``.

No label names a session or an address: who uses the server is nobody's matter.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from porttunnel.net.gateway.gateway import Gateway
from porttunnel.net.gateway.metrics import GatewayCollector
from porttunnel.net.tunnel_server import TunnelServerFactory

__all__ = ["format_metrics"]


class _ServerCollector:
    """Reads the numbers when asked, so that counting costs nothing but an addition."""

    def __init__(self, server: TunnelServerFactory) -> None:
        self._server = server

    def collect(self) -> Iterator[Metric]:
        server, counters = self._server, self._server.counters
        members = sum(len(session.links) for session in server.sessions.values())
        gauges = (
            ("links", "Open connections that speak packets.", len(server.links)),
            ("sessions", "Sessions with at least one member linked here.", len(server.sessions)),
            ("members", "Members linked here.", members),
            (
                "waiting_bytes",
                "Bytes kept for members that take them slowly.",
                server.waiting.count,
            ),
        )
        for name, text, value in gauges:
            yield GaugeMetricFamily(f"porttunnel_{name}", text, value)
        yield CounterMetricFamily(
            "porttunnel_relayed_bytes",
            "Bytes passed from member to member.",
            counters.relayed_bytes,
        )
        yield CounterMetricFamily(
            "porttunnel_refused_connections",
            "Connections above a limit.",
            counters.refused_connections,
        )
        requests = CounterMetricFamily(
            "porttunnel_requests", "Answered requests.", labels=("kind", "outcome")
        )
        for labels, count in counters.requests.items():
            requests.add_metric(labels, count)
        yield requests
        failed = CounterMetricFamily(
            "porttunnel_failed_links", "Links that broke a rule.", labels=("code",)
        )
        for code, count in counters.failed_links.items():
            failed.add_metric((code,), count)
        yield failed


def format_metrics(server: TunnelServerFactory, gateway: Gateway | None) -> bytes:
    """All counters in Prometheus's text format.

    A registry of its own: this process may have others, which are not ours to show.

    :param gateway: in the same process, if there is one.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_ServerCollector(server))
    if gateway is not None:
        registry.register(GatewayCollector(gateway))
    return generate_latest(registry)
