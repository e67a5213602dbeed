"""Targets: what an MQTT peer sends."""

from __future__ import annotations

from typing import Any

from porttunnel.errors import MqttError
from porttunnel.mqtt.decode import connect_version, decode
from porttunnel.mqtt.encode import encode, encode_refusal
from porttunnel.mqtt.framing import FrameReader
from porttunnel.mqtt.packet import Connect, Packet, Publish, Version
from porttunnel.mqtt.property import EMPTY
from porttunnel.mqtt.publish import split_publish, topic_name
from porttunnel.mqtt.reason import ReasonCode
from tests.fuzz.consume import FuzzedDataProvider, cut
from tests.independent.mqtt import encode as encode_independently
from tests.independent.mqtt_vectors import packets_of_3, packets_of_5

__all__ = ["mqtt"]

LIMIT = 400
# By the version that a connection has, or None before it has one.
SAMPLES: dict[int | None, list[bytes]] = {
    5: [encode_independently(packet, 5) for packet in packets_of_5().values()],
    4: [encode_independently(packet, 4) for packet in packets_of_3().values()],
}
SAMPLES[None] = [made for made in (*SAMPLES[5], *SAMPLES[4]) if made[0] == 0x10]

ANYWHERE = {ReasonCode.MALFORMED_PACKET, ReasonCode.PROTOCOL_ERROR}
OF_FRAMES = {ReasonCode.MALFORMED_PACKET, ReasonCode.PACKET_TOO_LARGE}
# Of CONNECT and PUBLISH.
OF_TYPES = {
    1: ANYWHERE
    | {ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, ReasonCode.CLIENT_IDENTIFIER_NOT_VALID},
    3: ANYWHERE | {ReasonCode.TOPIC_ALIAS_INVALID},
}

Outcome = tuple[list[tuple[Any, Packet]], int | None]


def mqtt(data: bytes) -> None:
    """However a connection's bytes are cut, they are the same packets, each of which encodes to
    bytes that mean it, and then the reason code that fits what is wrong; never anything else.
    """
    source = FuzzedDataProvider(data)
    version = source.PickValueInList([None, Version.V3_1_1, Version.V5, Version.V5])
    stream = b"".join(consume_mqtt(source, version) for _ in range(source.ConsumeIntInRange(1, 3)))
    pieces = list(cut(source, stream))
    whole = receive([stream] if stream else [], version)
    assert receive(pieces, version) == whole
    assert receive([bytes([byte]) for byte in stream], version) == whole


def consume_mqtt(source: FuzzedDataProvider, version: Version | None) -> bytes:
    """A packet of the version with some bytes changed; random bytes would seldom be one."""
    if not source.ConsumeIntInRange(0, 15):
        return source.ConsumeBytes(30)
    made = bytearray(source.PickValueInList(SAMPLES[version]))
    for _ in range(source.ConsumeIntInRange(0, 3)):
        start = source.ConsumeIntInRange(0, len(made))
        end = min(len(made), start + source.ConsumeIntInRange(0, 2))
        made[start:end] = source.ConsumeBytes(source.ConsumeIntInRange(0, 4))
    if len(made) > 1 and made[1] < 0x80 and source.ConsumeIntInRange(0, 7):
        made[1] = min(len(made) - 2, 0x7F)  # so that the rest is looked at as one packet
    return bytes(made)


def receive(pieces: list[bytes], version: Version | None) -> Outcome:
    """What a core makes of the bytes, and with which reason it ends."""
    reader = FrameReader(LIMIT, version)
    found: list[tuple[Any, Packet]] = []
    for piece in pieces:
        frames = reader.feed(memoryview(piece))
        while True:
            try:
                frame = next(frames, None)
            except MqttError as error:
                return found, checked(error.reason, OF_FRAMES)
            if frame is None:
                break
            first_byte, body = frame
            assert len(body) < LIMIT
            packet, reason = read(first_byte, body, version)
            if packet is None:
                return found, reason
            if version is None:
                assert isinstance(packet, Connect)
                version = reader.version = packet.version
            found.append((version, packet))
        assert reader.kept_bytes <= LIMIT
    return found, None


def read(
    first_byte: int, body: memoryview, version: Version | None
) -> tuple[Packet | None, int | None]:
    """A packet for which all that holds that must hold, or the reason code."""
    try:
        packet = decode(first_byte, body, version)
    except MqttError as error:
        if first_byte >> 4 == 1:
            answer = encode_refusal(ReasonCode(error.reason), connect_version(body))
            assert answer[:1] in (b"", b"\x20")
        return None, checked(error.reason, OF_TYPES.get(first_byte >> 4, ANYWHERE))
    version = packet.version if isinstance(packet, Connect) else version
    assert version is not None
    assert version is Version.V5 or getattr(packet, "properties", EMPTY) is EMPTY
    encoded = encode(packet, version)
    assert len(encoded) <= 5 + len(body)
    ((first_again, body_again),) = FrameReader(LIMIT, version).feed(memoryview(encoded))
    assert first_again == first_byte
    assert decode(first_again, body_again, version) == packet
    if isinstance(packet, Publish):
        topic, packet_id, _, payload = split_publish(first_byte, body, version)
        assert topic_name(topic) == packet.topic if topic else packet.properties.topic_alias
        assert (packet_id or None, payload) == (packet.packet_id, packet.payload)
        packet = decode(first_again, memoryview(bytes(body_again)), version)
    assert repr(packet)
    return packet, None


def checked(reason: int, allowed: set[ReasonCode]) -> int:
    """The reason, which must be one that can be right."""
    assert reason in allowed
    return reason
