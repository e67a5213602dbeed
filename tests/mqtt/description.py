"""Our packets in the words of tests/independent/mqtt.py, for vectors."""

from __future__ import annotations

from typing import Any

from porttunnel.mqtt.packet import Connack, Connect, Packet, Publish, Version, Will
from porttunnel.mqtt.property import Properties

__all__ = ["describe", "describe_properties"]

# Identifiers by table 2-4 of the norm.
_IDENTIFIERS = {
    "payload_format_indicator": 1,
    "message_expiry_interval": 2,
    "content_type": 3,
    "response_topic": 8,
    "correlation_data": 9,
    "subscription_identifiers": 11,
    "session_expiry_interval": 17,
    "assigned_client_identifier": 18,
    "server_keep_alive": 19,
    "authentication_method": 21,
    "authentication_data": 22,
    "request_problem_information": 23,
    "will_delay_interval": 24,
    "request_response_information": 25,
    "response_information": 26,
    "server_reference": 28,
    "reason_string": 31,
    "receive_maximum": 33,
    "topic_alias_maximum": 34,
    "topic_alias": 35,
    "maximum_qos": 36,
    "retain_available": 37,
    "user_properties": 38,
    "maximum_packet_size": 39,
    "wildcard_subscription_available": 40,
    "subscription_identifiers_available": 41,
    "shared_subscription_available": 42,
}
# Return codes of 3.1.1 by the reason codes that mean the same.
_RETURN_CODES = {0x00: 0, 0x84: 1, 0x85: 2, 0x88: 3, 0x86: 4, 0x87: 5}


def describe_properties(properties: Properties) -> list[list[Any]]:
    """Pairs of identifier and value, in the order of the identifiers."""
    found: list[list[Any]] = []
    for name, identifier in _IDENTIFIERS.items():
        value = getattr(properties, name)
        if value is None:
            continue
        values = value if isinstance(value, tuple) else (value,)
        found.extend([identifier, _plain(each)] for each in values)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return list(value)
    return int(value) if isinstance(value, bool) else value


def describe(packet: Packet, version: Version) -> dict[str, Any]:
    """A dictionary as in the vectors."""
    found: dict[str, Any] = {"type": packet.kind.name}
    if isinstance(packet, Connect):
        assert packet.version is version
        return found | _describe_connect(packet)
    if isinstance(packet, Connack):
        code = packet.reason if version is Version.V5 else _RETURN_CODES[packet.reason]
        found |= {"session_present": packet.session_present, "code": int(code)}
    if isinstance(packet, Publish):
        found |= {"topic": packet.topic, "payload": bytes(packet.payload).hex()}
        found |= {"qos": packet.qos, "retain": packet.retain, "dup": packet.dup}
        found |= {"id": packet.packet_id}
    elif hasattr(packet, "packet_id"):
        found["id"] = packet.packet_id
    if hasattr(packet, "reason"):
        found.setdefault("code", int(packet.reason))
    if hasattr(packet, "reasons"):
        found["codes"] = list(map(int, packet.reasons))
    if hasattr(packet, "subscriptions"):
        found["filters"] = [
            [
                each.filter,
                each.qos
                + 4 * each.no_local
                + 8 * each.retain_as_published
                + 16 * each.retain_handling,
            ]
            for each in packet.subscriptions
        ]
    if hasattr(packet, "filters"):
        found["filters"] = list(packet.filters)
    if hasattr(packet, "properties"):
        found["properties"] = describe_properties(packet.properties)
    return found


def _describe_connect(packet: Connect) -> dict[str, Any]:
    return {
        "client_id": packet.client_id,
        "clean": packet.clean_start,
        "keep_alive": packet.keep_alive_seconds,
        "will": None if packet.will is None else _describe_will(packet.will),
        "user": packet.user_name,
        "password": None if packet.password is None else packet.password.hex(),
        "properties": describe_properties(packet.properties),
    }


def _describe_will(will: Will) -> dict[str, Any]:
    return {
        "topic": will.topic,
        "payload": will.payload.hex(),
        "qos": will.qos,
        "retain": will.retain,
        "properties": describe_properties(will.properties),
    }
