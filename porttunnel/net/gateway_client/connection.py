"""The MQTT session of an instance or a device with its gateway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from porttunnel.gateway.part import MAX_PART_BYTES
from porttunnel.mqtt.client_setting import ClientSettings
from porttunnel.net.carriers.websocket_client import WebSocketConnector
from porttunnel.net.gateway_client.address import GatewayAddress
from porttunnel.net.gateway_client.rest import Login
from porttunnel.net.mqtt_broker import SUBPROTOCOL
from porttunnel.net.mqtt_client import MQTTClient, OnMessage

__all__ = ["MAX_PACKET_BYTES", "open_mqtt"]

MAX_PACKET_BYTES = MAX_PART_BYTES + 1_024  # a part, its topic, the properties of PUBLISH
KEEP_ALIVE_SECONDS = 45  # what forgets idle connections on the way does so after a minute or more
MAX_QUEUED_BYTES = 4 << 20  # asked for and not taken by the gateway yet
MAX_UNFINISHED_BYTES = 4 << 20  # received and not finished yet: then nothing is read for a while


def open_mqtt(
    reactor: Any,
    address: GatewayAddress,
    login: Login,
    *,
    on_message: OnMessage,
    on_event: Callable[[Any], None] = lambda happened: None,
    max_queued_bytes: int = MAX_QUEUED_BYTES,
) -> MQTTClient:
    """A client that, once started, connects and comes back until it is stopped, or refused for
    good; nothing of it outlives a connection at the gateway.

    :param login: the gateway gives the client an id of its own.
    :param on_message: gets each message; see :data:`~porttunnel.net.mqtt_client.OnMessage`.
    :param on_event: gets the events of :mod:`porttunnel.mqtt.client_event` about connections.
    :param max_queued_bytes: what may wait here; then ``publish`` fails with ``QueueFull``.
    """
    return MQTTClient(
        reactor,
        WebSocketConnector(reactor, address.endpoint(reactor), address.mqtt_url, SUBPROTOCOL),
        ClientSettings(
            keep_alive_seconds=KEEP_ALIVE_SECONDS,
            user_name=login.user,
            password=login.password.encode(),
            max_packet_bytes=MAX_PACKET_BYTES,
            max_queued_bytes=max_queued_bytes,
            max_unfinished_bytes=MAX_UNFINISHED_BYTES,
            # The other end has given up what was under way; a late part would be of no use to it.
            keep_messages=False,
        ),
        on_message=on_message,
        on_event=on_event,
    )
