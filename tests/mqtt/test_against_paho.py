"""Our codec and paho-mqtt, of both versions: it writes what a client sends, it reads what it gets.

Its encoders are methods of its client, here without a socket; its decoders are functions of a
module with an underscore, so that a new release may move them. It writes no AUTH, and has no
decoders for what a server gets. Its freedoms: it acknowledges with success only; properties have
the order of their identifiers, as ours have. What it refuses and the norm allows stands in
``it_takes``.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from paho.mqtt import _packet as packet_module
from paho.mqtt import client as client_module
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as TheirProperties
from paho.mqtt.reasoncodes import ReasonCode as TheirReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from porttunnel.mqtt import packet as packet_types
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.field import MAX_VARINT
from porttunnel.mqtt.packet import (
    Connack,
    Connect,
    Disconnect,
    PacketType,
    Publish,
    Subscribe,
    Unsubscribe,
    Version,
)
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.property_codec import WILL
from porttunnel.mqtt.reason import ReasonCode, connect_return_code
from tests.mqtt.description import describe_properties
from tests.mqtt.strategies import connects, packet_ids, packets_of, versions

V5, V3 = Version.V5, Version.V3_1_1
PROTOCOLS = {V5: client_module.MQTTv5, V3: client_module.MQTTv311}


class PahoClient(client_module.Client):
    """Keeps what it would send."""

    def __init__(self, version: Version, client_id: str = "x", clean: bool | None = None) -> None:
        super().__init__(
            client_module.CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=clean if version is V3 else None,
            protocol=PROTOCOLS[version],
        )
        self.sent: list[bytes] = []
        self._sock = object()  # it only looks whether there is one

    def _packet_queue(self, command: int, packet: bytes, *_: Any) -> Any:
        self.sent.append(bytes(packet))
        return client_module.MQTT_ERR_SUCCESS

    def _reset_sockets(self, *_: Any, **__: Any) -> None:
        """There are none."""

    def _sock_close(self) -> None:
        """There is none."""


def to_theirs(properties: Properties, place: int) -> Any:
    """Their object with the same properties."""
    kind = PacketTypes.WILLMESSAGE if place == WILL else place
    found = TheirProperties(kind)
    names = {identifier: name for name, identifier in found.names.items()}
    for identifier, value in describe_properties(properties):
        if identifier in (9, 22):
            value = bytes.fromhex(value)
        setattr(found, names[identifier], tuple(value) if isinstance(value, list) else value)
    return found


def from_theirs(properties: Any) -> list[list[Any]]:
    """Pairs of identifier and value, in the order of the identifiers."""
    found: list[list[Any]] = []
    for name, identifier in properties.names.items():
        value = getattr(properties, name.replace(" ", ""), None)
        if value is None:
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, bytes | bytearray):
                each = bytes(each).hex()
            found.append([identifier, list(each) if isinstance(each, tuple) else each])
    return sorted(found, key=lambda pair: pair[0])


def packets_by_name(name: str) -> Any:
    """Our type of the packet."""
    return getattr(packet_types, name.capitalize())


def body_of(data: bytes) -> bytes:
    """What stands behind the remaining length."""
    start = next(index for index in range(1, 5) if data[index] < 0x80) + 1
    return data[start:]


def it_takes(packet: Any) -> bool:
    """Without what it refuses and the norm allows."""
    properties = getattr(packet, "properties", EMPTY)
    return not (
        # It takes a byte order mark for forbidden; [MQTT-1.5.4-3] only says how to read it.
        "\\ufeff" in repr(properties)
        # It takes the bound of a variable byte integer for that of this one of four bytes.
        or (properties.maximum_packet_size or 0) > MAX_VARINT
        # Its table for CONNACK lacks a code of section 3.2.2.2.
        or (isinstance(packet, Connack) and packet.reason is ReasonCode.PAYLOAD_FORMAT_INVALID)
    )


@given(versions, st.data())
def test_connect_is_the_same(version: Version, data: st.DataObject) -> None:
    packet: Connect = data.draw(connects(version).filter(it_takes))
    # It has no password without a user name, and no empty client id but with a clean start.
    assume(packet.password is None or packet.user_name is not None)
    assume(packet.client_id or packet.clean_start)
    client = PahoClient(version, packet.client_id, packet.clean_start)
    client._clean_start = packet.clean_start
    client._client_id = packet.client_id.encode()
    if packet.user_name is not None:
        client._username = packet.user_name.encode()
        client._password = packet.password
    if packet.will is not None:
        will = packet.will
        properties = to_theirs(will.properties, WILL) if version is V5 else None
        client.will_set(will.topic, will.payload, will.qos, will.retain, properties)
    if version is V5:
        client._connect_properties = to_theirs(packet.properties, PacketType.CONNECT)
    client._send_connect(packet.keep_alive_seconds)
    assert client.sent == [encode(packet, version)]


@given(versions, st.data())
def test_publish_is_the_same(version: Version, data: st.DataObject) -> None:
    packet: Any = data.draw(packets_of(PacketType.PUBLISH, version))
    client = PahoClient(version)
    properties = to_theirs(packet.properties, PacketType.PUBLISH) if version is V5 else None
    client._send_publish(
        packet.packet_id or 0,
        packet.topic.encode(),
        packet.payload,
        packet.qos,
        packet.retain,
        packet.dup,
        None,
        properties,
    )
    assert client.sent == [encode(packet, version)]


@given(versions, st.data())
def test_subscribe_and_unsubscribe_are_the_same(version: Version, data: st.DataObject) -> None:
    client = PahoClient(version)
    for kind in (PacketType.SUBSCRIBE, PacketType.UNSUBSCRIBE):
        packet = data.draw(packets_of(kind, version))
        assert isinstance(packet, Subscribe | Unsubscribe)
        client._last_mid = packet.packet_id - 1
        properties = to_theirs(packet.properties, kind) if version is V5 else None
        if isinstance(packet, Unsubscribe):
            names = [each.encode() for each in packet.filters]
            client._send_unsubscribe(False, names, properties)
        else:
            topics = [
                (
                    each.filter.encode(),
                    SubscribeOptions(
                        each.qos, each.no_local, each.retain_as_published, each.retain_handling
                    )
                    if version is V5
                    else each.qos,
                )
                for each in packet.subscriptions
            ]
            client._send_subscribe(False, topics, properties)
        assert client.sent.pop() == encode(packet, version)


@given(versions, packet_ids)
def test_acknowledgements_are_the_same(version: Version, packet_id: int) -> None:
    client = PahoClient(version)
    for name in ("puback", "pubrec", "pubrel", "pubcomp"):
        getattr(client, f"_send_{name}")(packet_id)
        made = packets_by_name(name)(packet_id)
        assert client.sent.pop() == encode(made, version)


@given(st.data())
def test_disconnect_is_the_same(data: st.DataObject) -> None:
    packet: Any = data.draw(packets_of(PacketType.DISCONNECT, V5))
    client = PahoClient(V5)
    reason = TheirReasonCode(PacketTypes.DISCONNECT, identifier=int(packet.reason))
    has_any = packet.properties != EMPTY
    properties = to_theirs(packet.properties, PacketType.DISCONNECT) if has_any else None
    client._send_disconnect(reason if packet.reason or has_any else None, properties)
    assert client.sent == [encode(packet, V5)]


@pytest.mark.parametrize("version", Version)
def test_pings_and_a_plain_goodbye_are_the_same(version: Version) -> None:
    client = PahoClient(version)
    client._send_pingreq()
    client._send_pingresp()
    client._send_disconnect()
    names = ("pingreq", "pingresp", "disconnect")
    assert client.sent == [encode(packets_by_name(name)(), version) for name in names]


READ = [
    PacketType.CONNACK,
    PacketType.PUBLISH,
    PacketType.PUBACK,
    PacketType.PUBREC,
    PacketType.PUBREL,
    PacketType.PUBCOMP,
    PacketType.SUBACK,
    PacketType.UNSUBACK,
    PacketType.DISCONNECT,
]


@pytest.mark.parametrize("kind", READ)
def test_it_reads_what_we_write(kind: PacketType) -> None:
    @given(versions, st.data())
    def check(version: Version, data: st.DataObject) -> None:
        packet: Any = data.draw(packets_of(kind, version).filter(it_takes))
        encoded = encode(packet, version)
        decode = getattr(packet_module, f"decode_{kind.name.lower()}")
        theirs = decode(encoded[0], body_of(encoded), PROTOCOLS[version])
        if version is V5 and theirs.properties is not None:
            assert from_theirs(theirs.properties) == describe_properties(packet.properties)
        else:
            assert packet.properties == EMPTY
        match packet:
            case Connack():
                code = packet.reason if version is V5 else connect_return_code(packet.reason)
                assert (theirs.flags, theirs.rc) == (packet.session_present, code)
                assert theirs.reason.value == packet.reason
            case Publish():
                assert theirs[:5] == (
                    packet.dup,
                    packet.qos,
                    packet.retain,
                    packet.topic.encode(),
                    packet.packet_id or 0,
                )
                assert theirs.payload == packet.payload
            case Disconnect():
                assert (theirs.reason.value if theirs.reason else 0) == packet.reason
            case _ if hasattr(packet, "reasons"):
                assert theirs.mid == packet.packet_id
                codes = [reason.value for reason in theirs.reason_codes]
                assert codes == list(packet.reasons)
            case _:
                assert (theirs.mid, theirs.reason.value) == (packet.packet_id, packet.reason)

    check()
