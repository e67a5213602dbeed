"""What the operator of a broker sees: health, readiness, metrics, a status page.

Meant for the loopback interface: it names no client and no topic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.web.server import Site

from porttunnel.net.admin_page import NO_METRICS, TextResource, format_page, make_site
from porttunnel.net.mqtt_broker import MQTTBrokerFactory

__all__ = ["broker_admin_site"]

format_metrics: Callable[[MQTTBrokerFactory], bytes] | None
try:
    from porttunnel.net.mqtt_metrics import format_metrics
except ImportError:
    format_metrics = None


def broker_admin_site(
    reactor: Any, factory: MQTTBrokerFactory, is_listening: Callable[[], bool]
) -> Site:
    """The pages, for any stream endpoint.

    :param reactor: for time-outs.
    :param factory: whose numbers are shown.
    :param is_listening: whether all listeners are up.
    """
    return make_site(
        reactor,
        page=lambda: _format_page(factory),
        ready=TextResource(lambda: _readiness(factory, is_listening())),
        metrics=lambda: _metrics(factory),
    )


def _readiness(factory: MQTTBrokerFactory, is_listening: bool) -> tuple[int, str]:
    if factory.draining:
        return 503, "draining: clients are sent away\n"
    return (200, "ready\n") if is_listening else (503, "not listening yet\n")


def _metrics(factory: MQTTBrokerFactory) -> tuple[int, str]:
    if format_metrics is None:
        return 501, NO_METRICS
    return 200, format_metrics(factory).decode("utf-8")


def _format_page(factory: MQTTBrokerFactory) -> str:
    broker = factory.broker
    counters = broker.counters
    numbers = {
        "connections": len(factory.links),
        "sessions": broker.session_count,
        "subscriptions": broker.subscription_count,
        "retained messages": broker.retained_count,
        "bytes held": broker.held_bytes,
        "messages received": counters.messages_received,
        "messages delivered": counters.reach.taken,
        "messages dropped": counters.reach.dropped,
        "clients refused": counters.refusals,
        "connections that broke a rule": counters.failures,
    }
    state = "draining" if factory.draining else "in service"
    return format_page("porttunnel broker", state, numbers)
