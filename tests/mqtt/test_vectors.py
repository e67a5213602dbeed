"""The vectors of tests/vectors/mqtt.json: an encoder that shares nothing with ours made them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import MqttError
from porttunnel.mqtt.decode import connect_version, decode
from porttunnel.mqtt.encode import encode, encode_refusal
from porttunnel.mqtt.framing import MAX_PACKET_BYTES, FrameReader
from porttunnel.mqtt.packet import Packet, PacketType, Version
from porttunnel.mqtt.reason import ReasonCode
from tests.independent import mqtt
from tests.independent.mqtt_vectors import PLACE, build
from tests.mqtt.description import describe
from tests.mqtt.strategies import packets, versions

VECTORS: dict[str, Any] = json.loads(PLACE.read_text(encoding="utf-8"))


def named(vectors: list[dict[str, Any]]) -> list[Any]:
    return [
        pytest.param(
            vector,
            id=f"{vector['name']} {vector['version'] or ''}".rstrip(),
            marks=[
                *([pytest.mark.mqtt5(*vector["mqtt5"])] if vector.get("mqtt5") else []),
                *([pytest.mark.mqtt3(*vector["mqtt3"])] if vector.get("mqtt3") else []),
            ],
        )
        for vector in vectors
    ]


def read(
    data: bytes, version: Version | None, limit: int = MAX_PACKET_BYTES, size: int = 0
) -> list[Packet]:
    """What a receiver makes of the bytes, in pieces of that size."""
    reader = FrameReader(limit, version)
    found = []
    for start in range(0, len(data), size or len(data)):
        piece = data[start : start + (size or len(data))]
        for first_byte, body in reader.feed(memoryview(piece)):
            # The payload of a PUBLISH is a view of a body that goes.
            found.append(decode(first_byte, memoryview(bytes(body)), version))
    return found


def test_the_file_is_what_the_independent_encoder_makes() -> None:
    assert json.loads(json.dumps(build())) == VECTORS


def test_every_packet_of_both_versions_is_there() -> None:
    found = {(each["version"], each["packet"]["type"]) for each in VECTORS["packets"]}
    names = {kind.name for kind in PacketType}
    assert found == {(5, name) for name in names} | {(4, name) for name in names - {"AUTH"}}
    assert len({each["name"] for each in VECTORS["refused"]}) == len(VECTORS["refused"]) > 500


@pytest.mark.parametrize("vector", named(VECTORS["packets"]))
def test_a_packet_is_read_and_written_the_same(vector: dict[str, Any]) -> None:
    version = Version(vector["version"])
    data = bytes.fromhex(vector["bytes"])
    (packet,) = read(data, version)
    assert describe(packet, version) == vector["packet"]
    assert encode(packet, version) == data
    assert read(data, version, limit=len(data), size=1) == [packet]


@pytest.mark.parametrize("vector", named(VECTORS["other_forms"]))
def test_another_form_is_read_and_written_in_the_shortest(vector: dict[str, Any]) -> None:
    version = Version(vector["version"])
    data = bytes.fromhex(vector["bytes"])
    (packet,) = read(data, version)
    assert describe(packet, version) == vector["packet"]
    shortest = encode(packet, version)
    assert len(shortest) <= len(data)
    assert shortest != data
    assert read(shortest, version) == [packet]


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("vector", named(VECTORS["refused"]))
def test_what_is_wrong_is_refused_with_its_reason(vector: dict[str, Any], size: int) -> None:
    version = None if vector["version"] is None else Version(vector["version"])
    data = bytes.fromhex(vector["bytes"])
    with pytest.raises(MqttError) as caught:
        read(data, version, vector.get("limit", MAX_PACKET_BYTES), size)
    assert caught.value.reason == vector["reason"]
    assert ReasonCode(caught.value.reason).is_failure


@pytest.mark.parametrize(
    "vector", named([each for each in VECTORS["refused"] if "answer" in each])
)
def test_the_sender_of_a_wrong_connect_gets_its_answer(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["bytes"])
    reader = FrameReader(MAX_PACKET_BYTES, Version.V3_1_1)
    ((_, body),) = reader.feed(memoryview(data))
    answer = encode_refusal(ReasonCode(vector["reason"]), connect_version(body))
    assert answer.hex() == vector["answer"]


@given(versions, st.data())
def test_the_independent_encoder_writes_the_same(version: Version, data: st.DataObject) -> None:
    packet = data.draw(packets(version))
    assert mqtt.encode(describe(packet, version), version) == encode(packet, version)
