"""Properties as values."""

from __future__ import annotations

import msgspec
import pytest

from porttunnel.mqtt.property import EMPTY, Properties


def test_nothing_is_there_unless_it_is_said() -> None:
    assert Properties() == EMPTY
    values = msgspec.structs.asdict(EMPTY)
    assert len(values) == 27
    assert {name for name, value in values.items() if value is not None} == {
        "subscription_identifiers",
        "user_properties",
    }


def test_what_all_share_can_t_be_changed() -> None:
    with pytest.raises(AttributeError):
        EMPTY.topic_alias = 1  # type: ignore[misc]  # that it is refused is the point
    assert msgspec.structs.replace(EMPTY, topic_alias=1) == Properties(topic_alias=1)


def test_only_what_is_there_is_shown() -> None:
    assert repr(EMPTY) == "Properties()"
    shown = repr(Properties(session_expiry_interval=0, user_properties=(("a", "b"),)))
    assert shown == "Properties(session_expiry_interval=0, user_properties=(('a', 'b'),))"


def test_what_is_secret_is_not_shown() -> None:
    shown = repr(Properties(correlation_data=b"secret", authentication_data=b"secret too"))
    assert shown == "Properties(correlation_data=<6 bytes>, authentication_data=<10 bytes>)"
