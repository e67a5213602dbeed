"""How a client presents itself."""

from __future__ import annotations

from typing import Any

import pytest

from porttunnel.errors import LocalProtocolError
from porttunnel.mqtt.client_setting import ClientSettings
from porttunnel.mqtt.packet import Connect, Version, Will
from porttunnel.mqtt.property import EMPTY, Properties

WILL = Will("gone", b"bye")


def test_a_connect_of_mqtt_5_says_what_we_take() -> None:
    settings = ClientSettings(
        client_id="ours",
        keep_alive_seconds=30,
        user_name="anna",
        password=b"hush",
        will=WILL,
        session_expiry_seconds=600,
        receive_maximum=10,
        max_packet_bytes=1_000,
        topic_alias_maximum=3,
        authentication_method="SCRAM",
        properties=Properties(authentication_data=b"first", user_properties=(("a", "b"),)),
    )
    assert settings.connect_packet("theirs", clean_start=False) == Connect(
        version=Version.V5,
        client_id="theirs",
        clean_start=False,
        keep_alive_seconds=30,
        user_name="anna",
        password=b"hush",
        will=WILL,
        properties=Properties(
            session_expiry_interval=600,
            receive_maximum=10,
            maximum_packet_size=1_000,
            topic_alias_maximum=3,
            authentication_method="SCRAM",
            authentication_data=b"first",
            user_properties=(("a", "b"),),
        ),
    )


def test_a_connect_of_3_1_1_has_no_properties() -> None:
    settings = ClientSettings(version=Version.V3_1_1, session_expiry_seconds=600)
    connect = settings.connect_packet("ours", clean_start=True)
    assert connect.properties == EMPTY
    assert connect.clean_start


def test_a_password_is_not_shown() -> None:
    assert "hush" not in repr(ClientSettings(user_name="anna", password=b"hush"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"user_name": "an\0na"},
        {"keep_alive_seconds": 65_536},
        {"will": Will("gone/#", b"bye")},
        {"receive_maximum": 0},
        {"version": Version.V3_1_1, "clean_start": False},
        {"version": Version.V3_1_1, "password": b"hush"},
    ],
)
def test_what_no_connect_can_say_is_refused_before_there_is_a_connection(
    wrong: dict[str, Any],
) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        ClientSettings(**wrong)
    assert "hush" not in str(caught.value)
