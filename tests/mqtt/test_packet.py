"""Control packets as values."""

from __future__ import annotations

import typing

import pytest

from porttunnel.mqtt import packet
from porttunnel.mqtt.packet import (
    Connect,
    Packet,
    PacketType,
    Pingreq,
    Puback,
    Publish,
    Version,
    Will,
)
from porttunnel.mqtt.property import EMPTY
from porttunnel.mqtt.reason import ReasonCode


def test_there_is_one_type_for_each_control_packet() -> None:
    assert [kind.kind for kind in typing.get_args(Packet)] == list(PacketType)
    names = [kind.__name__.upper() for kind in typing.get_args(Packet)]
    assert names == [kind.name for kind in PacketType]
    assert set(names) <= {name.upper() for name in packet.__all__}


def test_packets_are_values() -> None:
    assert Puback(1) == Puback(1, ReasonCode.SUCCESS, EMPTY)
    assert Puback(1) != Puback(2)
    with pytest.raises(AttributeError):
        Puback(1).packet_id = 2  # type: ignore[misc]  # that it is refused is the point


def test_neither_secrets_nor_content_are_shown() -> None:
    will = Will("gone", b"hidden")
    shown = repr(Connect(Version.V5, "me", user_name="anna", password=b"hidden", will=will))
    assert "hidden" not in shown
    assert "password=<secret>" in shown
    assert "payload=<6 bytes>" in shown
    assert "user_name='anna'" in shown
    assert "password=None" in repr(Connect(Version.V5, "me"))
    assert "payload=<6 bytes>" in repr(Publish("a", memoryview(b"hidden")))


def test_the_rest_is_shown() -> None:
    assert repr(Pingreq()) == "Pingreq()"
    assert repr(Puback(7)) == (
        "Puback(packet_id=7, reason=<ReasonCode.SUCCESS: 0>, properties=Properties())"
    )
