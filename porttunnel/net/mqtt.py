"""MQTT on Twisted, all in one place: a broker for any listeners, a client for any way to a broker.

::

    factory = MQTTBrokerFactory(AllowAll())
    await serverFromString(reactor, "tcp:1883").listen(factory)
    await serverFromString(reactor, "tcp:8080").listen(factory.websocket_factory())

    client = MQTTClient(
        reactor,
        parse_broker_address(reactor, "mqtt://localhost"),
        ClientSettings(client_id="thermometer"),
        on_message=print,
    )
    client.start()
    await client.subscribe("rooms/+/temperature", qos=1)
    await client.publish("rooms/kitchen/temperature", b"21.5", qos=1)

The rules of a broker are a :class:`porttunnel.mqtt.policy.Policy`'s.
"""

from __future__ import annotations

from porttunnel.mqtt.client_setting import ClientSettings
from porttunnel.mqtt.policy import AllowAll
from porttunnel.net.carriers.connector import StreamConnector
from porttunnel.net.carriers.websocket_client import WebSocketConnector
from porttunnel.net.mqtt_address import parse_broker_address
from porttunnel.net.mqtt_broker import MQTTBrokerFactory
from porttunnel.net.mqtt_client import MQTTClient, MQTTClientService

__all__ = [
    "AllowAll",
    "ClientSettings",
    "MQTTBrokerFactory",
    "MQTTClient",
    "MQTTClientService",
    "StreamConnector",
    "WebSocketConnector",
    "parse_broker_address",
]
