"""What a broker tells about itself under ``$SYS``, as brokers do."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import LoopingCall

from porttunnel import __version__
from porttunnel.errors import MqttError
from porttunnel.net.mqtt_broker import MQTTBrokerFactory

__all__ = ["StatusPublisher"]

PREFIX = "$SYS/broker/"


class StatusPublisher:
    """Publishes a broker's figures as retained messages.

    :param reactor: time.
    :param factory: whose.
    :param interval_seconds: from one time to the next.
    """

    def __init__(self, reactor: Any, factory: MQTTBrokerFactory, interval_seconds: float) -> None:
        self._reactor = reactor
        self._factory = factory
        self._interval_seconds = interval_seconds
        self._began: float = reactor.seconds()
        self._told: dict[str, str] = {}
        self._loop = LoopingCall(self.publish)
        self._loop.clock = reactor

    def start(self) -> None:
        """Publish now, and again and again."""
        self._loop.start(self._interval_seconds, now=True)

    def stop(self) -> None:
        """Publish no more."""
        if self._loop.running:
            self._loop.stop()

    def publish(self) -> None:
        """Publish what has changed since the last time, or had no room to be retained then."""
        for name, value in self._figures().items():
            text = str(value)
            if self._told.get(name) == text:
                continue
            try:
                self._factory.publish(f"{PREFIX}{name}", text.encode("ascii"), retain=True)
            except MqttError:
                continue  # others have filled the store: it is told when there is room
            self._told[name] = text

    def _figures(self) -> dict[str, object]:
        broker = self._factory.broker
        counters = broker.counters
        return {
            "version": f"porttunnel {__version__}",
            "uptime": f"{self._reactor.seconds() - self._began:.0f} seconds",
            "clients/connected": broker.connection_count,
            "clients/total": broker.session_count,
            "subscriptions/count": broker.subscription_count,
            "retained messages/count": broker.retained_count,
            "store/messages/bytes": broker.held_bytes,
            "messages/received": counters.messages_received,
            "messages/sent": counters.reach.taken,
            "publish/messages/dropped": counters.reach.dropped,
            "bytes/received": counters.bytes_received,
            "bytes/sent": counters.bytes_sent,
        }
