"""Targets: what members and strangers say to the gateway by MQTT, and what proxies begin with."""

from __future__ import annotations

import contextlib

from porttunnel.errors import RemoteProtocolError
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.packet import (
    Connect,
    Disconnect,
    Packet,
    Publish,
    Subscribe,
    Subscription,
    Unsubscribe,
    Version,
    Will,
)
from porttunnel.mqtt.property import Properties
from porttunnel.net.proxied_address import read_header
from tests.fuzz.consume import FuzzedDataProvider, cut
from tests.net.gateway.house import DEVICE, INSTANCE, House
from tests.net.mqtt_line import Peer

__all__ = ["gateway_mqtt", "proxy_header"]

OTHER, FOREIGN = "1b" * 16, "dc" * 16
NAMES = [DEVICE, INSTANCE, OTHER, FOREIGN]
WORDS = ["device", "instance", "request", "response", "push", "event", *NAMES]
LEVELS = [*WORDS, "+", "#", "12345678", "00000000", "news", "", "$share", "$SYS", "g"]
BEGINNINGS = [
    *(f"device/{name}/{word}/" for name in NAMES for word in ("request", "response", "push")),
    *(f"instance/{name}/{word}/" for name in NAMES for word in ("request", "event")),
    f"$share/g/device/{FOREIGN}/response/",
]
HEADERS = [
    b"PROXY TCP4 198.51.100.7 192.0.2.1 40000 4663\r\n",
    b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 4663\r\n",
    b"PROXY UNKNOWN\r\n",
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12),
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x2c" + bytes(36) + b"\x20\x00\x05\x01" + bytes(4),
    b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00",
]


def consume_topic(source: FuzzedDataProvider) -> str:
    begun = source.PickValueInList(BEGINNINGS) if source.ConsumeBool() else ""
    levels = [source.PickValueInList(LEVELS) for _ in range(source.ConsumeIntInRange(1, 4))]
    return begun + "/".join(levels)


def consume_packet(source: FuzzedDataProvider) -> Packet:
    topic = consume_topic(source)
    qos = source.ConsumeIntInRange(0, 2)
    packet_id = source.ConsumeIntInRange(1, 5) if qos else None
    match source.ConsumeIntInRange(0, 7):
        case 0:
            return Subscribe(1, (Subscription(topic, qos), Subscription("#", 0)))
        case 1:
            return Unsubscribe(1, (topic,))
        case 2:
            asked = Properties(response_topic=consume_topic(source))
            return Publish(topic, b"x", qos, packet_id=packet_id, properties=asked)
        case 3:
            return Publish(topic, b"x", qos, retain=True, packet_id=packet_id)
        case 4:
            will = Will(topic, b"x", qos)
            name = source.PickValueInList(NAMES)
            return Connect(Version.V5, "c", user_name=name, password=b"wrong", will=will)
        case 5:
            return Disconnect(source.PickValueInList([0, 4]))
        case _:
            return Publish(topic, b"x", qos, packet_id=packet_id)


def gateway_mqtt(data: bytes) -> None:
    """Whatever a device, an instance or somebody without a password says, and however it is cut:
    those who don't belong to it hear nothing, and stay connected.
    """
    source = FuzzedDataProvider(data)
    house = House()
    house.accounts.add(OTHER, OTHER)
    house.accounts.add(FOREIGN, OTHER)
    others = [house.log_in(OTHER), house.log_in(FOREIGN)]
    others[0].heard()  # who is online
    peer = consume_login(source, house)
    said = bytearray()
    for _ in range(source.ConsumeIntInRange(1, 6)):
        with contextlib.suppress(Exception):  # what is none can't be encoded
            said += encode(consume_packet(source), Version.V5)
    for _ in range(source.ConsumeIntInRange(0, 2)):
        at = source.ConsumeIntInRange(0, len(said))
        said[at : at + source.ConsumeIntInRange(0, 3)] = source.ConsumeBytes(3)
    for piece in cut(source, bytes(said)):
        peer.link.carrier_received(memoryview(bytearray(piece)))
        peer.link.reading_done()
        house.clock.advance(0)
    peer.lose()
    for other in others:
        assert other.heard() == []
        assert other.calls == []
    assert house.publish(others[1], f"device/{FOREIGN}/request/87654321") == 0


def consume_login(source: FuzzedDataProvider, house: House) -> Peer:
    name = source.PickValueInList([DEVICE, INSTANCE, None])
    if name is None:
        return house.peer()
    return house.log_in(name, listen=source.ConsumeBool())


def proxy_header(data: bytes) -> None:
    """However a header is cut, and whatever follows it, it is read as the same one, once it is
    whole and not before; or refused.
    """
    source = FuzzedDataProvider(data)
    header = bytearray(source.PickValueInList(HEADERS))
    for _ in range(source.ConsumeIntInRange(0, 2)):
        at = source.ConsumeIntInRange(0, len(header))
        header[at : at + source.ConsumeIntInRange(0, 3)] = source.ConsumeBytes(3)
    everything = bytes(header) + source.ConsumeBytes(40)
    try:
        read = read_header(everything)
    except RemoteProtocolError:
        return
    if read is None:
        return
    client, count = read
    assert 0 < count <= len(everything)
    assert read_header(everything[:count]) == (client, count)
    for end in range(1, count):
        assert read_header(everything[:end]) is None
