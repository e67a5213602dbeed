"""Whatever a client sends, the broker goes on, and says no more than the norm lets it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from porttunnel.mqtt.broker import Broker
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.packet import Connack, Connect, Disconnect, Packet, Version
from porttunnel.mqtt.policy import AllowAll, Bounds, Profile
from porttunnel.mqtt.reception import ConnectionEnded
from tests.mqtt.broker_client import BrokerClient
from tests.mqtt.strategies import packets

PROFILE = Profile(
    max_packet_bytes=1_000,
    max_outbox_bytes=10_000,
    max_queued_bytes=20_000,
    max_subscriptions=3,
    receive_maximum=3,
)
BOUNDS = Bounds(
    max_sessions=3,
    max_queued_bytes=50_000,
    max_retained_bytes=5_000,
    max_subscription_bytes=5_000,
)


def talk(version: Version, data: bytes, cuts: list[int]) -> None:
    broker = Broker(AllowAll(PROFILE, BOUNDS), 0.0)
    witness = BrokerClient(broker)
    witness.connect("witness")
    witness.subscribe("#", 2)
    client = BrokerClient(broker, version)
    client.acknowledges = False
    client.core.receive_data(memoryview(encode(Connect(version, "c"), version)), 0.0)
    start = 0
    for cut in [*sorted(cuts), len(data)]:
        client.core.receive_data(memoryview(data[start:cut]), 0.0)
        start = cut
        check_bounds(broker)
    events = list(client.core.events())
    said: list[Packet] = [*client.read(), *client.messages]
    assert sum(isinstance(packet, Connack) for packet in said) == 1
    goodbyes = [packet for packet in said if isinstance(packet, Disconnect)]
    if client.core.is_closed:
        assert isinstance(events[-1], ConnectionEnded)
        assert len(goodbyes) <= (version == Version.V5)
    else:
        assert goodbyes == []
    # The others notice nothing but messages.
    witness.payloads()
    witness.publish("still/there", b"yes", 1)
    assert witness.payloads() == [b"yes"]
    client.drop()
    check_bounds(broker)


def check_bounds(broker: Broker) -> None:
    exchange = broker._exchange
    assert exchange.held.held <= BOUNDS.max_queued_bytes
    assert exchange.retained.held_bytes <= BOUNDS.max_retained_bytes
    assert exchange.tree.held_bytes <= BOUNDS.max_subscription_bytes
    for session in exchange.sessions.values():
        assert session.held_bytes <= PROFILE.max_queued_bytes
        assert len(session.subscriptions) <= PROFILE.max_subscriptions
        assert len(session.incoming) <= PROFILE.receive_maximum


CUTS = st.lists(st.integers(0, 300), max_size=3)


def streams(version: Version) -> st.SearchStrategy[bytes]:
    return st.lists(packets(version), max_size=5).map(
        lambda drawn: b"".join(encode(packet, version) for packet in drawn)
    )


@given(st.data(), st.sampled_from(Version), CUTS)
@settings(deadline=None, max_examples=100)
def test_any_packets_in_any_order(data: st.DataObject, version: Version, cuts: list[int]) -> None:
    talk(version, data.draw(streams(version)), cuts)


@given(st.data(), st.sampled_from(Version), CUTS)
@settings(deadline=None, max_examples=100)
def test_packets_with_a_wrong_byte(data: st.DataObject, version: Version, cuts: list[int]) -> None:
    stream = bytearray(data.draw(streams(version)))
    if stream:
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    talk(version, bytes(stream), cuts)


@given(st.sampled_from(Version), st.binary(max_size=300), CUTS)
@settings(deadline=None, max_examples=100)
def test_any_bytes(version: Version, data: bytes, cuts: list[int]) -> None:
    talk(version, data, cuts)
