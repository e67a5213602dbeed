"""A broker's figures as Prometheus reads them. Needs the extra ``metrics``.

No label names a client, a topic or an address.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from porttunnel.net.mqtt_broker import MQTTBrokerFactory

__all__ = ["BrokerCollector", "format_metrics"]


class BrokerCollector:
    """Reads the numbers when asked, so that counting costs nothing but an addition.

    :param factory: whose.
    """

    def __init__(self, factory: MQTTBrokerFactory) -> None:
        self._factory = factory

    def collect(self) -> Iterator[Metric]:
        broker = self._factory.broker
        gauges = (
            (
                "connections",
                "Open connections, also those being closed.",
                len(self._factory.links),
            ),
            ("sessions", "Sessions, with and without a connection.", broker.session_count),
            ("subscriptions", "Subscriptions of all sessions.", broker.subscription_count),
            ("retained_messages", "Retained messages.", broker.retained_count),
            ("held_bytes", "Kept for sessions and new subscribers, about.", broker.held_bytes),
        )
        for name, text, value in gauges:
            yield GaugeMetricFamily(f"porttunnel_mqtt_{name}", text, value)
        counters = broker.counters
        counts = (
            ("connects", "CONNECT packets.", counters.connects),
            ("refused_connects", "CONNECT packets that were refused.", counters.refusals),
            ("failed_connections", "Connections that broke the protocol.", counters.failures),
            ("received_messages", "Messages from clients.", counters.messages_received),
            (
                "delivered_messages",
                "Messages sent to, or kept for, a subscriber, for each once.",
                counters.reach.taken,
            ),
            (
                "dropped_messages",
                "Messages for which a subscriber had no room, for each once.",
                counters.reach.dropped,
            ),
            ("received_bytes", "Bytes of MQTT from clients.", counters.bytes_received),
            ("sent_bytes", "Bytes of MQTT to clients.", counters.bytes_sent),
        )
        for name, text, count in counts:
            yield CounterMetricFamily(f"porttunnel_mqtt_{name}", text, count)


def format_metrics(factory: MQTTBrokerFactory) -> bytes:
    """All figures in Prometheus's text format.

    A registry of its own: this process may have others, which are not ours to show.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(BrokerCollector(factory))
    return generate_latest(registry)
