"""porttunnel.net.gateway_client.connection: what a gateway is told, and what outlives nothing."""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import MemoryReactorClock

from porttunnel.gateway.part import MAX_PART_BYTES
from porttunnel.gateway.topic import format_request_topic
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.packet import Publish, Version
from porttunnel.net.gateway_client.address import GatewayAddress
from porttunnel.net.gateway_client.connection import MAX_PACKET_BYTES, open_mqtt
from porttunnel.net.gateway_client.rest import Login

LOGIN = Login("1a" * 16, "2b" * 16)


def test_how_it_presents_itself() -> None:
    reactor: Any = MemoryReactorClock()
    client: Any = open_mqtt(
        reactor,
        GatewayAddress("http://localhost:1"),
        LOGIN,
        on_message=lambda message: None,
        max_queued_bytes=1_000,
    )
    settings = client._core._settings
    connect = settings.connect_packet("", clean_start=True)
    assert (connect.user_name, connect.password) == (LOGIN.user, LOGIN.password.encode())
    assert connect.clean_start
    assert connect.properties.session_expiry_interval is None
    assert not settings.keep_messages
    assert settings.max_queued_bytes == 1_000
    assert LOGIN.password not in repr(settings)


def test_the_largest_part_fits() -> None:
    topic = format_request_topic(LOGIN.user, "z" * 32)
    packet = encode(Publish(topic, bytes(MAX_PART_BYTES), 1, packet_id=1), Version.V5)
    assert len(packet) <= MAX_PACKET_BYTES
