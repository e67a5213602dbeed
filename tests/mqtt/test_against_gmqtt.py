"""Our codec and gmqtt, of both versions: it has encoders of what a client sends, no decoders.

Apart from properties, which it reads one at a time. Its freedoms: it writes an acknowledgement of
MQTT 5 with a reason and no properties where two bytes would do, and so a DISCONNECT; it knows no
authentication data, and of a user name without a password nothing else; it counts characters
instead of bytes, so that only ASCII can be compared where it encodes the strings itself.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from gmqtt.client import Message
from gmqtt.mqtt import package
from gmqtt.mqtt import property as theirs
from gmqtt.subscription import Subscription
from hypothesis import assume, given
from hypothesis import strategies as st

from porttunnel.mqtt import packet as packet_types
from porttunnel.mqtt.decode import decode
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.framing import MAX_PACKET_BYTES, FrameReader
from porttunnel.mqtt.packet import Packet, PacketType, Version
from porttunnel.mqtt.property import Properties
from porttunnel.mqtt.property_codec import encode_properties
from porttunnel.mqtt.reason import ReasonCode
from tests.mqtt.description import describe_properties
from tests.mqtt.strategies import PLACES, packet_ids, packets_of, properties, versions

V5, V3 = Version.V5, Version.V3_1_1


def protocol(version: Version, packet_id: int | None = None) -> Any:
    """What its encoders ask of a connection."""
    return SimpleNamespace(
        proto_ver=int(version),
        proto_name=b"MQTT",
        id_generator=SimpleNamespace(next_id=lambda: packet_id),
    )


def to_theirs(found: Properties) -> dict[str, Any]:
    """Its names and values; those that may repeat as a list."""
    made: dict[str, Any] = {}
    for identifier, value in describe_properties(found):
        name = theirs.PROPERTIES_BY_ID[identifier].name
        if identifier == 9:
            value = bytes.fromhex(value)
        if identifier == 38:
            made.setdefault(name, []).append(tuple(value))
        else:
            made[name] = value
    return made


def can_say(found: Properties) -> bool:
    """Without what it has no word for."""
    return found.authentication_data is None and len(found.subscription_identifiers) < 2


def read(data: bytes, version: Version) -> Packet:
    ((first_byte, body),) = FrameReader(MAX_PACKET_BYTES, version).feed(memoryview(data))
    return decode(first_byte, body, version)


@given(versions, st.data())
def test_connect_is_the_same(version: Version, data: st.DataObject) -> None:
    packet: Any = data.draw(packets_of(PacketType.CONNECT, version))
    assume(packet.password is None or packet.user_name is not None)
    assume(can_say(packet.properties))
    will = None
    if packet.will is not None:
        found = packet.will
        named = to_theirs(found.properties)
        will = Message(found.topic, found.payload, found.qos, found.retain, **named)
    made = package.LoginPackageFactor.build_package(
        packet.client_id.encode(),
        None if packet.user_name is None else packet.user_name.encode(),
        packet.password,
        packet.clean_start,
        packet.keep_alive_seconds,
        protocol(version),
        will,
        **to_theirs(packet.properties),
    )
    assert bytes(made) == encode(packet, version)


@given(versions, st.data())
def test_publish_is_the_same(version: Version, data: st.DataObject) -> None:
    packet: Any = data.draw(packets_of(PacketType.PUBLISH, version))
    assume(can_say(packet.properties))
    named = to_theirs(packet.properties)
    message = Message(packet.topic, packet.payload, packet.qos, packet.retain, **named)
    message.dup = packet.dup
    _, made = package.PublishPacket.build_package(message, protocol(version, packet.packet_id))
    assert bytes(made) == encode(packet, version)


@given(versions, st.data())
def test_subscribe_is_the_same(version: Version, data: st.DataObject) -> None:
    packet: Any = data.draw(packets_of(PacketType.SUBSCRIBE, version))
    subscriptions = [
        Subscription(
            each.filter,
            each.qos,
            each.no_local,
            each.retain_as_published,
            each.retain_handling,
        )
        for each in packet.subscriptions
    ]
    _, made = package.SubscribePacket.build_package(
        subscriptions, protocol(version, packet.packet_id), **to_theirs(packet.properties)
    )
    # It puts the identifier last, we put it where its number is: the bytes are the same.
    assert read(bytes(made), version) == packet
    assert sorted(bytes(made)) == sorted(encode(packet, version))


@given(versions, st.data())
def test_unsubscribe_is_the_same(version: Version, data: st.DataObject) -> None:
    packet: Any = data.draw(packets_of(PacketType.UNSUBSCRIBE, version))
    assume(all(each.isascii() for each in packet.filters))
    _, made = package.UnsubscribePacket.build_package(
        list(packet.filters),
        protocol(version, packet.packet_id),
        **to_theirs(packet.properties),
    )
    assert bytes(made) == encode(packet, version)


@given(versions, packet_ids)
def test_acknowledgements_mean_the_same(version: Version, packet_id: int) -> None:
    for command, kind in (
        (0x40, packet_types.Puback),
        (0x50, packet_types.Pubrec),
        (0x62, packet_types.Pubrel),
        (0x70, packet_types.Pubcomp),
    ):
        made = package.CommandWithMidPacket.build_package(
            command, packet_id, False, proto_ver=int(version)
        )
        assert read(made, version) == kind(packet_id)
        if version is V3:
            assert made == encode(kind(packet_id), version)


@given(st.data())
def test_disconnect_means_the_same(data: st.DataObject) -> None:
    packet: Any = data.draw(packets_of(PacketType.DISCONNECT, V5))
    # Its remaining length has one byte, whatever comes.
    assume(len(encode(packet, V5)) < 0x80)
    made = package.DisconnectPacket.build_package(
        protocol(V5), packet.reason, **to_theirs(packet.properties)
    )
    assert read(bytes(made), V5) == packet
    if packet.properties != Properties():
        assert bytes(made) == encode(packet, V5)


def test_goodbyes_and_pings_are_the_same() -> None:
    goodbye = package.DisconnectPacket.build_package(protocol(V3))
    assert goodbye == encode(packet_types.Disconnect(), V3)
    ping = package.SimpleCommandPacket.build_package(0xC0)
    assert ping == encode(packet_types.Pingreq(), V5)
    assert read(package.DisconnectPacket.build_package(protocol(V5), 4), V5) == (
        packet_types.Disconnect(ReasonCode.DISCONNECT_WITH_WILL_MESSAGE)
    )


@pytest.mark.parametrize("place", PLACES)
def test_it_reads_the_properties_that_we_write(place: int) -> None:
    @given(properties(place).filter(lambda found: found.authentication_data is None))
    def check(found: Properties) -> None:
        rest = encode_properties(found, place)
        pairs = []
        while rest:
            kind = theirs.PROPERTIES_BY_ID[rest[0]]
            made, rest = kind.loads(rest[1:])
            value = made[kind.name]
            if isinstance(value, bytes):
                value = value.hex()
            pairs.append([kind.id, list(value) if isinstance(value, tuple) else value])
        assert pairs == describe_properties(found)

    check()
