"""What the client's core reports."""

from __future__ import annotations

import msgspec
import pytest

from porttunnel.mqtt import client_event
from porttunnel.mqtt.property import EMPTY


@pytest.mark.parametrize("name", client_event.__all__)
def test_is_a_frozen_value(name: str) -> None:
    kind = getattr(client_event, name)
    assert issubclass(kind, msgspec.Struct)
    assert kind.__struct_config__.frozen


def test_an_event_cannot_be_changed() -> None:
    happened = client_event.PublishFinished(1, 0, EMPTY)
    assert happened == client_event.PublishFinished(1, 0, EMPTY)
    with pytest.raises(AttributeError):
        happened.token = 2  # type: ignore[misc]  # that it can't is what is tested


def test_what_a_message_says_is_not_shown() -> None:
    message = client_event.MessageReceived(
        delivery=1,
        topic="a/b",
        payload=b"between us",
        qos=1,
        retain=False,
        duplicate=False,
        properties=EMPTY,
    )
    assert repr(message) == ("MessageReceived(delivery=1, topic='a/b', payload=<10 bytes>, qos=1)")
