"""Which targets there are, and where; known without importing them or the fuzzer."""

from __future__ import annotations

__all__ = ["TARGETS"]

TARGETS = {
    "packets": "tests.fuzz.wire",
    "relay": "tests.fuzz.wire",
    "messages": "tests.fuzz.wire",
    "records": "tests.fuzz.wire",
    "codes": "tests.fuzz.wire",
    "handshake": "tests.fuzz.member",
    "client": "tests.fuzz.member",
    "master": "tests.fuzz.member",
    "first_bytes": "tests.fuzz.port",
    "mqtt": "tests.fuzz.mqtt",
    "mqtt_broker": "tests.fuzz.mqtt_cores",
    "mqtt_client": "tests.fuzz.mqtt_cores",
    "websocket": "tests.fuzz.websocket",
    "binary_http": "tests.fuzz.gateway",
    "parts": "tests.fuzz.gateway",
    "pairing": "tests.fuzz.gateway",
    "gateway_http": "tests.fuzz.gateway_http",
    "gateway_mqtt": "tests.fuzz.gateway_mqtt",
    "proxy_header": "tests.fuzz.gateway_mqtt",
    "agent_commands": "tests.fuzz.agent",
    "agent_pushes": "tests.fuzz.agent",
    "control": "tests.fuzz.wire",
}
