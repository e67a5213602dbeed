"""Pairings for tests."""

from __future__ import annotations

from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.net.device.record import DeviceRecord
from porttunnel.net.gateway_client.address import GatewayAddress

__all__ = ["OTHER_ID", "WIKI_ID", "make_record"]

WIKI_ID = "3fa91c02" + "0" * 24
OTHER_ID = "3fb00000" + "1" * 24


def make_record(
    device_id: str = WIKI_ID,
    gateway: str = "https://wiki.example.com",
    paired: float = 0.0,
    name: str = "",
) -> DeviceRecord:
    return DeviceRecord(
        device_id=device_id,
        instance_id="f" * 32,
        address=GatewayAddress.parse(gateway),
        password="0" * 32,
        secret=DeviceSecret(1, bytes(32)),
        pending=None,
        last_counter=0,
        offset_ms=0,
        push_highest=0,
        paired=paired,
        rotated=paired,
        name=name,
    )
