"""What the codec refuses ends the connection: every wrong packet of the vectors, in both cores.

The packets themselves, each with its statements, are those of tests/vectors/mqtt.json.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from porttunnel.mqtt.broker import Broker
from porttunnel.mqtt.client import ClientState
from porttunnel.mqtt.client_event import ConnectionFailed
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.packet import Disconnect, Publish, Version
from porttunnel.mqtt.policy import AllowAll, Profile
from tests.independent.mqtt_vectors import PLACE
from tests.mqtt.broker_client import BrokerClient
from tests.mqtt.scripted_broker import ScriptedBroker

PROTOCOL_ERROR = 0x82
REFUSED = json.loads(PLACE.read_text(encoding="utf-8"))["refused"]


def named(vectors: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("vector", [pytest.param(v, id=v["name"]) for v in vectors])


@pytest.mark.mqtt5("3.1.4-1", "3.1.2-1", "3.1.2-2", "4.13.1-1")
@pytest.mark.mqtt3("3.1.4-1", "3.1.2-1", "3.1.2-2", "2.2.2-2", "4.8.0-1")
@named([vector for vector in REFUSED if vector["version"] is None])
def test_the_broker_lets_nobody_in(vector: dict[str, Any]) -> None:
    broker = Broker(AllowAll(), 0.0)
    client = BrokerClient(broker)
    client.send_bytes(bytes.fromhex(vector["bytes"]))
    answer = b"".join(client.core.data_to_send())
    assert client.core.is_closed
    assert answer.hex() == vector.get("answer", "")
    assert broker.session_count == 0


@pytest.mark.mqtt5("4.13.1-1", "3.14.1-1", "3.6.1-1", "3.8.1-1", "3.10.1-1", "3.15.1-1")
@pytest.mark.mqtt3("2.2.2-2", "3.6.1-1", "3.8.1-1", "3.8.3-4", "3.10.1-1", "3.14.1-1", "4.8.0-1")
@named([vector for vector in REFUSED if vector["version"] is not None])
@pytest.mark.parametrize("behind", [False, True])
def test_the_broker_sends_them_away(vector: dict[str, Any], behind: bool) -> None:
    version = Version(vector["version"])
    limit = vector.get("limit", 1 << 20)
    broker = Broker(AllowAll(Profile(max_packet_bytes=limit)), 0.0)
    client, other = BrokerClient(broker, version), BrokerClient(broker, version)
    client.connect("c")
    other.connect("d")
    other.subscribe("a", 2)
    good = encode(Publish("a", b"good"), version) if behind else b""
    client.send_bytes(good + bytes.fromhex(vector["bytes"]))
    assert client.core.is_closed
    assert not other.core.is_closed
    assert other.payloads() == ([b"good"] if behind else [])
    packets = client.read()
    if version is Version.V3_1_1:
        assert packets == []
    else:
        (goodbye,) = packets
        assert isinstance(goodbye, Disconnect)
        assert goodbye.reason in (vector["reason"], PROTOCOL_ERROR)


@pytest.mark.mqtt5("2.1.3-1", "3.2.2-1", "3.15.1-1")
@pytest.mark.mqtt3("2.2.2-2", "4.8.0-1", "3.3.1-4")
@named([vector for vector in REFUSED if vector["version"] is not None])
def test_the_client_leaves(vector: dict[str, Any]) -> None:
    version = Version(vector["version"])
    broker = ScriptedBroker(version=version, max_packet_bytes=vector.get("limit", 1 << 20))
    broker.accept()
    broker.send_bytes(bytes.fromhex(vector["bytes"]))
    assert len(broker.happened(ConnectionFailed)) == 1
    assert broker.client.state is ClientState.CLOSING
    packets = broker.sent()
    if version is Version.V3_1_1:
        assert packets == []
    else:
        (goodbye,) = packets
        assert isinstance(goodbye, Disconnect)
        assert goodbye.reason in (vector["reason"], PROTOCOL_ERROR)
